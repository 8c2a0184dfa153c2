"""The driver's pod in client mode: what is set, how its status is read, and which pods its Service leads to."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.jobs.submit import build_job
from airflow_provider_sparkml.resources.base import Manifest, Phase
from airflow_provider_sparkml.resources.naming import ORDINAL, TASK, TaskIdentity
from airflow_provider_sparkml.resources.spark_builders import Driver, DynamicAllocation, Executor, Secret
from airflow_provider_sparkml.resources.spark_client import (
    SPARK_CLIENT_POD,
    WATCHED,
    SparkClientPod,
    conf_of,
    read,
)
from airflow_provider_sparkml.resources.spark_volumes import Volume

IDENTITY = TaskIdentity("https://airflow", "dag", "task", "run", -1, 1, 0)
MAIN = "local:///opt/app.py"


def pod(**options: Any) -> Manifest:
    return SparkClientPod(image="spark:1", main_application_file=MAIN, **options).to_manifest()


def submitted(**options: Any) -> Manifest:
    """Return the pod as it is created."""
    manifest = SPARK_CLIENT_POD.normalize(pod(**options))
    SPARK_CLIENT_POD.check(manifest)
    return build_job(SPARK_CLIENT_POD, manifest, IDENTITY, 1, "data")


def container(manifest: Manifest) -> dict[str, Any]:
    found: dict[str, Any] = manifest["spec"]["containers"][0]
    return found


def test_all_that_client_mode_needs_is_set() -> None:
    conf = conf_of(submitted())
    expected = {
        "spark.kubernetes.driver.pod.name": "$(SPARK_DRIVER_POD_NAME)",
        "spark.kubernetes.executor.podNamePrefix": "$(SPARK_DRIVER_POD_NAME)",
        "spark.app.id": "$(SPARK_DRIVER_POD_NAME)",
        "spark.driver.host": "$(SPARK_DRIVER_POD_NAME).$(SPARK_DRIVER_NAMESPACE).svc",
        "spark.driver.port": "7078",
        "spark.driver.blockManager.port": "7079",
        "spark.kubernetes.namespace": "$(SPARK_DRIVER_NAMESPACE)",
        "spark.kubernetes.container.image": "spark:1",
        "spark.executor.memoryOverheadFactor": "0.4",
    }
    assert expected.items() <= conf.items()
    assert conf["spark.master"].startswith("k8s://https://")
    fields = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in container(submitted())["env"]}
    assert fields["SPARK_DRIVER_POD_NAME"] == "metadata.name"
    # The entry point of Spark's images binds there.
    assert fields["SPARK_DRIVER_BIND_ADDRESS"] == "status.podIP"


def test_arguments_come_last_and_numbers_are_text() -> None:
    args = container(submitted(arguments=[4, True], main_class="a.B", type="Scala"))["args"]
    assert args[0] == "driver"
    assert args[-5:] == ["--class", "a.B", MAIN, "4", "true"]
    assert "spark.executor.memoryOverheadFactor" not in conf_of(submitted(type="Scala", main_class="a.B"))


def test_a_list_of_arguments_that_a_template_gave_is_spliced_in() -> None:
    manifest = pod()
    container(manifest)["args"].append(["x", 1])
    assert container(SPARK_CLIENT_POD.normalize(manifest))["args"][-3:] == [MAIN, "x", "1"]


def test_the_pod_requests_what_spark_would_have_requested() -> None:
    driver = Driver(memory="{{ 1 }}", cores=2, core_limit="3")
    manifest = pod(driver=driver)
    words = container(manifest)["args"]
    words[words.index("spark.driver.memory={{ 1 }}")] = "spark.driver.memory=1Gi"  # as rendered
    result = SPARK_CLIENT_POD.normalize(manifest)
    assert conf_of(result)["spark.driver.memory"] == "1024m"
    # 1024 MiB and 40 % for what is not the JVM's.
    assert container(result)["resources"] == {
        "requests": {"cpu": "2000m", "memory": "1433Mi"},
        "limits": {"cpu": "3", "memory": "1433Mi"},
    }


def test_what_executors_get_they_get_by_properties() -> None:
    executor = Executor(
        instances=3,
        memory="2g",
        service_account="workers",
        env={"A": "1"},
        labels={"team": "x"},
        node_selector={"disk": "ssd"},
        java_options="-Dx=1",
        secrets=[Secret(name="keys", env={"PASSWORD": "password"}, mount_path="/keys")],
    )
    volumes = [Volume.claim("data", "/data", sub_path="a"), Volume.config_map("code", "/code", roles=["driver"])]
    manifest = submitted(
        executor=executor, volumes=volumes, dynamic_allocation=DynamicAllocation(min_executors=1, max_executors=4)
    )
    claim = "spark.kubernetes.executor.volumes.persistentVolumeClaim.data"
    expected = {
        "spark.executor.instances": "3",
        "spark.executor.memory": "2g",
        "spark.kubernetes.authenticate.executor.serviceAccountName": "workers",
        "spark.executorEnv.A": "1",
        "spark.kubernetes.executor.label.team": "x",
        "spark.kubernetes.executor.node.selector.disk": "ssd",
        "spark.executor.extraJavaOptions": "-Dx=1",
        "spark.kubernetes.executor.secretKeyRef.PASSWORD": "keys:password",
        "spark.kubernetes.executor.secrets.keys": "/keys",
        f"{claim}.mount.path": "/data",
        f"{claim}.mount.subPath": "a",
        f"{claim}.options.claimName": "data",
        "spark.dynamicAllocation.enabled": "true",
        "spark.dynamicAllocation.shuffleTracking.enabled": "true",
    }
    conf = conf_of(manifest)
    assert expected.items() <= conf.items()
    assert not any("/code" in value for value in conf.values())
    assert [each["mountPath"] for each in container(manifest)["volumeMounts"]] == ["/data", "/code"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": Executor(tolerations=[{"key": "x"}])}, "executor.tolerations is"),
        ({"executor": Executor(gpu={"name": "nvidia.com/gpu", "quantity": 1})}, "executor.gpu is"),
        ({"executor": Executor(secrets=[Secret(name="s", env_from=True)])}, "env_from=True"),
        ({"volumes": [Volume.config_map("c", "/c")]}, "volume 'config' is a configMap"),
        ({"driver": Driver(pod_name="mine")}, "driver.pod_name is 'mine'"),
        ({"spark_conf": {"spark.driver.host": "me"}}, "spark_conf['spark.driver.host'] is 'me'"),
    ],
)
def test_what_client_mode_does_not_offer_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError) as caught:
        pod(**options)
    assert message in str(caught.value)


def without_conf(manifest: Manifest, key: str) -> None:
    words = container(manifest)["args"]
    at = next(index for index, word in enumerate(words) if word.startswith(f"{key}="))
    del words[at - 1 : at + 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["spec"].update(restartPolicy="OnFailure"), "spec.restartPolicy is 'OnFailure'"),
        (lambda m: container(m).update(name="base"), "spec.containers has ['base']"),
        (lambda m: m["metadata"]["labels"].clear(), "metadata.labels['spark-role'] is None"),
        (lambda m: without_conf(m, "spark.kubernetes.driver.pod.name"), "'spark.kubernetes.driver.pod.name' is None"),
        (lambda m: without_conf(m, "spark.driver.port"), "'spark.driver.port' is None"),
    ],
)
def test_a_pod_that_executors_would_not_find_or_that_would_leak_is_refused(change: Any, message: str) -> None:
    manifest = pod()
    change(manifest)
    with pytest.raises(InvalidManifestError) as caught:
        SPARK_CLIENT_POD.check(manifest)
    assert message in str(caught.value)


def test_the_service_selects_this_pod_and_not_its_executors() -> None:
    created = submitted(spark_conf={"spark.driver.port": 7100})
    [(api, service)] = SPARK_CLIENT_POD.companions(created)
    labels = created["metadata"]["labels"]
    assert api.kind == "Service"
    assert service["metadata"]["name"] == created["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"].items() <= labels.items()
    executor = {TASK: labels[TASK], ORDINAL: labels[ORDINAL], "spark-role": "executor"}
    assert not service["spec"]["selector"].items() <= executor.items()
    assert [each["port"] for each in service["spec"]["ports"]] == [7100, 7079, 4040]
    other = build_job(SPARK_CLIENT_POD, pod(), IDENTITY, 2, "data")["metadata"]["labels"]
    assert not service["spec"]["selector"].items() <= other.items()


def test_the_watch_is_of_jobs_alone_and_diagnosis_of_executors_too() -> None:
    labels = submitted()["metadata"]["labels"]
    assert dict(part.split("=") for part in WATCHED.split(",")).items() <= labels.items()
    wanted = dict(part.split("=") for part in SPARK_CLIENT_POD.pod_selector(submitted()).split(","))
    conf = conf_of(submitted())
    assert {f"spark.kubernetes.executor.label.{key}" for key in wanted} <= set(conf)
    assert SPARK_CLIENT_POD.pod_selector({"metadata": {"name": "gone"}}) == ""


def test_variables_of_the_task_reach_driver_and_executors() -> None:
    manifest = pod()
    before = copy.deepcopy(manifest)
    result = SPARK_CLIENT_POD.with_env(manifest, {"X": "1"})
    assert manifest == before
    assert {"name": "X", "value": "1"} in container(result)["env"]
    assert conf_of(result)["spark.executorEnv.X"] == "1"


def status(phase: str, driver: dict[str, Any] | None = None, **more: Any) -> Manifest:
    statuses = [{"name": "istio-proxy", "state": {"running": {}}}]
    statuses += [{"name": "spark-kubernetes-driver", "state": driver}] if driver else []
    metadata = {"name": "p", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": statuses, **more}}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": "2026-01-01T00:01:00Z"}}


UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
GATED = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}


@pytest.mark.parametrize(
    ("obj", "phase", "reason", "retryable"),
    [
        (status("Pending"), Phase.PENDING, "", False),
        (status("Pending", {"waiting": {"reason": "ContainerCreating"}}), Phase.PENDING, "", False),
        (status("Pending", {"waiting": {"reason": "ImagePullBackOff"}}), Phase.PENDING, "ImagePullBackOff", False),
        (status("Pending", conditions=[UNSCHEDULABLE]), Phase.PENDING, "Unschedulable", False),
        (status("Pending", conditions=[GATED]), Phase.QUEUED, "SchedulingGated", False),
        (status("Running", {"waiting": {}}), Phase.PENDING, "", False),
        (status("Running", {"running": {}}), Phase.RUNNING, "", False),
        # A sidecar keeps the pod running: the driver's container has the word.
        (status("Running", ended(0, "Completed")), Phase.SUCCEEDED, "", False),
        (status("Running", ended(1)), Phase.FAILED, "Error", False),
        # A sidecar failed after the driver had succeeded.
        (status("Failed", ended(0, "Completed")), Phase.SUCCEEDED, "", False),
        (status("Failed", ended(137, "OOMKilled")), Phase.FAILED, "OOMKilled", False),
        (status("Failed", ended(143)), Phase.FAILED, "Error", True),
        (status("Failed", reason="Evicted", message="low on memory"), Phase.FAILED, "Evicted", True),
        (status("Unknown"), Phase.UNKNOWN, "", False),
    ],
)  # fmt: skip
def test_the_drivers_container_is_the_job(obj: Manifest, phase: Phase, reason: str, retryable: bool) -> None:
    verdict = read(obj)
    assert (verdict.phase, verdict.reason, verdict.retryable) == (phase, reason, retryable)
    assert verdict.submission_id == "u"


def test_time_at_a_gate_is_no_time_of_starting() -> None:
    assert read(status("Pending")).pending_since == "2026-01-01T00:00:00Z"
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T05:00:00Z"}
    assert read(status("Pending", conditions=[scheduled])).pending_since == "2026-01-01T05:00:00Z"


def test_an_exit_is_told_as_the_operator_tells_it() -> None:
    assert read(status("Running", ended(3))).message == "driver container failed with ExitCode: 3, Reason: Error"


def test_the_ui_is_where_the_conf_says() -> None:
    name = submitted()["metadata"]["name"]
    assert SPARK_CLIENT_POD.progress(submitted()) == (name, 4040)
    assert SPARK_CLIENT_POD.progress(submitted(spark_conf={"spark.ui.port": "4050"})) == (name, 4050)
    assert SPARK_CLIENT_POD.progress(submitted(spark_conf={"spark.ui.enabled": False})) is None
