"""The verdict of a SparkApplication of spark.apache.org in every state and order of states, and what is done to it."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.client.reflector import essentials
from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import LogSource, Phase, resource_for
from airflow_provider_sparkml.resources.spark import DRIVER_CONTAINER, Driver, DynamicAllocation, Executor, Secret
from airflow_provider_sparkml.resources.spark_apache import APACHE_SPARK_APPLICATION, ENDS, FAILURES, read
from airflow_provider_sparkml.resources.spark_apache_builder import ApacheSparkApplication, Restart
from airflow_provider_sparkml.resources.spark_volumes import Volume

CRD = Path(__file__).parents[3].parent / "shared" / "crds" / "spark-kubernetes-operator-1.0.0_sparkapplications.yaml"
CELEBORN = {
    "spark.shuffle.manager": "org.apache.spark.shuffle.celeborn.SparkShuffleManager",
    "spark.shuffle.sort.io.plugin.class": "org.apache.spark.shuffle.celeborn.CelebornShuffleDataIO",
}
CREATED = "2026-11-22T10:00:00Z"
ALL_GOES_WELL = ("Submitted", "DriverRequested", "DriverStarted", "DriverReady", "RunningHealthy", "Succeeded")
RESOURCE = APACHE_SPARK_APPLICATION


def application(*states: Any, attempt: int = 0, **spec: Any) -> dict[str, Any]:
    """Return an application that went through these states, a minute each: names, or mappings."""
    history = {
        str(number): {"lastTransitionTime": f"2026-11-22T10:{number:02}:00Z"}
        | (state if isinstance(state, dict) else {"currentStateSummary": state})
        for number, state in enumerate(states)
    }
    obj: dict[str, Any] = {
        "apiVersion": "spark.apache.org/v1",
        "kind": "SparkApplication",
        "metadata": {"name": "pi", "namespace": "ns", "uid": "u", "creationTimestamp": CREATED},
        "spec": spec,
    }
    if history:
        obj["status"] = {
            "currentState": history[str(len(states) - 1)],
            # As JSON objects come: in no order.
            "stateTransitionHistory": {key: history[key] for key in sorted(history)},
            "currentAttemptSummary": {"attemptInfo": {"id": attempt}},
        }
    return obj


@pytest.mark.parametrize(
    ("states", "phase", "pending_since", "attempt"),
    [
        ((), Phase.PENDING, CREATED, 0),
        (("Submitted",), Phase.PENDING, CREATED, 0),
        (("Submitted", "DriverRequested"), Phase.PENDING, CREATED, 1),
        (("Submitted", "SchedulingFailure"), Phase.PENDING, CREATED, 1),
        (("Submitted", "DriverRequested", "DriverStartTimedOut"), Phase.PENDING, CREATED, 1),
        (("DriverStarted",), Phase.RUNNING, "", 1),
        (("DriverReady",), Phase.RUNNING, "", 1),
        (("InitializedBelowThresholdExecutors",), Phase.RUNNING, "", 1),
        (("RunningHealthy",), Phase.RUNNING, "", 1),
        (("RunningWithPartialCapacity",), Phase.RUNNING, "", 1),
        (("RunningWithBelowThresholdExecutors",), Phase.RUNNING, "", 1),
        (("DriverReadyTimedOut",), Phase.RUNNING, "", 1),
        (("ExecutorsStartTimedOut",), Phase.RUNNING, "", 1),
        (("DriverEvicted",), Phase.RUNNING, "", 1),
        (("Succeeded",), Phase.RUNNING, "", 1),
        (("Failed",), Phase.RUNNING, "", 1),
        (("Hibernating",), Phase.UNKNOWN, "", 1),
    ],
)
def test_every_state_has_its_phase(states: tuple[str, ...], phase: Phase, pending_since: str, attempt: int) -> None:
    verdict = read(application(*states))
    assert (verdict.phase, verdict.pending_since, verdict.attempt) == (phase, pending_since, attempt)
    assert verdict.state == (states[-1] if states else "")


@pytest.mark.parametrize("end", ENDS)
def test_the_end_is_what_the_history_says(end: str) -> None:
    succeeded = read(application(*ALL_GOES_WELL, end))
    assert (succeeded.phase, succeeded.reason) == (Phase.SUCCEEDED, "Succeeded")
    assert (succeeded.started_at, succeeded.finished_at) == ("2026-11-22T10:01:00Z", "2026-11-22T10:05:00Z")
    for failure in FAILURES:
        failed = read(application(*ALL_GOES_WELL[:-1], failure, end))
        assert (failed.phase, failed.reason) == (Phase.FAILED, failure)
        # It was released when its time was up: the history has both.
        assert read(application(*ALL_GOES_WELL[:-1], failure, *ENDS[::-1])).phase is Phase.FAILED
    assert read(application(*ALL_GOES_WELL, *ENDS[::-1])).phase is Phase.SUCCEEDED


@pytest.mark.parametrize("before", ["Submitted", "RunningHealthy", "ScheduledToRestart", "DriverReady"])
def test_what_was_cancelled_has_not_succeeded(before: str) -> None:
    verdict = read(application("Submitted", before, "ResourceReleased"))
    assert (verdict.phase, verdict.reason) == (Phase.FAILED, "Cancelled")


def test_an_end_without_history_is_no_success() -> None:
    assert read(application("ResourceReleased")).phase is Phase.FAILED


def test_the_history_is_in_the_order_of_its_numbers_not_of_their_text() -> None:
    first = (*ALL_GOES_WELL[:-1], "Failed", "ScheduledToRestart")
    again = application(*first, *ALL_GOES_WELL[1:], "ResourceReleased", attempt=1)
    assert len(again["status"]["stateTransitionHistory"]) > 10
    verdict = read(again)
    assert (verdict.phase, verdict.attempt, verdict.submission_id) == (Phase.SUCCEEDED, 2, "pi-1")
    assert verdict.started_at == "2026-11-22T10:07:00Z", "the last attempt's"


def test_a_restart_is_another_submission_whose_start_up_clock_begins_anew() -> None:
    failed = (*ALL_GOES_WELL[:-1], "Failed")
    waiting = read(application(*failed, "ScheduledToRestart", attempt=1))
    assert (waiting.phase, waiting.attempt, waiting.submission_id, waiting.pending_since) == (Phase.PENDING, 1, "", "")
    again = read(application(*failed, "ScheduledToRestart", "DriverRequested", attempt=1))
    assert (again.attempt, again.submission_id, again.pending_since) == (2, "pi-1", "2026-11-22T10:07:00Z")
    # Where the operator trims the history at a restart.
    assert read(application("ScheduledToRestart", attempt=3)).attempt == 3


@pytest.mark.parametrize(
    ("failure", "message", "code", "retryable"),
    [
        ("DriverEvicted", "Driver has one or more failed critical container(s)", None, True),
        ("DriverStartTimedOut", "The driver has not responded", None, True),
        ("DriverReadyTimedOut", "The driver has not responded", None, True),
        ("ExecutorsStartTimedOut", "failed to get enough executors", None, True),
        ("Failed", "Driver removed. This could caused by 'exit'", None, True),
        ("Failed", "Driver has one or more failed critical container(s)", 143, True),
        ("Failed", "Driver has one or more failed critical container(s)", 1, False),
        (
            "SchedulingFailure",
            "Failed to request driver from scheduler backend. no such field",
            None,
            False,
        ),
        ("SchedulingFailure", "pods is forbidden: exceeded quota: small", None, True),
    ],
)
def test_why_it_failed(failure: str, message: str, code: int | None, retryable: bool) -> None:
    state: dict[str, Any] = {"currentStateSummary": failure, "message": message}
    if code is not None:
        ended = {"name": DRIVER_CONTAINER, "state": {"terminated": {"exitCode": code, "reason": "Error"}}}
        state["lastObservedDriverStatus"] = {"containerStatuses": [{"name": "sidecar", "state": {}}, ended]}
    limit = {"currentStateSummary": "ResourceReleased", "message": "The maximum number of restart attempts (3)"}
    verdict = read(application("Submitted", state, limit))
    assert (verdict.phase, verdict.retryable) == (Phase.FAILED, retryable)
    said = f"driver container failed with ExitCode: {code}, Reason: Error {message}" if code else message
    assert verdict.message == f"{said} The maximum number of restart attempts (3)"


@given(st.text(max_size=30))
def test_only_two_states_are_terminal(state: str) -> None:
    assert read(application(state)).phase.is_terminal is (state in ENDS)


def test_what_is_read_is_in_the_shared_watch() -> None:
    conf = {"spark.ui.port": "4141", "spark.kubernetes.driver.podTemplateContainerName": "main"}
    obj = essentials(application("Submitted", "DriverRequested", sparkConf=conf))
    assert RESOURCE.log_source(obj) == LogSource("pi-0-driver", "main", "driver")
    assert RESOURCE.progress(obj) == ("pi-0-driver", 4141)
    assert RESOURCE.pod_selector(obj) == "spark.operator/spark-app-name=pi"
    assert RESOURCE.log_source(application("Submitted")) is None
    assert RESOURCE.progress(application("DriverReady", sparkConf={"spark.ui.enabled": "false"})) is None


def test_a_long_name_gives_the_id_that_the_operator_makes_of_it() -> None:
    obj = application("Submitted", "DriverRequested")
    obj["metadata"]["name"] = "a" * 60
    pod = RESOURCE.log_source(obj)
    assert pod is not None
    application_id = RESOURCE.facts(obj)["spark_application_id"]
    assert application_id.startswith("aaaaaaaaa-")
    assert (len(application_id), pod.pod) == (46, f"{application_id}-driver")


def test_facts_and_cost() -> None:
    job = build(executor=Executor(instances=2, memory="1g"), driver=Driver(memory="1g"))
    facts = RESOURCE.facts(application(*ALL_GOES_WELL, "ResourceReleased", **job["spec"]))
    assert (facts["spark_application_id"], facts["driver_pod"], facts["ui_url"]) == ("pi-0", "pi-0-driver", "")
    assert facts["requested"]["cores"] == 3
    assert facts["requested"]["core_seconds"] == 3 * 4 * 60
    assert RESOURCE.facts(application())["driver_pod"] == ""


def build(**fields: Any) -> dict[str, Any]:
    return ApacheSparkApplication(image="spark:4", main_application_file="local:///a.py", **fields).to_manifest()


EVERYTHING = {
    "arguments": [1, "two"],
    "py_files": ["local:///b.py"],
    "files": ["local:///c.txt"],
    "driver": Driver(
        memory="512Mi",
        service_account="spark",
        env={"A": "1"},
        secrets=[Secret(name="s", env={"P": "p"}, mount_path="/s")],
        labels={"team": "x"},
        priority_class="high",
        gpu={"name": "nvidia.com/gpu", "quantity": 1},
        tolerations=[{"key": "spot", "operator": "Exists"}],
    ),
    "executor": Executor(instances=3, memory_overhead="1Gi", node_selector={"disk": "ssd"}),
    "name": "pi",
    "spark_conf": {"spark.sql.shuffle.partitions": 8},
    "dynamic_allocation": DynamicAllocation(min_executors=1, max_executors=4),
    "volumes": [Volume.claim("data", "/data")],
    "restart": Restart(policy="OnInfrastructureFailure", max_attempts="2"),
    "init_executors": 1,
    "driver_start_timeout_millis": "1000",
    "ttl_after_stop_millis": 600_000,
    "labels": {"a": "b"},
}


@pytest.mark.skipif(not CRD.exists(), reason="the operator's own definition is not beside the project")
@pytest.mark.parametrize("fields", [{}, EVERYTHING, {"main_class": "org.example.Main"}])
def test_what_is_built_is_valid(fields: dict[str, Any]) -> None:
    manifest = RESOURCE.normalize(build(**fields))
    RESOURCE.check(manifest)
    jsonschema.validate(manifest["spec"], spec_schema())


@functools.cache
def spec_schema() -> dict[str, Any]:
    """Return the schema of a spec, read once: it is megabytes of YAML."""
    versions = yaml.load(CRD.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["spec"]["versions"]
    schema = next(each for each in versions if each["name"] == "v1")["schema"]["openAPIV3Schema"]
    return closed(schema["properties"]["spec"])


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that knows no further fields, as strict validation has it."""
    result = dict(schema)
    if "properties" in schema:
        result["properties"] = {
            name: each if name == "metadata" else closed(each) for name, each in schema["properties"].items()
        }
        result["additionalProperties"] = False
    elif isinstance(schema.get("items"), dict):
        result["items"] = closed(schema["items"])
    return result


