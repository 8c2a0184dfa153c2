"""The client against a Kubernetes API server: what its verbs really do there, and what refusals become."""

import asyncio

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_dict, kubeconfig_file
from airflow_provider_sparkml.exceptions import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidObjectError,
    NamespaceNotFoundError,
    NotFoundError,
    ResourceTypeNotFoundError,
    UnauthorizedError,
)
from airflow_provider_sparkml.resources.base import ApiResource
from airflow_provider_sparkml.resources.core import EVENT, POD
from airflow_provider_sparkml.resources.spark import API

CONFIG_MAPS = ApiResource("", "v1", "configmaps", "ConfigMap")


def app(name, **spec):
    return {
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "type": "Python",
            "mode": "cluster",
            "image": "registry/spark:1.0",
            "mainApplicationFile": "local:///opt/sparkml/pi.py",
            "sparkVersion": "4.0.1",
            "driver": {"cores": 1},
            "executor": {"cores": 1, "instances": 1},
            **spec,
        },
    }


@pytest.fixture
async def client(api_server):
    async with KubernetesClient(kubeconfig_file(api_server.kubeconfig)) as opened:
        yield opened


async def test_the_life_of_an_object(client, namespace):
    created = await client.create(API, app("pi"), namespace)
    assert created["metadata"]["generation"] == 1
    assert await client.get(API, "pi", namespace) == created

    patched = await client.patch(API, "pi", {"spec": {"image": "registry/spark:2.0"}}, namespace)
    assert patched["metadata"]["generation"] == 2
    await client.patch(API, "pi", [{"op": "add", "path": "/metadata/labels/new", "value": "x"}], namespace)
    status = {"status": {"applicationState": {"state": "RUNNING"}, "driverInfo": {}}}
    running = await client.patch(API, "pi", status, namespace, subresource="status")
    assert running["metadata"]["labels"] == {"app": "pi", "new": "x"}

    with pytest.raises(ConflictError, match="object has been modified"):
        await client.replace(API, created, namespace)
    replaced = await client.replace(API, {**running, "spec": created["spec"]}, namespace)
    assert replaced["spec"]["image"] == "registry/spark:1.0"

    uid = created["metadata"]["uid"]
    assert await client.delete(API, "pi", namespace, uid="another") is False
    assert await client.delete(API, "pi", namespace, uid=uid, propagation="Background") is True
    with pytest.raises(NotFoundError, match='"pi" not found'):
        await client.get(API, "pi", namespace)
    assert await client.delete(API, "pi", namespace) is False


async def test_apply_owns_fields(client, namespace):
    await client.apply(API, app("pi"), namespace, field_manager="one")
    theirs = app("pi", image="registry/spark:2.0")
    with pytest.raises(ConflictError, match=r"\.spec\.image"):
        await client.apply(API, theirs, namespace, field_manager="two")
    forced = await client.apply(API, theirs, namespace, field_manager="two", force=True)
    assert forced["spec"]["image"] == "registry/spark:2.0"


async def test_a_dry_run_finds_typos_and_leaves_nothing(client, namespace):
    with pytest.raises(InvalidObjectError, match=r"^spec\.imagee: unknown field \(create sparkapplications"):
        await client.create(API, app("pi", imagee="x"), namespace, dry_run=True)
    with pytest.raises(InvalidObjectError, match=r"^spec\.type: Unsupported value"):
        await client.create(API, app("pi", type="Pyton"), namespace, dry_run=True)
    await client.create(API, app("pi"), namespace, dry_run=True)
    assert (await client.list(API, namespace)).items == []


