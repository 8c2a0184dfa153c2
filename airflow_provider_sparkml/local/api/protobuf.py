"""Bodies in Protocol Buffers: kubectl's ``create`` by words, ``run``, ``expose`` and ``auth`` send built-in types so.

Read are the types and fields that those commands fill in; anything else is refused with the way around it. The numbers
are those of ``generated.proto`` in ``k8s.io/api`` and ``k8s.io/apimachinery``. Answers are JSON, which kubectl takes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from airflow_provider_sparkml.local.api.status import StatusError, bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_MAGIC = b"k8s\0"
_TABLE = """
ObjectMeta 1:name:s 2:generateName:s 3:namespace:s 4:selfLink:s 5:uid:s 6:resourceVersion:s 7:generation:i
  8:creationTimestamp:Time 9:deletionTimestamp:Time 10:deletionGracePeriodSeconds:i 11:labels:{}s
  12:annotations:{}s 13:ownerReferences:[]OwnerReference 14:finalizers:[]s
OwnerReference 5:apiVersion:s 1:kind:s 3:name:s 4:uid:s 6:controller:b 7:blockOwnerDeletion:b
LabelSelector 1:matchLabels:{}s 2:matchExpressions:[]LabelSelectorRequirement
LabelSelectorRequirement 1:key:s 2:operator:s 3:values:[]s
DeleteOptions 1:gracePeriodSeconds:i! 2:preconditions:Preconditions 3:orphanDependents:b 4:propagationPolicy:s
  5:dryRun:[]s
Preconditions 1:uid:s 2:resourceVersion:s
Namespace 1:metadata:ObjectMeta 2:spec:NamespaceSpec 3:status:-
NamespaceSpec 1:finalizers:[]s
ConfigMap 1:metadata:ObjectMeta 4:immutable:b 2:data:{}s 3:binaryData:{}y
Secret 1:metadata:ObjectMeta 5:immutable:b 2:data:{}y 4:stringData:{}s 3:type:s
ServiceAccount 1:metadata:ObjectMeta 2:secrets:[]ObjectReference 3:imagePullSecrets:[]LocalObjectReference
  4:automountServiceAccountToken:b!
LocalObjectReference 1:name:s
ObjectReference 1:kind:s 2:namespace:s 3:name:s 4:uid:s 5:apiVersion:s 6:resourceVersion:s 7:fieldPath:s
ResourceQuota 1:metadata:ObjectMeta 2:spec:ResourceQuotaSpec 3:status:-
ResourceQuotaSpec 1:hard:{}Quantity 2:scopes:[]s
Service 1:metadata:ObjectMeta 2:spec:ServiceSpec 3:status:-
ServiceSpec 1:ports:[]ServicePort 2:selector:{}s 3:clusterIP:s 18:clusterIPs:[]s 4:type:s 5:externalIPs:[]s
  7:sessionAffinity:s 8:loadBalancerIP:s 9:loadBalancerSourceRanges:[]s 10:externalName:s
  11:externalTrafficPolicy:s 12:healthCheckNodePort:i 13:publishNotReadyAddresses:b 19:ipFamilies:[]s
  17:ipFamilyPolicy:s 20:allocateLoadBalancerNodePorts:b 21:loadBalancerClass:s 22:internalTrafficPolicy:s
  23:trafficDistribution:s
ServicePort 1:name:s 2:protocol:s 6:appProtocol:s 3:port:i 4:targetPort:IntOrString 5:nodePort:i
Pod 1:metadata:ObjectMeta 2:spec:PodSpec 3:status:-
PodSpec 20:initContainers:[]Container 2:containers:[]Container 3:restartPolicy:s
  4:terminationGracePeriodSeconds:i! 5:activeDeadlineSeconds:i 6:dnsPolicy:s 7:nodeSelector:{}s
  8:serviceAccountName:s 9:serviceAccount:s 21:automountServiceAccountToken:b! 10:nodeName:s 11:hostNetwork:b
  12:hostPID:b 13:hostIPC:b 27:shareProcessNamespace:b 15:imagePullSecrets:[]LocalObjectReference 16:hostname:s
  17:subdomain:s 19:schedulerName:s 24:priorityClassName:s 25:priority:i 29:runtimeClassName:s
  30:enableServiceLinks:b 31:preemptionPolicy:s 32:overhead:{}Quantity 35:setHostnameAsFQDN:b 37:hostUsers:b
  40:resources:ResourceRequirements 41:hostnameOverride:s
