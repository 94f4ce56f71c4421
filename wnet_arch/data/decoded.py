"""Decoded images in memory that the workers of a loader share, so that each is decoded once in a run."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence

import numpy as np

from wnet_arch.errors import UsageError


def memory_of_machine() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _stride(shapes: Sequence[tuple[int, ...]]) -> int:
    return 1 + sum(map(math.prod, shapes))


class DecodedImages:
    """A place for the images of each sample. Workers that are forked share it; one that is spawned starts with its own.

    Memory is taken when a place is filled.

    Args:
        count: samples.
        shapes: of the uint8 images of a sample, the same for all samples.

    Raises:
        UsageError: that is more than the machine's memory.
    """

    def __init__(self, count: int, shapes: Sequence[tuple[int, ...]]):
        self.count, self.shapes = count, [tuple(shape) for shape in shapes]
        self.stride = _stride(self.shapes)
        needed, there = count * self.stride, memory_of_machine()
        if needed > there:
            sizes = f"take {needed / 2**30:.1f} GiB, this machine has {there / 2**30:.1f}"
            raise UsageError(f"cache: {count} decoded samples {sizes}; set it to false")
        self._memory = mmap.mmap(-1, needed)
        self._bytes = np.frombuffer(self._memory, np.uint8)

    @staticmethod
    def size(count: int, shapes: Sequence[tuple[int, ...]]) -> int:
        """Bytes that ``count`` samples take."""
        return count * _stride(shapes)

    def get(self, index: int) -> list[np.ndarray] | None:
        """The images of a sample, not to be changed; ``None`` where nobody has put them yet."""
        start = index * self.stride
        return self._images(start + 1) if self._bytes[start] else None

    def put(self, index: int, images: Sequence[np.ndarray]) -> None:
        """Keeps the images of a sample, if they have the shapes of all others. Two workers at once write the same."""
        if [image.shape for image in images] != self.shapes:
            return
        start = index * self.stride
        for place, image in zip(self._images(start + 1), images):
            place[...] = image
        self._bytes[start] = 1

    def _images(self, start: int) -> list[np.ndarray]:
        views = []
        for shape in self.shapes:
            end = start + math.prod(shape)
            views.append(self._bytes[start:end].reshape(shape))
            start = end
        return views

    def __reduce__(self):
        return DecodedImages, (self.count, self.shapes)
