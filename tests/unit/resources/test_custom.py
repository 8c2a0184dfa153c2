"""Conditions of any kind, in kubectl's words: what they mean, what is refused, and what an XCom gets of an object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import ApiResource, Phase
from airflow_provider_sparkml.resources.custom import OBJECT_BYTES, Expectation, Rules, bounded, checked_conditions

WIDGET = ApiResource("example.test", "v1", "widgetry", "Widget")


def widget(generation: int = 1, **status: Any) -> dict[str, Any]:
    metadata = {"name": "w", "uid": "u", "generation": generation, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "example.test/v1", "kind": "Widget", "metadata": metadata, "spec": {}, "status": status}


def ready(status: str = "True", **more: Any) -> dict[str, Any]:
    return {"type": "Ready", "status": status, **more}


def is_met(text: str, obj: dict[str, Any]) -> bool:
    return Expectation.parse("success", text).met_by(obj) is not None


@pytest.mark.parametrize(
    ("text", "status", "met"),
    [
        ("condition=Ready", {"conditions": [ready()]}, True),
        ("condition=ready=true", {"conditions": [ready()]}, True),
        ("condition=Ready", {"conditions": [ready("False")]}, False),
        ("condition=Ready=false", {"conditions": [ready("False")]}, True),
        ("condition=Ready=Unknown", {"conditions": [ready("Unknown")]}, True),
        ("condition=Ready", {"conditions": [ready(observedGeneration=1)]}, False),
        ("condition=Ready", {"observedGeneration": 1, "conditions": [ready()]}, False),
        ("condition=Ready", {"observedGeneration": 1, "conditions": [ready(observedGeneration=2)]}, True),
        ("condition=Ready", {}, False),
        ("{.status.phase}=Done", {"phase": "Done"}, True),
        ("jsonpath={.status.phase}=Done", {"phase": "Done"}, True),
        ("{status.phase}=Done", {"phase": "Done"}, True),
        ("{.status.phase}=Done", {"phase": "Doing"}, False),
        ("{.status.phase}=Done", {}, False),
        ("{.status.url}", {"url": "http://x"}, True),
        ("{.status.url}", {}, False),
        ("{.status.ready}=true", {"ready": True}, True),
        ("{.status.replicas}=3", {"replicas": 3}, True),
        ("{.status.replicas}=3", {"replicas": 30}, False),
        ('{.status.conditions[?(@.type=="Ready")].status}=True', {"conditions": [ready()]}, True),
        ("{.status.parts[*].state}=up", {"parts": [{"state": "down"}, {"state": "up"}]}, True),
        ("{.status['a.b']}=1", {"a.b": "1"}, True),
        ("{.status.phase}=a=b", {"phase": "a=b"}, True),
        ("{.metadata.name}=w", {}, True),
    ],
)
def test_what_meets_a_condition(text: str, status: dict[str, Any], met: bool) -> None:
    assert is_met(text, widget(generation=2, **status)) is met


@pytest.mark.parametrize(
    "text",
    ["", "Ready", "condition=", "condition=Ready=", ".status.phase=Done", "{}", "{.status.[}=x", "{.status.a", 7,
     "{.status.phase[?(}=x", "{.spec.replicas}=1", "{.status.a\\.b}=1", "{.statusx}=1"],
)  # fmt: skip
def test_a_bad_condition_is_refused_with_field_value_and_fix(text: Any) -> None:
    with pytest.raises(InvalidManifestError) as refused:
        checked_conditions(["condition=Ready"], [text])
    message = str(refused.value)
    assert message.startswith(f"failure is {text!r}")
    assert any(fix in message for fix in ("write condition=Ready", "must begin with .status", "write ['a.b']"))


@pytest.mark.parametrize("none", [(), [], None])
def test_success_has_to_be_told(none: Any) -> None:
    with pytest.raises(InvalidManifestError, match=r"^success is "):
        checked_conditions(none, ())


@given(st.text())
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        expected = Expectation.parse("success", text)
    except InvalidManifestError:
        return
    expected.met_by(widget(phase="x"))


RULES = Rules(WIDGET, ("condition=Ready", "{.status.phase}=Done"), ("condition=Failed", "{.status.phase}=Broken"))


@pytest.mark.parametrize(
    ("status", "phase", "state"),
    [
        ({}, Phase.PENDING, ""),
        ({"phase": "Doing"}, Phase.RUNNING, "Doing"),
        ({"observedGeneration": 1}, Phase.RUNNING, "Unknown"),
        ({"conditions": [ready()]}, Phase.SUCCEEDED, "Ready"),
        ({"phase": "Done"}, Phase.SUCCEEDED, "Done"),
        ({"phase": "Broken"}, Phase.FAILED, "Broken"),
        ({"phase": "Done", "conditions": [{"type": "Failed", "status": "True"}]}, Phase.FAILED, "Done"),
    ],
)
def test_a_verdict(status: dict[str, Any], phase: Phase, state: str) -> None:
    verdict = RULES.resource().read(widget(**status))
    assert (verdict.phase, verdict.state) == (phase, state)
    assert verdict.pending_since == "2026-01-01T00:00:00Z"


def test_what_is_suspended_is_queued() -> None:
    obj = widget(phase="Doing") | {"spec": {"suspend": True}}
    assert RULES.resource().read(obj).phase is Phase.QUEUED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["conditions", "phase", "type", "status", "runPolicy", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(status=JSON, spec=JSON, generation=JSON)
def test_any_object_gives_a_verdict(status: Any, spec: Any, generation: Any) -> None:
    obj = widget() | {"status": status, "spec": spec}
    obj["metadata"]["generation"] = generation
    assert RULES.resource().read(obj).phase in Phase


def test_a_failure_says_why() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "Bad", "message": "no disk", "lastTransitionTime": "t"}
    verdict = RULES.resource().read(widget(conditions=[failed]))
    assert (verdict.reason, verdict.message, verdict.finished_at) == ("Bad", "no disk", "t")
    assert RULES.resource().read(widget(phase="Broken")).message == "{.status.phase}=Broken is met"
    assert RULES.resource().read(widget(phase="Broken", message="cracked")).message == "cracked"


def test_rules_survive_storing() -> None:
    assert Rules.from_json(json.loads(json.dumps(RULES.to_json()))) == RULES


def test_an_object_in_an_xcom_is_bounded() -> None:
    small = widget(phase="Done")
    small["metadata"] |= {
        "managedFields": [{}], "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}
    }  # fmt: skip
    told = bounded(small)
    assert "managedFields" not in told["metadata"]
    assert told["metadata"]["annotations"] == {"a": "b"}
    assert told["status"] == {"phase": "Done"}
    assert "managedFields" in small["metadata"], "the object itself is not changed"
    large = bounded(widget(phase="Done") | {"data": {"k": "x" * OBJECT_BYTES}})
    assert large["omitted"] == ["data"]
    assert large["status"] == {"phase": "Done"}
    annotated = widget(phase="Done")
    annotated["metadata"]["annotations"] = {"k": "x" * OBJECT_BYTES}
    assert bounded(annotated)["metadata"] == {"name": "w", "uid": "u"}
