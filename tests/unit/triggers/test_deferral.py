"""Whether to defer, and how an error crosses from the triggerer to the task."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_sparkml.exceptions import ForbiddenError, TriggerError
from airflow_provider_sparkml.jobs.outcome import Outcome
from airflow_provider_sparkml.resources.base import Phase, ResourceRef, Verdict
from airflow_provider_sparkml.triggers.deferral import default_deferrable, event_of, is_stray, rebuild_error
from airflow_provider_sparkml.triggers.spark import SparkApplicationSensorTrigger

TRIGGER = SparkApplicationSensorTrigger(name="n", namespace="ns", kubernetes_conn_id="c")
OUTCOME = Outcome(ResourceRef("v1", "Kind", "ns", "name", "uid"), Verdict(Phase.SUCCEEDED))


@pytest.mark.parametrize(("value", "expected"), [(None, True), ("False", False), ("true", True)])
def test_deferring_is_the_default_unless_somebody_chose(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool
) -> None:
    name = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"
    if value is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, value)
    assert default_deferrable() is expected


def test_the_false_that_airflow_writes_into_its_own_file_is_no_choice(tmp_path: Path) -> None:
    (tmp_path / "airflow.cfg").write_text("[operators]\ndefault_deferrable = false\n")
    script = (
        "from airflow.sdk import conf; "
        "from airflow_provider_sparkml.triggers.deferral import default_deferrable; "
        "print(conf.getboolean('operators', 'default_deferrable'), default_deferrable())"
    )
    env = {"AIRFLOW_HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=env)
    assert done.stdout.split()[-2:] == ["False", "True"]


async def test_an_outcome_becomes_an_event_and_is_the_same_afterwards() -> None:
    async def work() -> Outcome:
        return OUTCOME

    event = await event_of(TRIGGER, work())
    payload = json.loads(json.dumps(event.payload))
    assert Outcome.from_json(payload["outcome"]) == OUTCOME


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (ForbiddenError("may not watch", status=403), ForbiddenError, "^may not watch$"),
        (ZeroDivisionError("oops"), TriggerError, "ZeroDivisionError: oops"),
        (OSError("gone"), TriggerError, "OSError: gone"),
    ],
)
async def test_an_error_keeps_its_class_where_users_may_match_on_it(
    error: Exception,
    expected: type[Exception],
    message: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def work() -> Outcome:
        raise error

    event = await event_of(TRIGGER, work())
    payload = json.loads(json.dumps(event.payload))
    rebuilt = rebuild_error(payload["error"])
    assert type(rebuilt) is expected
    assert rebuilt.args[0]
    with pytest.raises(expected, match=message):
        raise rebuilt
    assert "Traceback" in caplog.text + capsys.readouterr().out


async def test_an_event_says_whose_it_is() -> None:
    async def work() -> Outcome:
        return OUTCOME

    event = json.loads(json.dumps((await event_of(TRIGGER, work())).payload))
    assert not is_stray(event, TRIGGER.serialize()[1])
    assert is_stray(event, {**TRIGGER.serialize()[1], "name": "another"})
    assert not is_stray(event, None)
