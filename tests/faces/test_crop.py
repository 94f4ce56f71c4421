"""Squares cut out of photos, upright and tilted."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage.transform import SimilarityTransform

from tests.faces.test_landmarks import upright_face
from wnet_arch.faces import align, crop, labels
from wnet_arch.faces.landmarks import five_points


def smooth_photo(height: int, width: int) -> np.ndarray:
    """Waves of a hundred pixels and more, which survive resizing."""
    y, x = np.mgrid[:height, :width]
    channels = (np.sin(x / 31 + 1), np.cos(y / 37), np.sin((x + y) / 43))
    return np.stack([128 + 100 * c for c in channels], -1).round().astype(np.uint8)


def tilted(angle: float, scale: float, shift: tuple[float, float]) -> align.Tilted:
    """The square whose sides are 1/scale long, turned by ``angle``, with the corner at ``shift`` before it was turned."""
    turn = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    return align.Tilted(np.concatenate((scale * turn, -scale * turn @ np.reshape(shift, (2, 1))), 1))


def estimated(source: np.ndarray, goal: np.ndarray) -> SimilarityTransform:
    if hasattr(SimilarityTransform, "from_estimate"):
        return SimilarityTransform.from_estimate(source, goal)
    reference = SimilarityTransform()  # scikit-image below 0.26, the last for Python 3.10
    reference.estimate(source, goal)
    return reference


def test_similarity_is_that_of_skimage_and_never_mirrors():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 5, 2))
    for goal in (target, source * (-1, 1)):
        found = align.similarity(source, goal)
        reference = estimated(source, goal).params[:2]
        if np.linalg.det(reference[:, :2]) > 0:
            np.testing.assert_allclose(found, reference, atol=1e-9)
        assert np.linalg.det(found[:, :2]) > 0
    turned = source @ np.array(((0, 2), (-2, 0))) + 3
    np.testing.assert_allclose(align.similarity(source, turned), ((0, -2, 3), (2, 0, 3)), atol=1e-9)


def test_five_points_come_to_lie_on_the_template():
    turn = np.array(((0.8, 0.6), (-0.6, 0.8)))
    five = align.TEMPLATE @ turn * 3 + (200, 100)
    frame = align.five_point_frame(five)
    assert frame.side == pytest.approx(128 * 3)
    np.testing.assert_allclose(frame.points(five, 128), align.TEMPLATE, atol=1e-9)
    np.testing.assert_allclose(frame.points(five, 256), (align.TEMPLATE + 0.5) * 2 - 0.5, atol=1e-9)


@pytest.mark.parametrize("size", [64, 128, 200])
def test_upright_square_gives_the_same_as_a_box(size):
    """Reduced by 2.34, 1.17, and enlarged: Pillow's and OpenCV's filters differ, so not to the last bit."""
    photo = smooth_photo(200, 260)
    box, same = crop.Box(30, 20, 180, 170), tilted(0, 1 / 150, (30, 20))
    assert same.side == pytest.approx(150)
    np.testing.assert_allclose(same.corners, box.corners)
    points = np.array([[30.0, 20.0], [100.0, 90.0]])
    np.testing.assert_allclose(same.points(points, size), box.points(points, size))
    assert np.abs(same.image(photo, size).astype(int) - box.image(photo, size)).max() <= 2
    classes = (np.arange(200)[:, None] // 10 % 19 * np.ones((1, 260))).astype(np.uint8)
    assert (same.map(classes, size) != box.map(classes, size)).mean() < 0.02  # at edges that run through pixel centres


@pytest.mark.parametrize(("angle", "scale"), [(0.5, 1 / 300), (-2.0, 1 / 90), (1.0, 1 / 128)])
def test_turned_square_shows_what_lies_there(angle, scale):
    photo = smooth_photo(500, 520)
    frame = tilted(angle, scale, (250, 240))
    image = frame.image(photo, 128).astype(float)
    rows, columns = np.mgrid[4:124:8, 4:124:8]
    own = np.stack((columns, rows), -1).reshape(-1, 2)
    inverse = np.linalg.inv(frame.matrix[:, :2])
    places = ((own + 0.5) / 128 - frame.matrix[:, 2]) @ inverse.T - 0.5
    np.testing.assert_allclose(frame.points(places, 128), own, atol=1e-6)
    inside = ((places > 2) & (places < (516, 496))).all(1)
    x, y = places[inside].T
    truth = np.stack((128 + 100 * np.sin(x / 31 + 1), 128 + 100 * np.cos(y / 37), 128 + 100 * np.sin((x + y) / 43)), -1)
    assert inside.mean() > 0.3
    assert np.abs(image[own[inside, 1], own[inside, 0]] - truth).max() < 3


def test_a_large_face_is_averaged_not_sampled():
    """A checkerboard of single pixels, reduced eight times, is grey."""
    photo = np.repeat(((np.indices((1024, 1024)).sum(0) % 2) * 255).astype(np.uint8)[..., None], 3, 2)
    image = tilted(0.3, 1 / 700, (250, 50)).image(photo, 88)
    assert np.abs(image[10:-10, 10:-10].astype(int) - 127).max() < 12


def test_outside_is_border_unknown_and_counted():
    photo = np.full((100, 100, 3), 50, np.uint8)
    photo[:, 0] = 200
    frame = tilted(0, 1 / 80, (-20, 10))
    assert frame.outside_share(100, 100) == pytest.approx(0.25, abs=0.02)
    image = frame.image(photo, 80)
    assert (image[:, :19] == 200).all()
    assert (image[:, 25:] == 50).all()
    for classes in (frame.map(np.ones((100, 100), np.uint8), 80), frame.hide_outside(np.ones((80, 80), np.uint8), 100, 100)):
        assert (classes[:, :20] == labels.UNKNOWN).all()
        assert (classes[:, 20:] == 1).all()


def test_five_points_of_a_drawn_face():
    points = upright_face()
    five = five_points(points)
    np.testing.assert_allclose(five[0], points[36:42].mean(0))
    np.testing.assert_allclose(five[2:], points[[30, 48, 54]])
    assert five.dtype == np.float32
    assert crop.five_point_side(five) == pytest.approx(crop.landmark_side(points), rel=0.25)


def test_box_has_the_crop_s_arithmetic():
    box, photo = crop.Box(-5, 0, 35, 40), smooth_photo(40, 50)
    cut = crop.cut(photo, box)
    assert np.array_equal(box.image(photo, 20), np.array(Image.fromarray(cut).resize((20, 20), Image.Resampling.BICUBIC)))
    assert (box.map(np.zeros((40, 50), np.uint8), 40)[:, :5] == labels.UNKNOWN).all()
    assert box.corners.tolist() == [[-5, 0], [35, 0], [35, 40], [-5, 40]]
