"""A program that writes the schemas of a package's models as JSON files: ``python -m … PACKAGE DIRECTORY``."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_provider_sparkml.local.api import schema_markers as markers
from airflow_provider_sparkml.local.api.bundled import OWN
from airflow_provider_sparkml.local.api.types import Schema

_MODELS = {
    "kubeflow-spark-api": (
        "SparkV1beta2SparkApplication",
        "SparkV1beta2ScheduledSparkApplication",
        "SparkV1alpha1SparkConnect",
    ),
    "kubeflow-trainer-api": (
        "TrainerV1alpha1TrainJob",
        "TrainerV1alpha1ClusterTrainingRuntime",
        "TrainerV1alpha1TrainingRuntime",
    ),
}
_GO_NAME = re.compile(
    r"^(?:IoK8s\w*?(?:V1beta1|V1)|Spark(?:V1beta2|V1alpha1)|TrainerV1alpha1|JobsetV1alpha2|V1|Core|Events)(?=[A-Z])"
)
_PLAIN: dict[str, Schema] = {
    "str": {"type": "string"},
    "bytes": {"type": "string"},
    "int": {"type": "integer"},
    "bool": {"type": "boolean"},
    "float": {"type": "number"},
    "datetime": {"type": "string", "format": "date-time", "nullable": True},
    "object": markers.ANYTHING,
}
"""The types of fields in the words of the ``kubernetes`` package."""
_REQUIRED = re.compile(r"Invalid value for `(\w+)`, must not be `None`")
_DOC = re.compile(r"# noqa: E501\s+(.*?)\s+# noqa: E501", re.DOTALL)


def _go_name(model: str) -> str:
    """Return the name of a model's Go type."""
    return _GO_NAME.sub("", model)


def _marked(model: str, field: str, schema: Schema) -> Schema:
    """Return a field's schema with what the models do not tell."""
    marks = markers.FIELDS.get(model) or markers.FIELDS.get(_go_name(model)) or {}
    return schema | marks.get(field, {})


def _object(name: str, properties: dict[str, Schema], required: Iterable[str], description: str) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    if description:
        schema["description"] = description
    if wanted := sorted(required):
        schema["required"] = wanted
    if name in markers.ATOMIC_TYPES:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


class PydanticModels:
    """Schemas of pydantic models made by OpenAPI Generator, in the shape of a CRD's.

    :param model: a model class.
    """

    def __init__(self, model: Any) -> None:
        self._root = model.model_json_schema(by_alias=True)
        self._definitions: dict[str, Any] = self._root.get("$defs") or {}

    def schema(self) -> Schema:
        """Return the schema of an object of the kind."""
        schema = self._model(self._root["title"], self._root)
        schema["required"] = ["metadata", "spec"]
        return schema

    def _model(self, name: str, node: dict[str, Any]) -> Schema:
        properties = {
            field: _marked(name, field, self._value(name, field, value))
            for field, value in (node.get("properties") or {}).items()
        }
        return _object(_go_name(name), properties, node.get("required") or (), node.get("description", ""))

    def _value(self, owner: str, field: str, node: dict[str, Any]) -> Schema:
        if field == "metadata" or (field == "template" and owner.startswith("Spark") and "Scheduled" not in owner):
            return markers.ANY_OBJECT  # the template of Spark's pods is not looked into
        node = self._without_null(node)
        schema = self._typed(node)
        if "description" in node:
            schema["description"] = node["description"]
        return schema

    def _without_null(self, node: dict[str, Any]) -> dict[str, Any]:
        """Return what an optional field is when it is there."""
        choices: list[dict[str, Any]] = [each for each in node.get("anyOf") or () if each.get("type") != "null"]
        if len(choices) != 1:
            return node
        return {key: value for key, value in node.items() if key not in ("anyOf", "default")} | choices[0]

    def _typed(self, node: dict[str, Any]) -> Schema:
        if "$ref" in node:
            return self._reference(node["$ref"].rpartition("/")[2])
        kind = node.get("type")
        if kind == "array":
            return {"type": "array", "items": self._value("", "", node.get("items") or {})}
        if kind == "object":
            others = node.get("additionalProperties")
            if isinstance(others, dict):
                return {"type": "object", "additionalProperties": self._value("", "", others)}
            return dict(markers.ANY_OBJECT)
        if kind is None:
            return dict(markers.ANYTHING)
        schema: Schema = {"type": kind}
        if node.get("format") == "date-time":
            schema |= {"format": "date-time", "nullable": True}
        return schema

    def _reference(self, name: str) -> Schema:
        if name.endswith("Quantity"):
            return dict(markers.QUANTITY)
        if name.endswith("IntOrString"):
            return dict(markers.TEXT_OR_NUMBER)
        return self._model(name, self._definitions[name])


