"""Who may do what: Roles, ClusterRoles and their bindings, evaluated at each request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from airflow_provider_sparkml.local.api.call import Call, Target, User
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.status import StatusError
from airflow_provider_sparkml.local.store import Record

GROUP = "rbac.authorization.k8s.io"
"""API group of roles and bindings."""

Rule = dict[str, Any]

_NAMED = re.compile(r"(?:^|,)metadata\.name==?([^,=!]+)(?:,|$)")

EVERYBODY: tuple[Rule, ...] = (
    {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]},
)
"""What even the anonymous user may do (``system:public-info-viewer``)."""

AUTHENTICATED: tuple[Rule, ...] = (
    {"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]},
    {
        "verbs": ["create"],
        "apiGroups": ["authorization.k8s.io"],
        "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    },
    {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
)
"""What everybody with a token may do (``system:discovery`` and ``system:basic-user``)."""


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody wants to do.

    :param verb: ``get``, ``list``, ``create`` …
    :param resource: with the subresource: ``pods/log``; empty for a plain path.
    :param path: the plain path.
    """

    verb: str
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


def access_of(verb: str, target: Target) -> Access:
    """Return what a request for a resource wants."""
    resource = f"{target.plural}/{target.subresource}" if target.subresource else target.plural
    return Access(verb, target.group, resource, target.namespace, target.name)


def authorize(cluster: Cluster, call: Call) -> None:
    """Refuse what the user may not do.

    :raises StatusError: 403, in the words of a real server.
    """
    access = access_of(call.verb, call.target)
    if (
        call.verb in ("list", "watch")
        and not access.name
        and (named := _NAMED.search(call.query.get("fieldSelector", "")))
    ):
        # So a rule with resourceNames allows to list, or watch, that one object (``RequestInfoFactory``).
        access = replace(access, name=named[1])
    if allowed(cluster, call.user, access):
        return
    raise refusal(call.user, access, call.target.plural)


def refusal(user: User, access: Access, plural: str) -> StatusError:
    """Return the 403 of a real server.

    :param plural: the resource without its subresource.
    """
    group, name = access.group, access.name
    full = f"{plural}.{group}" if group else plural
    where = f' in the namespace "{access.namespace}"' if access.namespace else " at the cluster scope"
    subject = f'{full} "{name}"' if name else full
    message = (
        f'{subject} is forbidden: User "{user.name}" cannot {access.verb} resource "{access.resource}" in API group '
        f'"{group}"{where}'
    )
    details = {"name": name, "group": group, "kind": plural}
    return StatusError(403, "Forbidden", message, {key: value for key, value in details.items() if value})


def authorize_path(cluster: Cluster, user: User, verb: str, path: str) -> None:
    """Refuse a plain path that the user may not read.

    :raises StatusError: 403.
    """
    if not allowed(cluster, user, Access(verb, path=path)):
        message = f'forbidden: User "{user.name}" cannot {verb} path "{path}"'
        raise StatusError(403, "Forbidden", message, {})


def allowed(cluster: Cluster, user: User, access: Access) -> bool:
    """Return whether a user may do something."""
    if "system:masters" in user.groups:
        return True
    return any(permits(rule, access) for rule in rules_of(cluster, user, access.namespace))


def rules_of(cluster: Cluster, user: User, namespace: str) -> Iterator[Rule]:
    """Yield every rule that applies to a user in a namespace; without one, cluster-wide."""
    yield from EVERYBODY
    if "system:authenticated" in user.groups:
        yield from AUTHENTICATED
    if "system:masters" in user.groups:
        yield {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        yield {"verbs": ["*"], "nonResourceURLs": ["*"]}
    for record in cluster.store.select(f"{GROUP}/clusterrolebindings", None):
        binding = _parsed(record.data)
        if _binds(binding, user, ""):
            yield from role_rules(cluster, binding["roleRef"], "")
    if namespace:
        for record in cluster.store.select(f"{GROUP}/rolebindings", namespace):
            binding = _parsed(record.data)
            if _binds(binding, user, namespace):
                yield from role_rules(cluster, binding["roleRef"], namespace)


def _binds(binding: dict[str, Any], user: User, namespace: str) -> bool:
    """Return whether a binding is about a user."""
    for subject in binding.get("subjects") or ():
        match subject["kind"]:
            case "User":
                found = subject["name"] == user.name
            case "Group":
                found = subject["name"] in user.groups
            case _:
                where = subject.get("namespace") or namespace
                found = user.name == f"system:serviceaccount:{where}:{subject['name']}"
        if found:
            return True
    return False


def role_rules(cluster: Cluster, role: dict[str, str], namespace: str) -> list[Rule]:
    """Return the rules of the role that a binding names; none of one that is not there.

    :param namespace: of the binding.
    """
    record: Record | None
    if role["kind"] == "ClusterRole":
        record = cluster.store.get(f"{GROUP}/clusterroles", "", role["name"])
    else:
        record = cluster.store.get(f"{GROUP}/roles", namespace, role["name"])
    return (_parsed(record.data).get("rules") or []) if record else []


@lru_cache(maxsize=1024)
def _parsed(data: bytes) -> dict[str, Any]:
    """Return a role or binding, for reading only; its JSON is the key, so a changed one is parsed anew."""
    obj: dict[str, Any] = json.loads(data)
    return obj


def permits(rule: Rule, access: Access) -> bool:
    """Return whether a rule allows something."""
    if not _contains(rule.get("verbs") or (), access.verb):
        return False
    if access.path:
        return any(_path_matches(pattern, access.path) for pattern in rule.get("nonResourceURLs") or ())
    if not _contains(rule.get("apiGroups") or (), access.group):
        return False
    names = rule.get("resourceNames")
    if names and access.name not in names:
        return False
    resources = rule.get("resources") or ()
    _, slash, subresource = access.resource.partition("/")
    return _contains(resources, access.resource) or bool(slash and f"*/{subresource}" in resources)


def _contains(values: list[str] | tuple[str, ...], value: str) -> bool:
    return "*" in values or value in values


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
