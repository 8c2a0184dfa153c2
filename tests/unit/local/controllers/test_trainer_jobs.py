"""What a TrainJob is made of, by its runtime, its trainer and its patches."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.controllers.trainer_jobs import Plan, merge, plan
from airflow_provider_sparkml.local.controllers.trainer_runtimes import RUNTIMES
from airflow_provider_sparkml.resources.base import Manifest

TORCH, HOROVOD = (runtime["spec"] for runtime in RUNTIMES)


def made(runtime: Manifest = TORCH, trainer: dict[str, Any] | None = None, **spec: Any) -> Plan:
    given = {"runtimeRef": {"name": "r"}, **({"trainer": trainer} if trainer else {}), **spec}
    return plan({"metadata": {"name": "t", "namespace": "ns", "uid": "u"}, "spec": given}, runtime)


def container(found: Plan, job: str = "node") -> dict[str, Any]:
    spec: dict[str, Any] = found.jobs[job]["spec"]["template"]["spec"]["containers"][0]
    return spec


def env(found: Plan, job: str = "node") -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(found, job).get("env", ())}


def test_a_job_is_named_and_labelled_as_jobset_does_it() -> None:
    job = made(trainer={"numNodes": 3}).jobs["node"]
    assert job["metadata"]["name"] == "t-node-0"
    labels = job["spec"]["template"]["metadata"]["labels"]
    assert labels["jobset.sigs.k8s.io/jobset-name"] == "t"
    assert labels["jobset.sigs.k8s.io/replicatedjob-name"] == "node"
    assert labels.items() <= job["metadata"]["labels"].items()
    assert job["metadata"]["labels"]["trainer.kubeflow.org/trainjob-ancestor-step"] == "trainer"
    spec = job["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    # Airflow alone tries again.
    assert (spec["template"]["spec"]["restartPolicy"], spec["backoffLimit"]) == ("Never", 0)
    assert spec["template"]["spec"]["subdomain"] == "t"
    assert not spec["suspend"]
    assert made(suspend=True).jobs["node"]["spec"]["suspend"]
    service = made().service
    assert service["metadata"]["name"] == "t"
    assert service["spec"]["selector"] == {"jobset.sigs.k8s.io/jobset-name": "t"}


def test_the_trainer_takes_the_place_of_what_the_runtime_says() -> None:
    variables = [{"name": "A", "value": "1"}]
    trainer = {"image": "mine", "command": ["c"], "args": ["a"], "env": variables, "numNodes": 2, "numProcPerNode": 4}
    found = made(trainer=trainer)
    assert {key: container(found)[key] for key in ("image", "command", "args")} == {
        "image": "mine",
        "command": ["c"],
        "args": ["a"],
    }
    given = env(found)
    assert (given["A"], given["PET_NNODES"], given["PET_NPROC_PER_NODE"]) == ("1", "2", "4")
    assert given["PET_MASTER_ADDR"] == "t-node-0-0.t"
    assert "job-completion-index" in given["PET_NODE_RANK"]["fieldRef"]["fieldPath"]


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, "1"),
        ({"requests": {"cpu": "2500m"}}, "3"),
        ({"limits": {"cpu": 2}}, "2"),
        ({"limits": {"nvidia.com/gpu": 2}}, "auto"),
    ],
)
def test_processes_per_node_follow_from_its_resources(resources: dict[str, Any], expected: str) -> None:
    found = made(trainer={"resourcesPerNode": resources})
    assert env(found)["PET_NPROC_PER_NODE"] == expected
    assert container(found)["resources"] == resources


def test_mpi_gives_the_launcher_keys_and_hosts() -> None:
    found = made(HOROVOD, trainer={"image": "mine", "command": ["horovodrun"], "numNodes": 2, "numProcPerNode": 2})
    assert found.hosts == "t-node-0-0.t slots=2\nt-node-0-1.t slots=2\n"
    assert {name: job["spec"]["completions"] for name, job in found.jobs.items()} == {"node": 2, "launcher": 1}
    assert container(found)["command"] == ["/usr/sbin/sshd"]
    assert container(found, "launcher")["command"] == ["horovodrun"]
    assert env(found, "launcher")["OMPI_MCA_orte_default_hostfile"] == "/etc/mpi/hostfile"
    mounts = {each["mountPath"] for each in container(found, "launcher")["volumeMounts"]}
    assert mounts == {"/root/.ssh", "/etc/mpi"}
    assert (found.depends_on, found.targets) == ({"launcher": {"node": "Ready"}}, ("launcher",))


def test_a_launcher_that_is_a_node_is_one_of_them() -> None:
    policy = {"numNodes": 1, "mpi": HOROVOD["mlPolicy"]["mpi"] | {"runLauncherAsNode": True}}
    found = made({**HOROVOD, "mlPolicy": policy}, trainer={"numNodes": 3})
    assert found.hosts == "t-node-0-0.t slots=1\nt-node-0-1.t slots=1\nt-launcher-0-0.t slots=1\n"


def test_patches_are_merged_by_name() -> None:
    node = {"name": "node", "template": {"spec": {"backoffLimit": 0, "template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "node", "workingDir": "/w"}],
    }}}}}  # fmt: skip
    patch = {"manager": "me", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [node]}}}}
    found = made(runtimePatches=[patch])
    spec = found.jobs["node"]["spec"]
    assert (spec["backoffLimit"], spec["template"]["spec"]["restartPolicy"]) == (0, "Never")
    assert (container(found)["workingDir"], container(found)["image"]) == ("/w", "sparkml/torch:latest")


def test_initializers_learn_where_their_data_is() -> None:
    label = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "dataset-initializer"}}
    pod = {"spec": {"containers": [{"name": "dataset-initializer"}]}}
    job = {"name": "dataset-initializer", "template": {"metadata": label, "spec": {"template": pod}}}
    runtime = {"mlPolicy": {"torch": {}}, "template": {"spec": {"replicatedJobs": [job]}}}
    dataset = {"storageUri": "s3://data", "secretRef": {"name": "keys"}}
    found = made(runtime, initializer={"dataset": dataset})
    assert env(found, "dataset-initializer") == {"STORAGE_URI": "s3://data"}
    assert container(found, "dataset-initializer")["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_merging() -> None:
    assert merge({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}, "a": None}) == {"b": {"c": 1, "d": 2}}
    assert merge([{"name": "x", "v": 1}], [{"name": "y"}, {"name": "x", "v": 2}]) == [
        {"name": "x", "v": 2},
        {"name": "y"},
    ]
    assert merge(["a"], ["b"]) == ["b"]
