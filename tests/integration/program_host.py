"""Runs the Spark programs for tests, one after the other in one process, so that the JVM starts only once.

Runs inside the image ``spark``, not in the project's environment. A line of JSON on stdin is one request, a line on
stdout its answer.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any


def run_program(name: str, argv: list[str]) -> dict[str, Any]:
    """Run a program as ``spark-submit`` would, and return its exit code and what it wrote."""
    program = importlib.import_module(name)
    outputs = importlib.import_module("outputs")
    sys.argv = [f"{name}.py", *argv]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            outputs.run(program.main)
        except SystemExit as end:
            code = int(end.code or 0)
        except Exception:  # noqa: BLE001 - any failure of the program is its outcome
            traceback.print_exc()
            code = 1
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def read_parquet(path: str) -> list[dict[str, Any]]:
    """Return the rows of a parquet directory."""
    import pandas as pd

    return json.loads(pd.read_parquet(path).to_json(orient="records", double_precision=15, date_format="iso"))


def score(model: str, rows: list[list[float]]) -> list[float]:
    """Return an ONNX model's probabilities of late."""
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    columns = np.array(rows, dtype=np.float32).T[:, :, None]
    inputs = dict(zip((node.name for node in session.get_inputs()), columns, strict=True))
    return [float(p) for p in session.run(["probability"], inputs)[0][:, 1]]


@contextlib.contextmanager
def wrong_converter() -> Iterator[None]:
    """Have the converter do what converters have done: give a valid model with other probabilities."""
    import export_onnx

    right = export_onnx.to_onnx

    def wrong(*args: Any) -> Any:
        model = right(*args)
        for node in model.graph.node:
            for attribute in node.attribute:
                if attribute.name == "intercepts":
                    attribute.floats[:] = [value * 1.01 for value in attribute.floats]
        return model

    export_onnx.to_onnx = wrong
    try:
        yield
    finally:
        export_onnx.to_onnx = right


def answer(request: dict[str, Any]) -> Any:
    """Carry out one request."""
    if "parquet" in request:
        return read_parquet(request["parquet"])
    if "score" in request:
        return score(request["score"], request["rows"])
    os.environ["SPARKML_RESULT_PATH"] = request["result"]
    with wrong_converter() if request.get("wrong_converter") else contextlib.nullcontext():
        return run_program(request["program"], request["argv"])


def main() -> None:
    """Serve requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the JVM writes to file descriptor 1, which is no place for answers any more
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    main()
