"""A kind that this package does not ship, added in one module: RayJob (``ray.io/v1``)."""

from __future__ import annotations

from airflow_provider_sparkml.operators.job import JobOperator
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, Verdict, register
from airflow_provider_sparkml.triggers.job import JobTrigger

PHASES = {"": Phase.PENDING, "PENDING": Phase.PENDING, "RUNNING": Phase.RUNNING}
ENDS = {"SUCCEEDED": Phase.SUCCEEDED, "FAILED": Phase.FAILED, "STOPPED": Phase.FAILED}


def read(obj: Manifest) -> Verdict:
    status = obj.get("status") or {}
    state = status.get("jobStatus") or ""
    return Verdict(
        phase=(PHASES | ENDS).get(state, Phase.UNKNOWN),
        state=state,
        message=status.get("message") or "",
        submission_id=status.get("jobId") or "",
        pending_since=obj["metadata"]["creationTimestamp"],
        finished_at=status.get("endTime") or "",
    )


RAY_JOB = register(Resource(api=ApiResource("ray.io", "v1", "rayjobs", "RayJob"), read=read))


class RayJobTrigger(JobTrigger):
    resource = RAY_JOB


class RayJobOperator(JobOperator):
    trigger_class = RayJobTrigger