def test_the_program_and_its_files() -> None:
    assert build()["spec"]["pyFiles"] == "local:///a.py"
    assert "mainClass" not in build()["spec"]
    several = build(py_files=["local:///b.py"])["spec"]
    assert several["pyFiles"] == "local:///a.py,local:///b.py"
    assert several["mainClass"] == "org.apache.spark.deploy.PythonRunner"
    jar = build(main_class="M")["spec"]
    assert (jar["mainClass"], jar["jars"]) == ("M", "local:///a.py")


def test_the_driver_pod_is_kept_unless_somebody_says_otherwise() -> None:
    plain = {"spec": {"pyFiles": "local:///a.py", "driverArgs": [1, True], "sparkConf": {"spark.ui.enabled": False}}}
    spec = RESOURCE.normalize(plain)["spec"]
    assert spec["applicationTolerations"] == {"resourceRetainPolicy": "Always"}
    assert spec["driverArgs"] == ["1", "true"]
    assert spec["sparkConf"] == {"spark.ui.enabled": "false"}
    assert "applicationTolerations" not in plain["spec"], "a copy"
    for policy in ("Never", "OnFailure"):
        stated = {"spec": {"applicationTolerations": {"resourceRetainPolicy": policy}}}
        kept = RESOURCE.normalize(stated)
        assert kept == stated
        assert f"resourceRetainPolicy is '{policy}'" in RESOURCE.lint(kept)[0]
    assert RESOURCE.lint(RESOURCE.normalize(build())) == []
    assert "restartPolicy is 'OnFailure'" in RESOURCE.lint(build(restart=Restart(policy="OnFailure")))[0]
    assert "Kueue" in RESOURCE.lint(build(labels={"kueue.x-k8s.io/queue-name": "q"}))[0]


