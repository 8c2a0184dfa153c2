"""The preflight task: what it returns, and how it fails."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError, PreflightFailedError
from airflow_provider_sparkml.operators.preflight import PreflightOperator

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


@pytest.mark.usefixtures("administrator")  # Airflow's own role reads no Secret
def test_a_cluster_that_is_not_ready_fails_the_task_with_every_fix(task_context: Any, namespace: str) -> None:
    with pytest.raises(PreflightFailedError) as failed:
        PreflightOperator(task_id="p", service_account="etl", image_pull_secret="registry").execute(task_context())
    first, *fixes = str(failed.value).splitlines()
    assert first.startswith("the cluster is not ready: service account: etl does not exist")
    assert "image pull secret: registry does not exist" in first
    assert fixes[0].startswith("service account: sed 's/name: spark$/name: etl/' ")
    assert fixes[0].endswith(f" | kubectl apply -n {namespace} -f -")
    assert len(fixes) == 2


def test_a_ready_cluster_is_told_of(task_context: Any) -> None:
    findings = PreflightOperator(task_id="p", service_account=None, kinds=["InferenceService"]).execute(task_context())
    assert {finding["status"] for finding in findings} <= {"ok", "warning", "unknown"}
    assert "right: inferenceservices.serving.kserve.io" in {finding["check"] for finding in findings}


def test_an_unknown_kind(task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match="kinds has 'X'"):
        PreflightOperator(task_id="p", kinds=["X"]).execute(task_context())
