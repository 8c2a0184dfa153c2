"""Deleting by name, by selector, and what a run has made; again and again."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.operators.kubernetes import DeleteResourceOperator
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, SparkApplication

APPLICATION = SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest()
KIND = {"kind": "SparkApplication", "api_version": SPARK_APPLICATION.api.api_version}

pytestmark = pytest.mark.usefixtures("connection", "supervisor")


def delete(context: Any, **kwargs: Any) -> list[str]:
    deleted: list[str] = DeleteResourceOperator(**{"task_id": "x", **KIND, **kwargs}).execute(context)
    return deleted


def named(name: str, **labels: str) -> dict[str, Any]:
    return {**APPLICATION, "metadata": {"name": name, "labels": labels}}


def submit(context: Any) -> str:
    with pytest.raises(TaskDeferred) as deferred:
        SparkApplicationOperator(task_id="t", application=APPLICATION).execute(context)
    name: str = deferred.value.trigger.ref["name"]  # type: ignore[attr-defined]
    return name


def test_by_name_and_again(applications: Any, task_context: Any) -> None:
    applications.create(named("a"))
    applications.create(named("b"))
    assert delete(task_context(), name="a") == ["a"]
    assert applications.one()["metadata"]["name"] == "b"
    assert delete(task_context(), name="absent") == []


def test_by_selector(applications: Any, task_context: Any) -> None:
    for name, team in (("a", "x"), ("b", "x"), ("c", "y")):
        applications.create(named(name, team=team))
    assert delete(task_context(), label_selector="team=x") == ["a", "b"]
    assert applications.one()["metadata"]["name"] == "c"


def test_all_that_tasks_of_this_run_have_made_and_nothing_else(applications: Any, task_context: Any) -> None:
    applications.create(named("somebody-elses"))
    other_run = submit(task_context(run_id="other"))
    ours = {submit(task_context()), submit(task_context(task_id="t2", map_index=4))}
    assert set(delete(task_context(task_id="teardown"))) == ours
    assert {item["metadata"]["name"] for item in applications.all()} == {"somebody-elses", other_run}


@pytest.mark.parametrize("target", [{"name": "a"}, {"label_selector": "a=b"}, {}])
@pytest.mark.parametrize(
    "place", [{"namespace": "no-such-namespace"}, {"kind": "X", "api_version": "no.such/v1", "plural": "xs"}]
)
def test_what_cannot_be_there_needs_no_deleting(
    task_context: Any, target: dict[str, str], place: dict[str, str]
) -> None:
    assert delete(task_context(), **target, **place) == []


@pytest.mark.parametrize("field", ["name", "label_selector"])
@pytest.mark.parametrize("value", ["", "  "])
def test_a_field_rendered_to_nothing_never_means_everything(
    applications: Any, task_context: Any, field: str, value: str
) -> None:
    submit(task_context())
    with pytest.raises(InvalidManifestError, match=f"{field} is empty"):
        delete(task_context(), **{field: value})
    assert applications.one()


def test_both_name_and_selector_are_refused() -> None:
    with pytest.raises(InvalidManifestError, match="one of them"):
        DeleteResourceOperator(task_id="x", **KIND, name="a", label_selector="b=c")


def test_a_kind_of_kubernetes_itself(api_server: Any, namespace: str, task_context: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    api_server.request("POST", path, {"metadata": {"name": "cm"}})
    assert delete(task_context(), kind="ConfigMap", api_version="v1", name="cm") == ["cm"]


def test_an_unknown_kind_needs_its_plural(task_context: Any) -> None:
    with pytest.raises(InvalidManifestError, match="plural is needed"):
        delete(task_context(), kind="Widget", api_version="example.com/v1", name="w")
