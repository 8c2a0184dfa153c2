"""Selectors, by kubernetes' own rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.api.selectors import (
    from_label_selector,
    parse_fields,
    parse_labels,
    selector_text,
)
from airflow_provider_sparkml.local.api.status import StatusError

LABELS = {"env": "prod", "tier": "web", "count": "5", "example.com/role": "driver"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("env=prod", True),
        ("env==prod", True),
        ("env=dev", False),
        ("env!=dev", True),
        ("env!=prod", False),
        ("absent!=x", True),
        ("env in (dev, prod)", True),
        ("env in (dev)", False),
        ("env notin (dev)", True),
        ("absent notin (dev)", True),
        ("env", True),
        ("absent", False),
        ("!absent", True),
        ("!env", False),
        ("count>4", True),
        ("count<5", False),
        ("env>4", False),
        ("example.com/role=driver,env=prod", True),
        ("example.com/role=driver,env=dev", False),
        ("env=", False),
        ("in in (in)", False),
    ],
)
def test_labels_are_selected(text: str, expected: bool) -> None:
    assert parse_labels(text).matches(LABELS) is expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a===b", "found '=', expected: identifier"),
        ("a in b", "expected: '('"),
        ("a in (b", "expected: ',' or ')'"),
        ("a b", "expected: in, notin, =, ==, !=, gt, lt"),
        ("-a=b", "name part must consist of"),
        ("a=b b", "expected: ',' or 'end of string'"),
        ("a=" + "b" * 64, "a valid label must be"),
        (",", "expected: identifier"),
    ],
)
def test_a_malformed_selector_says_where(text: str, message: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_labels(text)
    assert caught.value.code == 400
    assert message in caught.value.message


LABEL = st.from_regex(r"[a-z]([-a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)


@given(st.dictionaries(LABEL, LABEL, max_size=4), st.dictionaries(LABEL, LABEL, max_size=4))
def test_a_label_selector_object_selects_as_its_text_does(wanted: dict[str, str], labels: dict[str, str]) -> None:
    selector = {"matchLabels": wanted}
    expected = all(labels.get(key) == value for key, value in wanted.items())
    assert from_label_selector(selector).matches(labels) is expected
    assert parse_labels(selector_text(selector)).matches(labels) is expected


def test_expressions_of_a_label_selector_object() -> None:
    selector = {
        "matchExpressions": [
            {"key": "env", "operator": "In", "values": ["prod", "test"]},
            {"key": "tier", "operator": "NotIn", "values": ["db"]},
            {"key": "count", "operator": "Exists"},
            {"key": "absent", "operator": "DoesNotExist"},
        ]
    }
    assert from_label_selector(selector).matches(LABELS)
    assert parse_labels(selector_text(selector)).matches(LABELS)
    assert not from_label_selector(selector).matches(LABELS | {"absent": "no"})


def test_fields_are_selected() -> None:
    selectable = frozenset({"metadata.name", "status.phase"})
    values = {"metadata.name": "a", "status.phase": "Failed"}
    selector = parse_fields("metadata.name=a,status.phase!=Running", selectable)
    assert selector.matches(lambda name: values[name])
    assert selector.value_of("metadata.name") == "a"
    assert selector.value_of("status.phase") is None
    assert not parse_fields("status.phase==Running", selectable).matches(lambda name: values[name])


@pytest.mark.parametrize(
    ("text", "message"), [("spec.image=x", "field label not supported: spec.image"), ("x", "can't understand 'x'")]
)
def test_a_field_that_cannot_be_selected_by_is_refused(text: str, message: str) -> None:
    with pytest.raises(StatusError, match=message):
        parse_fields(text, frozenset({"metadata.name"}))
