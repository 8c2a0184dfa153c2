"""The connection, form by form, beside the cncf provider's hook, against one TLS server that says who asked."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_sparkml.exceptions import InvalidConnectionError
from airflow_provider_sparkml.hooks import kubernetes as hook_module
from airflow_provider_sparkml.hooks.kubernetes import ConnectionSettings, KubernetesApiHook, read_extras
from airflow_provider_sparkml.resources.core import NAMESPACE


def _certificate(name: str, issuer: tuple[x509.Certificate, Any] | None) -> tuple[x509.Certificate, Any]:
    """Return a certificate and its key, signed by the issuer, or by itself as a CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem


@dataclass
class Wire:
    """A server that lists one namespace, and remembers who asked for it."""

    url: str
    ca: bytes
    certificate: bytes
    key: bytes
    directory: Path
    seen: list[str] = field(default_factory=list)

    def kubeconfig(self, **user: Any) -> dict[str, Any]:
        """Return a kubeconfig with two contexts: ``main`` of the user given, ``other`` of somebody else."""
        cluster = {"server": self.url, "certificate-authority-data": b64encode(self.ca).decode()}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "main",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": user}, {"name": "o", "user": {"token": "other-token"}}],
            "contexts": [
                {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "of-context"}},
                {"name": "other", "context": {"cluster": "c", "user": "o"}},
            ],
        }

    def write(self, name: str = "config", **user: Any) -> str:
        path = self.directory / name
        path.write_text(yaml.safe_dump(self.kubeconfig(**user)))
        path.chmod(0o600)
        return str(path)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    directory = tmp_path_factory.mktemp("wire")
    ca = _certificate("ca", None)
    files = {}
    for name in ("server", "client"):
        certificate, key = _certificate(f"{name}-name", ca)
        files[name] = (_pem(certificate), _key_pem(key))
        (directory / f"{name}.pem").write_bytes(b"".join(files[name]))
    (directory / "ca.pem").write_bytes(_pem(ca[0]))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            peer = self.connection.getpeercert() or {}  # type: ignore[attr-defined]
            names = [value for part in peer.get("subject", ()) for key, value in part if key == "commonName"]
            scheme, blank, secret = self.headers.get("Authorization", "").partition(" ")
            wire.seen.append(f"{scheme.capitalize()}{blank}{secret}|{','.join(names)}")  # RFC 7235: any case will do
            items = [{"metadata": {"name": "the-one"}}]
            body = json.dumps({"kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": items}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.load_verify_locations(directory / "ca.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    wire = Wire(f"https://127.0.0.1:{httpd.server_port}", _pem(ca[0]), *files["client"], directory)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield wire
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def wire(server: Wire, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Wire]:
    from kubernetes.client import Configuration

    server.seen.clear()
    server.directory = tmp_path
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    yield server
    Configuration.set_default(None)  # its load functions change the process's default


def connection(monkeypatch: pytest.MonkeyPatch, extra: Any, name: str = "c") -> str:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    return name


async def ask(conn_id: str | None) -> list[str]:
    """List namespaces by our hook."""
    async with KubernetesApiHook(conn_id).connect() as cluster:
        return [item["metadata"]["name"] for item in (await cluster.client.list(NAMESPACE)).items]


def ask_cncf(conn_id: str | None) -> list[str]:
    """List namespaces by the cncf provider's hook."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from kubernetes.client import CoreV1Api

    api_client = KubernetesHook(conn_id=conn_id, kubernetes_conn_id=None).get_conn()
    try:
        return [item.metadata.name for item in CoreV1Api(api_client).list_namespace().items]
    finally:
        api_client.rest_client.pool_manager.clear()


async def same(wire: Wire, conn_id: str | None) -> str:
    """Ask by both hooks, and return the one identity that the server saw."""
    assert await ask(conn_id) == ["the-one"]
    assert await asyncio.to_thread(ask_cncf, conn_id) == ["the-one"]
    ours, theirs = wire.seen
    assert ours == theirs
    return ours


# --- the same cluster and identity as KubernetesHook ---------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "extra__kubernetes__"])
async def test_kubeconfig_path(wire: Wire, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    conn = connection(monkeypatch, {f"{prefix}kube_config_path": wire.write(token="file-token")})
    assert await same(wire, conn) == "Bearer file-token|"


@pytest.mark.parametrize("prefix", ["", "extra__kubernetes__"])
@pytest.mark.parametrize("form", ["mapping", "json", "yaml"])
async def test_inline_kubeconfig(wire: Wire, monkeypatch: pytest.MonkeyPatch, prefix: str, form: str) -> None:
    config = wire.kubeconfig(token="inline-token")
    given = {"mapping": config, "json": json.dumps(config), "yaml": yaml.safe_dump(config)}[form]
    conn = connection(monkeypatch, {f"{prefix}kube_config": given})
    assert await same(wire, conn) == "Bearer inline-token|"


@pytest.mark.parametrize("form", ["mapping", "json", "yaml"])
async def test_airflows_masker_knows_the_credentials_of_an_inline_kubeconfig(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    secret = f"a-token-given-as-{form}"
    config = wire.kubeconfig(token=secret)
    given = {"mapping": config, "json": json.dumps(config), "yaml": yaml.safe_dump(config)}[form]
    await ask(connection(monkeypatch, {"kube_config": given}))
    assert redact(f"Authorization: Bearer {secret}") == "Authorization: Bearer ***"


@pytest.mark.parametrize("prefix", ["", "extra__kubernetes__"])
async def test_cluster_context(wire: Wire, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    extra = {"kube_config": wire.kubeconfig(token="t"), f"{prefix}cluster_context": "other"}
    assert await same(wire, connection(monkeypatch, extra)) == "Bearer other-token|"


async def test_client_certificate(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    user = {
        "client-certificate-data": b64encode(wire.certificate).decode(),
        "client-key-data": b64encode(wire.key).decode(),
    }
    conn = connection(monkeypatch, {"kube_config": wire.kubeconfig(**user)})
    assert await same(wire, conn) == "|client-name"


async def test_basic_auth(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    conn = connection(monkeypatch, {"kube_config": wire.kubeconfig(username="u", password="p")})
    assert await same(wire, conn) == f"Basic {b64encode(b'u:p').decode()}|"


async def test_token_file(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    (wire.directory / "token").write_text("from-a-file")
    path = wire.write(tokenFile=str(wire.directory / "token"))
    assert await same(wire, connection(monkeypatch, {"kube_config_path": path})) == "Bearer from-a-file|"


async def test_exec_plugin_of_a_file_on_the_worker(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    version = "client.authentication.k8s.io/v1"
    answer = {"apiVersion": version, "kind": "ExecCredential", "status": {"token": "plugin-token"}}
    plugin = {"apiVersion": version, "command": "echo", "args": [json.dumps(answer)], "interactiveMode": "Never"}
    conn = connection(monkeypatch, {"kube_config_path": wire.write(exec=plugin)})
    assert await same(wire, conn) == "Bearer plugin-token|"


@pytest.mark.parametrize("flag", [True, "true", "True"])
@pytest.mark.parametrize("prefix", ["", "extra__kubernetes__"])
async def test_disable_verify_ssl(wire: Wire, monkeypatch: pytest.MonkeyPatch, prefix: str, flag: Any) -> None:
    from urllib3 import disable_warnings

    disable_warnings()
    config = wire.kubeconfig(token="t")
    del config["clusters"][0]["cluster"]["certificate-authority-data"]  # so the certificate is nobody's we know
    extra = {"kube_config": config, f"{prefix}disable_verify_ssl": flag}
    assert await same(wire, connection(monkeypatch, extra)) == "Bearer t|"


async def test_in_cluster(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    service_account(wire, monkeypatch)
    assert await same(wire, connection(monkeypatch, {"in_cluster": True})) == "Bearer pod-token|"


@pytest.mark.parametrize("extra", [{}, {"namespace": "n"}, {"kube_config_path": "", "kube_config": ""}])
async def test_no_extras_mean_the_pod_and_outside_of_one_the_default_kubeconfig(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]
) -> None:
    default_kubeconfig(monkeypatch, wire.write(token="default-token"))
    conn = connection(monkeypatch, extra)
    assert await same(wire, conn) == "Bearer default-token|"
    wire.seen.clear()
    service_account(wire, monkeypatch)
    assert await same(wire, conn) == "Bearer pod-token|"


async def test_no_connection_at_all(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    default_kubeconfig(monkeypatch, wire.write(token="default-token"))
    assert await same(wire, None) == "Bearer default-token|"


async def test_context_of_the_default_kubeconfig(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    default_kubeconfig(monkeypatch, wire.write(token="default-token"))
    assert await same(wire, connection(monkeypatch, {"cluster_context": "other"})) == "Bearer other-token|"


def default_kubeconfig(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    from kubernetes.config import kube_config

    monkeypatch.setenv("KUBECONFIG", path)
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", path)  # read once, when it is imported


def service_account(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import incluster_config

    from airflow_provider_sparkml.client import in_cluster

    directory = wire.directory / "serviceaccount"
    directory.mkdir()
    (directory / "token").write_text("pod-token")
    (directory / "ca.crt").write_bytes(wire.ca)
    (directory / "namespace").write_text("of-pod")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", wire.url.rpartition(":")[2])
    monkeypatch.setattr(in_cluster, "SERVICE_ACCOUNT", directory)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(directory / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(directory / "ca.crt"))


# --- where we differ on purpose ------------------------------------------------------------------------------------


async def test_an_inline_exec_plugin_is_refused_and_never_run(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = wire.directory / "ran"
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(ran)]}
    conn = connection(monkeypatch, {"kube_config": wire.kubeconfig(exec=plugin)})
    with pytest.raises(InvalidConnectionError, match="exec"):
        await ask(conn)
    assert not ran.exists()
    assert wire.seen == []


@pytest.mark.parametrize("flag", ["false", "False", False, "", None, 0])
def test_a_text_that_says_false_is_false(flag: Any) -> None:
    extras = {"in_cluster": flag, "disable_verify_ssl": flag, "disable_tcp_keepalive": flag}
    assert read_extras(extras, "c") == ConnectionSettings()


def test_the_plain_name_counts_more_than_the_prefixed_one() -> None:
    extras = {
        "namespace": "plain",
        "extra__kubernetes__namespace": "prefixed",
        "extra__kubernetes__cluster_context": "x",
    }
    assert read_extras(extras, "c") == ConnectionSettings(namespace="plain", cluster_context="x")


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extras", "message"),
    [
        ({"in_cluster": True, "kube_config_path": "/x"}, "in_cluster and kube_config_path exclude each other"),
        ({"kube_config": "{}", "kube_config_path": "/x"}, "kube_config_path and kube_config exclude each other"),
        ({"kube_config": "{}", "extra__kubernetes__in_cluster": "true"}, "in_cluster and kube_config exclude"),
        ({"in_cluster": "yes please"}, "in_cluster is 'yes please': set it to true or false"),
        ({"disable_verify_ssl": ["x"]}, r"disable_verify_ssl is \['x'\]"),
        ({"namespace": 7}, "namespace is 7: it must be a text"),
        ({"kube_config": 7}, "kube_config is a int"),
        # A kubeconfig in the wrong field is not told.
        ({"kube_config_path": "users:\n- user: {token: hush}"}, "kube_config_path is no path but a text(?!.*hush)"),
        ({"kube_config_path": '{"users": [{"user": {"token": "hush"}}]}'}, "kube_config_path is no path(?!.*hush)"),
        ({"namespace": {"users": [{"user": {"token": "hush"}}]}}, "namespace is a dict of(?!.*hush)"),
        ({"in_cluster": "users: [{user: {token: hush}}]"}, "in_cluster is a str of(?!.*hush)"),
    ],
)
def test_a_bad_field_is_named_with_its_connection(extras: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConnectionError, match=f"connection 'prod': .*{message}"):
        read_extras(extras, "prod")


@pytest.mark.parametrize("extra", ['["a"]', "{broken", '"text"'])
async def test_an_extra_that_is_no_object_is_no_empty_extra(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    default_kubeconfig(monkeypatch, wire.write(token="default-token"))
    monkeypatch.setenv("AIRFLOW_CONN_C", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    with pytest.raises(Exception, match=r"JSON|extra"):
        await ask("c")
    assert wire.seen == []


def test_secrets_are_in_no_repr() -> None:
    assert "SECRET" not in repr(read_extras({"kube_config": "token: SECRET"}, "c"))


# --- the namespace -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "expected"),
    [({"namespace": "of-connection"}, "of-connection"), ({}, "of-context"), ({"cluster_context": "other"}, "default")],
)
async def test_default_namespace(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], expected: str
) -> None:
    conn = connection(monkeypatch, {"kube_config": wire.kubeconfig(token="t"), **extra})
    async with KubernetesApiHook(conn).connect() as cluster:
        assert await cluster.default_namespace() == expected


# --- sharing -------------------------------------------------------------------------------------------------------


async def test_all_of_one_event_loop_share_client_and_hub_and_the_last_closes_them(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn = connection(monkeypatch, {"kube_config": wire.kubeconfig(token="t")})
    async with KubernetesApiHook(conn).connect() as first:
        async with KubernetesApiHook(conn).connect() as second:
            assert second is first
        assert (await first.client.list(NAMESPACE)).items, "closed while somebody still uses it"
        assert len(hook_module._CLUSTERS[asyncio.get_running_loop()]) == 1
    assert hook_module._CLUSTERS[asyncio.get_running_loop()] == {}
    async with KubernetesApiHook(conn).connect() as third:
        assert third is not first


async def test_an_edited_connection_is_another_cluster(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    connection(monkeypatch, {"kube_config": wire.kubeconfig(token="before")})
    async with KubernetesApiHook("c").connect() as first:
        connection(monkeypatch, {"kube_config": wire.kubeconfig(token="after")})
        async with KubernetesApiHook("c").connect() as second:
            await second.client.list(NAMESPACE)
            await first.client.list(NAMESPACE)
    assert wire.seen == ["Bearer after|", "Bearer before|"]


async def test_a_cancelled_user_leaves_nothing_open(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    conn = connection(monkeypatch, {"kube_config": wire.kubeconfig(token="t")})
    inside = asyncio.Event()

    async def use() -> None:
        async with KubernetesApiHook(conn).connect() as cluster:
            await cluster.client.list(NAMESPACE)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(use())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # An unclosed session would warn when it is collected, and warnings are errors.
    assert hook_module._CLUSTERS[asyncio.get_running_loop()] == {}


def test_two_event_loops_share_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    conn = connection(monkeypatch, {"kube_config": wire.kubeconfig(token="t")})
    assert asyncio.run(ask(conn)) == asyncio.run(ask(conn)) == ["the-one"]
