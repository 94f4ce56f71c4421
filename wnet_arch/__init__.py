"""W-Net face super-resolution as a plugin for BasicSR.

Importing this package registers its networks, models, losses, metrics and data sets with BasicSR.
"""

from wnet_arch import compat  # first: it makes BasicSR importable
from wnet_arch import archs, data, losses, metrics, models
from wnet_arch.archs import create_network, list_networks

compat.replace_training_parts()


def __getattr__(name: str):
    """What needs more than training does is imported on first use."""
    if name == "FaceRestorer":
        from wnet_arch.restore import FaceRestorer

        return FaceRestorer
    if name in ("list_pretrained", "load_pretrained"):
        from wnet_arch import pretrained

        return getattr(pretrained, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


__version__ = "0.1.0"
__all__ = [
    "FaceRestorer", "__version__", "archs", "compat", "create_network", "data", "list_networks", "list_pretrained",
    "load_pretrained", "losses", "metrics", "models",
]  # fmt: skip
