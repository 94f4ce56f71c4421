"""Joins this package to BasicSR: at once where BasicSR is imported already, otherwise the moment it is.

Importing BasicSR takes longer than everything else at the start of a program (torchvision and SciPy come with it), and running
a network needs none of it. So ``import wnet_arch`` leaves it alone, and whatever imports it later, be it the trainer, a data
set of ours or a user's script, finds the plugin in its registries all the same.
"""

from __future__ import annotations

import importlib
import importlib.abc
import sys
from importlib.machinery import ModuleSpec

FRAMEWORK = "basicsr"


class _JoinOnImport(importlib.abc.MetaPathFinder):
    """Finds ``basicsr`` where Python would, and has its import mend it before and join us to it afterwards."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        if name != FRAMEWORK:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self and hasattr(finder, "find_spec"))
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module) -> None:
                from wnet_arch import compat

                compat.supply_modules()
                run(module)
                join()

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this loader alone
        return spec


def join() -> None:
    """Registers everything with BasicSR, which is imported, and changes nothing else of it.

    Raises:
        WNetError: it is a fork without the interface this plugin uses.
    """
    from wnet_arch import compat
    from wnet_arch.archs.base import register_with_framework

    compat.check_framework()
    from basicsr.utils.registry import DATASET_REGISTRY

    from wnet_arch.data import PairedFaceParsingDataset

    register_with_framework()
    for package in ("losses", "models", "metrics"):  # these register by decorators
        importlib.import_module(f"wnet_arch.{package}")
    DATASET_REGISTRY.register(PairedFaceParsingDataset)


def join_when_imported() -> None:
    """Called once, by ``import wnet_arch``."""
    if FRAMEWORK in sys.modules:
        join()
    else:
        sys.meta_path.insert(0, _JoinOnImport())
