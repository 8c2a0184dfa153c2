"""How findings are printed."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.cli.check import print_findings
from airflow_provider_sparkml.jobs.findings import Finding, Status

FINDINGS = [
    Finding("API server", Status.OK, "reachable"),
    Finding("right: pods", Status.FAILED, "not allowed: get", 'verbs: ["get"]'),
]


def test_on_a_terminal_in_green_and_red(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_findings(FINDINGS)
    shown = capsys.readouterr().out
    assert "\x1b[32mok" in shown
    assert "\x1b[31mfailed" in shown
    assert 'verbs: ["get"]' in shown


def test_elsewhere_in_plain_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    print_findings(FINDINGS)
    assert capsys.readouterr().out.splitlines() == [
        "OK      API server   reachable",
        "FAILED  right: pods  not allowed: get",
        '    fix: verbs: ["get"]',
    ]
