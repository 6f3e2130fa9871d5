"""Alembic's entry: migrate over the connection that `registry.upkeep` hands in, in its transaction."""

from __future__ import annotations

from alembic import context

from lftreg.registry.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=False
)
context.run_migrations()
