"""When the Spark operator itself tries a SparkApplication again: the arithmetic of its restart policy.

Source: ``ShouldRetry`` and ``TimeUntilNextRetryDue`` in ``pkg/util/sparkapplication.go`` of kubeflow/spark-operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.replicas import part_of
from airflow_provider_sparkml.resources.retries import refuse_retries

DEFAULT_INTERVAL_SECONDS = 5

# State → what is tried again, the counter of tries so far, and the policy's fields for how often and how long after.
# ``submissionAttempts`` counts the submissions of all runs, so earlier runs use up the submission's retries too.
_RULES: dict[str, tuple[Literal["run", "submission"], str, str, str]] = {
    "SUCCEEDING": ("run", "executionAttempts", "", ""),
    "FAILING": ("run", "executionAttempts", "onFailureRetries", "onFailureRetryInterval"),
    "SUBMISSION_FAILED": (
        "submission",
        "submissionAttempts",
        "onSubmissionFailureRetries",
        "onSubmissionFailureRetryInterval",
    ),
}


@dataclass(frozen=True, slots=True)
class Retry:
    """The operator's next try.

    :param what: whether it runs the application again, or only submits it again.
    :param number: which try that will be, from 2.
    :param total: how many there are at most; ``None`` without end.
    :param due: when; ``None``: at once.
    """

    what: Literal["run", "submission"]
    number: int
    total: int | None
    due: datetime | None

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total}"
        at = "" if self.due is None else f" at {self.due:%Y-%m-%dT%H:%M:%SZ}"
        return f"{self.what} {self.number}{of} follows{at}"


def next_retry(obj: Manifest) -> Retry | None:
    """Return the operator's next try of an application; ``None`` when none is left, or its state asks for none."""
    status: Mapping[str, Any] = obj.get("status") or {}
    policy: Mapping[str, Any] = (obj.get("spec") or {}).get("restartPolicy") or {}
    rule = _RULES.get((status.get("applicationState") or {}).get("state") or "")
    if rule is None:
        return None
    what, counter, allowed, interval = rule
    done, retries = int(status.get(counter) or 0), policy.get(allowed)
    if policy.get("type") == "Always":
        retries = None
    elif policy.get("type") != "OnFailure" or retries is None or done > retries:
        return None
    due = _due(status, policy.get(interval)) if interval else None
    return Retry(what, done + 1, None if retries is None else retries + 1, due)


def without_retries(manifest: Manifest) -> Manifest:
    """Return the manifest itself, which the operator tries once: that is its default.

    :raises InvalidManifestError: its restart policy asks for more.
    """
    policy = part_of(manifest, "spec", "restartPolicy")
    if policy.get("type") == "OnFailure":
        for name in ("onFailureRetries", "onSubmissionFailureRetries"):
            refuse_retries(policy.get(name), 0, f"spec.restartPolicy.{name}")
    return manifest


def _due(status: Mapping[str, Any], interval: int | None) -> datetime | None:
    """Return the end of the back-off: linear in the submissions so far, and counted from the last one's start."""
    submitted = status.get("lastSubmissionAttemptTime")
    if not submitted:
        return None
    seconds = (DEFAULT_INTERVAL_SECONDS if interval is None else interval) * int(status.get("submissionAttempts") or 1)
    return datetime.fromisoformat(submitted) + timedelta(seconds=seconds)


__all__ = ["Retry", "next_retry", "without_retries"]
