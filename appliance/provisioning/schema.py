"""The tables, in portable types: the same on SQLite and PostgreSQL.

Times are whole milliseconds since 1970 (``_ms``). No secret is stored, only SHA-256 of it (hex, ``_sha256``).
The database itself is made by ``migrations`` alone; a test holds the two together.
"""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Column, Double, ForeignKey, Identity, Index, Integer, MetaData, String, Table

REVISION = "0002"  # the newest file in migrations/versions

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ENROLMENT_TOKENS = Table(
    "enrolment_tokens",
    METADATA,
    Column("id", String(16), primary_key=True),  # shown in lists
    Column("token_sha256", String(64), nullable=False, unique=True),
    Column("profile", String(64), nullable=False),
    Column("uses_total", Integer, nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("note", String(64), nullable=False, server_default=""),  # the owner's own words
    Column("revoked_ms", BigInteger),
)

DEVICES = Table(
    "devices",
    METADATA,
    Column("id", String(22), primary_key=True),
    Column("thumbprint", String(43), nullable=False, unique=True),  # of its key; the id is of its first
    Column("name", String(64), nullable=False),
    Column("hardware", String(64), nullable=False),
    Column("software", String(64), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("status", String(16), nullable=False),  # active suspended revoked removed
    Column("enrolment_token_id", String(16), ForeignKey("enrolment_tokens.id")),
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("last_seen_ms", BigInteger),  # to the minute
)

# Keys known before they ever ask: enrolled at once, under this name and profile.
PREREGISTRATIONS = Table(
    "preregistrations",
    METADATA,
    Column("thumbprint", String(43), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
)

# What a device has left: made with the device, and locked by each of its mints.
ALLOWANCES = Table(
    "allowances",
    METADATA,
    Column("device_id", String(22), ForeignKey("devices.id"), primary_key=True),
    Column("tokens", Double, nullable=False),  # of its bucket, at filled_ms
    Column("filled_ms", BigInteger, nullable=False),
    Column("day", Integer, nullable=False),  # days since 1970, UTC; the next two are of this day
    Column("sessions", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
)

# What all replicas together may still ask of the provider.
FLEET_BUCKET = Table(
    "fleet_bucket",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("tokens", Double, nullable=False),
    Column("filled_ms", BigInteger, nullable=False),
)

# Profiles made by command or on the page. Those of server.toml are not here, and win.
PROFILES = Table(
    "profiles",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("content", JSON, nullable=False),
    Column("version", Integer, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

# A token names the key it is bound to, so that a device can hold two keys while it changes them.
ACCESS_TOKENS = Table(
    "access_tokens",
    METADATA,
    Column("token_sha256", String(64), primary_key=True),
    Column("device_id", String(22), ForeignKey("devices.id"), nullable=False, index=True),
    Column("thumbprint", String(43), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
)

AUTHORIZATIONS = Table(
    "authorizations",
    METADATA,
    Column("device_code_sha256", String(64), primary_key=True),
    Column("user_code", String(9), nullable=False, unique=True),
    Column("thumbprint", String(43), nullable=False, index=True),
    Column("name", String(64), nullable=False),
    Column("hardware", String(64), nullable=False),
    Column("software", String(64), nullable=False),
    Column("status", String(16), nullable=False),  # pending approved denied
    Column("interval_s", Integer, nullable=False),
    Column("polled_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
)

# Proofs that are not in the mints table: seen outside /v1/sessions, or there from a device over its quota. Kept while
# their nonce lives.
SEEN_PROOFS = Table(
    "seen_proofs",
    METADATA,
    Column("jti_sha256", String(64), primary_key=True),
    Column("expires_ms", BigInteger, nullable=False, index=True),
)

# One row per attempt: replay check and audit log in one. A repeat under the same Idempotency-Key shares the session_id.
MINTS = Table(
    "mints",
    METADATA,
    Column("jti_sha256", String(64), primary_key=True),
    Column("session_id", String(36), nullable=False, index=True),
    Column("device_id", String(22), ForeignKey("devices.id"), nullable=False),
    Column("idempotency_key", String(64), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("transport", String(16), nullable=False),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("outcome", String(32), nullable=False),  # pending minted abandoned, or the code of the refusal
    Column("latency_ms", Integer),
    Column("secret_sha256_prefix", String(16)),
    Column("upstream_request_id", String(128)),
    Index(None, "device_id", "idempotency_key"),
    Index(None, "device_id", "at_ms"),
)

REPORTS = Table(
    "reports",
    METADATA,
    Column("session_id", String(36), primary_key=True),
    Column("device_id", String(22), ForeignKey("devices.id"), nullable=False, index=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("duration_s", Double, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("usage", JSON, nullable=False),
    Column("model", String(64), nullable=False, server_default=""),
    Column("tokens", BigInteger, nullable=False, server_default="0"),  # sum over usage, for plots
    Column("cost_usd", Double),
    Index(None, "at_ms"),
)

# What owner, command and device did, apart from sessions.
AUDIT = Table(
    "audit",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), Identity(), primary_key=True),
    Column("at_ms", BigInteger, nullable=False, index=True),
    Column("actor", String(64), nullable=False),  # owner, command, or a device's id
    Column("action", String(32), nullable=False),
    Column("subject", String(64), nullable=False, index=True),
    Column("detail", String(256), nullable=False),
)

OWNER_LINKS = Table(
    "owner_links",
    METADATA,
    Column("token_sha256", String(64), primary_key=True),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Column("used_ms", BigInteger),
)

OWNER_SESSIONS = Table(
    "owner_sessions",
    METADATA,
    Column("id_sha256", String(64), primary_key=True),
    Column("csrf_secret", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
)

# Codes tried on the page that fitted no device: whoever guesses is slowed down.
CODE_TRIES = Table(
    "code_tries",
    METADATA,
    Column("owner", String(64), nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Index(None, "owner", "at_ms"),
)
