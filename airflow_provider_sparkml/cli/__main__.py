"""Lets ``python -m airflow_provider_sparkml.cli`` do what ``sparkml`` does."""

from __future__ import annotations

from airflow_provider_sparkml.cli.main import app

if __name__ == "__main__":
    app(prog_name="sparkml")