def test_the_driver_among_the_containers_of_a_template_is_named() -> None:
    name = "spark.kubernetes.driver.podTemplateContainerName"

    def named(*containers: str, **conf: str) -> Any:
        template = {"spec": {"containers": [{"name": each} for each in containers]}}
        spec = {"sparkConf": conf, "driverSpec": {"podTemplateSpec": template}}
        return RESOURCE.normalize({"spec": spec})["spec"]["sparkConf"].get(name)

    assert named("main", "sidecar") == "main"
    assert named("sidecar", DRIVER_CONTAINER) == DRIVER_CONTAINER
    assert named("main", "other", **{name: "other"}) == "other"
    assert named() is None


def tolerating(**tolerations: Any) -> dict[str, Any]:
    return build(extra={"applicationTolerations": tolerations})


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        (build(extra={"pyFiles": ""}), "none of pyFiles, jars, sparkRFiles, mainClass"),
        (build(extra={"pyFiles": ["a", "b"]}), "spec.pyFiles is"),
        (build(extra={"jars": "local:///a.jar"}), "spec.mainClass is missing"),
        (build(extra={"deploymentMode": "ClientMode"}), "spec.deploymentMode is 'ClientMode'"),
        (build(extra={"runtimeVersions": {}}), "spec.runtimeVersions.sparkVersion is missing"),
        (build(extra={"sparkConf": {}}), "spec.sparkConf has neither 'spark.kubernetes.container.image'"),
        (build(name="Pi"), "metadata.name is 'Pi'"),
        (tolerating(restartConfig={"restartPolicy": "Always"}), "run again after every success"),
        (tolerating(restartConfig={"restartPolicy": "Often"}), "restartPolicy is 'Often'"),
        (tolerating(restartConfig={"maxRestartAttempts": "x"}), "maxRestartAttempts is 'x'"),
        (tolerating(applicationTimeoutConfig={"driverStartTimeoutMillis": -5}), "driverStartTimeoutMillis is -5"),
        (tolerating(instanceConfig={"minExecutors": "few"}), "minExecutors is 'few'"),
        (tolerating(resourceRetainPolicy="Sometimes"), "resourceRetainPolicy is 'Sometimes'"),
        (build(executor=Executor(memory="100m")), r"sparkConf\['spark.executor.memory'\] is '100m': Spark does not"),
        (build(driver=Driver(cores=0)), r"sparkConf\['spark.driver.cores'\] is '0': set it to a whole number"),
        (build(executor=Executor(instances=0)), r"sparkConf\['spark.executor.instances'\] is '0'"),
        (
            build(spark_conf=CELEBORN | {"spark.dynamicAllocation.enabled": "true"}, spark_version="3.5.0"),
            "shuffleTracking.enabled'] is true by default",
        ),
        (build(spark_conf=CELEBORN), "and spec.runtimeVersions.sparkVersion is '4.3.0': Celeborn is made for"),
        (tolerating(ttlAfterStopMillis=500), "ttlAfterStopMillis is 500"),
        (tolerating(resourceRetainDurationMillis="1h"), "resourceRetainDurationMillis is '1h'"),
    ],
)
def test_what_cannot_work_is_refused(manifest: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidManifestError, match=fault):
        RESOURCE.check(RESOURCE.normalize(manifest))


