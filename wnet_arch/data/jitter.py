"""Frames a little off their place: no detector finds a face exactly, and every data set crops by another rule.

Every number comes from NumPy's global generator, as in :mod:`wnet_arch.data.degradation`, and so from the seed and the place in the
run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from wnet_arch.faces.align import Tilted, warp


@dataclass(frozen=True)
class FrameJitter:
    """Draws squares near a face's frame: a random similarity. The defaults are about what a detector's five points scatter by.

    Attributes:
        share: of the images whose frame is moved; the others keep the set's.
        scale: (low, high), side of the square by that of the frame, drawn evenly on a logarithmic scale.
        shift: of the square's centre, along each axis, up to so much of the frame's side, either way.
        rotation: largest turn in degrees, either way.
    """

    share: float = 0.9
    scale: tuple[float, float] = (0.88, 1.14)
    shift: float = 0.05
    rotation: float = 12.0

    @classmethod
    def from_options(cls, block: Mapping) -> FrameJitter:
        """From a block of an option file; what is not given has its default."""
        given = {field.name: block[field.name] for field in fields(cls) if block.get(field.name) is not None}
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        return cls(**values)

    def draw(self) -> Square | None:
        """Draws once; ``None``: the frame stays where it is."""
        if np.random.uniform() >= self.share:  # noqa: NPY002
            return None
        side = np.exp(np.random.uniform(*np.log(self.scale)))  # noqa: NPY002
        angle = np.radians(np.random.uniform(-self.rotation, self.rotation))  # noqa: NPY002
        centre = 0.5 + np.random.uniform(-self.shift, self.shift, 2)  # noqa: NPY002
        linear = np.array(((np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle)))) / side
        return Square(np.concatenate((linear, (0.5 - linear @ centre)[:, None]), 1))


@dataclass(frozen=True)
class Square:
    """A square near a face's frame.

    ``matrix``: float (2, 3), from the frame's coordinates, 0 to 1, to the square's own, 0 to 1.
    """

    matrix: np.ndarray

    def image(self, wide: np.ndarray, surround: float, size: int) -> np.ndarray:
        """The square as an image, uint8 (size, size, 3): one bicubic resampling of ``wide``, uint8 (n, n, 3), which shows the frame
        and ``surround`` of its side around it. What lies further out repeats its border.
        """
        linear, offset = self._of_pixels(wide.shape[0], surround)
        return warp(wide, linear * size, offset * size, size, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)

    def map(self, classes: np.ndarray, size: int) -> np.ndarray:
        """A label map of the frame, uint8 (n, n), in the square, (size, size), by nearest neighbour; outside is unknown."""
        return Tilted(np.column_stack(self._of_pixels(classes.shape[0], 0.0))).map(classes, size)

    def points(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points (N, 2) of a frame of ``size`` pixels in a square of as many; pixel centres at whole numbers."""
        return Tilted(np.column_stack(self._of_pixels(size, 0.0))).points(points, size).astype(points.dtype)

    def _of_pixels(self, side: int, surround: float) -> tuple[np.ndarray, np.ndarray]:
        """From pixels of an image that shows the frame and ``surround`` around it to the square's coordinates."""
        linear, offset = self.matrix[:, :2], self.matrix[:, 2]
        return linear * ((1 + 2 * surround) / side), offset - surround * linear.sum(1)


#: The frame itself.
IN_PLACE = Square(np.array(((1.0, 0, 0), (0, 1.0, 0))))
