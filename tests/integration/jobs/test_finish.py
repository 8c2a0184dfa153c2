"""The end of a task: result or the one exception, consumed before it ends, cleaned by policy, nothing lost."""

from __future__ import annotations

import asyncio
import json

import pytest

from airflow_provider_sparkml import exceptions
from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.client.credentials import kubeconfig_file
from airflow_provider_sparkml.client.transport import Timeouts
from airflow_provider_sparkml.jobs.finish import finish, kill, parse_result
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.jobs.submit import submit
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import Phase, ResourceRef, Verdict
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.spark import API, SPARK_APPLICATION
from tests.integration.jobs.conftest import Operator, identity, limited_client, now, pi

TRACEBACK = [
    "26/11/22 10:00:00 INFO SparkContext: Running Spark version 4.3.0",
    "Traceback (most recent call last):",
    '  File "/opt/sparkml/etl.py", line 2, in <module>',
    "    main()",
    "ValueError: no such column: dep_delay",
]


@pytest.fixture
def finishing(client, airflow, namespace, told):
    async def finishing(ref, on_finish="delete", **options):
        obj = await client.get(API, ref.name, namespace)
        outcome = Outcome(ref, SPARK_APPLICATION.read(obj), **options)
        return await finish(airflow, SPARK_APPLICATION, outcome, on_finish=on_finish, log=told)

    return finishing


async def fetch(client, ref):
    try:
        return await client.get(API, ref.name, ref.namespace)
    except exceptions.NotFoundError:
        return None


async def test_success_returns_the_facts_and_the_drivers_own_result(start, operator, finishing):
    ref = (await start()).ref
    await operator.run(ref.name)
    await operator.end(ref.name, result=json.dumps({"auc": 0.75}))
    result = await finishing(ref, "keep")
    assert result["result"] == {"auc": 0.75}
    assert {key: result[key] for key in ("name", "namespace", "uid", "phase", "attempts")} == {
        "name": ref.name, "namespace": ref.namespace, "uid": ref.uid, "phase": "SUCCEEDED", "attempts": 1,
    }  # fmt: skip
    assert result["submission_id"] == "s1"
    assert result["spark_application_id"] == "spark-s1"
    assert result["driver_pod"] == f"{ref.name}-driver"
    assert result["started_at"]
    assert result["finished_at"]
    assert result["ui_url"] == ""
    json.dumps(result)


@pytest.mark.parametrize(
    ("message", "result"),
    [
        ("", None),
        ("  \n", None),
        ('{"a": [1, 2]}\n', {"a": [1, 2]}),
        ("3.5", 3.5),
        ("done, 7 rows", "done, 7 rows"),
        ('{"auc": NaN}', '{"auc": NaN}'),
        ('{"cut": "of', '{"cut": "of'),
        ("null", None),
    ],
)
def test_parse_result(message, result):
    assert parse_result(message) == result


async def test_a_result_that_kubernetes_cut_is_told(start, operator, finishing, told):
    ref = (await start()).ref
    await operator.run(ref.name)
    await operator.end(ref.name, result='{"rows": "' + "x" * 4086)
    result = await finishing(ref)
    assert isinstance(result["result"], str)
    assert "cut by Kubernetes at 4096 bytes" in told.text


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("on_finish", ["delete", "delete_on_success", "keep"])
async def test_clean_up_by_policy(start, operator, finishing, client, on_finish, code):
    ref = (await start()).ref
    await operator.run(ref.name)
    await operator.end(ref.name, code=code)
    if code:
        with pytest.raises(exceptions.ApplicationError) as caught:
            await finishing(ref, on_finish)
        message = str(caught.value)
    else:
        await finishing(ref, on_finish)
    kept = on_finish == "keep" or (on_finish == "delete_on_success" and code)
    assert (await operator.live() == [ref.name]) is bool(kept)
    if kept:
        assert naming.is_consumed(await fetch(client, ref))
    if code:
        assert (f"kubectl logs -n {ref.namespace} {ref.name}-driver -c spark-kubernetes-driver" in message) is bool(
            kept
        )
        assert ('on_finish="delete_on_success"' in message) is not bool(kept)


async def test_after_a_failure_that_is_kept_the_retry_is_a_new_job(start, operator, finishing):
    first = (await start()).ref
    await operator.run(first.name)
    await operator.end(first.name, code=1)
    with pytest.raises(exceptions.ApplicationError):
        await finishing(first, "keep")
    second = await start(try_number=2, on_finish="keep")
    assert not second.adopted
    assert await operator.live() == sorted([first.name, second.ref.name])


