"""Landmarks, the crop around them, and the parsing map drawn from them."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from skimage.data import astronaut

from wnet_arch import weights
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.faces import crop, labels, landmarks, parse_landmarks
from wnet_arch.faces.detection import Detection

#: Which point of the mirrored face each of the 68 becomes.
MIRRORED = [
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
]  # fmt: skip


def upright_face() -> np.ndarray:
    """Landmarks of a symmetric face for a 128x128 image, mouth open."""
    jaw = [(64 + 40 * -np.cos(a), 56 + 52 * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
    arch = [(32, 46), (37, 42), (43, 41), (49, 42), (54, 45)]
    bridge = [(64, 54), (64, 60), (64, 66), (64, 71)]
    nostrils = [(56, 76), (60, 77), (64, 78), (68, 77), (72, 76)]
    eye = [(39, 55), (43, 52), (48, 52), (52, 56), (48, 58), (43, 58)]
    outer = [(49, 90), (54, 87), (59, 85), (64, 86), (69, 85), (74, 87), (79, 90)]
    outer += [(74, 96), (69, 99), (64, 100), (59, 99), (54, 96)]
    inner = [(52, 90), (59, 89), (64, 89), (69, 89), (76, 90), (69, 95), (64, 96), (59, 95)]
    mirror = [(128 - x, y) for x, y in eye]
    other_eye = [mirror[i] for i in (3, 2, 1, 0, 5, 4)]
    other_arch = [(128 - x, y) for x, y in reversed(arch)]
    return np.array(jaw + arch + other_arch + bridge + nostrils + eye + other_eye + outer + inner, np.float32)


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("dlib", reason="dlib is not installed (extra 'landmarks')")
    try:
        return landmarks.LandmarkDetector(download=False, detector="dlib")
    except WeightsError as error:
        pytest.skip(f"the landmark file is not in the cache: {error}")


def test_map_has_the_parts_where_they_belong():
    drawn = parse_landmarks.draw(upright_face(), 128, 128)
    assert drawn.shape == (128, 128)
    assert drawn.dtype == np.uint8
    for (x, y), value in {
        (46, 55): labels.R_EYE,  # the person's right eye lies on the image's left
        (82, 55): labels.L_EYE,
        (43, 43): labels.R_BROW,
        (85, 43): labels.L_BROW,
        (64, 68): labels.NOSE,
        (64, 87): labels.U_LIP,
        (64, 92): labels.MOUTH,
        (64, 98): labels.L_LIP,
        (40, 72): labels.SKIN,
        (64, 30): labels.UNKNOWN,  # forehead
        (3, 3): labels.BACKGROUND,
        (64, 120): labels.BACKGROUND,
    }.items():
        assert drawn[y, x] == value, (x, y)


def test_map_of_mirrored_face_is_the_flipped_map():
    points = upright_face() + np.float32(0.3)
    mirrored = points[MIRRORED] * (-1, 1) + (127, 0)
    straight, turned = parse_landmarks.draw(points, 128, 128), parse_landmarks.draw(mirrored, 128, 128)
    assert (labels.flip(straight) != turned).mean() < 0.002  # contours that run through pixel centres


def test_closed_mouth_has_lips_and_no_opening():
    points = upright_face()
    points[65:68, 1] = points[[63, 62, 61], 1]
    drawn = parse_landmarks.draw(points, 128, 128)
    assert (drawn == labels.U_LIP).sum() > 30
    assert (drawn == labels.MOUTH).sum() <= 26  # at most a line


def test_faces_beyond_the_border_are_drawn_as_far_as_they_are_seen():
    drawn = parse_landmarks.draw(upright_face() - 60, 128, 128)
    assert drawn[5, 5] != labels.BACKGROUND
    assert drawn[100, 100] == labels.BACKGROUND


def test_crop_is_centred_and_moved_inside():
    points = np.array([[40, 50], [60, 70]], np.float32)
    assert crop.around_landmarks(points, 2.0, 200, 200) == (30, 40, 70, 80)
    assert crop.around_landmarks(points - 30, 2.0, 200, 200) == (0, 10, 40, 50)
    assert crop.around_landmarks(points + 120, 2.0, 200, 190) == (150, 160, 190, 200)


def test_crop_larger_than_the_photo_is_tighter_then_reaches_out_evenly():
    points = np.array([[5, 5], [25, 25]], np.float32)
    assert crop.around_landmarks(points, 2.0, height=100, width=36) == (0, 0, 36, 36)
    box = crop.around_landmarks(points, 2.0, height=100, width=21)
    assert box == (-2, 3, 22, 27)  # 1.2 times the points' box
    assert crop.padding(box, 100, 21) == pytest.approx(3 / 24)
    assert crop.around_landmarks(points, 1.0, height=18, width=100) == (5, -1, 25, 19)


def test_cut_repeats_the_border_or_fills():
    image = np.arange(9, dtype=np.uint8).reshape(3, 3)
    box = crop.Box(-1, 0, 3, 4)
    assert crop.cut(image, box).tolist() == [[0, 0, 1, 2], [3, 3, 4, 5], [6, 6, 7, 8], [6, 6, 7, 8]]
    assert crop.cut(image, box, fill=255)[:, 0].tolist() == [255] * 4


def test_points_follow_the_crop():
    box = crop.Box(10, 20, 30, 40)
    moved = crop.to_box(np.array([[10.0, 20.0], [29.0, 39.0]]), box, 40)
    assert moved.tolist() == [[0.5, 0.5], [38.5, 38.5]]  # pixel centres, at twice the size


def test_astronaut_is_found_with_plausible_points(detector):
    photo = astronaut()
    face = detector.largest(photo)
    left, top, right, bottom = face.box
    assert 150 < left < 200 < right < 310
    right_eye, left_eye, chin = face.points[36:42].mean(0), face.points[42:48].mean(0), face.points[8]
    assert right_eye[0] < left_eye[0]
    assert abs(right_eye[1] - left_eye[1]) < 20
    assert top < right_eye[1] < chin[1] < bottom + 30


@pytest.mark.parametrize("side", [64, 128])
def test_small_photos_are_enlarged_for_the_detector(detector, side):
    from PIL import Image

    face = Image.fromarray(astronaut()[0:260, 90:350]).resize((side, side), Image.Resampling.BICUBIC)
    found = detector.largest(np.array(face))
    assert found is not None
    assert np.abs(found.points[27] - np.array([0.52, 0.42]) * side).max() < 0.1 * side  # top of the nose


@pytest.mark.parametrize("choice", ["largest", "centre"])
def test_points_do_not_depend_on_the_detector(detector, choice):
    """dlib's trees on a box that is estimated from MTCNN's five points."""
    try:
        other = landmarks.LandmarkDetector(download=False, detector="mtcnn", choice=choice)
    except WeightsError as error:
        pytest.skip(f"not in the cache: {error}")
    own, found = detector.find(astronaut()), other.find(astronaut())
    assert np.abs(own.points - found.points).mean() < 2.5
    assert np.abs(found.five - landmarks.five_points(found.points)).max() < 8
    five_only = landmarks.LandmarkDetector(download=False, detector="mtcnn", landmarker=None).find(astronaut())
    assert five_only.points is None
    assert np.array_equal(five_only.five, found.five)


def test_box_for_dlib_s_trees():
    five = np.array(((-1, 0), (1, 0), (0, 0), (-1, 0), (1, 0)), np.float32) * 10 + 50
    spread = 10 * np.sqrt(4 / 5)
    left, top, right, bottom = landmarks.dlib_box(Detection((0, 0, 5, 5), 1.0, five))
    assert right - left == pytest.approx(3.73 * spread) == bottom - top
    assert (left + right) / 2 == pytest.approx(50.5)
    assert landmarks.dlib_box(Detection((0, 0, 5, 5), 1.0)) == (0, 0, 5, 5)


def test_surroundings_of_a_box_at_one_size():
    rgb = np.arange(40 * 60 * 3, dtype=np.uint32).reshape(40, 60, 3).astype(np.uint8)
    view, corner, factor = landmarks._cut_around(rgb, (-10, 5, 10, 25), 20)
    assert view.shape == (40, 40, 3)
    assert corner.tolist() == [-20, -5]
    assert factor.tolist() == [1, 1]
    assert np.array_equal(view[5:, 20:], rgb[:35, :20])
    assert (view[5:, :20] == rgb[:35, :1]).all()  # the border repeated
    view, _, factor = landmarks._cut_around(rgb, (10, 5, 20, 15), 50)
    assert view.shape == (100, 100, 3)
    assert factor.tolist() == [5, 5]


def test_wrong_landmarker_is_one_line():
    with pytest.raises(UsageError, match="no landmarker is called 'face-align'; did you mean 'face-alignment'"):
        landmarks.create_landmarker("face-align")


def test_no_face_is_none(detector):
    assert detector.largest(np.full((200, 200, 3), 127, np.uint8)) is None


def test_detector_can_be_sent_to_workers(detector):
    face = pickle.loads(pickle.dumps(detector)).largest(astronaut())
    assert np.array_equal(face.points, detector.largest(astronaut()).points)


def test_missing_dlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(WeightsError, match=r"pip install 'dlib-bin>=[\d.]+'"):
        landmarks.LandmarkDetector(download=False, detector="dlib")


def test_missing_file_says_what_to_fetch(monkeypatch, tmp_path):
    pytest.importorskip("dlib", reason="dlib is not installed (extra 'landmarks')")
    monkeypatch.setenv("WNET_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="wnet weights fetch landmarks68-dlib"):
        landmarks.LandmarkDetector(download=False, detector="dlib")
    assert weights.cache_dir() == tmp_path
