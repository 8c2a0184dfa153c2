"""Credentials stay fresh: files rotate, tokens expire, half-written files pass."""

import json
import logging
import os
import sys
import time

import pytest
import trustme
import yaml

from airflow_provider_sparkml.client import credentials as module
from airflow_provider_sparkml.client import in_cluster as in_cluster_module
from airflow_provider_sparkml.client.credentials import in_cluster, kubeconfig_dict, kubeconfig_file
from airflow_provider_sparkml.exceptions import InvalidConnectionError

CA = trustme.CA()


def config(user=None, **cluster):
    return {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://one.example", **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }


def authorization(credentials):
    return dict(credentials.headers).get("Authorization")


def replace(path, text):
    """Write a file as well-behaved programs do."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


async def test_unchanged_files_are_not_read_again(tmp_path):
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config({"token": "t"})))
    source = kubeconfig_file(path)
    first = await source.load()
    assert await source.load() is first


async def test_a_rotated_token_is_taken_up_and_the_tls_context_kept(tmp_path):
    (tmp_path / "token").write_text("one")
    (tmp_path / "config").write_text(yaml.safe_dump(config({"tokenFile": "token"})))
    source = kubeconfig_file(tmp_path / "config")
    first = await source.load()
    replace(tmp_path / "token", "two")
    second = await source.load()
    assert (authorization(first), authorization(second)) == ("Bearer one", "Bearer two")
    assert second.tls is first.tls  # so that open connections stay in use


async def test_a_rotated_ca_is_taken_up(tmp_path):
    (tmp_path / "ca.crt").write_bytes(CA.cert_pem.bytes())
    (tmp_path / "config").write_text(yaml.safe_dump(config(**{"certificate-authority": "ca.crt"})))
    source = kubeconfig_file(tmp_path / "config")
    first = await source.load()
    (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
    second = await source.load()
    assert first.tls.get_ca_certs() != second.tls.get_ca_certs()


async def test_a_file_that_appears_in_the_list_counts(tmp_path):
    (tmp_path / "two").write_text(yaml.safe_dump(config({"token": "two"})))
    source = kubeconfig_file(f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    assert authorization(await source.load()) == "Bearer two"
    (tmp_path / "one").write_text(yaml.safe_dump(config({"token": "one"})))
    assert authorization(await source.load()) == "Bearer one"


async def test_a_half_written_file_does_not_disturb_what_works(tmp_path, caplog):
    path = tmp_path / "config"
    whole = yaml.safe_dump(config({"token": "new"}))
    path.write_text(yaml.safe_dump(config({"token": "old"})))
    source = kubeconfig_file(path)
    old = await source.load()
    path.write_text(whole[: len(whole) // 2])
    with caplog.at_level(logging.WARNING):
        assert await source.load() is old
    assert "going on with the former" in caplog.text
    path.write_text(whole)
    assert authorization(await source.load()) == "Bearer new"


async def test_a_half_written_file_is_a_clear_error_at_first(tmp_path):
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config({"token": "t"}))[:40])
    with pytest.raises(InvalidConnectionError, match=f"kubeconfig {path}"):
        await kubeconfig_file(path).load()


async def test_after_a_401_a_half_written_file_is_waited_for(tmp_path, monkeypatch):
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config({"token": "old"})))
    source = kubeconfig_file(path)
    await source.load()
    path.write_text("clusters: [")
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            path.write_text(yaml.safe_dump(config({"token": "new"})))

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    assert authorization(await source.load(force=True)) == "Bearer new"
    assert len(pauses) == 2


async def test_after_a_401_a_file_that_stays_broken_is_told(tmp_path, monkeypatch):
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config({"token": "old"})))
    source = kubeconfig_file(path)
    await source.load()
    path.write_text("clusters: [")
    monkeypatch.setattr(module, "_REREAD_SECONDS", 0.001)
    with pytest.raises(InvalidConnectionError, match="neither JSON nor YAML"):
        await source.load(force=True)


def counting_plugin(tmp_path, lifetime):
    """Return a user whose plug-in counts its runs, with tokens that live so many seconds."""
    code = f"""
import json, time, datetime, pathlib
count = pathlib.Path({str(tmp_path / "count")!r})
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds={lifetime})
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
    "status": {{"token": f"token-{{number}}", "expirationTimestamp": expiry.isoformat()}}}}))
