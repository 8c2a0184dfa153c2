"""What to try when the API server refuses: each refusal told again with its cause first and the command that helps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from airflow_provider_sparkml.exceptions import (
    ApiError,
    ApiUnavailableError,
    ForbiddenError,
    NamespaceNotFoundError,
    QuotaExceededError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.resources.base import ApiResource

# What serves an API group, and how one installs it (the projects' own installation pages).
_CONTROLLERS = {
    "sparkoperator.k8s.io": (
        "the Spark operator",
        "helm repo add spark-operator https://kubeflow.github.io/spark-operator && "
        "helm install spark-operator spark-operator/spark-operator -n spark-operator --create-namespace "
        "--set 'spark.jobNamespaces={%s}'",
    ),
    "spark.apache.org": (
        "the Apache Spark Kubernetes operator",
        "helm repo add spark https://apache.github.io/spark-kubernetes-operator && "
        "helm install spark-kubernetes-operator spark/spark-kubernetes-operator",
    ),
    "serving.kserve.io": ("KServe", "see https://kserve.github.io/website/docs/admin-guide/overview"),
    "kubeflow.org": (
        "the MPI operator (MPIJob), the training operator (PyTorchJob, TFJob, XGBoostJob) or Katib (Experiment)",
        "see https://www.kubeflow.org/docs/components/",
    ),
    "trainer.kubeflow.org": ("Kubeflow Trainer", "see https://www.kubeflow.org/docs/components/trainer/"),
    "batch": ("Kubernetes' controller of Jobs", ""),
}


# How RBAC refuses (``apiserver/pkg/endpoints/handlers/responsewriters``): it knows best what was asked.
_REFUSED = re.compile(r'cannot (\w+) resource "([^"]+)" in API group "([^"]*)"')


def controller_of(group: str, kind: str) -> str:
    """Return the name of what acts on objects of a kind, for messages."""
    return _CONTROLLERS.get(group, (f"the controller of {kind} objects", ""))[0]


def advise(error: ApiError, verb: str, api: ApiResource, namespace: str) -> str:
    """Return what a person can do about a refusal, as one or two sentences with a command."""
    match error:
        case NamespaceNotFoundError():
            return f"Create it: kubectl create namespace {namespace}; or set `namespace` to one that exists."
        case ResourceTypeNotFoundError():
            name, install = _CONTROLLERS.get(api.group, (controller_of(api.group, api.kind), ""))
            command = install.replace("%s", namespace) or f"kubectl apply -f <its {api.full_name} CRD>"
            return (
                f"Is {name} installed, in a version that serves {api.api_version}? "
                f"Check: kubectl get crd {api.full_name}. Install: {command}"
            )
        case QuotaExceededError():
            return f"See what uses it up: kubectl describe resourcequota -n {namespace}. A retry may find room."
        case ForbiddenError():
            return _advise_right(error, verb, api, namespace)
        case ApiUnavailableError():
            return "Nothing is lost: the next try finds what this one has created, and goes on with it."
        case _:
            return ""


def rule(group: str, resource: str, verbs: Iterable[str]) -> str:
    """Return the rule that a Role needs for some verbs, as YAML on one line.

    :param group: the API group, empty for the core group.
    :param resource: with its subresource: ``pods/log``.
    """
    return f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: [{", ".join(verbs)}]}}'


def _advise_right(error: ForbiddenError, verb: str, api: ApiResource, namespace: str) -> str:
    """Return which rule is missing, in the words of the refusal where RBAC wrote it; else what to look for."""
    refused = _REFUSED.search(str(error))
    resource, group = api.plural, api.group
    if refused is not None:
        verb, resource, group = refused.groups()
    plural, _, subresource = resource.partition("/")
    full = f"{plural}.{group}" if group else plural
    named, asked = (f"{full}/{subresource}", f"{full} --subresource={subresource}") if subresource else (full, full)
    return (
        f"The connection's user needs the verb `{verb}` on {named} in namespace {namespace}: add "
        f"{rule(group, resource, [verb])} to a Role of that namespace that is bound to that user "
        f"(check: kubectl auth can-i {verb} {asked} -n {namespace}); "
        f"if the right is there, an admission policy said no: the message names it."
    )


@contextmanager
def explained(verb: str, api: ApiResource, namespace: str) -> Iterator[None]:
    """Let an :class:`ApiError` out of the block with the advice for it added; class, status and causes stay.

    :param verb: the RBAC verb of the request.
    :param api: the type it is about.
    :param namespace: the namespace it is about.
    """
    try:
        yield
    except ApiError as error:
        advice = advise(error, verb, api, namespace)
        if not advice or "\n" in str(error):
            # The second line is advice already, from nearer to the request.
            raise
        raise type(error)(
            f"{error}\n{advice}", status=error.status, reason=error.reason, causes=error.causes
        ) from error


__all__ = ["advise", "controller_of", "explained", "rule"]