async def test_refusals_by_the_server_itself(api_server, client, namespace):
    await client.create(API, app("pi"), namespace)
    with pytest.raises(AlreadyExistsError):
        await client.create(API, app("pi"), namespace)
    with pytest.raises(NamespaceNotFoundError, match='namespaces "absent" not found'):
        await client.create(API, app("pi"), "absent")
    with pytest.raises(ResourceTypeNotFoundError, match=r"things\.example\.com.*CustomResourceDefinition"):
        await client.list(ApiResource("example.com", "v1", "things", "Thing"), namespace)
    bad = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": api_server.url}}],
        "users": [{"name": "u", "user": {"token": "wrong"}}],
    }
    async with KubernetesClient(kubeconfig_dict(bad)) as stranger:
        with pytest.raises(UnauthorizedError):
            await stranger.list(API, namespace)
    del bad["contexts"][0]["context"]["user"]
    async with KubernetesClient(kubeconfig_dict(bad)) as anonymous:
        with pytest.raises(ForbiddenError, match=f'cannot list resource "sparkapplications".*namespace "{namespace}"'):
            await anonymous.list(API, namespace)
    assert await client.can_i("create", API, namespace)


async def test_many_objects_page_by_page(client, namespace):
    names = [f"c-{number:03}" for number in range(230)]
    await asyncio.gather(
        *(client.create(CONFIG_MAPS, {"metadata": {"name": name, "labels": {"a": "b"}}}, namespace) for name in names)
    )
    found = await client.list(CONFIG_MAPS, namespace, label_selector="a in (b)", page_size=50)
    assert [item["metadata"]["name"] for item in found.items] == names
    assert {item["kind"] for item in found.items} == {"ConfigMap"}
    await client.delete_collection(CONFIG_MAPS, namespace, label_selector="a=b")
    assert [i for i in (await client.list(CONFIG_MAPS, namespace)).items if i["metadata"]["name"] in names] == []


async def test_a_watch_goes_on_from_a_version_and_an_old_one_is_gone(client, namespace):
    found = await client.list(API, namespace)
    await client.create(API, app("pi"), namespace)
    await client.delete(API, "pi", namespace, propagation="Background")
    kinds = [
        event["type"]
        async for event in client.watch(API, namespace, resource_version=found.resource_version, timeout_seconds=1)
    ]
    assert [kind for kind in kinds if kind != "BOOKMARK"] == ["ADDED", "DELETED"]
    with pytest.raises(GoneError, match="too old resource version"):
        await anext(client.watch(API, namespace, resource_version="1", timeout_seconds=1))


async def test_a_pods_log_is_followed_to_its_end(api_server, client, namespace):
    containers = [{"name": "main", "image": "x"}]
    pod = await client.create(
        POD, {"metadata": {"name": "drv"}, "spec": {"nodeName": "n", "containers": containers}}, namespace
    )
    assert [line async for line in client.pod_log(namespace, "drv", follow=True)] == []

    def state(**states):
        status = {"name": "main", "image": "x", "imageID": "", "ready": True, "restartCount": 0, "state": states}
        return {"status": {"phase": "Running", "containerStatuses": [status]}}

    await client.patch(
        POD, "drv", state(running={"startedAt": "2026-01-01T00:00:00Z"}), namespace, subresource="status"
    )
    log = api_server.log_path(pod["metadata"]["uid"])
    log.write_text("one\ntwo\n")
    lines = client.pod_log(namespace, "drv", follow=True, tail_lines=1)
    assert await anext(lines) == "two"
    with log.open("a") as file:
        file.write("three\n")
    assert await asyncio.wait_for(anext(lines), 10) == "three"
    ended = {"exitCode": 0, "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:01:00Z"}
    await client.patch(POD, "drv", state(terminated=ended), namespace, subresource="status")
    assert await asyncio.wait_for(anext(lines, None), 10) is None
    with pytest.raises(ApiError, match="nope"):
        await anext(client.pod_log(namespace, "drv", container="nope"))


async def test_events_of_one_object(client, namespace):
    for name, uid, moment in (("b", "u-1", "02"), ("a", "u-1", "01"), ("c", "u-2", "03")):
        involved = {"kind": "Pod", "name": "x", "namespace": namespace, "uid": uid}
        event = {
            "metadata": {"name": name},
            "involvedObject": involved,
            "reason": "R",
            "lastTimestamp": f"2026-01-01T00:00:{moment}Z",
        }
        await client.create(EVENT, event, namespace)
    assert [event["metadata"]["name"] for event in await client.events(namespace, "u-1")] == ["a", "b"]
