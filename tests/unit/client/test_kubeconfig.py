"""Kubeconfigs: the same cluster as the official client means, and clear words about every fault."""

import base64
import contextlib
import copy
import json
import os
import sys
from pathlib import Path

import pytest
import trustme
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_sparkml.client import in_cluster
from airflow_provider_sparkml.client.credentials import kubeconfig_dict, kubeconfig_file
from airflow_provider_sparkml.client.in_cluster import read_in_cluster
from airflow_provider_sparkml.client.kubeconfig import credentials_in, read_files, read_inline
from airflow_provider_sparkml.exceptions import InvalidConnectionError, PermanentError

CA = trustme.CA()
CA_PEM = CA.cert_pem.bytes()
ISSUED = CA.issue_cert(common_name="me")
CERT_PEM, KEY_PEM = ISSUED.cert_chain_pems[0].bytes(), ISSUED.private_key_pem.bytes()


def b64(data):
    return base64.b64encode(data).decode()


def config(user=None, cluster=None, context=None):
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [
            {"name": "here", "context": {"cluster": "one", "user": "me", "namespace": "team", **(context or {})}},
            {"name": "there", "context": {"cluster": "two", "user": "other"}},
        ],
        "clusters": [
            {"name": "one", "cluster": {"server": "https://one.example:6443", **(cluster or {})}},
            {"name": "two", "cluster": {"server": "https://two.example/prefix/"}},
        ],
        "users": [{"name": "me", "user": user or {}}, {"name": "other", "user": {"token": "other-token"}}],
    }


def plugin(status, version="client.authentication.k8s.io/v1"):
    """Return a user whose exec plug-in prints a status."""
    answer = json.dumps({"apiVersion": version, "kind": "ExecCredential", "status": status})
    return {"exec": {"apiVersion": version, "command": sys.executable, "args": ["-c", f"print({answer!r})"]}}


CERTIFICATES = {"clientCertificateData": CERT_PEM.decode(), "clientKeyData": KEY_PEM.decode()}
FORMS = {
    "anonymous": config(),
    "token": config({"token": "inline-token"}),
    "token file": config({"tokenFile": "token"}),
    "basic": config({"username": "jane", "password": "pa:ss word"}),
    "certificate files": config({"client-certificate": "tls.crt", "client-key": "./tls.key"}),
    "certificate data": config({"client-certificate-data": b64(CERT_PEM), "client-key-data": b64(KEY_PEM)}),
    "certificate and token": config({"client-certificate": "tls.crt", "client-key": "tls.key", "token": "t"}),
    "CA file": config({"token": "t"}, {"certificate-authority": "ca.crt"}),
    "CA data": config({"token": "t"}, {"certificate-authority-data": b64(CA_PEM)}),
    "insecure": config({"token": "t"}, {"insecure-skip-tls-verify": True}),
    "server name": config({"token": "t"}, {"tls-server-name": "api.internal"}),
    "plain http": config({"token": "t"}, {"server": "http://127.0.0.1:8001/"}),
    "exec token": config(plugin({"token": "exec-token"})),
    "exec token v1beta1": config(plugin({"token": "exec-token"}, "client.authentication.k8s.io/v1beta1")),
    "exec certificate": config(plugin(CERTIFICATES)),
    "oidc": config({"auth-provider": {"name": "oidc", "config": {"id-token": f"{b64(b'{}')[:-1]}.e30.c2ln"}}}),
}
FILES_ONLY = ("token file", "certificate files", "certificate and token", "CA file")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory with certificates beside the kubeconfig, and no cluster configured otherwise."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    kube = tmp_path / ".kube"
    kube.mkdir()
    for name, content in (("ca.crt", CA_PEM), ("tls.crt", CERT_PEM), ("tls.key", KEY_PEM), ("token", b"file-token")):
        (kube / name).write_bytes(content)
    return kube


def official(**arguments):
    """Return what the official client, which KubernetesHook uses, makes of the same input."""
    from kubernetes import client
    from kubernetes import config as loader

    configuration = client.Configuration()
    load = loader.load_kube_config_from_dict if "config_dict" in arguments else loader.load_kube_config
    load(client_configuration=configuration, persist_config=False, **arguments)

    def content(path):
        return Path(path).read_bytes() if path else b""

    return {
        "server": configuration.host,
        "authorization": configuration.api_key.get("BearerToken", ""),
        "ca": content(configuration.ssl_ca_cert),
        "certificate": content(configuration.cert_file),
        "key": content(configuration.key_file),
        "verify": configuration.verify_ssl,
        "tls_server_name": configuration.tls_server_name,
    }


