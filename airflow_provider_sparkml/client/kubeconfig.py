"""Kubeconfigs, from files or inline, → :class:`Settings`: merging, checking, following a context; without network.

The format is client-go's (``clientcmd/api/v1``). Where kubectl and Airflow's ``KubernetesHook`` differ in which cluster
they choose, this follows the hook, so that a connection means the same cluster to both.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from airflow_provider_sparkml.client.settings import (
    ExecPlugin,
    FileMark,
    Settings,
    TlsMaterial,
    bearer_token,
    file_mark,
    read_file,
)
from airflow_provider_sparkml.exceptions import InvalidConnectionError

DEFAULT_PATH = "~/.kube/config"
_INLINE = "the inline kubeconfig"
_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_EXEC_GROUP = "client.authentication.k8s.io"


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster, context or user of a kubeconfig; its directory, ``None`` for an inline one, is where paths start."""

    label: str
    data: Mapping[str, Any]
    directory: Path | None

    def text(self, key: str) -> str:
        """Return a text field, empty when absent."""
        value = self.data.get(key)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidConnectionError(f"{self.label}: {key} must be a text, not a {type(value).__name__}")
        return str(value)

    def required(self, key: str) -> str:
        """Return a text field that must be there."""
        if value := self.text(key):
            return value
        raise InvalidConnectionError(f"{self.label}: {key} is missing")

    def flag(self, key: str) -> bool:
        """Return a boolean field; the text "false" must not switch a check off."""
        value = self.data.get(key)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise InvalidConnectionError(f"{self.label}: {key} must be true or false, not {value!r}")

    def items(self, key: str) -> list[Any]:
        """Return a list field, empty when absent."""
        value = self.data.get(key) or []
        if not isinstance(value, list):
            raise InvalidConnectionError(f"{self.label}: {key} must be a list")
        return value

    def entries(self, key: str) -> list[_Entry]:
        """Return a list field whose items are mappings, empty when absent."""
        entries = [_Entry(f"{self.label}.{key}[{i}]", item, self.directory) for i, item in enumerate(self.items(key))]
        for entry in entries:
            if not isinstance(entry.data, Mapping):
                raise InvalidConnectionError(f"{entry.label} must be a mapping")
        return entries

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Return a mapping field, empty when absent."""
        value = self.data.get(key) or {}
        if not isinstance(value, Mapping):
            raise InvalidConnectionError(f"{self.label}: {key} must be a mapping")
        return value


class _Merged:
    """The named entries of one or more kubeconfigs; of equal names the first counts."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, _Entry]] = {section: {} for section in _SECTIONS}
        self.current_context = ""

    def add(self, data: Any, source: str, directory: Path | None) -> None:
        """Merge one kubeconfig in."""
        if not isinstance(data, Mapping):
            raise InvalidConnectionError(f"{source} is no kubeconfig: it must be a mapping with clusters and contexts")
        whole = _Entry(source, data, directory)
        for section, key in _SECTIONS.items():
            for item in whole.entries(section):
                name = item.required("name")
                self.entries[section].setdefault(
                    name, _Entry(f"{source}: {key} {name!r}", item.mapping(key), directory)
                )
        # kubectl lets the first file choose the context, KubernetesHook the last; see the module's docstring.
        self.current_context = whole.text("current-context") or self.current_context

    def entry(self, section: str, name: str, wanted_by: str) -> _Entry:
        """Return an entry by name."""
        found = self.entries[section].get(name)
        if found is None:
            raise InvalidConnectionError(
                f"{wanted_by} names the {_SECTIONS[section]} {name!r}, but the kubeconfig has: {self.names(section)}"
            )
        return found

    def names(self, section: str) -> str:
        """Return the names of a section's entries, for messages."""
        return ", ".join(sorted(self.entries[section])) or "none"


