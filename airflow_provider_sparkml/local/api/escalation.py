"""Nobody gives away rights that are not his own: what a new role, or a new binding, may grant.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
"""

from __future__ import annotations

from itertools import product
from typing import Any

from airflow_provider_sparkml.local.api.call import User
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.rbac import GROUP, Access, Rule, allowed, permits, role_rules, rules_of
from airflow_provider_sparkml.local.api.status import forbidden
from airflow_provider_sparkml.local.api.types import ResourceType
from airflow_provider_sparkml.resources.base import Manifest

_ROLES = {"Role": "roles", "ClusterRole": "clusterroles"}


def check_escalation(cluster: Cluster, kind: ResourceType, user: User, obj: Manifest, old: Manifest | None) -> None:
    """Refuse a role or a binding that grants what its author may not do; the verbs ``escalate`` and ``bind`` lift that.

    :param obj: the object to be stored.
    :param old: what it replaces.
    :raises StatusError: 403, naming the rights.
    """
    if kind.api.group != GROUP or "system:masters" in user.groups:
        return
    name, namespace = obj["metadata"]["name"], obj["metadata"].get("namespace", "")
    if kind.api.kind in _ROLES:
        granted = obj.get("rules") or []
        if old is not None and granted == (old.get("rules") or []):
            return
        lifts = Access("escalate", GROUP, kind.api.plural, namespace, name)
    else:
        role = obj["roleRef"]
        if old is not None and obj.get("subjects") == old.get("subjects"):
            return
        granted = role_rules(cluster, role, namespace)
        where = namespace if role["kind"] == "Role" else ""
        lifts = Access("bind", GROUP, _ROLES[role["kind"]], where or namespace, role["name"])
    if allowed(cluster, user, lifts):
        return
    held = list(rules_of(cluster, user, namespace))
    missing = [part for rule in granted for part in _parts(rule) if not any(permits(own, part) for own in held)]
    if missing:
        told = "\n".join(dict.fromkeys(_told(access) for access in missing))
        groups = " ".join(f'"{group}"' for group in user.groups)
        raise forbidden(
            kind.api,
            name,
            f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:'
            f"\n{told}",
        )


def _parts(rule: Rule) -> list[Access]:
    """Return every single right that a rule gives; a star is a right of its own, which only a star covers."""
    verbs = rule.get("verbs") or []
    if rule.get("nonResourceURLs"):
        return [Access(verb, path=path) for verb, path in product(verbs, rule["nonResourceURLs"])]
    names = rule.get("resourceNames") or [""]
    return [
        Access(verb, group, resource, name=name)
        for verb, group, resource, name in product(
            verbs, rule.get("apiGroups") or [], rule.get("resources") or [], names
        )
    ]


def _told(access: Access) -> str:
    """Return one missing right as a real server writes it."""
    shown: dict[str, Any] = {"APIGroups": access.group, "Resources": access.resource, "ResourceNames": access.name}
    if access.path:
        shown = {"NonResourceURLs": access.path}
    elif not access.name:
        del shown["ResourceNames"]
    parts = [f'{key}:["{value}"]' for key, value in {**shown, "Verbs": access.verb}.items()]
    return f"{{{', '.join(parts)}}}"
