"""Every right of the shipped roles taken away, one by one: a clear error, or one feature off with one line."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import ApplicationError, ForbiddenError, ModelNotReadyError
from airflow_provider_sparkml.jobs import rounds
from airflow_provider_sparkml.jobs.deploy import deploy, finish_deploy
from airflow_provider_sparkml.jobs.experiment import wait_for_trials
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.kueue import QUEUE_NAME
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.preflight import Status, Wanted, preflight
from airflow_provider_sparkml.jobs.rollout import wait_for_rollout
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.serving import INFERENCE_SERVICE
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_apache import ApacheSparkApplication
from tests.integration.jobs.conftest import Operator, Told, identity, pi
from tests.integration.jobs.test_deploy import FAILURE, Kserve, flights
from tests.shipped_roles import Triple, rule, to_add, triples, without
from tests.unit.resources.kinds import BY_ID, KINDS, Kind, conditions

APPS = ("sparkoperator.k8s.io", "sparkapplications")


@dataclass(frozen=True)
class Loss:
    """What is lost without a right.

    :param error: the verb is needed: the job is not run at all.
    :param line: how the one line begins that says what is off; the job succeeds.
    :param detail: for what only a failure needs: what its message says.
    """

    error: bool = False
    line: str = ""
    detail: str = ""


LOSSES: dict[Triple, Loss] = {
    (*APPS, "create"): Loss(error=True),
    (*APPS, "get"): Loss(error=True),
    (*APPS, "list"): Loss(error=True),
    (*APPS, "delete"): Loss(line="SparkApplication .* was not cleaned up: "),
    (*APPS, "watch"): Loss(line="watching sparkapplications.sparkoperator.k8s.io in namespace .* is refused, so it is"),
    (*APPS, "patch"): Loss(line="SparkApplication .* could not be marked as consumed: "),
    ("", "pods", "get"): Loss(line="The result was not read: "),
    ("", "pods", "list"): Loss(detail="Not read: pods: "),
    ("", "pods/log", "get"): Loss(line="The job's log cannot be followed: "),
    ("", "events", "list"): Loss(line="No events will be shown: "),
    ("", "pods/proxy", "get"): Loss(line="No progress will be shown: "),
    ("kueue.x-k8s.io", "workloads", "list"): Loss(line="Why Kueue keeps the job waiting will not be shown: "),
}


@pytest.fixture
def lacking(api_server: Any, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Give a client of an account that has the rights of shipped roles but one."""
    monkeypatch.setattr(rounds, "INTERVAL", 0.05)

    @asynccontextmanager
    async def lacking(missing: Triple, *files: str) -> AsyncIterator[KubernetesClient]:
        kubeconfig = await asyncio.to_thread(api_server.airflow_kubeconfig, namespace, name="lacking")
        await asyncio.to_thread(api_server.grant, namespace, without(missing, *files), account="lacking")
        async with KubernetesClient(kubeconfig_file(kubeconfig)) as client:
            yield client

    return lacking


