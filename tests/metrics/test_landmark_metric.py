"""Landmark distance: its arithmetic on a detector that is made up, and its behaviour on real faces."""

from __future__ import annotations

import numpy as np
import pytest
from basicsr.metrics import calculate_metric

from tests.metric_faces import blurred, need_file, real
from wnet_arch import metrics
from wnet_arch.errors import UsageError
from wnet_arch.faces.landmarks import Face
from wnet_arch.metrics import found_faces
from wnet_arch.metrics.found_faces import FaceFinder


class MadeUpDetector:
    """Finds a face in every image whose first pixel is not black; its points follow that pixel."""

    name = "made up"

    def __init__(self, **_):
        self.landmarker = self
        self.searched = 0

    def largest(self, image):
        self.searched += 1
        return Face((0, 0, 100, 100), self.landmarks(image, None)) if image[0, 0, 0] else None

    def landmarks(self, image, detection):
        points = np.zeros((68, 2), np.float32)
        points[45] = 50, 0  # 36 is at 0, 0: eyes 50 apart
        return points + image[0, 0, 1:].astype(np.float32)


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(found_faces, "LandmarkDetector", MadeUpDetector)
    monkeypatch.setattr(FaceFinder, "_memory", type(FaceFinder._memory)())


@pytest.fixture(scope="module")
def faces():
    """Real faces that dlib finds."""
    pytest.importorskip("dlib", reason="dlib is not installed (extra 'landmarks')")
    need_file("landmarks68-dlib")
    gt = real(25)
    found = FaceFinder().find(gt)
    return [image for image, box in zip(gt, found.boxes) if not np.isnan(box).any()]


def image(found: int, x: int, y: int) -> np.ndarray:
    made = np.zeros((128, 128, 3), np.uint8)
    made[0, 0] = found, x, y
    return made


def test_distance_is_in_pixels_and_in_eye_distances(made_up):
    metric = metrics.create("landmarks")
    values = metric.measure([image(1, 3, 4), image(1, 0, 10)], [image(1, 0, 0), image(1, 0, 0)])
    assert list(values) == list(metric.units)
    np.testing.assert_allclose(values["landmark_distance"], [5, 10])
    np.testing.assert_allclose(values["landmark_nme"], [0.1, 0.2])
    assert (metric.better, metric.unit) == ("lower", "px")
    assert "own" in metric.backbone


def test_distance_is_the_mean_over_points():
    rng = np.random.default_rng(0)
    one, other = rng.uniform(0, 128, (2, 3, 68, 2)).astype(np.float32)
    metric = object.__new__(metrics.LandmarkDistance)
    boxes = np.zeros((3, 4))
    values = metric.compare(found_faces.Points(one, boxes), found_faces.Points(other, boxes))
    for i in range(3):
        distances = [np.hypot(*(one[i, k].astype(float) - other[i, k])) for k in range(68)]
        assert values["landmark_distance"][i] == pytest.approx(sum(distances) / 68)
        eyes = np.hypot(*(other[i, 36].astype(float) - other[i, 45]))
        assert values["landmark_nme"][i] == pytest.approx(sum(distances) / 68 / eyes)


def test_a_face_that_is_not_found_is_nan_in_its_place(made_up):
    sr = [image(1, 0, 1), image(0, 0, 2), image(1, 0, 3)]
    gt = [image(1, 0, 0), image(1, 0, 0), image(0, 0, 0)]
    own = metrics.create("landmarks", box="own").measure(sr, gt)["landmark_distance"]
    np.testing.assert_array_equal(own, [1, np.nan, np.nan])
    in_gt = metrics.create("landmarks", box="gt").measure(sr, gt)["landmark_distance"]
    np.testing.assert_array_equal(in_gt, [1, 2, np.nan])


def test_each_image_is_searched_once_whoever_asks(made_up):
    first, second = metrics.create("landmarks"), FaceFinder()
    first.measure([image(1, 1, 1), image(1, 2, 2)], [image(1, 3, 3), image(1, 3, 3)])
    second.find([image(1, 2, 2), image(1, 3, 3), image(0, 0, 0)])
    assert first.finder.detector.searched == 3
    assert second.detector.searched == 1
    turned = np.zeros((64, 256, 3), np.uint8)  # the bytes of image(0, 0, 0) in another shape
    second.find([turned])
    assert second.detector.searched == 2


def test_framework_gets_nan_a_substitute_and_a_warning(made_up, monkeypatch):
    pair = {"img": image(1, 6, 8)[..., ::-1], "img2": image(1, 0, 0)[..., ::-1]}
    lost = {"img": image(0, 6, 8)[..., ::-1], "img2": image(1, 0, 0)[..., ::-1]}
    block = {"type": "calculate_landmark_distance", "better": "lower"}
    metrics.registered._create.cache_clear()
    assert calculate_metric(pair, block) == 10
    assert calculate_metric(pair, {**block, "normalised": True}) == pytest.approx(0.2)
    logged = []
    monkeypatch.setattr(metrics.registered.get_root_logger(), "warning", logged.append)
    metrics.registered._missing.clear()
    assert np.isnan(calculate_metric(lost, block))
    assert calculate_metric(lost, {**block, "missing": 20.0}) == 20
    assert [line.split(",")[1].strip() for line in logged] == [
        "1 in all so far; it counts as nan",
        "2 in all so far; it counts as 20.0",
    ]
    assert calculate_metric(lost, {**block, "box": "gt"}) == 10
    metrics.registered._create.cache_clear()
    for name in ("missing", "landmarkerr"):
        options = {**block, name + "x": 1}
        with pytest.raises(UsageError, match=f"no option '{name}x'; did you mean"):
            calculate_metric(pair, options)


def test_wrong_options_name_the_nearest(made_up):
    with pytest.raises(UsageError, match="'onw' is not a way to look for a face; did you mean 'own'"):
        metrics.create("landmarks", box="onw")
    with pytest.raises(UsageError, match="no option 'boxx'; did you mean 'box'"):
        metrics.create("landmarks", boxx="own")


@pytest.mark.parametrize("box", ["own", "gt"])
def test_an_image_is_at_distance_zero_from_itself(faces, box):
    values = metrics.create("landmarks", box=box).measure(faces, [face.copy() for face in faces])
    assert len(faces) >= 15
    assert (values["landmark_distance"] == 0).all()
    assert (values["landmark_nme"] == 0).all()


def test_distance_grows_with_blur(faces):
    metric = metrics.create("landmarks", box="gt")
    means = [
        metric.measure([blurred(face, sigma) for face in faces], faces)["landmark_distance"].mean() for sigma in (0, 1, 2, 4, 6)
    ]
    assert means == sorted(means)
    assert means[1] > 0.1
    assert means[-1] > 2 * means[1]


def test_points_lie_on_the_face_whose_box_they_come_with(faces):
    found = metrics.create("landmarks").describe(faces)
    assert found.points.shape == (len(faces), 68, 2)
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    sides = found.boxes[:, 2] - found.boxes[:, 0]
    assert (np.linalg.norm(found.points.mean(1) - centres, axis=1) < 0.3 * sides).all()
    assert np.isnan(metrics.create("landmarks").describe([np.zeros_like(faces[0])]).boxes).all()
