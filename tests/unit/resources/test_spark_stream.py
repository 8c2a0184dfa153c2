"""What a stream may be, how its status is read, and how one version follows another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.spark import DynamicAllocation, RestartPolicy, SparkApplication
from airflow_provider_sparkml.resources.spark_stream import (
    CHECKPOINT_CONF,
    STATE_STORE_CONF,
    STREAM,
    Record,
    Version,
    check_stream,
    check_upgrade,
    differences,
    prepare,
    read_stream,
    stop_step,
)


def manifest(location: str | None = "/data/c", **options: Any) -> Any:
    given: dict[str, Any] = {"name": "clicks", "restart_policy": RestartPolicy(type="Always"), **options}
    return prepare(
        SparkApplication(image="i:1", main_application_file="local:///a.py", **given).to_manifest(), location
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": ""}, "metadata.name is ''"),
        ({"name": "Clicks"}, "metadata.name is 'Clicks'"),
        ({"name": "c" * 41}, "at most 40"),
        ({"restart_policy": RestartPolicy()}, "spec.restartPolicy.type is 'Never'"),
        ({"restart_policy": RestartPolicy(type="OnFailure")}, "onFailureRetries is not set"),
        ({"dynamic_allocation": DynamicAllocation(min_executors=1, max_executors=2)}, "dynamic allocation is on"),
        ({"spark_conf": {"spark.dynamicAllocation.enabled": "true"}}, "dynamic allocation is on"),
        ({"time_to_live_seconds": 600}, "spec.timeToLiveSeconds is 600"),
        ({"extra": {"suspend": True}}, "spec.suspend is True"),
        ({"main_application_file": ""}, "spec.mainApplicationFile"),
    ],
)
def test_what_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"name": "clicks", "restart_policy": RestartPolicy(type="Always")}
    application = SparkApplication(**{"image": "i:1", "main_application_file": "local:///a.py", **given, **options})
    with pytest.raises(InvalidManifestError, match=said):
        check_stream(prepare(application.to_manifest(), "/data/c"))


def test_without_a_checkpoint_it_is_refused_and_one_of_two_places_is_enough() -> None:
    with pytest.raises(InvalidManifestError, match="checkpoint_location is not set"):
        manifest(None)
    conf = {CHECKPOINT_CONF: "/data/of-conf"}
    assert Version.of(manifest(None, spark_conf=conf)).checkpoint == "/data/of-conf"
    with pytest.raises(InvalidManifestError, match="leave one of them out"):
        manifest("/data/other", spark_conf=conf)
    check_stream(manifest())


def test_the_version_is_the_spec_and_not_the_labels() -> None:
    assert Version.of(manifest()).hash == Version.of(manifest(labels={"team": "a"})).hash
    one, other = Version.of(manifest(arguments=["1"])), Version.of(manifest(arguments=["2"]))
    assert one.hash != other.hash
    assert differences(one, other) == ["spec.arguments"]
    assert differences(one, one) == []


def test_a_property_that_differs_is_named_by_its_key() -> None:
    one, other = (Version.of(manifest(spark_conf={"spark.x": value})) for value in "12")
    assert differences(one, other) == ["spec.sparkConf['spark.x']"]


def test_what_may_follow_from_a_checkpoint() -> None:
    here, there = Version.of(manifest()), Version.of(manifest("/data/d"))
    assert check_upgrade(here, here, compatible=True) == []
    assert "begins anew" in check_upgrade(here, there, compatible=False)[0]
    with pytest.raises(InvalidManifestError, match="repeats rows"):
        check_upgrade(here, there, compatible=True)
    with pytest.raises(InvalidManifestError, match="does not fit"):
        check_upgrade(here, here, compatible=False)
    store = Version.of(manifest(spark_conf={STATE_STORE_CONF: "x"}))
    assert "keeps the state store" in check_upgrade(here, store, compatible=True)[0]
    older = Version.of(manifest(spark_version="4.2.0"))
    assert "goes back from 4.3.0 to 4.2.0" in check_upgrade(here, older, compatible=True)[0]


def test_a_record_is_what_it_was_after_it_was_stored() -> None:
    record = Record(Version.of(manifest()), by="a", following=Version.of(manifest(arguments=["2"])), stop_until=1.5)
    assert Record.of({"metadata": {"annotations": {STREAM: record.to_text()}}}) == record
    assert Record.of({"metadata": {}}) is None
    assert json.loads(record.to_text())["by"] == "a"


def test_only_a_version_that_was_healthy_is_kept_for_a_roll_back() -> None:
    one, two, three = (Version.of(manifest(arguments=[number])) for number in "123")
    proven = Record(one, proven=True)
    second = proven.upgraded(two, "s1", "b", 5.0)
    assert (second.former, second.start, second.superseded, second.proven) == (one, 2, "s1", False)
    # The second was never healthy: behind the third stands the first.
    assert second.upgraded(three, "s2", "c", 6.0).former == one
    back = second.rolled_back("why", "s2", 7.0)
    assert (back.current, back.former, back.start) == (one, None, 3)
    assert back.failed == {"hash": two.hash, "by": "b", "why": "why"}


def obj(state: str, *, submission: str = "s1", attempts: int = 1, policy: str = "Always", **spec: Any) -> Any:
    status = {"applicationState": {"state": state}, "submissionID": submission, "executionAttempts": attempts}
    return {"metadata": {"name": "c"}, "spec": {"restartPolicy": {"type": policy}, **spec}, "status": status}


RECORD = Record(Version.of(manifest()), superseded="s0")


@pytest.mark.parametrize(
    ("app", "step"),
    [
        (obj("RUNNING"), "ask"),
        (obj("RUNNING", suspend=True), "wait"),
        (obj("SUCCEEDING"), "suspend"),
        (obj("SUCCEEDING", policy="OnFailure"), "wait"),
        *((obj(state), "suspend") for state in ("", "SUBMITTED", "PENDING_RERUN", "FAILING", "SUBMISSION_FAILED")),
        (obj("INVALIDATING"), "suspend"),
        (obj("SUSPENDING"), "wait"),
        (obj("UNKNOWN"), "wait"),
        (obj("SUSPENDED", suspend=True), "done"),
        (obj("SUSPENDED"), "suspend"),
        (obj("COMPLETED"), "done"),
        (obj("FAILED"), "done"),
        # The operator has yet to see that it is to run again.
        (obj("COMPLETED", submission="s0"), "suspend"),
        (obj("COMPLETED", submission="s0", suspend=True), "wait"),
    ],
)
def test_how_a_stream_is_stopped_in_each_state(app: Any, step: str) -> None:
    assert stop_step(app, RECORD) == step


@pytest.mark.parametrize(
    ("app", "phase"),
    [
        (obj("COMPLETED", submission="s0"), Phase.PENDING),  # of the run before
        (obj("RUNNING"), Phase.RUNNING),
        (obj("COMPLETED"), Phase.FAILED),
        (obj("FAILED"), Phase.FAILED),
        (obj("FAILING", attempts=2), Phase.RUNNING),
        (obj("FAILING", attempts=3), Phase.FAILED),
        (obj("SUCCEEDING", attempts=3), Phase.FAILED),
        (obj("RUNNING", attempts=3), Phase.RUNNING),
        (obj("RUNNING", attempts=4), Phase.FAILED),
        (obj("SUSPENDED"), Phase.QUEUED),
    ],
)
def test_how_its_status_is_read(app: Any, phase: Phase) -> None:
    assert read_stream(app, RECORD, attempts=0, max_restarts=2).phase is phase
