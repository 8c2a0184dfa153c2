"""What an MPIJob is made of."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.controllers import mpi_pods
from airflow_provider_sparkml.resources.base import Manifest


def job(name: str = "j", workers: int = 2, **spec: Any) -> Manifest:
    def role(container: str) -> dict[str, Any]:
        return {"template": {"metadata": {"labels": {"mine": "1"}}, "spec": {"containers": [{"name": container}]}}}

    replicas = {"Launcher": role("l"), "Worker": {"replicas": workers, **role("w")}}
    manifest = {"metadata": {"name": name, "namespace": "ns"}, "spec": {"mpiReplicaSpecs": replicas, **spec}}
    return mpi_pods.with_defaults(manifest)


def env(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def test_a_worker_waits_for_commands() -> None:
    worker = mpi_pods.worker_pod(job(), 1)
    container = worker["spec"]["containers"][0]
    assert worker["metadata"]["name"] == "j-worker-1"
    assert worker["metadata"]["labels"] == {
        "mine": "1",
        "training.kubeflow.org/operator-name": "mpi-operator",
        "training.kubeflow.org/job-name": "j",
        "training.kubeflow.org/job-role": "worker",
        "training.kubeflow.org/replica-index": "1",
    }
    assert (worker["spec"]["hostname"], worker["spec"]["subdomain"]) == ("j-worker-1", "j")
    assert worker["spec"]["restartPolicy"] == "Never"
    assert worker["spec"]["dnsConfig"]["searches"] == ["j.ns.svc.cluster.local"]
    assert container["command"] == ["/usr/sbin/sshd", "-De"]
    assert container["volumeMounts"] == [{"name": "ssh-auth", "mountPath": "/root/.ssh"}]


def test_the_launcher_knows_the_hosts() -> None:
    policy = {"backoffLimit": 2, "activeDeadlineSeconds": 9, "ttlSecondsAfterFinished": 7, "suspend": True}
    launcher = mpi_pods.launcher_job(job(slotsPerWorker=3, runPolicy=policy))
    assert launcher["metadata"]["name"] == "j-launcher"
    assert launcher["spec"] | policy == launcher["spec"]
    assert launcher["spec"]["podReplacementPolicy"] == "Failed"
    pod = launcher["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "OnFailure"
    found = env(pod["containers"][0])
    assert found["OMPI_MCA_orte_default_hostfile"] == "/etc/mpi/hostfile"
    assert found["OMPI_MCA_orte_set_default_slots"] == "3"
    assert found["NVIDIA_VISIBLE_DEVICES"] == ""
    modes = {item["path"]: item["mode"] for item in pod["volumes"][-1]["configMap"]["items"]}
    assert modes == {"hostfile": 0o444, "discover_hosts.sh": 0o555}


def test_hosts_are_listed_and_those_that_run_discovered() -> None:
    running = [{"metadata": {"name": "j-worker-1"}}]
    data = mpi_pods.config_map(job(), running)["data"]
    assert data["hostfile"] == "j-worker-0.j.ns.svc slots=1\nj-worker-1.j.ns.svc slots=1\n"
    assert data["discover_hosts.sh"] == "#!/bin/sh\necho j-worker-1.j.ns.svc\n"
    intel = mpi_pods.config_map(job(mpiImplementation="Intel", runLauncherAsWorker=True), [])["data"]
    assert intel["hostfile"].splitlines()[:2] == ["j-launcher.j.ns.svc:1", "j-worker-0.j.ns.svc:1"]
    assert intel["discover_hosts.sh"] == "#!/bin/sh\necho j-launcher.j.ns.svc\n"


def test_a_launcher_that_works_shifts_the_indexes() -> None:
    made = job(runLauncherAsWorker=True)
    launcher = mpi_pods.launcher_job(made)["spec"]["template"]
    assert launcher["metadata"]["labels"]["training.kubeflow.org/replica-index"] == "0"
    assert "NVIDIA_VISIBLE_DEVICES" not in env(launcher["spec"]["containers"][0])
    worker = mpi_pods.worker_pod(made, 0)
    assert worker["metadata"]["labels"]["training.kubeflow.org/replica-index"] == "1"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": "j" * 60}, "metadata.name"),
        ({"name": "1j"}, "metadata.name"),
        ({"workers": 0}, "must be greater than or equal to 1"),
        ({"runPolicy": {"cleanPodPolicy": "Some"}}, "cleanPodPolicy"),
        ({}, ""),
    ],
)
def test_what_the_operator_refuses(change: dict[str, Any], expected: str) -> None:
    found = mpi_pods.problems(job(**change))
    assert len(found) == (1 if expected else 0)
    assert expected in "".join(found)
    lonely = job()
    del lonely["spec"]["mpiReplicaSpecs"]["Launcher"]
    assert mpi_pods.problems(lonely) == [
        "spec.mpiReplicaSpecs[Launcher]: Required value: must have Launcher replica spec"
    ]
