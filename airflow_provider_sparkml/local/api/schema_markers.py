"""What the published Python models do not tell about fields: merge keys, atomic objects, enumerations, lower bounds.

Facts of the Go types' markers: ``k8s.io/api`` and ``k8s.io/apimachinery`` (``+listType``, ``+structType``,
``patchMergeKey``), and spark-operator's, trainer's and JobSet's API packages (``+kubebuilder:validation``). A type is
named as in Go, without its package unless versions differ.
"""

from __future__ import annotations

from airflow_provider_sparkml.local.api.types import Schema


def _merged(*keys: str, retain: bool = False) -> Schema:
    """Return the marks of a list merged by keys; a strategic merge patch goes by the first of them."""
    return {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": list(keys),
        "x-kubernetes-patch-merge-key": keys[0],
        "x-kubernetes-patch-strategy": "merge,retainKeys" if retain else "merge",
    }


_SET: Schema = {"x-kubernetes-list-type": "set", "x-kubernetes-patch-strategy": "merge"}
_ATOMIC: Schema = {"x-kubernetes-map-type": "atomic"}
_CONDITIONS: Schema = _merged("type")
_ONE: Schema = {"minimum": 1}
_NONE_OR_MORE: Schema = {"minimum": 0}

FIELDS: dict[str, dict[str, Schema]] = {
    "ObjectMeta": {"finalizers": _SET, "ownerReferences": _merged("uid")},
    "PodSpec": {
        "containers": _merged("name"),
        "ephemeralContainers": _merged("name"),
        "hostAliases": _merged("ip"),
        "imagePullSecrets": _merged("name"),
        "initContainers": _merged("name"),
        "nodeSelector": _ATOMIC,
        "resourceClaims": _merged("name", retain=True),
        "schedulingGates": _merged("name"),
        "topologySpreadConstraints": _merged("topologyKey", "whenUnsatisfiable"),
        "volumes": _merged("name", retain=True),
    },
    "Container": {
        "env": _merged("name"),
        "ports": _merged("containerPort", "protocol"),
        "volumeDevices": _merged("devicePath"),
        "volumeMounts": _merged("mountPath"),
    },
    "ContainerPort": {"protocol": {"default": "TCP"}},
    "ServicePort": {"protocol": {"default": "TCP"}},
    "ServiceSpec": {"ports": _merged("port", "protocol"), "selector": _ATOMIC},
    "ServiceAccount": {"secrets": _merged("name")},
    "PodStatus": {"podIPs": _merged("ip")},
    "NodeStatus": {"addresses": _merged("type")},
    **{
        f"{kind}Status": {"conditions": _CONDITIONS}
        for kind in ("Deployment", "ReplicaSet", "StatefulSet", "Job", "Namespace", "PersistentVolumeClaim", "Service")
    },
    "SparkApplicationSpec": {
        "mode": {"enum": ["cluster", "client"]},
        "pythonVersion": {"enum": ["2", "3"]},
        "type": {"enum": ["Java", "Python", "Scala", "R"]},
    },
    "RestartPolicy": {
        "type": {"enum": ["Never", "Always", "OnFailure"]},
        "onFailureRetries": _NONE_OR_MORE,
        "onFailureRetryInterval": _ONE,
        "onSubmissionFailureRetries": _NONE_OR_MORE,
        "onSubmissionFailureRetryInterval": _ONE,
    },
    "DriverSpec": {"cores": _ONE},
    "ServerSpec": {"cores": _ONE},
    "SparkV1beta2ExecutorSpec": {"cores": _ONE, "instances": _ONE},
    "SparkV1alpha1ExecutorSpec": {"cores": _ONE, "instances": _NONE_OR_MORE},
    "Condition": {"observedGeneration": _NONE_OR_MORE, "status": {"enum": ["True", "False", "Unknown"]}},
    "PrometheusSpec": {"port": {"minimum": 1024, "maximum": 49151}},
    "SparkConnectStatus": {"conditions": _CONDITIONS},
    "TrainerV1alpha1TrainJobSpec": {
        "activeDeadlineSeconds": _ONE,
        "managedBy": {"default": "trainer.kubeflow.org/trainjob-controller"},
        "suspend": {"default": False},
    },
    "TrainerV1alpha1RuntimeRef": {
        "apiGroup": {"default": "trainer.kubeflow.org"},
        "kind": {"default": "ClusterTrainingRuntime"},
    },
    "TrainerV1alpha1JobStatus": dict.fromkeys(("active", "failed", "ready", "succeeded", "suspended"), _NONE_OR_MORE),
    "TrainerV1alpha1TrainerStatus": {
        "estimatedRemainingSeconds": _NONE_OR_MORE,
        "progressPercentage": {"minimum": 0, "maximum": 100},
    },
    "TrainerV1alpha1MPIMLPolicySource": {"mpiImplementation": {"enum": ["OpenMPI", ""]}},
    "TrainerV1alpha1PodSpecPatch": {"terminationGracePeriodSeconds": _NONE_OR_MORE},
    "JobsetV1alpha2SuccessPolicy": {"operator": {"enum": ["All", "Any"]}},
    "JobsetV1alpha2DependsOn": {"status": {"enum": ["Ready", "Complete"]}},
    "JobsetV1alpha2StartupPolicy": {"startupPolicyOrder": {"enum": ["AnyOrder", "InOrder"]}},
    "JobsetV1alpha2JobSetSpec": {"ttlSecondsAfterFinished": _NONE_OR_MORE},
}
"""Type → field → what to add to its schema."""
FIELDS["PodStatus"]["conditions"] = _CONDITIONS
FIELDS["NodeStatus"]["conditions"] = _CONDITIONS

