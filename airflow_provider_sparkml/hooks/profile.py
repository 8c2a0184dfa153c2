"""Which profile an Airflow uses: its connection says so, or else its Variable; asked when a task runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_sparkml.exceptions import InvalidConnectionError, InvalidManifestError
from airflow_provider_sparkml.resources.profiles import NAME, Profile, profile_named

if TYPE_CHECKING:
    from airflow_provider_sparkml.hooks.kubernetes import KubernetesApiHook


async def chosen_profile(hook: KubernetesApiHook) -> Profile | None:
    """Return the profile of the extra ``sparkml_profile`` of a connection, else of the Variable of that name.

    :param hook: the hook of the connection.
    :return: the profile; ``None`` where neither is set.
    :raises InvalidConnectionError: the connection names no profile that there is.
    :raises InvalidManifestError: the Variable does.
    """
    extras = await hook.extras()
    if found := extras.get(NAME) or extras.get(f"extra__kubernetes__{NAME}"):
        try:
            return profile_named(found)
        except ValueError as error:
            raise InvalidConnectionError(f"connection {hook.kubernetes_conn_id!r}: {NAME} {error}") from None
    variable = await asyncio.to_thread(_variable)
    if not variable:
        return None
    try:
        return profile_named(variable)
    except ValueError as error:
        raise InvalidManifestError(f"Variable {NAME} {error}") from None


def _variable() -> str | None:
    from airflow.sdk import Variable

    found: str | None = Variable.get(NAME, default=None)
    return found


__all__ = ["chosen_profile"]
