"""Ready-made parameters of a run, for Airflow's trigger form and its REST API's ``conf``, and how a job gets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from airflow_provider_sparkml.exceptions import InvalidManifestError

_MEMORY = r"^[1-9][0-9]*([kmgtKMGT]b?|[KMGT]i)$"
_MOST_EXECUTORS = 10_000

# Name → default, description, JSON schema. A name without a default has none that fits everybody: the form asks for it.
_SCHEMAS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "scala_file_name": (
        None,
        "The program: a class, a jar, or a path below the application's code.",
        {"title": "Scala file name", "type": "string", "pattern": r"^[^\s]+$", "maxLength": 1024},
    ),
    "bucket_uri": (
        None,
        "Where the data is: a URI such as s3a://bucket/path, or an absolute path of a volume.",
        {"title": "Bucket URI", "type": "string", "pattern": r"^([A-Za-z][A-Za-z0-9+.-]*:/)?/[^\s]+$"},
    ),
    "ingestion_period_days": (
        1,
        "How many days of data to take in; 1 to 3650.",
        {"title": "Ingestion period (days)", "type": "integer", "minimum": 1, "maximum": 3650},
    ),
    "core_limit": (
        1,
        "CPU cores that each pod may use at most; 1 to 256.",
        {"title": "Core limit", "type": "integer", "minimum": 1, "maximum": 256},
    ),
    "executor_minimum": (
        1,
        f"At least so many executors; 0 to {_MOST_EXECUTORS}, and no more than the maximum.",
        {"title": "Executors, minimum", "type": "integer", "minimum": 0, "maximum": _MOST_EXECUTORS},
    ),
    "executor_maximum": (
        2,
        f"At most so many executors; 1 to {_MOST_EXECUTORS}.",
        {"title": "Executors, maximum", "type": "integer", "minimum": 1, "maximum": _MOST_EXECUTORS},
    ),
    "executor_memory": (
        "1g",
        "Heap of each executor, as Spark (512m, 4g) or Kubernetes (512Mi, 4Gi) writes it.",
        {"title": "Executor memory", "type": "string", "pattern": _MEMORY},
    ),
    "driver_memory": (
        "1g",
        "Heap of the driver, as Spark (512m, 4g) or Kubernetes (512Mi, 4Gi) writes it.",
        {"title": "Driver memory", "type": "string", "pattern": _MEMORY},
    ),
    "system_environment": (
        "development",
        "Which environment's data and services the program uses.",
        {
            "title": "System environment",
            "type": "string",
            "pattern": "^[a-z][a-z0-9_-]*$",
            "maxLength": 63,
            "examples": ["development", "staging", "production"],
        },
    ),
}

# The variables by which the program gets them. What is to run is the application's own matter, and no variable.
_VARIABLES = {name: name.title() for name in _SCHEMAS if name not in ("scala_file_name", "bucket_uri")} | {
    "bucket_uri": "Bucket_URI"
}


def spark_params(*names: str, **defaults: Any) -> dict[str, Param]:
    """Return parameters for a DAG's ``params``, with types, ranges, titles and descriptions.

    Airflow checks what a person types into the trigger form, or sends as ``conf``, against them before a run exists.

    :param names: which: ``scala_file_name``, ``bucket_uri``, ``ingestion_period_days`` (days), ``core_limit`` (cores),
        ``executor_minimum``, ``executor_maximum``, ``executor_memory``, ``driver_memory``, ``system_environment``. All
        of them, in this order, when none is named.
    :param defaults: defaults by name. ``scala_file_name`` and ``bucket_uri`` have no default of their own: without
        one, each run has to give them, and the DAG can have no schedule.
    :return: the parameters by name.
    :raises InvalidManifestError: a name is unknown, or a default is none that the form would accept.

    .. code-block:: python

        from airflow.sdk import DAG
        from airflow_provider_sparkml.params import spark_params

        with DAG("report", params=spark_params("bucket_uri", "executor_maximum", executor_maximum=4)):
            ...
    """
    chosen = names or tuple(_SCHEMAS)
    for name in chosen:
        if name not in _SCHEMAS:
            raise InvalidManifestError(
                f"there is no ready-made parameter {name!r}: the names are {', '.join(_SCHEMAS)}"
            )
    for name, value in defaults.items():
        if name not in chosen:
            raise InvalidManifestError(
                f"{name} is {value!r}, and is none of the parameters {', '.join(chosen)}: name it as well"
            )
    values = {name: defaults.get(name, _SCHEMAS[name][0]) for name in chosen}
    found = {name: _param(name, value) for name, value in values.items()}
    check_params(values)
    return found


def params_env(*names: str) -> dict[str, str]:
    """Return environment variables that hold a run's parameters, as templates; for the ``env`` of a driver or replica.

    The variables are ``Bucket_URI``, ``Ingestion_Period_Days``, ``Core_Limit``, ``Executor_Minimum``,
    ``Executor_Maximum``, ``Executor_Memory``, ``Driver_Memory`` and ``System_Environment``.

    :param names: of which parameters, as :func:`spark_params` names them; all of these when none is named.
    :return: templates by variable.
    :raises InvalidManifestError: a name is unknown.

    .. code-block:: python

        from airflow_provider_sparkml.params import params_env
        from airflow_provider_sparkml.resources.spark import Driver

        driver = Driver(memory="{{ params.driver_memory }}", env=params_env("bucket_uri", "ingestion_period_days"))
    """
    for name in names:
        if name not in _VARIABLES:
            raise InvalidManifestError(
                f"there is no environment variable of a parameter {name!r}: the names are {', '.join(_VARIABLES)}"
            )
    chosen = names or tuple(name for name in _SCHEMAS if name in _VARIABLES)
    return {_VARIABLES[name]: f"{{{{ params.{name} }}}}" for name in chosen}


def check_params(params: Mapping[str, Any]) -> None:
    """Refuse parameters of a run that are right one by one, and contradict each other.

    Airflow checks each by itself. Job operators call this before they create anything.

    :param params: values by name; names of other parameters do not matter.
    :raises InvalidManifestError: ``executor_minimum`` is more than ``executor_maximum``.
    """
    low, high = params.get("executor_minimum"), params.get("executor_maximum")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        raise InvalidManifestError(
            f"params.executor_minimum is {low}, more than params.executor_maximum, {high}: "
            "lower the one, or raise the other"
        )


def _param(name: str, value: Any) -> Param:
    """Return one parameter; a default that the form would refuse is refused.

    :raises InvalidManifestError: it is.
    """
    from airflow.sdk.exceptions import ParamValidationError

    _, description, schema = _SCHEMAS[name]
    if value is None:
        return Param(description=description, **schema)
    param = Param(value, description=description, **schema)
    try:
        param.resolve()
    except ParamValidationError as error:
        reason, *_ = str(error).splitlines()
        raise InvalidManifestError(f"{name} is {value!r} by default: {reason}. {description}") from None
    return param


__all__ = ["check_params", "params_env", "spark_params"]
