"""ResourceQuota: what a namespace uses, and whether one more object fits."""

from __future__ import annotations

from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.resources.base import Manifest


def check_quota(cluster: Cluster, kind: ResourceType, obj: Manifest, old: Manifest | None) -> None:
    """Refuse an object that the namespace has no room for."""
