"""The example DAGs, loaded as Airflow loads them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

DAGS = Path(__file__).resolve().parents[3] / "dags"


def load(name: str) -> ModuleType:
    """Execute a DAG file as a module of its own."""
    spec = importlib.util.spec_from_file_location(f"dag_file_{name}", DAGS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pipeline() -> ModuleType:
    """The file of ``preprocess_train_serve``."""
    return load("preprocess_train_serve")


@pytest.fixture(scope="session")
def modules(pipeline: ModuleType) -> dict[str, ModuleType]:
    """Every DAG file, by name."""
    names = {path.stem for path in DAGS.glob("*.py")} - {"preprocess_train_serve"}
    return {"preprocess_train_serve": pipeline, **{name: load(name) for name in names}}
