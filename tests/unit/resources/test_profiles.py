"""What profiles make of manifests, and what production refuses, for every kind of job."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.code import CodeVolume
from airflow_provider_sparkml.resources.profiles import (
    Profile,
    apply_profile,
    names_of,
    production_faults,
    profile_named,
)
from airflow_provider_sparkml.resources.serving import InferenceService
from airflow_provider_sparkml.resources.spark import Dependencies, Driver, Executor, SparkApplication, Volume
from airflow_provider_sparkml.resources.spark_scheduled import ScheduledSparkApplication
from airflow_provider_sparkml.resources.trainer import PodOverrides, Trainer, TrainJob
from airflow_provider_sparkml.resources.training_pods import Replica, TrainingPods

from .kinds import KINDS, Kind

CODE = CodeVolume(claim="my-storage", mount_path="/app/jobs")
DATA = Volume(name="data", mount_path="/data", source={"persistentVolumeClaim": {"claimName": "data"}})
CONFIG_MAP = Driver(extra={"configMaps": [{"name": "evil", "path": "/app"}]})
SHA = "sha256:" + "0" * 64
APPLICATION = SparkApplication(image="r.example.com:5000/spark:1", main_application_file="local:///app/main.py")


def spark(**fields: Any) -> Manifest:
    return replace(APPLICATION, **fields).to_manifest()


def with_images(value: Any, image: str) -> Any:
    """Return a manifest with all its images replaced."""
    return json.loads(json.dumps(value).replace('"i:1"', json.dumps(image)))


def fault(manifest: Manifest, **options: Any) -> str:
    """Return why production refuses a manifest."""
    with pytest.raises(InvalidManifestError) as error:
        apply_profile(manifest, Profile.PRODUCTION, **options)
    return str(error.value)


# --- which ----------------------------------------------------------------------------------------------------------


def test_names() -> None:
    assert profile_named("development") is Profile.DEVELOPMENT
    assert profile_named(" production ") is Profile.PRODUCTION


@pytest.mark.parametrize("name", ["prod", "Production", 1, None, ["production"]])
def test_a_bad_name_tells_the_known_ones(name: Any) -> None:
    with pytest.raises(ValueError, match=r"no profile: set it to 'development' or 'production', or remove it"):
        profile_named(name)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
def test_none_changes_nothing(kind: Kind) -> None:
    manifest = with_images(kind.manifest, "i:latest")
    assert apply_profile(manifest, None, locked_env=["A"]) == manifest
    assert apply_profile(manifest, Profile.DEVELOPMENT, locked_env=["A"]) == manifest


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
@pytest.mark.parametrize("image", ["i", "i:latest", "r.example.com:5000/i"])
def test_an_image_that_may_change_is_refused_in_every_kind(kind: Kind, image: str) -> None:
    found = fault(with_images(kind.manifest, image))
    assert f".image is {image!r}, which can be another image tomorrow" in found
    assert found.startswith("spec.")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("spark.kubernetes.executor.container.image", "i:latest", "is 'i:latest', which can be another image tomorrow"),
        ("spark.kubernetes.driver.podTemplateFile", "/data/pod.yaml", "a pod that nobody can check here"),
        ("spark.kubernetes.driver.volumes.persistentVolumeClaim.c.mount.path", "/opt", "runs '/opt/a.py' from there"),
    ],
)
def test_properties_that_bring_in_another_image_or_code_are_refused(key: str, value: str, said: str) -> None:
    application = spark(main_application_file="local:///opt/a.py", spark_conf={key: value})
    assert said in fault(application)
    # In client mode they are arguments.
    driver = {"name": "d", "image": "i:1", "args": ["spark-submit", "--conf", f"{key}={value}", "/opt/a.py"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [driver]}}
    assert said in fault(pod)
    assert "args['spark.executorEnv.A'] sets A" in fault(
        {**pod, "spec": {"containers": [{**driver, "args": ["--conf", "spark.executorEnv.A=1"]}]}}, locked_env=["A"]
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.id)
@pytest.mark.parametrize("image", ["i:1", f"i@{SHA}", f"r.example.com:5000/a/i:latest@{SHA}"])
def test_an_image_of_one_version_is_accepted_in_every_kind(kind: Kind, image: str) -> None:
    manifest = with_images(kind.manifest, image)
    assert apply_profile(manifest, Profile.PRODUCTION, locked_env=["A"]) == manifest


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"image": "i"}, "spec.image"),
        ({"driver": Driver(image="i")}, "spec.driver.image"),
        ({"executor": Executor(image="i")}, "spec.executor.image"),
        ({"driver": Driver(extra={"sidecars": [{"name": "s", "image": "i"}]})}, "spec.driver.sidecars[0].image"),
        ({"driver": Driver(extra={"initContainers": [{"image": "i"}]})}, "spec.driver.initContainers[0].image"),
        (
            {"executor": Executor(extra={"template": {"spec": {"containers": [{"image": "i"}]}}})},
            "spec.executor.template.spec.containers[0].image",
        ),
    ],
)
def test_all_images_of_a_spark_application_count(part: dict[str, Any], path: str) -> None:
    assert fault(spark(**part)).startswith(f"{path} is 'i'")


def test_what_is_no_image_does_not_count() -> None:
    rbd = {"name": "v", "rbd": {"monitors": ["m"], "image": "disk"}}
    manifest = spark(labels={"image": "latest"}, spark_conf={"image": "latest"}, extra={"volumes": [rbd]})
    assert apply_profile(manifest, Profile.PRODUCTION) == manifest


def test_what_cannot_be_an_image_is_refused() -> None:
    assert fault(spark(image="Spark:1")).startswith("spec.image is 'Spark:1', which is no image")


def test_an_inference_service() -> None:
    service = InferenceService(name="m", model_format="onnx", storage_uri="pvc://c/m").to_manifest()
    assert apply_profile(service, Profile.PRODUCTION) == service
    service["spec"]["predictor"]["model"]["image"] = "server:latest"
    assert fault(service).startswith("spec.predictor.model.image is 'server:latest'")


# --- code -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [None, *Profile])
def test_one_path_is_right_in_all_profiles(profile: Profile | None) -> None:
    spec = apply_profile(spark(main_application_file="etl/main.py"), profile, code=CODE)["spec"]
    assert spec["mainApplicationFile"] == "local:///app/jobs/etl/main.py"
    assert ("volumes" in spec) is (profile is Profile.DEVELOPMENT)


MOUNTED = {"volumes": [Volume.claim("my-storage", "/app")]}


@pytest.mark.parametrize(
    ("fields", "program"),
    [
        ({}, "spec.mainApplicationFile runs '/app/main.py'"),
        (
            {"main_application_file": "local:///x/m.py", "dependencies": Dependencies(jars=["local:///app/a.jar"])},
            "spec.deps.jars runs '/app/a.jar'",
        ),
        (
            {"main_application_file": "local:///x/m.py", "spark_conf": {"spark.driver.extraClassPath": "/x/*:/app/*"}},
            "spec.sparkConf['spark.driver.extraClassPath'] runs '/app/*'",
        ),
        (
            {"main_application_file": "local:///x/m.py", "driver": Driver(env={"PYTHONPATH": "/x:/app/lib"})},
            "spec.driver.env[0] (PYTHONPATH) runs '/app/lib'",
        ),
    ],
)
def test_spark_code_on_a_volume_is_refused(fields: dict[str, Any], program: str) -> None:
    found = fault(spark(**MOUNTED, **fields))
    assert found.startswith(f"spec.driver.volumeMounts[0].mountPath is '/app', and {program} from there")


@pytest.mark.parametrize(
    ("container", "program"),
    [
        ({"command": ["python", "/app/train.py"]}, "/app/train.py"),
        ({"command": ["bash", "-c", "cd / && python /app/train.py --x"]}, "/app/train.py"),
        ({"command": ["/app/run"]}, "/app/run"),
        ({"command": ["python"], "args": ["--program=/app/train.py"]}, "/app/train.py"),
        ({"command": ["python", "train.py"], "workingDir": "/app/x"}, "/app/x/train.py"),
        ({"command": ["python", "-m", "train"], "env": [{"name": "PYTHONPATH", "value": "/app"}]}, "/app"),
    ],
)
def test_code_of_a_container_on_a_volume_is_refused(container: dict[str, Any], program: str) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/app"}]}
    spec = {"containers": [{"name": "main", "image": "i:1"} | mount | container]}
    manifest = {"kind": "Job", "spec": {"template": {"spec": spec}}}
    assert f"runs {program!r} from there" in fault(manifest)


@pytest.mark.parametrize(
    "container",
    [
        {"command": ["python", "/opt/train.py", "--data", "/app/train.csv"]},
        {"command": ["python", "/opt/train.py"], "workingDir": "/app"},
        {"command": ["python", "/application/train.py"]},
        {"command": ["python", "train.py"], "workingDir": "/opt"},
    ],
)
def test_data_on_a_volume_is_accepted(container: dict[str, Any]) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/app"}]}
    spec = {"containers": [{"name": "main", "image": "i:1"} | mount | container]}
    manifest = {"kind": "Job", "spec": {"template": {"spec": spec}}}
    assert apply_profile(manifest, Profile.PRODUCTION) == manifest


def test_a_train_jobs_program_and_mount_are_in_different_parts() -> None:
    job = TrainJob(
        trainer=Trainer(image="i:1", command=["torchrun", "/app/train.py"]),
        pods=PodOverrides(volumes=[Volume.claim("my-storage", "/app")]),
    )
    assert "spec.trainer.command runs '/app/train.py' from there" in fault(job.to_manifest())


@pytest.mark.parametrize("mount", ["/app", "/app/jobs/", "/app/jobs/lib"])
def test_nothing_may_hide_the_images_code(mount: str) -> None:
    manifest = spark(main_application_file="main.py", volumes=[Volume.claim("other", mount)])
    found = fault(manifest, code=CODE)
    assert found.startswith(
        f"spec.driver.volumeMounts[0].mountPath is {mount!r}, and the image's code is at '/app/jobs'"
    )


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"main_application_file": "s3a://b/m.py"}, "spec.mainApplicationFile is 's3a://b/m.py'"),
        ({"main_application_file": "/app/m.py"}, "spec.mainApplicationFile is '/app/m.py'"),
        ({"dependencies": Dependencies(jars=["https://x/a.jar"])}, "spec.deps.jars is 'https://x/a.jar'"),
        ({"dependencies": Dependencies(packages=["g:a:1"])}, "spec.deps.packages is ['g:a:1']"),
        ({"spark_conf": {"spark.jars.packages": "g:a:1"}}, "spec.sparkConf['spark.jars.packages'] is 'g:a:1'"),
    ],
)
def test_code_from_elsewhere_is_refused(fields: dict[str, Any], field: str) -> None:
    assert fault(spark(**fields)).startswith(field)


def test_data_from_elsewhere_is_accepted() -> None:
    manifest = spark(dependencies=Dependencies(files=["s3a://b/data.csv"], jars=["local:///app/a.jar"]))
    assert list(production_faults(manifest)) == []


# --- locked variables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "origin"),
    [
        ("{{ params.java_home }}", "to what the run's parameter 'java_home' says"),
        ('{{ params["java_home"] }}', "to what the run's parameter 'java_home' says"),
        ("{{ dag_run.conf['x'] }}", "to what the run's conf says"),
        ("{{ ds }}", "by a template of the DAG"),
        ("/opt/java", "as the DAG says"),
    ],
)
def test_it_is_told_who_sets_a_locked_variable(value: str, origin: str) -> None:
    template = spark(driver=Driver(env={"A": "1", "JAVA_HOME": value}))
    rendered = spark(driver=Driver(env={"A": "1", "JAVA_HOME": "/elsewhere"}))
    found = fault(rendered, locked_env=["JAVA_HOME"], template=template)
    assert found.startswith(f"spec.driver.env[1] sets JAVA_HOME, {origin}: ")
    assert "/elsewhere" not in found, "a variable may be a secret"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.id != "Experiment"], ids=lambda kind: kind.id)
def test_a_locked_variable_is_refused_in_every_kind(kind: Kind) -> None:
    manifest = kind.resource.with_env(kind.manifest, {"JAVA_HOME": "/x"})
    assert "sets JAVA_HOME, as the manifest says" in fault(manifest, locked_env=("JAVA_HOME",))
    assert apply_profile(manifest, Profile.PRODUCTION, locked_env=["OTHER"]) == manifest


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"spark_conf": {"spark.executorEnv.JAVA_HOME": "/x"}}, "spec.sparkConf['spark.executorEnv.JAVA_HOME']"),
        (
            {"spark_conf": {"spark.kubernetes.driverEnv.JAVA_HOME": "/x"}},
            "spec.sparkConf['spark.kubernetes.driverEnv.JAVA_HOME']",
        ),
        ({"driver": Driver(extra={"envVars": {"JAVA_HOME": "/x"}})}, "spec.driver.envVars['JAVA_HOME']"),
        (
            {"driver": Driver(extra={"envSecretKeyRefs": {"JAVA_HOME": {"name": "s", "key": "k"}}})},
            "spec.driver.envSecretKeyRefs['JAVA_HOME']",
        ),
    ],
)
def test_other_ways_to_set_a_variable_of_spark(fields: dict[str, Any], path: str) -> None:
    assert fault(spark(**fields), locked_env=["JAVA_HOME"]).startswith(f"{path} sets JAVA_HOME")


def test_variables_whose_names_are_not_known_here() -> None:
    def pods(**source: Any) -> Manifest:
        container = {"name": "main", "image": "i:1", "envFrom": [{"configMapRef": {"name": "c"}, **source}]}
        return {"kind": "Job", "spec": {"template": {"spec": {"containers": [container]}}}}

    path = "spec.template.spec.containers[0].envFrom[0]"
    assert fault(pods(), locked_env=["A", "B"]).startswith(f"{path} may set A, whatever is in it")
    assert fault(pods(prefix="JAVA_"), locked_env=["A", "JAVA_HOME"]).startswith(f"{path} may set JAVA_HOME")
    assert apply_profile(pods(prefix="X_"), Profile.PRODUCTION, locked_env=["A"])


def test_a_trials_variables_count() -> None:
    job = TrainingPods(pods=Replica(image="i:1", command=["train"], env={"JAVA_HOME": "/x"})).to_manifest()
    experiment = {"kind": "Experiment", "spec": {"trialTemplate": {"trialSpec": job}}}
    assert "spec.trialTemplate.trialSpec.spec.template.spec.containers[0].env" in fault(
        experiment, locked_env=["JAVA_HOME"]
    )


def test_a_schedules_program_and_image_count() -> None:
    def schedule(image: str, program: str) -> dict[str, Any]:
        template = SparkApplication(image=image, main_application_file=program)
        return ScheduledSparkApplication(name="s", schedule="@hourly", template=template).to_manifest()

    assert "spec.template.mainApplicationFile is 's3a://b/x.py'" in fault(schedule("i:1", "s3a://b/x.py"))
    assert "spec.template.image is 'i:latest'" in fault(schedule("i:latest", "local:///opt/x.py"))


@pytest.mark.parametrize("value", ["JAVA_HOME", None, [1], [""], {"A": 1}])
def test_what_is_no_list_of_names(value: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"locked_env is .*give a list of variables' names"):
        names_of(value, "locked_env")


@pytest.mark.parametrize("spec", [None, 1, [], {"image": 1}, {"driver": [], "deps": 1, "sparkConf": []}])
def test_what_is_malformed_is_left_for_the_check(spec: Any) -> None:
    manifest = {"kind": "SparkApplication", "spec": spec}
    assert apply_profile(manifest, Profile.PRODUCTION, locked_env=["A"]) == manifest


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"driver": CONFIG_MAP}, "spec.driver.configMaps[0].path is '/app'"),
        ({"driver": Driver(env={"PYTHONPATH": "/data/lib"}), "volumes": [DATA]}, "PYTHONPATH"),
        ({"spark_conf": {"spark.kubernetes.driverEnv.PYTHONPATH": "/data/lib"}, "volumes": [DATA]}, "PYTHONPATH"),
        ({"spark_conf": {"spark.kubernetes.driver.secrets.code": "/app"}}, "spark.kubernetes.driver.secrets.code"),
    ],
    ids=["ConfigMap", "env", "driverEnv", "secret"],
)
def test_code_that_is_mounted_in_other_ways_is_refused_too(fields: dict[str, Any], message: str) -> None:
    assert message in fault(spark(**fields))


def test_code_must_not_be_hidden_by_a_mount_that_properties_make() -> None:
    volume = "spark.kubernetes.driver.volumes.persistentVolumeClaim.lib.mount.path"
    for conf in ({volume: "/app/jobs/lib"}, {"spark.kubernetes.executor.secrets.x": "/app/jobs"}):
        assert "nothing may be mounted over it" in fault(spark(spark_conf=conf), code=CODE)


def test_a_module_in_a_mounted_working_directory_and_fetched_jars_are_refused() -> None:
    container = {"name": "c", "image": "i:1", "command": ["python", "-m", "train"], "workingDir": "/data/src"}
    container["volumeMounts"] = [{"name": "data", "mountPath": "/data"}]
    job = {"kind": "Job", "spec": {"template": {"spec": {"containers": [container]}}}}
    assert "workingDir runs '/data/src' from there" in fault(job)
    submit = {"name": "c", "image": "i:1", "args": ["spark-submit", "--jars", "s3a://b/x.jar", "local:///x.py"]}
    job = {"kind": "Job", "spec": {"template": {"spec": {"containers": [submit]}}}}
    assert "it would be fetched when it starts" in fault(job)


@pytest.mark.parametrize("role", ["driver", "executor"])
def test_a_locked_variable_cannot_come_from_a_secret_by_a_property(role: str) -> None:
    conf = {f"spark.kubernetes.{role}.secretKeyRef.JAVA_HOME": "secret:key"}
    assert "sets JAVA_HOME" in fault(spark(spark_conf=conf), locked_env=["JAVA_HOME"])
