"""The ServingRuntime for a real KServe and the local cluster's own idea of it start the model server alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from airflow_provider_sparkml.local.controllers.predictor import RUNTIMES, build_pod_spec

FILE = Path(__file__).resolve().parents[3] / "images" / "onnxserver" / "servingruntime.yaml"


def test_a_real_kserve_starts_the_server_as_the_local_cluster_does() -> None:
    declared: dict[str, Any] = yaml.safe_load(FILE.read_text())
    (theirs,) = declared["spec"]["containers"]
    service = {
        "metadata": {"name": "flights", "namespace": "default", "uid": "1"},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}, "storageUri": "pvc://claim/path"}}},
    }
    (ours,) = build_pod_spec(service)["containers"]
    runtime = RUNTIMES["onnx"]
    assert declared["metadata"]["name"] == runtime.name
    assert theirs["image"] == runtime.image
    assert tuple(declared["spec"]["protocolVersions"]) == runtime.protocols
    assert [format_["version"] for format_ in declared["spec"]["supportedModelFormats"]] == list(runtime.versions)
    # On one machine the server must take its pod's own address; in a real pod it has all of them.
    arguments = [word.replace("{{.Name}}", "flights") for word in theirs["args"]]
    assert [word for word in ours["args"] if not word.startswith("--host=")] == arguments
    assert theirs["ports"][0]["containerPort"] == ours["ports"][0]["containerPort"]
    probe = theirs["readinessProbe"]["httpGet"]
    assert probe["path"].replace("{{.Name}}", "flights") == ours["readinessProbe"]["httpGet"]["path"]
    assert theirs["terminationMessagePolicy"] == ours["terminationMessagePolicy"]
