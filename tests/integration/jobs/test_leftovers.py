"""Cleaning up on a running API server, as Kubernetes' garbage collector and the shipped roles have it."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.exceptions import ApiUnavailableError
from airflow_provider_sparkml.jobs.leftovers import Report, clean_up
from airflow_provider_sparkml.local.controllers.collectable import DEFINITION
from airflow_provider_sparkml.local.store import Record, Store, encode
from airflow_provider_sparkml.resources import istio_routes, leftovers
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, POD, SERVICE
from airflow_provider_sparkml.resources.leftovers import TYPES, Scope, of_application, of_run
from airflow_provider_sparkml.resources.naming import TaskIdentity
from tests.conftest import RunningApiServer
from tests.unit.resources.leftover_objects import IDENTITY, Made, application, route, thing, whole

from .conftest import Told, limited_client

CUSTOM = (*istio_routes.TYPES, leftovers.VOLCANO_POD_GROUP, leftovers.SCHEDULER_POD_GROUP)
STATES = ("", "SUBMITTED", "RUNNING", "COMPLETED", "FAILED")
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(api: ApiResource) -> Manifest:
    """Return the least CRD of a type."""
    names = {"kind": api.kind, "listKind": f"{api.kind}List", "plural": api.plural, "singular": api.kind.lower()}
    version = {"name": api.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": ANYTHING}}
    spec = {"group": api.group, "names": names, "scope": "Namespaced", "versions": [version]}
    return {"metadata": {"name": api.full_name}, "spec": spec}


@pytest.fixture(scope="module")
def full_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApiServer]:
    """An API server that serves Istio's types and PodGroups as well."""
    server = RunningApiServer(tmp_path_factory.mktemp("full")).start()
    for api in CUSTOM:
        status, answer = server.request("POST", DEFINITION.path(), definition(api))
        assert status == 201, answer
    yield server
    server.stop()


@pytest.fixture
async def full(full_server: RunningApiServer) -> AsyncIterator[KubernetesClient]:
    """Its administrator."""
    async with KubernetesClient(kubeconfig_file(full_server.kubeconfig)) as client:
        yield client


