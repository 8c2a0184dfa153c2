"""Submission is exactly once, whoever dies in between, and says clearly why it is refused."""

from __future__ import annotations

import asyncio
import copy

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.transport import Timeouts
from airflow_provider_sparkml.exceptions import (
    ApiUnavailableError,
    ForbiddenError,
    InvalidManifestError,
    InvalidObjectError,
    NamespaceNotFoundError,
    NameTakenError,
    QuotaExceededError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import ApiResource, Phase, Resource, Verdict
from airflow_provider_sparkml.resources.spark import API, SPARK_APPLICATION
from tests.integration.jobs.conftest import identity, limited_client, pi

LIVE = ("", "SUBMITTED", "RUNNING", "PENDING_RERUN", "FAILING", "SUSPENDED", "UNKNOWN", "COMPLETED")


async def test_a_new_job_carries_the_tasks_identity_and_the_users_labels(start, operator):
    manifest = pi()
    before = copy.deepcopy(manifest)
    submission = await start(manifest=manifest)
    assert manifest == before
    assert not submission.adopted
    meta = submission.obj["metadata"]
    assert meta["name"].startswith("pi-")
    assert meta["labels"]["team"] == "a"
    assert meta["labels"][naming.MANAGED_BY] == naming.PREFIX
    assert naming.is_ours(submission.obj, identity())
    assert naming.ordinal_of(submission.obj) == 1


@pytest.mark.parametrize("state", LIVE)
async def test_worker_killed_between_create_and_wait_the_retry_adopts(start, operator, state):
    first = await start()
    if state:
        await operator.write(first.ref.name, state)
    second = await start(try_number=2)
    assert second.adopted
    assert second.ref == first.ref
    assert len(await operator.live()) == 1


async def test_ten_at_once_make_one_object(start, operator):
    submissions = await asyncio.gather(*(start() for _ in range(10)))
    assert len({s.ref for s in submissions}) == 1
    assert sum(not s.adopted for s in submissions) == 1
    assert len(await operator.live()) == 1


async def test_ten_at_once_after_a_failure_make_one_new_object(start, operator):
    first = await start()
    await operator.write(first.ref.name, "FAILED", "boom")
    submissions = await asyncio.gather(*(start(try_number=2, on_finish="keep") for _ in range(10)))
    assert {s.ref.name[-2:] for s in submissions} == {"-2"}
    assert len(await operator.live()) == 2


async def test_an_unconsumed_failure_is_told_consumed_and_followed_by_a_new_job(
    start, operator, told, client, namespace
):
    first = await start()
    await operator.write(first.ref.name, "FAILED", "driver container failed with ExitCode: 3, Reason: Error")
    second = await start(try_number=2, on_finish="keep")
    assert not second.adopted
    assert naming.ordinal_of(second.obj) == 2
    assert "ExitCode: 3" in told.warnings[0]
    assert naming.is_consumed(await client.get(API, first.ref.name, namespace))


async def test_a_failure_is_cleaned_by_policy_before_the_new_job(start, operator):
    first = await start()
    await operator.write(first.ref.name, "FAILED", "boom")
    second = await start(try_number=2, on_finish="delete")
    assert second.ref.uid != first.ref.uid
    assert await operator.live() == [second.ref.name]


async def test_a_consumed_job_is_never_adopted_and_its_name_never_taken(start, operator, client, namespace):
    first = await start()
    await operator.write(first.ref.name, "COMPLETED")
    mark = {"metadata": {"annotations": {naming.CONSUMED: "now"}}}
    await client.patch(API, first.ref.name, mark, namespace)
    second = await start(try_number=2, on_finish="keep")
    assert not second.adopted
    assert second.ref.name == first.ref.name[:-1] + "2"


async def test_a_job_that_is_being_deleted_is_left_alone(start, operator, client, namespace):
    first = await start()
    await client.patch(API, first.ref.name, {"metadata": {"finalizers": ["test/hold"]}}, namespace)
    await client.delete(API, first.ref.name, namespace)
    second = await start(try_number=2)
    assert not second.adopted
    assert naming.ordinal_of(second.obj) == 2
    await client.patch(API, first.ref.name, {"metadata": {"finalizers": []}}, namespace)


async def test_a_cleared_task_runs_again_though_the_old_object_is_there(start, operator):
    first = await start()
    await operator.write(first.ref.name, "COMPLETED")
    again = await start(try_number=2, max_tries=3)
    assert not again.adopted
    assert again.ref.name != first.ref.name


async def test_somebody_elses_object_of_that_name_is_not_touched(start, operator, client, namespace):
    theirs = pi()
    theirs["metadata"]["name"] = naming.job_name(identity(), 1, "pi")
    await client.create(API, theirs, namespace)
    with pytest.raises(NameTakenError, match="is not this task's") as caught:
        await start()
    assert f"kubectl delete sparkapplications.sparkoperator.k8s.io -n {namespace}" in str(caught.value)
    assert len(await operator.live()) == 1


async def test_between_list_and_create_another_process_ran_and_consumed_a_whole_job(
    start, operator, client, airflow, namespace
):
    """What a zombie finds that slept in between: the name it computed is spent."""
    first = await start()
    await operator.write(first.ref.name, "COMPLETED")
    await client.patch(API, first.ref.name, {"metadata": {"annotations": {naming.CONSUMED: "now"}}}, namespace)
    listing = airflow.list

    async def stale(*args, **kwargs):
        found = await listing(*args, **kwargs)
        found.items.clear()
        airflow.list = listing
        return found

    airflow.list = stale
    second = await start(on_finish="keep")
    assert naming.ordinal_of(second.obj) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Pod"}, "kind is 'Pod': set it to 'SparkApplication'"),
        ({"apiVersion": "v1"}, "apiVersion is 'v1'"),
        ({"metadata": {"name": "x", "namespace": "elsewhere"}}, "metadata.namespace is 'elsewhere'"),
    ],
)
async def test_a_manifest_that_cannot_be_meant_is_refused_before_any_request(start, operator, change, message):
    with pytest.raises(InvalidManifestError, match=message):
        await start(manifest={**pi(), **change})
    assert await operator.live() == []


