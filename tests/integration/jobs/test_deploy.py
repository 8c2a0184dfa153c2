"""An InferenceService is applied, never over somebody else's, and only its newest version counts."""

from __future__ import annotations

import asyncio
import copy
import time

import pytest

from airflow_provider_sparkml import exceptions
from airflow_provider_sparkml.jobs.deploy import CREATED_BY, deploy, finish_deploy
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.rollout import KNATIVE_REVISION, SPEC_HASH, Standing, standing, wait_for_rollout
from airflow_provider_sparkml.local.controllers.collectable import DEFINITION
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.core import DEPLOYMENT
from airflow_provider_sparkml.resources.naming import MANAGED_BY, PREFIX
from airflow_provider_sparkml.resources.serving import API, INFERENCE_SERVICE, InferenceService

FAILURE = {"reason": "ModelLoadFailed", "message": "no such file: model.onnx", "time": "2026-11-22T10:00:00Z"}


def flights(model: str = "a"):
    return InferenceService(name="flights", model_format="onnx", storage_uri=f"pvc://data/{model}").to_manifest()


class Kserve:
    """What KServe's controller and the Deployment's would write."""

    def __init__(self, client, namespace):
        self.client = client
        self.namespace = namespace

    async def roll(self, obj, *, updated=1, replicas=1, unavailable=0):
        """Give the Deployment the version that the object asks for, so far as its pods have got."""
        mark = {SPEC_HASH: obj["metadata"]["annotations"][SPEC_HASH]}
        labels = {"app": "flights"}
        pods = {
            "metadata": {"labels": labels, "annotations": mark},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        manifest = {
            "metadata": {"name": "flights-predictor", "annotations": mark},
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": pods},
        }
        applied = await self.client.apply(DEPLOYMENT, manifest, self.namespace, field_manager="kserve", force=True)
        status = {
            "observedGeneration": applied["metadata"]["generation"], "replicas": replicas, "updatedReplicas": updated,
            "unavailableReplicas": unavailable, "availableReplicas": replicas - unavailable,
        }  # fmt: skip
        await self.client.patch(
            DEPLOYMENT, "flights-predictor", {"status": status}, self.namespace, subresource="status"
        )

    async def write(self, *, ready=True, transition="UpToDate", failure=None, **status):
        """Write the status of the InferenceService."""
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": "2026-11-22T10:00:00Z",
        }
        body = {
            "conditions": [condition], "deploymentMode": "Standard", "url": "http://flights.example",
            "modelStatus": {"transitionStatus": transition, "lastFailureInfo": failure}, **status,
        }  # fmt: skip
        await self.client.patch(API, "flights", {"status": body}, self.namespace, subresource="status")


@pytest.fixture
def kserve(client, namespace):
    return Kserve(client, namespace)


@pytest.fixture
def deploying(airflow, namespace, told):
    async def deploying(manifest, created_by="chain-1"):
        return await deploy(airflow, INFERENCE_SERVICE, manifest, namespace=namespace, log=told, created_by=created_by)

    return deploying


@pytest.fixture
async def rolling(airflow, hub, told):
    tasks = []

    def rolling(ref, deadlines=None):
        tasks.append(
            asyncio.create_task(
                wait_for_rollout(airflow, hub, INFERENCE_SERVICE, ref, deadlines or Deadlines(), log=told)
            )
        )
        return tasks[-1]

    yield rolling
    for task in tasks:
        task.cancel()
        await asyncio.wait([task])


async def ended(task):
    return await asyncio.wait_for(asyncio.shield(task), 20)


async def test_a_new_service_serves_when_its_deployment_does(deploying, rolling, kserve, airflow, told):
    manifest = flights()
    before = copy.deepcopy(manifest)
    submission = await deploying(manifest)
    assert manifest == before
    assert not submission.adopted
    task = rolling(submission.ref)
    await kserve.write(ready=False, transition="InProgress")
    await told.until("PENDING (InProgress)")
    await kserve.roll(submission.obj)
    await kserve.write()
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED
    result = await finish_deploy(airflow, INFERENCE_SERVICE, await task, created_by="chain-1", log=told)
    assert result["url"] == "http://flights.example"
    assert result["uid"] == submission.ref.uid


