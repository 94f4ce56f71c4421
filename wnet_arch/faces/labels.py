"""The 19 classes of a face parsing map, in the order of CelebAMask-HQ, and the few things one does with such a map.

A map is a uint8 array (H, W) whose values are classes 0..18, or 255 where nobody knows. Left and right are those of the
person in the photo, so ``l_eye`` lies on the right side of the image. (Measured on 600 maps of CelebAMask-HQ, 160 pixels
wide: the mean column of ``l_eye`` is 98.8, of ``r_eye`` 60.2; brows and ears likewise.) A mirrored photo therefore needs
:func:`flip`, not only a mirrored map.

facexlib's networks number the classes in another order; convert where their output comes in.
"""

from __future__ import annotations

import numpy as np

from wnet_arch.errors import DataError

NAMES = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear",
    "mouth", "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
(
    BACKGROUND, SKIN, NOSE, EYE_GLASSES, L_EYE, R_EYE, L_BROW, R_BROW, L_EAR, R_EAR,
    MOUTH, U_LIP, L_LIP, HAIR, HAT, EAR_RING, NECKLACE, NECK, CLOTH,
) = range(19)  # fmt: skip
UNKNOWN = 255

#: The key components of the paper (equations 27 and 28). ``mouth`` is the opening with both lips.
COMPONENTS = {
    "eyes": (L_EYE, R_EYE),
    "brows": (L_BROW, R_BROW),
    "nose": (NOSE,),
    "mouth": (MOUTH, U_LIP, L_LIP),
}

_PAIRS = ((L_EYE, R_EYE), (L_BROW, R_BROW), (L_EAR, R_EAR))


def _flip_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    for left, right in _PAIRS:
        table[left], table[right] = right, left
    table.setflags(write=False)
    return table


def _palette() -> np.ndarray:
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(NAMES)] = (
        (0, 0, 0), (224, 172, 136), (180, 110, 80), (90, 90, 90), (40, 120, 230), (60, 190, 240),
        (120, 70, 20), (160, 100, 40), (230, 130, 160), (250, 170, 190), (130, 0, 20), (220, 60, 80),
        (240, 110, 110), (70, 50, 40), (150, 40, 160), (250, 220, 0), (200, 200, 90), (150, 190, 120), (60, 110, 70),
    )  # fmt: skip
    colours[UNKNOWN] = (255, 255, 255)
    colours.setflags(write=False)
    return colours


#: uint8[256]: the class of the mirrored photo. Exchanges left and right, keeps the rest, 255 included.
FLIP = _flip_table()
#: uint8[256, 3]: an RGB colour a class; unknown is white.
PALETTE = _palette()


def colorize(labels: np.ndarray) -> np.ndarray:
    """Paints a map in the colours of :data:`PALETTE`: uint8 (H, W) to RGB uint8 (H, W, 3)."""
    return PALETTE[labels]


def skin_picture(labels: np.ndarray) -> np.ndarray:
    """A map as a grey picture, uint8 (H, W): skin white, the rest black, what is unknown grey."""
    return np.select([labels == SKIN, labels == UNKNOWN], [np.uint8(255), np.uint8(128)], np.uint8(0))


def flip(labels: np.ndarray) -> np.ndarray:
    """Returns the map of the mirrored photo: columns reversed, left and right classes exchanged. uint8 (..., H, W)."""
    return np.ascontiguousarray(FLIP[labels[..., ::-1]])


def check(labels: np.ndarray, where: str) -> np.ndarray:
    """Returns ``labels`` if it is a map.

    Args:
        labels: any array.
        where: what to call it in the message, usually a path.

    Raises:
        DataError: it is not uint8 (H, W), or holds a value that is neither 0..18 nor 255.
    """
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DataError(f"{where}: a parsing map is uint8 (H, W), this is {labels.dtype} {labels.shape}")
    values = np.flatnonzero(np.bincount(labels.ravel(), minlength=256))
    strange = values[(values >= len(NAMES)) & (values != UNKNOWN)]
    if strange.size:
        raise DataError(f"{where}: value {strange[0]} is not a class (0..18, or 255 for unknown)")
    return labels
