"""Exactly-once submission: adopt the live job of this chain of attempts, or create the next one."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_sparkml.exceptions import (
    AlreadyExistsError,
    ConflictError,
    InvalidManifestError,
    NameTakenError,
    NotFoundError,
)
from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.jobs.cleanup import OnFinish, delete_job, mark_consumed, wants_deletion
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.resources import naming
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, ResourceRef

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

# Each turn is lost only to another process that acted between our list and our create; nobody loses this many.
_TURNS = 10


@dataclass(frozen=True, slots=True)
class Submission:
    """The job that a task goes on with.

    :param ref: its identity.
    :param obj: the object as the API server returned it.
    :param adopted: whether it was there before, made by an earlier process of the same chain of attempts.
    """

    ref: ResourceRef
    obj: Manifest
    adopted: bool


async def submit(
    client: KubernetesClient,
    resource: Resource,
    manifest: Manifest,
    identity: naming.TaskIdentity,
    *,
    namespace: str,
    log: JobLog,
    on_finish: OnFinish = "delete",
) -> Submission:
    """Adopt the live job of this chain of attempts, or create one; never two.

    The name follows from the chain and an ordinal, so two processes that both decide to create compute the same name:
    the API server lets one of them through, and the other reads that object and adopts it.

    :param client: the cluster.
    :param resource: the kind.
    :param manifest: the user's manifest; it is copied, not changed.
    :param identity: the task attempt.
    :param namespace: where the job goes.
    :param log: the task's log.
    :param on_finish: the clean-up policy, for a failed predecessor that nobody took note of.
    :return: the job to wait for.
    :raises InvalidManifestError: (also as ``InvalidObjectError``) a field is wrong; nothing was created.
    :raises NameTakenError: an object of the computed name is somebody else's.
    :raises ApiError: the API server refused; the subclass and the first line say why.
    """
    manifest = resource.normalize(manifest)
    check(resource, manifest, namespace)
    chain = _Chain(client, resource, manifest, identity, namespace, on_finish, log)
    for _ in range(_TURNS):
        predecessors = await chain.objects()
        live = await chain.settle(predecessors)
        if live is not None:
            submission: Submission | None = chain.adopt(live)
        else:
            submission = await chain.create(max((naming.ordinal_of(item) for item in predecessors), default=0) + 1)
        if submission is not None:
            # Also beside an adopted job: its creator may have died before it came to this.
            await _add_companions(client, resource, submission.obj, namespace)
            return submission
    raise ConflictError(
        f"another process keeps taking the names for this task's {resource.api.kind} in namespace {namespace}"
    )


def check(resource: Resource, manifest: Manifest, namespace: str) -> None:
    """Refuse a manifest of another kind, for another namespace, or that the kind itself refuses.

    :raises InvalidManifestError: naming the field, its value and the fix.
    """
    api = resource.api
    for field, expected in (("apiVersion", api.api_version), ("kind", api.kind)):
        if manifest.get(field) != expected:
            raise InvalidManifestError(f"{field} is {manifest.get(field)!r}: set it to {expected!r}")
    metadata = manifest.get("metadata") or {}
    stated = metadata.get("namespace")
    if stated not in (None, "", namespace):
        raise InvalidManifestError(
            f"metadata.namespace is {stated!r}, but the task's namespace is {namespace!r}: leave one of them out"
        )
    resource.check({**manifest, "metadata": {**metadata, "namespace": namespace}})


def with_type(item: Manifest, resource: Resource) -> Manifest:
    """Return an item of a list with the ``apiVersion`` and ``kind`` that the API server writes only on the list."""
    return {"apiVersion": resource.api.api_version, "kind": resource.api.kind, **item}


def build_job(
    resource: Resource, manifest: Manifest, identity: naming.TaskIdentity, ordinal: int, namespace: str
) -> Manifest:
    """Return a copy of the manifest that carries this attempt's name, labels and annotations; ours win."""
    job = copy.deepcopy(manifest)
    metadata = job.setdefault("metadata", {})
    # An exported manifest names the object it was read from; this is a new one.
    for server_side in ("generateName", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields"):
        metadata.pop(server_side, None)
    job.pop("status", None)
    if resource.api.namespaced:
        metadata["namespace"] = namespace
    metadata["name"] = naming.job_name(identity, ordinal, metadata.get("name") or "")
    metadata["labels"] = {**(metadata.get("labels") or {}), **naming.job_labels(identity, ordinal)}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **naming.job_annotations(identity)}
    return job


