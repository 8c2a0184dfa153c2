"""SparkCluster: what its builder makes, what is refused, and what the operator's states mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.spark_cluster import SPARK_CLUSTER, SparkCluster, read

CRD = "spark-kubernetes-operator-1.0.0_sparkclusters.yaml"
INSTANCES = ("clusterTolerations", "instanceConfig")


def manifest(**fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"name": "c", "image": "i", "spark_version": "4.3.0", "workers": 2, **fields}
    return SPARK_CLUSTER.normalize(SparkCluster(**given).to_manifest())


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "workers": "3", "max_workers": "5", "master_cpu": 2, "worker_cpu": "500m", "worker_memory": "4Gi",
            "service_account": "spark", "spark_conf": {"spark.ui.reverseProxy": True}, "labels": {"team": "a"},
        },
    ],
)  # fmt: skip
def test_the_smallest_and_the_fullest_are_valid_upstream(
    upstream: Callable[..., list[str]], fields: dict[str, Any]
) -> None:
    made = manifest(**fields)
    assert upstream(CRD, "v1", made) == []
    SPARK_CLUSTER.check(made)


def test_numbers_from_templates_are_numbers_and_properties_are_text() -> None:
    spec = manifest(workers="2", max_workers="4", spark_conf={"spark.worker.cleanup.enabled": False})["spec"]
    assert spec["clusterTolerations"]["instanceConfig"] == {"initWorkers": 2, "minWorkers": 2, "maxWorkers": 4}
    assert spec["sparkConf"] == {"spark.kubernetes.container.image": "i", "spark.worker.cleanup.enabled": "false"}


def test_a_pod_is_ready_when_its_program_listens() -> None:
    """The operator sets no probe; without one a pod is ready as soon as its process is there."""
    for role, port in (("master", 8080), ("worker", 8081)):
        (container,) = manifest()["spec"][f"{role}Spec"]["statefulSetSpec"]["template"]["spec"]["containers"]
        assert container["name"] == role
        assert container["readinessProbe"]["tcpSocket"]["port"] == port


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("runtimeVersions",), {}, "spec.runtimeVersions.sparkVersion is missing"),
        (INSTANCES, {"initWorkers": 1}, "instanceConfig.minWorkers is missing"),
        ((*INSTANCES, "initWorkers"), -1, "instanceConfig.initWorkers is -1: set it to a whole number, at least 0"),
        ((*INSTANCES, "initWorkers"), "two", "instanceConfig.initWorkers is 'two'"),
        ((*INSTANCES, "minWorkers"), 3, "minWorkers 3, initWorkers 2, maxWorkers 2: set them so that none is less"),
        (("sparkConf",), [], r"spec.sparkConf is \[\]"),
    ],
)
def test_what_could_never_work_is_refused(path: tuple[str, ...], value: Any, message: str) -> None:
    made = manifest()
    part = made["spec"]
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(InvalidManifestError, match=message):
        SPARK_CLUSTER.check(made)


def test_a_name_is_short_enough_for_the_labels_of_its_pods() -> None:
    SPARK_CLUSTER.check(manifest(name="c" * 45))
    with pytest.raises(InvalidManifestError, match="take at most 45 characters"):
        SPARK_CLUSTER.check(manifest(name="c" * 46))


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("", Phase.PENDING),
        ("Submitted", Phase.PENDING),
        ("RunningHealthy", Phase.RUNNING),  # its pods have been asked for, no more
        ("SchedulingFailure", Phase.FAILED),
        ("Failed", Phase.FAILED),
        ("ResourceReleased", Phase.FAILED),
        ("Invented", Phase.UNKNOWN),
    ],
)
def test_what_the_states_mean(state: str, phase: Phase) -> None:
    assert read({"metadata": {}, "status": {"currentState": {"currentStateSummary": state}}}).phase is phase


def test_one_that_is_being_deleted_does_not_run() -> None:
    status = {"currentState": {"currentStateSummary": "RunningHealthy"}}
    verdict = read({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": status})
    assert (verdict.phase, verdict.reason) == (Phase.PENDING, "BeingDeleted")


def test_the_failure_is_told_that_the_operator_has_written_over() -> None:
    """After a ``SchedulingFailure`` it writes ``Failed`` at once, with a message that says nothing."""
    failure = {"currentStateSummary": "SchedulingFailure", "message": "Failed to request: forbidden"}
    failed = {"currentStateSummary": "Failed", "message": "Cannot process cluster status."}
    history = {"0": {"currentStateSummary": "Submitted"}, "1": failure, "2": failed, "10": failed}
    verdict = read({"metadata": {}, "status": {"currentState": failed, "stateTransitionHistory": history}})
    assert (verdict.message, verdict.retryable) == ("Failed to request: forbidden", True)


def test_where_drivers_connect_and_what_its_pods_are_called() -> None:
    obj = {**manifest(), "status": {"currentState": {"currentStateSummary": "RunningHealthy"}}}
    obj["metadata"]["namespace"] = "n"
    facts = SPARK_CLUSTER.facts(obj)
    assert facts == {"master_url": "spark://c-master-svc.n.svc:7077", "ui_url": "http://c-master-svc.n.svc:8080",
                     "workers": 2}  # fmt: skip
    assert SPARK_CLUSTER.pod_selector(obj) == "spark.operator/spark-cluster-name=c"
    source = SPARK_CLUSTER.log_source(obj)
    assert source is not None
    assert (source.pod, source.container) == ("c-master-0", "master")
    assert SPARK_CLUSTER.rank_of is not None
    assert [SPARK_CLUSTER.rank_of({"metadata": {"name": name}}) for name in ("c-master-0", "c-worker-11")] == [
        "master",
        "worker-11",
    ]