PodTemplateSpec 1:metadata:ObjectMeta 2:spec:PodSpec
Container 1:name:s 2:image:s 3:command:[]s 4:args:[]s 5:workingDir:s 6:ports:[]ContainerPort 7:env:[]EnvVar
  8:resources:ResourceRequirements 24:restartPolicy:s 13:terminationMessagePath:s 20:terminationMessagePolicy:s
  14:imagePullPolicy:s 16:stdin:b 17:stdinOnce:b 18:tty:b
ContainerPort 1:name:s 2:hostPort:i 3:containerPort:i 4:protocol:s 5:hostIP:s
EnvVar 1:name:s 2:value:s
ResourceRequirements 1:limits:{}Quantity 2:requests:{}Quantity
Deployment 1:metadata:ObjectMeta 2:spec:DeploymentSpec 3:status:-
DeploymentSpec 1:replicas:i! 2:selector:LabelSelector 3:template:PodTemplateSpec 4:strategy:DeploymentStrategy
  5:minReadySeconds:i 6:revisionHistoryLimit:i 7:paused:b 9:progressDeadlineSeconds:i
DeploymentStrategy 1:type:s
Job 1:metadata:ObjectMeta 2:spec:JobSpec 3:status:-
JobSpec 1:parallelism:i! 2:completions:i! 3:activeDeadlineSeconds:i 7:backoffLimit:i! 12:backoffLimitPerIndex:i
  13:maxFailedIndexes:i 4:selector:LabelSelector 5:manualSelector:b 6:template:PodTemplateSpec
  8:ttlSecondsAfterFinished:i 9:completionMode:s 10:suspend:b 14:podReplacementPolicy:s 15:managedBy:s
PodDisruptionBudget 1:metadata:ObjectMeta 2:spec:PodDisruptionBudgetSpec 3:status:-
PodDisruptionBudgetSpec 1:minAvailable:IntOrString 2:selector:LabelSelector 3:maxUnavailable:IntOrString
  4:unhealthyPodEvictionPolicy:s
Eviction 1:metadata:ObjectMeta 2:deleteOptions:DeleteOptions
Role 1:metadata:ObjectMeta 2:rules:[]PolicyRule
RoleBinding 1:metadata:ObjectMeta 2:subjects:[]Subject 3:roleRef:RoleRef
ClusterRole 1:metadata:ObjectMeta 2:rules:[]PolicyRule
ClusterRoleBinding 1:metadata:ObjectMeta 2:subjects:[]Subject 3:roleRef:RoleRef
PolicyRule 1:verbs:[]s 2:apiGroups:[]s 3:resources:[]s 4:resourceNames:[]s 5:nonResourceURLs:[]s
Subject 1:kind:s 2:apiGroup:s 3:name:s 4:namespace:s
RoleRef 1:apiGroup:s 2:kind:s 3:name:s
PriorityClass 1:metadata:ObjectMeta 2:value:i! 3:globalDefault:b 4:description:s 5:preemptionPolicy:s
SelfSubjectAccessReview 1:metadata:ObjectMeta 2:spec:SelfSubjectAccessReviewSpec 3:status:-
SelfSubjectAccessReviewSpec 1:resourceAttributes:ResourceAttributes
  2:nonResourceAttributes:NonResourceAttributes
