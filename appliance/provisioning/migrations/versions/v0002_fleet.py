"""The second schema: limits, stored profiles, pre-registration, the owner's page, what was done by whom."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns and tables; every device known gets its allowance."""
    _add_columns()
    _create_fleet()
    _create_owner()
    _fill_in()


def _add_columns() -> None:
    op.add_column("enrolment_tokens", sa.Column("note", sa.String(64), nullable=False, server_default=""))
    op.add_column("enrolment_tokens", sa.Column("revoked_ms", sa.BigInteger(), nullable=True))
    op.add_column("devices", sa.Column("last_seen_ms", sa.BigInteger(), nullable=True))
    op.add_column("reports", sa.Column("model", sa.String(64), nullable=False, server_default=""))
    op.add_column("reports", sa.Column("tokens", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("reports", sa.Column("cost_usd", sa.Double(), nullable=True))
    op.create_index("ix_reports_at_ms", "reports", ["at_ms"])


def _create_fleet() -> None:
    op.create_table(
        "preregistrations",
        sa.Column("thumbprint", sa.String(43), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("profile", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("thumbprint", name="pk_preregistrations"),
    )
    op.create_table(
        "allowances",
        sa.Column("device_id", sa.String(22), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("filled_ms", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("device_id", name="pk_allowances"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_allowances_device_id"),
    )
    op.create_table(
        "fleet_bucket",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("filled_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_fleet_bucket"),
    )
    op.create_table(
        "profiles",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_profiles"),
    )


def _create_owner() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("detail", sa.String(256), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at_ms", "audit", ["at_ms"])
    op.create_index("ix_audit_subject", "audit", ["subject"])
    op.create_table(
        "owner_links",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_owner_links"),
    )
    op.create_table(
        "owner_sessions",
        sa.Column("id_sha256", sa.String(64), nullable=False),
        sa.Column("csrf_secret", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id_sha256", name="pk_owner_sessions"),
    )
    op.create_table(
        "code_tries",
        sa.Column("owner", sa.String(64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_code_tries_owner_at_ms", "code_tries", ["owner", "at_ms"])


def _fill_in() -> None:
    connection = op.get_bind()
    columns = "device_id, tokens, filled_ms, day, sessions, seconds"
    connection.execute(sa.text(f"INSERT INTO allowances ({columns}) SELECT id, 0, 0, 0, 0, 0 FROM devices"))  # noqa: S608
    seen = "(SELECT max(at_ms) FROM mints WHERE mints.device_id = devices.id)"
    connection.execute(sa.text(f"UPDATE devices SET last_seen_ms = {seen}"))  # noqa: S608 both halves stand above
    reports = sa.table("reports", sa.column("session_id"), sa.column("usage", sa.JSON()), sa.column("tokens"))
    for session_id, usage in connection.execute(sa.select(reports.c.session_id, reports.c.usage)).all():
        changed = sa.update(reports).where(reports.c.session_id == session_id).values(tokens=_tokens(usage))
        connection.execute(changed)


def _tokens(usage: Any) -> int:
    # As reports were counted when this schema was new; a migration must not change with the program.
    counted = usage if isinstance(usage, dict) else {}
    names = ["total_tokens"] if "total_tokens" in counted else [n for n in counted if n.endswith(("_in", "_out"))]
    return sum(min(max(0, n), 10**9) for name in names if type(n := counted[name]) is int)


def downgrade() -> None:
    """Back to the first schema; what only the second knows is lost."""
    for name in (
        "code_tries",
        "owner_sessions",
        "owner_links",
        "audit",
        "profiles",
        "fleet_bucket",
        "allowances",
        "preregistrations",
    ):
        op.drop_table(name)
    op.drop_index("ix_reports_at_ms", "reports")
    for table, column in (
        ("reports", "cost_usd"),
        ("reports", "tokens"),
        ("reports", "model"),
        ("devices", "last_seen_ms"),
        ("enrolment_tokens", "revoked_ms"),
        ("enrolment_tokens", "note"),
    ):
        op.drop_column(table, column)
