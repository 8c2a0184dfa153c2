"""What a pod reads from the API server through its kubelet: ConfigMaps, Secrets, tokens, and the volumes of claims."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from airflow_provider_sparkml.client.client import KubernetesClient
from airflow_provider_sparkml.exceptions import NotFoundError
from airflow_provider_sparkml.local.pods.program import SERVICE_ACCOUNT
from airflow_provider_sparkml.local.pods.volumes import MountError
from airflow_provider_sparkml.resources.base import ApiResource, Manifest
from airflow_provider_sparkml.resources.core import CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, SECRET

KINDS = {"ConfigMap": CONFIG_MAP, "Secret": SECRET}
TOKEN_SECONDS = 365 * 24 * 3600  # this kubelet does not renew the file, so the token must outlive the pod


class PodAccess:
    """Reads on behalf of one pod.

    :param client: the API server.
    :param pod: the pod.
    :param claims: directory under which the volumes of claims are.
    """

    def __init__(self, client: KubernetesClient, pod: Manifest, claims: Path) -> None:
        self._client = client
        self._pod = pod
        self._namespace = str(pod["metadata"]["namespace"])
        self._claims = claims

    async def lookup(self, kind: str, name: str) -> Manifest | None:
        """Return a ConfigMap or Secret of the pod's namespace, or ``None``."""
        try:
            return await self._client.get(KINDS[kind], name, self._namespace)
        except NotFoundError:
            return None

    async def token(self, audience: str | None) -> str:
        """Return a token of the pod's service account, bound to the pod.

        https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/

        :raises MountError: when there is no such service account.
        """
        account = self._pod["spec"].get("serviceAccountName") or "default"
        meta = self._pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        request: Manifest = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": TOKEN_SECONDS,
                "boundObjectRef": bound,
            },
        }
        subresource = ApiResource("", "v1", f"serviceaccounts/{account}/token", "TokenRequest")
        try:
            answer = await self._client.create(subresource, request, self._namespace)
        except NotFoundError as error:
            raise MountError(f'serviceaccount "{account}" not found') from error
        return str(answer["status"]["token"])

    async def claim(self, name: str) -> Path:
        """Return the directory of a claim's volume, made and bound at its first use.

        :raises MountError: when there is no such claim.
        """
        try:
            claim = await self._client.get(PERSISTENT_VOLUME_CLAIM, name, self._namespace)
        except NotFoundError as error:
            raise MountError(f'persistentvolumeclaim "{name}" not found') from error
        place = volume_of(self._claims, claim)
        place.mkdir(parents=True, exist_ok=True)
        if (claim.get("status") or {}).get("phase") != "Bound":
            status = {
                "phase": "Bound",
                "accessModes": claim["spec"].get("accessModes") or [],
                "capacity": (claim["spec"].get("resources") or {}).get("requests") or {},
            }
            await self._client.patch(
                PERSISTENT_VOLUME_CLAIM, name, {"status": status}, self._namespace, subresource="status"
            )
        return place

    async def mount_service_account(self, root: Path, server: str, ca: str) -> Path:
        """Write what a program in the pod needs to speak to the API server, and return the directory.

        Beside the files of a cluster there is a kubeconfig: programs look for those files at a fixed path, which here
        is another one, but they all know ``KUBECONFIG``.

        :param server: URL of the API server.
        :param ca: certificate authority of the server in PEM form, empty for plain HTTP.
        :raises MountError: when there is no such service account.
        """
        token = await self.token(None)
        cluster = {"server": server, **({"certificate-authority": "ca.crt"} if ca else {})}
        kubeconfig = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": cluster}],
            # Not by its file: Spark's Kubernetes client, fabric8, knows no tokenFile.
            "users": [{"name": "pod", "user": {"token": token}}],
            "contexts": [{"name": "pod", "context": {"cluster": "local", "user": "pod", "namespace": self._namespace}}],
            "current-context": "pod",
        }
        place = root / "service-account"
        place.mkdir(mode=0o700, exist_ok=True)
        files = {"token": token, "namespace": self._namespace, "ca.crt": ca, "kubeconfig": json.dumps(kubeconfig)}
        for name, content in files.items():
            path = place / name
            path.touch(mode=0o600)
            path.write_text(content)
        return place


def volume_of(claims: Path, claim: Manifest) -> Path:
    """Return the directory that is a claim's volume.

    The UID in it keeps a new claim of the same name from finding the data of the old one.
    """
    meta = claim["metadata"]
    return claims / str(meta["namespace"]) / f"{meta['name']}-{meta['uid'][:8]}"


def claims_of(pod: Manifest) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of every claim a pod mounts."""
    for volume in pod["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            yield pod["metadata"]["namespace"], volume["persistentVolumeClaim"]["claimName"]


async def release_volumes(claims: Path, client: KubernetesClient, in_use: Collection[tuple[str, str]]) -> bool:
    """Delete the volumes whose claims are gone, once no pod uses them; return whether none had to wait.

    :param in_use: namespace and name of the claims that pods mount.
    """
    # The volumes are read first: one that is made after that cannot be taken for one without a claim.
    volumes = await asyncio.to_thread(lambda: list(claims.glob("*/*")))
    claimed = {volume_of(claims, claim) for claim in (await client.list(PERSISTENT_VOLUME_CLAIM)).items}
    released = [volume for volume in volumes if volume not in claimed]
    busy = [volume for volume in released if (volume.parent.name, volume.name.rpartition("-")[0]) in in_use]
    for volume in set(released) - set(busy):
        await asyncio.to_thread(shutil.rmtree, volume, ignore_errors=True)
    return not busy


def wants_service_account(pod: Manifest) -> bool:
    """Whether the pod gets its service account's token though no volume of it says so."""
    mounted = any(
        mount["mountPath"] == SERVICE_ACCOUNT
        for container in pod["spec"]["containers"]
        for mount in container.get("volumeMounts") or ()
    )
    return not mounted and pod["spec"].get("automountServiceAccountToken") is not False
