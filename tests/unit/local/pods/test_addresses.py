"""Addresses of pods: one each, and the same again for a pod that takes another's place."""

from __future__ import annotations

import sys

import pytest

from airflow_provider_sparkml.local.pods import addresses
from airflow_provider_sparkml.local.pods.addresses import AddressPool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one loopback address")


def test_a_pod_of_the_same_name_gets_the_same_address() -> None:
    pool = AddressPool(network=7, first=0)
    first, other = pool.take("ns/zero"), pool.take("ns/one")
    assert (first, other) == ("127.7.0.1", "127.7.0.2")
    pool.release(first)
    assert pool.take("ns/zero") == first
    # Still taken: its successor is there before it has gone.
    assert pool.take("ns/zero") not in (first, other)


def test_after_the_last_address_comes_the_first() -> None:
    pool = AddressPool(network=7, first=0xFFFD)
    assert [pool.take("a"), pool.take("b")] == ["127.7.255.254", "127.7.0.1"]


def test_two_clusters_keep_apart() -> None:
    assert len({AddressPool(network=7).take("a") for _ in range(20)}) > 1


def test_only_the_last_names_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "REMEMBERED", 2)
    pool = AddressPool(network=7)
    found = {name: pool.take(name) for name in ("a", "b", "c")}
    for address in found.values():
        pool.release(address)
    assert pool.take("c") == found["c"]
    assert pool.take("a") != found["a"]
