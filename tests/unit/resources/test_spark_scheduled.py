"""ScheduledSparkApplication: what its builder makes, what is refused, and what its states mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_sparkml.exceptions import InvalidManifestError
from airflow_provider_sparkml.resources.base import Phase
from airflow_provider_sparkml.resources.spark import RestartPolicy, SparkApplication
from airflow_provider_sparkml.resources.spark_scheduled import (
    SCHEDULED_SPARK_APPLICATION,
    ScheduledSparkApplication,
    application_of,
    read,
)

TEMPLATE = SparkApplication(image="example.com/spark:1", main_application_file="local:///opt/sparkml/pi.py")


def nightly(**changes: Any) -> dict[str, Any]:
    return ScheduledSparkApplication(
        **{"name": "nightly", "schedule": "0 3 * * *", "template": TEMPLATE, **changes}
    ).to_manifest()


def obj(state: str = "", *, suspend: bool = False, deleted: bool = False, **status: Any) -> dict[str, Any]:
    manifest = nightly(suspend=suspend) | {"status": {"scheduleState": state, **status}}
    manifest["metadata"] |= {"creationTimestamp": "2026-11-23T00:00:00Z", "uid": "u"}
    if deleted:
        manifest["metadata"]["deletionTimestamp"] = "2026-11-23T01:00:00Z"
    return manifest


def test_the_builder_makes_what_the_crd_takes(upstream: Callable[..., list[str]]) -> None:
    manifest = nightly(time_zone="Europe/Berlin", suspend=False, labels={"team": "a"}, annotations={"b": "c"})
    assert upstream("spark-operator-v2.5.2_scheduledsparkapplications.yaml", "v1beta2", manifest) == []
    assert manifest["spec"]["concurrencyPolicy"] == "Forbid"
    assert manifest["spec"]["timeZone"] == "Europe/Berlin"
    SCHEDULED_SPARK_APPLICATION.check(manifest)


def test_suspension_is_left_alone_unless_it_is_stated() -> None:
    assert "suspend" not in nightly()["spec"]
    assert nightly(suspend=True)["spec"]["suspend"] is True


def test_a_policy_is_always_set_and_limits_are_numbers() -> None:
    manifest = nightly(successful_run_history_limit="3")
    del manifest["spec"]["concurrencyPolicy"]
    normal = SCHEDULED_SPARK_APPLICATION.normalize(manifest)
    assert normal["spec"]["concurrencyPolicy"] == "Forbid"
    assert normal["spec"]["successfulRunHistoryLimit"] == 3
    assert "concurrencyPolicy" not in manifest["spec"], "the author's own is left alone"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "metadata.name is ''"),
        ({"name": "n" * 37}, "at most 36 characters"),
        ({"schedule": "nightly"}, "spec.schedule is 'nightly'"),
        ({"time_zone": "Berlin"}, "spec.timeZone"),
        ({"concurrency_policy": "Queue"}, "spec.concurrencyPolicy is 'Queue'"),
        ({"failed_run_history_limit": -1}, "spec.failedRunHistoryLimit is -1"),
        (
            {"template": replace(TEMPLATE, restart_policy=RestartPolicy(type="Always"))},
            "spec.template.restartPolicy.type is 'Always'",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidManifestError) as refused:
        SCHEDULED_SPARK_APPLICATION.check(nightly(**changes))
    assert message in str(refused.value)


@pytest.mark.parametrize("field", ["schedule", "template"])
def test_what_has_to_be_there(field: str) -> None:
    manifest = nightly()
    del manifest["spec"][field]
    with pytest.raises(InvalidManifestError, match=rf"spec\.{field}"):
        SCHEDULED_SPARK_APPLICATION.check(manifest)


@pytest.mark.parametrize(
    ("scheduled", "phase", "state"),
    [
        (obj(), Phase.PENDING, ""),
        (obj("Validating"), Phase.PENDING, "Validating"),
        (obj("Scheduled"), Phase.SUCCEEDED, "Scheduled"),
        (obj("FailedValidation", reason="bad"), Phase.FAILED, "FailedValidation"),
        (obj(suspend=True), Phase.SUCCEEDED, "Suspended"),
        (obj("FailedValidation", suspend=True), Phase.FAILED, "FailedValidation"),
        (obj("Scheduled", deleted=True), Phase.PENDING, "Scheduled"),
        (obj("Invented"), Phase.UNKNOWN, "Invented"),
    ],
)
def test_what_the_states_mean(scheduled: dict[str, Any], phase: Phase, state: str) -> None:
    verdict = read(scheduled)
    assert (verdict.phase, verdict.state) == (phase, state)
    if state == "FailedValidation" and scheduled["status"].get("reason"):
        assert verdict.message == "bad"


def test_a_copy_of_the_template_has_nothing_of_the_schedule_but_its_name() -> None:
    application = application_of(obj("Scheduled"))
    assert application["metadata"] == {"name": "nightly"}
    assert application["spec"] == TEMPLATE.to_manifest()["spec"]