@pytest.fixture
async def revision(client, namespace):
    """Give Knative revisions: which one carries which version."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"plural": "revisions", "kind": "Revision", "listKind": "RevisionList", "singular": "revision"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    spec = {"group": "serving.knative.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    await client.create(DEFINITION, {"metadata": {"name": "revisions.serving.knative.dev"}, "spec": spec})

    async def revision(name, obj):
        mark = {SPEC_HASH: obj["metadata"]["annotations"][SPEC_HASH]}
        await client.create(KNATIVE_REVISION, {"metadata": {"name": name, "annotations": mark}}, namespace)

    yield revision
    await client.delete(DEFINITION, "revisions.serving.knative.dev", propagation="Background")


async def test_knative_serves_the_new_version_when_its_revision_is_the_ready_one(
    deploying, rolling, kserve, revision, told
):
    def predictor(created, ready):
        return {"predictor": {"latestCreatedRevision": created, "latestReadyRevision": ready}}

    first = await deploying(flights("a"))
    task = rolling(first.ref)
    await revision("flights-1", first.obj)
    await kserve.write(deploymentMode="Knative", components=predictor("flights-1", "flights-1"))
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED
    second = await deploying(flights("b"))
    task = rolling(second.ref)
    await told.until("revision flights-1 is still the version before")
    await revision("flights-2", second.obj)
    await kserve.write(deploymentMode="Knative", components=predictor("flights-2", "flights-1"))
    await told.until("revision flights-2 is not ready")
    await kserve.write(deploymentMode="Knative", components=predictor("flights-2", "flights-2"))
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED


async def test_the_same_again_changes_nothing_and_succeeds_at_once(deploying, rolling, kserve, told):
    first = await deploying(flights())
    await kserve.roll(first.obj)
    await kserve.write()
    again = await deploying(flights(), created_by="chain-2")
    assert again.adopted
    assert again.obj["metadata"]["generation"] == first.obj["metadata"]["generation"]
    assert again.obj["metadata"]["annotations"] == first.obj["metadata"]["annotations"]
    assert "Nothing to change in" in told.text
    assert (await ended(rolling(again.ref))).verdict.phase is Phase.SUCCEEDED


async def test_ready_of_the_old_version_is_not_taken_for_the_new_ones(deploying, rolling, kserve, told):
    first = await deploying(flights("a"))
    await kserve.roll(first.obj)
    await kserve.write()
    second = await deploying(flights("b"))
    task = rolling(second.ref)
    await told.until("Deployment flights-predictor still has the version before")
    await kserve.roll(second.obj, updated=1, replicas=2)
    await told.until("1 of 2 pods have the new version")
    await kserve.roll(second.obj, unavailable=1)
    await told.until("1 of 1 pods are not available")
    assert not task.done()
    await kserve.roll(second.obj)
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED


async def test_ready_of_the_old_version_is_not_taken_for_the_new_ones_by_a_watch_that_is_behind(
    deploying, rolling, kserve, told, fall_behind
):
    first = await deploying(flights("a"))
    await kserve.roll(first.obj)
    await kserve.write()
    await ended(rolling(first.ref))
    fall_behind()
    second = await deploying(flights("b"))
    task = rolling(second.ref)
    await told.until("still has the version before")
    assert not task.done()


async def test_a_model_that_does_not_load_fails_at_once_and_what_we_made_is_gone(
    deploying, rolling, kserve, client, airflow, namespace, told
):
    submission = await deploying(flights())
    task = rolling(submission.ref)
    await kserve.roll(submission.obj, unavailable=1)
    await kserve.write(ready=False, transition="BlockedByFailedLoad", failure=FAILURE)
    outcome = await ended(task)
    with pytest.raises(exceptions.ModelNotReadyError) as caught:
        await finish_deploy(airflow, INFERENCE_SERVICE, outcome, created_by="chain-1", log=told)
    assert "no such file: model.onnx" in str(caught.value).splitlines()[0]
    assert [i for i in (await client.list(API, namespace)).items if "deletionTimestamp" not in i["metadata"]] == []


async def test_a_service_that_was_there_before_stays_when_its_new_version_fails(
    deploying, rolling, kserve, client, airflow, namespace, told
):
    first = await deploying(flights("a"))
    await kserve.roll(first.obj)
    await kserve.write()
    second = await deploying(flights("b"), created_by="chain-2")
    task = rolling(second.ref)
    await kserve.roll(second.obj, updated=1, replicas=2, unavailable=1)
    await kserve.write(ready=True, transition="BlockedByFailedLoad", failure=FAILURE)
    with pytest.raises(exceptions.ModelNotReadyError):
        await finish_deploy(airflow, INFERENCE_SERVICE, await ended(task), created_by="chain-2", log=told)
    assert "deletionTimestamp" not in (await client.get(API, "flights", namespace))["metadata"]


async def test_the_failure_of_the_version_before_is_not_the_new_ones(deploying, rolling, kserve, told):
    first = await deploying(flights("a"))
    await kserve.roll(first.obj, unavailable=1)
    await kserve.write(ready=False, transition="BlockedByFailedLoad", failure=FAILURE)
    second = await deploying(flights("b"))
    task = rolling(second.ref)
    await told.until("the version before it had failed")
    await kserve.roll(second.obj, unavailable=1)
    await asyncio.sleep(0.2)
    assert not task.done()
    await kserve.roll(second.obj)
    await kserve.write()
    assert (await ended(task)).verdict.phase is Phase.SUCCEEDED


async def test_an_invalid_spec_fails_at_once_though_nothing_is_rolled_out(deploying, rolling, kserve):
    submission = await deploying(flights())
    await kserve.write(ready=False, transition="InvalidSpec", failure={"message": "no runtime for onnx"})
    outcome = await ended(rolling(submission.ref))
    assert outcome.verdict.phase is Phase.FAILED


async def test_not_in_time(deploying, rolling, kserve, airflow, namespace, told):
    submission = await deploying(flights())
    outcome = await ended(rolling(submission.ref, Deadlines(startup_until=time.time() + 0.3)))
    assert outcome.expired == "startup"
    with pytest.raises(exceptions.StartupTimeoutError):
        await finish_deploy(airflow, INFERENCE_SERVICE, outcome, created_by="chain-1", log=told)


async def test_deleted_by_hand(deploying, rolling, client, airflow, namespace, told):
    submission = await deploying(flights())
    task = rolling(submission.ref)
    await told.until("PENDING")
    await client.delete(API, "flights", namespace, propagation="Background")
    outcome = await ended(task)
    assert outcome.deleted
    with pytest.raises(exceptions.JobDeletedError):
        await finish_deploy(airflow, INFERENCE_SERVICE, outcome, created_by="chain-1", log=told)


async def test_a_retry_of_the_chain_that_created_it_may_still_delete_it(deploying):
    assert not (await deploying(flights())).adopted
    assert not (await deploying(flights("b"))).adopted
    again = await deploying(flights("b"), created_by="chain-2")
    assert again.adopted
    assert again.obj["metadata"]["annotations"][CREATED_BY] == "chain-1"


async def test_somebody_elses_service_is_not_touched(deploying, client, namespace):
    theirs = await client.create(API, flights("theirs"), namespace)
    with pytest.raises(exceptions.NameTakenError, match="was not made by this package") as caught:
        await deploying(flights())
    assert f"--overwrite {MANAGED_BY}={PREFIX}" in str(caught.value)
    now = await client.get(API, "flights", namespace)
    assert now["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]


async def test_a_field_that_somebody_else_owns_is_named(deploying, client, namespace):
    await deploying(flights("a"))
    theirs = {"metadata": {"name": "flights"}, "spec": {"predictor": {"minReplicas": 3}}}
    await client.apply(API, theirs, namespace, field_manager="kubectl", force=True)
    with pytest.raises(exceptions.ConflictError, match="minReplicas") as caught:
        await deploying(flights("b"))
    assert "--force-conflicts" in str(caught.value)


async def test_one_that_is_being_deleted_is_left_to_a_retry(deploying, client, namespace):
    await deploying(flights())
    await client.patch(API, "flights", {"metadata": {"finalizers": ["test/hold"]}}, namespace)
    await client.delete(API, "flights", namespace)
    with pytest.raises(exceptions.ConflictError, match="is being deleted"):
        await deploying(flights())
    await client.patch(API, "flights", {"metadata": {"finalizers": []}}, namespace)


async def test_absent_namespace(client, told):
    with pytest.raises(exceptions.NamespaceNotFoundError, match="not-there"):
        await deploy(client, INFERENCE_SERVICE, flights(), namespace="not-there", log=told)


def marked(version, **status):
    meta = {"name": "d", "generation": 2, "annotations": {SPEC_HASH: version}}
    return {"metadata": meta, "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, **status}}


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        (None, Standing(False, "its Deployment is not there yet")),
        (marked("old"), Standing(False, "Deployment d still has the version before")),
        (marked("new", observedGeneration=1), Standing(False, "Deployment d is about to be rolled out")),
        (marked("new", replicas=2), Standing(False, "1 of 2 pods have the new version", begun=True)),
        (
            marked("new", unavailableReplicas=1),
            Standing(False, "1 of 1 pods are not available", begun=True, alone=True),
        ),
        (marked("new"), Standing(True, begun=True, alone=True)),
    ],
)
def test_standing(deployment, expected):
    assert standing({"metadata": {"annotations": {SPEC_HASH: "new"}}}, deployment) == expected
