"""The columns of ``kubectl get`` for the built-in types."""

from __future__ import annotations

from airflow_provider_sparkml.local.api.types import Column

COLUMNS: dict[str, tuple[Column, ...]] = {}