async def test_a_typo_names_its_field_and_nothing_is_created(start, operator):
    manifest = pi()
    manifest["spec"]["driver"]["coreLimt"] = "1"
    with pytest.raises(InvalidObjectError, match="coreLimt"):
        await start(manifest=manifest)
    assert await operator.live() == []


async def test_absent_namespace(client, told):
    with pytest.raises(NamespaceNotFoundError) as caught:
        await submit(client, SPARK_APPLICATION, pi(), identity(), namespace="not-there", log=told)
    assert "not-there" in str(caught.value).splitlines()[0]
    assert "kubectl create namespace not-there" in str(caught.value)


async def test_crd_not_installed(airflow, namespace, told):
    api = ApiResource("sparkoperator.k8s.io", "v9", "sparkapplications", "SparkApplication")
    resource = Resource(api, read=lambda obj: Verdict(Phase.PENDING))
    manifest = {**pi(), "apiVersion": api.api_version}
    with pytest.raises(ResourceTypeNotFoundError) as caught:
        await submit(airflow, resource, manifest, identity(), namespace=namespace, log=told)
    assert "sparkapplications.sparkoperator.k8s.io" in str(caught.value).splitlines()[0]
    assert "Is the Spark operator installed" in str(caught.value)
    assert "helm install" in str(caught.value)


@pytest.mark.parametrize("verb", ["list", "create"])
async def test_rbac_names_the_verb_that_is_missing(api_server, client, namespace, told, verb):
    verbs = {"list", "get", "create"} - {verb}
    async with limited_client(api_server, client, namespace, sorted(verbs)) as limited:
        submission = asyncio.create_task(
            submit(limited, SPARK_APPLICATION, pi(), identity(), namespace=namespace, log=told)
        )
        await asyncio.wait([submission])
    with pytest.raises(ForbiddenError) as caught:
        submission.result()
    assert f"kubectl auth can-i {verb} sparkapplications.sparkoperator.k8s.io -n {namespace}" in str(caught.value)


async def test_quota(client, airflow, namespace, told):
    quota = ApiResource("", "v1", "resourcequotas", "ResourceQuota")
    hard = {"count/sparkapplications.sparkoperator.k8s.io": "0"}
    await client.create(quota, {"metadata": {"name": "none"}, "spec": {"hard": hard}}, namespace)
    with pytest.raises(QuotaExceededError) as caught:
        await submit(airflow, SPARK_APPLICATION, pi(), identity(), namespace=namespace, log=told)
    assert "exceeded quota" in str(caught.value).splitlines()[0]
    assert f"kubectl describe resourcequota -n {namespace}" in str(caught.value)


async def test_api_server_away_and_back(start_api_server, told):
    server = start_api_server()
    port = server.port
    server.stop()
    short = Timeouts(total=0.5)
    async with KubernetesClient(kubeconfig_file(server.kubeconfig), timeouts=short) as client:
        with pytest.raises(ApiUnavailableError, match="Nothing is lost"):
            await submit(client, SPARK_APPLICATION, pi(), identity(), namespace="default", log=told)
        start_api_server(port=port)
        submission = await submit(client, SPARK_APPLICATION, pi(), identity(), namespace="default", log=told)
    assert not submission.adopted