def test_a_misspelt_property_and_what_may_not_work_are_told() -> None:
    warned = RESOURCE.lint(build(spark_conf={"spark.executor.memmory": "1g", "spark.eventLog.enabled": "true"}))
    assert "did you mean 'spark.executor.memory'?" in warned[0]
    assert "spark.eventLog.dir'] is unset" in warned[1]
    (other,) = RESOURCE.lint(build(spark_conf={"spark.executor.memmory": "1g"}, spark_version="3.5.6"))
    assert "no property of Spark 4.3, and perhaps of 3.5.6, which" in other


def test_what_the_builder_does_not_translate_is_refused() -> None:
    with pytest.raises(InvalidManifestError, match=r"driver.extra has 'memoryLimit'.*'driverSpec'"):
        build(driver=Driver(extra={"memoryLimit": "2Gi"}))


def test_retries_beneath_airflows_are_refused() -> None:
    assert RESOURCE.without_retries(build()) == build()
    with pytest.raises(InvalidManifestError, match="restartPolicy is 'OnFailure'"):
        RESOURCE.without_retries(build(restart=Restart(policy="OnFailure")))


def test_variables_go_to_driver_and_executors() -> None:
    conf = RESOURCE.with_env(build(), {"A": "1"})["spec"]["sparkConf"]
    assert conf["spark.kubernetes.driverEnv.A"] == conf["spark.executorEnv.A"] == "1"


def test_it_is_registered_beside_the_other_operators() -> None:
    assert resource_for("spark.apache.org/v1", "SparkApplication") is RESOURCE
    assert resource_for("sparkoperator.k8s.io/v1beta2", "SparkApplication") is not RESOURCE
