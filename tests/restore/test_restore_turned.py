"""Photos that lie on their side: faces are found in turned views, restored there, and the photo stays as it stands."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from tests.conftest import drawn_face
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.errors import WeightsError
from wnet_arch.faces.align import TEMPLATE, five_point_frame
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.faces.detectors import create_detector
from wnet_arch.restore import FaceRestorer, frames, orientation, paste, restorer

BLUE = (10, 20, 255)


class UprightFaces(Detector):
    """Finds what is not blue, and, as real detectors do, guesses upright points everywhere and is sure of upright faces only: of
    those whose upper third is light.
    """

    name, smallest_frame = "mtcnn", 12
    doubtful = 0.9
    searched = 0

    def _find(self, rgb):
        self.searched += 1
        count, _, stats, _ = cv2.connectedComponentsWithStats((rgb[..., 2] < 190).astype(np.uint8))
        found = []
        for x, y, w, h, _ in stats[1:count].tolist():
            if min(w, h) >= 4:
                upright = rgb[y : y + h // 3, x : x + w, 0].mean() > 150
                found.append(Detection((x, y, x + w, y + h), 0.9999 if upright else self.doubtful, points((x, y, x + w, y + h))))
        return found


def points(box, turn: float = 0) -> np.ndarray:
    """Five points where a face has them in its box, turned clockwise."""
    side = (box[2] - box[0]) * 1.52
    middle = np.array(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2 - 0.073 * (box[2] - box[0])))
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    return (((TEMPLATE + 0.5) / 128 - 0.5) * side @ np.array(((c, s), (-s, c))) + middle - 0.5).astype(np.float32)


def group(*sides: int) -> np.ndarray:
    """Faces in a row on blue, each with a light brow."""
    photo = np.full((90, 30 + sum(side + 30 for side in sides), 3), BLUE, np.uint8)
    left = 30
    for index, side in enumerate(sides):
        face = np.array(Image.fromarray(drawn_face(index)[0]).resize((side, side), Image.Resampling.BICUBIC))
        face[..., 0] = face[..., 0] // 2 + np.where(np.arange(side) < side // 3, 128, 0)[:, None]
        face[..., 2] //= 2
        photo[30 : 30 + side, left : left + side] = face
        left += side + 30
    return photo


def turned(photo: np.ndarray, quarters: int) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(photo, quarters))


class Brighter:
    """Instead of a network: adds to the upper half of every face, to all channels or to each (``added``, of 255)."""

    name, fingerprint, estimates, degraded = "brighter", "1", True, False

    def __init__(self, scale: int, added: int | tuple[int, int, int] = 60):
        self.scale, self.side, self.added = scale, 128 // scale, added

    def run(self, faces):
        from wnet_arch.restore.networks import FaceResult, enlarge_face

        made = [enlarge_face(face).astype(int) for face in faces]
        for face in made:
            face[:64] += self.added
        return [FaceResult(face.clip(0, 255).astype(np.uint8), None) for face in made]


def brighter(detector: Detector | None = None, added: int | tuple[int, int, int] = 60, **options) -> FaceRestorer:
    found = FaceRestorer("Bicubic", detector=detector or UprightFaces(), **options)
    found.networks = {scale: Brighter(scale, added) for scale in (4, 8)}
    return found


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_faces_of_a_group_are_restored_where_they_are_and_as_they_stand(quarters):
    photo = cv2.GaussianBlur(group(10, 20, 12), (0, 0), 0.8)
    upright, result = brighter().restore(photo), brighter().restore(turned(photo, quarters))
    assert result.turn == 90 * quarters
    assert np.array_equal(turned(turned(photo, quarters), -result.turn // 90), photo)  # clockwise by so much, and it is upright
    assert np.abs(turned(result.image, -quarters).astype(int) - upright.image).max() <= 2
    plain = paste.enlarge(turned(photo, quarters), 8)
    changed = (result.image != plain).any(2)
    assert changed.any()
    for face, other in zip(result.restored, upright.restored, strict=True):
        assert np.array_equal(face.sr, other.sr)
        low, high = np.floor(face.frame.corners.min(0) * 8).astype(int), np.ceil(face.frame.corners.max(0) * 8).astype(int)
        changed[max(0, low[1]) : high[1], max(0, low[0]) : high[0]] = False
        left, top, right, bottom = map(round, face.box)
        assert (turned(photo, quarters)[top:bottom, left:right, 2] < 230).all()
        assert not (turned(photo, quarters)[:, [left - 3, right + 2]][(top + bottom) // 2, :, 2] < 190).any()
        for frame in (five_point_frame(face.landmarks), face.frame):
            assert (frames.tilt(frame) + result.turn + 180) % 360 - 180 == pytest.approx(0, abs=0.1)
    assert not changed.any()  # outside of the faces' squares plain enlargement, to the bit


def test_upright_photos_cost_one_search_and_doubtful_ones_stay_upright():
    for photo, views in ((group(10, 20), 1), (turned(group(10, 20), 1), 4)):
        detector = UprightFaces()
        assert orientation.find_upright(detector, photo, 12).views == detector.searched == views
    assert orientation.find_upright(UprightFaces(), group(), 12).views == 4
    detector = UprightFaces()
    assert orientation.find_upright(detector, turned(group(10), 1), 12, turns=False).quarters == 0
    assert detector.searched == 1
    beard = group(12)
    beard[30:36, 30:42, 0] //= 3  # a face that no view makes surer, as it is doubtful in all
    beard[36:42, 30:42, 0] //= 3
    found = orientation.find_upright(UprightFaces(), beard, 12)
    assert (found.quarters, found.views, len(found.faces)) == (0, 4, 1)


def test_what_makes_a_face_sure():
    box = (40, 40, 60, 60)
    assert orientation.sureness(Detection(box, 0.999, points(box)), "mtcnn") == pytest.approx(3)
    assert orientation.sureness(Detection(box, 0.9, None), "mtcnn") == pytest.approx(1)
    assert orientation.sureness(Detection(box, 1.0, points(box, 30)), "mtcnn") == 4  # a tilted head, as before
    assert orientation.sureness(Detection(box, 1.0, points(box, 88)), "mtcnn") == 0  # well placed points of a face on its side
    assert orientation.sureness(Detection(box, 1.0, points(box) + 9), "mtcnn") == 0
    assert orientation.sureness(Detection(box, 0.5), "dlib") == 2
    assert orientation.sureness(Detection(box, -0.2), "dlib") == 0


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_a_detector_that_sees_faces_in_any_position_tells_by_their_points(quarters):
    """RetinaFace finds sideways faces with points where they are: the roll of these says which way up the photo is."""

    class AnyPosition(UprightFaces):
        def _find(self, rgb):
            found = super()._find(rgb)
            upright = [one.score > 0.99 for one in found]
            roll = {True: 0, False: 90}[bool(upright and all(upright))]
            return [Detection(one.box, 0.9999, points(one.box, roll)) for one in found]

    found = orientation.find_upright(AnyPosition(), turned(group(10, 20), quarters), 12)
    assert found.quarters == -quarters % 4
    assert np.array_equal(found.photo, group(10, 20))


def test_the_command_says_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(restorer, "create_detector", lambda name, device, offline: UprightFaces())
    Image.fromarray(turned(group(10, 20), 1)).save(tmp_path / "a.png")
    command = ["restore", str(tmp_path / "a.png"), "--network", "Bicubic", "--sheet", "-o", str(tmp_path / "out")]
    assert run_command("wnet", wnet._main, command) == 0
    assert "faces lie on their side (upright after 90 degrees clockwise)" in capsys.readouterr().out
    entry = json.loads((tmp_path / "out" / "restored.jsonl").read_text())
    assert entry["turn"] == 90
    assert (entry["width"], entry["height"]) == (90 * 8, 120 * 8)
    assert run_command("wnet", wnet._main, [*command, "--upright"]) == 0  # another setting: made again
    text = capsys.readouterr().out
    assert "done before" not in text
    assert "lie on their side" not in text


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_mtcnn_on_a_real_face(quarters):
    torch.manual_seed(0)
    try:
        detector = create_detector("mtcnn", download=False)
    except WeightsError as error:
        pytest.skip(f"not in the cache: {error}")
    photo = np.full((150, 260, 3), (90, 120, 110), np.uint8)
    for left, top, side in ((6, 10, 120), (140, 20, 60), (210, 80, 40)):
        face = Image.fromarray(np.ascontiguousarray(astronaut()[30:230, 130:330])).resize((side, side), Image.Resampling.BICUBIC)
        photo[top : top + side, left : left + side] = np.array(face)
    found = orientation.find_upright(detector, turned(photo, quarters))
    assert found.quarters == -quarters % 4
    assert np.array_equal(found.photo, photo)
    assert len(found.faces) == 3
    assert found.views == (1 if quarters == 0 else 4)
