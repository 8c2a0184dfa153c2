"""What Airflow reads about this provider: valid by its own schema, and true."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest

from airflow_provider_sparkml.get_provider_info import get_provider_info

INFO = get_provider_info()
ROOT = Path(__file__).parents[2]
MODULES = [
    module
    for part in ("operators", "sensors", "hooks", "triggers")
    for entry in INFO[part]
    for module in entry["python-modules"]
]


def test_valid_by_airflows_own_schema() -> None:
    import airflow

    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_it_is_named_as_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert INFO["package-name"] == project["name"]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_exists(module: str) -> None:
    importlib.import_module(module)


@pytest.mark.parametrize("path", INFO["extra-links"])
def test_every_link_exists_and_an_operator_has_it(path: str) -> None:
    from airflow_provider_sparkml.operators.spark import SparkApplicationOperator

    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert found in {type(link) for link in SparkApplicationOperator.operator_extra_links}


def test_every_integration_is_declared() -> None:
    declared = {entry["integration-name"] for entry in INFO["integrations"]}
    named = {
        entry["integration-name"] for part in ("operators", "sensors", "hooks", "triggers") for entry in INFO[part]
    }
    assert named == declared


def test_every_module_of_these_layers_is_declared() -> None:
    bases = {
        "attempts",
        "base",
        "deferring",
        "job",
        "lineage",
        "profile",
        "deferral",
        "sensor",
        "search_parameters",
        "search_space",
        "servers",
        "versions",
        "__init__",
    }  # what others build upon
    package = ROOT / "airflow_provider_sparkml"
    found = {
        f"airflow_provider_sparkml.{layer}.{path.stem}"
        for layer in ("operators", "sensors", "hooks", "triggers")
        for path in (package / layer).glob("*.py")
        if path.stem not in bases
    }
    assert found == set(MODULES)


def test_it_imports_nothing() -> None:
    script = (
        "import sys; before = set(sys.modules); "
        "from airflow_provider_sparkml.get_provider_info import get_provider_info; get_provider_info(); "
        "print(*sorted(m for m in set(sys.modules) - before if m.split('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["airflow_provider_sparkml", "airflow_provider_sparkml.get_provider_info"]


def test_airflow_lists_the_provider_its_links_and_its_setting(tmp_path: Path) -> None:
    script = (
        "import json; from airflow.providers_manager import ProvidersManager; from airflow.sdk import conf; "
        "pm = ProvidersManager(); "
        "print(json.dumps([sorted(pm.providers), sorted(pm.extra_links_class_names), "
        "conf.get('sparkml', 'history_server_url')]))"
    )
    home = {"AIRFLOW_HOME": str(tmp_path), "PATH": "", "AIRFLOW__SPARKML__HISTORY_SERVER_URL": "http://h"}
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, env=home)
    providers, links, setting = json.loads(done.stdout.splitlines()[-1])
    assert "airflow-provider-sparkml" in providers
    assert set(INFO["extra-links"]) <= set(links)
    assert setting == "http://h"
