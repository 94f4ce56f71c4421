"""The check of `wnet restore` on photos whose originals are known: photos that do not stand upright, and what it says of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import load_script

group_photos, check_restore = load_script("bench/group_photos"), load_script("bench/check_restore")


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_turned_photo_has_its_faces_where_they_are_said_to_be(quarters):
    truth = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    placed = [group_photos.Placed(1, 2, 3), group_photos.Placed(14, 7, 5)]
    upright = group_photos.reduced("a", truth, 4, placed)
    turned = group_photos.turned(upright, quarters)
    assert np.array_equal(turned.upright, upright.photo)
    assert turned.photo.shape[:2] == ((12, 20) if quarters % 2 == 0 else (20, 12))
    for before, after in zip(placed, turned.placed, strict=True):
        for scale, image, other in ((1, upright.photo, turned.photo), (4, truth, turned.truth)):
            assert np.array_equal(np.rot90(_part(image, before, scale), -quarters), _part(other, after, scale))


def _part(image: np.ndarray, face: group_photos.Placed, scale: int) -> np.ndarray:
    left, top, side = (int(value * scale) for value in (face.left, face.top, face.side))
    return image[top : top + side, left : left + side]


def test_a_photo_taken_to_lie_otherwise_than_it_does_fails_by_name():
    face = check_restore.FaceResult(20.0, 22.0, 24.0, 1.0, 1.1, ())
    results = [check_restore.PhotoResult(name, [face], [20.0], [], [(20.0, True)], 0, name == "b") for name in "abc"]
    failed = [what for what, good in check_restore.verdict(results, 40) if not good]
    assert failed == ["3 photos, of which 1 were taken to lie otherwise than they do: b"]
    assert all(good for _, good in check_restore.verdict(results[::2], 40))
