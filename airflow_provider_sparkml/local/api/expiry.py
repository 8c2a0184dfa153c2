"""Events are forgotten an hour after their last change, as on any cluster; else they would be most of the state."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.storing import destroy
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.local.store import Key
from airflow_provider_sparkml.resources.base import Manifest

STORAGE = "/events"
EVENT_SECONDS = 3600.0
"""kube-apiserver's ``--event-ttl``."""


def expire_events(
    cluster: Cluster, clock: Callable[[], float] = time.monotonic
) -> Callable[[ResourceType, Manifest, bool], None]:
    """Return what removes old events, whenever a new one comes: while none come, the old ones do no harm.

    :param clock: gives seconds.
    """
    # Those of before a restart count from it on.
    ages: deque[tuple[float, Key, int]] = deque(
        (clock(), record.key, record.version) for record in cluster.store.select(STORAGE, None)
    )

    def changed(kind: ResourceType, obj: Manifest, deleted: bool) -> None:
        if kind.storage != STORAGE or deleted:
            return
        meta, now = obj["metadata"], clock()
        ages.append((now, (meta["namespace"], meta["name"]), int(meta["resourceVersion"])))
        while ages[0][0] < now - EVENT_SECONDS:
            _, key, version = ages.popleft()
            record = cluster.store.get(STORAGE, *key)
            if record is not None and record.version == version:  # else it has changed since, and stands further back
                destroy(cluster, kind, record.load())

    return changed
