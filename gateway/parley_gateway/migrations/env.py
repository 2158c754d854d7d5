"""Alembic's entry: the shared runner over this service's tables."""

from __future__ import annotations

from parley_service.database import run_migrations

from parley_gateway.tables import METADATA

run_migrations(METADATA)
