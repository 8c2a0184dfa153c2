"""Names of services and pods: which there are, and which of them stand in a variable or an argument."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_sparkml.local.pods.inside import pod_dns
from airflow_provider_sparkml.local.pods.names import ClusterNames, search_domains
from airflow_provider_sparkml.resources.base import Manifest


def service(name: str, namespace: str = "ns", **spec: Any) -> Manifest:
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "None", "selector": {"a": "b"}, **spec},
    }


def pod(name: str, address: str, subdomain: str = "", **labels: str) -> Manifest:
    spec = {"hostname": name, "subdomain": subdomain} if subdomain else {}
    meta = {"name": name, "namespace": "ns", "uid": name, "labels": labels or {"a": "b"}}
    return {"metadata": meta, "spec": spec, "status": {"podIP": address}}


ASKING = pod("asking", "127.1.0.9", none="of them")


@pytest.fixture
def names(tmp_path: Path) -> ClusterNames:
    known = ClusterNames(tmp_path / "names")
    for each in (
        service("ring"),
        service("web", clusterIP="10.0.0.1", selector={"app": "web"}),
        service("out", selector=None),
    ):
        known.put_service("ns", each["metadata"]["name"], each)
    known.put_service("other", "far", service("far", "other"))
    known.put_pod(pod("zero", "127.1.0.1", "ring"))
    known.put_pod(pod("one", "127.1.0.2", "ring"))
    known.put_pod(pod("front", "127.1.0.3", app="web"))
    return known


def test_services_and_the_pods_of_headless_ones_have_names(names: ClusterNames) -> None:
    table = names.file.read_text().splitlines()
    assert sorted(table) == [
        "127.1.0.1 ring.ns.svc.cluster.local",
        "127.1.0.1 zero.ring.ns.svc.cluster.local",
        "127.1.0.2 one.ring.ns.svc.cluster.local",
        "127.1.0.2 ring.ns.svc.cluster.local",
        "127.1.0.3 web.ns.svc.cluster.local",
    ]
    names.drop_pod("zero")
    names.put_service("ns", "web", None)
    assert "127.1.0.1" not in names.file.read_text()
    assert "web" not in names.file.read_text()


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("MASTER_ADDR", "zero.ring", "127.1.0.1"),
        ("MASTER_ADDR", "ring", "127.1.0.1"),
        ("WORKER_ADDRS", "web,ring", "127.1.0.3,127.1.0.1"),
        ("ENDPOINT", "ring:29500", "127.1.0.1:29500"),
        ("ANY", "ring:29500", "127.1.0.1:29500"),
        ("APP", "ring", "ring"),
        ("TF_CONFIG", '{"worker":["zero.ring.ns.svc:1","web.ns.svc:2"]}', '{"worker":["127.1.0.1:1","127.1.0.3:2"]}'),
        ("", "--rdzv-endpoint=zero.ring.ns.svc.cluster.local:5", "--rdzv-endpoint=127.1.0.1:5"),
        ("", "ring", "ring"),
        ("", "/data/zero.ring", "/data/zero.ring"),
        ("", "me@zero.ring", "me@zero.ring"),
        ("", "zero.ring.txt", "zero.ring.txt"),
        ("", "zero.web", "zero.web"),  # not headless: its pods have no names
        ("", "two.ring", "two.ring"),  # no such pod
        ("", "far.other.svc", "far.other.svc"),  # no pod behind it
        ("URL", "https://example.com/ring", "https://example.com/ring"),
        ("", "spark://ring:7077", "spark://127.1.0.1:7077"),
        ("URL", "http://web.ns.svc/v1", "http://127.1.0.3/v1"),
        ("", "pvc://ring/zero.ring", "pvc://ring/zero.ring"),
        ("", "join ring at tcp://ring:1 now", "join ring at tcp://127.1.0.1:1 now"),
    ],
)
def test_names_are_replaced_where_they_can_be_nothing_else(
    names: ClusterNames, variable: str, text: str, expected: str
) -> None:
    assert names.rewrite(variable, text, ASKING) == expected


async def test_a_container_waits_for_the_names_that_it_mentions(names: ClusterNames) -> None:
    waiting = asyncio.create_task(names.known({"MASTER_ADDR": "two.ring"}, ["x"], ASKING))
    await asyncio.sleep(0)
    assert not waiting.done()
    names.put_pod(pod("two", "127.1.0.4", "ring"))
    async with asyncio.timeout(2):
        await waiting
    async with asyncio.timeout(2):
        await names.known({"APP": "nobody.nowhere"}, ["two.ring"], ASKING)


def test_programs_in_a_pod_look_names_up(names: ClusterNames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARKML_DNS", str(names.file))
    monkeypatch.setenv("SPARKML_DNS_SEARCH", " ".join(search_domains(ASKING)))
    monkeypatch.setenv("SPARKML_POD_IP", "127.1.0.9")
    monkeypatch.setenv("HOSTNAME", "asking")
    assert pod_dns.lookup("zero.ring") == ["127.1.0.1"]
    assert pod_dns.lookup(b"ring") == ["127.1.0.1", "127.1.0.2"]
    assert pod_dns.lookup("Zero.Ring.ns.svc.cluster.local.") == ["127.1.0.1"]
    assert pod_dns.lookup("asking") == ["127.1.0.9"]
    for name in ("localhost", "127.0.0.1", "::1", "", None, "two.ring"):
        assert pod_dns.lookup(name) == []
    monkeypatch.setenv("SPARKML_DNS", "/no/such/file")
    assert pod_dns.lookup("zero.ring") == []