async def ours(source):
    credentials = await source.load()
    material = source._material
    return {
        "server": credentials.server,
        "authorization": dict(credentials.headers).get("Authorization", ""),
        "ca": material.ca,
        "certificate": material.certificate,
        "key": material.key,
        "verify": material.verify,
        "tls_server_name": credentials.tls_server_name,
    }


@pytest.mark.parametrize("form", FORMS)
async def test_a_file_means_the_same_as_to_the_official_client(form, home):
    path = home / "config"
    path.write_text(yaml.safe_dump(FORMS[form]))
    assert await ours(kubeconfig_file(str(path))) == official(config_file=str(path))


@pytest.mark.parametrize("form", [form for form in FORMS if form not in FILES_ONLY])
@pytest.mark.parametrize("given_as", ["mapping", "JSON", "YAML"])
async def test_an_inline_one_means_the_same_as_to_the_official_client(form, given_as, home):
    data = FORMS[form]
    text = {"mapping": data, "JSON": json.dumps(data), "YAML": yaml.safe_dump(data)}[given_as]
    assert await ours(kubeconfig_dict(text, allow_exec=True)) == official(config_dict=data)


@pytest.mark.parametrize("context", [None, "here", "there"])
async def test_contexts_choose_alike(context, home):
    path = home / "config"
    path.write_text(yaml.safe_dump(config({"token": "mine"})))
    assert await ours(kubeconfig_file(path, context)) == official(config_file=str(path), context=context)


async def test_the_default_file_and_the_home_are_found(home):
    (home / "config").write_text(yaml.safe_dump(config({"token": "mine"})))
    expected = official(config_file="~/.kube/config")
    assert await ours(kubeconfig_file(None)) == expected
    assert await ours(kubeconfig_file("~/.kube/config")) == expected


@pytest.mark.parametrize("by", ["KUBECONFIG", "path"])
async def test_a_list_of_files_is_merged_alike_and_paths_start_beside_their_own_file(by, home, monkeypatch):
    first, second = home / "first", home.parent / "second"
    clusters = config(cluster={"certificate-authority": "ca.crt"}) | {"users": [], "current-context": None}
    users = config({"token": "mine"}) | {"clusters": [], "contexts": [], "current-context": "there"}
    first.write_text(yaml.safe_dump(clusters))
    second.write_text(yaml.safe_dump(users))
    paths = os.pathsep.join(map(str, (home / "absent", first, second)))
    if by == "KUBECONFIG":
        monkeypatch.setenv("KUBECONFIG", paths)
    source = kubeconfig_file(None if by == "KUBECONFIG" else paths)
    assert await ours(source) == official(config_file=paths)
    here = kubeconfig_file(None if by == "KUBECONFIG" else paths, "here")
    assert await ours(here) == official(config_file=paths, context="here")


def test_the_first_of_two_entries_of_a_name_counts_and_the_last_current_context(home):
    first, second = home / "first", home / "second"
    first.write_text(yaml.safe_dump(config({"token": "first"})))
    second.write_text(yaml.safe_dump(config({"token": "second"}) | {"current-context": "there"}))
    found = read_files(f"{first}{os.pathsep}{second}", None)
    assert (found.token, found.server) == ("other-token", "https://two.example/prefix")
    assert read_files(f"{first}{os.pathsep}{second}", "here").token == "first"


def test_namespace_and_proxy_and_impersonation_are_read():
    user = {"token": "t", "as": "jane", "as-uid": "7", "as-groups": ["a", "b"], "as-user-extra": {"scope": ["x"]}}
    found = read_inline(config(user, {"proxy-url": "http://proxy:3128"}), None, allow_exec=False)
    assert found.namespace == "team"
    assert found.proxy == "http://proxy:3128"
    assert found.headers == (
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
        ("Impersonate-Extra-scope", "x"),
    )


