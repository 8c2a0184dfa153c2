"""What is refused before anything is created, each with its field, its value and the fix."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, SparkApplication


def manifest(path: str = "", value: Any = None) -> dict[str, Any]:
    """Return a good manifest with one field changed; ``...`` removes it."""
    good = SparkApplication(image="spark:4.3.0", main_application_file="local:///x.py").to_manifest()
    good["metadata"]["namespace"] = "ns"
    if not path:
        return good
    *parents, last = path.split("/")
    part = good["spec"]
    for parent in parents:
        part = part.setdefault(parent, {})
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return good


def test_a_good_one_passes() -> None:
    SPARK_APPLICATION.check(manifest())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("type", "Pyton", r"spec\.type is 'Pyton': set it to one of Java, Python, Scala, R"),
        ("sparkVersion", ..., r"spec\.sparkVersion is None: set it"),
        ("image", "", r"spec\.image is '': set it, or both spec\.driver\.image and spec\.executor\.image"),
        ("mainApplicationFile", ..., r"spec\.mainApplicationFile is None: set it to the program"),
        ("mode", "client", r"spec\.mode is 'client'"),
        ("driver", ..., r"spec\.driver is missing"),
        ("driver", "big", r"spec\.driver is 'big': it must be a mapping"),
        ("type", "Scala", r"spec\.mainClass is None: a Scala application needs the class"),
        ("driver/memory", "512Mi", r"spec\.driver\.memory is '512Mi', which Spark cannot read: write '512m'"),
        ("executor/memory", "plenty", r"spec\.executor\.memory is 'plenty', which is no Kubernetes quantity"),
        ("driver/coreLimit", "1 core", r"spec\.driver\.coreLimit is '1 core'"),
        ("executor/cores", "0.5", r"spec\.executor\.cores is '0\.5': .*spec\.executor\.coreRequest"),
        ("executor/cores", True, r"spec\.executor\.cores is True"),
        ("executor/instances", 0, r"spec\.executor\.instances is 0"),
        (
            "executor/instances",
            "{{ n }}",
            r"spec\.executor\.instances is '\{\{ n \}\}': set it to a whole number, at least 1",
        ),
        ("driver/memory", "449m", r"spec\.driver\.memory is '449m': Spark does not start with less than 450m"),
        ("driver/memory", 512, r"spec\.driver\.memory is 512, a number: write it as text with its unit"),
        ("driver/memoryLimit", "much", r"spec\.driver\.memoryLimit is 'much'"),
        ("driver/memoryLimit", "512m", r"driver\.memoryLimit is '512m', less than the pod requests, \d+ MiB with its"),
        (
            "driver/coreLimit",
            "900m",
            r"spec\.driver\.coreLimit is '900m', less than the pod requests, '1' \(spec\.driver\.cores\)",
        ),
        ("restartPolicy/onFailureRetries", -1, r"onFailureRetries is -1: set it to a whole number, at least 0"),
        ("restartPolicy/onFailureRetryInterval", 0, r"onFailureRetryInterval is 0: .*at least 1"),
        ("dynamicAllocation", {"maxExecutors": "many"}, r"dynamicAllocation\.maxExecutors is 'many'"),
        ("timeToLiveSeconds", "soon", r"timeToLiveSeconds is 'soon': set it to a whole number of seconds"),
        ("volumes", {"name": "v"}, r"spec\.volumes is \{'name': 'v'\}: it must be a list"),
        ("volumes", [{"name": "v"}, {"name": "v"}], r"spec\.volumes\[1\]\.name is 'v', like that of another volume"),
        (
            "executor/volumeMounts",
            [{"name": "v"}],
            r"executor\.volumeMounts\[0\]\.name is 'v', and spec\.volumes has no",
        ),
        ("sparkConf/spark.app.name", None, r"sparkConf\['spark\.app\.name'\] has no value"),
        ("dynamicAllocation", {"minExecutors": 3, "maxExecutors": 2}, r"minExecutors is 3, more than maxExecutors, 2"),
        (
            "restartPolicy/type",
            "Always",
            r"spec\.restartPolicy\.type is 'Always': .*never ends.*'OnFailure' or 'Never'",
        ),
        ("restartPolicy/type", "Sometimes", r"set it to one of Never, OnFailure, Always"),
        ("timeToLiveSeconds", 5, r"spec\.timeToLiveSeconds is 5: .*60 or more"),
        ("sparkConf/spark.master", "yarn", r"sparkConf\['spark\.master'\] is 'yarn', which the operator refuses"),
        ("sparkConf/spark.kubernetes.container.image", "i", r"set spec\.image"),
        ("sparkConf/spark.kubernetes.namespace", "other", r"must be metadata\.namespace, 'ns'"),
        ("sparkConf/spark.ui.enabled", False, r"is False: values are strings; write 'false'"),
    ],
)
def test_a_fault_names_field_value_and_fix(path: str, value: Any, message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        SPARK_APPLICATION.check(manifest(path, value))


def test_a_credential_in_spark_conf_is_refused_without_being_shown() -> None:
    key = "spark.kubernetes.authenticate.driver.oauthToken"
    with pytest.raises(InvalidManifestError, match=r"refused by the operator") as caught:
        SPARK_APPLICATION.check(manifest(f"sparkConf/{key}", "s3cret"))
    assert "s3cret" not in str(caught.value)


def test_node_selectors_go_on_the_application_or_on_its_roles() -> None:
    both = manifest("nodeSelector", {"pool": "a"})
    SPARK_APPLICATION.check(both)
    both["spec"]["executor"]["nodeSelector"] = {"pool": "b"}
    with pytest.raises(InvalidManifestError, match=r"spec\.nodeSelector and spec\.executor\.nodeSelector are both set"):
        SPARK_APPLICATION.check(both)


def test_each_role_may_bring_its_own_image() -> None:
    own = manifest("image", ...)
    own["spec"]["driver"]["image"] = "a:1"
    own["spec"]["executor"]["template"] = {"spec": {"containers": [{"name": "executor", "image": "b:1"}]}}
    SPARK_APPLICATION.check(own)


@pytest.mark.parametrize("spec", [None, [], "x"])
def test_a_manifest_without_a_spec_is_refused(spec: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"^spec"):
        SPARK_APPLICATION.check({"metadata": {}, "spec": spec})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        # What the operator and Spark do accept.
        ("driver/memory", "450m"),
        ("driver/memoryOverhead", "0"),
        ("driver/memoryLimit", "2g"),
        ("driver/memoryLimit", "2Gi"),
        ("driver/coreLimit", "1"),
        ("sparkConf/spark.kubernetes.authenticate.driver.caCertFile", "/etc/ca.crt"),
        ("sparkConf/spark.kubernetes.namespace", "ns"),
        ("restartPolicy", {"type": "OnFailure", "onFailureRetries": 0}),
        ("executor/template", {"spec": {"volumes": [{"name": "v"}]}}),
    ],
)
def test_what_works_is_not_refused(path: str, value: Any) -> None:
    SPARK_APPLICATION.check(manifest(path, value))


def test_a_limit_is_compared_with_what_the_pod_really_requests() -> None:
    small = manifest("driver/coreLimit", "500m")
    small["spec"]["sparkConf"] = {"spark.kubernetes.driver.request.cores": "250m"}
    SPARK_APPLICATION.check(small)
    small["spec"]["driver"]["coreRequest"] = "0.75"
    with pytest.raises(InvalidManifestError, match=r"requests, '0\.75' \(spec\.driver\.coreRequest\)"):
        SPARK_APPLICATION.check(small)


def test_a_pod_template_may_bring_the_volumes_that_are_mounted() -> None:
    own = manifest("executor/volumeMounts", [{"name": "v", "mountPath": "/v"}])
    own["spec"]["executor"]["template"] = {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}
    SPARK_APPLICATION.check(own)
