"""The only file that works around framework versions. Used by :mod:`wnet_arch.registration` around BasicSR's import.

BasicSR's last release on PyPI (1.4.2, August 2022) neither imports nor runs everywhere on today's libraries. Each
work-around below names the versions it is for, does nothing elsewhere, and has a test in ``tests/test_compat.py``.
Files of BasicSR are never changed; at most a module that has disappeared is supplied. What changes its trainer is in
:mod:`wnet_arch.training.patches`, which an import leaves alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from wnet_arch.errors import NO_FRAMEWORK, WNetError

#: What the plugin uses of BasicSR; a fork without it is refused by name.
_REQUIRED_API = {
    "basicsr.archs": ("build_network",),
    "basicsr.data": ("build_dataset", "build_dataloader"),
    "basicsr.losses": ("build_loss",),
    "basicsr.metrics": ("calculate_metric",),
    "basicsr.models": ("build_model",),
    "basicsr.models.sr_model": ("SRModel",),
    "basicsr.train": ("train_pipeline", "load_resume_state"),
    "basicsr.test": ("test_pipeline",),
    "basicsr.utils.registry": ("ARCH_REGISTRY", "DATASET_REGISTRY", "LOSS_REGISTRY", "METRIC_REGISTRY", "MODEL_REGISTRY"),
}


def _missing(module: str) -> bool:
    """True when ``module`` can neither be found on disk nor is loaded already."""
    if module in sys.modules:
        return False
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def _stand_in(name: str, source: str, function: str) -> bool:
    """Makes a module with one function of another, if there is none; returns whether it was made."""
    if not _missing(name):
        return False
    module = types.ModuleType(name, "Stand-in made by wnet_arch.compat.")
    setattr(module, function, getattr(importlib.import_module(source), function))
    sys.modules[name] = module
    return True


def supply_functional_tensor() -> bool:
    """torchvision >= 0.17 has no ``transforms.functional_tensor``, which BasicSR 1.4.2 imports for one function."""
    return _stand_in("torchvision.transforms.functional_tensor", "torchvision.transforms.functional", "rgb_to_grayscale")


def supply_distutils() -> bool:
    """Python >= 3.12 has no ``distutils``, which BasicSR's ``archs/arch_util.py`` imports; setuptools brings one."""
    if not _missing("distutils"):
        return False
    if _missing("setuptools"):
        raise WNetError("BasicSR needs distutils, gone from Python 3.12: run `pip install setuptools`")
    importlib.import_module("setuptools")
    return True


def supply_scipy_filters() -> bool:
    """SciPy >= 2 has no ``scipy.ndimage.filters``, which BasicSR 1.4.2 imports for NIQE."""
    return _stand_in("scipy.ndimage.filters", "scipy.ndimage", "convolve")


def supply_modules() -> None:
    """Supplies the modules that BasicSR imports and the installed libraries no longer have. Before it is imported."""
    supply_functional_tensor()
    supply_distutils()
    supply_scipy_filters()


def check_framework() -> str:
    """Imports BasicSR and returns where it was loaded from.

    Raises:
        WNetError: it is not installed, or is a fork without the interface this plugin uses.
    """
    if _missing("basicsr"):
        raise WNetError(NO_FRAMEWORK)
    import basicsr

    where = os.path.dirname(basicsr.__file__ or "?")
    for module, names in _REQUIRED_API.items():
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise WNetError(f"the BasicSR loaded from {where} cannot be used: {error}") from error
        lacking = [name for name in names if not hasattr(found, name)]
        if lacking:
            raise WNetError(f"the BasicSR loaded from {where} is a fork without {module}.{lacking[0]}: uninstall it")
    return where


@contextmanager
def quiet_logger() -> Iterator[None]:
    """Keeps the framework's logger (every version) silent and unborn.

    Its first call decides for ever whether it writes to a file, so building a network before the trainer has opened the log
    would cost the run its log file.
    """
    from basicsr.utils.logger import initialized_logger

    if "basicsr" in initialized_logger:
        yield
        return
    logger = logging.getLogger("basicsr")
    initialized_logger["basicsr"] = True
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        del initialized_logger["basicsr"]
        logger.setLevel(logging.NOTSET)


def describe_framework() -> str:
    """One line for logs: which BasicSR, torch and torchvision are in use."""
    import basicsr
    import torchvision

    return (
        f"BasicSR {getattr(basicsr, '__version__', 'unknown')} from {os.path.dirname(basicsr.__file__)}, "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    )
