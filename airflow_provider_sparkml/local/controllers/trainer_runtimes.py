"""The ClusterTrainingRuntimes that every local cluster has, as Kubeflow Trainer's manifests bring theirs along.

``torch-distributed`` is upstream's (kubeflow/trainer v2.3, ``manifests/base/runtimes``) with this project's image;
``horovod-distributed`` is what upstream's MPI runtimes are, for Horovod. In both, Airflow alone tries again: by default
a Job would restart a rank that fails six times, which takes ten minutes, before anybody is told.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.resources.base import ApiResource, Manifest

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"
CLUSTER_TRAINING_RUNTIME = ApiResource(
    GROUP, VERSION, "clustertrainingruntimes", "ClusterTrainingRuntime", namespaced=False
)
TRAINING_RUNTIME = ApiResource(GROUP, VERSION, "trainingruntimes", "TrainingRuntime")
ANCESTOR = "trainer.kubeflow.org/trainjob-ancestor-step"


def _runtime(name: str, framework: str, policy: dict[str, Any], **spec: Any) -> Manifest:
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": CLUSTER_TRAINING_RUNTIME.kind,
        "metadata": {"name": name, "labels": {"trainer.kubeflow.org/framework": framework}},
        "spec": {"mlPolicy": {"numNodes": 1, **policy}, "template": {"spec": spec}},
    }


def _job(name: str, image: str, *, trains: bool, depends_on: str = "", **container: Any) -> dict[str, Any]:
    pod: dict[str, Any] = {"containers": [{"name": "node", "image": image, **container}]}
    job: dict[str, Any] = {"name": name, "template": {"spec": {"template": {"spec": pod}}}}
    if trains:
        job["template"]["metadata"] = {"labels": {ANCESTOR: "trainer"}}
        job["template"]["spec"]["backoffLimit"] = 0
        pod["restartPolicy"] = "Never"
    if depends_on:
        job["dependsOn"] = [{"name": depends_on, "status": "Ready"}]
    return job


RUNTIMES: tuple[Manifest, ...] = (
    _runtime(
        "torch-distributed", "torch", {"torch": {}}, replicatedJobs=[_job("node", "sparkml/torch:latest", trains=True)]
    ),
    _runtime(
        "horovod-distributed",
        "horovod",
        {
            "mpi": {
                "numProcPerNode": 1,
                "mpiImplementation": "OpenMPI",
                "sshAuthMountPath": "/root/.ssh",
                "runLauncherAsNode": False,
            }
        },
        network={"publishNotReadyAddresses": True},
        successPolicy={"operator": "All", "targetReplicatedJobs": ["launcher"]},
        replicatedJobs=[
            _job("node", "sparkml/horovod:latest", trains=False, command=["/usr/sbin/sshd"], args=["-De"]),
            _job("launcher", "sparkml/horovod:latest", trains=True, depends_on="node"),
        ],
    ),
)
