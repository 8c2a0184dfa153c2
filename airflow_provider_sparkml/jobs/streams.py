"""Streams ensured, asked to stop, upgraded and rolled back; each step is told from the object and can be resumed.

Every write carries the resourceVersion that it was decided upon: of two processes, one starts from what the other did.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import (
    AlreadyExistsError,
    ConflictError,
    InvalidManifestError,
    NamespaceNotFoundError,
    NameTakenError,
    NotFoundError,
    ResourceTypeNotFoundError,
    StreamRolledBackError,
)
from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.jobs.cleanup import kill
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.submit import Submission, check
from airflow_provider_sparkml.resources.base import Manifest, ResourceRef
from airflow_provider_sparkml.resources.naming import MANAGED_BY, PREFIX
from airflow_provider_sparkml.resources.spark import API
from airflow_provider_sparkml.resources.spark_stream import (
    SPARK_STREAM,
    STREAM,
    Record,
    Version,
    check_upgrade,
    differences,
    is_down,
    submission_of,
)

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

_TURNS = 20

Change = tuple[Record, dict[str, Any] | None] | None
"""What is to be written: the record, and the spec where that changes; ``None``: nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a task wants of a stream.

    :param by: key of the task's chain of attempts.
    :param compatible: whether its author says that the version goes on from the checkpoint of the one before.
    :param upgrade: whether another version may take the place of the one in force.
    :param stop_seconds: how long the version before may take to stop by itself.
    """

    by: str
    compatible: bool = True
    upgrade: bool = True
    stop_seconds: float = 300.0


async def ensure(
    client: KubernetesClient, manifest: Manifest, wanted: Wanted, *, namespace: str, log: JobLog
) -> Submission:
    """See to it that a stream of this name and version is there, or is to be as soon as the one in force has stopped.

    :param client: the cluster.
    :param manifest: of :func:`~.spark_stream.prepare`.
    :param wanted: the task's wishes.
    :param namespace: where.
    :param log: the task's log.
    :return: the object; ``adopted`` unless this call has created it.
    :raises InvalidManifestError: a field is wrong, or the version cannot follow the one in force; nothing was changed.
    :raises NameTakenError: the object exists and is no stream of this package.
    :raises StreamRolledBackError: this very task had this version already, and it had to be rolled back.
    """
    check(SPARK_STREAM, manifest, namespace)
    name, version = manifest["metadata"]["name"], Version.of(manifest)
    for _ in range(_TURNS):
        obj = await existing(client, name, namespace)
        if obj is not None:
            obj = await amend(client, obj, lambda at, record: _decide(at, record, version, wanted, log))
            return Submission(ResourceRef.of(obj), obj, adopted=True)
        record = Record(current=version, by=wanted.by, started_at=time.time())
        try:
            with explained("create", API, namespace):
                obj = await client.create(API, _first(manifest, record, namespace), namespace)
        except AlreadyExistsError:
            continue  # another process was quicker
        ref = ResourceRef.of(obj)
        log.info("Created stream %s (uid %s), version %s", ref, ref.uid, version.hash)
        return Submission(ref, obj, adopted=False)
    raise ConflictError(f"other processes keep creating and deleting {API.kind} {namespace}/{name}", status=409)


def _first(manifest: Manifest, record: Record, namespace: str) -> Manifest:
    """Return the object to create."""
    metadata = manifest["metadata"]
    return {
        "apiVersion": API.api_version,
        "kind": API.kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": namespace,
            "labels": {**(metadata.get("labels") or {}), MANAGED_BY: PREFIX},
            "annotations": {**(metadata.get("annotations") or {}), STREAM: record.to_text()},
        },
        "spec": record.spec(),
    }


def _decide(obj: Manifest, record: Record, version: Version, wanted: Wanted, log: JobLog) -> Change:
    """Return what is to be changed so that a version is in force, or follows."""
    name, submission, now = obj["metadata"]["name"], submission_of(obj), time.time()
    if record.following is not None and record.following.hash == version.hash:
        log.info("Going on with the upgrade of %s to version %s", name, version.hash)
        return None
    if record.current.hash == version.hash:
        if record.following is None and record.stop_until is None and not is_down(obj, record):
            log.info("Stream %s has this version already, %s: nothing to change", name, version.hash)
            return None
        log.info("Starting stream %s again, version %s", name, version.hash)
        started = record.restarted(submission, wanted.by, now)
        return started, started.spec()
    failed = record.failed or {}
    if (failed.get("hash"), failed.get("by")) == (version.hash, wanted.by):
        raise rolled_back(name, failed["why"])
    changed = differences(record.current, version)
    if not wanted.upgrade:
        raise InvalidManifestError(
            f"stream {name} runs another version, which differs in {', '.join(changed)}: "
            "set on_change='upgrade', or keep the manifest as it is"
        )
    for warning in check_upgrade(record.current, version, compatible=wanted.compatible):
        log.warning("%s", warning)
    log.info(
        "Upgrading stream %s from version %s to %s: %s", name, record.current.hash, version.hash, ", ".join(changed)
    )
    if is_down(obj, record):
        upgraded = record.upgraded(version, submission, wanted.by, now)
        return upgraded, upgraded.spec()
    until = record.stop_until or now + wanted.stop_seconds
    return replace(record, following=version, by=wanted.by, stop_until=until, failed=None), None


async def ask_to_stop(
    client: KubernetesClient, name: str, namespace: str, seconds: float, log: JobLog
) -> Submission | None:
    """Note on a stream that it is to stop.

    :param seconds: how long it may take to do so by itself.
    :return: the stream; ``None`` when there is none.
    """
    obj = await existing(client, name, namespace)
    if obj is None:
        log.info("There is no stream %s/%s: nothing to stop", namespace, name)
        return None

    def change(at: Manifest, record: Record) -> Change:
        if record.following is None and record.stop_until is not None:
            return None
        return replace(record, following=None, stop_until=time.time() + seconds), None

    obj = await amend(client, obj, change)
    return Submission(ResourceRef.of(obj), obj, adopted=True)


async def restore(client: KubernetesClient, name: str, namespace: str, wanted: Wanted, log: JobLog) -> Submission:
    """Make the version that was healthy before the one in force follow it.

    :raises InvalidManifestError: there is none.
    """
    obj = await existing(client, name, namespace)
    if obj is None:
        raise InvalidManifestError(f"application_name is {name!r}: there is no stream of that name in {namespace}")

    def change(at: Manifest, record: Record) -> Change:
        if record.by == wanted.by:
            return None  # a retry: the same task has begun this, or done it
        if record.former is None:
            raise InvalidManifestError(
                f"application_name is {name!r}: no version was healthy before the one in force, {record.current.hash}, "
                "so there is none to go back to"
            )
        log.info("Rolling stream %s back from version %s to %s", name, record.current.hash, record.former.hash)
        if is_down(at, record):
            back = record.rolled_back("rolled back by hand", submission_of(at), time.time())
            back = replace(back, failed=None, by=wanted.by)
            return back, back.spec()
        until = record.stop_until or time.time() + wanted.stop_seconds
        return replace(record, following=record.former, by=wanted.by, stop_until=until), None

    obj = await amend(client, obj, change)
    return Submission(ResourceRef.of(obj), obj, adopted=True)


async def let_go(client: KubernetesClient, ref: ResourceRef, *, delete: bool, log: JobLog) -> None:
    """Leave a stream whose task was killed: running, also when its upgrade had begun; or delete it.

    :param delete: whether its author has asked for that.
    """
    if delete:
        await kill(client, API, ref, log=log)
        return
    try:
        obj = await client.get(API, ref.name, ref.namespace)
    except NotFoundError:
        return
    if obj["metadata"]["uid"] != ref.uid or obj["metadata"].get("deletionTimestamp"):
        return

    def change(at: Manifest, record: Record) -> Change:
        if record.following is None:
            return None
        log.info("%s was about to be upgraded: its present version, %s, is started again", ref, record.current.hash)
        # Nobody's: a retry of the task that has let go begins what it wants anew.
        started = record.restarted(submission_of(at), "", time.time())
        return started, started.spec()

    await amend(client, obj, change)
    log.info("%s is left running (stop_on_kill=False)", ref)


async def existing(client: KubernetesClient, name: str, namespace: str) -> Manifest | None:
    """Return the stream of a name, ``None`` when there is none.

    :raises NameTakenError: an object has that name which is no stream of this package.
    """
    try:
        with explained("get", API, namespace):
            obj = await client.get(API, name, namespace)
    except (NamespaceNotFoundError, ResourceTypeNotFoundError):
        raise
    except NotFoundError:
        return None
    metadata = obj["metadata"]
    if (metadata.get("labels") or {}).get(MANAGED_BY) != PREFIX or Record.of(obj) is None:
        raise NameTakenError(
            f"{API.kind} {namespace}/{name} exists and is no stream of this package\n"
            "Set another metadata.name, or delete it, if it is yours: "
            f"kubectl delete {API.full_name} -n {namespace} {name}"
        )
    if metadata.get("deletionTimestamp"):
        raise ConflictError(f"{API.kind} {namespace}/{name} is being deleted; a retry creates it anew", status=409)
    return obj


async def amend(client: KubernetesClient, obj: Manifest, decide: Callable[[Manifest, Record], Change]) -> Manifest:
    """Write what is decided upon the newest state of a stream; decide again when somebody else was quicker.

    :param obj: the stream, perhaps as it was a while ago.
    :param decide: the object and its record → what to write.
    :return: the object as it is then.
    """
    metadata = obj["metadata"]
    name, namespace, uid = metadata["name"], metadata["namespace"], metadata["uid"]
    for _ in range(_TURNS):
        record = Record.of(obj)
        if record is None:
            raise NameTakenError(f"{API.kind} {namespace}/{name} is no stream of this package any more")
        change = decide(obj, record)
        if change is None:
            return obj
        try:
            with explained("patch", API, namespace):
                return await client.patch(API, name, _patch(obj, *change), namespace)
        except ConflictError:
            with explained("get", API, namespace):
                obj = await client.get(API, name, namespace)
        if obj["metadata"]["uid"] != uid:
            raise ConflictError(f"{API.kind} {namespace}/{name} was deleted and made anew meanwhile", status=409)
    raise ConflictError(f"others keep changing {API.kind} {namespace}/{name}", status=409)


def _patch(obj: Manifest, record: Record, spec: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the JSON patch that writes a record, and a spec as a whole; refused when the object has changed since."""
    pointer = STREAM.replace("~", "~0").replace("/", "~1")
    operations: list[dict[str, Any]] = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]},
        {"op": "add", "path": f"/metadata/annotations/{pointer}", "value": record.to_text()},
    ]
    if spec is not None:
        operations.append({"op": "replace", "path": "/spec", "value": spec})
    return operations