def read_files(path: str | os.PathLike[str] | None, context: str | None) -> Settings:
    """Read kubeconfig files from disk; missing ones of several are passed over.

    :param path: a file or a list of them as ``KUBECONFIG`` holds it, ``~`` for the home; ``None`` for the default.
    :param context: the context to use instead of ``current-context``.
    :raises InvalidConnectionError: naming the file, the field and the fix.
    """
    text = os.fspath(path) if path is not None else os.environ.get("KUBECONFIG") or DEFAULT_PATH
    paths = [Path(part).expanduser() for part in text.split(os.pathsep) if part]
    marks = tuple((each, file_mark(each)) for each in paths)
    found = [each for each in paths if each.exists()]
    if not found:
        raise InvalidConnectionError(
            f"kubeconfig {text} does not exist on this machine; set kube_config_path of the connection, or KUBECONFIG, "
            "to a file that the workers and the triggerer can read"
        )
    merged = _Merged()
    for each in found:
        source = f"kubeconfig {each}"
        content = read_file(each, source).decode(errors="replace")
        merged.add(_parse(content, source), source, each.parent.absolute())
    return _resolve(merged, context, allow_exec=True, files=marks)


def read_inline(data: Mapping[str, Any] | str, context: str | None, *, allow_exec: bool) -> Settings:
    """Read a kubeconfig given as a mapping, or as JSON or YAML text.

    :param context: the context to use instead of ``current-context``.
    :param allow_exec: whether its exec plug-in may be run.
    :raises InvalidConnectionError: naming the field and the fix.
    """
    merged = _Merged()
    merged.add(_parse(data, _INLINE) if isinstance(data, str) else data, _INLINE, None)
    return _resolve(merged, context, allow_exec=allow_exec, files=())


def _resolve(
    merged: _Merged, context: str | None, *, allow_exec: bool, files: tuple[tuple[Path, FileMark], ...]
) -> Settings:
    """Follow a context to its cluster and its user."""
    chosen = context or merged.current_context
    if not chosen:
        raise InvalidConnectionError(
            f"the kubeconfig has no current-context; set cluster_context to one of: {merged.names('contexts')}"
        )
    entry = merged.entry("contexts", chosen, "cluster_context" if context else "current-context")
    cluster = merged.entry("clusters", entry.required("cluster"), entry.label)
    name = entry.text("user")
    user = merged.entry("users", name, entry.label) if name else _Entry("no user", {}, None)
    reader = _Reader(files)
    server = _server(cluster)
    tls = reader.tls(cluster, user) if server.startswith("https") else TlsMaterial()
    token = reader.token(user)
    basic = user.text("username") and user.text("password") and f"{user.text('username')}:{user.text('password')}"
    return Settings(
        server=server,
        namespace=entry.text("namespace"),
        tls=tls,
        tls_server_name=cluster.text("tls-server-name"),
        proxy=_proxy(cluster),
        token=token,
        basic=basic,
        exec_plugin=None if token else _exec_plugin(user, cluster, tls, allow_exec=allow_exec),
        headers=_impersonation(user),
        files=tuple(reader.files),
    )


