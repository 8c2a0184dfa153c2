"""The values of Secrets: found in every spelling, hidden in what is shown, taken out of messages."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.resources.secret_values import hidden, is_secret, scrubbed, values_of

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
ENCODED = base64.b64encode(b"hunter2!").decode()


def test_a_value_is_found_as_it_is_given_and_as_it_is_stored() -> None:
    assert set(values_of({**SECRET, "stringData": {"k": "hunter2!"}})) == {"hunter2!", ENCODED}
    assert set(values_of({**SECRET, "data": {"k": ENCODED}})) == {"hunter2!", ENCODED}


@given(st.text(min_size=4), st.text(), st.text())
def test_no_value_is_left_in_a_text(value: str, before: str, after: str) -> None:
    values = values_of({**SECRET, "stringData": {"k": value}})
    for spelling in (value, json.dumps(value), base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()):
        assert value not in scrubbed(f"{before}{spelling}{after}", values).replace("***", "")


def test_what_is_shown_has_the_keys_and_not_the_values() -> None:
    shown = hidden({**SECRET, "type": "Opaque", "data": {"a": ENCODED}, "stringData": {"b": "x"}})
    assert shown == {**SECRET, "type": "Opaque", "data": {"a": "***"}, "stringData": {"b": "***"}}


@pytest.mark.parametrize("part", ["data", "stringData"])
@pytest.mark.parametrize("given", ["hunter2!", ["hunter2!"], {"k": None}, {"k": ["hunter2!"]}, {"k": 5}, None])
def test_what_is_no_secret_as_it_should_be_is_never_a_crash(part: str, given: Any) -> None:
    manifest = {**SECRET, part: given}
    values_of(manifest)
    assert "hunter2!" not in json.dumps(hidden(manifest))


def test_a_secret_without_its_api_version_is_one() -> None:
    assert hidden({"kind": "Secret", "data": {"a": ENCODED}}) == {"kind": "Secret", "data": {"a": "***"}}
    assert not is_secret({"apiVersion": "vault.example.com/v1", "kind": "Secret"})


def test_other_kinds_are_shown_as_they_are() -> None:
    for other in ({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}}, None, "text", []):
        assert not is_secret(other)
        assert hidden(other) is other
        assert values_of(other) == []
