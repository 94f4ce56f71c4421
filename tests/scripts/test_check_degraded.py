"""The measurement of `wnet restore` on photos that were blurred, noisy and compressed."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.conftest import drawn_face, load_script
from wnet_arch import create_network
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.restore import FaceRestorer, hints, restorer


class KnownPlaces(Detector):
    """Finds the faces of a tiled photo where they were placed, in whatever size the photo is searched."""

    name, smallest_frame = "mtcnn", 12

    def __init__(self):
        self.scene = None

    def _find(self, rgb):
        zoom = rgb.shape[1] / self.scene.photo.shape[1]
        found = []
        for face in self.scene.placed:  # the frame is 1.52 boxes wide, and its centre 0.073 boxes above the box's
            side = face.side / 1.52
            x, y = face.left + face.side / 2, face.top + face.side / 2 + 0.073 * side
            box = np.array((x - side / 2, y - side / 2, x + side / 2, y + side / 2)) * zoom
            found.append(Detection(tuple(box.tolist()), 1.0))
        return found


@pytest.fixture
def script(monkeypatch):
    module = load_script("bench/check_degraded")
    monkeypatch.setattr(module, "SIZE", (120, 90))
    return module


@pytest.fixture
def faces(tmp_path) -> Path:
    folder = tmp_path / "faces"
    folder.mkdir()
    for seed in range(8):
        Image.fromarray(drawn_face(seed, 160)[0]).save(folder / f"{seed}.png")
    return folder


def random_network(folder: Path, scale: int) -> str:
    torch.manual_seed(scale)
    net = create_network("SRCNN", scale)
    state = {name: value + 0.02 * torch.randn_like(value) for name, value in net.state_dict().items()}
    file = folder / f"srcnn_x{scale}.safetensors"
    save_file(state, file, {"network_g": json.dumps({"type": "SRCNN", "scale": scale}), "scale": str(scale)})
    return str(file)


def measured(script, faces: Path, scale: int, **network) -> list:
    detector = KnownPlaces()
    scene = script.tiled(script.photos_in(faces), np.random.default_rng(2), scale, 0)
    detector.scene = scene
    return list(script.measure(FaceRestorer(detector=detector, **network), scene, 0, 3))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_what_adds_nothing_gains_nothing(script, faces, scale):
    found = measured(script, faces, scale, network="Bicubic")
    assert {face.variant for face in found} == set(script.VARIANTS)
    low, high = script.SIDES[scale]
    assert all(face.gain == 0 and low * 0.9 < face.side < high * 1.1 for face in found)
    plain = {name: np.mean([face.plain for face in found if face.variant == name]) for name in script.VARIANTS}
    assert plain["clean"] > plain["JPEG 90"] > plain["JPEG 50"]
    assert plain["JPEG 75"] > plain["blur 0.8, noise 5, JPEG 75"]


def test_a_photo_that_is_its_own_original_is_told_so(script):
    found = [script.Measured("clean", 1, photo, 90.0, 138.1, 51.7, None) for photo in range(3)]
    assert "| clean | x1 | 3 | the original | 51.70 | nothing can be gained | – |" in script.table(found)


def test_restored_is_what_a_file_holds_with_its_tables(script, faces, monkeypatch):
    """So `--quality auto` chooses as it does for a user's file."""
    seen = []
    monkeypatch.setattr(FaceRestorer, "restore", lambda self, pixels, tables, restore=FaceRestorer.restore: (
        seen.append(hints.read_hints(pixels, tables).jpeg_quality), restore(self, pixels, tables))[1])  # fmt: skip
    measured(script, faces, 8, network="Bicubic")
    assert dict(zip(script.VARIANTS, seen)) == {
        "clean": None, "JPEG 90": 90, "JPEG 75": 75, "JPEG 50": 50, "noise 8": None, "blur 0.8, noise 5, JPEG 75": 75,
    }  # fmt: skip


def test_what_a_network_spoils_is_seen(script, faces, tmp_path):
    found = measured(script, faces, 4, weights=[random_network(tmp_path, 4)])
    clean = [face for face in found if face.variant == "clean"]
    assert len(clean) >= 3
    assert all(face.gain < -0.1 for face in clean)
    text = script.table(found)
    assert text.count("100.0% |") == len(script.VARIANTS)
    assert f"| clean | x4 | {len(clean)} |" in text


def test_photos_are_the_same_in_every_run_and_faces_do_not_overlap(script, faces):
    files = script.photos_in(faces)
    one, other = (script.tiled(files, np.random.default_rng(5), 8, 0) for _ in range(2))
    assert np.array_equal(one.photo, other.photo)
    assert len(one.placed) >= 4
    squares = [(f.left, f.top, f.left + f.side, f.top + f.side) for f in one.placed]
    for index, a in enumerate(squares):
        assert all(a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1] for b in squares[index + 1 :])
    for name, change in script.VARIANTS.items():
        first, second = (change(one.photo, np.random.default_rng(1)) for _ in range(2))
        assert first == second, name


def test_intervals_are_those_of_photos(script):
    """Faces of one photo that all gain the same tell no more than one of them."""

    def face(photo: int, gain: float):
        return script.Measured("clean", 8, photo, 16.0, 20.0, 20.0 + gain, None)

    few = script.interval([face(photo, photo % 2) for photo in range(10)])
    many = script.interval([face(photo, photo % 2) for photo in range(10) for _ in range(20)])
    assert few == pytest.approx(many)
    assert few[0] < 0.5 < few[1]
    assert script.interval([face(photo, 0.3) for photo in range(4)]) == pytest.approx((0.3, 0.3))


def test_the_command_writes_table_faces_and_worst(script, faces, tmp_path, monkeypatch, capsys):
    detector = KnownPlaces()
    monkeypatch.setattr(restorer, "create_detector", lambda *_: detector)
    monkeypatch.setattr(
        script, "measure", lambda own, scene, *rest, measure=script.measure: _looking(detector, scene, measure, own, *rest)
    )
    monkeypatch.setattr(sys, "argv", ["check_degraded.py", "--faces", str(faces), "--groups", "1", "--network", "Bicubic",
                                      "--scales", "8", "--sheet", "2", "--out", str(tmp_path / "out")])  # fmt: skip
    assert script.main() == 0
    rows = list(csv.DictReader((tmp_path / "out" / "faces.csv").open()))
    assert {row["variant"] for row in rows} == set(script.VARIANTS)
    assert all(row["enlarged"] == row["restored"] for row in rows)
    assert (tmp_path / "out" / "table.md").read_text().strip() in capsys.readouterr().out
    assert "--network Bicubic" in (tmp_path / "out" / "command.txt").read_text()
    assert Image.open(tmp_path / "out" / "worst.png").width > 3 * 256
    for label in ("clean", "jpeg_90", "jpeg_75", "jpeg_50", "noise_8", "blur_0.8_noise_5_jpeg_75"):
        assert 2 * 256 < Image.open(tmp_path / "out" / f"sheet_x8_{label}.png").height < 3 * 256


def _looking(detector, scene, measure, *rest):
    detector.scene = scene
    return measure(rest[0], scene, *rest[1:])
