"""The local copy: what it keeps of an object, and how a GET that is ahead or behind fits in."""

import pytest

from airflow_provider_sparkml.client.reflector import Entry, Reflector, essentials
from airflow_provider_sparkml.resources.base import ApiResource
from airflow_provider_sparkml.resources.spark import SPARK_APPLICATION

APPS = ApiResource("sparkoperator.k8s.io", "v1beta2", "sparkapplications", "SparkApplication")


def app(version, state="RUNNING", **metadata):
    return {
        "apiVersion": APPS.api_version,
        "kind": APPS.kind,
        "metadata": {
            "name": "pi",
            "namespace": "team",
            "uid": "u",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "x", "fieldsV1": {"f:spec": {}}}],
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{…}", "note": "kept"},
            **metadata,
        },
        "spec": {
            "image": "spark",
            "suspend": True,
            "sparkConf": {"spark.ui.port": "4050"},
            "driver": {"env": [{"name": "A", "value": "B"}]},
        },
        "status": {
            "applicationState": {"state": state, "errorMessage": "ExitCode: 137, Reason: OOMKilled"},
            "driverInfo": {"podName": "pi-driver", "webUIIngressAddress": "ui.example/pi"},
            "submissionID": "s-1",
            "executionAttempts": 2,
            "lastSubmissionAttemptTime": "2026-01-01T00:01:00Z",
            "sparkApplicationId": "spark-1",
        },
    }


def test_bookkeeping_and_most_of_the_spec_are_dropped():
    kept = essentials(app(1))
    assert "managedFields" not in kept["metadata"]
    assert kept["metadata"]["annotations"] == {"note": "kept"}
    assert kept["spec"] == {"suspend": True, "sparkConf": {"spark.ui.port": "4050"}}
    assert kept["status"] == app(1)["status"]


def test_the_object_itself_is_left_alone():
    obj = app(1)
    essentials(obj)
    assert obj == app(1)


@pytest.mark.parametrize("state", ["", "SUBMITTED", "RUNNING", "FAILED", "SUSPENDED", "NEWFANGLED"])
@pytest.mark.parametrize("function", ["read", "log_source", "facts", "pod_selector", "progress"])
def test_what_is_kept_is_all_that_a_wait_reads(state, function):
    read = getattr(SPARK_APPLICATION, function)
    assert read(essentials(app(1, state))) == read(app(1, state))


@pytest.fixture
def told():
    return []


@pytest.fixture
def copy(told):
    return Reflector(
        None,
        APPS,
        "team",
        poll_seconds=1,
        changed=lambda name, entry, gone: told.append((name, entry and entry.version, gone)),
        listed=lambda: None,
    )


def test_a_get_ahead_of_the_watch_counts_and_its_late_event_is_not_told_again(copy, told):
    copy._version = "5"
    assert copy.learn("pi", app(9))
    copy._apply("ADDED", app(7))
    copy._apply("MODIFIED", app(9))
    copy._apply("MODIFIED", app(10))
    assert told == [("pi", 9, False), ("pi", 10, False)]


def test_a_get_behind_the_watch_does_not_bring_a_deleted_object_back(copy, told):
    copy._apply("ADDED", app(7))
    copy._apply("DELETED", app(8))
    assert not copy.learn("pi", app(7))
    assert copy.entries == {}
    assert told == [("pi", 7, False), ("pi", 8, True)]


def test_a_get_behind_the_watch_does_not_undo_a_change(copy, told):
    copy._apply("MODIFIED", app(7, "COMPLETED"))
    assert copy.learn("pi", app(6, "RUNNING"))
    assert copy.entries["pi"].load()["status"]["applicationState"]["state"] == "COMPLETED"
    assert len(told) == 1


def test_the_late_deletion_of_a_predecessor_does_not_remove_its_successor(copy, told):
    copy._version = "5"
    copy.learn("pi", app(9, uid="new"))
    copy._apply("DELETED", app(8, uid="old"))
    assert told == [("pi", 9, False)]
    assert copy.entries["pi"].load()["metadata"]["uid"] == "new"


def test_versions_that_are_no_numbers_are_borne(copy, told):
    copy._apply("ADDED", app("abc"))
    copy._apply("MODIFIED", app("abd", "COMPLETED"))
    assert copy.learn("other", app("abe", name="other"))
    assert told == [("pi", 0, False), ("pi", 0, False), ("other", 0, False)]


def test_an_entry_is_small():
    import sys

    assert sys.getsizeof(Entry.of(app(1)).data) < 1200
