"""The columns of kubectl get."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.local.api.definitions import types_of
from airflow_provider_sparkml.local.api.printing import COLUMNS
from airflow_provider_sparkml.local.api.types import short_duration


def row(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {column.name: column.value(obj) for column in COLUMNS[kind]}


def pod(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **meta}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status}


@pytest.mark.parametrize(
    ("status", "meta", "expected"),
    [
        ({"phase": "Pending"}, {}, ("0/2", "Pending", "0")),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {"ready": True, "restartCount": 2, "state": {"running": {}}},
                    {"ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
                ],
            },
            {},
            ("1/2", "CrashLoopBackOff", "2"),
        ),
        (
            {
                "phase": "Failed",
                "containerStatuses": [{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}],
            },
            {},
            ("0/2", "OOMKilled", "0"),
        ),
        (
            {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 3}}}]},
            {},
            ("0/2", "ExitCode:3", "0"),
        ),
        ({"phase": "Failed", "reason": "Evicted"}, {}, ("0/2", "Evicted", "0")),
        ({"phase": "Running"}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, ("0/2", "Terminating", "0")),
        ({"phase": "Succeeded"}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, ("0/2", "Succeeded", "0")),
    ],
)
def test_pods(status: dict[str, Any], meta: dict[str, Any], expected: tuple[str, str, str]) -> None:
    cells = row("Pod", pod(status, **meta))
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == expected


def test_services_jobs_and_quotas() -> None:
    service = {"metadata": {}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]}}
    assert row("Service", service)["Port(s)"] == "80:30080/TCP"
    job = {
        "metadata": {},
        "spec": {"completions": 3, "template": {}},
        "status": {
            "succeeded": 3,
            "startTime": "2026-01-01T00:00:00Z",
            "completionTime": "2026-01-01T00:01:30Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        },
    }
    cells = row("Job", job)
    assert (cells["Status"], cells["Completions"], cells["Duration"]) == ("Complete", "3/3", "90s")
    quota = {"metadata": {}, "status": {"hard": {"pods": "2", "limits.cpu": "4"}, "used": {"pods": "1"}}}
    cells = row("ResourceQuota", quota)
    assert (cells["Request"], cells["Limit"]) == ("pods: 1/2", "limits.cpu: 0/4")


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"), (119, "119s"), (120, "2m"), (150, "2m30s"), (600, "10m"), (3 * 3600, "3h"), (3 * 3600 + 60, "3h1m"),
        (9 * 3600, "9h"), (50 * 3600, "2d2h"), (9 * 86400, "9d"),
    ],
)  # fmt: skip
def test_durations_as_kubectl_prints_them(seconds: int, expected: str) -> None:
    assert short_duration(seconds) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (".spec.suspend", True),
        (".status.conditions[?(@.type=='Ready')].status", "True"),
        ('.status.conditions[?(@.type=="Absent")].status', None),
        (".spec.list[1].name", "b"),
        (".spec.list[9].name", None),
        (".metadata.labels.app\\.io/name", "x"),
        (".absent.deep", None),
    ],
)
def test_columns_of_definitions(path: str, expected: object) -> None:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object"}},
        "additionalPrinterColumns": [{"name": "C", "type": "string", "jsonPath": path}],
    }
    names = {"plural": "things", "singular": "thing", "kind": "Thing"}
    definition = {
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    obj = {
        "metadata": {"labels": {"app.io/name": "x"}},
        "spec": {"suspend": True, "list": [{"name": "a"}, {"name": "b"}]},
        "status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]},
    }
    (kind,) = types_of(definition)
    assert kind.columns[0].value(obj) == expected
