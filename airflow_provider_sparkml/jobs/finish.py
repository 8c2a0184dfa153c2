"""The end of a task: the outcome consumed, the result or the one exception that says why, and what is left cleaned."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_sparkml.exceptions import (
    ApiError,
    ApiUnavailableError,
    JobFailedError,
    NotFoundError,
    SparkMLError,
)
from airflow_provider_sparkml.jobs.advice import advise, explained
from airflow_provider_sparkml.jobs.cleanup import OnFinish, delete_job, kill, mark_consumed, wants_deletion
from airflow_provider_sparkml.jobs.diagnose import classify, classify_deleted, classify_expired
from airflow_provider_sparkml.jobs.endings import container_state, main_container
from airflow_provider_sparkml.jobs.evidence import gather, tail
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.log_errors import excerpt
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.jobs.pods import locate, resolve
from airflow_provider_sparkml.jobs.report import LOG_LINES, report, stub
from airflow_provider_sparkml.resources.base import Manifest, Phase, Resource, ResourceRef
from airflow_provider_sparkml.resources.core import POD
from airflow_provider_sparkml.resources.lineage import digest_of

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

RESULT_BYTES = 4096
"""What the kubelet keeps of a termination message."""


async def finish(
    client: KubernetesClient, resource: Resource, outcome: Outcome, *, on_finish: OnFinish, log: JobLog
) -> dict[str, Any]:
    """Turn an outcome into the task's result, or into the exception that says why there is none.

    The object is marked as consumed before anything is deleted. Until then a crash loses nothing: the next try adopts
    the object and comes here again.

    :param client: the cluster.
    :param resource: the kind.
    :param outcome: what :func:`~.wait.wait` returned.
    :param on_finish: ``delete`` the object, ``delete_on_success``, or ``keep`` it. A job that a deadline ended is
        deleted whatever this says, since nothing else stops it.
    :param log: the task's log.
    :return: ``name, namespace, uid, phase, attempts, submission_id, started_at, finished_at``, the kind's own facts
        (``spark_application_id, driver_pod, ui_url``), ``image`` and ``image_digest`` of the main container, and
        ``result``: what the main container wrote to its termination
        message, parsed as JSON; text that is not JSON comes back as a string; ``None`` when it wrote nothing.
    :raises JobFailedError: the subclass says why; its first line is the cause.
    :raises ApiUnavailableError: the API server is away; the object is left unconsumed.
    """
    obj = await reread(client, resource, outcome.ref)
    seen = resource.read(obj) if obj is not None else None
    if outcome.expired and seen is not None and seen.phase.is_terminal:
        # It ended between the deadline and now; what it did counts.
        outcome = replace(outcome, verdict=seen, expired="")
    if outcome.deleted or outcome.expired or outcome.verdict.phase is Phase.FAILED:
        await _fail(client, resource, outcome, obj, on_finish=on_finish, log=log)
    if outcome.verdict.phase is not Phase.SUCCEEDED:
        raise ValueError(f"a wait does not end in phase {outcome.verdict.phase}")
    result = await read_result(client, resource, outcome, obj, log)
    if obj is not None:
        await mark_consumed(client, resource, outcome.ref, log)
        if wants_deletion(on_finish, Phase.SUCCEEDED):
            await delete_job(client, resource, outcome.ref, log)
    return result


def parse_result(message: str) -> Any:
    """Return what a termination message says: parsed JSON, or the text itself where it is not JSON; empty is ``None``.

    ``NaN`` and ``Infinity`` are not JSON (RFC 8259), and XCom cannot store them.
    """
    text = message.strip()
    if not text:
        return None
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


async def reread(client: KubernetesClient, resource: Resource, ref: ResourceRef) -> Manifest | None:
    """Return the job's object as it is now, or ``None`` when it is gone."""
    try:
        with explained("get", resource.api, ref.namespace):
            obj = await client.get(resource.api, ref.name, ref.namespace)
    except NotFoundError:
        return None
    return obj if obj["metadata"]["uid"] == ref.uid else None


async def read_result(
    client: KubernetesClient, resource: Resource, outcome: Outcome, obj: Manifest | None, log: JobLog
) -> dict[str, Any]:
    """Build the result of a job that succeeded, and change nothing.

    :param obj: the job's object as it is now, ``None`` when it is gone.
    :return: see :func:`finish`.
    """
    ref, verdict = outcome.ref, outcome.verdict
    if obj is None:
        log.warning("%s succeeded and was deleted before its result was read (a short timeToLiveSeconds?)", ref)
    known = obj or stub(ref)
    told = _Told() if obj is None else await _told(client, resource, ref, known, log)
    if not outcome.log_shown:
        await _show_tail(client, resource, ref, known, log)
    return {
        "name": ref.name,
        "namespace": ref.namespace,
        "uid": ref.uid,
        "phase": str(verdict.phase),
        "attempts": verdict.attempt,
        "submission_id": verdict.submission_id,
        "started_at": verdict.started_at,
        "finished_at": verdict.finished_at,
        **resource.facts(known),
        "image": told.image,
        "image_digest": told.image_digest,
        "result": told.result,
    }


