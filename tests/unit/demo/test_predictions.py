"""The demo believes a prediction only if it comes from the model that Spark trained."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from demo.airflow import DemoError
from demo.predictions import predict

SAMPLE = {
    "flights": ["UA1 EWR-ORD", "B62 JFK-BOS"],
    "rows": [[1.0, 2.0], [3.0, 4.0]],
    "arr_delay": [-5, 40],
    "probability": [0.1, 0.8],
}


class Served:
    """A V2 endpoint at the wire: answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.answer: dict[str, Any] = {
            "model_name": "delay",
            "outputs": [
                {"name": "prediction", "data": [0, 1]},
                {"name": "probability", "data": [0.9, 0.1, 0.2, 0.8]},
            ],
        }
        self.status = 200
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                served.asked.append((self.path, json.loads(body)))
                answer = json.dumps(served.answer).encode()
                self.send_response(served.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def served() -> Iterator[Served]:
    endpoint = Served()
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield endpoint
    endpoint.server.shutdown()
    thread.join()
    endpoint.server.server_close()


def test_flights_are_sent_feature_by_feature(served: Served) -> None:
    predictions = predict(served.url, "delay", SAMPLE, ["distance", "temp"])
    path, body = served.asked[0]
    assert path == "/v2/models/delay/infer"
    assert body["inputs"] == [
        {"name": "distance", "shape": [2, 1], "datatype": "FP32", "data": [1.0, 3.0]},
        {"name": "temp", "shape": [2, 1], "datatype": "FP32", "data": [2.0, 4.0]},
    ]
    assert [(p.flight, p.probability, p.is_late, p.actual_delay) for p in predictions] == [
        ("UA1 EWR-ORD", 0.1, False, -5),
        ("B62 JFK-BOS", 0.8, True, 40),
    ]


def test_another_model_is_found_out_by_its_name(served: Served) -> None:
    served.answer["model_name"] = "other"
    with pytest.raises(DemoError, match="from model 'other'"):
        predict(served.url, "delay", SAMPLE, ["distance", "temp"])


def test_another_model_is_found_out_by_its_probabilities(served: Served) -> None:
    served.answer["outputs"][1]["data"] = [0.9, 0.1, 0.3, 0.7]
    with pytest.raises(DemoError, match=r"differ from Spark's by up to 1\.00e-01"):
        predict(served.url, "delay", SAMPLE, ["distance", "temp"])


def test_missing_answers_are_found_out(served: Served) -> None:
    served.answer["outputs"][1]["data"] = [0.9, 0.1]
    with pytest.raises(DemoError, match="2 flights were asked about, 1 answers came"):
        predict(served.url, "delay", SAMPLE, ["distance", "temp"])


def test_no_answer_is_an_error(served: Served) -> None:
    served.status = 500
    with pytest.raises(DemoError, match="did not answer"):
        predict(served.url, "delay", SAMPLE, ["distance", "temp"])
