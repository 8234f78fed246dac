"""The first schema: devices and their tokens, enrolment, the audit log of mints, reports."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes every table."""
    op.create_table(
        "enrolment_tokens",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("uses_total", sa.Integer(), nullable=False),
        sa.Column("uses_left", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_enrolment_tokens"),
        sa.UniqueConstraint("token_sha256", name="uq_enrolment_tokens_token_sha256"),
    )
    op.create_table(
        "devices",
        sa.Column("id", sa.String(22), nullable=False),
        sa.Column("thumbprint", sa.String(43), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("hardware", sa.String(64), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("enrolment_token_id", sa.String(16), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("thumbprint", name="uq_devices_thumbprint"),
        sa.ForeignKeyConstraint(["enrolment_token_id"], ["enrolment_tokens.id"], name="fk_devices_enrolment_token_id"),
    )
    _create_grants()
    _create_sessions()


def _create_grants() -> None:
    op.create_table(
        "access_tokens",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("device_id", sa.String(22), nullable=False),
        sa.Column("thumbprint", sa.String(43), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_access_tokens"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_access_tokens_device_id"),
    )
    op.create_index("ix_access_tokens_device_id", "access_tokens", ["device_id"])
    op.create_table(
        "authorizations",
        sa.Column("device_code_sha256", sa.String(64), nullable=False),
        sa.Column("user_code", sa.String(9), nullable=False),
        sa.Column("thumbprint", sa.String(43), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("hardware", sa.String(64), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("polled_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("device_code_sha256", name="pk_authorizations"),
        sa.UniqueConstraint("user_code", name="uq_authorizations_user_code"),
    )
    op.create_index("ix_authorizations_thumbprint", "authorizations", ["thumbprint"])
    op.create_index("ix_authorizations_expires_ms", "authorizations", ["expires_ms"])
    op.create_table(
        "seen_proofs",
        sa.Column("jti_sha256", sa.String(64), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("jti_sha256", name="pk_seen_proofs"),
    )
    op.create_index("ix_seen_proofs_expires_ms", "seen_proofs", ["expires_ms"])


def _create_sessions() -> None:
    op.create_table(
        "mints",
        sa.Column("jti_sha256", sa.String(64), nullable=False),
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("device_id", sa.String(22), nullable=False),
        sa.Column("idempotency_key", sa.String(64), nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("transport", sa.String(16), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("latency_ms", sa.Integer(), nullable=True),
        sa.Column("secret_sha256_prefix", sa.String(16), nullable=True),
        sa.Column("upstream_request_id", sa.String(128), nullable=True),
        sa.PrimaryKeyConstraint("jti_sha256", name="pk_mints"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_mints_device_id"),
    )
    op.create_index("ix_mints_session_id", "mints", ["session_id"])
    op.create_index("ix_mints_at_ms", "mints", ["at_ms"])
    op.create_index("ix_mints_device_id_idempotency_key", "mints", ["device_id", "idempotency_key"])
    op.create_index("ix_mints_device_id_at_ms", "mints", ["device_id", "at_ms"])
    op.create_table(
        "reports",
        sa.Column("session_id", sa.String(36), nullable=False),
        sa.Column("device_id", sa.String(22), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("usage", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_reports"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_reports_device_id"),
    )
    op.create_index("ix_reports_device_id", "reports", ["device_id"])


def downgrade() -> None:
    """Drops every table."""
    for name in ("reports", "mints", "seen_proofs", "authorizations", "access_tokens", "devices", "enrolment_tokens"):
        op.drop_table(name)
