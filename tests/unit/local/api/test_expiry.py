"""Events do not stay for ever."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from airflow_provider_sparkml.local.api.bootstrap import bootstrap
from airflow_provider_sparkml.local.api.builtin import BUILTIN
from airflow_provider_sparkml.local.api.bundled import DEFINITIONS
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.expiry import EVENT_SECONDS, STORAGE, expire_events
from airflow_provider_sparkml.local.api.storing import save
from airflow_provider_sparkml.local.store import Store


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    store = Store(tmp_path / "objects.sqlite")
    await store.open()
    cluster = Cluster(store, lambda uid, name: tmp_path / uid / name, "token", b"key")
    await bootstrap(cluster, BUILTIN, copy.deepcopy(DEFINITIONS))
    yield cluster
    await store.close()


async def test_an_event_goes_an_hour_after_its_last_change(cluster: Cluster) -> None:
    now = 1000.0
    cluster.after_write.append(expire_events(cluster, lambda: now))
    kind = cluster.registry.find("", "v1", "events")
    assert kind is not None

    def tell(name: str) -> None:
        save(cluster, kind, {"metadata": {"namespace": "default", "name": name, "uid": name}})

    def left() -> list[str]:
        return [record.key[1] for record in cluster.store.select(STORAGE, None)]

    tell("told once")
    tell("told again")
    now += EVENT_SECONDS / 2
    tell("told again")
    now += EVENT_SECONDS / 2 + 1
    tell("new")
    assert left() == ["new", "told again"]
    now += EVENT_SECONDS + 1
    tell("newer")
    assert left() == ["newer"]
