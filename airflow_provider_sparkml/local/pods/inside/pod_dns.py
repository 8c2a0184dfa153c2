"""Cluster names for the Python programs in a pod: what a cluster's DNS would answer, they read from the kubelet's file.

Runs inside pods, on whatever Python their image has, with the standard library alone. ``SPARKML_DNS`` names the file,
in the format of a hosts file with full names; ``SPARKML_DNS_SEARCH`` has the domains in which a short name is looked
for, as ``search`` in a pod's ``resolv.conf``.
"""

from __future__ import annotations

import os
import socket
from typing import Any


def lookup(name: object) -> list[str]:
    """Return the addresses of a name of the cluster, as they are now; none for a name that is not the cluster's."""
    if isinstance(name, bytes):
        name = name.decode("ascii", "replace")
    if not isinstance(name, str) or not name or name.replace(".", "").isdigit() or ":" in name:
        return []
    if name == os.environ.get("HOSTNAME") and os.environ.get("SPARKML_POD_IP"):
        return [os.environ["SPARKML_POD_IP"]]
    wanted = name.rstrip(".").lower()
    names = [f"{wanted}.{domain}" for domain in os.environ.get("SPARKML_DNS_SEARCH", "").split()]
    table = _read(os.environ.get("SPARKML_DNS", ""))
    for candidate in (*names, wanted):
        if candidate in table:
            return table[candidate]
    return []


def _read(path: str) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                address, _, name = line.strip().partition(" ")
                if name:
                    table.setdefault(name, []).append(address)
    except OSError:
        pass
    return table


def _translated(address: Any) -> Any:
    """Return a socket's address with its name looked up; the operating system does so itself for names of its own."""
    if isinstance(address, tuple) and len(address) >= 2 and (found := lookup(address[0])):
        return (found[0], *address[1:])
    return address


def install() -> None:
    """Have :mod:`socket` know the cluster's names."""
    real_getaddrinfo = socket.getaddrinfo
    real_gethostbyname = socket.gethostbyname
    real_gethostbyname_ex = socket.gethostbyname_ex

    def getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        found = lookup(host)
        return [each for name in found or [host] for each in real_getaddrinfo(name, *arguments, **named)]

    def gethostbyname(name: str) -> str:
        found = lookup(name)
        return found[0] if found else real_gethostbyname(name)

    def gethostbyname_ex(name: str) -> tuple[str, list[str], list[str]]:
        found = lookup(name)
        return (name, [], found) if found else real_gethostbyname_ex(name)

    socket.getaddrinfo = getaddrinfo
    socket.gethostbyname = gethostbyname
    socket.gethostbyname_ex = gethostbyname_ex
    for method in ("connect", "connect_ex", "bind"):
        _wrap(method)


def _wrap(method: str) -> None:
    """Have a method of sockets take names; it is written in C and would ask the operating system."""
    real = getattr(socket.socket, method)

    def wrapper(self: socket.socket, address: Any) -> Any:
        return real(self, _translated(address) if self.family == socket.AF_INET else address)

    wrapper.__name__ = method
    setattr(socket.socket, method, wrapper)
