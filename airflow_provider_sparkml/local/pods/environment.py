"""A container's environment variables, command and arguments, as a kubelet computes them from the pod."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import ROUND_CEILING, Decimal

from airflow_provider_sparkml.exceptions import LocalClusterError
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import parse_quantity

Lookup = Callable[[str, str], Awaitable[Manifest | None]]
"""Kind (``ConfigMap`` or ``Secret``) and name → the object of the pod's namespace, or ``None``."""

REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.\-][\w.\-]*)\)")
SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ContainerConfigError(LocalClusterError):
    """A container cannot be made from its spec: a ConfigMap, a Secret or a key of one is missing."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by its value; ``$$`` stands for ``$``, an unknown name stays as it is."""

    def value(match: re.Match[str]) -> str:
        if match.group() == "$$":
            return "$"
        return env.get(match.group(1), match.group())

    return REFERENCE.sub(value, text)


async def container_env(pod: Manifest, container: Manifest, base: Mapping[str, str], lookup: Lookup) -> dict[str, str]:
    """Return a container's variables: those of the image and the node, then ``envFrom``, then ``env``.

    :param pod: the pod with ``status.podIP`` set.
    :param base: variables of the image and the node; the pod's own win.
    :raises ContainerConfigError: when something that is not optional is missing.
    """
    env = dict(base)
    for source in container.get("envFrom") or ():
        kind, reference = _reference(source, "configMapRef", "secretRef")
        data = await _data(lookup, kind, reference)
        env |= {source.get("prefix", "") + name: value for name, value in (data or {}).items()}
    for variable in container.get("env") or ():
        name, source = variable["name"], variable.get("valueFrom")
        if source is None:
            env[name] = expand(variable.get("value") or "", env)
        elif (found := await _value_from(pod, container, source, lookup)) is not None:
            env[name] = found
    return env


async def _value_from(pod: Manifest, container: Manifest, source: Manifest, lookup: Lookup) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_value(pod, container, source["resourceFieldRef"])
    kind, reference = _reference(source, "configMapKeyRef", "secretKeyRef")
    data = await _data(lookup, kind, reference)
    if data is None:
        return None
    if reference["key"] in data:
        return data[reference["key"]]
    if reference.get("optional"):
        return None
    namespace = pod["metadata"].get("namespace", "default")
    raise ContainerConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")


def _reference(source: Manifest, config_map: str, secret: str) -> tuple[str, Manifest]:
    if config_map in source:
        return "ConfigMap", source[config_map]
    if secret in source:
        return "Secret", source[secret]
    raise ContainerConfigError(f"the local cluster does not know the source {', '.join(source)} of a variable")


async def _data(lookup: Lookup, kind: str, reference: Manifest) -> dict[str, str] | None:
    found = await lookup(kind, reference["name"])
    if found is not None:
        return {key: value.decode(errors="replace") for key, value in object_data(found).items()}
    if reference.get("optional"):
        return None
    raise ContainerConfigError(f'{kind.lower()} "{reference["name"]}" not found')


def object_data(obj: Manifest) -> dict[str, bytes]:
    """Return the content of a ConfigMap or a Secret."""
    if obj["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    text = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def field_value(pod: Manifest, path: str) -> str:
    """Return what the downward API gives for a field of the pod.

    https://kubernetes.io/docs/concepts/workloads/pods/downward-api/

    :raises ContainerConfigError: for a field that it does not offer.
    """
    meta, status = pod["metadata"], pod.get("status") or {}
    if match := SUBSCRIPT.fullmatch(path):
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = meta.get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    known = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta.get("namespace", "default"),
        "metadata.uid": meta["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": status.get("podIP", ""),
        "status.podIPs": status.get("podIP", ""),
        "status.hostIP": status.get("hostIP", ""),
        "status.hostIPs": status.get("hostIP", ""),
    }
    if path not in known:
        raise ContainerConfigError(f"fieldPath {path!r} is not offered by the downward API")
    return str(known[path])


def resource_value(pod: Manifest, container: Manifest, reference: Manifest) -> str:
    """Return a limit or request of a container in units of ``divisor``, rounded up.

    :raises ContainerConfigError: when the container has no such limit or request.
    """
    name = reference.get("containerName") or container["name"]
    containers = [*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]]
    resources = next((each.get("resources") or {} for each in containers if each["name"] == name), {})
    kind, _, resource = reference["resource"].partition(".")
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None:
        raise ContainerConfigError(f"container {name!r} has no {reference['resource']} to give to a variable")
    divisor = parse_quantity(str(reference.get("divisor") or "0"), "divisor") or Decimal(1)
    return str((parse_quantity(str(amount), reference["resource"]) / divisor).to_integral_value(ROUND_CEILING))
