"""The cluster's names: services, and pods with a host name behind them → addresses, as a cluster's DNS has them.

Nobody but root can give a program another name server. So the names are in a file that Python programs in pods look
into (:mod:`.inside.pod_dns`), and in a container's variables and arguments they are replaced by the addresses.
https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from airflow_provider_sparkml.resources.base import Manifest

DOMAIN = "cluster.local"
INSIDE = Path(__file__).with_name("inside")
"""Programs and modules that run in pods."""

WAIT_SECONDS = 5.0
"""How long a container waits for the address of a pod that it names; pods of one job are made one after the other."""

HOST_VARIABLE = re.compile(r"(ADDR|ADDRESS|HOST|URI|ENDPOINT)(E?S)?$")
"""Variables in which names without a dot are hosts, one or several between commas."""

_WORD = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
# In a path no name is a host, but the one behind `://` is.
_BEGIN = r"(?:(?<=://)|(?<![\w.\-/@]))"
_NAME = re.compile(rf"{_BEGIN}{_WORD}(?:\.{_WORD})+(?![\w\-.])")
_URL_HOST = re.compile(rf"(?<=://)({_WORD}):\d+")
_HOST = re.compile(rf"({_WORD})((?::\d+)?)")


class ClusterNames:
    """Knows the services of the cluster and the pods of this node.

    :param file: where to write the names, one address and name a line.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._services: dict[tuple[str, str], Manifest] = {}
        self._pods: dict[str, Manifest] = {}
        self._table: dict[str, list[str]] = {}
        self._changed = asyncio.Event()

    def put_pod(self, pod: Manifest) -> None:
        """Take note of a pod that has its address."""
        self._pods[pod["metadata"]["uid"]] = pod
        self._renew()

    def drop_pod(self, uid: str) -> None:
        """Forget a pod."""
        if self._pods.pop(uid, None) is not None:
            self._renew()

    def put_service(self, namespace: str, name: str, service: Manifest | None) -> None:
        """Take note of a service, or that there is none of that name."""
        if service is None:
            self._services.pop((namespace, name), None)
        else:
            self._services[namespace, name] = service
        self._renew()

    def _renew(self) -> None:
        table = _table(self._services, self._pods.values())
        if table == self._table and self.file.exists():
            return
        self._table = table
        beside = self.file.with_suffix(".new")
        beside.write_text("".join(f"{address} {name}\n" for name, found in table.items() for address in found))
        beside.replace(self.file)
        self._changed.set()
        self._changed = asyncio.Event()

    def resolve(self, name: str, search: Iterable[str]) -> str:
        """Return the address of a name, looked for in domains first; empty when it has none."""
        for candidate in (*(f"{name}.{domain}" for domain in search), name):
            if found := self._table.get(candidate):
                return found[0]
        return ""

    def names_in(self, variable: str, text: str, namespace: str) -> list[str]:
        """Return the names in a variable's value, or in an argument (no variable), that can only be a service's."""
        hosts = [_HOST.fullmatch(part) for part in text.split(",")]
        if all(hosts):
            is_host = bool(HOST_VARIABLE.search(variable))
            found = [host[1] for host in hosts if host and (host[2] or is_host)]
            return [name for name in found if (namespace, name) in self._services]
        short = [name for name in _URL_HOST.findall(text) if (namespace, name) in self._services]
        return [*short, *(name for name in _NAME.findall(text) if self._is_ours(name, namespace))]

    def _is_ours(self, name: str, namespace: str) -> bool:
        """Whether a name with dots is that of a service, or of a pod behind one."""
        parts = name.removesuffix(f".{DOMAIN}").split(".")
        if parts[-1] == "svc":
            parts = parts[:-1]
            return len(parts) in (2, 3) and (parts[-1], parts[-2]) in self._services
        return (
            len(parts) == 2
            and (namespace, parts[1]) in self._services
            and _is_headless(self._services[namespace, parts[1]])
        )

    def rewrite(self, variable: str, text: str, pod: Manifest) -> str:
        """Return a text with the names in it replaced by their addresses, as far as they have one."""
        search = search_domains(pod)
        for name in self.names_in(variable, text, pod["metadata"]["namespace"]):
            if address := self.resolve(name, search):
                end = r"(?![\w\-.])" if "." in name else r"(?=:\d|,|$)"
                text = re.sub(rf"{_BEGIN}{re.escape(name)}{end}", address, text)
        return text

    async def known(self, variables: Mapping[str, str], words: Iterable[str], pod: Manifest) -> None:
        """Wait until all names in variables and arguments have an address, but not for long."""
        search, namespace = search_domains(pod), pod["metadata"]["namespace"]

        def unknown() -> bool:
            texts = (*variables.items(), *(("", word) for word in words))
            names = (name for variable, text in texts for name in self.names_in(variable, text, namespace))
            return any(not self.resolve(name, search) for name in names)

        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while unknown():
                    await self._changed.wait()
        except TimeoutError:
            return


def search_domains(pod: Manifest) -> list[str]:
    """Return the domains in which a pod's short names are looked for."""
    own = [f"{pod['metadata']['namespace']}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]
    return [*own, *((pod["spec"].get("dnsConfig") or {}).get("searches") or ())]


def host_name(pod: Manifest) -> str:
    """Return what a pod's host is called."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])


def _is_headless(service: Manifest) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


def _table(services: Mapping[tuple[str, str], Manifest], pods: Iterable[Manifest]) -> dict[str, list[str]]:
    """Return full name → addresses."""
    table: dict[str, list[str]] = {}
    by_namespace: dict[str, list[Manifest]] = {}
    for pod in pods:
        by_namespace.setdefault(pod["metadata"]["namespace"], []).append(pod)
    for (namespace, name), service in services.items():
        selector = service["spec"].get("selector") or {}
        full = f"{name}.{namespace}.svc.{DOMAIN}"
        for pod in by_namespace.get(namespace, ()) if selector else ():
            if not selector.items() <= (pod["metadata"].get("labels") or {}).items():
                continue
            address = pod["status"]["podIP"]
            table.setdefault(full, []).append(address)
            spec = pod["spec"]
            if _is_headless(service) and spec.get("hostname") and spec.get("subdomain") == name:
                table.setdefault(f"{spec['hostname']}.{full}", []).append(address)
    return table


def write_programs(directory: Path, python: str) -> None:
    """Write the commands that pods find on their path: ``ssh`` and ``sshd``."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("ssh", "sshd"):
        script = directory / name
        beside = script.with_suffix(".new")
        beside.write_text(f'#!/bin/sh\nexec {_quoted(python)} -I -m {__package__}.{name} "$@"\n')
        beside.chmod(0o755)
        beside.replace(script)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
