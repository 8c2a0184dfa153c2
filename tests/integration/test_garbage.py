"""Deleting owners on a running API server: what they own goes before, with, or without them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, NAMESPACE, POD, SERVICE_ACCOUNT

SPARK = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")


@pytest.fixture
async def client(api_server: Any) -> AsyncIterator[KubernetesClient]:
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as client:
        yield client


def config(name: str, *owners: Manifest, blocking: bool = True, finalizers: list[str] | None = None) -> Manifest:
    references = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": blocking,
        }
        for owner in owners
    ]
    return {"metadata": {"name": name, "ownerReferences": references, "finalizers": finalizers or []}}


async def exists(client: KubernetesClient, name: str, namespace: str, api: ApiResource = CONFIG_MAP) -> bool:
    try:
        await client.get(api, name, namespace)
    except NotFoundError:
        return False
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():
            await asyncio.sleep(0.02)


async def gone(client: KubernetesClient, name: str, namespace: str, api: ApiResource = CONFIG_MAP) -> None:
    async def is_gone() -> bool:
        return not await exists(client, name, namespace, api)

    await until(is_gone)


async def test_background_takes_dependents_and_their_dependents_along(client: KubernetesClient, namespace: str) -> None:
    owner = await client.create(CONFIG_MAP, config("owner"), namespace)
    child = await client.create(CONFIG_MAP, config("child", owner), namespace)
    await client.create(CONFIG_MAP, config("grandchild", child), namespace)
    await client.delete(CONFIG_MAP, "owner", namespace, propagation="Background")
    await gone(client, "child", namespace)
    await gone(client, "grandchild", namespace)


async def test_foreground_keeps_the_owner_until_blocking_dependents_are_gone(
    client: KubernetesClient, namespace: str
) -> None:
    owner = await client.create(CONFIG_MAP, config("owner"), namespace)
    await client.create(CONFIG_MAP, config("child", owner, finalizers=["example.com/hold"]), namespace)
    await client.delete(CONFIG_MAP, "owner", namespace, propagation="Foreground")

    async def child_is_deleted() -> bool:
        return "deletionTimestamp" in (await client.get(CONFIG_MAP, "child", namespace))["metadata"]

    await until(child_is_deleted)
    assert (await client.get(CONFIG_MAP, "owner", namespace))["metadata"]["finalizers"] == ["foregroundDeletion"]
    await client.patch(CONFIG_MAP, "child", {"metadata": {"finalizers": None}}, namespace)
    await gone(client, "owner", namespace)
    assert not await exists(client, "child", namespace)


async def test_foreground_does_not_wait_for_dependents_that_do_not_block(
    client: KubernetesClient, namespace: str
) -> None:
    owner = await client.create(CONFIG_MAP, config("owner"), namespace)
    child = config("child", owner, blocking=False, finalizers=["example.com/hold"])
    await client.create(CONFIG_MAP, child, namespace)
    await client.delete(CONFIG_MAP, "owner", namespace, propagation="Foreground")
    await gone(client, "owner", namespace)
    assert "deletionTimestamp" in (await client.get(CONFIG_MAP, "child", namespace))["metadata"]
    await client.patch(CONFIG_MAP, "child", {"metadata": {"finalizers": None}}, namespace)


async def test_orphan_leaves_dependents_without_owner(client: KubernetesClient, namespace: str) -> None:
    owner = await client.create(CONFIG_MAP, config("owner"), namespace)
    await client.create(CONFIG_MAP, config("child", owner), namespace)
    await client.delete(CONFIG_MAP, "owner", namespace, propagation="Orphan")
    await gone(client, "owner", namespace)
    assert "ownerReferences" not in (await client.get(CONFIG_MAP, "child", namespace))["metadata"]


async def test_a_dependent_with_another_owner_stays_and_loses_only_the_one(
    client: KubernetesClient, namespace: str
) -> None:
    first = await client.create(CONFIG_MAP, config("first"), namespace)
    second = await client.create(CONFIG_MAP, config("second"), namespace)
    await client.create(CONFIG_MAP, config("child", first, second), namespace)
    await client.delete(CONFIG_MAP, "first", namespace, propagation="Foreground")
    await gone(client, "first", namespace)
    child = await client.get(CONFIG_MAP, "child", namespace)
    assert [each["name"] for each in child["metadata"]["ownerReferences"]] == ["second"]


async def test_an_object_whose_owner_never_was_is_collected(client: KubernetesClient, namespace: str) -> None:
    nobody = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "nobody", "uid": "00000000-0000-0000-0000-000000000000"},
    }
    await client.create(CONFIG_MAP, config("child", nobody), namespace)
    await gone(client, "child", namespace)


async def test_a_custom_resource_takes_its_pod_and_what_that_owns_along(
    client: KubernetesClient, namespace: str
) -> None:
    application = {
        "metadata": {"name": "pi"},
        "spec": {
            "type": "Python",
            "sparkVersion": "4.0.1",
            "mainApplicationFile": "local:///pi.py",
            "driver": {},
            "executor": {},
        },
    }
    owner = await client.create(SPARK, application, namespace)
    pod = config("driver", owner) | {"spec": {"containers": [{"name": "main", "image": "spark"}]}}
    driver = await client.create(POD, pod, namespace)
    await client.create(CONFIG_MAP, config("conf", driver), namespace)
    await client.delete(SPARK, "pi", namespace, propagation="Foreground")
    # In the foreground the owner goes last.
    await gone(client, "pi", namespace, SPARK)
    assert not await exists(client, "conf", namespace)
    assert not await exists(client, "driver", namespace, POD)


async def test_a_namespace_comes_with_an_account_and_goes_with_its_content(
    client: KubernetesClient, namespace: str
) -> None:
    async def has_account() -> bool:
        return await exists(client, "default", namespace, SERVICE_ACCOUNT)

    await until(has_account)
    await client.create(CONFIG_MAP, config("held", finalizers=["example.com/hold"]), namespace)
    await client.create(CONFIG_MAP, config("other"), namespace)
    await client.delete(NAMESPACE, namespace)
    await gone(client, "other", namespace)
    assert (await client.get(NAMESPACE, namespace))["status"]["phase"] == "Terminating"
    await client.patch(CONFIG_MAP, "held", {"metadata": {"finalizers": None}}, namespace)

    async def is_gone() -> bool:
        return not await exists(client, namespace, "", NAMESPACE)

    await until(is_gone)
