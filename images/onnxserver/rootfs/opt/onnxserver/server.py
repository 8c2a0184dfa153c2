"""Serves one ONNX model by KServe's V1 and V2 protocols: the real KServe ``ModelServer`` around onnxruntime.

It listens only after the model is loaded, so a server that answers is ready. A model that cannot be loaded ends it with
exit code 1 and the cause as the last line of the log.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import kserve
import numpy as np
import onnxruntime
from kserve import model_server
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import InferInput, InferOutput, InferRequest, InferResponse
from kserve.utils.utils import generate_uuid
from tensors import InputError, ModelError, Tensor, from_instances, from_tensors, to_predictions

DEFAULT_DIRECTORY = "/mnt/models"
"""Where KServe's storage initializer lays the model."""


class OnnxModel(kserve.Model):
    """An ONNX model behind KServe's protocols.

    :param name: the model's name in URLs.
    :param path: its file.
    """

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self.path = path

    def load(self) -> bool:
        """Load the model.

        :raises ModelError: when onnxruntime cannot, or the protocols cannot carry its inputs and outputs.
        """
        options = onnxruntime.SessionOptions()
        # Idle threads wait instead of spinning: a server shares its node.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = onnxruntime.InferenceSession(
                str(self.path), options, providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # the classes that it raises have no other base in common
            raise ModelError(f"{self.path} cannot be loaded: {error}") from error
        self.inputs = [Tensor.of(node) for node in self.session.get_inputs()]
        self.outputs = [Tensor.of(node) for node in self.session.get_outputs()]
        self.ready = True
        return self.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        """Return the inputs for the V2 protocol's metadata."""
        return [tensor.metadata() for tensor in self.inputs]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Return the outputs for the V2 protocol's metadata."""
        return [tensor.metadata() for tensor in self.outputs]

    async def predict(
        self, payload: dict[str, Any] | InferRequest, headers: dict[str, str] | None = None
    ) -> dict[str, Any] | InferResponse:
        """Answer a request of either protocol; see :mod:`tensors` for what it may hold.

        :raises InvalidInput: (answered as 400) when the request does not fit the model.
        """
        try:
            if isinstance(payload, InferRequest):
                wanted = [output.name for output in payload.request_outputs or ()]
                return self._response(payload, await self._run(from_tensors(self.inputs, _given(payload)), wanted))
            if not isinstance(payload, dict) or "instances" not in payload:
                raise InputError('the request must be a JSON object with "instances"')
            return {"predictions": to_predictions(await self._run(from_instances(self.inputs, payload["instances"])))}
        except InputError as error:
            raise InvalidInput(str(error)) from error

    async def _run(self, feeds: dict[str, np.ndarray], wanted: list[str] | None = None) -> dict[str, np.ndarray]:
        known = [tensor.name for tensor in self.outputs]
        names = wanted or known
        if unknown := [name for name in names if name not in known]:
            raise InputError(f"the model has no output {', '.join(unknown)}; it has {', '.join(known)}")
        # In a thread, so that probes are answered while a large request is computed.
        arrays = await asyncio.to_thread(self.session.run, names, feeds)
        return dict(zip(names, arrays, strict=True))

    def _response(self, request: InferRequest, outputs: dict[str, np.ndarray]) -> InferResponse:
        datatypes = {tensor.name: tensor.datatype for tensor in self.outputs}
        return InferResponse(
            response_id=request.id or generate_uuid(),
            model_name=self.name,
            infer_outputs=[
                InferOutput(name=name, shape=list(array.shape), datatype=datatypes[name], data=array)
                for name, array in outputs.items()
            ],
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs,
        )


def _given(request: InferRequest) -> dict[str, np.ndarray]:
    """Return the tensors of a V2 request by name.

    :raises InputError: when a tensor's data do not fit the shape or type it states.
    """
    names = [tensor.name for tensor in request.inputs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"input {', '.join(twice)} is given twice")
    return {tensor.name: _values(tensor) for tensor in request.inputs}


def _values(tensor: InferInput) -> np.ndarray:
    try:
        # KServe would make NaN of a null, and a number of a text that looks like one.
        if tensor.data is not None and tensor.datatype != "BYTES" and np.array(tensor.data).dtype.kind in "OUS":
            raise TypeError("numbers are needed, and none may be null")
        return np.asarray(tensor.as_numpy())
    except (TypeError, ValueError) as error:
        raise InputError(f"input {tensor.name!r}: data do not fit {tensor.datatype} {tensor.shape}: {error}") from None


class Server(kserve.ModelServer):
    """KServe's server, listening on an address of choice; KServe itself always takes all interfaces."""

    def __init__(self, host: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._host = host

    async def _serve(self) -> None:
        self._rest_server.config.host = self._host
        await super()._serve()


def model_file(directory: Path) -> Path:
    """Find the model's file.

    :raises ModelError: when there is none, or more than one.
    """
    if not directory.is_dir():
        raise ModelError(f"--model_dir {directory} is no directory: is storageUri right?")
    files = sorted(directory.glob("*.onnx"))
    if len(files) != 1:
        found = ", ".join(path.name for path in sorted(directory.iterdir())) or "nothing"
        raise ModelError(f"{directory} must have exactly one file *.onnx; it has {found}")
    return files[0]


def arguments(argv: list[str]) -> argparse.Namespace:
    """Parse the command line: KServe's own options and ours."""
    parser = argparse.ArgumentParser(
        prog="server.py", description=(__doc__ or "").splitlines()[0], parents=[model_server.parser]
    )
    parser.add_argument(
        "--model_dir",
        type=Path,
        default=Path(os.environ.get("MODEL_DIR", DEFAULT_DIRECTORY)),
        help=f"directory with the model (variable MODEL_DIR; default {DEFAULT_DIRECTORY})",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all of the pod's)")
    parser.set_defaults(enable_grpc=False)  # one port is enough for most; --enable_grpc=true opens the other
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    """Load the model and serve it until a signal comes."""
    args = arguments(argv)
    try:
        model = OnnxModel(args.model_name, model_file(args.model_dir))
        model.load()
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1)
    Server(args.host, http_port=args.http_port, enable_grpc=args.enable_grpc, workers=1).start([model])


if __name__ == "__main__":
    main(sys.argv[1:])