@dataclass(frozen=True, slots=True)
class _Told:
    """What a job's main pod tells once it has ended."""

    result: Any = None
    image: str = ""
    image_digest: str = ""


async def _told(client: KubernetesClient, resource: Resource, ref: ResourceRef, obj: Manifest, log: JobLog) -> _Told:
    """Return the job's own result and its image; where they cannot be read, the job has succeeded all the same."""
    in_status = resource.result(obj)
    if in_status is not None:
        return _Told(in_status)
    source = resource.log_source(obj)
    if source is None:
        return _Told()
    try:
        pod = await locate(client, ref.namespace, source)
    except ApiUnavailableError:
        # Nothing is consumed yet: the next try reads it.
        raise
    except ApiError as error:
        log.warning("The result was not read: %s\n%s", error, advise(error, "get", POD, ref.namespace))
        return _Told()
    if pod is None:
        log.warning("The result was not read: pod %s is gone", source.pod or source.selector)
        return _Told()
    container = main_container(pod, source.container)
    ended = container_state(pod, container).get("terminated")
    message = str((ended or {}).get("message", ""))
    result = parse_result(message)
    if isinstance(result, str) and len(message.encode()) >= RESULT_BYTES:
        log.warning("The result was cut by Kubernetes at %d bytes: write less to SPARKML_RESULT_PATH", RESULT_BYTES)
    return _Told(result, *_image(pod, container))


def _image(pod: Manifest, container: str) -> tuple[str, str]:
    """Return a container's image as the manifest has it, and the digest that the node resolved it to."""
    specs = (pod.get("spec") or {}).get("containers") or []
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    image = next((each.get("image") or "" for each in specs if each["name"] == container), "")
    image_id = next((each.get("imageID") or "" for each in statuses if each["name"] == container), "")
    return image, digest_of(image_id)


async def _show_tail(
    client: KubernetesClient, resource: Resource, ref: ResourceRef, obj: Manifest, log: JobLog
) -> None:
    """Write the end of the log of a job that was not followed to its end."""
    try:
        source = await resolve(client, ref.namespace, resource.log_source(obj))
        lines = await tail(client, ref.namespace, source, LOG_LINES)
    except ApiError as error:
        log.info("The end of the job's log was not read: %s", str(error).splitlines()[0])
        return
    for line in excerpt(lines, LOG_LINES, LOG_LINES):
        log.info("[%s] %s", source.label if source else "", line)


async def _fail(
    client: KubernetesClient,
    resource: Resource,
    outcome: Outcome,
    obj: Manifest | None,
    *,
    on_finish: OnFinish,
    log: JobLog,
) -> NoReturn:
    """Find the cause, consume and clean up, and raise."""
    ref = outcome.ref
    kept = obj is not None and not outcome.expired and not wants_deletion(on_finish, Phase.FAILED)
    error = await explain(client, resource, outcome, obj, kept=kept, log=log)
    if obj is not None and outcome.expired:
        # Not marked: if the deletion fails it still runs, and the next try must find it rather than start another.
        await kill(client, resource.api, ref, log=log)
    elif obj is not None:
        await mark_consumed(client, resource, ref, log)
        if not kept:
            await delete_job(client, resource, ref, log)
    raise error


async def explain(
    client: KubernetesClient, resource: Resource, outcome: Outcome, obj: Manifest | None, *, kept: bool, log: JobLog
) -> SparkMLError:
    """Return the exception that says why a job did not succeed, and change nothing.

    :param obj: the job's object as it is now, ``None`` when it is gone.
    :param kept: whether the object and its pods will still be there to be looked at.
    :param log: the task's log: the last lines of every rank of a distributed job, but for the one that was followed.
    """
    known = obj or stub(outcome.ref)
    evidence = await gather(client, resource, outcome.ref, known, outcome.verdict)
    followed = resource.log_source(known) if outcome.log_shown else None
    for rank in evidence.ranks:
        if followed is not None and rank.name == followed.label:
            continue  # it is in the task's log already
        for line in excerpt(rank.log, LOG_LINES, LOG_LINES):
            log.info("[%s] %s", rank.name, line)
    if outcome.expired:
        cause = classify_expired(evidence, outcome.expired)
    elif outcome.deleted:
        cause = classify_deleted(evidence)
    else:
        cause = classify(evidence)
    error = cause.error(report(resource, evidence, cause, kept=kept))
    if isinstance(error, JobFailedError) and evidence.exit is not None:
        error.exit_code = evidence.exit.code
    return error


__all__ = ["OnFinish", "explain", "finish", "kill", "parse_result", "read_result", "reread"]
