"""Deadlines are absolute and each phase has its own; outcomes travel as JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_sparkml.jobs.outcome import Deadlines, Outcome, epoch
from airflow_provider_sparkml.resources.base import Phase, ResourceRef, Verdict

REF = ResourceRef("sparkoperator.k8s.io/v1beta2", "SparkApplication", "team-a", "etl-1", "uid-1")
ALL = Deadlines(queue_seconds=40.0, startup_seconds=10.0, execute_until=1_000.0)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict(Phase.QUEUED, queued_since="1970-01-01T00:01:00Z"), (100.0, "queue")),
        (Verdict(Phase.QUEUED), (1_000.0, "execution")),
        (Verdict(Phase.PENDING, pending_since="1970-01-01T00:05:00Z"), (310.0, "startup")),
        (Verdict(Phase.PENDING), (1_000.0, "execution")),
        (Verdict(Phase.RUNNING), (1_000.0, "execution")),
        # The whole bounds the parts.
        (Verdict(Phase.PENDING, pending_since="1970-01-01T01:00:00Z"), (1_000.0, "execution")),
    ],
)
def test_next_deadline_is_the_phases_own(verdict, expected):
    assert ALL.next(verdict) == expected


@pytest.mark.parametrize("phase", list(Phase))
def test_no_deadlines_means_for_ever(phase):
    assert Deadlines().next(Verdict(phase, pending_since="1970-01-01T00:05:00Z")) is None


def test_startup_clock_is_read_from_the_job_so_a_restart_resets_nothing():
    verdict = Verdict(Phase.PENDING, pending_since="2026-01-01T00:00:00Z")
    before = Deadlines(startup_seconds=60)
    after = Deadlines(**json.loads(json.dumps(before.to_json())))
    assert after.next(verdict) == before.next(verdict) == (epoch("2026-01-01T00:01:00Z"), "startup")


@pytest.mark.parametrize("text", ["", "yesterday", "12:00"])
def test_epoch_of_no_time_is_none(text):
    assert epoch(text) is None


@given(st.sampled_from(list(Phase)), st.text(), st.sampled_from(["", "queue", "startup", "execution"]), st.booleans())
def test_outcome_survives_json(phase, message, expired, flag):
    outcome = Outcome(REF, Verdict(phase, message=message, attempt=3), expired=expired, deleted=flag, log_shown=flag)
    assert Outcome.from_json(json.loads(json.dumps(outcome.to_json()))) == outcome
