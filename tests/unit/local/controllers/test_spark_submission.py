"""A SparkApplication as spark-submit is told of it: properties, arguments and pod templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.controllers.spark_properties import (
    Target,
    format_properties,
    submission_arguments,
    submission_properties,
)
from airflow_provider_sparkml.local.controllers.spark_submission import reason
from airflow_provider_sparkml.local.controllers.spark_templates import pod_template
from airflow_provider_sparkml.local.controllers.spark_ui import ui_service, ui_service_name

TARGET = Target("https://127.0.0.1:6443", Path("/run/token"), Path("/run/ca.crt"))
TEMPLATES = {"driver": Path("/t/driver"), "executor": Path("/t/executor")}


def app(name: str = "pi", labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": name, "namespace": "team", "uid": "u-1", "labels": labels or {}},
        "spec": {"image": "me/spark:1", "mainApplicationFile": "local:///opt/x.py", **spec},
    }


def properties(**spec: Any) -> dict[str, str]:
    return submission_properties(app(**spec), "s-1", TARGET, TEMPLATES)


def test_what_every_submission_says() -> None:
    found = properties()
    assert found["spark.kubernetes.namespace"] == "team"
    assert found["spark.kubernetes.submission.waitAppCompletion"] == "false"
    assert found["spark.kubernetes.driver.pod.name"] == "pi-driver"
    assert found["spark.kubernetes.container.image"] == "me/spark:1"
    assert found["spark.kubernetes.driver.podTemplateFile"] == "/t/driver"
    assert found["spark.kubernetes.authenticate.submission.oauthTokenFile"] == "/run/token"
    assert found["spark.kubernetes.driver.master"] == "https://127.0.0.1:6443"
    for role in ("driver", "executor"):
        label = f"spark.kubernetes.{role}.label.sparkoperator.k8s.io"
        assert found[f"{label}/submission-id"] == "s-1"
        assert found[f"{label}/app-name"] == "pi"
        assert found[f"{label}/launched-by-spark-operator"] == "true"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"sparkConf": {"spark.a": "1", "spark.kubernetes.allocation.batch.delay": "9s"}},
            {"spark.a": "1", "spark.kubernetes.allocation.batch.delay": "9s"},
        ),
        ({"hadoopConf": {"fs.x": "1"}}, {"spark.hadoop.fs.x": "1"}),
        ({"nodeSelector": {"disk": "ssd"}}, {"spark.kubernetes.node.selector.disk": "ssd"}),
        (
            {"imagePullPolicy": "Never", "imagePullSecrets": ["a", "b"]},
            {
                "spark.kubernetes.container.image.pullPolicy": "Never",
                "spark.kubernetes.container.image.pullSecrets": "a,b",
            },
        ),
        ({"memoryOverheadFactor": "0.3"}, {"spark.kubernetes.memoryOverheadFactor": "0.3"}),
        (
            {
                "driver": {
                    "cores": 2,
                    "coreRequest": "500m",
                    "coreLimit": "1200m",
                    "memory": "1g",
                    "memoryOverhead": "384m",
                }
            },
            {
                "spark.driver.cores": "2",
                "spark.kubernetes.driver.request.cores": "500m",
                "spark.kubernetes.driver.limit.cores": "1200m",
                "spark.driver.memory": "1g",
                "spark.driver.memoryOverhead": "384m",
            },
        ),
        (
            {
                "executor": {
                    "instances": 0,
                    "javaOptions": "-Da=b",
                    "serviceAccount": "sa",
                    "deleteOnTermination": False,
                    "image": "other",
                }
            },
            {
                "spark.executor.instances": "0",
                "spark.executor.extraJavaOptions": "-Da=b",
                "spark.kubernetes.authenticate.executor.serviceAccountName": "sa",
                "spark.kubernetes.executor.deleteOnTermination": "false",
                "spark.kubernetes.executor.container.image": "other",
            },
        ),
        (
            {"driver": {"annotations": {"a/b": "c"}, "labels": {"l": "m"}}},
            {"spark.kubernetes.driver.annotation.a/b": "c", "spark.kubernetes.driver.label.l": "m"},
        ),
        (
            {"driver": {"serviceLabels": {"a": "b"}, "serviceAnnotations": {"c": "d"}}},
            {"spark.kubernetes.driver.service.label.a": "b", "spark.kubernetes.driver.service.annotation.c": "d"},
        ),
        (
            {"driver": {"podName": "mine", "kubernetesMaster": "k8s://other"}},
            {"spark.kubernetes.driver.pod.name": "mine", "spark.kubernetes.driver.master": "k8s://other"},
        ),
        (
            {"dynamicAllocation": {"enabled": True, "minExecutors": 0, "maxExecutors": 3}},
            {
                "spark.dynamicAllocation.enabled": "true",
                "spark.dynamicAllocation.minExecutors": "0",
                "spark.dynamicAllocation.maxExecutors": "3",
                "spark.dynamicAllocation.shuffleTracking.enabled": "true",
            },
        ),
        (
            {"dynamicAllocation": {"enabled": True, "shuffleTrackingEnabled": False}},
            {"spark.dynamicAllocation.shuffleTracking.enabled": "false"},
        ),
    ],
)
def test_each_field_has_its_property(spec: dict[str, Any], expected: dict[str, str]) -> None:
    found = properties(**spec)
    assert {key: found.get(key) for key in expected} == expected


def test_dynamic_allocation_that_is_off_says_nothing() -> None:
    assert not [key for key in properties(dynamicAllocation={"enabled": False}) if "dynamicAllocation" in key]


def test_labels_of_the_application_go_to_its_pods_but_kueues() -> None:
    found = submission_properties(
        app(labels={"team": "a", "kueue.x-k8s.io/queue-name": "q"}, driver={"labels": {"team": "b"}}),
        "s",
        TARGET,
        TEMPLATES,
    )
    assert found["spark.kubernetes.driver.label.team"] == "b"
    assert found["spark.kubernetes.executor.label.team"] == "a"
    assert not [key for key in found if "kueue" in key]


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"spark.master": "local"}, r"spec.sparkConf\['spark.master'\] is 'local': the operator decides it"),
        ({"spark.kubernetes.container.image": "x"}, "container.image"),
        ({"spark.kubernetes.authenticate.driver.oauthToken": "t"}, "oauthToken"),
        ({"spark.kubernetes.namespace": "other"}, "is 'other', the application is in 'team'"),
    ],
)
def test_conf_that_is_the_operators_own_is_refused(conf: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        properties(sparkConf=conf)


def test_an_image_is_needed() -> None:
    with pytest.raises(InvalidManifestError, match=r"neither spec.image nor spec.executor.image is set"):
        properties(image="", driver={"image": "x"})


def test_arguments() -> None:
    subject = app(
        mainClass="org.X",
        deps={
            "jars": ["a.jar", "b.jar"],
            "pyFiles": ["c.py"],
            "packages": ["g:a:1"],
            "files": ["f"],
            "archives": ["z"],
        },
        proxyUser="eve",
        arguments=["--n", 5, "two words"],
    )
    assert submission_arguments(subject, Path("/p"), TARGET) == [
        *("--master", "k8s://https://127.0.0.1:6443", "--deploy-mode", "cluster", "--name", "pi"),
        *("--properties-file", "/p", "--class", "org.X", "--jars", "a.jar,b.jar", "--packages", "g:a:1"),
        *("--py-files", "c.py", "--files", "f", "--archives", "z", "--proxy-user", "eve"),
        *("local:///opt/x.py", "--n", "5", "two words"),
    ]


def read_properties(text: str) -> dict[str, str]:
    """Read as java.util.Properties does, as far as we write it."""
    found = {}
    for line in text.split("\n")[:-1]:
        parts, at = [""], 0
        while at < len(line):
            if line[at] == "\\":
                at += 1
                parts[-1] += {"n": "\n", "r": "\r", "t": "\t"}.get(line[at], line[at])
            elif line[at] == "=" and len(parts) == 1:
                parts.append("")
            else:
                parts[-1] += line[at]
            at += 1
        found[parts[0]] = parts[1]
    return found


KEYS = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="#!"), min_size=1)
VALUES = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Z"]) | st.sampled_from("\n\t\r\\"))


@given(st.dictionaries(KEYS, VALUES))
def test_properties_file_is_read_as_it_was_meant(values: dict[str, str]) -> None:
    assert read_properties(format_properties(values)) == values


def test_reason_of_a_failure_is_told_without_its_stack() -> None:
    output = (
        "WARNING: Using incubator modules: jdk.incubator.vector\n"
        "26/11/23 01:58:56 WARN Utils: Kubernetes master URL uses HTTP instead of HTTPS.\n"
        'Exception in thread "main" io.fabric8.KubernetesClientException: no quota\n'
        "\tat io.fabric8.Client.post(Client.java:1)\n"
        "Caused by: java.io.IOException: refused\n"
        "\t... 12 more\n"
    )
    assert reason(output) == (
        'Exception in thread "main" io.fabric8.KubernetesClientException: no quota\n'
        "Caused by: java.io.IOException: refused"
    )


# --- pod templates ---------------------------------------------------------------------------------------------------


def main_container(template: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in template["spec"]["containers"] if each["name"].startswith("spark-kubernetes-"))


def test_driver_belongs_to_the_application_and_executors_to_the_driver() -> None:
    (owner,) = pod_template(app(), "driver")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("SparkApplication", "u-1", True)
    assert "ownerReferences" not in pod_template(app(), "executor")["metadata"]


def test_environment() -> None:
    driver = {
        "envVars": {"A": "1"},
        "envSecretKeyRefs": {"B": {"name": "s", "key": "k"}},
        "env": [{"name": "C", "value": "3"}],
        "envFrom": [{"configMapRef": {"name": "m"}}],
        "secrets": [{"name": "gcp", "path": "/gcp/", "secretType": "GCPServiceAccount"}],
    }
    container = main_container(pod_template(app(driver=driver), "driver"))
    env = {each["name"]: each.get("value") or each["valueFrom"] for each in container["env"]}
    assert env == {
        "SPARK_LOCAL_IP": {"fieldRef": {"fieldPath": "status.podIP"}},
        "A": "1",
        "B": {"secretKeyRef": {"name": "s", "key": "k"}},
        "C": "3",
        "GOOGLE_APPLICATION_CREDENTIALS": "/gcp/key.json",
    }
    assert container["envFrom"] == driver["envFrom"]
    assert {"name": "gcp-volume", "mountPath": "/gcp/"} in container["volumeMounts"]


def test_volumes_go_where_they_are_mounted() -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "d"}}, {"name": "other", "emptyDir": {}}]
    mount = {"name": "data", "mountPath": "/data"}
    subject = app(
        volumes=volumes,
        hadoopConfigMap="hadoop",
        driver={"volumeMounts": [mount], "configMaps": [{"name": "conf", "path": "/conf"}]},
        executor={"sidecars": [{"name": "s", "image": "i", "volumeMounts": [{"name": "other", "mountPath": "/o"}]}]},
    )
    driver, executor = pod_template(subject, "driver"), pod_template(subject, "executor")
    assert [volume["name"] for volume in driver["spec"]["volumes"]] == ["data", "conf-vol", "hadoop-vol"]
    assert main_container(driver)["volumeMounts"] == [
        mount,
        {"name": "conf-vol", "mountPath": "/conf"},
        {"name": "hadoop-vol", "mountPath": "/etc/hadoop/conf"},
    ]
    assert [volume["name"] for volume in executor["spec"]["volumes"]] == ["other", "hadoop-vol"]


def test_what_is_said_about_pods() -> None:
    driver = {
        "tolerations": [{"key": "a"}],
        "nodeSelector": {"disk": "ssd"},
        "podSecurityContext": {"runAsUser": 1},
        "securityContext": {"privileged": False},
        "schedulerName": "volcano",
        "terminationGracePeriodSeconds": 5,
        "sidecars": [{"name": "side", "image": "i"}],
        "initContainers": [{"name": "init", "image": "i"}],
        "gpu": {"name": "nvidia.com/gpu", "quantity": 1},
        "lifecycle": {"preStop": {}},
        "affinity": {},
    }
    template = pod_template(app(driver=driver, batchScheduler="yunikorn"), "driver")
    spec, container = template["spec"], main_container(template)
    assert spec["tolerations"] == [{"key": "a"}]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["securityContext"] == {"runAsUser": 1}
    assert spec["schedulerName"] == "volcano"
    assert spec["terminationGracePeriodSeconds"] == 5
    assert [each["name"] for each in spec["containers"]] == ["spark-kubernetes-driver", "side"]
    assert [each["name"] for each in spec["initContainers"]] == ["init"]
    assert container["securityContext"] == {"privileged": False}
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "1"}
    assert pod_template(app(batchScheduler="yunikorn"), "executor")["spec"]["schedulerName"] == "yunikorn"


def test_a_template_of_the_users_is_kept_and_completed() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"priority": 1, "containers": [{"name": "x", "tty": True}]}}
    subject = app(driver={"template": template})
    made = pod_template(subject, "driver")
    assert made["metadata"]["labels"] == {"a": "b"}
    assert made["spec"]["priority"] == 1
    assert main_container(made)["tty"] is True
    assert subject["spec"]["driver"]["template"] is template
    assert template["spec"]["containers"] == [{"name": "x", "tty": True}]


# --- web UI ----------------------------------------------------------------------------------------------------------


def test_ui_service() -> None:
    service = ui_service(app(sparkConf={"spark.ui.port": "4050"}))
    assert service["metadata"]["name"] == "pi-ui-svc"
    assert service["spec"]["selector"] == {"sparkoperator.k8s.io/app-name": "pi", "spark-role": "driver"}
    assert service["spec"]["ports"] == [{"name": "spark-driver-ui-port", "port": 4050, "targetPort": 4050}]
    options = {"servicePort": 80, "servicePortName": "web", "serviceType": "NodePort", "serviceLabels": {"a": "b"}}
    service = ui_service(app(sparkUIOptions=options))
    assert service["spec"]["ports"] == [{"name": "web", "port": 80, "targetPort": 4040}]
    assert (service["spec"]["type"], service["metadata"]["labels"]) == ("NodePort", {"a": "b"})


def test_a_long_name_is_shortened_and_stays_unique() -> None:
    names = {ui_service_name(app("x" * 58 + letter)) for letter in "ab"}
    assert len(names) == 2
    assert all(len(name) <= 63 and name.endswith("-ui-svc") for name in names)
