"""The table of what cannot work together: every rule fires, names both sides and the fix, and spares what works."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_rules import RULES, conflicts, facts_of

DYNAMIC = {"dynamicAllocation": {"enabled": True, "maxExecutors": 3}}
IN_CONF = {"spark.dynamicAllocation.enabled": "true"}
CELEBORN = {"spark.shuffle.manager": "org.apache.spark.shuffle.celeborn.SparkShuffleManager"}
UNIFFLE = {"spark.shuffle.manager": "org.apache.spark.shuffle.RssShuffleManager"}
S3 = {"spark.shuffle.manager": "org.apache.spark.shuffle.sort.S3ShuffleManager"}
IO = "spark.shuffle.sort.io.plugin.class"
CELEBORN_IO = {IO: "org.apache.spark.shuffle.celeborn.CelebornShuffleDataIO"}
UNIFFLE_IO = {IO: "org.apache.spark.shuffle.RssShuffleDataIo"}
STATE = {"spark.sql.streaming.stateStore.providerClass": "x"}
REAL_TIME = {"spark.sql.streaming.realTimeMode.minBatchDuration": "5000"}
OLD_CHECKPOINT = {"spark.sql.streaming.stateStore.checkpointFormatVersion": "1"}
RAPIDS = {"spark.plugins": "a, com.nvidia.spark.SQLPlugin"}
GPU = {"spark.executor.resource.gpu.amount": "1"}
ON_GPU = RAPIDS | GPU | {"spark.executor.resource.gpu.discoveryScript": "/g.sh"}
TMPFS = {"spark.kubernetes.local.dirs.tmpfs": "true"}
CLAIM = {
    "spark.kubernetes.executor.volumes.persistentVolumeClaim.spark-local-dir-1.options.claimName": "OnDemand",
}
NO_TRACKING = {"dynamicAllocation": {"enabled": True, "maxExecutors": 3, "shuffleTrackingEnabled": False}}


def manifest(conf: dict[str, Any], version: str = "4.2.0", queue: bool = False, **spec: Any) -> dict[str, Any]:
    base = {
        "type": "Python", "image": "s:1", "mainApplicationFile": "local:///a.py", "sparkVersion": version,
        "driver": {}, "executor": {}, "sparkConf": conf,
    }  # fmt: skip
    labels = {"kueue.x-k8s.io/queue-name": "team"} if queue else {}
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2", "kind": "SparkApplication", "metadata": {"labels": labels},
        "spec": base | spec,
    }  # fmt: skip


REFUSED = [
    (manifest(STATE, **DYNAMIC), "spec.dynamicAllocation.enabled is true, and spec.sparkConf['spark.sql.streaming."),
    (manifest(STATE | IN_CONF), "spec.sparkConf['spark.dynamicAllocation.enabled'] is true, and spec.sparkConf["),
    (manifest({}, queue=True, **DYNAMIC), "and metadata.labels['kueue.x-k8s.io/queue-name'] is 'team'"),
    (manifest(CELEBORN | CELEBORN_IO, **DYNAMIC), "and spec.dynamicAllocation.shuffleTrackingEnabled is true"),
    (manifest(CELEBORN | CELEBORN_IO | IN_CONF), "shuffleTracking.enabled'] is true by default"),
    (manifest(CELEBORN, **NO_TRACKING), f"and spec.sparkConf['{IO}'] is unset"),
    (manifest(UNIFFLE, "3.5.1", **NO_TRACKING), f"and spec.sparkConf['{IO}'] is unset"),
    (manifest({IO: "org.apache.spark.shuffle.S3ShuffleDataIO"}), "['spark.shuffle.manager'] is unset"),
    (manifest(CELEBORN | UNIFFLE_IO), "these are two ways to keep shuffle files"),
    (manifest(UNIFFLE | CELEBORN_IO, "3.5.0"), "these are two ways to keep shuffle files"),
    (manifest(CELEBORN | {IO: "com.amazonaws.spark.shuffle.io.cloud.ChopperPlugin"}), "these are two ways"),
    (manifest(S3 | {IO: "org.apache.spark.shuffle.KubernetesLocalDiskShuffleDataIO"}, "3.5.0"), "two ways"),
    (manifest(S3, "4.0.0"), "and spec.sparkVersion is '4.0.0': IBM's S3 shuffle is made for Spark 3.2 to 3.5"),
    (manifest(UNIFFLE, "4.3"), "and spec.sparkVersion is '4.3': Uniffle is made for Spark 2.3 to 3.5"),
    (manifest(CELEBORN, "4.3.0"), "and spec.sparkVersion is '4.3.0': Celeborn is made for Spark 2.4 to 4.2"),
    (manifest({"spark.shuffle.service.enabled": "true"}), "and the application runs on Kubernetes"),
    (
        manifest(GPU, executor={"gpu": {"name": "nvidia.com/gpu", "quantity": 1}}),
        "spec.executor.gpu is set, and spec.sparkConf['spark.executor.resource.gpu.amount'] is 1",
    ),
    (
        manifest({"spark.driver.resource.gpu.amount": "1"}, driver={"gpu": {"name": "g", "quantity": 1}}),
        "spec.driver.gpu is set, and",
    ),
    (manifest(RAPIDS), "and spec.sparkConf['spark.executor.resource.gpu.amount'] is unset"),
    (manifest(RAPIDS | {"spark.executor.resource.gpu.amount": "2"}), "exactly one GPU"),
    (manifest(RAPIDS | GPU), "and spec.sparkConf['spark.executor.resource.gpu.discoveryScript'] is unset"),
    (
        manifest(CELEBORN | CELEBORN_IO, "3.4.0", **NO_TRACKING),
        "SparkShuffleManager, and spec.sparkVersion is '3.4.0': only since 3.5",
    ),
    (manifest(TMPFS | CLAIM), "tmpfs'] is true, and spec.sparkConf['spark.kubernetes.executor.volumes.persistent"),
    (manifest({"spark.ui.enabled": "false", "spark.ui.prometheus.enabled": "true"}), "served by the UI"),
    (manifest({"spark.storage.decommission.fallbackStorage.path": "s3a://b/f"}), "add '/' to it"),
    (manifest(REAL_TIME, "4.0.1"), "minBatchDuration'] is 5000, and spec.sparkVersion is '4.0.1': Spark has real-time"),
    (manifest(REAL_TIME | OLD_CHECKPOINT), "checkpointFormatVersion'] is 1: Spark refuses to start the query"),
    (manifest(REAL_TIME | STATE), "providerClass'] is x: only RocksDB has checkpoints of format 2"),
    (manifest(REAL_TIME | {"spark.sql.execution.sortBeforeRepartition": "true"}), "is true: a sort waits for an end"),
    (manifest(REAL_TIME | {"spark.sql.adaptive.enabled": "true"}), "there are no batches to adapt to"),
]
WARNED = [
    (manifest({"spark.sql.streaming.checkpointLocation": "/c"}, **DYNAMIC), "executors look idle between two batches"),
    (manifest({"spark.sql.streaming.metricsEnabled": "true"}, **DYNAMIC), "metricsEnabled'] is true: executors look"),
    (
        manifest(ON_GPU | {"spark.task.resource.gpu.amount": "0.25"}, executor={"cores": 2}),
        "is 0.25, for 4 tasks at once, where an executor's cores are 2",
    ),
    (
        manifest({"spark.kubernetes.executor.limit.cores": "8"}, executor={"cores": 4, "coreLimit": "4"}),
        "spec.executor.coreLimit is '4', and spec.sparkConf['spark.kubernetes.executor.limit.cores'] is 8",
    ),
    (
        manifest({"spark.kubernetes.driver.limit.cores": "8"}, driver={"cores": 4, "coreLimit": "4"}),
        "spec.driver.coreLimit is '4', and",
    ),
    (manifest({"spark.eventLog.enabled": "true"}), "and spec.sparkConf['spark.eventLog.dir'] is unset"),
    (manifest({"spark.storage.decommission.enabled": "true"}), "['spark.decommission.enabled'] is unset"),
    (manifest({}, monitoring={"exposeExecutorMetrics": True}), "and spec.sparkVersion is '4.2.0': Spark's NetworkPol"),
    (manifest({}, executor={"labels": {"sidecar.istio.io/inject": "true"}}), "use IstioOff()"),
    (manifest({}, executor={"sidecars": [{"name": "x"}]}), "spec.executor.sidecars is set, and spec.sparkVersion"),
    (manifest({}, driver={"sidecars": [{"name": "x"}]}), "spec.driver.sidecars is set, and the driver's pod ends"),
]
FINE = [
    manifest(TMPFS),
    manifest(CLAIM),
    manifest({"spark.sql.streaming.checkpointLocation": "/c"}),
    manifest(ON_GPU | {"spark.task.resource.gpu.amount": "0.3333"}, executor={"cores": 3}),
    manifest(ON_GPU | {"spark.task.resource.gpu.amount": "{{ params.share }}"}),
    manifest({"spark.kubernetes.executor.limit.cores": "4"}, executor={"cores": 4, "coreLimit": "4"}),
    manifest({}),
    manifest({}, **DYNAMIC),
    manifest(STATE, dynamicAllocation={"enabled": False}),
    manifest({}, queue=True),
    manifest(CELEBORN | CELEBORN_IO, **NO_TRACKING),
    manifest(UNIFFLE | UNIFFLE_IO, "3.5.6", **NO_TRACKING),
    manifest(S3 | {IO: "org.apache.spark.shuffle.S3ShuffleDataIO"}, "3.4.0"),
    manifest({IO: "com.amazonaws.spark.shuffle.io.cloud.ChopperPlugin"}),
    manifest(S3, "{{ var.value.spark }}"),
    manifest(GPU),
    manifest(RAPIDS | GPU | {"spark.executor.resource.gpu.discoveryScript": "/g.sh"}),
    manifest({}, executor={"gpu": {"name": "nvidia.com/gpu", "quantity": 1}}),
    manifest({}, "4.1.0", monitoring={"exposeExecutorMetrics": True}),
    manifest(
        {"spark.kubernetes.driver.pod.excludedFeatureSteps": "a.NetworkPolicyFeatureStep"},
        monitoring={"exposeExecutorMetrics": True},
    ),
    manifest({"spark.kubernetes.executor.checkAllContainers": "false"}, executor={"sidecars": [{"name": "x"}]}),
    manifest({}, "3.5.0", executor={"sidecars": [{"name": "x"}]}),
    manifest({"spark.eventLog.enabled": "true"}, sparkConfigMap="conf"),
    manifest(REAL_TIME, "4.1.0"),
    manifest(REAL_TIME | {"spark.sql.adaptive.enabled": "false"}, "{{ var.value.spark }}"),
    manifest(
        REAL_TIME | OLD_CHECKPOINT | {"spark.sql.streaming.realTimeMode.dangerouslyAllowCheckpointV1.enabled": "true"}
    ),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_refused_before_anything_is_created(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidManifestError) as error:
        SPARK_APPLICATION.check(given)
    assert said in str(error.value)


@pytest.mark.parametrize(("given", "said"), WARNED)
def test_warned_about(given: dict[str, Any], said: str) -> None:
    SPARK_APPLICATION.check(given)
    assert [said in warning for warning in SPARK_APPLICATION.lint(given)] == [True]


@pytest.mark.parametrize("given", FINE)
def test_what_works_is_let_through(given: dict[str, Any]) -> None:
    SPARK_APPLICATION.check(given)
    assert SPARK_APPLICATION.lint(given) == []


def test_elastic_jobs_of_kueue_may_change_their_size() -> None:
    given = copy.deepcopy(manifest({}, queue=True, **DYNAMIC))
    given["metadata"]["annotations"] = {"kueue.x-k8s.io/elastic-job": "true"}
    SPARK_APPLICATION.check(given)


def test_every_rule_is_seen_at_work() -> None:
    told = {
        rule
        for given, _ in [*REFUSED, *WARNED]
        for rule in RULES
        if rule.left(facts_of(given)) and rule.right(facts_of(given))
    }
    assert [rule.why for rule in RULES if rule not in told] == []
    assert all(list(conflicts(given, fatal=True)) for given, _ in REFUSED)
