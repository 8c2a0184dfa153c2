"""Whether the Spark operator is there and at work: its controller, the namespaces it watches, its webhook.

How it is found, and how its arguments are read, is that of its Helm chart (kubeflow/spark-operator,
``charts/spark-operator-chart/templates``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_sparkml.exceptions import ForbiddenError, NotFoundError
from airflow_provider_sparkml.jobs.findings import Finding, Status, unseen
from airflow_provider_sparkml.jobs.outcome import epoch
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import DEPLOYMENT
from airflow_provider_sparkml.resources.spark_webhook import WEBHOOK_FIELDS

if TYPE_CHECKING:
    from airflow_provider_sparkml.client.client import KubernetesClient

LEASE = ApiResource("coordination.k8s.io", "v1", "leases", "Lease")
WEBHOOKS = ApiResource(
    "admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", False
)
OPERATOR_NAMESPACE = "spark-operator"
"""Where its documentation installs it; looked into where not all namespaces may be."""
LOCAL = "+sparkml-local"
"""How the version of this package's own local cluster ends."""
_LEASE_GRACE_SECONDS = 60.0
_ASK = "Ask whoever runs the cluster"


async def check_spark_operator(client: KubernetesClient, server_version: str, namespace: str) -> list[Finding]:
    """Return whether the Spark operator would run a SparkApplication of a namespace.

    :param server_version: ``gitVersion`` of the API server.
    :param namespace: where applications go.
    """
    if server_version.endswith(LOCAL):
        return [
            Finding("Spark operator", Status.OK, "the local cluster has its own controller; there is no webhook"),
            Finding(
                "watched namespace",
                Status.UNKNOWN,
                "the local cluster does not tell which namespaces it runs SparkApplications in",
                f"If they stay without a status: sparkml cluster up --job-namespace {namespace}",
            ),
        ]
    return [*await _check_controller(client, namespace), await _check_webhook(client)]


async def _check_controller(client: KubernetesClient, namespace: str) -> list[Finding]:
    """Return whether its Deployment is available, and whether it watches the namespace."""
    look = "kubectl get deployments -A -l app.kubernetes.io/component=controller"
    try:
        found, everywhere = await _deployments(client)
    except ForbiddenError as error:
        return [unseen("Spark operator", error, f"{_ASK}: {look}")]
    controller = next((each for each in found if arguments_of(each) is not None), None)
    if controller is None:
        where = (
            "in no namespace" if everywhere else f"not in namespace {OPERATOR_NAMESPACE}, and others may not be seen"
        )
        status = Status.FAILED if everywhere else Status.UNKNOWN
        return [
            Finding(
                "Spark operator", status, f"no controller is found: {where}",
                "Install it: https://www.kubeflow.org/docs/components/spark-operator/getting-started/",
            )
        ]  # fmt: skip
    return [await _check_alive(client, controller), watches(controller, namespace)]


async def _deployments(client: KubernetesClient) -> tuple[list[Manifest], bool]:
    """Return the Deployments that may be seen, and whether these are all."""
    try:
        return (await client.list(DEPLOYMENT, None)).items, True
    except ForbiddenError:
        return (await client.list(DEPLOYMENT, OPERATOR_NAMESPACE)).items, False


def arguments_of(deployment: Manifest) -> dict[str, str] | None:
    """Return the arguments of the Spark operator's controller by name; ``None`` for any other Deployment."""
    for container in deployment["spec"]["template"]["spec"].get("containers") or ():
        arguments = [str(each) for each in container.get("args") or ()]
        named = "spark-operator" in container.get("name", "") or "spark-operator" in container.get("image", "")
        if named and arguments[:2] == ["controller", "start"]:
            pairs = (each.removeprefix("--").partition("=") for each in arguments[2:])
            # The chart writes --namespaces="" with the quotes in it.
            return {name: value.strip('"') for name, _, value in pairs}
    return None