"""
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": ["-c", code]}}


async def test_a_plug_in_runs_once_until_its_token_expires_or_is_refused(tmp_path, monkeypatch):
    (tmp_path / "config").write_text(json.dumps(config(counting_plugin(tmp_path, 3600))))
    source = kubeconfig_file(tmp_path / "config")
    assert authorization(await source.load()) == "Bearer token-1"
    assert authorization(await source.load()) == "Bearer token-1"
    assert authorization(await source.load(force=True)) == "Bearer token-2"
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 3601)
    assert authorization(await source.load()) == "Bearer token-3"


async def test_a_connection_may_run_a_plug_in_only_where_the_deployment_allows_it(tmp_path):
    user = counting_plugin(tmp_path, 3600)
    assert authorization(await kubeconfig_dict(config(user), allow_exec=True).load()) == "Bearer token-1"
    with pytest.raises(InvalidConnectionError, match="allow_exec"):
        await kubeconfig_dict(config(user)).load()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"certificate-authority-data": "Z2FyYmFnZQ=="}, "certificate-authority holds no certificate in PEM form"),
        ({"certificate-authority-data": "gICA"}, "certificate-authority holds no certificate in PEM form"),
    ],
)
async def test_a_bad_ca_is_named(fields, says):
    with pytest.raises(InvalidConnectionError, match=says):
        await kubeconfig_dict(config(**fields)).load()


async def test_bad_client_certificates_are_named_and_nobody_is_asked_for_a_password(tmp_path):
    from cryptography.hazmat.primitives import serialization

    issued, other = CA.issue_cert(common_name="a"), CA.issue_cert(common_name="b")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "tls.crt").write_bytes(issued.cert_chain_pems[0].bytes())
    user = {"client-certificate": str(tmp_path / "tls.crt"), "client-key": str(tmp_path / "tls.key")}
    for bad in (other.private_key_pem.bytes(), encrypted, b"garbage"):
        (tmp_path / "tls.key").write_bytes(bad)
        with pytest.raises(InvalidConnectionError, match="not a matching pair of unencrypted PEM"):
            await kubeconfig_dict(config(user)).load()
    with pytest.raises(InvalidConnectionError, match="lacks client-key"):
        await kubeconfig_dict(config({"client-certificate": str(tmp_path / "tls.crt")})).load()


async def test_no_key_stays_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    issued = CA.issue_cert(common_name="a")
    import base64

    user = {
        "client-certificate-data": base64.b64encode(issued.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": base64.b64encode(issued.private_key_pem.bytes()).decode(),
    }
    await kubeconfig_dict(config(user)).load()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("server", "environment", "expected"),
    [
        ("https://one.example", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://one.example", {"https_proxy": "proxy:3128"}, "http://proxy:3128"),
        ("http://one.example", {"HTTPS_PROXY": "http://proxy:3128"}, None),
        ("https://one.example", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, None),
        ("https://127.0.0.1:6443", {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "127.0.0.1,localhost"}, None),
    ],
)
async def test_the_environments_proxy_is_used_as_curl_would(server, environment, expected, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (await kubeconfig_dict(config(server=server)).load()).proxy == expected


async def test_a_proxy_url_counts_more_than_the_environment(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://other:1")
    source = kubeconfig_dict(config(**{"proxy-url": "http://proxy:3128"}))
    assert (await source.load()).proxy == "http://proxy:3128"


async def test_a_pods_token_rotates_by_a_link_as_the_kubelet_does_it(tmp_path, monkeypatch):
    monkeypatch.setattr(in_cluster_module, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(f"token-{version}")
        (tmp_path / version / "ca.crt").write_bytes(CA.cert_pem.bytes())
    (tmp_path / "..data").symlink_to("one")
    for name in ("token", "ca.crt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    source = in_cluster()
    assert authorization(await source.load()) == "Bearer token-one"
    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", tmp_path / "..data")
    assert authorization(await source.load()) == "Bearer token-two"