ResourceAttributes 1:namespace:s 2:verb:s 3:group:s 4:version:s 5:resource:s 6:subresource:s 7:name:s
NonResourceAttributes 1:path:s 2:verb:s
SelfSubjectRulesReview 1:metadata:ObjectMeta 2:spec:SelfSubjectRulesReviewSpec 3:status:-
SelfSubjectRulesReviewSpec 1:namespace:s
SelfSubjectReview 1:metadata:ObjectMeta 2:status:-
TokenRequest 1:metadata:ObjectMeta 2:spec:TokenRequestSpec 3:status:-
TokenRequestSpec 1:audiences:[]s 4:expirationSeconds:i! 3:boundObjectRef:BoundObjectReference
BoundObjectReference 1:kind:s 2:apiVersion:s 3:name:s 4:uid:s
"""
"""Type, then its fields: number, name, kind. Kinds: s text, i number, b boolean, y bytes, - not read, or another type;
before them ``[]`` for a list and ``{}`` for a map by text; after them ``!`` where zero is a value, too."""

Field = tuple[str, str]


def _parse(table: str) -> dict[str, dict[int, Field]]:
    types: dict[str, dict[int, Field]] = {}
    for line in table.replace("\n  ", " ").strip().splitlines():
        name, *fields = line.split()
        parts = [field.split(":") for field in fields]
        types[name] = {int(number): (field, kind) for number, field, kind in parts}
    return types


_TYPES = _parse(_TABLE)


def decode(body: bytes) -> dict[str, Any]:
    """Return the object in a body.

    :raises StatusError: 400 when it is torn, 415 for a type or field that is not read.
    """
    if body[:4] != _MAGIC:
        raise bad_request("the body is not in Kubernetes' Protocol Buffers envelope")
    try:
        envelope = dict(_fields(body[4:]))
        identity = dict(_fields(envelope[1]))
        api_version, kind = identity.get(1, b"").decode(), identity.get(2, b"").decode()
        if kind not in _TYPES:
            raise _unreadable(kind)
        return {"apiVersion": api_version, "kind": kind, **_message(kind, envelope.get(2, b""))}
    except (IndexError, KeyError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise bad_request(f"the body is no Protocol Buffers message: {error!r}") from None


def _unreadable(what: str) -> StatusError:
    message = (
        f"{what} can be read as JSON or YAML only: write it to a file (kubectl create … --dry-run=client -o yaml) and "
        "apply that"
    )
    return StatusError(415, "UnsupportedMediaType", message)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and raw value of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
                yield key >> 3, value
            case 2:
                size, at = _varint(data, at)
                if at + size > len(data):
                    raise IndexError("the message ends too early")
                yield key >> 3, data[at : at + size]
                at += size
            case other:
                raise TypeError(f"wire type {other}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _message(name: str, data: bytes) -> dict[str, Any]:
    """Return a message as its JSON would be: what is empty is left out."""
    known = _TYPES[name]
    obj: dict[str, Any] = {}
    for number, raw in _fields(data):
        if number not in known:
            if raw not in (b"", 0):
                raise _unreadable(f"field {number} of {name}")
            continue
        field, kind = known[number]
        if kind == "-":
            continue  # what a client says there, nobody reads
        if kind.startswith("[]"):
            obj.setdefault(field, []).append(_value(kind[2:], raw))
        elif kind.startswith("{}"):
            entry = dict(_fields(raw))
            obj.setdefault(field, {})[entry.get(1, b"").decode()] = _value(kind[2:], entry.get(2, b""))
        else:
            value = _value(kind.rstrip("!"), raw)
            if kind.endswith("!") or value not in ("", 0, False, None, {}):
                obj[field] = value
    return obj


def _value(kind: str, raw: Any) -> Any:
    match kind:
        case "s":
            value: Any = raw.decode()
        case "i":
            value = raw - (1 << 64) if raw >= 1 << 63 else raw
        case "b":
            value = bool(raw)
        case "y":
            value = base64.b64encode(raw).decode()
        case "Quantity":
            value = dict(_fields(raw)).get(1, b"").decode()
        case "IntOrString":
            parts = dict(_fields(raw))
            value = parts.get(3, b"").decode() if parts.get(1) else _value("i", parts.get(2, 0))
        case "Time":
            seconds = dict(_fields(raw)).get(1)
            value = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
        case _:
            value = _message(kind, raw)
    return value
