"""One file a network, ``*_arch.py``; importing this package imports, and so registers, each of them."""

import importlib
import pkgutil

from wnet_arch.archs.base import create_network, list_networks

for _module in pkgutil.iter_modules(__path__):
    if _module.name.endswith("_arch"):
        importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["create_network", "list_networks"]
