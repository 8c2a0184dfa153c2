"""Protocol Buffers as kubectl sends them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.local.api.protobuf import decode
from airflow_provider_sparkml.local.api.status import StatusError


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def envelope(kind: str, message: bytes, api_version: str = "v1") -> bytes:
    return b"k8s\0" + field(1, field(1, api_version) + field(2, kind)) + field(2, message)


def entry(key: str, value: bytes | str) -> bytes:
    return field(1, key) + field(2, value)


def test_what_is_empty_is_left_out_and_zero_kept_where_it_means_something() -> None:
    meta = field(1, "web") + field(2, "") + field(8, b"") + field(7, 0) + field(11, entry("a", "b"))
    message = field(1, meta) + field(2, field(1, 0) + field(5, 0)) + field(3, b"\x08\x01")
    assert decode(envelope("Deployment", message, "apps/v1")) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"a": "b"}},
        "spec": {"replicas": 0},
    }


def test_each_kind_of_value() -> None:
    message = field(1, field(1, "s")) + field(2, entry("k", b"\xff\x00")) + field(4, entry("plain", "ü"))
    secret = decode(envelope("Secret", message + field(3, "Opaque")))
    assert (secret["data"], secret["stringData"], secret["type"]) == ({"k": "/wA="}, {"plain": "ü"}, "Opaque")
    number, text = field(1, 0) + field(2, 8080), field(1, 1) + field(3, "http")
    ports = field(1, field(3, 80) + field(4, number)) + field(1, field(3, 81) + field(4, text))
    service = decode(envelope("Service", field(2, ports)))
    assert service["spec"]["ports"] == [{"port": 80, "targetPort": 8080}, {"port": 81, "targetPort": "http"}]
    quota = decode(envelope("ResourceQuota", field(2, field(1, entry("pods", field(1, "2"))))))
    assert quota["spec"] == {"hard": {"pods": "2"}}
    minus = decode(envelope("PriorityClass", field(2, (1 << 64) - 5), "scheduling.k8s.io/v1"))
    assert minus["value"] == -5
    rule = field(1, "get") + field(2, "") + field(3, "pods")
    role = decode(envelope("Role", field(2, rule), "rbac.authorization.k8s.io/v1"))
    assert role["rules"] == [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (envelope("Ingress", b""), 415, "Ingress can be read as JSON or YAML only"),
        (envelope("Pod", field(2, field(1, b"\x0a\x01v"))), 415, "field 1 of PodSpec"),
        (b"{}", 400, "not in Kubernetes' Protocol Buffers envelope"),
        (envelope("Pod", b"\x0a\x7f"), 400, "no Protocol Buffers message"),
        (b"k8s\0", 400, "no Protocol Buffers message"),
    ],
)
def test_what_is_not_read_says_what_to_do(body: bytes, code: int, message: str) -> None:
    with pytest.raises(StatusError, match=message) as caught:
        decode(body)
    assert caught.value.code == code


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_refusal(data: bytes) -> None:
    for body in (b"k8s\0" + data, envelope("Pod", data)):
        with contextlib.suppress(StatusError):
            assert decode(body)["kind"]
