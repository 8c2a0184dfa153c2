"""What this package asks of the API server, in the words of RBAC: the one list for preflight and the shipped roles.

The roles themselves are ``airflow_provider_sparkml/rbac/*.yaml``; a test compares both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_sparkml.jobs.advice import rule
from airflow_provider_sparkml.jobs.kueue import WORKLOAD
from airflow_provider_sparkml.jobs.rollout import KNATIVE_REVISION
from airflow_provider_sparkml.resources import leftovers
from airflow_provider_sparkml.resources.base import ApiResource, Resource
from airflow_provider_sparkml.resources.core import (
    DEPLOYMENT,
    EVENT,
    NAMESPACE,
    POD,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
)
from airflow_provider_sparkml.resources.spark_client import SPARK_CLIENT_POD

ROLES = Path(__file__).parents[1] / "rbac"
"""Where the shipped roles are."""
RESOURCE_QUOTA = ApiResource("", "v1", "resourcequotas", "ResourceQuota")


@dataclass(frozen=True, slots=True)
class Right:
    """What a role has to allow.

    :param api: the type.
    :param verbs: what its feature cannot do without.
    :param optional: what it can, with what is lost.
    :param loss: what is lost without the optional verbs.
    :param subresource: ``log``, ``proxy`` …
    """

    api: ApiResource
    verbs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    loss: str = ""
    subresource: str = ""

    @property
    def resource(self) -> str:
        """What a rule's ``resources`` call it: ``pods/log``."""
        return f"{self.api.plural}/{self.subresource}" if self.subresource else self.api.plural

    @property
    def name(self) -> str:
        """The same with its API group."""
        return f"{self.api.full_name}/{self.subresource}" if self.subresource else self.api.full_name

    def rule(self, verbs: Iterable[str]) -> str:
        """Return the rule that a Role needs for some of the verbs, as YAML on one line."""
        return rule(self.api.group, self.resource, verbs)


_SLOW = "a little later than by watch, a namespace is listed every 10 seconds"
SHARED_RIGHTS = (
    Right(POD, (), ("get", "list"), "no results, and failures without their cause"),
    Right(POD, (), ("get",), "the job's log is not shown", "log"),
    Right(EVENT, (), ("list",), "no warning events are shown"),
    Right(POD, (), ("get",), "no progress is shown", "proxy"),
)
"""What is used with jobs of every kind."""
KUEUE = (
    Right(WORKLOAD, (), ("list",), "why Kueue keeps a job waiting is not shown"),
    Right(WORKLOAD, (), ("watch",), f"that an Experiment's trials wait for Kueue is seen {_SLOW}"),
)
"""Where there is Kueue."""
ROLLOUT = Right(DEPLOYMENT, ("list",), ("watch",), _SLOW)
WORKERS = Right(STATEFUL_SET, ("list",), ("watch",), _SLOW)
KNATIVE = Right(KNATIVE_REVISION, (), ("get",), "the version before may be taken for the new one (mode Knative)")
"""Where there is Knative."""
PREFLIGHT_RIGHTS = (
    Right(NAMESPACE, (), ("get",), "whether the namespace is there is not seen"),
    Right(SERVICE_ACCOUNT, (), ("get",), "whether the drivers' service account is there is not seen"),
    Right(RESOURCE_QUOTA, (), ("list",), "whether a quota leaves room is not seen"),
)
"""What preflight itself reads in a namespace."""

CLEANUP_RIGHTS = tuple(
    Right(api, (), ("list", "delete"), "what is left of this type stays")
    for api in leftovers.TYPES
    if api is not leftovers.APPLICATION
)
"""What the ``SparkCleanupOperator`` uses besides the rights on SparkApplications; each type is left out alone."""

STREAMING_RIGHTS = (
    Right(leftovers.APPLICATION, ("patch",)),
    Right(POD, (), ("patch",), "a stream is not asked to stop: its pods are ended at once"),
)
"""What operators of streams use besides the rights on SparkApplications."""


def rights_of(resource: Resource) -> tuple[Right, ...]:
    """Return what tasks of a kind need besides :data:`SHARED_RIGHTS`."""
    if resource.api.kind == "InferenceService":
        applied = Right(resource.api, ("create", "get", "list", "patch", "delete"), ("watch",), _SLOW)
        return (applied, ROLLOUT, KNATIVE)
    if resource.api.kind == "ScheduledSparkApplication":
        applied = Right(resource.api, ("create", "get", "list", "patch", "delete"), ("watch",), _SLOW)
        return (applied, Right(resource.api, ("patch",), subresource="status"))
    loss = f"{_SLOW} (watch); a retry may take the outcome of a job that was kept once more (patch)"
    job = Right(resource.api, ("create", "get", "list", "delete"), ("watch", "patch"), loss)
    if resource.api.kind in ("Job", "Pod"):
        return (job, Right(SERVICE, ("create", "get")))
    if resource.api.kind == "SparkCluster":
        return (job, WORKERS)
    return (job,)


@dataclass(frozen=True, slots=True)
class Feature:
    """What only some tasks use: a role of its own allows it, which whoever does without them need not give.

    :param name: what preflight calls it.
    :param tasks: which operators need it.
    :param role: file of the role in :data:`ROLES`.
    :param rights: what the role allows.
    """

    name: str
    tasks: str
    role: str
    rights: tuple[Right, ...]


SPARK_FEATURES = (
    Feature("clean-up", "SparkCleanupOperator", "cleanup.yaml", CLEANUP_RIGHTS),
    Feature("client mode", "SparkClientModeOperator", "client_mode.yaml", rights_of(SPARK_CLIENT_POD)),
    Feature("streams", "SparkStreaming…Operator", "streaming.yaml", STREAMING_RIGHTS),
)
"""What there is for Spark besides SparkApplications."""


__all__ = [
    "CLEANUP_RIGHTS",
    "KNATIVE",
    "KUEUE",
    "PREFLIGHT_RIGHTS",
    "RESOURCE_QUOTA",
    "ROLES",
    "ROLLOUT",
    "SHARED_RIGHTS",
    "SPARK_FEATURES",
    "STREAMING_RIGHTS",
    "Feature",
    "Right",
    "rights_of",
]
