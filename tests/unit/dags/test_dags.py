"""Every DAG file: it parses, cheaply, Airflow can store it, and its trigger form explains itself."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

DAGS = Path(__file__).resolve().parents[3] / "dags"
HEAVY = ("kubernetes", "kubernetes_asyncio", "aiohttp", "pandas", "numpy", "pyspark", "httpx", "airflow.providers.cncf")

WITH_POD_OPERATOR = "spark_cluster"
"""Airflow's own pod operator is heavy: it imports the client that it uses."""


def dag_of(module: ModuleType) -> DAG:
    """Return the DAG of a file, however the file declares it."""
    found = module.dag if isinstance(module.dag, DAG) else module.preprocess_train_serve()
    assert isinstance(found, DAG)
    return found


NAMES = sorted(path.stem for path in DAGS.glob("*.py"))


@pytest.fixture(params=NAMES)
def dag(request: pytest.FixtureRequest, modules: dict[str, ModuleType]) -> DAG:
    return dag_of(modules[request.param])


def test_each_file_declares_the_dag_of_its_name(modules: dict[str, ModuleType]) -> None:
    assert {name: dag_of(module).dag_id for name, module in modules.items()} == {name: name for name in NAMES}


def test_airflow_can_store_it(dag: DAG) -> None:
    stored = DagSerialization.to_dict(dag)
    DagSerialization.validate_schema(stored)
    assert DagSerialization.from_dict(stored).task_ids == dag.task_ids
    dag.validate()
    dag.validate_setup_teardown()


def test_it_says_what_it_is_for(dag: DAG) -> None:
    assert dag.doc_md
    assert "###" in dag.doc_md
    assert "example" in dag.tags
    assert dag.schedule == ("@daily" if dag.dag_id == "cluster_janitor" else None)
    assert not dag.catchup


def test_the_trigger_form_explains_every_field_and_its_defaults_are_valid(dag: DAG) -> None:
    dag.params.validate()
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.schema["title"], name
        assert (param.description or "").endswith("."), name
        assert param.schema["type"] in ("integer", "string", "array", "boolean"), name


def test_a_parameter_of_any_other_type_or_size_is_refused(dag: DAG) -> None:
    for name in dag.params:
        for value in (None, -1, 10**9, "", [], "No_Name!" if name in ("model_name", "namespace") else {}):
            refuse(dag, **{name: value})


def refuse(dag: DAG, **conf: Any) -> None:
    """Check that Airflow refuses a run with this conf, as its REST API does with 400."""
    params = copy.deepcopy(dag.params)
    with pytest.raises(ParamValidationError):
        params.update(conf)


@pytest.mark.parametrize(
    "conf",
    [
        {"models": ["gbt", "gbt"]},
        {"models": ["svm"]},
        {"trainer": "tensorflow"},
        {"rows": "1000"},
        {"rows": 1.5},
        {"model_name": "a" * 31},
        {"model_name": "1st"},
        {"model_name": "ends-"},
        {"executor_memory": "1 GB"},
        {"executor_memory": "0g"},
        {"forest_depth": 13},
        {"claim": "a/../b"},
        {"namespace": "{{ conf }}"},
    ],
    ids=str,
)
def test_bad_conf_is_refused(pipeline: ModuleType, conf: dict[str, Any]) -> None:
    refuse(dag_of(pipeline), **conf)


@pytest.mark.parametrize(
    "conf",
    [
        {"models": ["logistic_regression"]},
        {"trainer": "torch", "epochs": 3},
        {"rows": 336776, "trees": 100, "late_minutes": 0},
        {"model_name": "a-1", "executor_memory": "1536Mi"},
    ],
    ids=str,
)
def test_good_conf_is_accepted(pipeline: ModuleType, conf: dict[str, Any]) -> None:
    params = copy.deepcopy(dag_of(pipeline).params)
    params.update(conf)
    assert params.validate() | conf == params.validate()


def test_parsing_them_imports_nothing_heavy() -> None:
    """One after the other in one interpreter: whatever is heavy is named with the first file that brings it in."""
    light = [name for name in NAMES if name != WITH_POD_OPERATOR]
    code = f"""
import json
import sys
from pathlib import Path
import airflow.sdk
from airflow.sdk import DAG, Asset, ExceptionRetryPolicy, Metadata, Param, RetryAction, RetryRule, XComArg, dag, task
found = {{}}
for path in (Path({str(DAGS)!r}, name + ".py") for name in {light!r}):
    before = set(sys.modules)
    exec(compile(path.read_text(), path, "exec"), {{"__name__": "dag"}})
    new = set(sys.modules) - before
    found[path.stem] = [each for each in {HEAVY!r} if any(m == each or m.startswith(each + ".") for m in new)]
print(json.dumps(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {name: [] for name in light}
