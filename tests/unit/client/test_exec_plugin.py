"""Credential plug-ins: run without a shell, bounded in time, their answers checked, their secrets kept."""

import asyncio
import json
import stat
import sys
import textwrap
import time

import psutil
import pytest

from airflow_provider_sparkml.client.exec_plugin import run_plugin
from airflow_provider_sparkml.client.settings import ExecPlugin
from airflow_provider_sparkml.exceptions import InvalidConnectionError

V1 = "client.authentication.k8s.io/v1"


def plugin(code, *args, **fields):
    return ExecPlugin(V1, sys.executable, ("-c", textwrap.dedent(code), *args), **fields)


def answering(**status):
    return plugin(f"print({json.dumps({'apiVersion': V1, 'kind': 'ExecCredential', 'status': status})!r})")


async def test_token_and_expiry():
    credential = await run_plugin(answering(token="t0ken\n", expirationTimestamp="2026-11-22T10:00:00Z"))
    assert (credential.token, credential.expires_at) == ("t0ken", 1795341600.0)
    assert "t0ken" not in repr(credential)


async def test_a_certificate():
    credential = await run_plugin(answering(clientCertificateData="CERT", clientKeyData="KEY"))
    assert (credential.certificate, credential.key, credential.expires_at) == (b"CERT", b"KEY", None)
    assert "KEY" not in repr(credential)


async def test_it_is_told_what_is_asked_and_sees_env_and_directory(tmp_path):
    seen = tmp_path / "seen"
    code = """
        import json, os, sys
        told = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
        open(sys.argv[1], "w").write(json.dumps([told, os.environ["EXTRA"], os.getcwd(), "PATH" in os.environ]))
        print(json.dumps({"apiVersion": told["apiVersion"], "kind": "ExecCredential", "status": {"token": "t"}}))
    """
    cluster = {"server": "https://x"}
    await run_plugin(plugin(code, str(seen), env=(("EXTRA", "a b; $c"),), cwd=tmp_path, cluster=cluster))
    told, extra, directory, has_path = json.loads(seen.read_text())
    assert told == {"apiVersion": V1, "kind": "ExecCredential", "spec": {"interactive": False, "cluster": cluster}}
    assert (extra, directory, has_path) == ("a b; $c", str(tmp_path), True)


async def test_no_shell_looks_at_its_arguments(tmp_path):
    code = f"import sys, json; assert sys.argv[1:] == ['; touch {tmp_path}/x', '$(id)']; print('{{}}')"
    with pytest.raises(InvalidConnectionError, match="did not print an ExecCredential"):
        await run_plugin(plugin(code, f"; touch {tmp_path}/x", "$(id)"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('log in first')", "ended with exit code 1: log in first"),
        ("print('hunter2')", "did not print an ExecCredential"),
        ("print('[\"hunter2\"]')", "did not print an ExecCredential"),
        (
            """print('{"apiVersion": "v1", "status": {"token": "hunter2"}}')""",
            "answered in 'v1', but exec.apiVersion says",
        ),
        (
            f"""print('{{"apiVersion": "{V1}", "status": {{"clientKeyData": "hunter2"}}}}')""",
            "neither status.token nor",
        ),
        (
            f"""print('{{"apiVersion": "{V1}", "status": {{"token": "hunter2", "expirationTimestamp": "soon"}}}}')""",
            "did not print an ExecCredential",
        ),
    ],
)
async def test_a_bad_answer_is_told_without_the_secret_in_it(code, says):
    with pytest.raises(InvalidConnectionError, match=says) as caught:
        await run_plugin(plugin(code))
    assert "hunter2" not in str(caught.value)


async def test_a_missing_program_is_named_with_its_install_hint():
    missing = ExecPlugin(V1, "no-such-login", install_hint="Install it:\n  pip install no-such-login")
    with pytest.raises(InvalidConnectionError, match=r"'no-such-login' cannot be started.*pip install no-such-login"):
        await run_plugin(missing)


async def test_a_file_that_may_not_be_run_is_named(tmp_path):
    (tmp_path / "login").write_text("#!/bin/sh\n")
    with pytest.raises(InvalidConnectionError, match="login' cannot be started: Permission denied"):
        await run_plugin(ExecPlugin(V1, str(tmp_path / "login")))


SLEEPER = """
    import os, subprocess, sys, time
    child = subprocess.Popen(["sleep", "600"])
    open(sys.argv[1] + ".new", "w").write(f"{os.getpid()} {child.pid}")
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    time.sleep(600)
"""


def gone(pids):
    """Whether all processes have ended, within a moment; whoever adopted an orphan may take its time to reap it."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        alive = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return True
        time.sleep(0.02)
    return False


async def test_one_that_hangs_is_killed_with_its_children(tmp_path):
    with pytest.raises(InvalidConnectionError, match=r"did not answer within 1\.5 s"):
        await run_plugin(plugin(SLEEPER, str(tmp_path / "pids")), timeout=1.5)
    assert gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


async def test_one_whose_asker_is_cancelled_is_killed_with_its_children(tmp_path):
    pids = tmp_path / "pids"
    task = asyncio.create_task(run_plugin(plugin(SLEEPER, str(pids))))
    while not pids.exists() and not task.done():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gone([int(pid) for pid in pids.read_text().split()])


async def test_one_that_is_cancelled_while_it_starts_does_not_hang():
    for _ in range(5):
        task = asyncio.create_task(run_plugin(plugin("import time; time.sleep(600)")))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 10)


async def test_one_that_prints_without_end_is_bounded_too():
    with pytest.raises(InvalidConnectionError, match="did not answer within"):
        await run_plugin(plugin("while True: print('x' * 1000); __import__('time').sleep(0.001)"), timeout=0.5)


async def test_a_child_left_behind_does_not_hold_up_the_answer(tmp_path):
    # A plug-in may start an agent that inherits its output; that must not be waited for.
    script = tmp_path / "login"
    answer = json.dumps({"apiVersion": V1, "kind": "ExecCredential", "status": {"token": "t"}})
    script.write_text(f"#!/bin/sh\nsleep 5 &\necho '{answer}'\n")
    script.chmod(stat.S_IRWXU)
    assert (await asyncio.wait_for(run_plugin(ExecPlugin(V1, str(script))), 10)).token == "t"
