"""Alembic's entry: runs the versions over the connection that ``database.upgrade`` hands in."""

from alembic import context

from appliance.provisioning.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite cannot alter most things in place
    transactional_ddl=True,  # ours is one BEGIN IMMEDIATE: a half-done upgrade leaves nothing behind
)
with context.begin_transaction():
    context.run_migrations()