@pytest.fixture
def place(full_server: RunningApiServer) -> str:
    """A namespace of this test's own on it."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    full_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return name


async def create(client: KubernetesClient, namespace: str, objects: list[Made]) -> None:
    """Create objects with the UIDs that the API server gives, and their status."""
    uids: dict[str, str] = {}
    for api, made in copy.deepcopy(objects):
        metadata = made["metadata"]
        for owner in metadata["ownerReferences"]:
            owner["uid"] = uids[owner["uid"]]
        former = metadata.pop("uid")
        metadata["namespace"] = namespace
        del metadata["creationTimestamp"]
        status = made.pop("status", None)
        uids[former] = (await client.create(api, made, namespace))["metadata"]["uid"]
        if status:
            await client.patch(api, metadata["name"], {"status": status}, namespace, subresource="status")


async def left(client: KubernetesClient, namespace: str, types: Any = TYPES) -> set[str]:
    """Return what there is of all types, without what every namespace comes with."""
    return {
        f"{api.kind} {obj['metadata']['name']}"
        for api in types
        for obj in (await client.list(api, namespace)).items
        if obj["metadata"]["name"] != "kube-root-ca.crt"
    }


async def until_left(client: KubernetesClient, namespace: str, wanted: set[str], types: Any = TYPES) -> None:
    """Wait for the garbage collector."""
    found: set[str] = set()
    try:
        async with asyncio.timeout(20):
            while (found := await left(client, namespace, types)) != wanted:
                await asyncio.sleep(0.05)
    except TimeoutError:
        assert found == wanted


def look_alikes() -> list[Made]:
    """Return what a clean-up of the application app-4 has to leave alone."""
    api, owner = thing(CONFIG_MAP, "somebody")
    elsewhere = route("app-4-ui-svc", "reviews", name="shared")
    return [
        (api, owner),
        thing(SERVICE, "app-4-of-somebody", owner, app_name="app-4", app_id="spark-4"),
        thing(CONFIG_MAP, "app-4-settings", app="app-4"),
        thing(POD, "app-40-driver", app_name="app-40", app_id="spark-40", **{"spark-role": "driver"}),
        thing(SERVICE, "reviews"),
        elsewhere,
    ]


async def sweep(client: KubernetesClient, scope: Scope, told: Told, *, dry_run: bool = False) -> Report:
    return await clean_up(client, scope, dry_run=dry_run, log=told)


async def test_jobs_in_every_phase_leave_nothing_and_what_looks_alike_stays(
    full: KubernetesClient, place: str, told: Told
) -> None:
    for number, state in enumerate(STATES):
        await create(full, place, whole(f"app-{number}", f"spark-{number}", state, IDENTITY))
    await create(full, place, [route("app-4-ui-svc"), route("app-3-ui-svc", name="other")])
    foreign = [
        *look_alikes(),
        *whole("app-9", "spark-9", "RUNNING", TaskIdentity("b", "dag", "task", "run-1", -1, 1, 0)),
    ]
    await create(full, place, foreign)
    before = await left(full, place)

    listed = await sweep(full, of_run(IDENTITY, place), told, dry_run=True)
    assert await left(full, place) == before
    assert listed.deleted == []
    assert listed.to_json()["found"]["SparkApplication"] == len(STATES)

    report = await sweep(full, of_run(IDENTITY, place), told)
    assert report.failed == []
    assert report.skipped == {}
    await until_left(full, place, {f"{api.kind} {made['metadata']['name']}" for api, made in foreign})
    assert report.to_json()["deleted"] == {"VirtualService": 2, "SparkApplication": len(STATES)}
    again = await sweep(full, of_run(IDENTITY, place), told)
    assert (again.found, again.failed) == ([], [])


async def test_what_an_orphaning_delete_left_goes_piece_by_piece(
    full: KubernetesClient, place: str, told: Told
) -> None:
    await create(full, place, [*whole("app", "spark-1", "FAILED"), *look_alikes()])
    await full.delete(leftovers.APPLICATION, "app", place, propagation="Orphan")
    foreign = {f"{api.kind} {made['metadata']['name']}" for api, made in look_alikes()}
    async with asyncio.timeout(20):
        while "SparkApplication app" in await left(full, place):
            await asyncio.sleep(0.05)
    report = await sweep(full, of_application(place, name="app"), told)
    assert "Pod app-driver" in report.to_json()["objects"]
    await until_left(full, place, foreign)


async def test_broken_off_in_the_middle_it_finds_the_rest_next_time(
    full: KubernetesClient, place: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        await create(full, place, whole(f"app-{number}", f"spark-{number}", "FAILED", IDENTITY))
        await create(full, place, [route(f"app-{number}-ui-svc", name=f"route-{number}")])
    deleted, real = Counter[str](), full.delete

    async def delete(api: ApiResource, *args: Any, **kwargs: Any) -> bool:
        if deleted.total() == 4:
            raise asyncio.CancelledError  # the worker is ended
        deleted[api.kind] += 1
        return await real(api, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(full, "delete", delete)
        with pytest.raises(asyncio.CancelledError):
            await sweep(full, of_run(IDENTITY, place), told)
    assert deleted == {"VirtualService": 3, "SparkApplication": 1}
    await sweep(full, of_run(IDENTITY, place), told)
    await until_left(full, place, set())


async def test_a_namesake_that_came_meanwhile_stays(
    full: KubernetesClient, place: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(full, place, [application("app", "FAILED")])
    real = full.delete

    async def delete(api: ApiResource, name: str, *args: Any, **kwargs: Any) -> bool:
        await real(api, name, place, propagation="Background")
        await create(full, place, [application("app", "RUNNING")])
        return await real(api, name, *args, **kwargs)

    monkeypatch.setattr(full, "delete", delete)
    report = await sweep(full, of_application(place, name="app"), told)
    assert (report.deleted, report.failed) == ([], [])
    assert await left(full, place) == {"SparkApplication app"}


async def test_what_fails_is_told_and_the_rest_is_done(
    full: KubernetesClient, place: str, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(full, place, [application(name, "FAILED", identity=IDENTITY) for name in ("a", "b", "c")])
    real = full.delete

    async def delete(api: ApiResource, name: str, *args: Any, **kwargs: Any) -> bool:
        if name == "b":
            raise ApiUnavailableError("no answer\nadvice")
        return await real(api, name, *args, **kwargs)

    monkeypatch.setattr(full, "delete", delete)
    report = await sweep(full, of_run(IDENTITY, place), told)
    assert report.failed == ["SparkApplication b: no answer"]
    await until_left(full, place, {"SparkApplication b"})


# --- a cluster without Istio, and credentials with fewer rights ---


async def test_types_that_are_not_installed_are_left_out(
    client: KubernetesClient, airflow: KubernetesClient, namespace: str, told: Told
) -> None:
    """With the rights of the shipped roles, too."""
    objects = [(api, made) for api, made in whole("app", "spark-1", "FAILED", IDENTITY) if api not in CUSTOM]
    await create(client, namespace, objects)
    report = await sweep(airflow, of_run(IDENTITY, namespace), told)
    assert report.skipped == {api.full_name: "not installed" for api in CUSTOM}
    assert told.warnings == []
    await until_left(client, namespace, set(), set(TYPES) - set(CUSTOM))


async def test_types_that_may_not_be_listed_are_told_of_once_and_left_out(
    api_server: Any, client: KubernetesClient, namespace: str, told: Told
) -> None:
    await create(client, namespace, [application("app", "FAILED", identity=IDENTITY), thing(SERVICE, "other")])
    async with limited_client(api_server, client, namespace, ["list", "delete"]) as limited:
        report = await sweep(limited, of_run(IDENTITY, namespace), told)
    refused = {name for name, why in report.skipped.items() if why == "not allowed"}
    assert refused >= {"pods", "services", "ingresses.networking.k8s.io"}
    assert len(told.warnings) == len(refused)
    assert sum("resources: [" + '"services"' in line for line in told.warnings) == 1
    await until_left(client, namespace, {"Service other"}, set(TYPES) - set(CUSTOM))


async def test_a_type_that_may_not_be_deleted_is_told_of_once(
    api_server: Any, client: KubernetesClient, namespace: str, told: Told
) -> None:
    await create(client, namespace, [application(name, "FAILED", identity=IDENTITY) for name in "abcdefghijkl"])
    async with limited_client(api_server, client, namespace, ["list"]) as limited:
        report = await sweep(limited, of_run(IDENTITY, namespace), told)
    assert (report.deleted, report.failed) == ([], [])
    assert sum("cannot delete" in line for line in told.warnings) == 1


# --- many objects ---

APPS, FOREIGN = 40, 400


@asynccontextmanager
async def stored(state_dir: Path) -> AsyncIterator[Callable[[ApiResource, Manifest], None]]:
    """Give a function that puts an object into the state of an API server that does not run yet."""
    state_dir.mkdir(parents=True)
    store = Store(state_dir / "objects.sqlite")
    await store.open()

    def put(api: ApiResource, obj: Manifest) -> None:
        version, meta = store.next_version(), obj["metadata"]
        meta["resourceVersion"] = str(version)
        key = (meta["namespace"], meta["name"])
        store.put(f"{api.group}/{api.plural}", Record(key, meta["uid"], version, encode(obj), meta["labels"], {}))

    yield put
    await store.durable()
    await store.close()


async def test_five_thousand_objects_take_a_list_per_type(
    tmp_path: Path, start_api_server: Any, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, total = tmp_path / "many", 0
    async with stored(state) as put:
        for number in range(APPS + FOREIGN):
            who = IDENTITY if number < APPS else None
            objects = [
                each for each in whole(f"app-{number}", f"spark-{number}", "FAILED", who) if each[0] not in CUSTOM
            ]
            for api, made in objects:
                put(api, made["metadata"].update(namespace="default") or made)
            total += len(objects)
    assert total > 5000
    server = start_api_server(state)
    async with KubernetesClient(kubeconfig_file(server.kubeconfig)) as client:
        sent, real = Counter[str](), client._transport.send

        async def send(request: Any) -> Any:
            sent[request.call.verb] += 1
            return await real(request)

        monkeypatch.setattr(client._transport, "send", send)
        report = await sweep(client, of_run(IDENTITY, "default"), told)
        assert sent.keys() == {"list", "delete"}
        # 13 types, and what there is of one is read in pages of 500.
        assert sent["list"] <= len(TYPES) + total // 500 + 1
        assert sent["delete"] == APPS
        assert len(report.found) == total // (APPS + FOREIGN) * APPS
        assert len(report.to_json()["objects"]) == 100
        assert len(told.lines) < 120
        apps = (await client.list(leftovers.APPLICATION, "default")).items
    assert sum("deletionTimestamp" not in app["metadata"] for app in apps) == FOREIGN


@pytest.mark.parametrize("api", istio_routes.TYPES, ids=lambda api: api.kind)
async def test_every_kind_of_route_goes_before_its_service(
    full: KubernetesClient, place: str, told: Told, api: ApiResource
) -> None:
    spec = {
        "VirtualService": {"hosts": ["x"], "http": [{"route": [{"destination": {"host": f"app-ui-svc.{place}"}}]}]},
        "DestinationRule": {"host": f"app-ui-svc.{place}.svc.cluster.local"},
        "ServiceEntry": {"hosts": [f"app-ui-svc.{place}.svc"]},
    }[api.kind]
    made = thing(api, "r")[1] | {"spec": spec}
    await create(full, place, [*whole("app", "spark-1", "COMPLETED"), (api, made)])
    report = await sweep(full, of_application(place, app_id="spark-1"), told)
    assert report.found[0].api is api
    await until_left(full, place, set())
