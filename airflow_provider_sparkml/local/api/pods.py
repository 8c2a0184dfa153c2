"""Pods and pod templates: the defaults a real server fills in, and the rules it checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.local.api.metadata import dns_label
from airflow_provider_sparkml.local.api.status import (
    Cause,
    bad_value,
    duplicate,
    field_forbidden,
    not_supported,
    required,
)
from airflow_provider_sparkml.resources.base import Manifest
from airflow_provider_sparkml.resources.quantities import parse_quantity

_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MUTABLE = frozenset({"activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"})
"""Parts of a pod's spec that may change while it is there; of its containers the image alone."""


def fill_pod(pod: Manifest) -> None:
    """Put the defaults of a pod in; it is ``Pending`` from the first moment, which Spark relies on."""
    fill_pod_spec(pod.setdefault("spec", {}))
    spec = pod["spec"]
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    spec.setdefault("enableServiceLinks", True)
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", qos_class(spec))


def fill_pod_spec(spec: dict[str, Any]) -> None:
    """Put the defaults of a pod's spec in."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        _fill_container(container)


def _fill_container(container: dict[str, Any]) -> None:
    container.setdefault("resources", {})
    resources = container["resources"]
    if resources.get("limits"):
        requests = resources.setdefault("requests", {})
        for name, quantity in resources["limits"].items():
            requests.setdefault(name, quantity)
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    name = (container.get("image") or "").rpartition("/")[2]
    latest = "@" not in name and name.partition(":")[2] in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe):
            _fill_probe(container[probe])


def _fill_probe(probe: dict[str, Any]) -> None:
    for name, value in {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}.items():
        probe.setdefault(name, value)
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")
        probe["httpGet"].setdefault("scheme", "HTTP")


def qos_class(spec: dict[str, Any]) -> str:
    """Return the quality-of-service class that a spec's requests and limits make."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    resources = [container.get("resources") or {} for container in containers]
    if not any(each.get("limits") or each.get("requests") for each in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= (each.get("limits") or {}).keys() and each.get("requests") == each.get("limits")
        for each in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def check_pod(pod: Manifest, old: Manifest | None) -> list[Cause]:
    """Return what is wrong with a pod, or with a change of one."""
    if old is not None:
        return _check_change(pod["spec"], old["spec"])
    return check_pod_spec(pod["spec"], "spec")


def check_pod_spec(spec: dict[str, Any], path: str) -> list[Cause]:
    """Return what is wrong with a pod's spec.

    :param path: where it stands.
    """
    causes: list[Cause] = []
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    if spec["restartPolicy"] not in _RESTART_POLICIES:
        causes.append(not_supported(f"{path}.restartPolicy", spec["restartPolicy"], _RESTART_POLICIES))
    volumes = [volume.get("name", "") for volume in spec.get("volumes") or ()]
    causes += _check_names(volumes, f"{path}.volumes")
    names: list[str] = []
    for part in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(part) or ()):
            here = f"{path}.{part}[{index}]"
            causes += _check_container(container, here, set(volumes))
            if container.get("name") in names:
                causes.append(duplicate(f"{here}.name", container["name"]))
            names.append(container.get("name", ""))
    return causes


def _check_names(names: list[str], path: str) -> Iterable[Cause]:
    for index, name in enumerate(names):
        here = f"{path}[{index}].name"
        if not name:
            yield required(here)
        elif name in names[:index]:
            yield duplicate(here, name)
        else:
            yield from dns_label(here, name)


def _check_container(container: dict[str, Any], path: str, volumes: set[str]) -> Iterable[Cause]:
    if not container.get("name"):
        yield required(f"{path}.name")
    else:
        yield from dns_label(f"{path}.name", container["name"])
    if not container.get("image"):
        yield required(f"{path}.image")
    if container["imagePullPolicy"] not in _PULL_POLICIES:
        yield not_supported(f"{path}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES)
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if number is None:
            yield required(f"{path}.ports[{index}].containerPort")
        elif not isinstance(number, int) or not 0 < number < 65536:
            field = f"{path}.ports[{index}].containerPort"
            yield bad_value(field, number, "must be between 1 and 65535, inclusive")
    for index, variable in enumerate(container.get("env") or ()):
        if not variable.get("name"):
            yield required(f"{path}.env[{index}].name")
        if variable.get("value") and variable.get("valueFrom"):
            detail = "may not be specified when `value` is not empty"
            yield bad_value(f"{path}.env[{index}].valueFrom", "", detail)
    yield from _check_mounts(container, path, volumes)
    yield from _check_resources(container.get("resources") or {}, f"{path}.resources")


def _check_mounts(container: dict[str, Any], path: str, volumes: set[str]) -> Iterable[Cause]:
    mounted: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        here = f"{path}.volumeMounts[{index}]"
        if mount.get("name") not in volumes:
            yield Cause("FieldValueNotFound", f"{here}.name", f'Not found: "{mount.get("name", "")}"')
        if not mount.get("mountPath"):
            yield required(f"{here}.mountPath")
        elif mount["mountPath"] in mounted:
            yield bad_value(f"{here}.mountPath", mount["mountPath"], "must be unique")
        mounted.add(mount.get("mountPath", ""))


def _check_resources(resources: dict[str, Any], path: str) -> Iterable[Cause]:
    amounts: dict[str, dict[str, Any]] = {}
    for part in ("limits", "requests"):
        amounts[part] = {}
        for name, text in (resources.get(part) or {}).items():
            here = f"{path}.{part}[{name}]"
            if part == "requests" and text == (resources.get("limits") or {}).get(name):
                continue  # a request that was not given is the limit
            try:
                amounts[part][name] = parse_quantity(str(text), here)
            except InvalidManifestError as error:
                yield bad_value(here, text, str(error))
    for name, amount in amounts["requests"].items():
        limit = amounts["limits"].get(name)
        if limit is not None and amount > limit:
            detail = f"must be less than or equal to {name} limit of {resources['limits'][name]}"
            yield bad_value(f"{path}.requests", resources["requests"][name], detail)


def _check_change(new: dict[str, Any], old: dict[str, Any]) -> list[Cause]:
    """Refuse changes of a pod's spec beyond the few that are allowed; binding to a node is one."""

    def fixed(spec: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in spec.items() if name not in _MUTABLE}
        for part in ("containers", "initContainers"):
            if part in kept:
                kept[part] = [{k: v for k, v in each.items() if k != "image"} for each in kept[part]]
        if not old.get("nodeName"):
            kept.pop("nodeName", None)
        return kept

    if fixed(new) == fixed(old):
        return []
    detail = (
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
        "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
        "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
    )
    return [field_forbidden("spec", detail)]


def check_template(template: dict[str, Any], path: str) -> list[Cause]:
    """Return what is wrong with a pod template."""
    return check_pod_spec(template["spec"], f"{path}.spec")


def fill_template(template: dict[str, Any]) -> None:
    """Put the defaults of a pod template in."""
    template.setdefault("metadata", {})
    fill_pod_spec(template.setdefault("spec", {}))
