"""What the API offers: versions, groups and resources, as kubectl and client libraries look them up."""

from __future__ import annotations

from typing import Any

from airflow_provider_sparkml.local.api import reviews
from airflow_provider_sparkml.local.api.types import Registry, ResourceType

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+sparkml-local",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "local",
}


def groups(registry: Registry) -> dict[str, list[str]]:
    """Return the versions of every named group, the preferred one first."""
    found: dict[str, list[str]] = {}
    for kind in registry.all():
        if kind.api.group and kind.api.version not in found.setdefault(kind.api.group, []):
            found[kind.api.group].append(kind.api.version)
    for group, _ in reviews.KINDS:
        found[group] = ["v1"]
    return found


def api_versions() -> dict[str, Any]:
    """Return what ``/api`` answers."""
    return {"kind": "APIVersions", "versions": ["v1"]}


def group_list(registry: Registry) -> dict[str, Any]:
    """Return what ``/apis`` answers."""
    entries = [_group(name, versions) for name, versions in groups(registry).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": entries}


def group(registry: Registry, name: str) -> dict[str, Any] | None:
    """Return what ``/apis/<group>`` answers, ``None`` for an unknown one."""
    versions = groups(registry).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions else None


def _group(name: str, versions: list[str]) -> dict[str, Any]:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def resource_list(registry: Registry, name: str, version: str) -> dict[str, Any] | None:
    """Return what ``/apis/<group>/<version>`` answers, ``None`` for an unknown one."""
    resources: list[dict[str, Any]] = []
    for kind in registry.all():
        if (kind.api.group, kind.api.version) == (name, version):
            resources += _resources(kind)
    if version == "v1":
        resources += [
            {"name": plural, "singularName": review.lower(), "namespaced": False, "kind": review, "verbs": ["create"]}
            for (of, plural), review in reviews.KINDS.items()
            if of == name
        ]
    if not resources:
        return None
    group_version = f"{name}/{version}" if name else version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": sorted(resources, key=lambda resource: str(resource["name"])),
    }


def _resources(kind: ResourceType) -> list[dict[str, Any]]:
    """Return a type and its subresources as discovery lists them."""
    api = kind.api
    entry: dict[str, Any] = {
        "name": api.plural,
        "singularName": kind.singular,
        "namespaced": api.namespaced,
        "kind": api.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    found = [entry]
    subresources = list(kind.subresources)
    if kind.status:
        subresources.append(("status", api.kind, ("get", "patch", "update")))
    for name, of, verbs in subresources:
        sub = {"name": f"{api.plural}/{name}", "singularName": "", "namespaced": api.namespaced, "kind": of}
        found.append({**sub, "verbs": list(verbs)})
    if kind.scale:
        scale = {"name": f"{api.plural}/scale", "singularName": "", "namespaced": api.namespaced, "kind": "Scale"}
        found.append({**scale, "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"]})
    return found
