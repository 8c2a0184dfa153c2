"""What is special in waiting for training jobs, on a real API server; the test plays their controllers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import JobFailedError
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.base import Phase, ResourceRef
from airflow_provider_sparkml.resources.core import POD
from tests.integration.jobs.conftest import Operator, Told, identity, now
from tests.unit.resources.kinds import BY_ID, Kind, conditions


async def create(client: KubernetesClient, kind: Kind, namespace: str, told: Told) -> ResourceRef:
    created = await submit(client, kind.resource, kind.manifest, identity(), namespace=namespace, log=told)
    return created.ref


async def write(client: KubernetesClient, kind: Kind, ref: ResourceRef, **status: Any) -> None:
    await client.patch(kind.resource.api, ref.name, {"status": status}, ref.namespace, subresource="status")


async def ended_pod(
    client: KubernetesClient, namespace: str, name: str, labels: dict[str, str], *, code: int, **messages: str
) -> dict[str, Any]:
    """Write a pod with these containers, which have ended; their statuses come sorted by name, as the kubelet's do."""
    spec = {"nodeName": "node-1", "containers": [{"name": container, "image": "i:1"} for container in messages]}
    manifest = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    pod = await client.create(POD, manifest, namespace)
    statuses = [
        {
            "name": container, "image": "i:1", "imageID": "", "ready": False, "restartCount": 0,
            "state": {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "message": message}},
        }
        for container, message in sorted(messages.items())
    ]  # fmt: skip
    status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses}
    await client.patch(POD, name, {"status": status}, namespace, subresource="status")
    return pod


@pytest.mark.parametrize("has_run", [True, False])
async def test_a_job_that_has_run_is_not_put_back_on_the_start_up_clock_when_it_loses_a_pod(
    client: KubernetesClient, airflow: KubernetesClient, hub: WatchHub, namespace: str, told: Told, has_run: bool
) -> None:
    kind = BY_ID["TrainJob"]
    ref = await create(airflow, kind, namespace, told)
    long_ago = conditions(Suspended="False", reason="Resumed")
    long_ago[0]["lastTransitionTime"] = now(-60)
    node = {"name": "node", "ready": 0, "active": 1, "succeeded": 0, "failed": 0, "suspended": 0}
    ready = node | {"ready": 1} if has_run else node
    await write(client, kind, ref, conditions=long_ago, jobsStatus=[ready])
    task = asyncio.create_task(wait(airflow, hub, kind.resource, ref, Deadlines(startup_seconds=30.0), log=told))
    if not has_run:
        assert (await task).expired == "startup"
        return
    await told.until("RUNNING")
    await write(client, kind, ref, jobsStatus=[node])
    await told.until("PENDING")
    await write(client, kind, ref, **kind.ended())
    outcome = await task
    assert (outcome.verdict.phase, outcome.expired) == (Phase.SUCCEEDED, "")


async def test_the_result_is_the_launchers_own_and_no_sidecars(
    client: KubernetesClient, airflow: KubernetesClient, namespace: str, told: Told
) -> None:
    kind = BY_ID["MPIJob"]
    ref = await create(airflow, kind, namespace, told)
    labels = {"training.kubeflow.org/job-name": ref.name, "training.kubeflow.org/job-role": "launcher"}
    await ended_pod(
        client, namespace, f"{ref.name}-launcher-x7k2p", labels, code=0, launcher='{"loss": 0.5}', envoy="bye"
    )
    await write(client, kind, ref, **kind.ended())
    obj = await client.get(kind.resource.api, ref.name, namespace)
    outcome = Outcome(ref, kind.resource.read(obj))
    result = await finish(airflow, kind.resource, outcome, on_finish="keep", log=told)
    assert result["result"] == {"loss": 0.5}


async def test_a_search_without_a_best_trial_shows_how_its_trials_failed(
    client: KubernetesClient, airflow: KubernetesClient, namespace: str, told: Told, operator: Operator
) -> None:
    kind = BY_ID["Experiment"]
    ref = await create(airflow, kind, namespace, told)
    pod = await ended_pod(
        client, namespace, "trial-a-node-0-0-x", {"katib.kubeflow.org/trial": "trial-a"}, code=1, node=""
    )
    operator.log(pod, "ValueError: lr must be positive", container="node")
    status = {"trials": 1, "trialsFailed": 1, "failedTrialList": ["trial-a"], "currentOptimalTrial": {}}
    await write(client, kind, ref, **kind.ended(reason="ExperimentMaxTrialsReached") | status)
    obj = await client.get(kind.resource.api, ref.name, namespace)
    outcome = Outcome(ref, kind.resource.read(obj))
    assert outcome.verdict.phase is Phase.FAILED
    with pytest.raises(JobFailedError) as raised:
        await finish(airflow, kind.resource, outcome, on_finish="keep", log=told)
    assert "ValueError: lr must be positive" in str(raised.value)
    assert "[trial-a-node-0-0-x] ValueError: lr must be positive" in told.text
    assert "no trial has told a usable loss" in str(raised.value)
