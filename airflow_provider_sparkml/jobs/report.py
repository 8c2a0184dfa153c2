"""The message of the exception that ends a task: why, what the cluster said, and what to try."""

from __future__ import annotations

from airflow_provider_sparkml.jobs.diagnose import Cause, failed_pods
from airflow_provider_sparkml.jobs.evidence import Evidence
from airflow_provider_sparkml.jobs.log_errors import excerpt
from airflow_provider_sparkml.jobs.warning_events import describe_event
from airflow_provider_sparkml.resources.base import Manifest, Resource, ResourceRef

LOG_LINES = 30
_MOST_LOG_LINES = 80
_EVENTS = 8
_EXECUTORS = 10


def report(resource: Resource, evidence: Evidence, cause: Cause, *, kept: bool) -> str:
    """Return the message of the exception: the cause, what the cluster said, and what to try.

    :param kept: whether the object and its pods are still there to be looked at.
    """
    ref, verdict = evidence.ref, evidence.verdict
    lines = [cause.summary, ""]
    state = f", state {verdict.state}" if verdict.state not in ("", verdict.phase) else ""
    lines.append(f"{ref} (uid {ref.uid}): {verdict.phase}{state}, attempt {verdict.attempt}")
    if verdict.message:
        lines += [f"  {line}" for line in excerpt(verdict.message.splitlines(), LOG_LINES, LOG_LINES)]
    if evidence.pod is not None:
        lines.append(_describe_pod(evidence))
    lines += [f"  {line}" for line in failed_pods(evidence)[:_EXECUTORS]]
    if evidence.events:
        lines += ["Last warning events:", *(f"  {describe_event(event)}" for event in evidence.events[-_EVENTS:])]
    if evidence.log:
        lines.append(f"Last lines of the {evidence.role}'s log:")
        lines += [f"  | {line}" for line in excerpt(evidence.log, LOG_LINES, _MOST_LOG_LINES)]
    lines += [f"Not read: {what}" for what in evidence.unread]
    lines.append(f"What to try: {cause.advice}")
    if kept:
        lines.append(f"  kubectl describe {resource.api.full_name} -n {ref.namespace} {ref.name}")
        if evidence.pod is not None:
            lines.append(
                f"  kubectl logs -n {ref.namespace} {evidence.pod['metadata']['name']} -c {evidence.container}"
            )
    else:
        lines.append('  Its object and pods are deleted; to look at them next time: on_finish="delete_on_success"')
    return "\n".join(lines)


def _describe_pod(evidence: Evidence) -> str:
    """Return one line on the main pod and its main container."""
    pod = evidence.pod or {}
    status = pod.get("status") or {}
    parts = [f"  pod {pod['metadata']['name']}: {status.get('phase', 'Unknown')}"]
    node = (pod.get("spec") or {}).get("nodeName")
    if node:
        parts.append(f"on {node}")
    if evidence.exit is not None:
        parts.append(f"exit code {evidence.exit.code} ({evidence.exit.reason or 'no reason given'})")
    waiting = evidence.container_state.get("waiting") or {}
    if waiting.get("reason"):
        parts.append(f"waiting: {waiting['reason']}")
    return ", ".join(parts)


def stub(ref: ResourceRef) -> Manifest:
    """Return what is still known of an object that is gone: enough to find pods by its name."""
    return {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid},
    }


__all__ = ["LOG_LINES", "report", "stub"]
