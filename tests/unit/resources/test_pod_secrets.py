"""Secrets that pods use: each builder writes names only, where its controller looks for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Manifest, resource_for
from airflow_provider_sparkml.resources.mpi import horovod_job
from airflow_provider_sparkml.resources.pod_secrets import Secret
from airflow_provider_sparkml.resources.serving import InferenceService
from airflow_provider_sparkml.resources.spark import Driver, SparkApplication
from airflow_provider_sparkml.resources.trainer import PodOverrides, Trainer, TrainJob, Volume
from airflow_provider_sparkml.resources.training_pods import Replica, TrainingPods

KEY = Secret(name="db", env={"PASSWORD": "password"})
ALL = Secret(name="db", env_from=True, prefix="DB_")
FILES = Secret(name="db.tls", mount_path="/etc/db")

ENV = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}
ENV_FROM = [{"prefix": "DB_", "secretRef": {"name": "db"}}]
VOLUME = {"name": "secret-db-tls", "secret": {"secretName": "db.tls"}}
MOUNT = {"name": "secret-db-tls", "mountPath": "/etc/db", "readOnly": True}


def test_a_driver_takes_what_its_executors_do_not() -> None:
    spec = SparkApplication(
        image="i:1", main_application_file="local:///a.py", driver=Driver(env={"A": "1"}, secrets=[KEY, ALL, FILES])
    ).to_manifest()["spec"]
    assert spec["driver"]["env"] == [{"name": "A", "value": "1"}, ENV]
    assert spec["driver"]["envFrom"] == ENV_FROM
    assert spec["driver"]["secrets"] == [{"name": "db.tls", "path": "/etc/db", "secretType": "Generic"}]
    assert not {"env", "envFrom", "secrets"} & spec["executor"].keys()


def test_replicas() -> None:
    pod = TrainingPods(pods=Replica(image="i:1", secrets=[KEY, ALL, FILES])).to_manifest()["spec"]["template"]["spec"]
    assert pod["containers"][0]["env"][-1] == ENV
    assert pod["containers"][0]["envFrom"] == ENV_FROM
    assert pod["containers"][0]["volumeMounts"] == [MOUNT]
    assert pod["volumes"] == [VOLUME]


def test_the_launcher_of_horovod_has_the_workers_secrets() -> None:
    job = horovod_job("i:1", ["train"], worker=Replica(image="i:1", secrets=[KEY])).to_manifest()
    for replica in job["spec"]["mpiReplicaSpecs"].values():
        assert replica["template"]["spec"]["containers"][0]["env"] == [ENV]


def test_a_trainer_mounts_by_a_patch_of_its_runtime_beside_other_volumes() -> None:
    job = TrainJob(
        trainer=Trainer(secrets=[KEY, FILES]), pods=PodOverrides(volumes=[Volume.claim("c", "/data")])
    ).to_manifest()
    assert job["spec"]["trainer"]["env"] == [ENV]
    (patch,) = job["spec"]["runtimePatches"]
    (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["data", "secret-db-tls"]
    assert pod["containers"][0]["volumeMounts"][1] == MOUNT
    (alone,) = TrainJob(trainer=Trainer(secrets=[FILES])).to_manifest()["spec"]["runtimePatches"]
    assert "secret-db-tls" in json.dumps(alone)
    assert "runtimePatches" not in TrainJob(trainer=Trainer(secrets=[KEY])).to_manifest()["spec"]


def test_a_model_server() -> None:
    predictor = InferenceService(
        name="m", model_format="onnx", storage_uri="s3://b/m", secrets=[KEY, ALL, FILES]
    ).to_manifest()["spec"]["predictor"]
    assert predictor["volumes"] == [VOLUME]
    model = predictor["model"]
    assert (model["env"], model["envFrom"], model["volumeMounts"]) == ([ENV], ENV_FROM, [MOUNT])


@pytest.mark.parametrize(
    "job",
    [
        SparkApplication(image="i", main_application_file="local:///a.py", driver=Driver(secrets=[KEY, ALL, FILES])),
        TrainingPods(pods=Replica(image="i:1", secrets=[KEY, ALL, FILES])),
        TrainJob(trainer=Trainer(secrets=[KEY, FILES])),
        InferenceService(name="m", model_format="onnx", storage_uri="s3://b/m", secrets=[KEY, ALL, FILES]),
    ],
    ids=lambda job: type(job).__name__,
)
def test_the_api_server_knows_all_these_fields(api_server: Any, job: Any) -> None:
    manifest: Manifest = job.to_manifest()
    resource = resource_for(manifest["apiVersion"], manifest["kind"])
    manifest = resource.normalize(manifest)
    manifest["metadata"]["name"] = "example"
    resource.check(manifest)
    path = f"{resource.api.path('default')}?dryRun=All&fieldValidation=Strict"
    status, answer = api_server.request("POST", path, manifest)
    assert status == 201, answer


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Secret(name="db"), "secret 'db' is used for nothing"),
        (lambda: Secret(name="db", mount_path="/db", prefix="DB_"), "prefix of secret 'db' is 'DB_'"),
        (lambda: Trainer(secrets=[ALL]), "env_from of secret 'db' is True"),
        (lambda: InferenceService(name="m", containers=[{}], secrets=[KEY]), "secrets is set together with containers"),
    ],
)
def test_what_could_not_work_is_refused(make: Any, said: str) -> None:
    with pytest.raises(InvalidManifestError, match=said):
        make()
