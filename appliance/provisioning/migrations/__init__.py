"""Alembic's environment and the versions of the schema. Run by ``appliance.provisioning.database.upgrade``."""
