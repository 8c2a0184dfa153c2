"""Schedules of the Spark operator: put into force, suspended, resumed, and what comes of it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import NotFoundError, SubmissionFailedError
from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.jobs.cleanup import delete_job
from airflow_provider_sparkml.jobs.deploy import CREATED_BY, find_ours, has_created, put
from airflow_provider_sparkml.jobs.finish import explain, reread
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.jobs.submit import Submission, check
from airflow_provider_sparkml.resources.base import Manifest, Phase, ResourceRef
from airflow_provider_sparkml.resources.naming import MANAGED_BY, PREFIX
from airflow_provider_sparkml.resources.spark_scheduled import API, SCHEDULED_SPARK_APPLICATION

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

IN_FORCE = f"{PREFIX}/schedule"
"""Annotation: the schedule that the operator was last told to go by."""


async def ensure(
    client: KubernetesClient, manifest: Manifest, *, namespace: str, created_by: str, log: JobLog
) -> Submission:
    """Create a schedule, or change the one of that name into this one; the same again changes nothing.

    The operator computes the next run's time only when one begins, and never looks at a schedule again that it has
    refused. So after a change of the schedule its status is cleared, and it computes anew; the annotation
    :data:`IN_FORCE` comes last, so that a try that died in between is made good by the next.

    :param manifest: the schedule; it is copied, not changed.
    :param namespace: where.
    :param created_by: key of the chain of attempts.
    :param log: the task's log.
    :return: the object; ``adopted`` is false when this chain of attempts has created it, and may delete it.
    :raises InvalidManifestError: a field is wrong; nothing was changed.
    :raises NameTakenError: the object exists and is not managed by this package.
    :raises ConflictError: somebody else owns a field of it, or it is being deleted.
    """
    resource = SCHEDULED_SPARK_APPLICATION
    manifest = resource.normalize(manifest)
    check(resource, manifest, namespace)
    name = manifest["metadata"]["name"]
    existing = await find_ours(client, resource, name, namespace)
    wanted = _marked(manifest, namespace, existing, created_by)
    submission = await put(client, resource, wanted, existing, created_by=created_by, log=log)
    in_force = f"{wanted['spec'].get('timeZone') or ''} {wanted['spec']['schedule']}".strip()
    obj, uid = submission.obj, submission.ref.uid
    if (obj["metadata"].get("annotations") or {}).get(IN_FORCE) != in_force:
        if obj.get("status"):
            log.info("The schedule has changed: the time of the next run is computed anew")
            cleared = {"metadata": {"uid": uid}, "status": {"scheduleState": "", "nextRun": None, "reason": None}}
            with explained("patch", API, namespace):
                await client.patch(API, name, cleared, namespace, subresource="status")
        noted = {"metadata": {"uid": uid, "annotations": {IN_FORCE: in_force}}}
        with explained("patch", API, namespace):
            obj = await client.patch(API, name, noted, namespace)
    return Submission(submission.ref, obj, adopted=submission.adopted)


async def set_suspended(
    client: KubernetesClient, name: str, namespace: str, suspended: bool, log: JobLog
) -> dict[str, Any]:
    """Suspend or resume a schedule, and return what is known of it; one that is so already stays as it is.

    :raises NotFoundError: there is none.
    :raises NameTakenError: it is not managed by this package.
    """
    obj = await existing(client, name, namespace)
    ref = ResourceRef.of(obj)
    if bool(obj["spec"].get("suspend")) == suspended:
        log.info("%s is %s already", ref, "suspended" if suspended else "not suspended")
    else:
        patch = {"metadata": {"uid": ref.uid}, "spec": {"suspend": suspended}}
        with explained("patch", API, namespace):
            obj = await client.patch(API, name, patch, namespace)
        log.info("%s %s", "Suspended" if suspended else "Resumed", ref)
    return told(obj)


async def existing(client: KubernetesClient, name: str, namespace: str) -> Manifest:
    """Return a schedule of ours.

    :raises NotFoundError: there is none.
    :raises NameTakenError: it is not managed by this package.
    """
    obj = await find_ours(client, SCHEDULED_SPARK_APPLICATION, name, namespace)
    if obj is None:
        raise NotFoundError(
            f"there is no ScheduledSparkApplication {namespace}/{name}\n"
            "Correct schedule_name or namespace, or ensure it first with a ScheduledSparkApplicationOperator",
            status=404,
        )
    return obj


async def conclude(client: KubernetesClient, outcome: Outcome, *, created_by: str, log: JobLog) -> dict[str, Any]:
    """Return what is known of a schedule in force, or raise why it is not.

    :raises SubmissionFailedError: the operator refuses it; one that this chain of attempts has created is deleted.
    :raises StartupTimeoutError: no operator has looked at it in time.
    :raises JobDeletedError: it was deleted meanwhile.
    """
    resource, ref = SCHEDULED_SPARK_APPLICATION, outcome.ref
    obj = await reread(client, resource, ref)
    if outcome.verdict.phase is Phase.SUCCEEDED and obj is not None:
        return told(obj)
    created = obj is not None and has_created(obj, created_by)
    if outcome.verdict.phase is Phase.FAILED:
        error: Exception = SubmissionFailedError(
            f"the Spark operator refuses {ref}: {outcome.verdict.message or 'it gives no reason'}\n"
            "Correct spec.schedule and spec.timeZone as the message says; "
            f"{'it was deleted again' if created else 'no run begins until then'}."
        )
    else:
        error = await explain(client, resource, outcome, obj, kept=not created, log=log)
    if created:
        await delete_job(client, resource, ref, log)
    raise error


def told(obj: Manifest) -> dict[str, Any]:
    """Return what a task's result says of a schedule."""
    ref = ResourceRef.of(obj)
    facts = SCHEDULED_SPARK_APPLICATION.facts(obj)
    return {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid, **facts}


def _marked(manifest: Manifest, namespace: str, existing: Manifest | None, created_by: str) -> Manifest:
    """Return the manifest to apply, with our marks."""
    wanted = copy.deepcopy(manifest)
    wanted.pop("status", None)
    metadata = wanted["metadata"]
    known = ((existing or {}).get("metadata") or {}).get("annotations") or {}
    creator = known.get(CREATED_BY, "") if existing is not None else created_by
    metadata["namespace"] = namespace
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_BY: PREFIX}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **({CREATED_BY: creator} if creator else {})}
    return wanted


__all__ = ["IN_FORCE", "conclude", "ensure", "existing", "set_suspended", "told"]
