"""The builders give manifests that the upstream CRD accepts, and that are the caller's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_sparkml.resources.spark import (
    SPARK_APPLICATION,
    BatchScheduler,
    Dependencies,
    Driver,
    DynamicAllocation,
    Executor,
    RestartPolicy,
    Secret,
    SparkApplication,
    Volume,
)

CRD = "spark-operator-v2.5.2_sparkapplications.yaml"
Faults = Callable[[str, str, dict[str, Any]], list[str]]
SMALLEST = SparkApplication(image="spark:4.3.0", main_application_file="local:///opt/sparkml/pi.py")
FULL = SparkApplication(
    name="full",
    image="registry.example.com/spark:4.3.0",
    type="Scala",
    main_application_file="local:///opt/app.jar",
    main_class="com.example.Main",
    arguments=["--rows", 10, True],
    driver=Driver(
        cores=2,
        core_request="500m",
        core_limit="0.5",
        memory="1.5Gi",
        memory_overhead="512Mi",
        service_account="spark",
        env={"A": "1"},
        secrets=[
            Secret(name="db", env={"PASSWORD": "password"}, env_from=True, prefix="DB_"),
            Secret(name="db.tls", mount_path="/etc/db"),
        ],
        labels={"l": "1"},
        annotations={"a": "1"},
        node_selector={"pool": "drivers"},
        tolerations=[{"key": "spot", "operator": "Exists"}],
        affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        java_options="-Dx=y",
        priority_class="high",
        pod_name="the-driver",
        extra={"terminationGracePeriodSeconds": 5},
    ),
    executor=Executor(
        instances=3, memory="512Mi", gpu={"name": "nvidia.com/gpu", "quantity": 1}, delete_on_termination=False
    ),
    spark_conf={"spark.sql.shuffle.partitions": 8, "spark.eventLog.enabled": True},
    hadoop_conf={"fs.s3a.endpoint": "http://s3"},
    dependencies=Dependencies(jars=["local:///a.jar"], py_files=["local:///a.py"], packages=["a:b:1"]),
    restart_policy=RestartPolicy(type="OnFailure", on_failure_retries=2, on_submission_failure_retries=1),
    dynamic_allocation=DynamicAllocation(min_executors=1, max_executors=4, initial_executors=2, shuffle_tracking=False),
    batch_scheduler=BatchScheduler(name="volcano", queue="research", priority_class="high"),
    queue="team-a",
    volumes=[
        Volume.claim("data", "/data", read_only=True, sub_path="flights"),
        Volume.empty_dir("/scratch", size_limit="1Gi", roles=["executor"]),
        Volume.host_path("/mnt", "/mnt"),
        Volume.config_map("conf", "/conf"),
        Volume.secret("keys", "/keys", roles=["driver"]),
    ],
    image_pull_policy="IfNotPresent",
    image_pull_secrets=["registry"],
    labels={"team": "a"},
    annotations={"note": "x", "kueue.x-k8s.io/elastic-job": "true"},
    time_to_live_seconds=600,
)  # fmt: skip


def built(application: SparkApplication) -> dict[str, Any]:
    manifest = SPARK_APPLICATION.normalize(application.to_manifest())
    SPARK_APPLICATION.check(manifest)
    return manifest


def test_the_smallest_and_the_fullest_are_valid_upstream(upstream: Faults) -> None:
    assert upstream(CRD, "v1beta2", built(SMALLEST)) == []
    assert upstream(CRD, "v1beta2", built(FULL)) == []


def test_the_upstream_check_can_fail(upstream: Faults) -> None:
    manifest = built(SMALLEST)
    manifest["spec"]["imagee"] = "x"
    manifest["spec"]["driver"]["cores"] = "one"
    assert len(upstream(CRD, "v1beta2", manifest)) == 2


def test_quantities_are_written_as_spark_and_kubernetes_read_them() -> None:
    driver = built(FULL)["spec"]["driver"]
    assert (driver["memory"], driver["memoryOverhead"]) == ("1536m", "512m")
    assert (driver["coreRequest"], driver["coreLimit"], driver["cores"]) == ("500m", "0.5", 2)


def test_what_templates_render_to_gets_its_type_back() -> None:
    manifest = SparkApplication(
        image="spark:4.3.0",
        main_application_file="local:///x.py",
        arguments=["{{ params.rows }}"],
        driver=Driver(cores="{{ params.cores }}"),
        executor=Executor(instances="{{ params.executors }}", memory="{{ params.memory }}"),
        time_to_live_seconds="{{ params.ttl }}",
    ).to_manifest()
    assert manifest["spec"]["executor"]["instances"] == "{{ params.executors }}"
    spec = manifest["spec"]
    spec["driver"]["cores"], spec["executor"]["instances"], spec["executor"]["memory"] = "2", " 3 ", "1Gi"
    spec["timeToLiveSeconds"] = "600"
    normal = SPARK_APPLICATION.normalize(manifest)["spec"]
    assert (normal["driver"]["cores"], normal["executor"]["instances"]) == (2, 3)
    assert (normal["executor"]["memory"], normal["timeToLiveSeconds"]) == ("1024m", 600)
    assert spec["executor"]["instances"] == " 3 ", "the given manifest is not changed"


def test_conf_values_become_the_text_that_spark_reads() -> None:
    spec = built(FULL)["spec"]
    assert spec["sparkConf"] == {"spark.sql.shuffle.partitions": "8", "spark.eventLog.enabled": "true"}
    assert spec["arguments"] == ["--rows", "10", "true"]


def test_volumes_are_mounted_where_their_roles_say() -> None:
    spec = built(FULL)["spec"]
    mounts = {role: [mount["mountPath"] for mount in spec[role]["volumeMounts"]] for role in ("driver", "executor")}
    assert mounts == {"driver": ["/data", "/mnt", "/conf", "/keys"], "executor": ["/data", "/scratch", "/mnt", "/conf"]}
    assert spec["volumes"][0] == {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    assert spec["driver"]["volumeMounts"][0] == {
        "name": "data",
        "mountPath": "/data",
        "readOnly": True,
        "subPath": "flights",
    }


def test_a_manifest_shares_nothing_with_its_builder() -> None:
    first = FULL.to_manifest()
    first["spec"]["driver"]["env"][0]["value"] = "changed"
    first["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = "changed"
    first["metadata"]["labels"]["team"] = "changed"
    assert FULL.to_manifest() != first
    assert FULL.to_manifest()["metadata"]["labels"] == {"team": "a", "kueue.x-k8s.io/queue-name": "team-a"}


def test_one_volume_may_be_mounted_in_two_places() -> None:
    mounted = SparkApplication(
        image="i:1",
        main_application_file="local:///x.py",
        volumes=[
            Volume.claim("data", "/in", sub_path="raw", read_only=True),
            Volume.claim("data", "/out", sub_path="o"),
        ],
    )
    spec = built(mounted)["spec"]
    assert spec["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    assert [mount["mountPath"] for mount in spec["driver"]["volumeMounts"]] == ["/in", "/out"]


def test_what_airflow_is_to_resolve_is_kept_as_it_is() -> None:
    """An XComArg must reach the operator's field itself: Airflow finds the upstream task by it."""
    upstream = object()
    spec = SparkApplication(
        image="i:{{ params.tag }}",
        main_application_file="local:///x.py",
        arguments=["--in", upstream],  # type: ignore[list-item]
        spark_conf={"spark.x": upstream},  # type: ignore[dict-item]
        volumes=[Volume.claim("{{ params.claim }}", "/data")],
    ).to_manifest()["spec"]
    assert spec["image"] == "i:{{ params.tag }}"
    assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "{{ params.claim }}"}
    assert spec["arguments"][1] is upstream
    assert spec["sparkConf"]["spark.x"] is upstream
