"""Code on a volume: where each kind mounts it, and what relative paths mean."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import resource_for
from airflow_provider_sparkml.resources.code import CodeVolume, with_code
from airflow_provider_sparkml.resources.containers import pod_specs
from airflow_provider_sparkml.resources.spark import Dependencies, SparkApplication, Volume

from .kinds import KINDS, Kind

CODE = CodeVolume(claim="my-storage", mount_path="/app/jobs", sub_path="team/a", read_only=True)
MOUNT = {"name": "sparkml-code", "mountPath": "/app/jobs", "readOnly": True, "subPath": "team/a"}
VOLUME = {"name": "sparkml-code", "persistentVolumeClaim": {"claimName": "my-storage"}}


def spark(main: str = "etl/main.py", **fields: Any) -> dict[str, Any]:
    return SparkApplication(image="i:1", main_application_file=main, **fields).to_manifest()


@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("main.py", "local:///app/jobs/main.py"),
        ("./etl/../main.py", "local:///app/jobs/main.py"),
        ("local:///opt/main.py", "local:///opt/main.py"),
        ("s3a://bucket/main.py", "s3a://bucket/main.py"),
        ("/opt/main.py", "/opt/main.py"),
        ("", ""),
    ],
)
def test_the_main_file_of_spark(file: str, found: str, mounted: bool) -> None:
    assert with_code(spark(file), CODE, mounted=mounted)["spec"]["mainApplicationFile"] == found


def test_further_files_of_spark() -> None:
    deps = Dependencies(jars=["lib/a.jar", "local:///opt/b.jar"], py_files=["c.py"], packages=["g:a:1"])
    assert with_code(spark(dependencies=deps), CODE, mounted=False)["spec"]["deps"] == {
        "jars": ["local:///app/jobs/lib/a.jar", "local:///opt/b.jar"],
        "pyFiles": ["local:///app/jobs/c.py"],
        "packages": ["g:a:1"],
    }


@pytest.mark.parametrize("file", ["../main.py", "a/../../main.py", ".", "a/.."])
def test_a_path_out_of_the_code_is_refused(file: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"mainApplicationFile is '.*', which is not below the code"):
        with_code(spark(file), CODE, mounted=False)


def test_driver_and_executors_of_spark_mount_it() -> None:
    data = Volume.claim("sparkml-data", "/data")
    spec = with_code(spark(volumes=[data]), CODE, mounted=True)["spec"]
    assert spec["volumes"] == [data.to_volume(), VOLUME]
    for role in ("driver", "executor"):
        assert spec[role]["volumeMounts"] == [data.to_mount(), MOUNT]


def test_unmounted_spark_has_no_volume() -> None:
    spec = with_code(spark(), CODE, mounted=False)["spec"]
    assert "sparkml-code" not in json.dumps(spec)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_every_kind_mounts_it_in_all_its_containers(kind: Kind) -> None:
    given = kind.manifest
    before = copy.deepcopy(given)
    found = with_code(given, CODE, mounted=True)
    assert given == before, "the author's manifest was changed"
    pods = list(pod_specs(found["spec"]))
    assert pods
    for pod in pods:
        assert VOLUME in pod["volumes"]
        for container in pod["containers"]:
            assert container["volumeMounts"] == [MOUNT]
    kind.resource.check(kind.resource.normalize(found))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_no_kind_mounts_it_else(kind: Kind) -> None:
    found = with_code(kind.manifest, CODE, mounted=False)
    assert "sparkml-code" not in json.dumps(found)
    if kind.id not in ("TrainJob", "Experiment"):  # a TrainJob has no place for it
        directories = {each["workingDir"] for pod in pod_specs(found["spec"]) for each in pod["containers"]}
        assert directories == {"/app/jobs"}


def test_a_working_directory_of_ones_own_stays() -> None:
    container = {"name": "main", "image": "i:1", "workingDir": "/mine"}
    manifest = {"kind": "Job", "spec": {"template": {"spec": {"containers": [container]}}}}
    pod = with_code(manifest, CODE, mounted=True)["spec"]["template"]["spec"]
    assert pod["containers"][0]["workingDir"] == "/mine"


def test_two_mounts_in_one_place_are_refused() -> None:
    manifest = spark(volumes=[Volume.claim("sparkml-data", "/app/jobs/")])
    with pytest.raises(InvalidManifestError, match=r"spec\.driver\.volumeMounts mounts 'data' at '/app/jobs/'"):
        with_code(manifest, CODE, mounted=True)


@pytest.mark.parametrize(
    "spec",
    [None, [], {"volumes": 1, "driver": 2}, {"deps": [], "driver": {"volumeMounts": 3}}, {"template": {"spec": 4}}],
)
def test_what_is_malformed_is_left_for_the_check(spec: Any) -> None:
    for kind in ("SparkApplication", "TrainJob", "Experiment", "Job"):
        assert with_code({"kind": kind, "spec": spec}, CODE, mounted=True)["kind"] == kind


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"claim": ""}, "code.claim is ''"),
        ({"mount_path": "app"}, "code.mount_path is 'app': set it to the absolute path where the image has the code"),
        ({"mount_path": "/"}, "code.mount_path is '/'"),
        ({"mount_path": "//"}, "code.mount_path is '//'"),
        ({"sub_path": "/a"}, "code.sub_path is '/a'"),
        ({"sub_path": "a/../../b"}, "code.sub_path is"),
        ({"read_only": "maybe"}, "code.read_only is 'maybe': set it to True or False"),
        ({"claims": "x"}, "code is {.*claims.*}: give a CodeVolume"),
    ],
)
def test_fields_that_cannot_be_used(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError, match=message):
        CodeVolume.rendered({**CODE.to_json(), **fields})


def test_rendered_fields() -> None:
    fields = {**CODE.to_json(), "read_only": "True", "mount_path": "/app/jobs/"}
    assert CodeVolume.rendered(fields) == CODE
    assert CodeVolume.rendered({"claim": "c", "mount_path": "/a"}) == CodeVolume(claim="c", mount_path="/a")


def test_the_spark_operator_takes_it() -> None:
    manifest = with_code(spark(), CODE, mounted=True)
    resource_for(manifest["apiVersion"], manifest["kind"]).check(manifest)
