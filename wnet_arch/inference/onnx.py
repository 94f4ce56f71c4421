"""Opens a network in an ONNX file and checks that it is one: the only place where such files are opened."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from wnet_arch.data.set_paths import say_once
from wnet_arch.errors import UsageError, WeightsError, install_extra
from wnet_arch.weights.onnx_tensors import damaged, tensor_files

#: What an output may hold; all of it becomes float32.
_FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_WANTED = "one input, float32 (B, 3, h, w), is wanted: export the network alone, from image to image"
#: What ONNX Runtime says, in one version or another, of files that hold no model.
_NO_MODEL = re.compile("INVALID_PROTOBUF|NO_MODEL|No graph was found|not have a graph")


class OnnxNetwork:
    """A network that takes images, float32 (B, 3, h, w), RGB in [0, 1], and whose first output is images, (B, 3, H, W).

    Args:
        path: of the file. Tensors may lie in other files beside it.
        device: ``cpu``, or a GPU if this ONNX Runtime has one.
        threads: on the CPU; with one, results do not depend on the number of processes.

    Attributes:
        batch: images it takes at once, ``None``: any number.
        size: (height, width) it takes, each ``None`` where any will do.
        outputs: names; the first is that of the images.
        metadata: what the file says of itself.
        runs_on: what computes, with the version of ONNX Runtime.

    Raises:
        UsageError: onnxruntime is not installed.
        WeightsError: the file, or one with its tensors, is missing or damaged, or it holds something else.
    """

    def __init__(self, path: str | os.PathLike, device: str = "cpu", threads: int = 1):
        self.path = os.fspath(path)
        self._session = _session(self.path, device, threads)
        try:
            self._input, (self.batch, _, *self.size) = self._checked_input()
            self.outputs = self._checked_outputs()
            self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        except UnicodeDecodeError as error:
            raise WeightsError(damaged(self.path)) from error
        self.runs_on = f"onnxruntime {_runtime().__version__}, {', '.join(self._session.get_providers())}"

    def run(self, images: np.ndarray, outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """Runs it on any number of images; a network made for batches of one size gets them filled up.

        Args:
            images: float32 (B, 3, h, w).
            outputs: names; ``None``: all of them.

        Returns:
            For each output float32 (B, C, H, W).

        Raises:
            WeightsError: it cannot be run on such images, or makes something else.
        """
        names, step, parts = list(outputs or self.outputs), self.batch or len(images), []
        for start in range(0, len(images), step):
            part = images[start : start + step]
            filled = np.concatenate((part, np.repeat(part[-1:], step - len(part), 0)))
            parts.append([out[: len(part)] for out in self._run(names, filled)])
        return [np.concatenate(found).astype(np.float32, copy=False) for found in zip(*parts)]

    def _run(self, names: list[str], batch: np.ndarray) -> list[np.ndarray]:
        try:
            found = self._session.run(names, {self._input: batch})
        except Exception as error:  # onnxruntime's exceptions share no base class but this one
            raise WeightsError(f"{self.path} cannot be run on images of shape {batch.shape} ({_reason(error)})") from error
        for name, out in zip(names, found):
            if not isinstance(out, np.ndarray) or out.ndim != 4 or len(out) != len(batch):
                shape = out.shape if isinstance(out, np.ndarray) else type(out).__name__
                raise WeightsError(f"{self.path} makes {shape} of {batch.shape} (output {name}); (B, C, H, W) was expected")
        return found

    def find_scale(self, side: int = 16) -> int:
        """How many times it enlarges, found by running it once on an image of ``side`` pixels, or of the size it is fixed to.

        Raises:
            WeightsError: it cannot be run, or makes no RGB image of a whole number of times the size.
        """
        shape = (self.batch or 1, 3, *(fixed or side for fixed in self.size))
        out = self.run(np.zeros(shape, np.float32), self.outputs[:1])[0]
        scale = out.shape[-1] // shape[-1]
        if scale < 1 or out.shape != (shape[0], 3, shape[2] * scale, shape[3] * scale):
            raise WeightsError(f"{self.path} makes {out.shape} of {shape}; that is no RGB image of a whole scale")
        return scale

    def _checked_input(self) -> tuple[str, list[int | None]]:
        """Name and shape of the input, ``None`` for what is not fixed."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            found = f"{len(inputs)} inputs ({', '.join(one.name for one in inputs[:4])})" if inputs else "no input"
            raise WeightsError(f"{self.path} takes {found}; {_WANTED}")
        shape = list(inputs[0].shape or ())
        if len(shape) != 4 or inputs[0].type != "tensor(float)":
            raise WeightsError(f"{self.path} takes {inputs[0].type} {shape}; {_WANTED}")
        shape = [side if isinstance(side, int) else None for side in shape]
        if shape[1] not in (None, 3) or any(side is not None and side < 1 for side in shape):
            raise WeightsError(f"{self.path} takes images of shape {inputs[0].shape}; {_WANTED}")
        return inputs[0].name, shape

    def _checked_outputs(self) -> list[str]:
        """Names of the outputs that hold numbers."""
        outputs = self._session.get_outputs()
        if not outputs:
            raise WeightsError(f"{self.path} makes nothing, it has no output; images, float32 (B, 3, H, W), are wanted")
        first = outputs[0]
        if first.type not in _FLOATS or (first.shape and len(first.shape) != 4):
            shape = f" {first.shape}" if first.shape else ""
            raise WeightsError(
                f"the first output of {self.path}, {first.name}, is {first.type}{shape}; images, float32 (B, 3, H, W), are wanted: "
                "export the network so that its image comes first"
            )
        return [output.name for output in outputs if output.type in _FLOATS]


def _runtime():
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f"ONNX files need onnxruntime: {install_extra('onnx')}") from error
    return onnxruntime


def _session(path: str, device: str, threads: int):
    onnxruntime = _runtime()
    if not os.path.isfile(path):
        raise WeightsError(f"there is no ONNX file {path}")
    tensor_files(Path(path))  # says what is missing more plainly than the runtime does
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # torch works on the same cores in between
    settings.log_severity_level = 4  # what it says of errors comes with the exception as well
    providers: list = ["CPUExecutionProvider"]
    if device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": torch.device(device).index or 0}))
    elif device != "cpu":
        say_once(f"note: ONNX Runtime is without CUDA here, so {os.path.basename(path)} runs on the CPU; onnxruntime-gpu has it")
    try:
        return onnxruntime.InferenceSession(path, settings, providers=providers, enable_fallback=len(providers) > 1)
    except Exception as error:
        if isinstance(error, UnicodeDecodeError) or _NO_MODEL.search(str(error)):
            raise WeightsError(damaged(path)) from error
        raise WeightsError(f"{path} cannot be opened by ONNX Runtime {onnxruntime.__version__} ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What ONNX Runtime says, on one line and without its numbers and the places in its code."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"\S*/onnxruntime/\S+ .*?\) ", "", text)
    return text if len(text) <= 300 else text[:297] + "..."
