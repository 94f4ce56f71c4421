"""``.pt2`` files: programs of ``torch.export``, which torch runs without the network's Python code."""

from __future__ import annotations

import copy
import io
import json
import warnings
from pathlib import Path

import torch

from wnet_arch.errors import UsageError
from wnet_arch.export.checks import Run
from wnet_arch.export.subject import Outputs

SUFFIX, LIMIT = ".pt2", 1e-5
#: The file inside that holds the metadata.
ABOUT = "about.json"


def need() -> None:
    """Nothing but torch."""


def describe() -> str:
    """What checks the file, for reports."""
    return f"torch {torch.__version__}"


def write(outputs: Outputs, about: dict[str, str], precision: str, path: Path) -> None:
    """Writes a network, for any batch, in float32.

    Raises:
        UsageError: another precision is wanted, or the network cannot be exported.
    """
    if precision != "fp32":
        raise UsageError(f"--precision: .pt2 files are float32; {precision} is for .onnx and .safetensors")
    lq, file = torch.zeros(2, 3, outputs.side, outputs.side), io.BytesIO()  # torch ends the process where a disk is full
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # With torch 2.4 strict mode, then the default, cannot read these networks; without it, tensors that a forward keeps, as
            # BasicSR's EDSR does, are traced ones afterwards: of a copy.
            traced = copy.deepcopy(outputs)
            program = torch.export.export(traced, (lq,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
            torch.export.save(program, file, extra_files={ABOUT: json.dumps(about)})
    except Exception as error:  # torch.export raises errors of many kinds without a common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{type(outputs.net).__name__} cannot become a .pt2 file: {reason}") from error
    path.write_bytes(file.getbuffer())


def reopen(path: Path, threads: int = 1) -> Run:
    """What runs a written file. The number of threads is torch's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(path).module()
