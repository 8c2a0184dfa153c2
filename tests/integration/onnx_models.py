"""Makes small ONNX models for tests of the model server. Runs inside the image ``spark``, which has the package onnx.

``columns``: inputs ``a`` and ``b``, one value per row each; outputs ``sum``, shape [N, 1], and ``pair``, shape [N, 2].
``text``: input ``word``; output ``same``, what came in.
"""

from __future__ import annotations

import sys
from pathlib import Path

from onnx import TensorProto, checker, helper, save


def model(nodes: list[object], inputs: list[object], outputs: list[object]) -> object:
    """Return a checked model of nodes that need nothing newer than what servers of 2021 have."""
    graph = helper.make_graph(nodes, "test", inputs, outputs)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    checker.check_model(made)
    return made


def main(directory: Path) -> None:
    """Write each model into a directory of its own."""
    value = helper.make_tensor_value_info
    floats, column = TensorProto.FLOAT, [None, 1]
    columns = model(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Concat", ["a", "b"], ["pair"], axis=1)],
        [value("a", floats, column), value("b", floats, column)],
        [value("sum", floats, column), value("pair", floats, [None, 2])],
    )
    text = model(
        [helper.make_node("Identity", ["word"], ["same"])],
        [value("word", TensorProto.STRING, column)],
        [value("same", TensorProto.STRING, column)],
    )
    for name, made in (("columns", columns), ("text", text)):
        (directory / name).mkdir()
        save(made, str(directory / name / "model.onnx"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