ATOMIC_TYPES = frozenset(
    {
        "ConfigMapKeySelector", "LabelSelector", "LocalObjectReference", "NodeSelector", "NodeSelectorTerm",
        "ObjectFieldSelector", "ObjectReference", "ResourceFieldSelector", "RoleRef", "SecretKeySelector",
        "SecretReference", "Subject", "TypedLocalObjectReference",
    }
)  # fmt: skip
"""Objects that server-side apply takes as one value."""

INT_OR_STRING = frozenset(
    {
        "HTTPGetAction.port", "TCPSocketAction.port", "ServicePort.targetPort", "NetworkPolicyPort.port",
        "RollingUpdateDeployment.maxSurge", "RollingUpdateDeployment.maxUnavailable",
        "PodDisruptionBudgetSpec.maxUnavailable", "PodDisruptionBudgetSpec.minAvailable",
    }
)  # fmt: skip
"""Fields that take a number or a text, which the ``kubernetes`` package calls ``object``."""

QUANTITIES = frozenset(
    {
        "ResourceRequirements.limits", "ResourceRequirements.requests", "VolumeResourceRequirements.limits",
        "VolumeResourceRequirements.requests", "ResourceQuotaSpec.hard", "ResourceQuotaStatus.hard",
        "ResourceQuotaStatus.used", "PersistentVolumeClaimStatus.capacity", "PersistentVolumeSpec.capacity",
        "NodeStatus.allocatable", "NodeStatus.capacity", "PodSpec.overhead", "LimitRangeItem._default",
        "LimitRangeItem.default", "LimitRangeItem.defaultRequest", "LimitRangeItem.max", "LimitRangeItem.min",
        "EmptyDirVolumeSource.sizeLimit", "ResourceFieldSelector.divisor",
        "PersistentVolumeClaimStatus.allocatedResources", "ContainerStatus.allocatedResources",
    }
)  # fmt: skip
"""Resource quantities, which the ``kubernetes`` package calls ``str``."""

QUANTITY: Schema = {"x-kubernetes-int-or-string": True, "format": "quantity"}
TEXT_OR_NUMBER: Schema = {"x-kubernetes-int-or-string": True}
ANYTHING: Schema = {"x-kubernetes-preserve-unknown-fields": True}
ANY_OBJECT: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
