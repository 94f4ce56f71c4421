"""What decides about a result besides the images, as texts to be hashed: code, files, libraries, the machine.

A result in the cache belongs to all of these. What is left out here is taken for the same when it is not.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch import nn

from wnet_arch.weights.hashing import digest, sha256_file
from wnet_arch.weights.onnx_tensors import tensor_files

_LIBRARIES = ("wnet-fsr", "basicsr", "torch", "numpy", "pillow", "opencv-python", "opencv-python-headless", "scipy",
              "dlib-bin", "dlib", "facexlib", "face-alignment", "lpips")  # fmt: skip
#: Settings of the environment that change what a processor or GPU computes.
_SETTINGS = ("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
             "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")  # fmt: skip


@cache
def code_digest(folder: str) -> str:
    """Hash of the Python files of one of our rooms, however deep: results made by other code are not reused."""
    root = Path(__file__).parent.parent / folder
    return digest(*(file.read_bytes() for file in sorted(root.rglob("*.py"))))


def code_of(net: nn.Module) -> str:
    """Hash of the files that define a network and its parts, as far as they are neither torch's nor in ``wnet_arch.archs``."""
    return code_in({type(part).__module__ for part in net.modules()}, "wnet_arch.archs")


def code_in(modules: Iterable[str], but: str) -> str:
    """Hash of the files of these modules, without torch's and those below the package ``but``."""
    found = [sys.modules.get(name) for name in modules if not name.startswith(("torch.", but))]
    files = sorted({getattr(module, "__file__", None) or "" for module in found})
    return digest(*(Path(file).read_bytes() for file in files if os.path.isfile(file)))


@cache
def libraries() -> str:
    """Names and versions of what computes; the last digits depend on them."""
    return ", ".join(f"{name} {version}" for name in _LIBRARIES if (version := _version(name)))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def machine(device: str) -> str:
    """What torch computes with: the processor's instructions or the GPU, and the precision it was told to keep."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and torch.cuda.is_available():
        own = f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, no TF32"
    else:
        own = f"{device} {torch.backends.cpu.get_cpu_capability()}"
    told = [f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ]
    return "; ".join([own, torch.get_float32_matmul_precision(), *told])


def named_files(options: object) -> list[str]:
    """Hashes of the files that options name, however deep: a path stays the same when its file changes."""
    return [sha256_file(path) for path in _paths(options)]


def stamps(options: object) -> tuple:
    """Sizes and times of these files, for what is kept in memory while they stay the same."""
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ino) for path in _paths(options))


def _paths(options: object) -> list[Path]:
    if isinstance(options, str):
        path = Path(options).expanduser()
        return [path] if 0 < len(options) < 1024 and path.is_file() else []
    values = options.values() if isinstance(options, dict) else options
    return [path for value in values for path in _paths(value)] if isinstance(values, Iterable) else []


def onnx_files(path: str) -> str:
    """Hash of an ONNX file and of those beside it that hold its tensors."""
    files = [Path(path), *tensor_files(Path(path))]
    return digest(*(f"{file.name if file is not files[0] else ''} {sha256_file(file)}" for file in files))


def loaded_weights(owner: object) -> str:
    """Hash of the networks that an object holds, as they were loaded, from wherever that was."""
    hasher = hashlib.sha256()
    for name, net in sorted(vars(owner).items()):
        if isinstance(net, nn.Module):
            for key, tensor in net.state_dict().items():
                hasher.update(f"{name}.{key} {tuple(tensor.shape)} {tensor.dtype}".encode())
                hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return hasher.hexdigest()