@dataclass(frozen=True, slots=True)
class _Chain:
    """The objects of one chain of attempts, and what it takes to add one."""

    client: KubernetesClient
    resource: Resource
    manifest: Manifest
    identity: naming.TaskIdentity
    namespace: str
    on_finish: OnFinish
    log: JobLog

    async def objects(self) -> list[Manifest]:
        """Return all objects of the chain, lowest ordinal first."""
        api = self.resource.api
        with explained("list", api, self.namespace):
            found = await self.client.list(api, self.namespace, label_selector=naming.selector(self.identity))
        ours = [with_type(item, self.resource) for item in found.items if naming.is_ours(item, self.identity)]
        return sorted(ours, key=naming.ordinal_of)

    async def settle(self, predecessors: Iterable[Manifest]) -> Manifest | None:
        """Return the live job among the chain's objects, after closing those whose task died before it could."""
        live: Manifest | None = None
        for obj in predecessors:
            if obj["metadata"].get("deletionTimestamp"):
                continue
            phase = self.resource.read(obj).phase
            if naming.is_consumed(obj):
                # Its task ended between taking note of it and cleaning up.
                await self._clean(obj, phase)
            elif phase is Phase.FAILED:
                await self._close_failed(obj)
            else:
                live = obj
        return live

    async def create(self, ordinal: int) -> Submission | None:
        """Create the job of an ordinal, or adopt the one another process has just created; ``None``: look again."""
        api = self.resource.api
        while True:
            job = build_job(self.resource, self.manifest, self.identity, ordinal, self.namespace)
            try:
                with explained("create", api, self.namespace):
                    obj = await self.client.create(api, job, self.namespace, field_validation="Strict")
            except AlreadyExistsError:
                try:
                    with explained("get", api, self.namespace):
                        obj = await self.client.get(api, job["metadata"]["name"], self.namespace)
                except NotFoundError:
                    return None
                if not naming.is_ours(obj, self.identity):
                    raise NameTakenError(_taken(obj, self.resource.api, self.namespace)) from None
                if naming.is_consumed(obj) or obj["metadata"].get("deletionTimestamp"):
                    # It ended after our list: its name is spent.
                    ordinal += 1
                    continue
                return None if self.resource.read(obj).phase is Phase.FAILED else self.adopt(obj)
            ref = ResourceRef.of(obj)
            self.log.info(
                "Created %s (uid %s). kubectl describe %s -n %s %s",
                ref,
                ref.uid,
                api.full_name,
                ref.namespace,
                ref.name,
            )
            return Submission(ref, obj, adopted=False)

    def adopt(self, obj: Manifest) -> Submission:
        """Return the submission for an object that is there already."""
        ref = ResourceRef.of(obj)
        phase = self.resource.read(obj).phase
        self.log.info("Going on with %s (uid %s), which an earlier try has created: %s", ref, ref.uid, phase)
        return Submission(ref, obj, adopted=True)

    async def _close_failed(self, obj: Manifest) -> None:
        """Take note of a failed job whose own task died before it could."""
        ref, verdict = ResourceRef.of(obj), self.resource.read(obj)
        cause = verdict.message or verdict.reason or verdict.state
        self.log.warning("%s, of an earlier try, had failed: %s. Starting a new one.", ref, cause)
        await mark_consumed(self.client, self.resource, ref, self.log)
        await self._clean(obj, verdict.phase)

    async def _clean(self, obj: Manifest, phase: Phase) -> None:
        """Delete an ended job if the policy says so."""
        if wants_deletion(self.on_finish, phase):
            await delete_job(self.client, self.resource, ResourceRef.of(obj), self.log)


async def _add_companions(client: KubernetesClient, resource: Resource, job: Manifest, namespace: str) -> None:
    """Create what the job needs beside it; each belongs to the job and goes with it.

    :raises NameTakenError: somebody else's object has the name of one.
    """
    owner = {"apiVersion": resource.api.api_version, "kind": resource.api.kind, "blockOwnerDeletion": True}
    owner |= {key: job["metadata"][key] for key in ("name", "uid")}
    for api, manifest in resource.companions(job):
        metadata = {**manifest["metadata"], "namespace": namespace, "ownerReferences": [owner]}
        metadata["labels"] = {**(metadata.get("labels") or {}), naming.MANAGED_BY: naming.PREFIX}
        try:
            with explained("create", api, namespace):
                await client.create(api, {**manifest, "metadata": metadata}, namespace, field_validation="Strict")
        except AlreadyExistsError:
            with explained("get", api, namespace):
                there = await client.get(api, metadata["name"], namespace)
            owners = there["metadata"].get("ownerReferences") or []
            if owner["uid"] not in (each["uid"] for each in owners):
                raise NameTakenError(_taken(there, api, namespace)) from None


def _taken(obj: Manifest, api: ApiResource, namespace: str) -> str:
    """Return the message for a name that somebody else holds."""
    metadata = obj["metadata"]
    owner = (metadata.get("labels") or {}).get("app.kubernetes.io/managed-by", "nobody known")
    return (
        f"{api.kind} {namespace}/{metadata['name']} exists and is not this task's "
        f"(created {metadata.get('creationTimestamp', 'at an unknown time')}, managed by {owner})\n"
        f"Set another metadata.name, or delete it: "
        f"kubectl delete {api.full_name} -n {namespace} {metadata['name']}"
    )


__all__ = ["Submission", "build_job", "check", "submit", "with_type"]
