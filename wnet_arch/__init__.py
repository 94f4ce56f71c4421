"""W-Net face super-resolution as a plugin for BasicSR.

Importing this package registers its networks, models, losses, metrics and data sets with BasicSR, if that is imported or as
soon as it is (:mod:`wnet_arch.registration`), and changes nothing else; :func:`patch_trainer` is for scripts that train.
"""

import importlib

from wnet_arch import registration
from wnet_arch.version import __version__

registration.join_when_imported()


def __getattr__(name: str):
    """Everything is imported on first use: PyTorch comes with networks, and takes seconds that `wnet --version` has not."""
    if name in ("archs", "compat", "data", "losses", "metrics", "models"):
        return importlib.import_module(f"{__name__}.{name}")
    if name in ("create_network", "list_networks"):
        return getattr(importlib.import_module(f"{__name__}.archs"), name)
    if name == "FaceRestorer":
        from wnet_arch.restore import FaceRestorer

        return FaceRestorer
    if name == "patch_trainer":
        from wnet_arch.training.patches import patch_trainer

        return patch_trainer
    if name in ("list_pretrained", "load_pretrained"):
        from wnet_arch.inference import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


__all__ = [
    "FaceRestorer", "__version__", "archs", "compat", "create_network", "data", "list_networks", "list_pretrained",
    "load_pretrained", "losses", "metrics", "models", "patch_trainer",
]  # fmt: skip
