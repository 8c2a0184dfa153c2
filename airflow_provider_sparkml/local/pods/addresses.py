"""Loopback addresses for pods, one each where the operating system has more than one."""

from __future__ import annotations

import random
import socket

SHARED = "127.0.0.1"
REMEMBERED = 4096
"""For how many names the last address is kept."""


class AddressPool:
    """Gives every pod an address of its own in 127.0.0.0/8; macOS has only one unless told otherwise.

    :param network: second byte of all addresses.
    :param first: the address after which it begins, as a number of two bytes. Both are by chance, so that clusters on
        one machine keep apart: of ten, two are likely enough to have the same network.
    """

    def __init__(self, network: int | None = None, first: int | None = None) -> None:
        chance = random.SystemRandom()
        self._network = chance.randint(1, 254) if network is None else network
        self._next = chance.randrange(0xFFFE) if first is None else first
        self._taken: set[str] = set()
        self._former: dict[str, str] = {}

    def take(self, name: str) -> str:
        """Return an address that no other pod has, else 127.0.0.1.

        :param name: a pod that takes the place of one of the same name gets its address, if it is free: programs that
            looked the name up before find it there.
        """
        former = self._former.get(name, "")
        if former and former not in self._taken:
            self._taken.add(former)
            return former
        self._former.pop(name, None)
        self._former[name] = self._free()
        while len(self._former) > REMEMBERED:
            del self._former[next(iter(self._former))]
        return self._former[name]

    def _free(self) -> str:
        for _ in range(0xFFFF):
            self._next = self._next % 0xFFFE + 1
            address = f"127.{self._network}.{self._next >> 8}.{self._next & 0xFF}"
            if address not in self._taken:
                if not _bindable(address):
                    return SHARED
                self._taken.add(address)
                return address
        return SHARED

    def keep(self, address: str) -> None:
        """Mark an address as taken: a pod already has it."""
        self._taken.add(address)

    def release(self, address: str) -> None:
        """Give an address back."""
        self._taken.discard(address)


def _bindable(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True
