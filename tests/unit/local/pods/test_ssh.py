"""The command line of the pods' ssh, which takes what OpenSSH's takes."""

from __future__ import annotations

import pytest

from airflow_provider_sparkml.local.pods.ssh import parse


@pytest.mark.parametrize(
    ("line", "options", "host", "command"),
    [
        (["zero.ring", "echo", "a b"], {}, "zero.ring", "echo a b"),
        (
            ["-x", "root@zero", "-p", "1", "-o", "ConnectTimeout=3", "c"],
            {"x": "", "p": "1", "connecttimeout": "3"},
            "zero",
            "c",
        ),
        (["h", "c", "-p", "1"], {}, "h", "c -p 1"),
        (["-o", "ConnectionAttempts=10", "h", "c"], {"connectionattempts": "10"}, "h", "c"),
        (["-oPort 23", "-tti", "key", "h", "c"], {"port": "23", "t": "", "i": "key"}, "h", "c"),
        (["-p2", "-l", "me", "h"], {"p": "2", "l": "me"}, "h", ""),
        (["-De"], {"D": "e"}, "", ""),
    ],
)
def test_options_end_at_the_command(line: list[str], options: dict[str, str], host: str, command: str) -> None:
    assert parse(line) == (options, host, command)
