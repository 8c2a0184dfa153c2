"""Finding the pod of a job's main container: by its name, or as the newest that its labels select."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.jobs.endings import main_container
from airflow_provider_sparkml.resources.base import LogSource, Manifest
from airflow_provider_sparkml.resources.core import POD

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient


async def locate(client: KubernetesClient, namespace: str, source: LogSource | None) -> Manifest | None:
    """Return the pod that a log is in, or ``None`` when there is none."""
    if source is None:
        return None
    if source.selector:
        return newest((await client.list(POD, namespace, label_selector=source.selector)).items)
    try:
        return await client.get(POD, source.pod, namespace)
    except NotFoundError:
        return None


async def resolve(client: KubernetesClient, namespace: str, source: LogSource | None) -> LogSource | None:
    """Return the same log with its pod's and container's names, or ``None`` while there is no such pod.

    A pod's name is taken as it is.
    """
    if source is None or not source.selector:
        return source
    pod = await locate(client, namespace, source)
    if pod is None:
        return None
    return replace(source, pod=pod["metadata"]["name"], container=main_container(pod, source.container), selector="")


def newest(pods: Iterable[Manifest]) -> Manifest | None:
    """Return the pod that was created last, ``None`` of none."""
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


__all__ = ["locate", "newest", "resolve"]
