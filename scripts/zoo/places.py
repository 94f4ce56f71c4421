"""Where weights lie in the repository: wnet_arch/weights or baselines/wnet_fsr_zoo.

The first is the package `wnet-fsr`, which stays small: what `wnet restore` takes by itself, W-Net and its family's networks for
photos from life (`wnet_..._real_x4`). All others are in the second, `wnet-fsr-zoo`. Each has a manifest.toml, and the first names
what the second has, so that it can say what is missing where that is not installed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from wnet_arch.weights import entries, packages

ROOT = Path(__file__).resolve().parents[2]
FAMILY = "wnet_"
ZOO = ROOT / "baselines" / "wnet_fsr_zoo" / "manifest.toml"


def manifest_of(name: str) -> Path:
    """The manifest that a network's entry stands in, or will; its weights and its card lie beside it."""
    return entries.MANIFEST if _is_first(name) else ZOO


def described(name: str) -> tuple[str, str]:
    """What pages call the package of a network, and its folder in the repository."""
    return ("wnet-fsr", "wnet_arch/weights") if _is_first(name) else ("wnet-fsr-zoo", "baselines/wnet_fsr_zoo")


def _is_first(name: str) -> bool:
    return re.fullmatch(rf"{FAMILY}((\w+_)?real_)?x\d+", name) is not None


def check_name(name: str, kind: str) -> None:
    """Ends the script where a name would put a network, by the type in its options, into the wrong package."""
    if name.startswith(FAMILY) != kind.startswith("WNet"):
        sys.exit(f"'{name}' is no name for weights of {kind}: W-Net and WNetLite are called {FAMILY}..., and nothing else is")


def need_all() -> None:
    """Ends the script where weights of the repository are not installed: what it writes would leave them out."""
    lines = packages.table().missing_lines
    if lines:
        sys.exit("\n".join(lines))
