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
from airflow_provider_sparkml.local.api.rbac import Access, allowed, refusal
from airflow_provider_sparkml.local.api.status import unauthorized

ISSUER = "https://kubernetes.default.svc"
ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))
_HEADER = {"alg": "HS256", "typ": "JWT"}


def authenticate(cluster: Cluster, request: web.BaseRequest) -> User:
    """Return who sent a request.

    :raises StatusError: 401 when there is a token that is none of ours; without any it is the anonymous user. 403 when
        he asks to be taken for somebody else, and may not.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not scheme:
        return ANONYMOUS
    if scheme.lower() != "bearer":
        raise unauthorized()
    user = user_of_token(cluster, token.strip()) if token.isascii() else None
    if user is None:
        raise unauthorized()
    return _impersonated(cluster, request, user)


def _impersonated(cluster: Cluster, request: web.BaseRequest, user: User) -> User:
    """Return for whom the user asks to be taken (``kubectl --as``), who needs the verb ``impersonate`` for it.

    :raises StatusError: 403 when he may not.
    """
    name = request.headers.get("Impersonate-User")
    groups = tuple(request.headers.getall("Impersonate-Group", []))
    if not name:
        return user
    if name.startswith("system:serviceaccount:") and name.count(":") == 3:
        _, _, namespace, account = name.split(":")
        wanted = [Access("impersonate", "", "serviceaccounts", namespace, account)]
        implied: tuple[str, ...] = service_account_groups(namespace)
    else:
        wanted, implied = [Access("impersonate", "", "users", name=name)], ()
    for access in (*wanted, *(Access("impersonate", "", "groups", name=group) for group in groups)):
        if not allowed(cluster, user, access):
            raise refusal(user, access, access.resource)
    return User(name, (*(groups or implied), "system:authenticated"))


def user_of_token(cluster: Cluster, token: str, audience: str = ISSUER) -> User | None:
    """Return whose token it is, ``None`` when it is nobody's, or not meant for the audience.

    :param audience: who asks; the API server itself unless said otherwise.
    """
    if hmac.compare_digest(token.encode(), cluster.admin_token.encode()):
        return ADMIN
    claims = read_token(cluster, token)
    if claims is None or audience not in claims["aud"]:
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