async def test_the_message_answers_why_without_another_tool(start, operator, finishing, client, namespace):
    submission = await start()
    ref = submission.ref
    pod = await operator.run(ref.name)
    operator.log(pod, *TRACEBACK)
    await operator.warn(submission.obj, "SparkDriverFailed", "Driver etl failed")
    await operator.warn({**pod, "kind": "Pod"}, "BackOff", "Back-off restarting failed container")
    lost = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": now(), "finishedAt": now()}}
    await operator.pod(ref.name, "Failed", lost, name=f"{ref.name}-exec-1", container="spark-kubernetes-executor")
    await operator.end(ref.name, code=1)
    with pytest.raises(exceptions.ApplicationError) as caught:
        await finishing(ref)
    message = str(caught.value)
    assert message.splitlines()[0] == "The driver ended with exit code 1: ValueError: no such column: dep_delay"
    for text in (
        f"SparkApplication {namespace}/{ref.name} (uid {ref.uid}): FAILED, attempt 1",
        "driver container failed with ExitCode: 1, Reason: Error",
        f"pod {ref.name}-driver: Failed, on node-1, exit code 1 (Error)",
        f"{ref.name}-exec-1: OOMKilled (exit code 137)",
        f"SparkDriverFailed SparkApplication {ref.name}: Driver etl failed",
        f"BackOff Pod {ref.name}-driver: Back-off restarting failed container",
        '  |   File "/opt/sparkml/etl.py", line 2, in <module>',
        "What to try: ",
    ):
        assert text in message


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (137, "OOMKilled", exceptions.OutOfMemoryError),
        (137, "Error", exceptions.ContainerKilledError),
        (143, "Error", exceptions.ContainerKilledError),
        (1, "Error", exceptions.ApplicationError),
    ],
)
async def test_each_way_to_die_has_its_class(start, operator, finishing, code, reason, error):
    ref = (await start()).ref
    await operator.run(ref.name)
    await operator.end(ref.name, code=code, reason=reason)
    with pytest.raises(error) as caught:
        await finishing(ref)
    assert type(caught.value) is error


async def test_a_log_of_200_mb_is_not_read(start, operator, finishing, api_server, client, namespace):
    ref = (await start()).ref
    pod = await operator.run(ref.name)
    with api_server.log_path(pod["metadata"]["uid"], "spark-kubernetes-driver").open("wb") as file:
        file.truncate(200 * 1024 * 1024)  # a hole: no disk is used
        file.seek(0, 2)
        file.write(("\n" + "\n".join(TRACEBACK) + "\n").encode())
    await operator.end(ref.name, code=1)
    async with asyncio.timeout(20):
        with pytest.raises(exceptions.ApplicationError, match="no such column") as caught:
            await finishing(ref)
    assert len(str(caught.value)) < 50_000


async def test_a_failure_without_any_pod_left(start, operator, finishing):
    ref = (await start()).ref
    await operator.write(ref.name, "FAILED", "driver pod not found", terminationTime=now())
    with pytest.raises(exceptions.JobDeletedError, match="driver pod not found"):
        await finishing(ref)


async def test_a_submission_that_was_refused_for_quota(start, operator, finishing):
    ref = (await start()).ref
    said = 'failed to submit spark application: pods "x" is forbidden: exceeded quota: small, requested: cpu=4'
    await operator.write(ref.name, "FAILED", said)
    with pytest.raises(exceptions.QuotaExceededError, match="exceeded quota: small"):
        await finishing(ref)


