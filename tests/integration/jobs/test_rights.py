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
import yaml

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.watch import WatchHub
from airflow_provider_sparkml.exceptions import ApplicationError, ForbiddenError
from airflow_provider_sparkml.jobs import rounds
from airflow_provider_sparkml.jobs.finish import finish
from airflow_provider_sparkml.jobs.outcome import Deadlines
from airflow_provider_sparkml.jobs.preflight import Status, Wanted, preflight
from airflow_provider_sparkml.jobs.rights import ROLES
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.jobs.wait import wait
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from tests.integration.jobs.conftest import Operator, Told, identity, pi

Triple = tuple[str, str, str]
"""API group, resource and verb."""
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


def rules(file: str) -> list[dict[str, Any]]:
    """Return the rules of a shipped role."""
    documents = yaml.safe_load_all((ROLES / f"{file}.yaml").read_text())
    return [rule for document in documents if document["kind"] == "Role" for rule in document["rules"]]


def triples(file: str) -> set[Triple]:
    return {
        (group, resource, verb)
        for rule in rules(file)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def without(missing: Triple, *files: str) -> list[dict[str, Any]]:
    """Return the rules of shipped roles but for one verb on one resource."""
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        for file in files
        for group, resource, verb in sorted(triples(file))
        if (group, resource, verb) != missing
    ]


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
    assert set(LOSSES) == triples("airflow")


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
    rule = f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: [{verb}]}}'
    caplog.set_level(logging.INFO, logger="airflow_provider_sparkml")
    async with lacking(missing, "airflow", "preflight") as client:
        if loss.error:
            with pytest.raises(ForbiddenError) as refused:
                await live(client, operator, namespace, told)
            first, advice = str(refused.value).splitlines()
            assert f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{namespace}"' in first
            assert f"needs the verb `{verb}` on {resource}" in advice
            assert f"add {rule} to a Role" in advice
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
                assert f"add {rule} to a Role" in told.text
        found = {finding.check: finding for finding in await preflight(client, Wanted(namespace))}
    if group == "kueue.x-k8s.io":  # not installed here
        return
    finding = found[f"right: {resource}.{group}" if group else f"right: {resource}"]
    needed = loss.error or verb == "delete"
    assert finding.status is (Status.FAILED if needed else Status.WARNING)
    assert finding.detail.startswith(f"not allowed: {verb}")
    assert finding.fix.endswith(rule)


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
