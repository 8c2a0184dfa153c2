"""Waiting until the new version of an InferenceService serves: its own status may still be about the old one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_sparkml.exceptions import ForbiddenError, NotFoundError
from airflow_provider_sparkml.jobs.advice import advise
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.merged import Watched, merged
from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome
from airflow_provider_sparkml.jobs.wait import OnChange, wait
from airflow_provider_sparkml.resources.base import ApiResource, Manifest, Phase, Resource, ResourceRef, Verdict
from airflow_provider_sparkml.resources.core import DEPLOYMENT
from airflow_provider_sparkml.resources.naming import PREFIX

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient
    from airflow_provider_sparkml.client.watch import WatchHub

SPEC_HASH = f"{PREFIX}/spec-hash"
"""Annotation: hash of the applied version."""
SUPERSEDED = f"{PREFIX}/superseded-failure"
"""Annotation: :func:`signature` of the failure that the applied version comes to mend."""
KNATIVE_REVISION = ApiResource("serving.knative.dev", "v1", "revisions", "Revision")
_KNATIVE_MODES = ("Knative", "Serverless")


async def wait_for_rollout(
    client: KubernetesClient,
    hub: WatchHub,
    resource: Resource,
    ref: ResourceRef,
    deadlines: Deadlines,
    *,
    log: JobLog,
    on_change: OnChange | None = None,
) -> Outcome:
    """Wait until the version last applied serves, cannot, or a deadline passes; see :func:`~.wait.wait`.

    ``Ready=True`` of the old version is not taken for the new one's, nor is its failure. The new version is where its
    hash is: in mode Standard on the Deployment ``<name>-predictor``, in mode Knative on the latest ready revision.
    """
    rollout = _Rollout(client, hub, resource, log)
    return await wait(
        client, rollout, replace(resource, read=rollout.read), ref, deadlines, log=log, on_change=on_change
    )


def signature(verdict: Verdict) -> str:
    """Return what tells one failure from another."""
    said = json.dumps([verdict.state, verdict.reason, verdict.message, verdict.finished_at])
    return hashlib.sha256(said.encode()).hexdigest()[:16]


class Standing(NamedTuple):
    """How far the version last applied is rolled out.

    :param done: whether it is what serves, and all that does.
    :param missing: what is missing, empty when done.
    :param begun: whether pods of it are wanted already.
    :param alone: whether no pods of another version are left.
    """

    done: bool
    missing: str = ""
    begun: bool = False
    alone: bool = False


def standing(service: Manifest, deployment: Manifest | None) -> Standing:
    """Return how far a Deployment has rolled out the version last applied.

    :param service: the InferenceService.
    :param deployment: its Deployment, ``None`` when there is none.
    """
    if deployment is None:
        return Standing(False, "its Deployment is not there yet")
    metadata, status = deployment["metadata"], deployment.get("status") or {}
    if _mark(deployment, SPEC_HASH) != _mark(service, SPEC_HASH):
        return Standing(False, f"Deployment {metadata['name']} still has the version before")
    if int(status.get("observedGeneration") or 0) < int(metadata.get("generation") or 0):
        return Standing(False, f"Deployment {metadata['name']} is about to be rolled out")
    replicas, updated = int(status.get("replicas") or 0), int(status.get("updatedReplicas") or 0)
    if updated < replicas:
        return Standing(False, f"{updated} of {replicas} pods have the new version", begun=True)
    if status.get("unavailableReplicas"):
        missing = f"{status['unavailableReplicas']} of {replicas} pods are not available"
        return Standing(False, missing, begun=True, alone=True)
    return Standing(True, begun=True, alone=True)


class _Rollout:
    """Follows an InferenceService together with what it is rolled out by, as if they were one object."""

    def __init__(self, client: KubernetesClient, hub: WatchHub, resource: Resource, log: JobLog) -> None:
        self._client = client
        self._hub = hub
        self._resource = resource
        self._standing = Standing(False)
        self._log = log
        self._refused = False  # the revision may not be read

    async def follow(
        self, api: ApiResource, namespace: str | None, name: str, *, label_selector: str = ""
    ) -> AsyncGenerator[Manifest | None, None]:
        """Yield the InferenceService whenever it, or its Deployment, has changed; no labels select these."""
        latest: dict[ApiResource, Manifest | None] = {}
        changes = merged(self._hub, namespace, [Watched(api, name), Watched(DEPLOYMENT, f"{name}-predictor")])
        async with aclosing(changes):
            async for which, obj in changes:
                latest[which.api] = obj
                service = latest.get(api)
                if service is not None:
                    self._standing = await self._look(service, latest.get(DEPLOYMENT))
                if api in latest:
                    yield service

    def read(self, service: Manifest) -> Verdict:
        """Return the verdict on the version last applied."""
        verdict = self._resource.read(service)
        if verdict.phase is Phase.PENDING:
            # Since when this version could have been starting, its status does not say.
            return replace(verdict, pending_since="")
        if verdict.phase is Phase.SUCCEEDED and not self._standing.done:
            return Verdict(Phase.PENDING, state="RollingOut", message=self._standing.missing)
        if verdict.phase is Phase.FAILED and not self._is_of_this_version(service, verdict):
            return Verdict(
                Phase.PENDING, state="RollingOut", message=f"the version before it had failed: {verdict.message}"
            )
        return verdict

    def _is_of_this_version(self, service: Manifest, verdict: Verdict) -> bool:
        """Return whether a failure is of the version last applied, not of pods, or a status, that it replaces."""
        superseded = _mark(service, SUPERSEDED)
        if superseded == signature(verdict):
            return False
        if verdict.state == "InvalidSpec" or (service.get("status") or {}).get("deploymentMode") in _KNATIVE_MODES:
            return True
        return self._standing.begun and (not superseded or self._standing.alone)

    async def _look(self, service: Manifest, deployment: Manifest | None) -> Standing:
        """Return how far the version last applied is rolled out."""
        status = service.get("status") or {}
        if status.get("deploymentMode") not in _KNATIVE_MODES:
            return standing(service, deployment)
        predictor: dict[str, Any] = (status.get("components") or {}).get("predictor") or {}
        created, ready = predictor.get("latestCreatedRevision"), predictor.get("latestReadyRevision")
        if not ready or created != ready:
            return Standing(False, f"revision {created or '?'} is not ready")
        return await self._look_at_revision(service, ready)

    async def _look_at_revision(self, service: Manifest, ready: str) -> Standing:
        """Return whether the ready revision is the version last applied; one that may not be read is taken for it."""
        namespace = service["metadata"]["namespace"]
        try:
            revision = None if self._refused else await self._client.get(KNATIVE_REVISION, ready, namespace)
        except ForbiddenError as error:
            self._refused, revision = True, None
            advice = advise(error, "get", KNATIVE_REVISION, namespace)
            self._log.warning("The ready revision is taken for the new version, unseen: %s\n%s", error, advice)
        except NotFoundError:
            return Standing(False, f"revision {ready} is gone")
        if revision is not None and _mark(revision, SPEC_HASH) != _mark(service, SPEC_HASH):
            return Standing(False, f"revision {ready} is still the version before")
        return Standing(True, begun=True, alone=True)


def _mark(obj: Manifest, annotation: str) -> str:
    """Return an annotation of ours, empty when absent."""
    return str((obj["metadata"].get("annotations") or {}).get(annotation, ""))


__all__ = ["SPEC_HASH", "SUPERSEDED", "Standing", "signature", "standing", "wait_for_rollout"]
