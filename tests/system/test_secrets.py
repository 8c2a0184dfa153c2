"""A whole run with a password and a token: afterwards neither is in anything that Airflow or the cluster wrote."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg2
import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(600)]


def spellings(*values: str) -> list[bytes]:
    """Return values as they are, as JSON and Python spell them, and in base64, as a Secret has them."""
    found = {each for value in values for each in (value, json.dumps(value)[1:-1], repr(value)[1:-1])}
    return [*(each.encode() for each in found), *(base64.b64encode(value.encode()) for value in values)]


def files_with(folder: Path, values: Iterable[bytes]) -> list[Path]:
    """Return the files below a folder that hold one of these."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(each in path.read_bytes() for each in values)]


def tables_with(address: str, values: Iterable[bytes]) -> list[str]:
    """Return the tables of a database that hold one of these in any column."""
    with contextlib.closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'sys')")
        found = []
        for schema, table in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{schema}"."{table}" t')
            # Bytes are shown in hexadecimal, and a quotation mark within a row twice.
            rows = "\n".join(row for (row,) in cursor.fetchall()).replace('""', '"').encode()
            if any(each in rows or each.hex().encode() in rows for each in values):
                found.append(table)
        return found


def until_ended(run: Any) -> dict[str, str]:
    """Return the states of all tasks once the run is over."""
    run.until_over()
    instances = run.airflow.call("GET", f"{run.path}/taskInstances")["task_instances"]
    return {ti["task_id"]: ti["state"] for ti in instances}


def test_neither_password_nor_token_is_written_anywhere(
    airflow: Any, database: str, applications: Any, api_server: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    password, token = f"hush-{secrets.token_hex(8)}-'\"-hush", api_server.token
    # Both as people store them: encrypted in Airflow's database.
    kubeconfig = api_server.kubeconfig.read_text()
    assert token in kubeconfig
    inline = {"kube_config": kubeconfig, "namespace": applications.path.split("/")[-2]}
    connections = [
        {"connection_id": "warehouse", "conn_type": "generic", "login": "4711", "password": password},
        {"connection_id": "inline", "conn_type": "kubernetes", "extra": json.dumps(inline)},
    ]
    for connection in connections:
        airflow.call("POST", "/connections", connection)
    run = airflow.trigger("secrets")
    application = applications.until(run)
    applications.set_state(application, "FAILED", error="driver container failed with ExitCode: 3, Reason: Error")
    assert until_ended(run) == {
        "apply": "success", "mapped": "success", "get": "success",
        "run": "failed", "refused": "failed", "unreadable": "failed",
    }  # fmt: skip

    _, stored = api_server.request("GET", f"/api/v1/namespaces/{inline['namespace']}/secrets/warehouse")
    assert base64.b64decode(stored["data"]["password"]).decode() == password, "it came where it belongs"
    assert "data" not in run.xcom("get")["object"]
    shown = run.task("apply")["rendered_fields"]["manifests"]
    assert shown["stringData"] == {"password": "***", "pin": "***"}

    # Serialized DAGs, rendered templates, XComs; then logs, and what all of Airflow has printed.
    assert tables_with(database, [run.run_id.encode()]), "what is there is found"
    assert tables_with(database, spellings(password, token)) == []
    assert files_with(airflow.home, spellings(password, token)) == []
    for task_id in ("apply", "get", "run", "refused", "unreadable"):
        lines = run.log(task_id).splitlines()
        assert lines
        assert [line for line in lines for each in spellings(password, token) if each.decode() in line] == [], task_id
    application = json.dumps(application)
    assert not any(each.decode() in application for each in spellings(password, token))
    # The cluster has to know them; who may read that is its user alone.
    for path in files_with(api_server.state_dir, spellings(password, token)):
        assert path.stat().st_mode & 0o177 == 0, path
    printed = capfd.readouterr()
    assert not any(each.decode() in printed.out + printed.err for each in spellings(password, token))
