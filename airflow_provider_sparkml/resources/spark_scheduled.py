"""ScheduledSparkApplication of the Kubeflow Spark operator: its typed builder and how its status is read.

The states: ``api/v1beta2/scheduledsparkapplication_types.go`` and
``internal/controller/scheduledsparkapplication/controller.go`` of kubeflow/spark-operator v2.5.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, Verdict, plain, register
from airflow_provider_sparkml.resources.spark import API as SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_builders import SparkApplication
from airflow_provider_sparkml.resources.spark_check import check as check_application
from airflow_provider_sparkml.resources.spark_lint import lint as lint_application
from airflow_provider_sparkml.resources.spark_normalize import normalize as normalize_application

API = ApiResource("sparkoperator.k8s.io", "v1beta2", "scheduledsparkapplications", "ScheduledSparkApplication")
RUN_LABEL = "sparkoperator.k8s.io/scheduled-app-name"
"""Label of a run: the name of its schedule."""
MAX_NAME = 36
"""A run is called ``<name>-<19 digits>``, and its driver's pod ``<run>-driver``: 63 characters at most."""
_LIMITS = ("successfulRunHistoryLimit", "failedRunHistoryLimit")

ConcurrencyPolicy = Literal["Allow", "Forbid", "Replace"]
"""What happens when a run falls due while the one before goes on."""


def read(obj: Manifest) -> Verdict:
    """Return the verdict of a schedule: ``SUCCEEDED`` means that the operator goes by it, or that it is suspended.

    The operator does not look at a suspended schedule at all, so its state may be empty for ever. ``FailedValidation``
    stays until the status is written anew, whatever becomes of the spec.
    """
    status: Mapping[str, Any] = obj.get("status") or {}
    state = str(status.get("scheduleState") or "")
    reason = str(status.get("reason") or "")
    created = str(obj["metadata"].get("creationTimestamp") or "")
    if obj["metadata"].get("deletionTimestamp"):
        return Verdict(Phase.PENDING, state=state, reason="BeingDeleted", pending_since=created)
    if state == "FailedValidation":
        return Verdict(Phase.FAILED, state=state, reason=state, message=reason, finished_at=created)
    if (obj.get("spec") or {}).get("suspend"):
        return Verdict(Phase.SUCCEEDED, state="Suspended", attempt=1, started_at=created)
    if state == "Scheduled":
        return Verdict(Phase.SUCCEEDED, state=state, attempt=1, started_at=created)
    phase = Phase.PENDING if state in ("", "Validating") else Phase.UNKNOWN
    return Verdict(phase, state=state, pending_since=created if phase is Phase.PENDING else "")