class KubernetesModels:
    """Schemas of the ``kubernetes`` package's models, of which each tells its fields' types as text.

    :param package: the package's module of models.
    """

    def __init__(self, package: Any) -> None:
        self._package = package
        self._made: dict[str, Schema] = {}

    def model(self, name: str, above: tuple[str, ...] = ()) -> Schema:
        """Return the schema of a model.

        :param above: the models that it stands in; one in itself is not looked into again.
        """
        if name in above:
            return dict(markers.ANYTHING)
        if name in self._made:
            return self._made[name]
        cls, owner = getattr(self._package, name), _go_name(name)
        required = set(_REQUIRED.findall(inspect.getsource(cls)))
        properties: dict[str, Schema] = {}
        for attribute, field in cls.attribute_map.items():
            schema = self._typed(f"{owner}.{field}", cls.openapi_types[attribute], (*above, name))
            if found := _DOC.search(getattr(cls, attribute).__doc__ or ""):
                schema = schema | {"description": " ".join(found[1].split())}
            properties[field] = _marked(name, field, schema)
        wanted = [field for attribute, field in cls.attribute_map.items() if attribute in required]
        self._made[name] = _object(owner, properties, wanted, "")
        return self._made[name]

    def _typed(self, field: str, text: str, above: tuple[str, ...]) -> Schema:
        if field in markers.INT_OR_STRING:
            return dict(markers.TEXT_OR_NUMBER)
        if listed := re.fullmatch(r"list\[(.*)\]", text):
            return {"type": "array", "items": self._typed("", listed[1], above)}
        if mapped := re.fullmatch(r"dict[\[(]str, (.*)[\])]", text):
            quantities = field in markers.QUANTITIES
            inner = dict(markers.QUANTITY) if quantities else self._typed("", mapped[1], above)
            return {"type": "object", "additionalProperties": inner}
        if field in markers.QUANTITIES:
            return dict(markers.QUANTITY)
        return dict(_PLAIN[text]) if text in _PLAIN else dict(self.model(text, above))


def generate(package: str) -> dict[str, Schema]:
    """Return the schemas that a package can give, by the names of their models."""
    if package == "kubernetes":
        models = KubernetesModels(importlib.import_module("kubernetes.client.models"))
        from airflow_provider_sparkml.local.api.builtin import MODELS

        return {name: models.model(name) for name in MODELS}
    if package == OWN:
        from airflow_provider_sparkml.local.api.training_schemas import training_schemas

        models = KubernetesModels(importlib.import_module("kubernetes.client.models"))
        template = models.model("V1PodTemplateSpec")
        from airflow_provider_sparkml.local.api.apache_spark_schemas import apache_spark_application, spark_cluster

        return {
            **training_schemas(template),
            "ApacheSparkApplication": apache_spark_application(template),
            "SparkCluster": spark_cluster(template),
        }
    module = importlib.import_module(f"{package.replace('-', '_')}.models")
    return {name: PydanticModels(getattr(module, name)).schema() for name in _MODELS[package]}


def write(schemas: dict[str, Schema], directory: Path) -> None:
    """Write schemas to a directory, which is there with all of them or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    for name, schema in schemas.items():
        (beside / f"{name}.json").write_text(json.dumps(schema, separators=(",", ":")))
    with suppress(OSError):  # somebody else was quicker
        os.rename(beside, directory)
    shutil.rmtree(beside, ignore_errors=True)


if __name__ == "__main__":
    write(generate(sys.argv[1]), Path(sys.argv[2]))
