"""What preflight makes of what it is shown: rights, quotas, the Spark operator's Deployment and lease."""

from __future__ import annotations

import time
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.jobs.preflight import Right, Status, check_wanted, judge_feature, judge_right, used_up
from airflow_provider_sparkml.jobs.preflight_spark import arguments_of, lease_overdue, watches
from airflow_provider_sparkml.jobs.rights import ROLES, SPARK_FEATURES, Feature
from airflow_provider_sparkml.resources.core import POD, SERVICE
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION

APPS = Right(SPARK_APPLICATION.api, ("create", "delete"), ("watch",), "slower")


def controller(*arguments: str, container: str = "spark-operator-controller") -> dict[str, Any]:
    """Return a Deployment as the operator's Helm chart makes it."""
    args = ["controller", "start", *arguments]
    image = "ghcr.io/kubeflow/spark-operator/controller:2.5.0"
    return {
        "metadata": {"name": "spark-operator-controller", "namespace": "spark-operator"},
        "spec": {"template": {"spec": {"containers": [{"name": container, "image": image, "args": args}]}}},
    }


@pytest.mark.parametrize(
    ("allowed", "status", "said"),
    [
        ({"create", "delete", "watch"}, Status.OK, "create, delete, watch"),
        ({"create", "delete"}, Status.WARNING, "not allowed: watch; slower"),
        ({"create"}, Status.FAILED, "not allowed: delete, watch"),
        (set(), Status.FAILED, "not allowed: create, delete, watch"),
    ],
)
def test_a_right(allowed: set[str], status: Status, said: str) -> None:
    finding = judge_right(APPS, allowed, "data")
    assert (finding.status, finding.detail) == (status, said)
    assert finding.check == "right: sparkapplications.sparkoperator.k8s.io"
    assert bool(finding.fix) == (status is not Status.OK)


def test_the_fix_of_a_right_is_a_rule_for_the_role() -> None:
    fix = judge_right(Right(POD, (), ("get",), "lost", "log"), set(), "data").fix
    assert fix.endswith('in namespace data: {apiGroups: [""], resources: ["pods/log"], verbs: [get]}')


@pytest.mark.parametrize(
    ("pods", "services", "status", "said"),
    [
        ({"create", "watch", "patch"}, {"create", "get"}, Status.OK, "all that RingOperator uses is allowed"),
        (
            {"create"}, {"create", "get"}, Status.WARNING,
            "RingOperator works with less: not allowed: watch, patch on pods; it is slower",
        ),
        (
            set(), {"get"}, Status.WARNING,
            "RingOperator does not work: not allowed: create on pods, services",
        ),
    ],
)  # fmt: skip
def test_a_feature_says_what_works_without_its_rights(
    pods: set[str], services: set[str], status: Status, said: str
) -> None:
    rights = (Right(POD, ("create",), ("watch", "patch"), "it is slower"), Right(SERVICE, ("create", "get")))
    feature = Feature("rings", "RingOperator", "cleanup.yaml", rights)
    finding = judge_feature(feature, [(rights[0], pods), (rights[1], services)], "data")
    assert (finding.check, finding.status, finding.detail) == ("rings", status, said)
    if status is not Status.OK:
        assert finding.fix.startswith("Only RingOperator needs it: kubectl apply -n data -f ")
        assert finding.fix.endswith("/rbac/cleanup.yaml")


def test_the_features_of_spark_have_their_roles() -> None:
    assert [feature.name for feature in SPARK_FEATURES] == ["clean-up", "client mode", "streams"]
    assert all((ROLES / feature.role).is_file() for feature in SPARK_FEATURES)


@pytest.mark.parametrize(
    ("hard", "used", "full"),
    [
        ({"pods": "2"}, {"pods": "1"}, []),
        ({"pods": "2"}, {"pods": "2"}, ["q: pods 2 of 2"]),
        ({"requests.cpu": "1"}, {"requests.cpu": "1000m"}, ["q: requests.cpu 1000m of 1"]),
        ({"requests.memory": "1Gi"}, {"requests.memory": "1000Mi"}, []),
        ({"pods": "2"}, {}, []),
        ({"services.loadbalancers": "0"}, {"services.loadbalancers": "0"}, []),  # no job takes one
    ],
)
def test_a_quota(hard: dict[str, str], used: dict[str, str], full: list[str]) -> None:
    quota = {"metadata": {"name": "q"}, "status": {"hard": hard, "used": used}}
    assert used_up(quota) == full
    assert used_up({**quota, "spec": {"scopes": ["BestEffort"]}}) == []


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--namespaces=default,data"], Status.OK),
        (['--namespaces=""'], Status.OK),
        ([], Status.OK),
        (["--namespaces=default,"], Status.OK),
        (["--namespaces=default"], Status.FAILED),
        (["--namespaces=default", "--namespace-selector=spark=yes"], Status.UNKNOWN),
        (["--namespace-selector=spark=yes"], Status.UNKNOWN),
        (["--namespaces=data", "--namespace-selector=spark=yes"], Status.OK),
    ],
)
def test_whether_a_namespace_is_watched(arguments: list[str], status: Status) -> None:
    finding = watches(controller(*arguments), "data")
    assert finding.status is status
    if status is Status.FAILED:
        assert "'spark.jobNamespaces={default,data}'" in finding.fix


def test_only_the_controller_is_the_controller() -> None:
    assert arguments_of(controller("--leader-election=true")) == {"leader-election": "true"}
    webhook = controller()
    webhook["spec"]["template"]["spec"]["containers"][0]["args"][0] = "webhook"
    assert arguments_of(webhook) is None
    other = controller(container="other")
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/other:1"
    assert arguments_of(other) is None
    assert arguments_of({"spec": {"template": {"spec": {}}}}) is None


@pytest.mark.parametrize(("ago", "overdue"), [(0, False), (60, False), (120, True), (-300, False)])
def test_a_lease(ago: float, overdue: bool) -> None:
    now = time.time()
    renewed = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(now - ago))
    assert (lease_overdue({"spec": {"renewTime": renewed, "leaseDurationSeconds": 15}}, now) is not None) is overdue
    assert lease_overdue({}, now) is None


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    assert check_wanted(["SparkApplication", "TrainJob"]) == ("SparkApplication", "TrainJob")
    with pytest.raises(InvalidManifestError, match=r"kinds has 'SparkJob': give some of .*SparkApplication"):
        check_wanted(["SparkJob"])