def facts(obj: Manifest) -> dict[str, Any]:
    """Return what only a schedule knows of itself: its times and runs."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    return {
        "schedule": spec.get("schedule") or "",
        "suspended": bool(spec.get("suspend")),
        "next_run": status.get("nextRun") or "",
        "last_run": status.get("lastRun") or "",
        "last_run_name": status.get("lastRunName") or "",
    }


def application_of(obj: Manifest) -> Manifest:
    """Return a SparkApplication as the schedule's next run would be, with the schedule's name and no identity."""
    return {
        "apiVersion": SPARK_APPLICATION.api_version,
        "kind": SPARK_APPLICATION.kind,
        "metadata": {"name": obj["metadata"]["name"]},
        "spec": copy.deepcopy(obj["spec"]["template"]),
    }


def normalize(manifest: Manifest) -> Manifest:
    """Return a copy with the types that the CRD asks for, and with a policy.

    Neither the CRD nor the operator's webhook sets one; with none, no second run would begin while the first exists.
    """
    result = copy.deepcopy(manifest)
    spec = result.get("spec")
    if not isinstance(spec, dict):
        return result
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Forbid"
    for name in _LIMITS:
        value = spec.get(name)
        if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
            spec[name] = int(value)
    if isinstance(spec.get("template"), dict):
        spec["template"] = normalize_application({"spec": spec["template"]})["spec"]
    return result


def check(manifest: Manifest) -> None:
    """Refuse a schedule that would never run, or whose runs never end.

    :raises InvalidManifestError: field, value and fix.
    """
    from airflow_provider_sparkml.resources import cron

    name = (manifest.get("metadata") or {}).get("name")
    if not name or len(str(name)) > MAX_NAME:
        raise InvalidManifestError(
            f"metadata.name is {name!r}: a schedule needs a fixed name of at most {MAX_NAME} characters, "
            "for its runs and their pods are called after it"
        )
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping) or not isinstance(spec.get("schedule"), str):
        raise InvalidManifestError("spec.schedule is missing: set it to a text such as '0 3 * * *'")
    cron.parse(spec["schedule"], str(spec.get("timeZone") or ""))
    policy = spec.get("concurrencyPolicy")
    if policy not in get_args(ConcurrencyPolicy):
        raise InvalidManifestError(f"spec.concurrencyPolicy is {policy!r}: set it to 'Allow', 'Forbid' or 'Replace'")
    for each in _LIMITS:
        value = spec.get(each)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise InvalidManifestError(f"spec.{each} is {value!r}: set it to a whole number, at least 0")
    template = spec.get("template")
    if not isinstance(template, Mapping) or not template:
        raise InvalidManifestError(f"spec.template is {template!r}: set it to the spec of a SparkApplication")
    if (template.get("restartPolicy") or {}).get("type") == "Always":
        raise InvalidManifestError(
            "spec.template.restartPolicy.type is 'Always': set it to 'Never', for a run that never ends holds up "
            "the next"
        )
    check_application(application_of(manifest))


def lint(manifest: Manifest) -> list[str]:
    """Return what is accepted in the template and yet does not do what it looks like."""
    return lint_application(application_of(manifest))


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledSparkApplication:
    """A SparkApplication that the Spark operator itself runs by a clock.

    .. code-block:: python

        ScheduledSparkApplication(
            name="nightly",
            schedule="0 3 * * *",
            time_zone="Europe/Berlin",
            template=SparkApplication(image="example.com/spark:1", main_application_file="local:///opt/nightly.py"),
        )

    :param name: its name, at most 36 characters.
    :param schedule: five fields of cron, ``@daily`` and its like, or ``@every 15m``.
    :param template: what is run.
    :param time_zone: IANA name of the time zone that the fields are meant in.
    :param concurrency_policy: what happens when a run falls due while the one before goes on: ``Forbid`` waits for its
        end, ``Allow`` runs both, ``Replace`` ends the one before.
    :param successful_run_history_limit: how many runs that succeeded are kept.
    :param failed_run_history_limit: how many runs that failed are kept.
    :param suspend: whether no run begins; ``None`` leaves that to whoever suspends and resumes the schedule.
    :param labels: labels of the schedule; its runs have them too.
    :param annotations: annotations of the schedule.
    """

    name: str
    schedule: str
    template: SparkApplication
    time_zone: str = "UTC"
    concurrency_policy: ConcurrencyPolicy = "Forbid"
    successful_run_history_limit: int | str = 1
    failed_run_history_limit: int | str = 1
    suspend: bool | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """Return the manifest, new at each call."""
        spec: dict[str, Any] = {
            "schedule": self.schedule,
            "timeZone": self.time_zone,
            "concurrencyPolicy": self.concurrency_policy,
            "successfulRunHistoryLimit": self.successful_run_history_limit,
            "failedRunHistoryLimit": self.failed_run_history_limit,
            "template": self.template.to_manifest()["spec"],
        }
        if self.suspend is not None:
            spec["suspend"] = self.suspend
        metadata: dict[str, Any] = {"name": self.name}
        if self.labels:
            metadata["labels"] = plain(self.labels)
        if self.annotations:
            metadata["annotations"] = plain(self.annotations)
        return {"apiVersion": API.api_version, "kind": API.kind, "metadata": metadata, "spec": spec}


SCHEDULED_SPARK_APPLICATION = register(
    Resource(api=API, read=read, normalize=normalize, check=check, facts=facts, lint=lint)
)

__all__ = [
    "API",
    "RUN_LABEL",
    "SCHEDULED_SPARK_APPLICATION",
    "ConcurrencyPolicy",
    "ScheduledSparkApplication",
    "application_of",
    "read",
]