async def test_deleted_by_hand(start, operator, client, airflow, namespace, told):
    submission = await start()
    ref = submission.ref
    await operator.warn(submission.obj, "Evicted", "somebody did this")
    await client.delete(API, ref.name, namespace, propagation="Background")
    outcome = Outcome(ref, Verdict(Phase.RUNNING, state="RUNNING"), deleted=True)
    with pytest.raises(exceptions.JobDeletedError, match="was deleted while it was RUNNING") as caught:
        await finish(airflow, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
    assert "somebody did this" in str(caught.value)


async def test_deleted_between_its_success_and_the_finish(start, client, airflow, namespace, told):
    ref = (await start()).ref
    await client.delete(API, ref.name, namespace, propagation="Background")
    outcome = Outcome(ref, Verdict(Phase.SUCCEEDED, state="COMPLETED", attempt=1))
    result = await finish(airflow, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
    assert result["phase"] == "SUCCEEDED"
    assert result["result"] is None
    assert "deleted before its result was read" in told.text


async def test_never_a_namesake_of_the_job(start, client, airflow, namespace, told, operator):
    ref = (await start()).ref
    gone = ResourceRef(ref.api_version, ref.kind, ref.namespace, ref.name, "another-uid")
    outcome = Outcome(gone, Verdict(Phase.SUCCEEDED, state="COMPLETED"))
    await finish(airflow, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
    await kill(airflow, SPARK_APPLICATION.api, gone, log=told)
    assert await operator.live() == [ref.name]
    assert not naming.is_consumed(await fetch(client, ref))


@pytest.mark.parametrize(
    ("expired", "state", "error"),
    [
        ("queue", "SUSPENDED", exceptions.QueueTimeoutError),
        ("startup", "SUBMITTED", exceptions.StartupTimeoutError),
        ("execution", "RUNNING", exceptions.ExecutionTimeoutError),
    ],
)
@pytest.mark.parametrize("on_finish", ["delete", "keep"])
async def test_after_a_deadline_the_job_is_deleted_whatever_the_policy(
    start, operator, finishing, expired, state, error, on_finish
):
    ref = (await start()).ref
    await operator.write(ref.name, state)
    with pytest.raises(error, match=state):
        await finishing(ref, on_finish, expired=expired)
    assert await operator.live() == []


async def test_a_missing_image_is_named_when_start_up_expires(start, operator, finishing):
    ref = (await start()).ref
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    await operator.pod(ref.name, "Pending", waiting)
    await operator.write(ref.name, "SUBMITTED", driverInfo={"podName": f"{ref.name}-driver"})
    with pytest.raises(exceptions.ImagePullError, match=r"Image registry/spark:1\.0 cannot be pulled"):
        await finishing(ref, expired="startup")


async def test_a_job_that_ended_between_the_deadline_and_the_finish_has_succeeded(start, operator, airflow, told):
    ref = (await start()).ref
    await operator.run(ref.name)
    await operator.end(ref.name, result="7")
    outcome = Outcome(ref, Verdict(Phase.RUNNING, state="RUNNING"), expired="execution")
    result = await finish(airflow, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
    assert result["result"] == 7


async def test_the_end_of_a_log_that_was_not_followed_is_shown(start, operator, finishing, told):
    ref = (await start()).ref
    pod = await operator.run(ref.name)
    operator.log(pod, *(f"line {n}" for n in range(100)))
    await operator.end(ref.name)
    await finishing(ref)
    assert told.driver == [f"line {n}" for n in range(70, 100)]


async def test_a_log_that_was_followed_is_not_shown_again(start, operator, finishing, told):
    ref = (await start()).ref
    operator.log(await operator.run(ref.name), "line")
    await operator.end(ref.name)
    await finishing(ref, log_shown=True)
    assert told.driver == []


async def test_without_rights_on_pods_and_objects_the_result_stands(
    start, operator, api_server, client, namespace, told
):
    """Only `get` on the application itself: what is missing is told with its fix."""
    ref = (await start()).ref
    await operator.run(ref.name)
    await operator.end(ref.name, result="7")
    outcome = Outcome(ref, Verdict(Phase.SUCCEEDED, state="COMPLETED"))
    async with limited_client(api_server, client, namespace, ["get"]) as limited:
        result = await finish(limited, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
    assert result["phase"] == "SUCCEEDED"
    assert result["result"] is None
    warnings = "\n".join(told.warnings)
    assert "needs the verb `get` on pods" in warnings
    assert f"kubectl auth can-i patch sparkapplications.sparkoperator.k8s.io -n {namespace}" in warnings
    assert f"kubectl delete sparkapplications.sparkoperator.k8s.io -n {namespace} {ref.name}" in warnings


async def test_without_rights_the_failure_is_still_told(start, operator, api_server, client, namespace, told):
    ref = (await start()).ref
    await operator.run(ref.name)
    await operator.end(ref.name, code=3)
    obj = await client.get(API, ref.name, namespace)
    outcome = Outcome(ref, SPARK_APPLICATION.read(obj))
    async with limited_client(api_server, client, namespace, ["get"]) as limited:
        with pytest.raises(exceptions.ApplicationError, match="exit code 3") as caught:
            await finish(limited, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
    assert "Not read: pods: " in str(caught.value)


async def test_api_server_away_at_the_finish_loses_nothing(start_api_server, told):
    server = start_api_server()
    port = server.port
    async with KubernetesClient(kubeconfig_file(server.kubeconfig), timeouts=Timeouts(total=1.0)) as client:
        operator = Operator(client, "default", server)
        ref = (await submit(client, SPARK_APPLICATION, pi(), identity(), namespace="default", log=told)).ref
        await operator.run(ref.name)
        await operator.end(ref.name, result="7")
        outcome = Outcome(ref, Verdict(Phase.SUCCEEDED, state="COMPLETED"))
        await asyncio.to_thread(server.stop)
        with pytest.raises(exceptions.ApiUnavailableError):
            await finish(client, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
        await asyncio.to_thread(start_api_server, port=port)
        again = await submit(client, SPARK_APPLICATION, pi(), identity(2), namespace="default", log=told)
        assert again.adopted
        assert again.ref == ref
        result = await finish(client, SPARK_APPLICATION, outcome, on_finish="delete", log=told)
        assert result["result"] == 7


async def test_kill_deletes_the_object_in_the_foreground_and_again_does_nothing(start, operator, client, airflow, told):
    ref = (await start()).ref
    await operator.run(ref.name)
    await kill(airflow, SPARK_APPLICATION.api, ref, log=told)
    assert await operator.live() == []
    await kill(airflow, SPARK_APPLICATION.api, ref, log=told)
    await client.delete(POD, f"{ref.name}-driver", ref.namespace, grace_seconds=0)
