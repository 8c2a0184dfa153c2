"""The upstream CRDs, where they are at hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

CRDS = Path(__file__).parents[4] / "shared" / "crds"


def strict(schema: Any) -> Any:
    """Refuse unknown fields, as ``fieldValidation=Strict`` does."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: strict(value) for key, value in schema.items()}
    is_object = result.get("type") == "object" and isinstance(result.get("properties"), dict)
    if is_object and not result.get("x-kubernetes-preserve-unknown-fields"):
        result.setdefault("additionalProperties", False)
    if result.get("x-kubernetes-int-or-string"):
        result.pop("type", None)
    return result


@pytest.fixture(scope="session")
def upstream() -> Callable[[str, str, dict[str, Any]], list[str]]:
    """Return a function: CRD file, version, manifest → what the upstream schema says against it."""
    if not CRDS.is_dir():
        pytest.skip("the upstream CRDs (../shared/crds) are not at hand")
    schemas: dict[tuple[str, str], Any] = {}

    def faults(crd: str, version: str, manifest: dict[str, Any]) -> list[str]:
        if (crd, version) not in schemas:
            versions = yaml.load((CRDS / crd).read_text(), Loader=yaml.CSafeLoader)["spec"]["versions"]
            found = next(item for item in versions if item["name"] == version)["schema"]["openAPIV3Schema"]
            schemas[crd, version] = strict(copy.deepcopy(found)["properties"]["spec"])
        validator = jsonschema.Draft202012Validator(schemas[crd, version])
        return [f"{'.'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(manifest["spec"])]

    return faults
