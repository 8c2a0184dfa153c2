"""What Airflow reads about this provider: one literal dict, and no imports."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata, valid against Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-sparkml",
        "name": "Spark and ML on Kubernetes",
        "description": "Spark and machine learning on Kubernetes from Apache Airflow.",
    }
