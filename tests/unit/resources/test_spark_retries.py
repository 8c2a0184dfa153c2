"""The Spark operator's own retries, by the tables of its source."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_sparkml.resources.spark_retries import next_retry

SUBMITTED = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)


def app(state: str, policy: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"spec": {"restartPolicy": policy}, "status": {"applicationState": {"state": state}, **status}}


@pytest.mark.parametrize(
    ("state", "policy", "attempts", "told"),
    [
        ("FAILING", {}, 1, None),
        ("FAILING", {"type": "Never", "onFailureRetries": 5}, 1, None),
        ("FAILING", {"type": "OnFailure"}, 1, None),
        ("FAILING", {"type": "OnFailure", "onFailureRetries": 0}, 1, None),
        ("FAILING", {"type": "OnFailure", "onFailureRetries": 2}, 2, "run 3 of 3 follows"),
        ("FAILING", {"type": "OnFailure", "onFailureRetries": 2}, 3, None),
        ("FAILING", {"type": "OnFailure", "onSubmissionFailureRetries": 9}, 1, None),
        ("FAILING", {"type": "Always"}, 99, "run 100 follows"),
        ("FAILING", {"type": "Always", "onFailureRetries": 1}, 99, "run 100 follows"),
        ("SUCCEEDING", {"type": "Always"}, 99, "run 100 follows"),
        ("SUCCEEDING", {"type": "OnFailure", "onFailureRetries": 9}, 1, None),
        ("SUBMISSION_FAILED", {"type": "OnFailure", "onFailureRetries": 9}, 1, None),
        ("SUBMISSION_FAILED", {"type": "OnFailure", "onSubmissionFailureRetries": 1}, 1, "submission 2 of 2 follows"),
        ("SUBMISSION_FAILED", {"type": "OnFailure", "onSubmissionFailureRetries": 1}, 2, None),
        ("COMPLETED", {"type": "Always"}, 1, None),
        ("RUNNING", {"type": "Always"}, 1, None),
        ("", {"type": "Always"}, 0, None),
    ],
)
def test_whether_another_try_follows(state: str, policy: dict[str, Any], attempts: int, told: str | None) -> None:
    retry = next_retry(app(state, policy, executionAttempts=attempts, submissionAttempts=attempts))
    assert told == (None if retry is None else str(retry))


def test_earlier_runs_eat_the_budget_of_submissions() -> None:
    policy = {"type": "OnFailure", "onSubmissionFailureRetries": 2}
    assert next_retry(app("SUBMISSION_FAILED", policy, executionAttempts=0, submissionAttempts=3)) is None


@pytest.mark.parametrize(
    ("state", "interval", "attempts", "seconds"),
    [
        ("FAILING", {"onFailureRetryInterval": 10}, 1, 10),
        ("FAILING", {"onFailureRetryInterval": 10}, 3, 30),
        ("FAILING", {}, 2, 10),
        ("FAILING", {"onSubmissionFailureRetryInterval": 99}, 1, 5),
        ("SUBMISSION_FAILED", {"onSubmissionFailureRetryInterval": 4}, 2, 8),
    ],
)
def test_the_back_off_is_linear_and_counted_from_the_last_submission(
    state: str, interval: dict[str, int], attempts: int, seconds: int
) -> None:
    status = {"submissionAttempts": attempts, "lastSubmissionAttemptTime": SUBMITTED.isoformat()}
    retry = next_retry(app(state, {"type": "Always", **interval}, **status))
    assert retry is not None
    assert retry.due == SUBMITTED + timedelta(seconds=seconds)


def test_it_is_told_when_the_try_is_due() -> None:
    policy = {"type": "OnFailure", "onFailureRetries": 5, "onFailureRetryInterval": 40}
    status = {"executionAttempts": 3, "submissionAttempts": 4, "lastSubmissionAttemptTime": "2026-11-22T10:05:00Z"}
    assert str(next_retry(app("FAILING", policy, **status))) == "run 4 of 6 follows at 2026-11-22T10:07:40Z"
