"""CustomResourceDefinitions that users bring: served, validated and cleaned up like on any cluster."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CRDS = Path(__file__).parents[2].parent / "shared" / "crds"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = "application/merge-patch+json"

Send = Callable[..., tuple[int, Any]]


def definition(plural: str, **schema: Any) -> dict[str, Any]:
    """Return the definition of a type with two versions, a status and a scale."""
    version = {
        "served": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": schema}},
        "subresources": {
            "status": {},
            "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
        },
        "additionalPrinterColumns": [{"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": plural[:-1], "kind": plural[:-1].title(), "shortNames": ["th"]},
            "versions": [
                {**copy.deepcopy(version), "name": "v1", "storage": True},
                {**copy.deepcopy(version), "name": "v1alpha1", "storage": False},
            ],
        },
    }


@pytest.fixture
def send(api_server: Any) -> Send:
    return api_server.request  # type: ignore[no-any-return]


@pytest.fixture
def things(send: Send, namespace: str) -> Iterator[str]:
    """A type of the test's own; the path of its collection."""
    plural = f"things{namespace.replace('-', '')}s"
    spec = {
        "type": "object",
        "required": ["replicas"],
        "properties": {
            "replicas": {"type": "integer", "minimum": 0},
            "mode": {"type": "string", "default": "fast", "enum": ["fast", "slow"]},
        },
    }
    status = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    made, answer = send("POST", DEFINITIONS, definition(plural, spec=spec, status=status))
    assert made == 201, answer
    yield f"/apis/example.com/v1/namespaces/{namespace}/{plural}"
    send("DELETE", f"{DEFINITIONS}/{plural}.example.com")


def thing(things: str, name: str = "a", **spec: Any) -> dict[str, Any]:
    kind = things.rpartition("/")[2][:-1].title()
    return {"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": name}, "spec": {"replicas": 1, **spec}}


def test_a_definition_is_established_and_discovered(send: Send, things: str) -> None:
    plural = things.rpartition("/")[2]
    _, made = send("GET", f"{DEFINITIONS}/{plural}.example.com")
    assert {each["type"]: each["status"] for each in made["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    _, listed = send("GET", "/apis/example.com/v1")
    assert {f"{plural}{part}" for part in ("", "/status", "/scale")} <= {each["name"] for each in listed["resources"]}
    _, document = send("GET", "/openapi/v3/apis/example.com/v1")
    assert f"com.example.v1.{plural[:-1].title()}" in document["components"]["schemas"]


def test_its_schema_is_enforced(send: Send, things: str) -> None:
    status, made = send("POST", things, thing(things))
    assert (status, made["spec"]) == (201, {"replicas": 1, "mode": "fast"})
    assert send("POST", things, thing(things, "b", mode="odd"))[0] == 422
    assert send("POST", things, thing(things, "c", replicas=-1))[0] == 422
    assert send("POST", f"{things}?fieldValidation=Strict", thing(things, "d", typo=1))[0] == 400


def test_each_version_shows_the_same_objects(send: Send, things: str) -> None:
    send("POST", things, thing(things))
    older = things.replace("/v1/", "/v1alpha1/")
    _, shown = send("GET", f"{older}/a")
    assert shown["apiVersion"] == "example.com/v1alpha1"
    _, listed = send("GET", older)
    assert [item["apiVersion"] for item in listed["items"]] == ["example.com/v1alpha1"]
    _, changed = send("PATCH", f"{older}/a", {"spec": {"mode": "slow"}}, content_type=MERGE)
    assert changed["apiVersion"] == "example.com/v1alpha1"
    assert send("GET", f"{things}/a")[1]["spec"]["mode"] == "slow"


def test_its_scale(send: Send, things: str) -> None:
    send("POST", things, thing(things))
    status, scale = send("PATCH", f"{things}/a/scale", {"spec": {"replicas": 4}}, content_type=MERGE)
    assert (status, scale["spec"]["replicas"]) == (200, 4)
    assert send("GET", f"{things}/a")[1]["spec"]["replicas"] == 4
    assert send("PATCH", f"{things}/a/scale", {"spec": {"replicas": -4}}, content_type=MERGE)[0] == 400


def test_a_definition_goes_with_its_objects(send: Send, things: str) -> None:
    plural = things.rpartition("/")[2]
    held = thing(things, "held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    send("POST", things, held)
    send("POST", things, thing(things, "free"))
    assert send("DELETE", f"{DEFINITIONS}/{plural}.example.com?propagationPolicy=Background")[0] == 200
    assert send("GET", f"{things}/free")[0] == 404
    assert "deletionTimestamp" in send("GET", f"{things}/held")[1]["metadata"]
    assert send("GET", f"{DEFINITIONS}/{plural}.example.com")[0] == 200
    send("PATCH", f"{things}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert send("GET", f"{DEFINITIONS}/{plural}.example.com")[0] == 404
    assert send("GET", things) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metadata": {"name": "wrong"}}, "metadata.name"),
        ({"spec": {"scope": "Everywhere"}}, "spec.scope"),
        ({"spec": {"versions": []}}, "spec.versions"),
        ({"spec": {"group": ""}}, "spec.group"),
    ],
)
def test_an_invalid_definition_is_refused(send: Send, change: dict[str, Any], field: str) -> None:
    body = definition("oddities")
    for part, values in change.items():
        body[part] |= values
    status, answer = send("POST", DEFINITIONS, body)
    assert status == 422, answer
    assert field in [cause["field"] for cause in answer["details"]["causes"]]


@pytest.mark.skipif(not CRDS.exists(), reason="upstream's definitions are not here: no ../shared/crds")
def test_upstream_definitions_are_taken_as_they_are(start_api_server: Callable[..., Any]) -> None:
    server = start_api_server()
    taken = 0
    for path in sorted(CRDS.glob("*.yaml")):
        for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader):
            name = document["metadata"]["name"]
            query = "?fieldManager=kubectl&force=true"
            body = yaml.dump(document, Dumper=yaml.CSafeDumper).encode()
            path_ = f"{DEFINITIONS}/{name}{query}"
            status, answer = server.request("PATCH", path_, body, content_type="application/apply-patch+yaml")
            assert status in (200, 201), (path.name, answer)
            group, plural = document["spec"]["group"], document["spec"]["names"]["plural"]
            version = next(each["name"] for each in document["spec"]["versions"] if each.get("served"))
            assert server.request("GET", f"/apis/{group}/{version}/{plural}")[0] == 200
            taken += 1
    assert taken >= 16
    path_ = "/apis/sparkoperator.k8s.io/v1beta2/namespaces/default/sparkapplications"
    wrong = {
        "apiVersion": "sparkoperator.k8s.io/v1beta2",
        "kind": "SparkApplication",
        "metadata": {"name": "a"},
        "spec": {"type": "Pyton"},
    }
    status, answer = server.request("POST", path_, wrong)
    assert status == 422, "upstream's own schema now counts"
    assert "spec.type" in [cause["field"] for cause in answer["details"]["causes"]]
