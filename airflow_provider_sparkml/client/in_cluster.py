"""What Kubernetes puts into every pod: the API server's address, and the service account's token and CA."""

from __future__ import annotations

import os
from pathlib import Path

from airflow_provider_sparkml.client.settings import Settings, TlsMaterial, bearer_token, file_mark, read_file
from airflow_provider_sparkml.exceptions import InvalidConnectionError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def read_in_cluster() -> Settings:
    """Read the pod's service account.

    :raises InvalidConnectionError: when this process does not run in a pod, or its service account is not mounted.
    """
    host, port = (os.environ.get(f"KUBERNETES_SERVICE_{key}") or "" for key in ("HOST", "PORT"))
    if not host or not port:
        raise InvalidConnectionError(
            "in_cluster is set, but this process runs in no Kubernetes pod (KUBERNETES_SERVICE_HOST and _PORT are not "
            "set); unset in_cluster and give kube_config_path or kube_config"
        )
    token, ca, namespace = (SERVICE_ACCOUNT / name for name in ("token", "ca.crt", "namespace"))
    marks = tuple((path, file_mark(path)) for path in (token, ca))
    hint = "in_cluster needs the pod's service account (automountServiceAccountToken)"
    return Settings(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=read_file(namespace, hint).decode().strip() if namespace.exists() else "",
        tls=TlsMaterial(ca=read_file(ca, hint)),
        token=bearer_token(read_file(token, hint).decode(errors="replace"), str(token)),
        files=marks,
    )
