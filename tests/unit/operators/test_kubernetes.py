"""Applying, reading and deleting objects of any kind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.exceptions import (
    ConflictError,
    InvalidManifestError,
    InvalidObjectError,
    NotFoundError,
    ResourceTypeNotFoundError,
)
from airflow_provider_sparkml.operators.kubernetes import (
    KubernetesApplyOperator,
    KubernetesDeleteOperator,
    KubernetesGetOperator,
)
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION, SparkApplication

APPLICATION = SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest()
KIND = {"kind": "SparkApplication", "api_version": SPARK_APPLICATION.api.api_version}

pytestmark = pytest.mark.usefixtures("connection", "supervisor", "rights")


@pytest.fixture
def rights(api_server: Any, namespace: str) -> None:
    """What the documentation says that applying, reading and deleting takes."""
    verbs = {"verbs": ["create", "patch", "get", "list", "delete"]}
    api_server.grant(namespace, [{"apiGroups": [""], "resources": ["configmaps", "secrets"], **verbs}])


def delete(context: Any, **kwargs: Any) -> list[str]:
    deleted: list[str] = KubernetesDeleteOperator(**{"task_id": "x", **KIND, **kwargs}).execute(context)
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
@pytest.mark.parametrize("place", [{"namespace": "no-such-namespace"}, {"kind": "X", "api_version": "no.such/v1"}])
@pytest.mark.usefixtures("administrator")
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
        KubernetesDeleteOperator(task_id="x", **KIND, name="a", label_selector="b=c")


def test_a_kind_of_kubernetes_itself(api_server: Any, namespace: str, task_context: Any) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    api_server.request("POST", path, {"metadata": {"name": "cm"}})
    assert delete(task_context(), kind="ConfigMap", api_version="v1", name="cm") == ["cm"]


def test_a_kind_is_found_by_discovery(widgets: Any, task_context: Any) -> None:
    widgets.create(widget("w"))
    assert delete(task_context(), kind="Widget", api_version="example.test/v1", name="w") == ["w"]


# --- applying ---


def widget(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.test/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec or {"a": 1}}


def config_map(name: str = "cm", **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def apply(context: Any, manifests: Any, **kwargs: Any) -> Any:
    task = KubernetesApplyOperator(task_id="a", manifests=manifests, **kwargs)
    return task.execute(context)


def get(context: Any, name: str, kind: str = "ConfigMap", api_version: str = "v1", **kwargs: Any) -> Any:
    return KubernetesGetOperator(task_id="g", kind=kind, api_version=api_version, name=name, **kwargs).execute(context)


def test_applying_creates_then_changes_then_does_nothing(task_context: Any, namespace: str) -> None:
    first = apply(task_context(), config_map(a="1"), labels={"team": "x"})
    assert first | {"object": None} == {
        "name": "cm", "kind": "ConfigMap", "namespace": namespace, "uid": first["uid"], "object": None,
    }  # fmt: skip
    assert first["object"]["data"] == {"a": "1"}
    assert first["object"]["metadata"]["labels"] == {"team": "x"}
    assert "managedFields" not in first["object"]["metadata"]
    second = apply(task_context(), config_map(b="2"))
    assert second["object"]["data"] == {"b": "2"}, "what is no longer applied goes"
    assert second["uid"] == first["uid"]
    assert apply(task_context(), config_map(b="2")) == second
    assert get(task_context(), "cm") == second


def test_a_conflict_names_field_and_owner_and_can_be_forced(task_context: Any) -> None:
    apply(task_context(), config_map(a="1"), field_manager="somebody")
    with pytest.raises(ConflictError) as conflict:
        apply(task_context(), config_map(a="2"))
    first, advice = str(conflict.value).splitlines()
    assert "ConfigMap cm has fields that others own" in first
    assert ".data.a" in first
    assert '"somebody"' in first
    assert "force_conflicts=True" in advice
    assert apply(task_context(), config_map(a="2"), force_conflicts=True)["object"]["data"] == {"a": "2"}


def test_several_documents_are_applied_in_order(widgets: Any, task_context: Any) -> None:
    text = """
    {apiVersion: v1, kind: ConfigMap, metadata: {name: one}}
---
    {apiVersion: example.test/v1, kind: Widget, metadata: {name: two}, spec: {a: 1}}
---
"""
    assert [(each["kind"], each["name"]) for each in apply(task_context(), text)] == [
        ("ConfigMap", "one"),
        ("Widget", "two"),
    ]


@pytest.mark.parametrize(
    ("second", "error", "said"),
    [
        ({"apiVersion": "no.such/v1", "kind": "X", "metadata": {"name": "x"}}, ResourceTypeNotFoundError, "'X'"),
        (config_map(""), InvalidManifestError, r"metadata\.name of the ConfigMap is ''"),
    ],
)
def test_nothing_is_applied_when_a_later_document_cannot_be(
    task_context: Any, second: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        apply(task_context(), f"{json.dumps(config_map('first'))}\n---\n{json.dumps(second)}")
    with pytest.raises(NotFoundError):
        get(task_context(), "first")


def test_a_namespace_stated_twice_has_to_be_the_same(task_context: Any, namespace: str) -> None:
    manifest = config_map()
    manifest["metadata"]["namespace"] = "other"
    with pytest.raises(InvalidManifestError, match="leave one of them out"):
        apply(task_context(), manifest, namespace=namespace)


def test_an_unknown_field_is_refused(task_context: Any) -> None:
    with pytest.raises(InvalidObjectError, match="dta"):
        apply(task_context(), {**config_map(), "dta": {}})


def test_a_cluster_wide_kind_has_no_namespace(widgets: Any, task_context: Any, namespace: str) -> None:
    gadget = {"apiVersion": "example.test/v1", "kind": "Gadget", "metadata": {"name": namespace}}
    applied = apply(task_context(), gadget)
    assert applied["namespace"] == ""
    kind = {"kind": "Gadget", "api_version": "example.test/v1"}
    assert get(task_context(), namespace, **kind)["uid"] == applied["uid"]
    assert delete(task_context(), name=namespace, **kind) == [namespace]


@pytest.mark.parametrize("manager", ["", "x" * 129])
def test_a_bad_field_manager_is_refused_when_the_dag_is_parsed(manager: str) -> None:
    with pytest.raises(InvalidManifestError, match=r"^field_manager is"):
        KubernetesApplyOperator(task_id="a", manifests={}, field_manager=manager)


# --- reading ---


def test_what_is_not_there_is_an_error(task_context: Any) -> None:
    with pytest.raises(NotFoundError, match="absent"):
        get(task_context(), "absent")
    with pytest.raises(ResourceTypeNotFoundError, match=r"kind 'Sprocket' .* serves there: .*ConfigMap"):
        get(task_context(), "s", kind="Sprocket")


def test_a_secret_keeps_its_values(task_context: Any) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "hush"}}
    told = [apply(task_context(), secret), get(task_context(), "s", kind="Secret")]
    assert "hush" not in json.dumps(told)
    assert "aHVzaA" not in json.dumps(told)
    assert all("data" not in each["object"] for each in told)
