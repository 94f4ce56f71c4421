"""Draws a parsing map from 68 landmarks: exact at eyes, brows, nose and lips, silent about what landmarks cannot see.

Sixty-eight points end at the brows. The forehead above them may be skin, hair or a hat, so a cap there is marked unknown
(255) and teaches nothing. Ears, neck, hair, glasses and clothes are left as background (0).

The shapes' sizes (module constants, in units of the distance between the eyes' centres unless said otherwise) were fitted
on photos of CelebAMask-HQ against their hand-made maps.
"""

from __future__ import annotations

import cv2
import numpy as np

from wnet_arch.faces import labels

#: Maps are drawn this many times larger, then sampled: a contour is then a fifth of a pixel thick. Odd, so that a pixel
#: has a middle to sample.
_FINER = 5

_BROW_ABOVE, _BROW_BELOW = 0.0, 0.10
_EYE_GROWTH = 1.10
_NOSE_TOP, _NOSE_WING, _NOSE_BELOW = 0.15, 0.06, 0.0
_LIP_GROWTH = 1.04
_CAP_HEIGHT, _CAP_WIDTH = 1.4, 1.10


def draw(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Draws the parsing map of one face.

    Args:
        points: float (68, 2), x and y in pixels of the map, iBUG order; may lie outside.
        height: rows of the map.
        width: columns of the map.

    Returns:
        uint8 (height, width), classes of :mod:`wnet_arch.faces.labels`.
    """
    canvas = np.zeros((height * _FINER, width * _FINER), np.uint8)
    for polygon, value in _polygons(np.asarray(points, np.float64)):
        # Pixel centres: x in the map is _FINER * x + (_FINER - 1) / 2 on the canvas.
        fine = np.round((polygon * _FINER + (_FINER - 1) / 2) * 16).astype(np.int32)
        cv2.fillPoly(canvas, [fine], value, shift=4)
    return np.ascontiguousarray(canvas[_FINER // 2 :: _FINER, _FINER // 2 :: _FINER])


def _polygons(p: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The parts of a face as (polygon (N, 2), class), in the order in which they cover each other."""
    right_eye, left_eye = p[36:42].mean(0), p[42:48].mean(0)
    unit = left_eye - right_eye  # one eye distance along the face's horizontal
    down = np.array((-unit[1], unit[0]))
    return [
        (_cap(p, unit, down), labels.UNKNOWN),
        (np.concatenate((p[0:17], p[26:16:-1])), labels.SKIN),
        (_nose(p, unit, down), labels.NOSE),
        (_grown(p[36:42], _EYE_GROWTH), labels.R_EYE),
        (_grown(p[42:48], _EYE_GROWTH), labels.L_EYE),
        (_brow(p[17:22], down), labels.R_BROW),
        (_brow(p[22:27], down), labels.L_BROW),
        *_mouth(p),
    ]


def _cap(p: np.ndarray, unit: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Upper half of an ellipse which stands on the line between the jaw's ends."""
    centre = (p[0] + p[16]) / 2
    half_width = _CAP_WIDTH * np.linalg.norm(p[16] - p[0]) / 2 / max(float(np.linalg.norm(unit)), 1e-6)
    angles = np.linspace(np.pi, 2 * np.pi, 33)
    return centre + np.cos(angles)[:, None] * half_width * unit + np.sin(angles)[:, None] * _CAP_HEIGHT * down


def _nose(p: np.ndarray, unit: np.ndarray, down: np.ndarray) -> np.ndarray:
    """From the bridge between the eyes, widening to the wings, closed below the nostrils."""
    top, wing, below = _NOSE_TOP * unit, _NOSE_WING * unit, _NOSE_BELOW * down
    upper_wing = (p[29] + p[30]) / 2
    right = [p[27] - top, p[28] - top, upper_wing + (p[31] - p[33]) - wing, p[31] - wing]
    left = [p[35] + wing, upper_wing + (p[35] - p[33]) + wing, p[28] + top, p[27] + top]
    return np.stack(right + [p[i] + below for i in range(31, 36)] + left)


def _brow(arch: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The five points run along a brow; it is a band around them."""
    return np.concatenate((arch - _BROW_ABOVE * down, (arch + _BROW_BELOW * down)[::-1]))


def _grown(polygon: np.ndarray, factor: float) -> np.ndarray:
    centre = polygon.mean(0)
    return centre + (polygon - centre) * factor


def _mouth(p: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Upper lip, lower lip, and the opening between them."""
    lips = _grown(p[48:60], _LIP_GROWTH)  # outer edge, 48 at the image's left corner, 54 at the right one
    inner = p[60:68]
    upper = np.concatenate((lips[0:7], inner[4::-1]))
    lower = np.concatenate((lips[6:12], lips[0:1], inner[[0, 7, 6, 5, 4]]))
    return [(upper, labels.U_LIP), (lower, labels.L_LIP), (inner, labels.MOUTH)]