def test_a_token_file_counts_more_than_a_token_since_it_rotates(home):
    (home / "config").write_text(yaml.safe_dump(config({"token": "stale", "tokenFile": "token"})))
    assert read_files(home / "config", None).token == "file-token"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("", "no kubeconfig: it must be a mapping"),
        ("[]", "no kubeconfig: it must be a mapping"),
        ('{"clusters": [', r"neither JSON nor YAML \(see line 1\); is it written completely"),
        ("clusters:\n  - name: [", "neither JSON nor YAML .see line"),
        ({"clusters": {}}, "no current-context; set cluster_context to one of: none"),
        ({"clusters": "x"}, "clusters must be a list"),
        ({"clusters": [{"cluster": {}}]}, r"clusters\[0\]: name is missing"),
        (
            {"clusters": [{"name": "x", "cluster": []}], "users": [{"name": "u", "user": "x"}]},
            r"users\[0\]: user must be",
        ),
        (config() | {"current-context": ""}, "no current-context; set cluster_context to one of: here, there"),
        (config() | {"current-context": "gone"}, "current-context names the context 'gone', but .* has: here, there"),
        (config(context={"cluster": "gone"}), "context 'here' names the cluster 'gone', but .* has: one, two"),
        (config(context={"cluster": ""}), "context 'here': cluster is missing"),
        (config(context={"user": "gone"}), "context 'here' names the user 'gone', but .* has: me, other"),
        (config(cluster={"server": ""}), "cluster 'one': server is missing"),
        (config(cluster={"server": "one.example:6443"}), "cluster 'one': server must be an URL"),
        (config(cluster={"server": "https://u:p@host"}), "cluster 'one': server must be an URL .*without user"),
        (config(cluster={"server": "https://host:port"}), "cluster 'one': server must be an URL"),
        (config(cluster={"server": ["x"]}), "cluster 'one': server must be a text, not a list"),
        (config(cluster={"proxy-url": "socks5://h:1"}), "cluster 'one': proxy-url must begin with http"),
        (config(cluster={"insecure-skip-tls-verify": "false"}), "insecure-skip-tls-verify must be true or false"),
        (config(cluster={"certificate-authority-data": "%%"}), "certificate-authority-data is not base64"),
        (config(cluster={"certificate-authority": "ca.crt"}), "certificate-authority 'ca.crt' is a relative path"),
        (config(cluster={"certificate-authority": "/no/such/ca.crt"}), "cannot read /no/such/ca.crt: No such file"),
        (config({"tokenFile": "/no/such/token"}), "user 'me': tokenFile: cannot read /no/such/token"),
        (config({"token": "two words"}), "user 'me': token holds no bearer token"),
        (config({"token": "line\nbreak"}), "user 'me': token holds no bearer token"),
        (config({"auth-provider": {"name": "gcp"}}), "auth-provider 'gcp' holds no token.*exec plug-in"),
        (
            config({"auth-provider": {"name": "oidc", "config": {"id-token": "e30.eyJleHAiOjF9.c2ln"}}}),
            "auth-provider 'oidc' holds an expired token.*exec plug-in",
        ),
        (config({"as-groups": "x"}), "user 'me': as-groups must be a list"),
        (config({"as": "jane\nX-Evil: 1"}), "user 'me': impersonation contains characters"),
    ],
)
def test_every_fault_names_the_field_and_the_fix(data, says):
    with pytest.raises(InvalidConnectionError, match=says) as caught:
        read_inline(data, None, allow_exec=False)
    assert isinstance(caught.value, PermanentError)


def test_an_unknown_cluster_context_is_called_by_the_connections_name_for_it():
    with pytest.raises(InvalidConnectionError, match="cluster_context names the context 'gone'"):
        read_inline(config(), "gone", allow_exec=False)


def test_a_missing_file_says_where_it_must_be(tmp_path):
    with pytest.raises(InvalidConnectionError, match=rf"kubeconfig {tmp_path}/no does not exist.*kube_config_path"):
        read_files(tmp_path / "no", None)


def test_an_unreadable_or_empty_file_is_named(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidConnectionError, match="empty is empty; is it written completely"):
        read_files(tmp_path / "empty", None)
    with pytest.raises(InvalidConnectionError, match=f"cannot read {tmp_path}: Is a directory"):
        read_files(tmp_path, None)


# --- exec plug-ins of a connection ---------------------------------------------------------------------------------


def test_an_inline_plug_in_is_refused_with_the_fix(tmp_path):
    mark = tmp_path / "ran"
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(mark)]}}
    with pytest.raises(InvalidConnectionError, match=r"'me'.*not run.*kube_config_path.*allow_exec=True"):
        read_inline(config(user), None, allow_exec=False)


async def test_an_inline_plug_in_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(mark)]}}
    with pytest.raises(InvalidConnectionError):
        await kubeconfig_dict(config(user)).load()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"command": "x"}, "exec: apiVersion is missing"),
        ({"apiVersion": "client.authentication.k8s.io/v1"}, "exec: command is missing"),
        (
            {"apiVersion": "v1", "command": "x"},
            "exec.apiVersion 'v1' is not known; use client.authentication.k8s.io/v1",
        ),
        (
            {"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "interactiveMode": "Always"},
            "interactiveMode is Always, but a worker has no terminal",
        ),
        (
            {"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "env": [{"value": "v"}]},
            r"exec.env\[0\]: name is missing",
        ),
    ],
)
def test_a_faulty_exec_names_the_field(data, says):
    with pytest.raises(InvalidConnectionError, match=says):
        read_inline(config({"exec": data}), None, allow_exec=True)


