"""Reads pickles that hold nothing but numpy arrays in dictionaries, lists and tuples; refuses all else without running it."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from wnet_arch.errors import WeightsError


def _blank(kind: type, shape: tuple, code: object) -> np.ndarray:
    """Stands in for numpy's ``_reconstruct``: the empty array that the pickle then fills. Only plain arrays are made."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("an array of a kind of its own")
    return np.ndarray.__new__(np.ndarray, (0,), np.uint8)


#: All that a pickled array refers to, under the names of numpy 1 and numpy 2.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _blank,
    ("numpy._core.multiarray", "_reconstruct"): _blank,
}


class _NumpyOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return _ALLOWED[module, name]


def read_numpy_pickle(path: str | Path) -> dict:
    """Reads a pickle of numpy arrays.

    Raises:
        WeightsError: the file is missing or damaged, or refers to anything but arrays.
    """
    try:
        with open(path, "rb") as file:
            return _NumpyOnly(file).load()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # what a damaged pickle raises is not bounded
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path} is not a pickle of numpy arrays ({reason})") from error
