"""The model server as its clients and its kubelet see it: a real KServe ModelServer in its own environment."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_provider_sparkml.local.images import Image
from tests.integration.programs import image

pytestmark = pytest.mark.serving

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def server_image() -> Image:
    return image("onnxserver")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("onnx_models.py")
    subprocess.run([str(image("spark").prefix / "bin" / "python"), str(script), str(directory)], check=True)
    return directory


def start(server_image: Image, *argv: str, log: Path) -> subprocess.Popen[bytes]:
    """Start the server as its image does."""
    python, program = server_image.entrypoint
    assert python == "python"
    command = [str(server_image.prefix / "bin" / python), f"{server_image.rootfs[0]}{program}", *argv]
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail(f"not ready: {log.read_text()}")


def free_port() -> int:
    with socket.create_server((HOST, 0)) as held:
        port: int = held.getsockname()[1]
        return port


def serve(server_image: Image, directory: Path, log: Path) -> Iterator[httpx.Client]:
    port = free_port()
    argv = (f"--model_name={directory.name}", f"--model_dir={directory}", f"--http_port={port}", f"--host={HOST}")
    process = start(server_image, *argv, log=log)
    try:
        wait_until_ready(process, f"http://{HOST}:{port}/v2/models/{directory.name}/ready", log)
        with httpx.Client(base_url=f"http://{HOST}:{port}") as client:
            yield client
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def columns(server_image: Image, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    yield from serve(server_image, models / "columns", tmp_path_factory.mktemp("log") / "server.log")


@pytest.fixture(scope="module")
def text(server_image: Image, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    yield from serve(server_image, models / "text", tmp_path_factory.mktemp("log") / "server.log")


def v2(client: httpx.Client, model: str, inputs: list[dict[str, Any]], **more: Any) -> Any:
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": inputs, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def v1(client: httpx.Client, model: str, instances: Any) -> Any:
    answer = client.post(f"/v1/models/{model}:predict", json={"instances": instances})
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


def given(name: str, shape: list[int], data: list[Any], datatype: str = "FP32") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def test_v2_takes_inputs_by_name(columns: httpx.Client) -> None:
    answer = v2(columns, "columns", [given("b", [2], [10, 20], "INT64"), given("a", [2, 1], [1.5, 2])])
    assert answer["model_name"] == "columns"
    assert answer["outputs"] == [
        {"name": "sum", "shape": [2, 1], "datatype": "FP32", "parameters": None, "data": [11.5, 22.0]},
        {"name": "pair", "shape": [2, 2], "datatype": "FP32", "parameters": None, "data": [1.5, 10.0, 2.0, 20.0]},
    ]


def test_v2_takes_all_inputs_in_one_tensor_and_gives_only_the_outputs_asked_for(columns: httpx.Client) -> None:
    one = [given("features", [1, 2], [[1, 10]])]
    answer = v2(columns, "columns", one, id="42", outputs=[{"name": "sum"}])
    assert answer["id"] == "42"
    assert [(output["name"], output["data"]) for output in answer["outputs"]] == [("sum", [11.0])]


def test_v2_speaks_binary_too(columns: httpx.Client) -> None:
    import json

    import numpy as np

    data = np.array([[1, 10]], dtype=np.float32).tobytes()
    described = {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [described], "outputs": [{"name": "sum"}]}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    answer = columns.post("/v2/models/columns/infer", content=head + data, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [11.0]


def test_v1_takes_mappings_and_lists(columns: httpx.Client) -> None:
    wanted = [{"sum": [11.0], "pair": [1.0, 10.0]}]
    assert v1(columns, "columns", [{"b": 10, "a": 1}]) == wanted
    assert v1(columns, "columns", [[1, 10]]) == wanted


def test_strings_go_in_and_out(text: httpx.Client) -> None:
    answer = v2(text, "text", [given("word", [2], ["ä", "b"], "BYTES")])
    assert answer["outputs"][0] | {"parameters": None} == given("same", [2, 1], ["ä", "b"], "BYTES") | {
        "parameters": None
    }
    assert v1(text, "text", [["ä"], ["b"]]) == [["ä"], ["b"]]


def test_the_model_tells_what_it_takes(columns: httpx.Client) -> None:
    about = columns.get("/v2/models/columns").json()
    assert about["inputs"] == [{"name": name, "datatype": "FP32", "shape": [-1, 1]} for name in "ab"]
    assert [output["name"] for output in about["outputs"]] == ["sum", "pair"]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/v1/models/columns:predict", {"instances": [{"a": 1}]}, "instance 0 lacks b; the model's inputs are a, b"),
        ("/v1/models/columns:predict", {"instances": [[1, None]]}, "input 'b'"),
        ("/v1/models/columns:predict", {"rows": [[1, 2]]}, 'must be a JSON object with "instances"'),
        ("/v1/models/columns:predict", [1, 2], 'must be a JSON object with "instances"'),
        ("/v2/models/columns/infer", {"inputs": [given("a", [1], [1])]}, "lacks b"),
        ("/v2/models/columns/infer", {"inputs": [given("x", [1, 2], [1, None])]}, "none may be null"),
        ("/v2/models/columns/infer", {"inputs": [given("x", [1, 2], ["1", "2"])]}, "numbers are needed"),
        ("/v2/models/columns/infer", {"inputs": [given("x", [1, 2], [1, 2, 3])]}, "data do not fit FP32 [1, 2]"),
        ("/v2/models/columns/infer", {"inputs": [given("a", [1], [1]), given("a", [1], [1])]}, "a is given twice"),
        (
            "/v2/models/columns/infer",
            {"inputs": [given("x", [1, 2], [1, 2])], "outputs": [{"name": "y"}]},
            "the model has no output y; it has sum, pair",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_the_clients_fault(
    columns: httpx.Client, path: str, body: Any, message: str
) -> None:
    answer = columns.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert message in answer.json()["error"]


def test_an_unknown_model_is_not_found(columns: httpx.Client) -> None:
    assert columns.post("/v1/models/other:predict", json={"instances": [[1, 2]]}).status_code == 404


def test_it_listens_on_the_given_address_and_one_port_only(columns: httpx.Client) -> None:
    port = columns.base_url.port
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.2:{port}/v2/health/ready")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no directory: is storageUri right?"),
        ({"model.pkl": b""}, "must have exactly one file *.onnx; it has model.pkl"),
        ({"model.onnx": b"no model"}, "model.onnx cannot be loaded: "),
    ],
)
def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_cause(
    server_image: Image, tmp_path: Path, content: dict[str, bytes] | None, message: str
) -> None:
    directory = tmp_path / "model"
    if content is not None:
        directory.mkdir()
        for name, data in content.items():
            (directory / name).write_bytes(data)
    port = free_port()
    log = tmp_path / "server.log"
    process = start(server_image, f"--model_dir={directory}", f"--http_port={port}", f"--host={HOST}", log=log)
    assert process.wait(60) == 1
    last = log.read_text().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


def test_it_ends_soon_when_told_to(server_image: Image, models: Path, tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "server.log"
    argv = (f"--model_dir={models / 'columns'}", f"--http_port={port}", f"--host={HOST}", "--model_name=m")
    process = start(server_image, *argv, log=log)
    try:
        wait_until_ready(process, f"http://{HOST}:{port}/v1/models/m", log)
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, -signal.SIGTERM)
