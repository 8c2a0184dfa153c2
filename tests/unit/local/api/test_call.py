"""Paths and queries of requests."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.local.api.call import ANONYMOUS, Call, Target, parse_path, verb_of
from airflow_provider_sparkml.local.api.status import StatusError


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/pods", Target("", "v1", "pods", rest="/")),
        ("/api/v1/namespaces", Target("", "v1", "namespaces")),
        ("/api/v1/namespaces/x", Target("", "v1", "namespaces", "x", "x")),
        ("/api/v1/namespaces/x/finalize", Target("", "v1", "namespaces", "x", "x", "finalize")),
        ("/api/v1/namespaces/x/pods", Target("", "v1", "pods", "x", rest="/")),
        ("/api/v1/namespaces/x/pods/p/log", Target("", "v1", "pods", "x", "p", "log", "/")),
        ("/api/v1/namespaces/x/pods/p:4040/proxy/api/v1", Target("", "v1", "pods", "x", "p:4040", "proxy", "/api/v1")),
        ("/apis/g.io/v1/namespaces/x/things/t/status", Target("g.io", "v1", "things", "x", "t", "status", "/")),
        ("/apis/g.io/v1/things", Target("g.io", "v1", "things", rest="/")),
        ("/api/v1", None),
        ("/apis/g.io/v1", None),
        ("/apis", None),
        ("/version", None),
        ("/apis/g.io/v1/namespaces/x", None),
    ],
)
def test_paths(path: str, expected: Target | None) -> None:
    assert parse_path(path) == expected


@pytest.mark.parametrize(
    ("method", "name", "query", "expected"),
    [
        ("GET", "", {}, "list"),
        ("GET", "", {"watch": "1"}, "watch"),
        ("GET", "", {"watch": "true"}, "watch"),
        ("GET", "x", {}, "get"),
        ("DELETE", "", {}, "deletecollection"),
        ("DELETE", "x", {}, "delete"),
        ("PUT", "x", {}, "update"),
        ("PATCH", "x", {}, "patch"),
        ("POST", "", {}, "create"),
    ],
)
def test_verbs(method: str, name: str, query: dict[str, str], expected: str) -> None:
    assert verb_of(method, Target("", "v1", "pods", name=name), query) == expected


def asked(**query: str) -> Call:
    return Call("list", Target("", "v1", "pods"), ANONYMOUS, query)


def test_parameters_are_read() -> None:
    call = asked(follow="true", limit="5", dryRun="All", fieldValidation="Strict")
    assert (call.flag("follow"), call.flag("watch"), call.number("limit"), call.number("tailLines")) == (
        True,
        False,
        5,
        None,
    )
    assert (call.dry_run, call.field_validation) == (True, "Strict")
    assert (asked().dry_run, asked().field_validation) == (False, "Warn")


def test_parameters_that_make_no_sense_are_refused() -> None:
    for code, read in (
        (400, lambda: asked(follow="perhaps").flag("follow")),
        (400, lambda: asked(limit="many").number("limit")),
        (400, lambda: asked(limit="-1").number("limit")),
        (422, lambda: asked(dryRun="Some").dry_run),
        (422, lambda: asked(fieldValidation="strict").field_validation),
    ):
        with pytest.raises(StatusError) as caught:
            read()
        assert caught.value.code == code
