"""Presets: what they set is valid upstream and known to Spark; they agree with each other or are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, DynamicAllocation, Executor, SparkApplication
from airflow_provider_sparkml.resources.spark_apache import ApacheSparkApplication
from airflow_provider_sparkml.resources.spark_keys import THIRD_PARTIES, is_known
from airflow_provider_sparkml.resources.spark_presets import (
    CelebornShuffle,
    ChopperShuffle,
    Decommission,
    EventLog,
    FallbackStorage,
    IstioOff,
    JmxExporter,
    LogShipping,
    Preset,
    Prometheus,
    Rapids,
    RealTimeMode,
    RocksDBStateStore,
    S3Shuffle,
    ShuffleClaims,
    ShuffleInMemory,
    SpotExecutors,
    UniffleShuffle,
    apply_presets,
)

Faults = Callable[[str, str, dict[str, Any]], list[str]]

PRESETS: list[tuple[Preset, str]] = [
    (EventLog("s3a://logs/spark", max_file_size="64m"), "4.3.0"),
    (Prometheus(port=4041, streaming=True), "4.3.0"),
    (JmxExporter(jar="/opt/jmx.jar", without_network_policy=True), "4.3.0"),
    (RocksDBStateStore(), "4.3.0"),
    (RealTimeMode(min_batch_milliseconds=2000), "4.3.0"),
    (Rapids(tasks_per_gpu=4, jar="local:///rapids.jar", pinned_pool="2g"), "4.0.1"),
    (Decommission(kill_after="60s"), "4.3.0"),
    (SpotExecutors({"cloud.google.com/gke-spot": "true"}, [{"key": "spot", "operator": "Exists"}]), "4.3.0"),
    (IstioOff(), "4.3.0"),
    (LogShipping(image="fluent/fluent-bit:4.0", config_map="logs", log4j="/l.properties", env={"A": "b"}), "4.3.0"),
    (ShuffleClaims(size="10Gi", storage_class="fast"), "4.3.0"),
    (ShuffleInMemory(), "4.3.0"),
    (S3Shuffle("s3a://b/shuffle"), "3.5.6"),
    (ChopperShuffle("s3://b/shuffle"), "3.5.6"),
    (CelebornShuffle(["master:9097"], dynamic_allocation=True), "4.2.0"),
    (UniffleShuffle(["rss-0:19999", "rss-1:19999"], dynamic_allocation=True), "3.5.6"),
    (FallbackStorage("s3a://b/fallback"), "4.3.0"),
]
EACH = [pytest.param(preset, version, id=type(preset).__name__) for preset, version in PRESETS]


def app(**options: Any) -> SparkApplication:
    return SparkApplication(**{"image": "spark:1", "main_application_file": "local:///a.py"} | options)


def conf_of(manifest: dict[str, Any]) -> dict[str, str]:
    conf: dict[str, str] = manifest["spec"]["sparkConf"]
    return conf


@pytest.mark.parametrize(("preset", "version"), EACH)
def test_each_is_valid_and_works_alone(preset: Preset, version: str, upstream: Faults) -> None:
    executor = Executor(cores=getattr(preset, "tasks_per_gpu", 1))
    manifest = SPARK_APPLICATION.normalize(
        app(spark_version=version, presets=[preset], executor=executor).to_manifest()
    )
    SPARK_APPLICATION.check(manifest)
    assert upstream("spark-operator-v2.5.2_sparkapplications.yaml", "v1beta2", manifest) == []
    assert SPARK_APPLICATION.lint(manifest) == []
    assert manifest != SPARK_APPLICATION.normalize(app(spark_version=version).to_manifest())


def test_presets_of_an_application_of_the_apache_operator_are_those_of_properties() -> None:
    apache = ApacheSparkApplication(image="i:1", main_application_file="local:///a.py")
    patched = apply_presets(apache, [EventLog("s3a://logs/spark")])
    assert patched["spec"]["sparkConf"]["spark.eventLog.enabled"] == "true"
    with pytest.raises(InvalidManifestError, match=r"presets has IstioOff, which sets spec.driver: .*podTemplateSpec"):
        apply_presets(apache, [Decommission(), IstioOff()])
    with pytest.raises(InvalidManifestError, match="kind is 'Job': presets are for SparkApplications"):
        apply_presets({"apiVersion": "batch/v1", "kind": "Job"}, [Decommission()])


def test_log_shipping_needs_limits_in_pods_that_are_guaranteed() -> None:
    with pytest.raises(InvalidManifestError, match=r"spec.driver.initContainers\[0\] \('log-shipping'\) has no limits"):
        app(qos="guaranteed", presets=[LogShipping(image="f:1", config_map="c")]).to_manifest()
    sized = LogShipping(image="f:1", config_map="c", cpu="100m", memory="128Mi")
    shipper = app(qos="guaranteed", presets=[sized]).to_manifest()["spec"]["executor"]["initContainers"][0]
    size = {"cpu": "100m", "memory": "128Mi"}
    assert shipper["resources"] == {"requests": size, "limits": size}


@pytest.mark.parametrize(("preset", "version"), EACH)
def test_each_sets_properties_that_somebody_reads(preset: Preset, version: str) -> None:
    assert [key for key in preset.to_patch()["spec"].get("sparkConf", {}) if not is_known(key)] == []


@pytest.mark.parametrize(("preset", "version"), EACH)
def test_each_may_be_applied_twice_and_to_a_manifest(preset: Preset, version: str) -> None:
    once = app(spark_version=version, presets=[preset]).to_manifest()
    plain = app(spark_version=version).to_manifest()
    assert apply_presets(once, [preset]) == once
    assert apply_presets(plain, [preset]) == once
    assert plain == app(spark_version=version).to_manifest(), "the author's own manifest stays as it was"


def test_those_that_fit_go_together() -> None:
    together: list[Preset] = [
        EventLog("s3a://logs/{{ dag.dag_id }}"), RocksDBStateStore(), RealTimeMode(), Prometheus(), Decommission(),
        IstioOff(),
        SpotExecutors({"spot": "true"}), FallbackStorage("s3a://b/f"), LogShipping(image="f:1", config_map="l"),
        ShuffleClaims(size="1Gi", storage_class="fast"),
    ]  # fmt: skip
    manifest = app(presets=together, spark_conf={"spark.decommission.enabled": True}).to_manifest()
    SPARK_APPLICATION.check(SPARK_APPLICATION.normalize(manifest))
    assert conf_of(manifest)["spark.decommission.enabled"] is True, "the same, as the author wrote it"
    assert conf_of(manifest)["spark.storage.decommission.fallbackStorage.path"] == "s3a://b/f/"
    assert manifest["spec"]["executor"]["labels"] == {"sidecar.istio.io/inject": "false"}


def test_lists_grow() -> None:
    manifest = app(
        spark_conf={"spark.plugins": "org.apache.spark.deploy.DriverTimeoutPlugin"},
        executor=Executor(tolerations=[{"key": "gpu"}]),
        presets=[Rapids(tasks_per_gpu=3), SpotExecutors({"spot": "true"}, [{"key": "spot"}])],
    ).to_manifest()
    assert conf_of(manifest)["spark.plugins"] == (
        "org.apache.spark.deploy.DriverTimeoutPlugin,com.nvidia.spark.SQLPlugin"
    )
    assert manifest["spec"]["executor"]["tolerations"] == [{"key": "gpu"}, {"key": "spot"}]
    share = float(conf_of(manifest)["spark.task.resource.gpu.amount"])
    assert (share * 3 <= 1, int(1 / share)) == (True, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"presets": [EventLog("s3a://a")], "spark_conf": {"spark.eventLog.dir": "s3a://b"}},
            "spec.sparkConf['spark.eventLog.dir']: EventLog sets it to 's3a://a', but the application to 's3a://b'",
        ),
        (
            {"presets": [S3Shuffle("s3a://a"), CelebornShuffle(["m:1"])]},
            "spec.sparkConf['spark.shuffle.manager']: CelebornShuffle sets it to "
            "'org.apache.spark.shuffle.celeborn.SparkShuffleManager', but S3Shuffle to",
        ),
        (
            {"presets": [ChopperShuffle("s3://a"), ShuffleClaims(size="1Gi", storage_class="x")]},
            "spec.sparkConf['spark.shuffle.sort.io.plugin.class']: ShuffleClaims sets it",
        ),
        (
            {"presets": [IstioOff()], "executor": Executor(labels={"sidecar.istio.io/inject": "true"})},
            "spec.executor.labels.sidecar.istio.io/inject: IstioOff sets it to 'false', but the application to 'true'",
        ),
        (
            {"presets": [LogShipping(image=image, config_map="c") for image in ("a", "b")]},
            "spec.driver.initContainers: LogShipping adds 'log-shipping', and another one of that name is there",
        ),
        ({"presets": [Decommission]}, "presets has <class"),
        ({"presets": [EventLog("/logs")]}, "EventLog.directory is '/logs': write a URI with its scheme"),
        ({"presets": [CelebornShuffle("m:1")]}, "CelebornShuffle.masters is 'm:1': give a list of 'host:port'"),
        ({"presets": [Rapids(tasks_per_gpu=0)]}, "Rapids.tasks_per_gpu is 0"),
        (
            {"presets": [RealTimeMode(min_batch_milliseconds=0)]},
            "RealTimeMode.min_batch_milliseconds is 0: give a whole number above 0",
        ),
        (
            {"presets": [RealTimeMode(), RocksDBStateStore(changelog_checkpointing=False)]},
            "spec.sparkConf['spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled']: "
            "RocksDBStateStore sets it to 'false', but RealTimeMode to 'true'",
        ),
        ({"presets": [SpotExecutors({})]}, "SpotExecutors.node_labels is empty"),
    ],
)
def test_contradictions_are_refused_with_both_sides(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidManifestError) as error:
        app(**options).to_manifest()
    assert str(error.value).startswith(said)


def test_a_remote_shuffle_with_executors_that_come_and_go() -> None:
    manifest = app(
        spark_version="4.2.0",
        dynamic_allocation=DynamicAllocation(min_executors=1, max_executors=3, shuffle_tracking=False),
        presets=[CelebornShuffle(["m:1"], dynamic_allocation=True)],
    ).to_manifest()
    SPARK_APPLICATION.check(SPARK_APPLICATION.normalize(manifest))


def test_third_parties_are_listed_with_their_source() -> None:
    assert all(source.startswith("https://") for source in THIRD_PARTIES.values())
