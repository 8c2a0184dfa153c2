"""The rights that the shipped roles give, one by one: group, resource and verb."""

from __future__ import annotations

from typing import Any

import yaml

from airflow_provider_sparkml.jobs.rights import ROLES

Triple = tuple[str, str, str]
"""API group, resource and verb."""


def _roles(file: str) -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((ROLES / f"{file}.yaml").read_text())
    return [document for document in documents if document["kind"] == "Role"]


def triples(file: str) -> set[Triple]:
    """Return the rights of a shipped file."""
    return {
        (group, resource, verb)
        for role in _roles(file)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def without(missing: Triple, *files: str) -> list[dict[str, Any]]:
    """Return the rules of shipped files but for one verb on one resource."""
    return [
        {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
        for file in files
        for group, resource, verb in sorted(triples(file))
        if (group, resource, verb) != missing
    ]


def rule(right: Triple) -> str:
    """Return a right as advice writes it."""
    group, resource, verb = right
    return f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: [{verb}]}}'


def to_add(missing: Triple) -> str:
    """Return what an error says is to be done."""
    return f"add {rule(missing)} to a Role"


def take_away(api_server: Any, namespace: str, file: str, missing: Triple) -> None:
    """Apply a shipped role anew, without one of its rights."""
    (role,) = _roles(file)
    api_server.grant(namespace, without(missing, file), role=role["metadata"]["name"])


__all__ = ["Triple", "rule", "take_away", "to_add", "triples", "without"]
