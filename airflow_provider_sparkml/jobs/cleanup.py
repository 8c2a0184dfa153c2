"""What becomes of a job's object once its outcome is known: marked as consumed, and deleted or kept by policy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from airflow_provider_sparkml.exceptions import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidObjectError,
    NotFoundError,
)
from airflow_provider_sparkml.jobs.advice import advise, explained
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import ApiResource, Phase, Resource, ResourceRef

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

OnFinish = Literal["delete", "delete_on_success", "keep"]
"""What happens to a job's object after its end."""


def wants_deletion(on_finish: OnFinish, phase: Phase) -> bool:
    """Return whether the policy deletes an object that ended in this phase."""
    return on_finish == "delete" or (on_finish == "delete_on_success" and phase is Phase.SUCCEEDED)


async def mark_consumed(client: KubernetesClient, resource: Resource, ref: ResourceRef, log: JobLog) -> None:
    """Write on the object that a task took its outcome, so that no later try adopts it.

    The UID in the patch makes the API server refuse it for another object of that name. An object that is gone, or
    another's by now, cannot be adopted either, so both count as done.

    :raises ApiUnavailableError: when the mark could not be written; the next try will adopt the object.
    """
    patch = {"metadata": {"uid": ref.uid, "annotations": {naming.CONSUMED: datetime.now(UTC).isoformat()}}}
    try:
        await client.patch(resource.api, ref.name, patch, ref.namespace)
    except (NotFoundError, ConflictError, InvalidObjectError):
        # 409 or 422: the UID is another's.
        return
    except ForbiddenError as error:
        log.warning(
            "%s could not be marked as consumed: %s\n%s",
            ref,
            error,
            advise(error, "patch", resource.api, ref.namespace),
        )


async def kill(client: KubernetesClient, api: ApiResource, ref: ResourceRef, *, log: JobLog) -> None:
    """Delete a job in the foreground: its object stays until its pods are gone. Absent, or another's, is fine.

    The object is deleted, not the driver pod: the operator's restart policy would start a deleted driver again.

    :param client: the cluster.
    :param api: its type.
    :param ref: the job; the UID is a precondition, so no namesake is ever deleted.
    :param log: the task's log.
    :raises ApiError: when the API server refused, or could not be reached; the job may still be running.
    """
    with explained("delete", api, ref.namespace):
        deleted = await client.delete(api, ref.name, ref.namespace, propagation="Foreground", uid=ref.uid)
    if deleted:
        log.info("Deleted %s (uid %s)", ref, ref.uid)
    else:
        log.info("%s (uid %s) is gone already", ref, ref.uid)


async def delete_job(client: KubernetesClient, resource: Resource, ref: ResourceRef, log: JobLog) -> None:
    """Delete an ended job's object; a refusal is only told, for cleaning up never changes a task's result."""
    try:
        await kill(client, resource.api, ref, log=log)
    except ApiError as error:
        log.warning(
            "%s was not cleaned up: %s\nDelete it by hand: kubectl delete %s -n %s %s",
            ref,
            error,
            resource.api.full_name,
            ref.namespace,
            ref.name,
        )


__all__ = ["OnFinish", "delete_job", "kill", "mark_consumed", "wants_deletion"]
