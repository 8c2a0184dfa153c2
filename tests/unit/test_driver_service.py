"""A pod that makes itself a driver: one Service, its own, however often it is asked; refusals say what to do."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from airflow_provider_sparkml.driver_service import (
    LABEL,
    DriverServiceError,
    driver_service,
    prepare_driver_service,
)
from airflow_provider_sparkml.jobs.rights import ROLES


@pytest.fixture
def account(
    api_server: Any, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[dict[str, Any]]], Path]:
    """Return a function: rules → the files of a service account that has these, as a pod sees them."""

    def files(rules: list[dict[str, Any]]) -> Path:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        api_server.request("POST", path, {"metadata": {"name": "driver"}})
        api_server.grant(namespace, rules, account="driver")
        _, answer = api_server.request("POST", f"{path}/driver/token", {"spec": {"audiences": []}})
        config = yaml.safe_load(api_server.secure_kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        for name, content in {"token": answer["status"]["token"], "namespace": namespace, "ca.crt": ca}.items():
            (tmp_path / name).write_text(content)
        address = urlsplit(cluster["server"])
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
        monkeypatch.setenv("POD_NAME", "notebook")
        return tmp_path

    return files


@pytest.fixture
def notebook(api_server: Any, namespace: str) -> dict[str, Any]:
    """A pod as somebody else has started it."""
    path = f"/api/v1/namespaces/{namespace}"
    api_server.request("POST", f"{path}/serviceaccounts", {"metadata": {"name": "default"}})
    spec = {"containers": [{"name": "base", "image": "notebook:1"}]}
    status, pod = api_server.request("POST", f"{path}/pods", {"metadata": {"name": "notebook"}, "spec": spec})
    assert status == 201, pod
    patch = {"status": {"phase": "Running", "podIP": "10.0.0.7"}}
    api_server.request("PATCH", f"{path}/pods/notebook/status", patch, content_type="application/merge-patch+json")
    found: dict[str, Any] = pod
    return found


def driver_rules() -> list[dict[str, Any]]:
    documents = yaml.safe_load_all((ROLES / "driver.yaml").read_text())
    return next(each["rules"] for each in documents if each["kind"] == "Role")


def services(api_server: Any, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api_server.request("GET", f"/api/v1/namespaces/{namespace}/services")[1]["items"]
    return found


def test_the_pod_gets_one_service_of_its_own_with_no_more_than_a_drivers_rights(
    account: Any, notebook: dict[str, Any], api_server: Any, namespace: str
) -> None:
    uid = notebook["metadata"]["uid"]
    files = account(driver_rules())
    with driver_service(service_account=files, port=7100) as conf:
        assert prepare_driver_service(service_account=files, port=7100) == conf
        [service] = services(api_server, namespace)
        assert service["metadata"]["ownerReferences"][0]["uid"] == uid
        assert service["spec"]["selector"] == {LABEL: uid}
        assert service["spec"]["ports"][0]["port"] == 7100
        pod = api_server.request("GET", f"/api/v1/namespaces/{namespace}/pods/notebook")[1]
        assert pod["metadata"]["labels"] == {LABEL: uid}
    assert services(api_server, namespace) == []
    assert conf["spark.driver.host"] == f"{service['metadata']['name']}.{namespace}.svc"
    assert conf["spark.driver.bindAddress"] == "10.0.0.7"
    assert conf["spark.driver.port"] == "7100"
    assert conf["spark.kubernetes.driver.pod.name"] == "notebook"
    assert conf["spark.kubernetes.container.image"] == "notebook:1"
    assert len(conf["spark.kubernetes.executor.podNamePrefix"]) <= 47


def test_the_service_goes_at_the_end_of_a_program_that_fails_and_may_be_gone_before(
    account: Any, notebook: dict[str, Any], api_server: Any, namespace: str
) -> None:
    files = account(driver_rules())
    with pytest.raises(ZeroDivisionError), driver_service(service_account=files):
        1 / 0  # noqa: B018
    assert services(api_server, namespace) == []
    with driver_service(service_account=files):
        [service] = services(api_server, namespace)
        path = f"/api/v1/namespaces/{namespace}/services/{service['metadata']['name']}"
        api_server.request("DELETE", path)  # as Spark does when it stops
    assert services(api_server, namespace) == []


def test_a_service_that_cannot_be_deleted_fails_no_program(
    account: Any, notebook: dict[str, Any], api_server: Any, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    files = account(driver_rules())
    with driver_service(service_account=files):
        (files / "token").write_text("no token of anybody's")
    assert "stays until its pod goes: " in caplog.text
    assert len(services(api_server, namespace)) == 1


def test_a_host_that_is_called_otherwise_than_its_pod(
    account: Any, notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = account(driver_rules())
    monkeypatch.setenv("POD_NAME", "host")
    with pytest.raises(DriverServiceError, match=r"set the variable POD_NAME from metadata\.name"):
        prepare_driver_service(service_account=files)


def test_an_account_without_the_rights(account: Any, notebook: dict[str, Any]) -> None:
    with pytest.raises(DriverServiceError, match=r'cannot get resource "pods".*driver.yaml'):
        prepare_driver_service(service_account=account([]))


def test_outside_of_a_pod(tmp_path: Path) -> None:
    with pytest.raises(DriverServiceError, match="this must run in a pod with a service account"):
        prepare_driver_service(service_account=tmp_path / "none")


def test_an_api_server_that_is_away(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    files = account([])
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    with pytest.raises(DriverServiceError, match=r"the API server 127\.0\.0\.1:1 cannot be reached"):
        prepare_driver_service(service_account=files)
