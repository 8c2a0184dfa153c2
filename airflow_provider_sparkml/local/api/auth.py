"""Who asks: bearer tokens of the administrator and of ServiceAccounts."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any

from aiohttp import web

from airflow_provider_sparkml.local.api.call import ANONYMOUS, User
from airflow_provider_sparkml.local.api.cluster import Cluster
from airflow_provider_sparkml.local.api.status import unauthorized

ISSUER = "https://kubernetes.default.svc"
ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))
_HEADER = {"alg": "HS256", "typ": "JWT"}


def authenticate(cluster: Cluster, request: web.BaseRequest) -> User:
    """Return who sent a request.

    :raises StatusError: 401 when there is a token that is none of ours; without any it is the anonymous user.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return ANONYMOUS
    if scheme.lower() != "bearer":
        raise unauthorized()
    user = user_of_token(cluster, token.strip()) if token.isascii() else None
    if user is None:
        raise unauthorized()
    return _impersonated(request, user)


def _impersonated(request: web.BaseRequest, user: User) -> User:
    """Return whom the administrator asks to be taken for (``kubectl --as``)."""
    name = request.headers.get("Impersonate-User")
    if not name or "system:masters" not in user.groups:
        return user
    groups = tuple(request.headers.getall("Impersonate-Group", []))
    if not groups and name.startswith("system:serviceaccount:"):
        groups = service_account_groups(name.split(":")[2])
    return User(name, (*groups, "system:authenticated"))


def user_of_token(cluster: Cluster, token: str) -> User | None:
    """Return whose token it is, ``None`` when it is nobody's."""
    if hmac.compare_digest(token.encode(), cluster.admin_token.encode()):
        return ADMIN
    claims = read_token(cluster, token)
    if claims is None:
        return None
    private = claims["kubernetes.io"]
    namespace, account = private["namespace"], private["serviceaccount"]
    record = cluster.store.get("/serviceaccounts", namespace, account["name"])
    if record is None or record.uid != account["uid"]:
        return None
    if pod := private.get("pod"):
        bound = cluster.store.get("/pods", namespace, pod["name"])
        if bound is None or bound.uid != pod["uid"]:
            return None
    return User(claims["sub"], (*service_account_groups(namespace), "system:authenticated"), record.uid)


def service_account_groups(namespace: str) -> tuple[str, str]:
    """Return the groups of the ServiceAccounts of a namespace."""
    return ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def issue_token(
    cluster: Cluster,
    namespace: str,
    name: str,
    uid: str,
    *,
    seconds: int,
    audiences: list[str],
    pod: dict[str, str] | None,
) -> tuple[str, int]:
    """Return a token of a ServiceAccount, and when it ends.

    :param seconds: how long it is good for.
    :param pod: name and UID of the pod to whose life it is bound.
    :returns: a JSON Web Token, and its end in epoch seconds.
    """
    issued = int(time.time())
    private: dict[str, Any] = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
    claims = {
        "aud": audiences or [ISSUER],
        "exp": issued + seconds,
        "iat": issued,
        "nbf": issued,
        "iss": ISSUER,
        "sub": f"system:serviceaccount:{namespace}:{name}",
        "kubernetes.io": private | ({"pod": pod} if pod else {}),
    }
    signed = f"{_encode(_HEADER)}.{_encode(claims)}"
    return f"{signed}.{_sign(cluster, signed)}", issued + seconds


def read_token(cluster: Cluster, token: str) -> dict[str, Any] | None:
    """Return the claims of a token that we signed and that is still good."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(_sign(cluster, signed).encode(), signature.encode()):
        return None
    try:
        text = signed.partition(".")[2]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        return None
    return claims if claims["exp"] > time.time() else None


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _sign(cluster: Cluster, text: str) -> str:
    digest = hmac.new(cluster.signing_key, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