def rolled_back(name: str, why: str) -> StreamRolledBackError:
    """Return the error that says that a version had to be rolled back."""
    first, _, rest = why.partition("\n")
    return StreamRolledBackError(
        f"the new version of stream {name} did not become healthy and was rolled back: {first}\n{rest}\n"
        "The version before it is in force again. Mend the new one; clear the task to try the same again."
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a stream has to come to, JSON-safe: the trigger carries it.

    :param version: the hash of the version that is to be in force.
    :param min_uptime: for how many seconds it has to run with all its executors.
    :param startup_seconds: how long it may take from each start until then; ``None``: for ever.
    :param max_restarts: how many restarts are borne meanwhile.
    :param roll_back: whether the version before comes back into force otherwise.
    :param start: the start that the task has found.
    :param attempts: the attempts of that start that do not count: they were before this task.
    :param since: epoch seconds at which the task came; a stream that has been there for long has its time from then.
    """

    version: str = ""
    min_uptime: float = 30.0
    startup_seconds: float | None = 900.0
    max_restarts: int = 2
    roll_back: bool = True
    start: int = 1
    attempts: int = 0
    since: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-safe dict; ``Plan(**data)`` is its inverse."""
        return asdict(self)


__all__ = ["Plan", "Wanted", "amend", "ask_to_stop", "ensure", "existing", "let_go", "restore", "rolled_back"]