async def _check_alive(client: KubernetesClient, controller: Manifest) -> Finding:
    """Return whether the controller's Deployment is available and its lease is renewed."""
    metadata, check = controller["metadata"], "Spark operator"
    where = f"Deployment {metadata['namespace']}/{metadata['name']}"
    version = (metadata.get("labels") or {}).get("app.kubernetes.io/version") or "of unknown version"
    logs = f"kubectl -n {metadata['namespace']} logs deployment/{metadata['name']}"
    if not (controller.get("status") or {}).get("availableReplicas"):
        return Finding(check, Status.FAILED, f"{where} ({version}) has no pod that is available", f"See why: {logs}")
    arguments = arguments_of(controller) or {}
    if arguments.get("leader-election") != "true":
        return Finding(check, Status.OK, f"{where} ({version}) is available")
    name, namespace = arguments.get("leader-election-lock-name", ""), metadata["namespace"]
    try:
        lease = await client.get(LEASE, name, arguments.get("leader-election-lock-namespace") or namespace)
    except (ForbiddenError, NotFoundError):
        return Finding(check, Status.OK, f"{where} ({version}) is available; its lease is not seen")
    silent = lease_overdue(lease, time.time())
    if silent is not None:
        detail = f"{where} ({version}) is available, but its lease {name} was not renewed for {silent:.0f} s"
        return Finding(check, Status.FAILED, detail, f"It does no work. See why: {logs}")
    return Finding(check, Status.OK, f"{where} ({version}) is available and holds its lease")


def lease_overdue(lease: Manifest, now: float) -> float | None:
    """Return for how many seconds a lease was not renewed, if that is too long; clocks may differ by a minute.

    :param now: epoch seconds.
    """
    spec = lease.get("spec") or {}
    renewed = epoch(str(spec.get("renewTime") or ""))
    if renewed is None:
        return None
    silent = now - renewed
    return silent if silent > float(spec.get("leaseDurationSeconds") or 15) + _LEASE_GRACE_SECONDS else None


def watches(controller: Manifest, namespace: str) -> Finding:
    """Return whether the controller acts on a namespace (``--namespaces``, ``--namespace-selector``)."""
    arguments, check = arguments_of(controller) or {}, "watched namespace"
    listed = [each.strip() for each in arguments.get("namespaces", "").split(",")]
    selector = arguments.get("namespace-selector", "")
    if namespace in listed or (listed == [""] and not selector) or (len(listed) > 1 and "" in listed):
        return Finding(check, Status.OK, f"the Spark operator watches {namespace}")
    if selector:
        detail = f"the Spark operator watches namespaces by the labels {selector}"
        return Finding(
            check,
            Status.UNKNOWN,
            detail,
            f"See if {namespace} has them: kubectl get namespace {namespace} --show-labels",
        )
    return Finding(
        check,
        Status.FAILED,
        f"the Spark operator watches {', '.join(listed)}, but not {namespace}",
        f"helm upgrade spark-operator spark-operator/spark-operator -n {controller['metadata']['namespace']} "
        f"--reuse-values --set 'spark.jobNamespaces={{{','.join([*listed, namespace])}}}'",
    )


async def _check_webhook(client: KubernetesClient) -> Finding:
    """Return whether the webhook is there that changes pods of Spark as the SparkApplication asks."""
    check = "Spark webhook"
    try:
        found = (await client.list(WEBHOOKS, None)).items
    except NotFoundError:
        found = []
    except ForbiddenError as error:
        return unseen(check, error, f"{_ASK}: kubectl get mutatingwebhookconfigurations")
    for configuration in found:
        for webhook in configuration.get("webhooks") or ():
            if str(webhook.get("name", "")).endswith(".sparkoperator.k8s.io"):
                return Finding(check, Status.OK, f"MutatingWebhookConfiguration {configuration['metadata']['name']}")
    return Finding(
        check,
        Status.WARNING,
        "there is none, so these of a SparkApplication do nothing: "
        f"{', '.join(dict.fromkeys(path.rpartition('.')[2] for path in WEBHOOK_FIELDS))}",
        "helm upgrade … --reuse-values --set webhook.enable=true",
    )


__all__ = ["arguments_of", "check_spark_operator", "lease_overdue", "watches"]
