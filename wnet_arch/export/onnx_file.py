"""ONNX files: traced by torch, weights optionally in half the bytes, with what is known of the network as metadata."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from wnet_arch.errors import UsageError, install_extra
from wnet_arch.export.checks import Run
from wnet_arch.export.storage import stored
from wnet_arch.export.subject import Outputs
from wnet_arch.inference.onnx import OnnxNetwork

SUFFIX, LIMIT = ".onnx", 1e-4
#: Of the ONNX standard, of 2022: every runtime has it, and no network needs a newer one.
OPSET = 17


def need() -> None:
    """Raises :class:`UsageError` unless the packages are there."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UsageError(f"ONNX files need {error.name}: {install_extra('onnx')}") from error


def describe() -> str:
    """What checks the file, for reports."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def write(outputs: Outputs, about: dict[str, str], precision: str, path: Path) -> None:
    """Writes a network: input ``lq``, outputs by their names, any batch.

    Args:
        outputs: the network; its weights have the values of the precision already.
        about: metadata.
        precision: of the kernels and matrices in the file; a node casts each to float32, which runtimes do once, when they load it.

    Raises:
        UsageError: the network computes something that ONNX has no operator for.
    """
    import onnx

    model = onnx.load_model_from_string(_trace(outputs))
    if precision != "fp32":
        _shorten(model.graph, outputs.state_dict(), precision)
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value)
    model.doc_string = f"lq: RGB in [0, 1], (B, 3, {outputs.side}, {outputs.side}). sr: the face, same range, to be clamped."
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def reopen(path: Path, threads: int = 1) -> Run:
    """What runs a written file."""
    network = OnnxNetwork(path, "cpu", threads)
    return lambda lq: [torch.from_numpy(out) for out in network.run(lq.numpy())]


def _trace(outputs: Outputs) -> bytes:
    """The graph with every weight as it is and under its own name: folding is left to the runtime."""
    file = io.BytesIO()
    lq = torch.zeros(2, 3, outputs.side, outputs.side)
    options: dict[str, Any] = {
        "input_names": ["lq"], "output_names": list(outputs.names), "opset_version": OPSET, "do_constant_folding": False,
        "dynamic_axes": {name: {0: "batch"} for name in ("lq", *outputs.names)}, "training": torch.onnx.TrainingMode.PRESERVE,
    }  # fmt: skip
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # the other exporter needs one package more, and other versions
        options["dynamo"] = False
    try:
        with warnings.catch_warnings(), _silence(), torch.no_grad():
            warnings.simplefilter("ignore")  # sizes, which are constant here, look as if they were data
            torch.onnx.export(outputs, (lq,), file, **options)  # type: ignore[arg-type]  # this exporter takes a file, too
    except torch.onnx.errors.UnsupportedOperatorError as error:
        name = re.search(r"'(\S+?::\S+?)'", str(error))
        network = type(outputs.net).__name__
        raise UsageError(
            f"{network} cannot become an ONNX file: torch has no ONNX for {name[1] if name else error}; write .pt2"
        ) from error
    return file.getvalue()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps standard output quiet: before it raises an error, torch's exporter prints whole graphs there, past ``sys.stdout``."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _shorten(graph, weights: dict[str, torch.Tensor], precision: str) -> None:
    """Replaces weights by shorter ones and a cast to float32."""
    from onnx import TensorProto, helper

    kind = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    casts = []
    for initializer in graph.initializer:
        short = stored(weights[initializer.name], precision) if initializer.name in weights else None
        if short is None or short.dtype == torch.float32:
            continue
        name = initializer.name
        raw = short.contiguous().view(torch.int16).numpy().tobytes()
        initializer.CopyFrom(helper.make_tensor(f"{name}.{precision}", kind, list(short.shape), raw, raw=True))
        casts.append(helper.make_node("Cast", [initializer.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
