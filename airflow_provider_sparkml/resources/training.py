"""Typed parts that the builders of training jobs share: replicas, the run policy, gang schedulers.

Every field may be a Jinja template. What has no parameter here is given in ``extra``, which is merged in last.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_sparkml.resources.base import Manifest, plain, present
from airflow_provider_sparkml.resources.pod_secrets import Secret, secret_env, secret_env_from, secret_volumes
from airflow_provider_sparkml.resources.spark_volumes import Volume, volumes_of

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
"""Label of Kueue's local queue (https://kueue.sigs.k8s.io/docs/tasks/run/)."""
APPLICATION_ID = "yunikorn.apache.org/app-id"
"""Annotation of the pods that YuniKorn takes for one application."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volcano:
    """Volcano starts all pods of a job together, or none (https://volcano.sh/en/docs/).

    :param queue: Volcano's queue.
    :param min_available: how many pods must fit at once; all of them when ``None``.
    :param priority_class: name of a PriorityClass.
    """

    queue: str = ""
    min_available: int | str | None = None
    priority_class: str = ""

    scheduler = "volcano"

    def scheduling_policy(self) -> dict[str, Any]:
        """Return ``runPolicy.schedulingPolicy``."""
        policy = present({"queue": self.queue, "priorityClass": self.priority_class})
        return policy | ({} if self.min_available is None else {"minAvailable": self.min_available})

    def annotations(self, group: str, groups: Mapping[str, Replica]) -> dict[str, Any]:
        """Return the pods' annotations, for kinds of one group whose controller makes no PodGroup."""
        members = groups[group].replicas if self.min_available is None else self.min_available
        return {"scheduling.volcano.sh/group-min-member": str(members)} | present(
            {"scheduling.volcano.sh/queue-name": self.queue}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class YuniKorn:
    """YuniKorn starts all pods of a job together (https://yunikorn.apache.org/docs/user_guide/gang_scheduling/).

    :param queue: YuniKorn's queue, such as ``root.research``.
    :param application_id: what YuniKorn calls the job; by default the task attempt's ids, as a template. Trials of an
        Experiment are called by their own names.
    """

    queue: str = ""
    application_id: str = "{{ ti.dag_id }}/{{ ti.task_id }}/{{ ti.run_id }}/{{ ti.map_index }}/{{ ti.try_number }}"

    scheduler = "yunikorn"

    def scheduling_policy(self) -> dict[str, Any]:
        """Return nothing: YuniKorn reads annotations."""
        return {}

    def annotations(self, group: str, groups: Mapping[str, Replica]) -> dict[str, Any]:
        """Return the pods' annotations: the application, its queue, and how many pods of which size it needs."""
        return present({"yunikorn.apache.org/queue": self.queue}) | {
            APPLICATION_ID: self.application_id,
            "yunikorn.apache.org/task-group-name": group,
            "yunikorn.apache.org/task-groups": f"[{', '.join(_task_group(*each) for each in groups.items())}]",
        }


Gang = Volcano | YuniKorn
"""A scheduler that starts all pods of a job together, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """Pods that are alike: a launcher, a master, the workers.

    :param image: their image.
    :param command: the program, a list; the image's own when empty.
    :param args: its arguments, a list.
    :param replicas: how many pods.
    :param env: environment variables.
    :param secrets: what the pods take from Kubernetes Secrets.
    :param cpu: CPU that each pod requests, as a quantity (``500m``, ``4``).
    :param memory: memory that each pod requests, and may use at most (``2Gi``).
    :param gpus: GPUs of each pod.
    :param gpu_resource: name of the extended resource that is a GPU.
    :param node_selector: node labels that the pods need.
    :param tolerations: tolerations, as in a pod spec.
    :param volumes: volumes and where they are mounted.
    :param service_account: Kubernetes service account of the pods.
    :param image_pull_secrets: names of Secrets.
    :param restart_policy: ``Never``, ``OnFailure``, ``Always`` or, for the training operator, ``ExitCode``: exit codes
        1 to 127 are final, 128 to 255 are tried again. Whatever restarts here does so beneath Airflow's own retries.
    :param labels: labels of the pods.
    :param annotations: annotations of the pods.
    :param extra: further fields of the pod spec, merged in last.
    """

    image: str
    command: Sequence[Any] = ()
    args: Sequence[Any] = ()
    replicas: int | str = 1
    env: Mapping[str, Any] = field(default_factory=dict)
    secrets: Sequence[Secret] = ()
    cpu: str = ""
    memory: str = ""
    gpus: int | str = 0
    gpu_resource: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Mapping[str, Any]] = ()
    volumes: Sequence[Volume] = ()
    service_account: str = ""
    image_pull_secrets: Sequence[str] = ()
    restart_policy: Literal["Never", "OnFailure", "Always", "ExitCode"] = "Never"
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def resources(self) -> dict[str, Any]:
        """Return the container's ``resources``."""
        gpus = {self.gpu_resource: self.gpus} if self.gpus not in (0, "", "0") else {}
        requests = present({"cpu": self.cpu, "memory": self.memory})
        return present({"requests": requests | gpus, "limits": present({"memory": self.memory}) | gpus})

    def to_spec(self, container: str) -> dict[str, Any]:
        """Return the replica spec, as the training operator and the MPI operator have it.

        :param container: name of the pods' container.
        """
        return {
            "replicas": self.replicas,
            "restartPolicy": self.restart_policy,
            "template": self.to_template(container),
        }

    def to_template(self, container: str) -> dict[str, Any]:
        """Return the pod template.

        :param container: name of the pods' container.
        """
        spec = {"containers": [self._container(container)]} | present(
            {
                "volumes": volumes_of(self._all_volumes()),
                "nodeSelector": self.node_selector,
                "tolerations": list(self.tolerations),
                "serviceAccountName": self.service_account,
                "imagePullSecrets": [{"name": name} for name in self.image_pull_secrets],
            }
        )
        metadata = present({"labels": self.labels, "annotations": self.annotations})
        template: dict[str, Any] = plain(present({"metadata": metadata}) | {"spec": spec | dict(self.extra)})
        return template

    def _container(self, name: str) -> dict[str, Any]:
        return {"name": name, "image": self.image} | present(
            {
                # An XComArg stands for a list that is known only when the task runs.
                "command": self.command,
                "args": self.args,
                "env": env_entries(self.env, self.secrets),
                "envFrom": secret_env_from(self.secrets),
                "resources": self.resources(),
                "volumeMounts": [volume.to_mount() for volume in self._all_volumes()],
            }
        )

    def _all_volumes(self) -> list[Volume]:
        return [*self.volumes, *secret_volumes(self.secrets)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPolicy:
    """When a job ends, and what then becomes of its pods.

    :param clean_pod_policy: which pods are deleted at the end: those still ``Running``, ``All``, or ``None`` of them.
        The operators' own default is ``None``, which leaves workers, and their GPUs, busy.
    :param backoff_limit: how often the operator tries again by itself, beneath Airflow's own retries; choose one.
    :param active_deadline_seconds: how long the job may run.
    :param ttl_seconds_after_finished: after how long the operator deletes the ended job.
    :param suspend: create it suspended; somebody else lets it start.
    :param gang: a scheduler that starts all pods together; the operator must be configured for Volcano.
    """

    clean_pod_policy: Literal["Running", "All", "None"] = "Running"
    backoff_limit: int | str | None = None
    active_deadline_seconds: int | str | None = None
    ttl_seconds_after_finished: int | str | None = None
    suspend: bool | str = False
    gang: Gang | None = None

    def to_spec(self) -> dict[str, Any]:
        """Return ``spec.runPolicy``."""
        limits = {
            "backoffLimit": self.backoff_limit,
            "activeDeadlineSeconds": self.active_deadline_seconds,
            "ttlSecondsAfterFinished": self.ttl_seconds_after_finished,
        }
        return {
            "cleanPodPolicy": self.clean_pod_policy,
            **{name: value for name, value in limits.items() if value is not None},
            **present({"suspend": self.suspend}),
            **present({"schedulingPolicy": self.gang.scheduling_policy() if self.gang else {}}),
        }


def replica_specs(
    replicas: Mapping[str, Replica | None], containers: Mapping[str, str], gang: Gang | None
) -> dict[str, Any]:
    """Return the replica specs of a job by their type.

    :param replicas: the replicas by type; those that are ``None`` are left out.
    :param containers: the container's name by type.
    :param gang: the scheduler of all pods.
    """
    given = {name: replica for name, replica in replicas.items() if replica is not None}
    groups = {name.lower(): replica for name, replica in given.items()}
    specs = {name: replica.to_spec(containers[name]) for name, replica in given.items()}
    return {
        name: spec | {"template": with_gang(spec["template"], gang, name.lower(), groups, has_pod_group=True)}
        for name, spec in specs.items()
    }


def with_gang(
    template: dict[str, Any], gang: Gang | None, group: str, groups: Mapping[str, Replica], *, has_pod_group: bool
) -> dict[str, Any]:
    """Return a pod template that a gang scheduler schedules; what the template says itself wins.

    :param group: which of the groups these pods are.
    :param groups: all pods of the job.
    :param has_pod_group: whether the kind's controller makes Volcano's PodGroup.
    """
    if gang is None:
        return template
    metadata = template.get("metadata") or {}
    own = {} if has_pod_group and isinstance(gang, Volcano) else gang.annotations(group, groups)
    metadata = metadata | present({"annotations": own | (metadata.get("annotations") or {})})
    return present({"metadata": metadata}) | {"spec": {"schedulerName": gang.scheduler} | template["spec"]}


def env_entries(env: Mapping[str, Any], secrets: Iterable[Secret] = ()) -> list[dict[str, Any]]:
    """Return a container's ``env``.

    :param env: values by name.
    :param secrets: where further ones come from.
    """
    return [*({"name": name, "value": value} for name, value in env.items()), *secret_env(secrets)]


def metadata_of(name: str, queue: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> dict[str, Any]:
    """Return a job's ``metadata``.

    :param queue: Kueue's local queue, or empty.
    """
    return present({"name": name, "labels": {**labels, **present({QUEUE_LABEL: queue})}, "annotations": annotations})


def manifest_of(api_version: str, kind: str, metadata: dict[str, Any], spec: Mapping[str, Any]) -> Manifest:
    """Return a manifest that shares nothing with what it is made of."""
    manifest: Manifest = plain({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
    return manifest


def _task_group(name: str, replica: Replica) -> str:
    """Return a YuniKorn task group as JSON; a templated number of replicas renders to a number."""
    size = json.dumps(replica.resources().get("requests") or {"cpu": "1m"})
    return f'{{"name": {json.dumps(name)}, "minMember": {replica.replicas}, "minResource": {size}}}'


__all__ = [
    "APPLICATION_ID",
    "QUEUE_LABEL",
    "Gang",
    "Replica",
    "RunPolicy",
    "Secret",
    "Volcano",
    "Volume",
    "YuniKorn",
    "env_entries",
    "manifest_of",
    "metadata_of",
    "replica_specs",
    "with_gang",
]
