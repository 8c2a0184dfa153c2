"""Deploying a long-lived object, an InferenceService: server-side apply, and never over somebody else's."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow_provider_sparkml.exceptions import ConflictError, ModelNotReadyError, NameTakenError, NotFoundError
from airflow_provider_sparkml.jobs.advice import explained
from airflow_provider_sparkml.jobs.cleanup import delete_job
from airflow_provider_sparkml.jobs.diagnose import Cause, classify_deleted, classify_expired
from airflow_provider_sparkml.jobs.endings import one_line
from airflow_provider_sparkml.jobs.evidence import Evidence, gather
from airflow_provider_sparkml.jobs.finish import reread
from airflow_provider_sparkml.jobs.log import JobLog
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.jobs.report import report, stub
from airflow_provider_sparkml.jobs.rollout import SPEC_HASH, SUPERSEDED, signature
from airflow_provider_sparkml.jobs.submit import Submission, check
from airflow_provider_sparkml.resources.base import Manifest, Phase, Resource, ResourceRef
from airflow_provider_sparkml.resources.naming import MANAGED_BY, PREFIX

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

FIELD_MANAGER = PREFIX
CREATED_BY = f"{PREFIX}/created-by"
"""Annotation: the chain of attempts that created the object; a later one only changes it."""


async def deploy(
    client: KubernetesClient,
    resource: Resource,
    manifest: Manifest,
    *,
    namespace: str,
    log: JobLog,
    created_by: str = "",
) -> Submission:
    """Create an InferenceService, or change the one of that name into this one; the same again changes nothing.

    :param client: the cluster.
    :param resource: the kind.
    :param manifest: what to serve; it is copied, not changed.
    :param namespace: where.
    :param log: the task's log.
    :param created_by: key of the chain of attempts, so that a retry knows what an earlier try has created.
    :return: the object; ``adopted`` is false when this chain of attempts has created it, and may delete it.
    :raises InvalidManifestError: a field is wrong; nothing was changed.
    :raises NameTakenError: the object exists and is not managed by this package.
    :raises ConflictError: somebody else owns a field of it, or it is being deleted.
    """
    manifest = resource.normalize(manifest)
    check(resource, manifest, namespace)
    name = manifest["metadata"]["name"]
    existing = await find_ours(client, resource, name, namespace)
    wanted = build_service_manifest(resource, manifest, namespace, existing, created_by)
    return await put(client, resource, wanted, existing, created_by=created_by, log=log)


async def put(
    client: KubernetesClient,
    resource: Resource,
    wanted: Manifest,
    existing: Manifest | None,
    *,
    created_by: str,
    log: JobLog,
) -> Submission:
    """Apply a manifest that is checked and marked.

    :param existing: what :func:`find_ours` has found.
    :raises ConflictError: somebody else owns a field of it; the message names it, and how to take it over.
    """
    namespace = wanted["metadata"]["namespace"]
    try:
        with explained("patch", resource.api, namespace):
            obj = await client.apply(resource.api, wanted, namespace, field_manager=FIELD_MANAGER)
    except ConflictError as error:
        raise ConflictError(
            f"{error}\nSomebody else owns those fields. To hand them over: kubectl apply --server-side "
            f"--force-conflicts --field-manager={FIELD_MANAGER} -n {namespace} -f <the same manifest>",
            status=error.status, reason=error.reason, causes=error.causes,
        ) from error  # fmt: skip
    ref = ResourceRef.of(obj)
    log.info("%s %s (uid %s)", _what_happened(existing, obj), ref, ref.uid)
    return Submission(ref, obj, adopted=existing is not None and not has_created(obj, created_by))


async def finish_deploy(
    client: KubernetesClient, resource: Resource, outcome: Outcome, *, created_by: str, log: JobLog
) -> dict[str, Any]:
    """Turn the outcome of a rollout into the task's result, or into the exception that says why it does not serve.

    :param client: the cluster.
    :param resource: the kind.
    :param outcome: what :func:`~.rollout.wait_for_rollout` returned.
    :param created_by: key of the chain of attempts: what it has created is deleted on failure. A service that was there
        before stays, for its old version may still serve.
    :param log: the task's log.
    :return: ``name, namespace, uid`` and the kind's own facts (``url, address, deployment_mode, model_state``).
    :raises ModelNotReadyError: the model does not load, or the spec is invalid.
    :raises StartupTimeoutError: it did not serve in time.
    :raises JobDeletedError: it was deleted meanwhile.
    """
    ref, verdict = outcome.ref, outcome.verdict
    obj = await reread(client, resource, ref)
    if verdict.phase is Phase.SUCCEEDED and obj is not None:
        return {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid, **resource.facts(obj)}
    evidence = await gather(client, resource, ref, obj or stub(ref), verdict)
    cause = _cause(resource, evidence, outcome, obj)
    created = obj is not None and has_created(obj, created_by)
    if created:
        await delete_job(client, resource, ref, log)
    raise cause.error(report(resource, evidence, cause, kept=obj is not None and not created))


def has_created(obj: Manifest, created_by: str) -> bool:
    """Return whether a chain of attempts has created the object, and not only changed it."""
    return bool(created_by) and (obj["metadata"].get("annotations") or {}).get(CREATED_BY) == created_by


def _cause(resource: Resource, evidence: Evidence, outcome: Outcome, obj: Manifest | None) -> Cause:
    """Return why a deployment does not serve."""
    if obj is None or outcome.deleted:
        return classify_deleted(evidence)
    now = resource.read(obj)
    verdict = now if now.phase is Phase.FAILED else outcome.verdict
    if verdict.phase is not Phase.FAILED:
        return classify_expired(evidence, outcome.expired or "startup")
    advice = "Compare model format, storageUri and the server's log with what the model is."
    if verdict.state == "InvalidSpec":
        advice = "Correct the field that the message names; kubectl get clusterservingruntimes lists the formats."
    return Cause(
        ModelNotReadyError, f"{outcome.ref} cannot become ready ({verdict.reason}): {one_line(verdict.message)}", advice
    )


def build_service_manifest(
    resource: Resource, manifest: Manifest, namespace: str, existing: Manifest | None, created_by: str
) -> Manifest:
    """Return the manifest to apply: with our mark, and with the hash that tells this version from the one before.

    KServe copies annotations of the object and of ``spec.predictor`` to the Deployment and to the Knative revision, so
    the hash arrives exactly where the new version does.
    """
    wanted = copy.deepcopy(manifest)
    wanted.pop("status", None)
    metadata = wanted["metadata"]
    version = hashlib.sha256(
        json.dumps([wanted["spec"], metadata.get("annotations") or {}], sort_keys=True).encode()
    ).hexdigest()[:16]
    known = ((existing or {}).get("metadata") or {}).get("annotations") or {}
    marks = {SPEC_HASH: version, SUPERSEDED: _superseded(resource, existing, version)}
    creator = known.get(CREATED_BY, "") if existing is not None else created_by
    if creator:
        marks[CREATED_BY] = creator
    metadata["namespace"] = namespace
    metadata["labels"] = {**(metadata.get("labels") or {}), MANAGED_BY: PREFIX}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **marks}
    predictor = wanted["spec"]["predictor"]
    predictor["annotations"] = {**(predictor.get("annotations") or {}), SPEC_HASH: version}
    return wanted


def _superseded(resource: Resource, existing: Manifest | None, version: str) -> str:
    """Return the signature of the failure that this version comes to mend; of the same version, what is noted."""
    if existing is None:
        return ""
    known = existing["metadata"].get("annotations") or {}
    if known.get(SPEC_HASH) == version:
        return str(known.get(SUPERSEDED, ""))
    verdict = resource.read(existing)
    return signature(verdict) if verdict.phase is Phase.FAILED else ""


async def find_ours(client: KubernetesClient, resource: Resource, name: str, namespace: str) -> Manifest | None:
    """Return the object of that name if it is ours to change, ``None`` when there is none."""
    api = resource.api
    try:
        with explained("get", api, namespace):
            obj = await client.get(api, name, namespace)
    except NotFoundError as error:
        if type(error) is not NotFoundError:
            raise
        return None
    metadata = obj["metadata"]
    if (metadata.get("labels") or {}).get(MANAGED_BY) != PREFIX:
        raise NameTakenError(
            f"{api.kind} {namespace}/{name} exists and was not made by this package\n"
            f"Set another metadata.name, or hand it over: "
            f"kubectl label {api.full_name} -n {namespace} {name} --overwrite {MANAGED_BY}={PREFIX}"
        )
    if metadata.get("deletionTimestamp"):
        raise ConflictError(f"{api.kind} {namespace}/{name} is being deleted; a retry creates it anew", status=409)
    return obj


def _what_happened(before: Manifest | None, after: Manifest) -> str:
    """Return a verb for the log."""
    if before is None:
        return "Created"
    same = before["metadata"].get("resourceVersion") == after["metadata"].get("resourceVersion")
    return "Nothing to change in" if same else "Changed"


__all__ = [
    "CREATED_BY",
    "FIELD_MANAGER",
    "build_service_manifest",
    "deploy",
    "find_ours",
    "finish_deploy",
    "has_created",
    "put",
]
