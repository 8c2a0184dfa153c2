"""The conditions of Kubeflow's jobs, which follow one another in a list of which the last tells the state. Pure.

Follows ``setCondition`` and ``filterOutCondition`` of kubeflow/mpi-operator v0.8 and kubeflow/training-operator v1.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_sparkml.local.controllers.objects import find_condition, is_true
from airflow_provider_sparkml.local.controllers.runtime import now

ENDS = ("Succeeded", "Failed")
INSTEAD = {"Restarting": "Running", "Running": "Restarting"}
"""A job that restarts does not run, and the other way round: the one condition takes the other's place."""


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether a job has succeeded or failed."""
    return any(is_true(status, kind) for kind in ENDS)


def add_condition(
    status: dict[str, Any], kind: str, reason: str, message: str, *, value: bool = True, ends: tuple[str, ...] = ()
) -> bool:
    """Put a condition last, unless there is one of the same status and reason; return whether it was put.

    :param ends: conditions that are no longer true once this one tells the job's end.
    """
    text = "True" if value else "False"
    known = find_condition(status, kind)
    if known is not None and (known["status"], known.get("reason")) == (text, reason):
        return False
    at = now()
    since = known["lastTransitionTime"] if known is not None and known["status"] == text else at
    kept = []
    for condition in status.get("conditions") or ():
        if condition["type"] in (kind, INSTEAD.get(kind)):
            continue
        is_over = condition["type"] in ends
        kept.append(condition | {"status": "False"} if is_over else condition)
    new = {"type": kind, "status": text, "reason": reason, "message": message}
    status["conditions"] = [*kept, new | {"lastUpdateTime": at, "lastTransitionTime": since}]
    return True
