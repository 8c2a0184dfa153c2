"""The clean-up task: its scopes, what it refuses, what it returns, and that it is a teardown."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.exceptions import TaskDeferred

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import ApiUnavailableError, CleanupIncompleteError, InvalidManifestError
from airflow_provider_sparkml.operators.cleanup import SparkCleanupOperator
from airflow_provider_sparkml.operators.spark import SparkApplicationOperator
from airflow_provider_sparkml.resources.spark import SparkApplication

APPLICATION = SparkApplication(image="i:1", main_application_file="local:///a.py").to_manifest()
needs_cluster = pytest.mark.usefixtures("connection", "supervisor")


def submit(context: Any) -> str:
    with pytest.raises(TaskDeferred) as deferred:
        SparkApplicationOperator(task_id="t", application=APPLICATION).execute(context)
    name: str = deferred.value.trigger.ref["name"]  # type: ignore[attr-defined]
    return name


def clean_up(context: Any, **kwargs: Any) -> dict[str, Any]:
    return SparkCleanupOperator(task_id="clean", **kwargs).execute(context)


def names(applications: Any) -> set[str]:
    return {item["metadata"]["name"] for item in applications.all()}


@needs_cluster
def test_a_run_is_cleaned_up_and_nothing_else_and_again(applications: Any, task_context: Any) -> None:
    applications.create({**APPLICATION, "metadata": {"name": "somebody-elses"}})
    other = submit(task_context(run_id="other"))
    ours = {submit(task_context()), submit(task_context(task_id="t2", map_index=4))}
    listed = clean_up(task_context(task_id="clean"), dry_run="True")
    assert names(applications) == {"somebody-elses", other, *ours}
    assert (listed["found"], listed["deleted"]) == ({"SparkApplication": 2}, {})
    assert set(listed["objects"]) == {f"SparkApplication {name}" for name in ours}

    report = clean_up(task_context(task_id="clean"))
    assert report["deleted"] == {"SparkApplication": 2}
    assert report["failed"] == []
    assert set(report["skipped"].values()) <= {"not installed"}, "the shipped roles are enough"
    assert names(applications) == {"somebody-elses", other}
    assert clean_up(task_context(task_id="clean"))["deleted"] == {}


@needs_cluster
def test_an_application_by_name_and_by_id(applications: Any, task_context: Any) -> None:
    for name in ("a", "b", "a-2"):
        applications.create({**APPLICATION, "metadata": {"name": name}})
    applications.set_state("b", "RUNNING", sparkApplicationId="spark-b")
    assert clean_up(task_context(), application="a")["deleted"] == {"SparkApplication": 1}
    assert clean_up(task_context(), application_id="spark-b")["deleted"] == {"SparkApplication": 1}
    assert names(applications) == {"a-2"}


@needs_cluster
@pytest.mark.parametrize("age", [3600, "3600", "3600.0", datetime.timedelta(hours=1)], ids=str)
def test_by_age(applications: Any, task_context: Any, age: Any) -> None:
    old, late, running = (submit(task_context(run_id=run)) for run in ("1", "2", "3"))
    applications.create({**APPLICATION, "metadata": {"name": "foreign", "labels": {"team": "a"}}})
    now = datetime.datetime.now(datetime.UTC)
    for name, ago in ((old, 7200), (late, 60), ("foreign", 7200)):
        ended = now - datetime.timedelta(seconds=ago)
        applications.set_state(name, "FAILED", terminationTime=ended.strftime("%Y-%m-%dT%H:%M:%SZ"))
    clean_up(task_context(run_id="janitor"), older_than=age)
    assert names(applications) == {late, running, "foreign"}
    clean_up(task_context(run_id="janitor"), older_than=age, owner_labels={"team": "a"})
    assert names(applications) == {late, running}


@needs_cluster
def test_what_fails_is_retried_after_the_rest_is_done(
    applications: Any, task_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, goes = submit(task_context()), submit(task_context(task_id="t2"))
    real = KubernetesClient.delete

    async def delete(self: Any, api: Any, name: str, *args: Any, **kwargs: Any) -> bool:
        if name == stays:
            raise ApiUnavailableError("the API server is away")
        return await real(self, api, name, *args, **kwargs)

    monkeypatch.setattr(KubernetesClient, "delete", delete)
    with pytest.raises(CleanupIncompleteError, match=f"is not complete: SparkApplication {stays}: the API server is"):
        clean_up(task_context(task_id="clean"))
    assert names(applications) == {stays} != {goes}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"application": " "}, "application is empty"),
        ({"application_id": ""}, "application_id is empty"),
        ({"older_than": ""}, "older_than is empty"),
        ({"older_than": -1}, "older_than is -1"),
        ({"older_than": "a day"}, "older_than is 'a day'"),
        ({"older_than": "nan"}, "older_than is 'nan'"),
        ({"older_than": 1e12}, "older_than is"),
        ({"older_than": 1, "owner_labels": {"team": ""}}, r"owner_labels\['team'\] is empty"),
        ({"dry_run": "no"}, "dry_run is 'no': it must be True or False"),
        ({"dry_run": ""}, "dry_run is ''"),
    ],
    ids=str,
)
@needs_cluster
def test_a_field_rendered_to_nonsense_is_refused_and_never_means_everything(
    applications: Any, task_context: Any, fields: dict[str, Any], message: str
) -> None:
    submit(task_context())
    with pytest.raises(InvalidManifestError, match=message):
        clean_up(task_context(task_id="clean"), **fields)
    assert applications.one()


@pytest.mark.parametrize(
    "fields",
    [
        {"older_than": 1, "application": "a"},
        {"older_than": 1, "application_id": "spark-1"},
        {"owner_labels": {"a": "b"}},
        {"older_than": 1, "owner_labels": {}},
    ],
    ids=str,
)
def test_scopes_that_contradict_each_other_are_refused_when_the_dag_is_parsed(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidManifestError):
        SparkCleanupOperator(task_id="c", **fields)


def test_it_is_a_teardown_so_it_cannot_change_how_the_run_ends() -> None:
    with DAG("d"):
        alone = SparkCleanupOperator(task_id="alone")
        job = SparkApplicationOperator(task_id="job", application=APPLICATION)
        paired = SparkCleanupOperator(task_id="paired").as_teardown(setups=job)
    assert alone.is_teardown
    assert alone.trigger_rule == TriggerRule.ALL_DONE
    assert not alone.on_failure_fail_dagrun
    assert paired.is_teardown
    assert job.is_setup
