"""The `sparkml` command."""

from __future__ import annotations

from airflow_provider_sparkml.cli.main import app

__all__ = ["app"]
