"""Does a file give the faces that the network gives in torch?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image

from wnet_arch.errors import WNetError

#: What runs a file or a network: float32 (B, 3, h, w) to its outputs, ``sr`` first.
Run = Callable[[torch.Tensor], Sequence[torch.Tensor]]
#: Batches on which a file is tried. Networks are traced with a batch of two.
BATCHES = (1, 2, 3)


def trial_faces(side: int, count: int = max(BATCHES)) -> torch.Tensor:
    """Drawn 8-bit pictures, smooth with a little noise, the same each time: float32 (count, 3, side, side), in [0, 1]."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    smooth = np.stack([np.array(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])
    noisy = np.rint(smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255)
    return torch.from_numpy(noisy).permute(0, 3, 1, 2).float() / 255


def results(run: Run, faces: torch.Tensor, batch: int = 1) -> list[torch.Tensor]:
    """Each output for all faces, run in batches of one size; the last may be smaller."""
    with torch.no_grad():
        parts = [run(faces[start : start + batch]) for start in range(0, len(faces), batch)]
    return [torch.cat(list(outputs)) for outputs in zip(*parts)]


def difference(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """Largest difference of any value; infinite where shapes differ or values are no numbers."""
    if [one.shape for one in found] != [one.shape for one in wanted]:
        return float("inf")
    largest = [float((one - other).abs().max()) for one, other in zip(found, wanted)]
    return float("inf") if any(map(math.isnan, largest)) else max(largest)


def check_batches(run: Run, net: Run, faces: torch.Tensor, limit: float, what: str) -> float:
    """Runs a file and its network on batches of several sizes.

    Args:
        run: the file.
        net: the network.
        faces: as many as the largest batch.
        limit: largest difference that is accepted.
        what: the file, for messages.

    Returns:
        The largest difference.

    Raises:
        WNetError: it is above the limit, or a batch cannot be run.
    """
    largest = 0.0
    for batch in BATCHES:
        wanted = results(net, faces[:batch], batch)
        try:
            found = results(run, faces[:batch], batch)
        except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise WNetError(f"{what} cannot be run on a batch of {batch} ({reason}); it was not kept") from error
        largest = max(largest, accepted(difference(found, wanted), limit, f"{what}, batch of {batch}"))
    return largest


def accepted(found: float, limit: float, what: str) -> float:
    """Gives a difference back. Raises :class:`WNetError` if it is above the limit."""
    if found > limit:
        raise WNetError(f"{what}: differs from torch by {found:.2g}, more than {limit:g}; it was not kept")
    return found
