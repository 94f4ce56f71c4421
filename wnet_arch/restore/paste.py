"""Puts a super-resolved face back into the enlarged photo, so that no seam is to be seen.

What is pasted is not the face itself but what the network has added to plain enlargement of its input. Colours and light then are
the photo's own, whatever was lost in making the input is still there, and a network that adds nothing changes nothing.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from wnet_arch.faces import labels
from wnet_arch.faces.align import Tilted

#: Classes that are not restored: what lies behind the head, and clothes.
_LEFT_OUT = (labels.BACKGROUND, labels.CLOTH, labels.UNKNOWN)
#: Of the side of the face image: the band along its border in which the mask falls to 0, and the blur of the parsing's outline.
_BAND, _BLUR = 0.09, 0.03
#: A region must cover this share of the face image, or it is none of a face.
_LEAST_REGION = 0.12


def region_of_map(classes: np.ndarray) -> np.ndarray | None:
    """What belongs to the head in a parsing map, uint8 (H, W): bool (H, W), or ``None`` where it is no map of a face.

    Parts that do not touch the middle are of someone else and are left out.
    """
    return _central(~np.isin(classes, _LEFT_OUT))


def region_of_skin(skin: np.ndarray) -> np.ndarray | None:
    """The same of a network's own estimate of the skin, float (H, W), about 0 to 1: within its outline, since eyes, brows, nose and
    mouth are none of it.
    """
    region = _central(skin > 0.5)
    if region is None:
        return None
    points = np.argwhere(region)[:, ::-1].astype(np.int32)
    filled = np.zeros(region.shape, np.uint8)
    cv2.fillConvexPoly(filled, cv2.convexHull(points), 1)
    return filled.astype(bool)


def oval(side: int) -> np.ndarray:
    """Where faces usually are in their frame: bool (side, side)."""
    y, x = (np.mgrid[:side, :side] + 0.5) / side
    return ((x - 0.5) / 0.36) ** 2 + ((y - 0.55) / 0.45) ** 2 < 1


def soft_mask(region: np.ndarray) -> np.ndarray:
    """A region, bool (N, N), with soft edges inside the image: float32 in [0, 1], 0 along the border."""
    side = region.shape[0]
    blurred = cv2.GaussianBlur(region.astype(np.float32), (0, 0), _BLUR * side)
    distance = (np.minimum(np.arange(side), np.arange(side)[::-1])).astype(np.float32) / (_BAND * side)
    ramp = distance.clip(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return blurred.clip(0, 1) * np.minimum.outer(ramp, ramp)


def enlarge(photo: np.ndarray, scale: float) -> np.ndarray:
    """The whole photo, uint8 (H, W, 3), enlarged plainly by Pillow's bicubic filter."""
    height, width = photo.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return photo.copy()
    return np.array(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC))


def paste(enlarged: np.ndarray, photo_size: tuple[int, int], frame: Tilted, added: np.ndarray, mask: np.ndarray) -> None:
    """Adds to the enlarged photo, which is changed. Pixels where the mask is 0 keep their value to the bit.

    Args:
        enlarged: uint8 (H, W, 3).
        photo_size: height and width before enlargement.
        frame: of the face in the photo before enlargement.
        added: what the network has added to plain enlargement of the frame, float32 (N, N, 3), -255 to 255.
        mask: its share in each pixel, float32 (N, N).
    """
    height, width = enlarged.shape[:2]
    factors = np.array((width / photo_size[1], height / photo_size[0]))
    corners = frame.corners * factors
    left, top = np.floor(corners.min(0) + 1e-6).astype(int).clip(0)
    right, bottom = np.minimum(np.ceil(corners.max(0) - 1e-6).astype(int), (width, height))
    if right <= left or bottom <= top:
        return
    side = max(1, min(added.shape[0], round(frame.side * float(factors.min()))))  # reduced first: turning does not average
    layers = cv2.resize(np.dstack((added * mask[..., None], mask)), (side, side), interpolation=cv2.INTER_AREA)
    linear = np.linalg.inv(frame.matrix[:, :2])
    matrix = np.concatenate((linear / side, -(linear @ frame.matrix[:, 2])[:, None]), 1) * factors[:, None]
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5 - (left, top)  # OpenCV counts from pixel centres
    size = int(right - left), int(bottom - top)
    layers = cv2.warpAffine(layers, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    place = enlarged[top:bottom, left:right]
    changed = np.rint(place + layers[..., :3]).clip(0, 255).astype(np.uint8)
    place[:] = np.where(layers[..., 3:] > 0, changed, place)


def _central(region: np.ndarray) -> np.ndarray | None:
    side = region.shape[0]
    _, parts = cv2.connectedComponents(region.astype(np.uint8))
    middle = parts[side // 4 : side - side // 4, side // 4 : side - side // 4]
    kept = region & np.isin(parts, np.unique(middle[middle > 0]))
    return kept if kept.mean() >= _LEAST_REGION else None
