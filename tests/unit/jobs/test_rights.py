"""The shipped roles are what preflight asks for, right by right, and say which of them are optional."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
import yaml

from airflow_provider_sparkml.jobs.rights import (
    CLEANUP_RIGHTS,
    KUEUE,
    PREFLIGHT_RIGHTS,
    ROLES,
    SHARED_RIGHTS,
    STREAMING_RIGHTS,
    Right,
    rights_of,
)
from airflow_provider_sparkml.local.accounts import shipped
from airflow_provider_sparkml.resources.base import known_resources
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_apache import APACHE_SPARK_APPLICATION
from airflow_provider_sparkml.resources.spark_client import SPARK_CLIENT_POD

Triple = tuple[str, str, str]
"""API group, resource and verb."""


def of_kinds(*kinds: str) -> list[Right]:
    """Return the rights of kinds; of all others when the first is ``!``."""
    but = kinds[:1] == ("!",)
    return [right for each in known_resources() if (each.api.kind in kinds) is not but for right in rights_of(each)]


EXPECTED: dict[str, list[Right]] = {
    "airflow": [*rights_of(SPARK_APPLICATION), *SHARED_RIGHTS, *KUEUE],
    "spark_apache": [*rights_of(APACHE_SPARK_APPLICATION)],
    "spark_scheduled": of_kinds("ScheduledSparkApplication"),
    "spark_connect": of_kinds("SparkConnect"),
    "spark_cluster": of_kinds("SparkCluster"),
    "training": of_kinds(
        "!", "SparkApplication", "ScheduledSparkApplication", "SparkConnect", "SparkCluster", "InferenceService"
    ),
    "serving": of_kinds("InferenceService"),
    "preflight": [*PREFLIGHT_RIGHTS],
    "cleanup": [*CLEANUP_RIGHTS],
    "streaming": [*STREAMING_RIGHTS],
    "client_mode": [*rights_of(SPARK_CLIENT_POD)],
}


def triples(rights: Iterable[Right], *, optional: bool) -> set[Triple]:
    return {
        (right.api.group, right.resource, verb)
        for right in rights
        for verb in (right.optional if optional else right.verbs)
    }


def written(file: str, *, optional: bool) -> list[Triple]:
    """Return the rights that a file gives, by what the comment before each rule says of it."""
    text = (ROLES / f"{file}.yaml").read_text().partition("\nrules:\n")[2].partition("\n---\n")[0]
    found: list[Triple] = []
    for comment, body in re.findall(r"((?:  # .*\n)+)((?:  (?:- |  ).*(?:\n|$))+)", text):
        (rule,) = yaml.safe_load(body)
        if comment.startswith("  # optional") is optional:
            found += [(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]]
    return found


@pytest.mark.parametrize("file", EXPECTED)
@pytest.mark.parametrize("optional", [True, False])
def test_a_role_is_what_preflight_asks_for(file: str, optional: bool) -> None:
    given = written(file, optional=optional)
    assert set(given) == triples(EXPECTED[file], optional=optional)
    assert len(given) == len(set(given)), "each right is given once"


def test_every_rule_is_explained() -> None:
    for file in ROLES.glob("*.yaml"):
        (role,) = (each for each in yaml.safe_load_all(file.read_text()) if each["kind"] == "Role")
        rules = sum(len(r["apiGroups"]) * len(r["resources"]) * len(r["verbs"]) for r in role["rules"])
        assert len(written(file.stem, optional=True)) + len(written(file.stem, optional=False)) == rules


def test_no_role_goes_beyond_its_purpose() -> None:
    """No stars, no Secrets, no roles, nothing that runs a program in a pod; pods are for drivers and who makes them."""
    for manifest in shipped():
        if manifest["kind"] != "Role":
            continue
        assert "namespace" not in manifest["metadata"]
        for rule in manifest["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            assert not {"secrets", "roles", "rolebindings", "pods/exec", "pods/attach", "serviceaccounts/token"} & set(
                rule["resources"]
            )
            if "pods" in rule["resources"] and "create" in rule["verbs"]:
                assert manifest["metadata"]["name"] in ("spark", "airflow-client-mode")


def test_each_file_is_bound_to_its_account() -> None:
    files = {file.stem for file in ROLES.glob("*.yaml")}
    assert files == {*EXPECTED, "driver"}
    for file in files:
        documents = list(yaml.safe_load_all((ROLES / f"{file}.yaml").read_text()))
        by_kind = {each["kind"]: each for each in documents}
        assert by_kind["RoleBinding"]["roleRef"]["name"] == by_kind["Role"]["metadata"]["name"]
        (subject,) = by_kind["RoleBinding"]["subjects"]
        assert subject == {"kind": "ServiceAccount", "name": "spark" if file == "driver" else "airflow"}