async def live(client: KubernetesClient, operator: Operator, namespace: str, told: Told, *, code: int = 0) -> Any:
    """Run a job from its submission to its result, in all that Airflow asks for; return the result."""
    application = pi()
    application["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "team-a"
    ref = (await submit(client, SPARK_APPLICATION, application, identity(), namespace=namespace, log=told)).ref
    hub = WatchHub(client, poll_seconds=0.05)
    task = asyncio.create_task(wait(client, hub, SPARK_APPLICATION, ref, Deadlines(), log=told))
    try:
        for state in ("SUSPENDED", "SUBMITTED"):
            await operator.write(ref.name, state)
            await seen(task, told, f"({state})")
        pod = await operator.run(ref.name)
        operator.log(pod, "hello")
        await seen(task, told, "RUNNING")
        await operator.end(ref.name, code=code, result='{"rows": 3}')
        outcome = await asyncio.wait_for(task, 20)
    finally:
        task.cancel()
        await hub.close()
    return await finish(client, SPARK_APPLICATION, outcome, on_finish="delete", log=told)


async def seen(task: asyncio.Task[Any], told: Told, text: str) -> None:
    """Wait until the wait has told of a state and has made several visits in it, or has ended."""
    until = asyncio.create_task(told.until(text))
    await asyncio.wait([until, task], return_when=asyncio.FIRST_COMPLETED)
    until.cancel()
    if not task.done():
        await asyncio.sleep(0.25)  # some visits: what is off must not be told in each


def test_every_right_is_tried() -> None:
    # Workloads are watched for Experiments only; without it they are listed, as is any type.
    assert {*LOSSES, ("kueue.x-k8s.io", "workloads", "watch")} == triples("airflow")


async def test_with_all_of_them_nothing_is_missing(airflow, operator, namespace, told):
    result = await live(airflow, operator, namespace, told)
    assert result["result"] == {"rows": 3}
    assert told.driver == ["hello"]
    assert "forbidden" not in told.text
    assert await operator.live() == []


@pytest.mark.parametrize("missing", LOSSES, ids=lambda triple: " ".join(reversed(triple)).rstrip())
async def test_without_one_right(missing, lacking, operator, namespace, told, caplog):
    group, resource, verb = missing
    loss = LOSSES[missing]
    caplog.set_level(logging.INFO, logger="airflow_provider_sparkml")
    async with lacking(missing, "airflow", "preflight") as client:
        if loss.error:
            with pytest.raises(ForbiddenError) as refused:
                await live(client, operator, namespace, told)
            first, advice = str(refused.value).splitlines()
            assert f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{namespace}"' in first
            assert f"needs the verb `{verb}` on {resource}" in advice
            assert to_add(missing) in advice
        elif loss.detail:
            with pytest.raises(ApplicationError, match=loss.detail):
                await live(client, operator, namespace, told, code=3)
        else:
            assert (await live(client, operator, namespace, told))["phase"] == "SUCCEEDED"
            lines = told.text.splitlines() + [record.getMessage() for record in caplog.records]
            refusals = [line for line in lines if "forbidden" in line]
            assert len(refusals) == 1
            assert re.match(loss.line, refusals[0])
            if verb != "watch":
                assert to_add(missing) in told.text
        found = {finding.check: finding for finding in await preflight(client, Wanted(namespace))}
    if group == "kueue.x-k8s.io":  # not installed here
        return
    finding = found[f"right: {resource}.{group}" if group else f"right: {resource}"]
    needed = loss.error or verb == "delete"
    assert finding.status is (Status.FAILED if needed else Status.WARNING)
    assert finding.detail.startswith(f"not allowed: {verb}")
    assert finding.fix.endswith(rule(missing))


async def test_without_delete_a_deadline_is_an_error(lacking, operator, namespace, told):
    """The job runs on, and whoever is on call has to know."""
    async with lacking((*APPS, "delete"), "airflow") as client:
        ref = (await submit(client, SPARK_APPLICATION, pi(), identity(), namespace=namespace, log=told)).ref
        hub = WatchHub(client)
        outcome = await wait(client, hub, SPARK_APPLICATION, ref, Deadlines(execute_until=1.0), log=told)
        await hub.close()
        with pytest.raises(ForbiddenError, match=r"cannot delete resource .*sparkapplications"):
            await finish(client, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
    assert await operator.live() == [ref.name]


SERVICES = ("serving.kserve.io", "inferenceservices")
SERVING: dict[Triple, Loss] = {
    **{(*SERVICES, verb): Loss(error=True) for verb in ("create", "get", "list", "patch")},
    (*SERVICES, "delete"): Loss(detail="InferenceService .* was not cleaned up: "),
    (*SERVICES, "watch"): Loss(
        line="watching inferenceservices.serving.kserve.io in namespace .* is refused, so it is"
    ),
    ("apps", "deployments", "list"): Loss(error=True),
    ("apps", "deployments", "watch"): Loss(line="watching deployments.apps in namespace .* is refused, so it is"),
    ("serving.knative.dev", "revisions", "get"): Loss(line="The ready revision is taken for the new version, unseen: "),
}


async def serve(client: KubernetesClient, kserve: Kserve, told: Told, *, mode: str, fails: bool) -> Any:
    """Deploy a service and wait for its rollout; return the result."""
    submission = await deploy(
        client, INFERENCE_SERVICE, flights(), namespace=kserve.namespace, log=told, created_by="chain-1"
    )
    hub = WatchHub(client, poll_seconds=0.05)
    task = asyncio.create_task(wait_for_rollout(client, hub, INFERENCE_SERVICE, submission.ref, Deadlines(), log=told))
    try:
        await seen(task, told, "PENDING")
        if mode == "Standard":
            await kserve.roll(submission.obj)
        if fails:
            await kserve.write(ready=False, transition="BlockedByFailedLoad", failure=FAILURE)
        else:
            ready = {"latestCreatedRevision": "flights-1", "latestReadyRevision": "flights-1"}
            await kserve.write(deploymentMode=mode, components={"predictor": ready})
        outcome = await asyncio.wait_for(task, 20)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await hub.close()
    return await finish_deploy(client, INFERENCE_SERVICE, outcome, created_by="chain-1", log=told)


def test_every_right_to_serve_is_tried() -> None:
    assert set(SERVING) == triples("serving")


@pytest.mark.parametrize("missing", SERVING, ids=lambda triple: " ".join(reversed(triple)))
async def test_serving_without_one_right(missing, lacking, client, namespace, told, caplog):
    resource = missing[1]
    loss, kserve = SERVING[missing], Kserve(client, namespace)
    caplog.set_level(logging.INFO, logger="airflow_provider_sparkml")
    mode = "Knative" if resource == "revisions" else "Standard"
    async with lacking(missing, "airflow", "serving") as limited:
        serving = serve(limited, kserve, told, mode=mode, fails=bool(loss.detail))
        if loss.error:
            with pytest.raises(ForbiddenError, match=re.escape(to_add(missing))):
                await serving
            return
        if loss.detail:
            with pytest.raises(ModelNotReadyError):
                await serving
            assert re.search(loss.detail, told.text)
        else:
            assert (await serving)["name"] == "flights"
            lines = told.text.splitlines() + [record.getMessage() for record in caplog.records]
            (refusal,) = [line for line in lines if "forbidden" in line]
            assert re.match(loss.line, refusal)


STATES = (
    "Submitted",
    "DriverRequested",
    "DriverStarted",
    "DriverReady",
    "RunningHealthy",
    "Succeeded",
    "ResourceReleased",
)
HISTORY = {str(number): {"currentStateSummary": state} for number, state in enumerate(STATES)}
APACHE = Kind(
    "ApacheSparkApplication",
    ApacheSparkApplication(image="i:1", main_application_file="local:///a.py"),
    status={"currentState": {"currentStateSummary": STATES[-1]}, "stateTransitionHistory": HISTORY},
)
OTHERS = [
    (file, kind)
    for file, kind in [
        *(("training", kind) for kind in KINDS if kind.id not in ("Horovod", "MPIJobV1")),
        ("spark_apache", APACHE),
    ]
]


@pytest.mark.parametrize(("file", "kind"), OTHERS, ids=lambda each: each if isinstance(each, str) else each.id)
@pytest.mark.parametrize("verb", ["create", "get", "list", "delete", "watch", "patch"])
async def test_any_other_kind_without_one_right(file, kind, verb, lacking, client, namespace, told, caplog):
    """The verbs are used by the same code; each kind has rules of its own, and each rule has all the verbs."""
    resource, api = kind.resource, kind.resource.api
    loss = LOSSES[(*APPS, verb)]
    missing = (api.group, api.plural, verb)
    caplog.set_level(logging.INFO, logger="airflow_provider_sparkml")
    assert missing in triples(file)
    async with lacking(missing, "airflow", file) as limited:
        hub = WatchHub(limited, poll_seconds=0.05)

        async def run() -> Any:
            job = await submit(limited, resource, kind.manifest, identity(), namespace=namespace, log=told)
            await client.patch(api, job.ref.name, {"status": kind.ended()}, namespace, subresource="status")
            outcome = await asyncio.wait_for(wait(limited, hub, resource, job.ref, Deadlines(), log=told), 20)
            return await finish(limited, resource, outcome, on_finish="delete", log=told)

        try:
            if loss.error:
                with pytest.raises(ForbiddenError, match=re.escape(to_add(missing))):
                    await run()
                return
            assert (await run())["phase"] == "SUCCEEDED"
        finally:
            await hub.close()
    lines = told.text.splitlines() + [record.getMessage() for record in caplog.records]
    (refusal,) = [line for line in lines if "forbidden" in line]
    line = loss.line.replace("SparkApplication", api.kind).replace(
        "sparkapplications.sparkoperator.k8s.io", api.full_name
    )
    assert re.match(line, refusal)
    assert verb == "watch" or to_add(missing) in told.text


@pytest.mark.parametrize("queue", ["team-a", ""])
@pytest.mark.parametrize("verb", ["list", "get"], ids=["forbidden", "no Kueue"])
async def test_an_experiment_without_a_right_to_workloads_or_without_kueue(
    verb, queue, lacking, client, namespace, told
):
    kind = BY_ID["Experiment"]
    manifest = {**kind.manifest, "metadata": {"labels": {QUEUE_NAME: queue} if queue else {}}}
    async with lacking(("kueue.x-k8s.io", "workloads", verb), "airflow", "training") as limited:
        ref = (await submit(limited, kind.resource, manifest, identity(), namespace=namespace, log=told)).ref
        hub = WatchHub(limited)
        task = asyncio.create_task(wait_for_trials(limited, hub, kind.resource, ref, Deadlines(), log=told))
        running = {"conditions": conditions(Created="True", Running="True"), "runningTrialList": ["a"]}
        await client.patch(kind.resource.api, ref.name, {"status": running}, namespace, subresource="status")
        await seen(task, told, "RUNNING")
        await client.patch(kind.resource.api, ref.name, {"status": kind.ended()}, namespace, subresource="status")
        outcome = await asyncio.wait_for(task, 20)
        await hub.close()
    assert outcome.verdict.phase is Phase.SUCCEEDED
    refusals = [line for line in told.lines if "forbidden" in line]
    assert [line.partition(": ")[0] for line in refusals] == (
        ["Whether Kueue keeps its trials waiting will not be seen"] if queue and verb == "list" else []
    )


@pytest.mark.parametrize("verb", ["create", "get"])
async def test_training_pods_without_a_right_to_their_service(verb, lacking, client, namespace, told):
    kind = BY_ID["TrainingPods"]

    async def train(account: KubernetesClient) -> None:
        await submit(account, kind.resource, kind.manifest, identity(), namespace=namespace, log=told)

    async with lacking(("", "services", verb), "airflow", "training") as limited:
        if verb == "get":  # is asked for by the next try only, which finds job and Service
            await train(limited)
        with pytest.raises(ForbiddenError, match=rf'resources: ."services".*verbs: .{verb}.* to a Role'):
            await train(limited)


async def test_a_log_known_by_labels_needs_the_list_of_pods(lacking, client, namespace, told):
    kind = BY_ID["TrainJob"]
    async with lacking(("", "pods", "list"), "airflow", "training") as limited:
        ref = (await submit(limited, kind.resource, kind.manifest, identity(), namespace=namespace, log=told)).ref
        hub = WatchHub(limited)
        task = asyncio.create_task(wait(limited, hub, kind.resource, ref, Deadlines(), log=told))
        running = {
            "jobsStatus": [{"name": "node", "ready": 1, "active": 1, "failed": 0, "succeeded": 0, "suspended": 0}]
        }
        await client.patch(kind.resource.api, ref.name, {"status": running}, namespace, subresource="status")
        await seen(task, told, "RUNNING")
        await client.patch(kind.resource.api, ref.name, {"status": kind.ended()}, namespace, subresource="status")
        outcome = await asyncio.wait_for(task, 20)
        await hub.close()
        result = await finish(limited, kind.resource, outcome, on_finish="delete", log=told)
    assert (result["phase"], result["result"]) == ("SUCCEEDED", None)
    refusals = [line.partition(": ")[0] for line in told.lines if "forbidden" in line]
    assert refusals == ["The job's log cannot be followed", "The result was not read"]
