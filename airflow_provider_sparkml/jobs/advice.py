"""What to try when the API server refuses: each refusal told again with its cause first and the command that helps."""

from __future__ import annotations

from collections.abc import Iterator
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
            return (
                f"The connection's user needs the verb `{verb}` on {api.full_name} in namespace {namespace} "
                f"(check: kubectl auth can-i {verb} {_for_can_i(api)} -n {namespace}); "
                f"if the right is there, an admission policy said no: the message names it."
            )
        case ApiUnavailableError():
            return "Nothing is lost: the next try finds what this one has created, and goes on with it."
        case _:
            return ""


def _for_can_i(api: ApiResource) -> str:
    """Return a type as ``kubectl auth can-i`` takes it: a subresource is an option there, not part of the name."""
    plural, _, subresource = api.plural.partition("/")
    name = f"{plural}.{api.group}" if api.group else plural
    return f"{name} --subresource={subresource}" if subresource else name


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


__all__ = ["advise", "controller_of", "explained"]