def test_a_relative_command_starts_beside_the_kubeconfig_and_a_bare_one_in_the_path(home):
    user = plugin({"token": "t"})
    user["exec"]["command"] = "./bin/login"
    (home / "config").write_text(yaml.safe_dump(config(user)))
    assert read_files(home / "config", None).exec_plugin.command == str(home / "bin/login")
    user["exec"]["command"] = "login"
    (home / "config").write_text(yaml.safe_dump(config(user)))
    assert read_files(home / "config", None).exec_plugin.command == "login"


def test_the_cluster_is_told_to_a_plug_in_that_asks_for_it(home):
    user = plugin({"token": "t"})
    user["exec"]["provideClusterInfo"] = True
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    cluster = {"certificate-authority": "ca.crt", "tls-server-name": "api", "extensions": [extension]}
    (home / "config").write_text(yaml.safe_dump(config(user, cluster)))
    assert read_files(home / "config", None).exec_plugin.cluster == {
        "server": "https://one.example:6443",
        "certificate-authority-data": b64(CA_PEM),
        "tls-server-name": "api",
        "config": {"audience": "x"},
    }


# --- secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["users:\n- name: u\n  user: {token: *hunter2", '{"token": "hunter2", }', "token: 'hunter2\n"]
)
def test_what_cannot_be_parsed_is_not_quoted(text, tmp_path):
    (tmp_path / "config").write_text(text)
    for read in (lambda: read_inline(text, None, allow_exec=False), lambda: read_files(tmp_path / "config", None)):
        with pytest.raises(InvalidConnectionError) as caught:
            read()
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


async def test_no_repr_shows_a_secret():
    user = {
        "token": "hunter2",
        "as": "jane",
        **{"client-key-data": b64(KEY_PEM), "client-certificate-data": b64(CERT_PEM)},
    }
    data = config(user, {"proxy-url": "http://u:hunter2@proxy"})
    source = kubeconfig_dict(data)
    found = read_inline(data, None, allow_exec=False)
    shown = repr(
        (
            source,
            found,
            await source.load(),
            read_inline(config(plugin({"token": "hunter2"})), None, allow_exec=True),
        )
    )
    assert "hunter2" not in shown
    assert "PRIVATE KEY" not in shown


def places(value, path=()):
    """Return the path of every node of a nested value."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


FULL = config(
    {
        "as-groups": ["a"],
        "as-user-extra": {"scope": ["x"]},
        "username": "u",
        "password": "p",
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "x",
            "args": ["a"],
            "env": [{"name": "n", "value": "v"}],
            "provideClusterInfo": True,
        },
        "auth-provider": {},
    },
    {"certificate-authority-data": "", "proxy-url": "http://p", "extensions": [{"name": "n", "extension": {}}]},
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text() | st.integers(), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.sampled_from([place for place in places(FULL) if place]), JUNK)
def test_whatever_stands_in_a_field_the_error_is_ours(place, junk):
    data = copy.deepcopy(FULL)
    parent = data
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = junk
    with contextlib.suppress(InvalidConnectionError):
        read_inline(data, None, allow_exec=True)


# --- in a pod ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pod(tmp_path, monkeypatch):
    monkeypatch.setattr(in_cluster, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("pod-token")
    (tmp_path / "ca.crt").write_bytes(CA_PEM)
    (tmp_path / "namespace").write_text("airflow\n")
    return tmp_path


@pytest.mark.parametrize("host", ["10.0.0.1", "fd00::1"])
def test_in_a_pod_it_is_the_same_cluster_as_the_official_clients(pod, monkeypatch, host):
    from kubernetes import client
    from kubernetes.config.incluster_config import InClusterConfigLoader

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    configuration = client.Configuration()
    InClusterConfigLoader(pod / "token", pod / "ca.crt").load_and_set(configuration)
    found = read_in_cluster()
    assert found.server == configuration.host
    assert f"bearer {found.token}" == configuration.api_key["BearerToken"]
    assert found.tls.ca == CA_PEM
    assert found.namespace == "airflow"


def test_outside_of_a_pod_it_says_what_to_set_instead(monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InvalidConnectionError, match=r"no Kubernetes pod.*kube_config_path"):
        read_in_cluster()


def test_a_pod_without_service_account_says_so(pod):
    (pod / "token").unlink()
    with pytest.raises(InvalidConnectionError, match="automountServiceAccountToken"):
        read_in_cluster()


def test_a_proxys_password_is_a_secret_too() -> None:
    def config(url: object) -> dict[str, object]:
        return {"users": [{"name": "u", "user": {"token": "t"}}], "clusters": [{"cluster": {"proxy-url": url}}]}

    assert set(credentials_in(config("http://me:hu%20sh@proxy:3128"))) == {"t", "hu%20sh", "hu sh"}
    for other in ("http://proxy:3128", "http://me@proxy:3128", None, 7):
        assert credentials_in(config(other)) == ["t"]
    assert credentials_in({**config(None), "clusters": "none"}) == ["t"]
