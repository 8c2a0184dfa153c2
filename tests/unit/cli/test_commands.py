"""The `sparkml` command, as far as it goes without a cluster."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from airflow_provider_sparkml import __version__
from airflow_provider_sparkml.cli import app
from airflow_provider_sparkml.cli.output import in_columns
from airflow_provider_sparkml.cli.overview import age


def sparkml(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "120"})


def test_version() -> None:
    result = sparkml("--version")
    assert (result.exit_code, result.output) == (0, f"sparkml {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), ("cluster", "images")),
        (("--help",), ("cluster", "images", "--version")),
        (("cluster", "--help"), ("up", "down", "status")),
        (("cluster", "up", "--help"), ("--kubeconfig", "--port", "--state-dir", "--detach")),
        (("cluster", "status", "--help"), ("--output", "table|json")),
        (("images", "build", "--help"), ("NAME",)),
        (("validate", "--help"), ("--kubeconfig", "--context", "--namespace", "--server", "FILE")),
        (("plan", "--help"), ("--node-cpu", "--kubeconfig", "--selector", "--driver-memory", "table|json")),
        (("check", "--help"), ("--kubeconfig", "--context", "--namespace", "--kind", "table|json")),
    ],
)
def test_help_names_everything(arguments: tuple[str, ...], said: tuple[str, ...]) -> None:
    result = sparkml(*arguments)
    assert result.exit_code == (0 if arguments else 2)
    assert [word for word in said if word not in result.output] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cluster", "up", "--port", "0"), "--port"),
        (("cluster", "up", "--port", "x"), "--port"),
        (("cluster", "up", "--nonsense"), "--nonsense"),
        (("cluster", "status", "--output", "xml"), "--output"),
        (("nonsense",), "nonsense"),
    ],
)
def test_usage_errors_end_with_2(arguments: tuple[str, ...], said: str) -> None:
    result = sparkml(*arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_status_of_nothing(tmp_path: Path) -> None:
    result = sparkml("cluster", "status", "--state-dir", str(tmp_path))
    assert result.exit_code == 1
    assert re.fullmatch(
        r"error: not running \(state directory .*\); start it with: sparkml cluster up\n", result.output
    )
    result = sparkml("cluster", "status", "--state-dir", str(tmp_path), "--output", "json")
    assert result.exit_code == 1
    assert json.loads(result.output) == {"running": False, "stateDir": str(tmp_path)}


def test_down_of_nothing_is_no_error(tmp_path: Path) -> None:
    result = sparkml("cluster", "down", "--state-dir", str(tmp_path))
    assert result.exit_code == 0
    assert result.output.startswith("not running")


def test_an_error_is_one_line_with_cause_and_remedy(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    result = sparkml("cluster", "up", "--state-dir", str(occupied / "below"))
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert re.match(r"error: state directory .* cannot be used: Not a directory; .*--state-dir$", result.output)


def test_a_foreign_kubeconfig_is_not_written_over(tmp_path: Path) -> None:
    config = tmp_path / "config"
    text = "apiVersion: v1\nkind: Config\nclusters: [{name: production, cluster: {server: https://x}}]\n"
    config.write_text(text)
    result = sparkml("cluster", "up", "--state-dir", str(tmp_path / "state"), "--kubeconfig", str(config))
    assert result.exit_code == 1
    assert "knows other clusters (production)" in result.output
    assert config.read_text() == text


def test_an_unknown_image_is_named() -> None:
    result = sparkml("images", "build", "nonsense")
    assert result.exit_code == 1
    assert "'nonsense'" in result.output
    assert "onnxserver" in result.output


def test_columns() -> None:
    assert in_columns([("A", "LONG"), ("longer", "b")]) == ["A       LONG", "longer  b"]


@pytest.mark.parametrize(
    ("created", "text"),
    [
        ("2026-01-02T00:00:00Z", "0s"),
        ("2026-01-01T23:58:01Z", "119s"),
        ("2026-01-01T23:58:00Z", "2m"),
        ("2026-01-01T22:00:00Z", "2h"),
        ("2025-12-25T00:00:00Z", "8d"),
        ("2026-01-02T00:00:05Z", "0s"),
    ],
)
def test_age(created: str, text: str) -> None:
    assert age(created, at=datetime(2026, 1, 2, tzinfo=UTC)) == text
