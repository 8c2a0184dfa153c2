"""docker-compose.yml: no Docker engine is needed to see that everything it refers to exists."""

from __future__ import annotations

import importlib.util
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.cli.cli_parser import get_parser
from airflow.configuration import conf
from typer.testing import CliRunner

from airflow_provider_sparkml.cli import app

ROOT = Path(__file__).parents[2]
SECRETS = "/var/lib/sparkml/secrets"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (ROOT / "docker-compose.yml").read_text()
    # As compose interpolates it when nothing is set.
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Any]:
    return compose["services"]


@pytest.fixture(scope="module")
def make_secrets() -> Any:
    spec = importlib.util.spec_from_file_location("make_secrets", ROOT / "images/airflow/make_secrets.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def airflow_services(services: dict[str, Any]) -> dict[str, Any]:
    return {name: service for name, service in services.items() if "AIRFLOW__CORE__EXECUTOR" in environment(service)}


def environment(service: dict[str, Any]) -> dict[str, str]:
    return service.get("environment", {})


def test_every_component_of_airflow_is_there(services: dict[str, Any]) -> None:
    commands = {service["command"] for service in airflow_services(services).values()}
    assert commands == {"api-server", "scheduler", "dag-processor", "triggerer", "db migrate"}


def test_airflow_knows_the_commands(services: dict[str, Any]) -> None:
    for service in airflow_services(services).values():
        assert get_parser().parse_args(service["command"].split())
        test = service.get("healthcheck", {}).get("test", [])
        if "airflow" in test:
            assert get_parser().parse_args(test[test.index("airflow") + 1 :])


def test_the_command_of_the_cluster_has_its_options(services: dict[str, Any]) -> None:
    cluster = services["cluster"]
    for argv in (cluster["command"], cluster["healthcheck"]["test"][2:]):
        options = [word.split("=")[0] for word in argv if word.startswith("--")]
        shown = CliRunner().invoke(app, [*argv[:2], "--help"], env={"COLUMNS": "200"}).output
        assert options
        assert [option for option in options if option not in shown] == []


def test_references_lead_somewhere(compose: dict[str, Any], services: dict[str, Any]) -> None:
    for service in services.values():
        for other in service.get("depends_on", {}):
            assert other in services
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        if "network_mode" in service:
            assert service["network_mode"].removeprefix("service:") in services
        build = service.get("build")
        if build:
            assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    used = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert used == set(compose["volumes"])


def test_who_must_be_healthy_has_a_health_check(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, need in service.get("depends_on", {}).items():
            other = services[name]
            if need["condition"] == "service_healthy":
                assert "healthcheck" in other
            else:
                assert need["condition"] == "service_completed_successfully"
                assert other["restart"] == "no"
    long_running = {name for name, service in services.items() if service["restart"] != "no"}
    assert {name for name, service in services.items() if "healthcheck" in service} == long_running


def test_whoever_talks_to_the_cluster_shares_its_loopback(services: dict[str, Any]) -> None:
    sharing = {name for name, service in services.items() if service.get("network_mode") == "service:cluster"}
    assert sharing == {"scheduler", "triggerer"}  # tasks run in the one, deferred tasks in the other
    connection = json.loads(environment(services["scheduler"])["AIRFLOW_CONN_KUBERNETES_DEFAULT"])
    path = connection["extra"]["kube_config_path"]
    assert f"--airflow-kubeconfig={path}" in services["cluster"]["command"]
    folder = str(Path(path).parent)
    for name in (*sharing, "cluster"):
        assert folder in [volume.split(":")[1] for volume in services[name]["volumes"]]


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_secret_stands_in_the_file(services: dict[str, Any], make_secrets: Any) -> None:
    files = set(make_secrets.make_secrets())
    referred: set[str] = set()
    for service in services.values():
        for name, value in environment(service).items():
            assert not re.search(r"(PASSWORD|SECRET|KEY|TOKEN)$", name)
            referred |= set(re.findall(rf"{SECRETS}/([\w.-]+)", str(value)))
    assert referred == files


def test_settings_from_a_command_are_those_airflow_reads_so(services: dict[str, Any]) -> None:
    names = [name for name in environment(services["scheduler"]) if name.endswith("_CMD")]
    assert names
    for name in names:
        section, key = name.removeprefix("AIRFLOW__").removesuffix("_CMD").lower().split("__")
        assert (section, key) in conf.sensitive_config_values


def test_secrets_are_random_and_kept(tmp_path: Path, make_secrets: Any) -> None:
    make_secrets.main(tmp_path)
    first = {path.name: path.read_text() for path in tmp_path.iterdir()}
    make_secrets.main(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == first
    assert first["postgres-password"] in first["sql-alchemy-conn"]
    assert json.loads(first["passwords.json"])["admin"]
    again = make_secrets.make_secrets()
    assert all(again[name][0] != text for name, text in first.items() if name in again)


def test_secrets_are_private_but_for_the_databases(tmp_path: Path, make_secrets: Any) -> None:
    make_secrets.main(tmp_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    modes.pop(".complete")
    assert modes.pop("postgres-password") == 0o444
    assert set(modes.values()) == {0o600}


def test_an_interrupted_start_is_made_good(tmp_path: Path, make_secrets: Any) -> None:
    (tmp_path / "postgres-password").write_text("half")
    make_secrets.main(tmp_path)
    assert (tmp_path / "postgres-password").read_text() in (tmp_path / "sql-alchemy-conn").read_text()
    assert (tmp_path / "postgres-password").read_text() != "half"


def test_what_the_image_needs_passes_the_ignore_file() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept >= {"airflow_provider_sparkml", "dags", "images", "pyproject.toml", "README.md"}
    assert [name for name in kept if not (ROOT / name).exists()] == []


def test_the_image_is_airflow_as_tested() -> None:
    dockerfile = (ROOT / "images/airflow/Dockerfile").read_text()
    assert re.search(r"^FROM apache/airflow:3\.3\.2$", dockerfile, re.MULTILINE)