class _Reader:
    """Reads the files a kubeconfig refers to, and remembers which."""

    def __init__(self, files: tuple[tuple[Path, FileMark], ...]) -> None:
        self.files = list(files)

    def tls(self, cluster: _Entry, user: _Entry) -> TlsMaterial:
        """Return what the TLS context is made of."""
        return TlsMaterial(
            ca=self._pem(cluster, "certificate-authority"),
            certificate=self._pem(user, "client-certificate"),
            key=self._pem(user, "client-key"),
            verify=not cluster.flag("insecure-skip-tls-verify"),
        )

    def token(self, user: _Entry) -> str:
        """Return the bearer token, empty when there is none; the file counts more, since it is the one that rotates."""
        if user.text("tokenFile"):
            return bearer_token(self._file(user, "tokenFile").decode(errors="replace"), f"{user.label}: tokenFile")
        if token := user.text("token"):
            return bearer_token(token, f"{user.label}: token")
        return _auth_provider_token(user) if user.mapping("auth-provider") else ""

    def _pem(self, entry: _Entry, key: str) -> bytes:
        """Return the content of ``<key>-data`` or of the file ``<key>``."""
        if data := entry.text(f"{key}-data"):
            try:
                return base64.b64decode("".join(data.split()), validate=True)
            except (binascii.Error, ValueError):
                raise InvalidConnectionError(
                    f"{entry.label}: {key}-data is not base64; put the PEM file through base64 -w0"
                ) from None
        return self._file(entry, key) if entry.text(key) else b""

    def _file(self, entry: _Entry, key: str) -> bytes:
        path = Path(entry.text(key)).expanduser()
        if not path.is_absolute():
            if entry.directory is None:
                raise InvalidConnectionError(
                    f"{entry.label}: {key} {str(path)!r} is a relative path, and an inline kubeconfig has no "
                    "directory; give an absolute path, or the content itself"
                )
            path = entry.directory / path
        self.files.append((path, file_mark(path)))  # taken before reading: a change meanwhile is then noticed
        return read_file(path, f"{entry.label}: {key}")


def _auth_provider_token(user: _Entry) -> str:
    """Return the token kept by an ``auth-provider`` (oidc, gcp) while it is valid.

    It is not refreshed here: the new refresh token would have to be written back for all other processes.
    """
    provider = _Entry(f"{user.label}: auth-provider", user.mapping("auth-provider"), None)
    config = _Entry(f"{provider.label}.config", provider.mapping("config"), None)
    token = config.text("id-token") or config.text("access-token")
    expiry = _jwt_expiry(token)
    if not token or (expiry is not None and expiry <= time.time()):
        raise InvalidConnectionError(
            f"{provider.label} {provider.text('name')!r} holds {'an expired' if token else 'no'} token, and it is not "
            "refreshed here; use an exec plug-in (kubectl oidc-login, gke-gcloud-auth-plugin), a token or a tokenFile"
        )
    return bearer_token(token, config.label)


def _jwt_expiry(token: str) -> float | None:
    """Return when a JSON web token expires in epoch seconds, ``None`` when it does not say, or is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _exec_plugin(user: _Entry, cluster: _Entry, tls: TlsMaterial, *, allow_exec: bool) -> ExecPlugin | None:
    """Return the user's plug-in, refusing one that came from a connection instead of from a file of the worker."""
    if not user.data.get("exec"):
        return None
    if not allow_exec:
        # Whoever may edit a connection must not thereby run programs on the workers.
        raise InvalidConnectionError(
            f"{user.label}: exec plug-ins of an inline kubeconfig are not run, since whoever edits the connection "
            "could run any program on the workers; put the kubeconfig into a file on the workers and name it in "
            "kube_config_path, or let the deployment's own code pass allow_exec=True"
        )
    plugin = _Entry(f"{user.label}: exec", user.mapping("exec"), user.directory)
    command, version = plugin.required("command"), plugin.required("apiVersion")
    if version.partition("/")[0] != _EXEC_GROUP:
        raise InvalidConnectionError(f"{plugin.label}.apiVersion {version!r} is not known; use {_EXEC_GROUP}/v1")
    if plugin.text("interactiveMode") == "Always":
        raise InvalidConnectionError(
            f"{plugin.label}.interactiveMode is Always, but a worker has no terminal; use a plug-in that asks nobody"
        )
    if os.sep in command and user.directory is not None:
        command = str(user.directory / command)
    return ExecPlugin(
        api_version=version,
        command=command,
        args=tuple(str(arg) for arg in plugin.items("args")),
        env=tuple((item.required("name"), item.text("value")) for item in plugin.entries("env")),
        cwd=user.directory,
        cluster=_cluster_info(cluster, tls) if plugin.flag("provideClusterInfo") else None,
        install_hint=plugin.text("installHint"),
    )


