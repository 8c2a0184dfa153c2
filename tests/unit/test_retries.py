"""The shipped retry policies: what is tried again, after how long, and that Airflow can carry them."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from airflow_provider_sparkml import exceptions
from airflow_provider_sparkml.exceptions import (
    ApplicationError,
    EvictedError,
    ExecutionTimeoutError,
    InvalidManifestError,
    JobDeletedError,
    JobFailedError,
    NodeLostError,
    QueueTimeoutError,
)
from airflow_provider_sparkml.retries import InfrastructureRetryPolicy, OperatorRetryPolicy

POLICY = InfrastructureRetryPolicy(delay=timedelta(seconds=10), max_delay=timedelta(seconds=60))


@pytest.mark.parametrize(
    "name",
    [
        "EvictedError", "NodeLostError", "ExecutorsLostError", "ContainerKilledError", "QuotaExceededError",
        "ApiUnavailableError", "JobDeletedError", "TriggerError", "ConflictError",
    ],
)  # fmt: skip
def test_what_the_cluster_has_done_is_tried_again(name: str) -> None:
    decision = POLICY.evaluate(getattr(exceptions, name)("gone"), 1, 3)
    assert decision.action is RetryAction.RETRY
    assert name in (decision.reason or "")


@pytest.mark.parametrize(
    "name",
    [
        "ApplicationError", "OutOfMemoryError", "ImagePullError", "InvalidManifestError", "InvalidObjectError",
        "SubmissionFailedError", "ForbiddenError", "UnauthorizedError", "ExecutionTimeoutError",
    ],
)  # fmt: skip
def test_what_would_fail_in_the_same_way_is_not(name: str) -> None:
    assert POLICY.evaluate(getattr(exceptions, name)("wrong"), 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize("error", [ValueError("a callback's"), JobFailedError("no rule"), KeyboardInterrupt()])
def test_what_is_neither_is_left_to_the_task(error: BaseException) -> None:
    assert POLICY.evaluate(error, 1, 3).action is RetryAction.DEFAULT


def pauses(tries: range, max_tries: int, context: Any = None) -> list[float]:
    decisions = [POLICY.evaluate(EvictedError("e"), number, max_tries, context) for number in tries]
    return [decision.retry_delay.total_seconds() for decision in decisions if decision.retry_delay is not None]


def test_pauses_double_up_to_the_longest_and_differ() -> None:
    for pause, whole in zip(pauses(range(1, 6), 5), (10, 20, 40, 60, 60), strict=True):
        assert whole / 2 <= pause <= whole
    assert len({*pauses(range(1, 2), 5), *pauses(range(1, 2), 5), *pauses(range(1, 2), 5)}) > 1


def test_a_task_that_was_cleared_begins_with_the_shortest_pause() -> None:
    context: Any = {"task": SimpleNamespace(retries=2)}
    (pause,) = pauses(range(900, 901), 901, context)
    assert pause <= 10


@pytest.mark.parametrize(("delay", "longest"), [(0, 1), (-1, 1), (2, 1)])
def test_pauses_that_are_none(delay: int, longest: int) -> None:
    with pytest.raises(InvalidManifestError, match="delay"):
        InfrastructureRetryPolicy(timedelta(seconds=delay), timedelta(seconds=longest))


@pytest.mark.parametrize(
    "policy",
    [
        POLICY,
        OperatorRetryPolicy(),
        OperatorRetryPolicy(POLICY),
        OperatorRetryPolicy(ExceptionRetryPolicy([RetryRule(ValueError, RetryAction.FAIL)])),
    ],
)
def test_a_policy_survives_json(policy: Any) -> None:
    data = json.loads(json.dumps(policy.serialize()))
    again = type(policy).deserialize(data)
    assert again.serialize() == data
    assert again.evaluate(ApplicationError("a"), 1, 3).action is policy.evaluate(ApplicationError("a"), 1, 3).action


def test_a_dag_with_a_policy_can_be_stored() -> None:
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    from airflow_provider_sparkml.operators.spark import SparkApplicationOperator

    with DAG("d", schedule=None) as dag:
        SparkApplicationOperator(task_id="t", application={}, retries=3, retry_policy=POLICY)
        SparkApplicationOperator(task_id="u", application={}, retries=3, retry_owner="operator")
    stored = DagSerialization.to_dict(dag)
    json.dumps(stored)
    assert [DagSerialization.from_dict(stored).get_task(name).has_retry_policy for name in ("t", "u")] == [True, True]


@pytest.mark.parametrize("error", [ApplicationError("a"), EvictedError("e"), NodeLostError("n"), JobFailedError("?")])
def test_a_job_that_its_operator_has_given_up_is_not_tried_again(error: Exception) -> None:
    assert OperatorRetryPolicy(POLICY).evaluate(error, 1, 3).action is RetryAction.FAIL
    assert OperatorRetryPolicy().evaluate(error, 1, 3).action is RetryAction.FAIL


@pytest.mark.parametrize(
    ("error", "beneath"),
    [
        (JobDeletedError("d"), RetryAction.RETRY),
        (QueueTimeoutError("q"), RetryAction.RETRY),
        (ExecutionTimeoutError("x"), RetryAction.FAIL),
        (exceptions.ApiUnavailableError("away"), RetryAction.RETRY),
        (InvalidManifestError("i"), RetryAction.FAIL),
        (exceptions.TriggerError("t"), RetryAction.RETRY),
    ],
)
def test_what_its_operator_cannot_mend_is_airflows(error: Exception, beneath: RetryAction) -> None:
    assert OperatorRetryPolicy().evaluate(error, 1, 3).action is RetryAction.DEFAULT
    assert OperatorRetryPolicy(POLICY).evaluate(error, 1, 3).action is beneath
