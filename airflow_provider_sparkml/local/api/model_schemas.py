"""Schemas made from the Python models of published packages, once per version, and kept in the user's cache."""

from __future__ import annotations

from airflow_provider_sparkml.local.api.types import Schema


async def builtin_schema(model: str) -> Schema | None:
    """Return the schema of a built-in type."""
    return None


async def schema_from_models(package: str, model: str) -> Schema | None:
    """Return the schema of a pydantic model."""
    return None