def _cluster_info(cluster: _Entry, tls: TlsMaterial) -> dict[str, Any]:
    """Return ``spec.cluster`` of an ExecCredential (client.authentication/v1 ``Cluster``)."""
    keys = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url", "disable-compression")
    info = {key: cluster.data[key] for key in keys if cluster.data.get(key)}
    if tls.ca:
        info["certificate-authority-data"] = base64.b64encode(tls.ca).decode()
    for extension in cluster.entries("extensions"):
        if extension.text("name") == f"{_EXEC_GROUP}/exec":
            info["config"] = extension.data.get("extension")
    return info


def _impersonation(user: _Entry) -> tuple[tuple[str, str], ...]:
    """Return the headers of ``as``, ``as-uid``, ``as-groups``, ``as-user-extra``; without them rights would widen."""
    headers = [("Impersonate-User", user.text("as")), ("Impersonate-Uid", user.text("as-uid"))]
    headers += [("Impersonate-Group", str(group)) for group in user.items("as-groups")]
    extra = _Entry(f"{user.label}: as-user-extra", user.mapping("as-user-extra"), None)
    headers += [(f"Impersonate-Extra-{key}", str(value)) for key in extra.data for value in extra.items(key)]
    if not all(f"{header}{value}".isprintable() for header, value in headers):
        raise InvalidConnectionError(f"{user.label}: impersonation contains characters that cannot be printed")
    return tuple((header, value) for header, value in headers if value)


def _server(cluster: _Entry) -> str:
    """Return the checked URL of the API server."""
    server = cluster.required("server").rstrip("/")
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.username
    except ValueError:
        usable = False
    if not usable:
        raise InvalidConnectionError(
            f"{cluster.label}: server must be an URL like https://host:6443, without user and password"
        )
    return server


def _proxy(cluster: _Entry) -> str:
    """Return the checked ``proxy-url``, empty when there is none."""
    proxy = cluster.text("proxy-url")
    scheme = urlsplit(proxy).scheme
    if proxy and scheme not in ("http", "https"):
        raise InvalidConnectionError(
            f"{cluster.label}: proxy-url must begin with http:// or https://, not {scheme or 'no scheme'}"
        )
    return proxy


def credentials_in(config: Mapping[str, Any] | str) -> list[str]:
    """Return the secrets of an inline kubeconfig, of its users and its proxies, longest first; never raises.

    :param config: as a mapping, or as JSON or YAML text.
    """
    try:
        data = _parse(config, "kubeconfig") if isinstance(config, str) else config
        users = [each["user"] for each in data["users"] if isinstance(each, Mapping)]
    except (InvalidConnectionError, KeyError, TypeError):
        return []
    found: set[str] = set()
    for user in users:
        given = user if isinstance(user, Mapping) else {}
        provider = given.get("auth-provider")
        config_of = provider.get("config") if isinstance(provider, Mapping) else None
        secrets = [given.get(name) for name in ("token", "password", "client-key-data")]
        secrets += [(config_of or {}).get(name) for name in ("access-token", "id-token", "refresh-token")]
        found |= {str(each) for each in secrets if each}
    clusters = data.get("clusters")
    for entry in clusters if isinstance(clusters, list) else ():
        cluster = entry.get("cluster") if isinstance(entry, Mapping) else None
        proxy = cluster.get("proxy-url") if isinstance(cluster, Mapping) else None
        # As it is written: the user's part of the URL, which may be quoted, and what it stands for.
        account = str(proxy or "").rpartition("@")[0].partition("://")[2]
        if password := account.partition(":")[2]:
            found |= {password, unquote(password)}
    return sorted(found, key=len, reverse=True)


def _parse(text: str, source: str) -> Any:
    """Parse JSON or YAML, and never quote it in the error: it holds secrets."""
    try:
        return json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else getattr(error, "lineno", 1)
        raise InvalidConnectionError(
            f"{source} is neither JSON nor YAML (see line {line}); is it written completely?"
        ) from None
