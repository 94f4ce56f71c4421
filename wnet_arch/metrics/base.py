"""What every metric looks like: images in, one number an image out, and the name of the network that it rests on.

A metric works in two steps. :meth:`Metric.describe` turns images into what is compared (landmarks, an identity vector, a
parsing map), :meth:`Metric.compare` turns two descriptions into numbers. The ground truth of a test set is thus described
once, however many networks are compared on it, and a report has what it draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Generic, TypeVar, cast

import numpy as np
import torch

from wnet_arch.errors import DataError, UsageError
from wnet_arch.faces.inference import one_thread
from wnet_arch.held import Held

Images = np.ndarray | Sequence[np.ndarray]


@dataclass(frozen=True)
class Description:
    """What is known about N images: every field is an array or list of N entries. ``d[i:j]`` cuts a part out."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, part: slice):
        return type(self)(*(getattr(self, field.name)[part] for field in fields(self)))


@dataclass(frozen=True)
class Pictures(Description):
    """The images themselves: a list of uint8 (H, W, 3)."""

    images: list


#: What a metric makes of images, between its two steps.
Described = TypeVar("Described", bound=Description)


class Metric(ABC, Generic[Described]):
    """A measure of how well super-resolved faces (SR) agree with the true ones (GT).

    One that compares the images themselves is a ``Metric[Pictures]`` and has no :meth:`describe` of its own.

    Attributes:
        name: as in tables.
        backbone: the network and weights that the number rests on; belongs beside every value that is printed.
        units: what :meth:`measure` returns, in printing order, with the unit of each. The first is the main value.
        better: ``"higher"`` or ``"lower"``, the same for all of them.
    """

    name: str
    backbone: str
    units: dict[str, str]
    better: str

    @property
    def unit(self) -> str:
        """Unit of the main value."""
        return next(iter(self.units.values()))

    def measure(self, sr: Images, gt: Images) -> dict[str, np.ndarray]:
        """Compares images pair by pair.

        Args:
            sr: uint8 RGB, (N, H, W, 3) or N arrays (H, W, 3).
            gt: as many, each of its partner's size.

        Returns:
            For every key of :attr:`units` float64 (N,). NaN where there is nothing to measure, such as no face found.

        Raises:
            DataError: not such images, or sizes that differ.
        """
        check_pairs(sr, gt)
        described = self.describe(gt)
        return self.compare(self.describe(sr, reference=described), described)

    def describe(self, images: Images, reference: Described | None = None) -> Described:
        """First step: what of each image is compared. ``reference`` is the description of its GT, where it is an SR image."""
        return cast(Described, Pictures(check_images(images)))

    @abstractmethod
    def compare(self, sr: Described, gt: Described) -> dict[str, np.ndarray]:
        """Second step: the values as :meth:`measure` returns them. Raises :class:`DataError`: not as many of both."""


def check_images(images: Images, what: str = "images") -> list[np.ndarray]:
    """Returns a list of uint8 (H, W, 3).

    Raises:
        DataError: one of them is something else, or there is none.
    """
    if len(images) == 0:
        raise DataError(f"{what}: there is none to measure")
    for index, image in enumerate(images):
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise DataError(f"{what}: number {index} must be uint8 RGB (H, W, 3), not {found}")
    return list(images)


def check_pairs(sr: Images, gt: Images) -> None:
    """Raises :class:`DataError` unless both are images, as many, and pair by pair of one size."""
    check_images(sr, "SR")
    check_images(gt, "GT")
    if len(sr) != len(gt):
        raise DataError(f"there are {len(sr)} SR images and {len(gt)} GT images")
    for index, (one, other) in enumerate(zip(sr, gt)):
        if one.shape != other.shape:
            raise DataError(
                f"pair {index}: SR is {one.shape[1]}x{one.shape[0]}, GT is {other.shape[1]}x{other.shape[0]} (width x height)"
            )


def check_counts(sr: Description, gt: Description) -> None:
    """Raises :class:`DataError` unless both describe as many images."""
    if len(sr) != len(gt):
        raise DataError(f"there are {len(sr)} SR images and {len(gt)} GT images")


def choose_device(device: str) -> torch.device:
    """``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises:
        UsageError: torch does not know it, or it is not in this machine.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"device '{device}' cannot be used ({reason})") from error


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Inference whose numbers can be compared: one thread on the CPU, full float32 and fixed kernels on a GPU."""
    with one_thread(device.type), _FULL():
        yield


_FULL = Held(partial(torch.backends.cudnn.flags, enabled=True, benchmark=False, deterministic=True, allow_tf32=False))


#: Images that a network measures at a time, unless told otherwise.
BATCH = 16


def check_batch(batch: int) -> int:
    """Returns ``batch`` if it is a positive whole number; raises :class:`UsageError` otherwise."""
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise UsageError(f"batch must be a positive whole number, not {batch!r}")
    return batch


def batches(images: list[np.ndarray], size: int) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Cuts images into batches for a network.

    Images of different sizes go into different batches. Every batch has the same number of images, the last ones filled up
    by repetition: the kernel a convolution picks depends on the batch's size, and the value of an image must not depend on
    how many others were measured with it.

    Yields:
        Positions of the images in the list, fewer than ``size`` at the end; and the ``size`` images.
    """
    groups: dict[tuple, list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(image.shape, []).append(index)
    for members in groups.values():
        for start in range(0, len(members), size):
            chosen = members[start : start + size]
            filled = chosen + [chosen[-1]] * (size - len(chosen))
            yield chosen, [images[i] for i in filled]


def as_tensor(images: list[np.ndarray], device: torch.device) -> torch.Tensor:
    """uint8 (H, W, 3) of one size to float (N, 3, H, W) of 0..255, contiguous."""
    return torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2).float().contiguous()
