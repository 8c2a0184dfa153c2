"""Variables, references and expansion, as a kubelet computes them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.pods.environment import (
    ContainerConfigError,
    container_env,
    expand,
    field_value,
    resource_value,
)

POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "namespace": "team",
        "uid": "u-1",
        "labels": {"app": "x", "spark-role": "driver"},
        "annotations": {"a/b": "c"},
    },
    "spec": {"nodeName": "local", "serviceAccountName": "spark", "containers": []},
    "status": {"podIP": "127.9.0.1", "hostIP": "127.0.0.1"},
}
OBJECTS = {
    ("ConfigMap", "settings"): {"kind": "ConfigMap", "data": {"COLOR": "red", "SIZE": "7"}},
    ("Secret", "login"): {"kind": "Secret", "data": {"password": base64.b64encode(b"s3cret").decode()}},
}


async def lookup(kind: str, name: str) -> dict[str, Any] | None:
    return OBJECTS.get((kind, name))


async def env_of(**container: Any) -> dict[str, str]:
    return await container_env(POD, {"name": "c", **container}, {"BASE": "b"}, lookup)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(A)", "x1y1"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
    ],
)
def test_expand(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_a_dollar_is_never_changed(text: str) -> None:
    assert expand(text, {"A": "1"}) == text


async def test_later_wins_and_values_refer_to_earlier() -> None:
    env = await env_of(
        envFrom=[{"configMapRef": {"name": "settings"}}, {"prefix": "DB_", "secretRef": {"name": "login"}}],
        env=[
            {"name": "SIZE", "value": "8"},
            {"name": "URL", "value": "$(COLOR)-$(SIZE)-$(BASE)-$(LATER)"},
            {"name": "LATER", "value": "1"},
        ],
    )
    assert env == {
        "BASE": "b",
        "COLOR": "red",
        "SIZE": "8",
        "DB_password": "s3cret",
        "URL": "red-8-b-$(LATER)",
        "LATER": "1",
    }


async def test_values_from_elsewhere() -> None:
    env = await env_of(
        resources={"limits": {"memory": "1Gi"}, "requests": {"cpu": "500m"}},
        env=[
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "ROLE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['spark-role']"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "login", "key": "password"}}},
            {"name": "NOT", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k", "optional": True}}},
            {"name": "NOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k", "optional": True}}},
            {"name": "EMPTY"},
        ],
    )
    assert env == {"BASE": "b", "IP": "127.9.0.1", "ROLE": "driver", "KEY": "s3cret", "EMPTY": ""}


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"secretRef": {"name": "absent"}}]}, 'secret "absent" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "absent", "key": "k"}}}]},
            'configmap "absent" not found',
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "user"}}}]},
            "couldn't find key user in Secret team/login",
        ),
        ({"env": [{"name": "A", "valueFrom": {"fileKeyRef": {}}}]}, "does not know the source fileKeyRef"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}, "'spec.x' is not offered"),
    ],
)
async def test_what_is_missing_is_named(container: dict[str, Any], message: str) -> None:
    with pytest.raises(ContainerConfigError, match=message):
        await env_of(**container)


def test_field_value_of_all_labels() -> None:
    assert field_value(POD, "metadata.labels") == 'app="x"\nspark-role="driver"'
    assert field_value(POD, "metadata.annotations['a/b']") == "c"


@pytest.mark.parametrize(
    ("divisor", "expected"), [("1", "1073741824"), ("1Mi", "1024"), ("0", "1073741824"), (None, "1073741824")]
)
def test_resource_value(divisor: str | None, expected: str) -> None:
    container = {"name": "c", "resources": {"limits": {"memory": "1Gi"}}}
    pod = {**POD, "spec": {"containers": [container]}}
    reference = {"resource": "limits.memory", "divisor": divisor}
    assert resource_value(pod, container, reference) == expected
