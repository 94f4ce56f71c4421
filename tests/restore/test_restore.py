"""``wnet restore``: faces are found, restored and pasted back; the rest of a photo, and other people's files, stay as they are.

Photos are drawn: faces on pure blue, which a detector of ours finds as what is not blue. Where a network must change something it
has random weights.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from safetensors.torch import load_file, save_file

import wnet_arch
from tests.conftest import drawn_face
from wnet_arch import create_network
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.errors import DataError, UsageError, WeightsError
from wnet_arch.faces import labels
from wnet_arch.faces.align import Tilted, five_point_frame
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.restore import STATEMENT, FaceRestorer, frames, paste, record, restorer, search
from wnet_arch.weights import metadata, shipped

BLUE = (10, 20, 255)
#: The frame is so many times as wide as the box of the detector whose name the one below bears.
PER_BOX = 1.52


class BlueScreen(Detector):
    """Finds what is not blue, from 4 pixels on."""

    name, smallest_frame = "mtcnn", 12

    def _find(self, rgb):
        count, _, stats, _ = cv2.connectedComponentsWithStats((rgb[..., 2] < 190).astype(np.uint8))
        boxes = (stats[i, :4].tolist() for i in range(1, count))
        return [Detection((x, y, x + w, y + h), 1.0) for x, y, w, h in boxes if min(w, h) >= 4]


def scene(*sides: int, height: int = 90, gap: int = 30, seed: int = 0) -> np.ndarray:
    """Faces in a row on blue; the detector's boxes have these sides."""
    photo = np.full((height, gap + sum(side + gap for side in sides), 3), BLUE, np.uint8)
    left = gap
    for index, side in enumerate(sides):
        face = np.array(Image.fromarray(drawn_face(seed + index)[0]).resize((side, side), Image.Resampling.BICUBIC))
        face[..., 2] //= 2
        photo[gap : gap + side, left : left + side] = face
        left += side + gap
    return photo


@pytest.fixture(autouse=True)
def blue_screen(monkeypatch):
    monkeypatch.setattr(restorer, "create_detector", lambda name, device, offline: BlueScreen())


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[int, str]:
    """Files as the shipped ones are made: small networks with random weights that change every pixel."""
    folder, files = tmp_path_factory.mktemp("weights"), {}
    for scale in (4, 8):
        torch.manual_seed(scale)
        net = create_network("SRCNN", scale)
        state = {name: value + 0.02 * torch.randn_like(value) for name, value in net.state_dict().items()}
        about = {"network_g": json.dumps({"type": "SRCNN", "scale": scale}), "scale": str(scale), "training_set": "none"}
        files[scale] = str(folder / f"srcnn_x{scale}.safetensors")
        save_file({name: value.contiguous() for name, value in state.items()}, files[scale], about)
    return files


def changes(weights: dict[int, str], **options) -> FaceRestorer:
    return FaceRestorer(weights=list(weights.values()), detector=BlueScreen(), **options)


def wnet_restore(*arguments) -> int:
    return run_command("wnet", wnet._main, ["restore", *map(str, arguments)])


def around(face, photo, margin: float = 0) -> tuple[slice, slice]:
    """The pixels of the result that the square of a face covers."""
    low, high = (face.frame.corners * photo.scale).min(0) - margin, (face.frame.corners * photo.scale).max(0) + margin
    return slice(max(0, int(low[1])), int(np.ceil(high[1]))), slice(max(0, int(low[0])), int(np.ceil(high[0])))


# Search


class RedSquares(Detector):
    """Finds red squares from 40 pixels on, as real detectors know faces from some size on only."""

    name, smallest_frame = "mtcnn", 48

    def _find(self, rgb):
        red = (rgb[..., 0].astype(int) - rgb[..., 1] > 100).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(red)
        return [Detection((x, y, x + w, y + h), 1.0) for x, y, w, h, _ in stats[1:count] if min(w, h) >= 40]


def test_faces_of_every_size_are_found_once_wherever_they_lie(monkeypatch):
    monkeypatch.setattr(search, "MAX_SEARCHED", 10**9)
    photo, places = np.zeros((1400, 1900, 3), np.uint8), []
    rng = np.random.default_rng(0)
    for side in (700, 300, 300, 150, 150, 80, 80, 40, *([20] * 12), *([10] * 40)):
        while True:
            x, y = int(rng.integers(0, 1900 - side)), int(rng.integers(0, 1400 - side))
            if not photo[max(0, y - 3) : y + side + 3, max(0, x - 3) : x + side + 3].any():
                break
        photo[y : y + side, x : x + side, 0] = 255
        places.append((x, y, x + side, y + side))
    found, smallest = search.find_faces(RedSquares(), photo)
    assert smallest == 12
    boxes = np.array([one.box for one in found])
    assert len(boxes) == len(places)
    for place in places:
        assert np.abs(boxes - place).max(1).min() <= max(1, 0.04 * (place[2] - place[0]))
    assert [one.area for one in found] == sorted((one.area for one in found), reverse=True)


def test_large_photos_are_searched_less_deeply_and_say_so(monkeypatch):
    monkeypatch.setattr(search, "MAX_SEARCHED", 4 * 200 * 300)
    assert search.find_faces(RedSquares(), np.zeros((200, 300, 3), np.uint8))[1] == 24
    assert search.find_faces(RedSquares(), np.zeros((400, 900, 3), np.uint8))[1] == 48
    assert search.find_faces(RedSquares(), np.zeros((400, 900, 3), np.uint8), smallest=16)[1] == 16
    monkeypatch.setattr(search, "MAX_SEARCHED", 1)
    notes = FaceRestorer("Bicubic", detector=RedSquares(), scale=1).restore(np.zeros((40, 40, 3), np.uint8)).notes
    assert notes == ["the photo is large, so it was searched for faces of 48 pixels and more (--min-face)"]


def test_faces_that_fill_the_photo_and_photos_of_odd_shapes():
    """A detector that wants a border around faces gets one; that border is no larger than what detectors are given anyway."""

    class Bordered(BlueScreen):
        largest = 0

        def _find(self, rgb):
            self.largest = max(self.largest, rgb[..., 0].size)
            left, right = rgb[:, 0].min(0), rgb[:, -1].max(0)
            return [Detection((30, 40, 90, 100), 1.0)] if rgb.shape[0] > 330 and (left == right).all() else []

    found, _ = search.find_faces(Bordered(), np.full((160, 160, 3), 7, np.uint8))
    assert len(found) == 1
    detector = Bordered()
    search.find_faces(detector, np.random.default_rng(0).integers(0, 256, (16, 60_000, 3), dtype=np.uint8))
    assert detector.largest < 3000 * 3000


# Which square, which network


@pytest.mark.parametrize(
    ("side", "scales", "chosen"),
    [(9, (4, 8), 8), (16, (4, 8), 8), (20, (4, 8), 8), (20.1, (4, 8), 4), (40, (4, 8), 4), (40.1, (4, 8), None),
     (30, (8,), None), (12, (4,), 4)],
)  # fmt: skip
def test_the_network_fits_the_face(side, scales, chosen):
    assert frames.choose_scale(side, scales) == chosen


def test_inputs_are_the_photos_own_pixels():
    photo = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    for side in (11, 14.3, 16, 19.9):
        turn = np.deg2rad(20) if side == 16 else 0
        matrix = np.array(((np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn)))) / side
        frame = Tilted(np.c_[matrix, 0.5 - matrix @ (30.2, 25.4)])
        square = frames.input_square(frame, 16)
        assert np.array_equal(square.image(photo, 16), photo[17:33, 22:38])
    assert frames.input_square(frame, 64) is frame


def test_points_that_contradict_the_box_are_not_believed():
    five = np.array([(40, 40), (60, 40), (50, 52), (42, 62), (58, 62)], np.float32)
    true = five_point_frame(five)
    side = true.side / PER_BOX
    x, y = true.corners.mean(0)
    y += 0.073 * side  # where the detector's box has its centre
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    assert np.allclose(frames.frame_of(Detection(box, 1, five), "mtcnn").matrix, true.matrix)
    for wrong in (five + 30, (five - 50) * 0.3 + 50, (five - 50) * 2 + 50):
        upright = frames.frame_of(Detection(box, 1, wrong.astype(np.float32)), "mtcnn")
        assert frames.tilt(upright) == 0
        assert upright.side == pytest.approx(true.side, rel=0.01)


# Pasting


def test_outside_of_faces_nothing_but_plain_enlargement(weights):
    photo = scene(10, 20, 60)
    result = changes(weights).restore(photo)
    assert result.scale == 8
    assert [face.scale for face in result.faces] == [None, 4, 8]
    assert [face.restored for face in result.faces] == [False, True, True]
    assert result.notes == ["1 face is larger than 40 pixels and left alone"]
    plain = np.array(Image.fromarray(photo).resize((photo.shape[1] * 8, photo.shape[0] * 8), Image.Resampling.BICUBIC))
    outside = np.ones(plain.shape[:2], bool)
    for face in result.restored:
        outside[around(face, result)] = False
        assert np.abs(result.image[around(face, result)].astype(int) - plain[around(face, result)]).max() > 10
    assert np.array_equal(result.image[outside], plain[outside])


def test_no_seam(weights):
    photo = scene(10, 11, 20)
    result = changes(weights).restore(photo)
    plain = paste.enlarge(photo, 8)
    for face in result.restored:
        assert not np.concatenate((face.mask[0], face.mask[-1], face.mask[:, 0], face.mask[:, -1])).any()
        assert face.mask.min() >= 0
        assert 0.9 < face.mask.max() <= 1
        assert np.abs(np.diff(face.mask, axis=0)).max() < 0.2
        place = around(face, result, 4)
        step = np.abs(np.diff(result.image[place].astype(int) - plain[place], axis=1)).max(2)
        border = np.r_[0:6, -6:0]
        assert step[:, border].max() <= 2
        assert step.max() > 5


@pytest.mark.parametrize("turn", [0, 40])
def test_bicubic_network_gives_plain_enlargement(turn):
    photo = cv2.GaussianBlur(scene(10, 20), (0, 0), 1)
    detector = BlueScreen()
    if turn:
        found = detector._find(photo)
        detector._find = lambda view: [Detection(one.box, 1.0, _points(one.box, turn)) for one in found]
    result = FaceRestorer("Bicubic", detector=detector).restore(photo)
    assert not result.restored
    assert not result.changed
    assert [round(frames.tilt(face.frame)) for face in result.cut_out] == [turn, turn]
    assert np.abs(result.image.astype(int) - paste.enlarge(photo, 8)).max() <= 1


def _points(box, turn: float) -> np.ndarray:
    """Five points where a face turned so has them in its box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    unit = (box[2] - box[0]) * PER_BOX / 128
    c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    face = (np.array(((48.29, 60.87), (80.48, 60.92), (63.96, 79.52), (49.64, 94.88), (79.15, 94.93))) - (64, 70)) * unit
    return (face @ np.array(((c, s), (-s, c))) + (x, y) - 0.5).astype(np.float32)


def test_pasting_puts_pixels_where_they_come_from():
    """A turned square of one enlargement, pasted into another, agrees with it except for interpolation."""
    photo = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8), (0, 0), 4)
    for turn, scale in ((0, 4), (30, 4), (-60, 3), (0, 8)):
        c, s = np.cos(np.deg2rad(turn)) / 30, np.sin(np.deg2rad(turn)) / 30
        matrix = np.array(((c, s), (-s, c)))
        frame = Tilted(np.c_[matrix, 0.5 - matrix @ (45.3, 38.6)])
        light = np.clip(photo.astype(int) + 40, 0, 255).astype(np.uint8)
        enlarged, target = paste.enlarge(photo, scale), paste.enlarge(light, scale).astype(int)
        added = frame.image(light, 128).astype(np.float32) - frame.image(photo, 128)
        mask = paste.soft_mask(np.ones((128, 128), bool))
        before = enlarged.astype(int)
        paste.paste(enlarged, photo.shape[:2], frame, added, mask)
        full = (slice(int(36 * scale), int(41 * scale)), slice(int(42 * scale), int(48 * scale)))
        assert np.abs(enlarged[full] - target[full]).max() <= 3
        centre = (enlarged.astype(int) - before).sum(2)
        y, x = (np.mgrid[: centre.shape[0], : centre.shape[1]] + 0.5) / scale
        assert (centre * x).sum() / centre.sum() == pytest.approx(45.3, abs=0.3)
        assert (centre * y).sum() / centre.sum() == pytest.approx(38.6, abs=0.3)


def test_strength_blends(weights):
    photo = scene(10, 20)
    plain = paste.enlarge(photo, 8).astype(int)
    results = {strength: changes(weights, strength=strength).restore(photo).image.astype(int) for strength in (0, 0.5, 1)}
    assert np.array_equal(results[0], plain)
    changed = np.abs(results[1] - plain) > 20
    assert changed.any()
    unclipped = changed & (results[1] > 0) & (results[1] < 255)
    assert np.abs((results[0.5] - plain)[unclipped] * 2 - (results[1] - plain)[unclipped]).max() <= 2


def test_batches_change_nothing(weights):
    photo = scene(*[10] * 7)
    one, many = (changes(weights, batch=batch).restore(photo) for batch in (1, 5))
    assert len(one.restored) == 7
    assert np.abs(one.image.astype(int) - many.image).max() <= 1


def test_head_regions():
    parsing = drawn_face(0, 128)[1]
    region = paste.region_of_map(parsing)
    assert np.array_equal(region, parsing != labels.BACKGROUND)
    neighbour = parsing.copy()
    neighbour[:40, :12] = labels.HAIR  # of someone else
    assert np.array_equal(paste.region_of_map(neighbour), region)
    own = paste.region_of_skin((parsing == labels.SKIN).astype(np.float32))
    assert (region & ~own).mean() < 0.01  # eyes, brows, nose and mouth are within the outline of the skin
    assert paste.region_of_map(np.zeros((128, 128), np.uint8)) is None
    assert paste.region_of_skin(np.zeros((128, 128), np.float32)) is None


def test_a_networks_own_map_widens_the_mask(monkeypatch):
    """W-Net says where skin is; with the parser silent, its map alone shows the head."""
    found = FaceRestorer("Bicubic", detector=BlueScreen())
    found.parser.parse_batch = lambda faces: [np.zeros((128, 128), np.uint8) for _ in faces]
    assert found.restore(scene(10)).faces[0].mask_from == "oval"
    net = create_network("WNet", 8, peak=1, num_feat=8, num_heads=1).eval()
    skin = (drawn_face(0, 128)[1] == labels.SKIN).astype(np.float32)
    forward, known = net.super_resolve, torch.from_numpy(skin).expand(1, 3, 128, 128)
    monkeypatch.setattr(net, "super_resolve", lambda lq: forward(lq)._replace(parsing=known))
    found.networks[8].runner.net = net
    face = found.restore(scene(10)).faces[0]
    assert face.mask_from == "parsing"
    assert np.array_equal(face.mask, paste.soft_mask(paste.region_of_skin(skin)))


# Scale and sizes


def test_the_photo_is_enlarged_as_its_faces_need(monkeypatch):
    found = FaceRestorer("Bicubic", detector=BlueScreen())
    assert found.restore(scene(10, 20)).image.shape == (720, 960, 3)
    assert found.restore(scene(20)).scale == 4
    assert found.restore(scene(60, height=120)).scale == 1  # large already
    assert found.restore(scene()).scale == 1  # nothing to enlarge it for
    assert FaceRestorer("Bicubic", detector=BlueScreen(), scale=8).restore(scene()).image.shape == (720, 240, 3)
    assert FaceRestorer("Bicubic", detector=BlueScreen(), scale=2.5).restore(scene(10)).image.shape == (225, 175, 3)
    photo = scene(10)
    monkeypatch.setattr(restorer, "MAX_PIXELS", photo[..., 0].size * 10)
    assert found.restore(photo).scale == 3
    with pytest.raises(DataError, match=r"70x90 enlarged by 4 has more than 63,000 pixels; --scale can be 3\.16 at most"):
        FaceRestorer("Bicubic", detector=BlueScreen(), scale=4).restore(photo)


def test_bad_arguments():
    for options, match in (
        ({"scale": 0.0}, "--scale"), ({"scale": 17}, "--scale"), ({"strength": 1.2}, "--strength"), ({"batch": 0}, "--batch"),
        ({"smallest": 3}, "--min-face"), ({"scale": float("nan")}, "--scale"),
        ({"scale": "2"}, "--scale"), ({"strength": "1"}, "--strength"), ({"batch": 2.5}, "--batch"),
        ({"smallest": "12"}, "--min-face"), ({"device": "abacus"}, "--device"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=match):
            FaceRestorer("Bicubic", **options)
    for image in (np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3)), np.zeros((0, 9, 3), np.uint8)):
        with pytest.raises(DataError, match=r"a photo is RGB, uint8 \(H, W, 3\)"):
            FaceRestorer("Bicubic", detector=BlueScreen()).restore(image)
    with pytest.raises(UsageError, match=r"'nothing\.pth'|nothing\.pth"):
        FaceRestorer(weights="nothing.pth")  # one, and not eleven of a letter


def test_tables_as_pillow_has_them(tmp_path):
    plain = FaceRestorer("Bicubic", detector=BlueScreen())
    photo = scene(10)
    Image.fromarray(photo).save(tmp_path / "a.jpg", quality=60)
    tables = Image.open(tmp_path / "a.jpg").quantization
    for given, quality in ((tables, 60), (list(tables.values()), 60), (None, None), ((), None), ({}, None)):
        assert plain.restore(photo, given).hints.jpeg_quality == quality
    with pytest.raises(DataError, match="a quantisation table has 64 numbers"):
        plain.restore(photo, [[1, 2, 3]])


def test_one_file_of_weights_need_not_be_a_list(weights):
    assert set(FaceRestorer(weights=weights[8]).networks) == set(FaceRestorer(weights=Path(weights[8])).networks) == {8}


# Networks


def test_networks_by_name_and_file(weights, tmp_path, monkeypatch):
    from wnet_arch.restore import networks

    opened = networks.open_networks(None, list(weights.values()))
    assert {scale: network.side for scale, network in opened.items()} == {4: 32, 8: 16}
    assert opened[8].provenance.training_set == "none"
    with pytest.raises(UsageError, match="are both networks for x8"):
        networks.open_networks(None, [weights[8], f"other={weights[8]}"])
    with pytest.raises(UsageError, match="use one of them"):
        networks.open_networks("Bicubic", [weights[8]])
    with pytest.raises(WeightsError, match="no weights of CTCNet ship with this package"):
        networks.open_networks("CTCNet", [])
    with pytest.raises(UsageError, match=r"no shipped network is called 'Bicubc'; did you mean 'Bicubic'\?"):
        networks.open_networks("Bicubc", [])
    files = {f"wnet_x{scale}": Path(path) for scale, path in weights.items()}
    for listed in ("names", "ours"):
        monkeypatch.setattr(shipped, listed, lambda: sorted(files))
    monkeypatch.setattr(shipped, "path", files.get)
    assert set(networks.open_networks(None, [])) == {4, 8}
    assert set(networks.open_networks("wnet_x8", [])) == {8}
    assert set(networks.open_networks("W-Net", [])) == {4, 8}


def test_onnx_files(tmp_path, weights):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import TensorProto, helper

    size = helper.make_tensor("size", TensorProto.FLOAT, [4], [1, 1, 8, 8])
    node = helper.make_node("Resize", ["lq", "", "size"], ["sr"], mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric")  # fmt: skip
    shape = [2, 3, "h", "w"]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("lq", "sr")]
    graph = helper.make_graph([node], "nearest", values[:1], values[1:], [size])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "nearest.onnx"))
    result = FaceRestorer(weights=[str(tmp_path / "nearest.onnx")], detector=BlueScreen()).restore(scene(10, 10, 10))
    assert len(result.restored) == 3  # with batches of two
    for face in result.restored:
        assert np.array_equal(face.sr, face.lq.repeat(8, 0).repeat(8, 1))


def test_a_broken_network_is_one_line(weights, tmp_path):
    net = create_network("SRCNN", 8)
    about = {"network_g": json.dumps({"type": "SRCNN", "scale": 8}), "scale": "8"}
    nothing = {name: torch.full_like(value, float("nan")) for name, value in net.state_dict().items()}
    save_file(nothing, tmp_path / "n.safetensors", about)
    with pytest.raises(DataError, match="n x8 makes values that are no numbers"):
        FaceRestorer(weights=[str(tmp_path / "n.safetensors")], detector=BlueScreen()).restore(scene(10))


# Face images


def test_aligned_faces(weights, tmp_path):
    found = changes(weights)
    lq = drawn_face(0, 16)[0]
    face = found.restore_face(lq)
    assert np.array_equal(face.image, face.faces[0].sr)
    assert face.image.shape == (128, 128, 3)
    assert np.array_equal(face.faces[0].lq, lq)
    large = found.restore_face(drawn_face(0, 128)[0])
    assert large.image.shape == (128, 128, 3)
    assert large.notes == [
        "the face is larger than 40 pixels and left alone", "reduce it to 12 to 40 pixels first, to have it restored",
    ]  # fmt: skip
    celeba = np.random.default_rng(0).integers(0, 256, (218, 178, 3), dtype=np.uint8)
    assert np.array_equal(found.restore_face(celeba).image, celeba)  # not cut, since it stays as it is
    with pytest.raises(DataError, match=r"an aligned face is square, or a photo of CelebA \(178x218\); this is 20x16"):
        found.restore_face(np.zeros((16, 20, 3), np.uint8))
    half = changes(weights, strength=0).restore_face(lq).image
    assert np.array_equal(half, np.array(Image.fromarray(lq).resize((128, 128), Image.Resampling.BICUBIC)))
    Image.fromarray(lq).save(tmp_path / "face.png")
    assert wnet_restore(tmp_path / "face.png", "--face-only", "--weights", weights[8], "-o", tmp_path / "out") == 0
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / "face.png")), face.image)


@pytest.mark.parametrize("size", [(178, 218), (128, 128), (41, 41), (300, 300)])
def test_aligned_faces_that_are_too_large_are_written_as_they_are_and_told(weights, tmp_path, capsys, size):
    face = Image.fromarray(drawn_face(1, 300)[0]).resize(size)
    face.save(tmp_path / "face.png")
    out = tmp_path / "out"
    assert wnet_restore(tmp_path / "face.png", "--face-only", "--weights", weights[8], weights[4], "-o", out) == 3
    said = capsys.readouterr()
    assert "larger than 40 pixels and left alone; reduce it to" in said.out
    assert said.err.splitlines()[-1] == "wnet: no face is small enough; nothing was restored"
    assert np.array_equal(np.array(Image.open(out / "face.png")), np.array(face))
    face.resize((32, 32)).save(tmp_path / "small.png")
    assert wnet_restore(tmp_path, "--face-only", "--weights", weights[8], weights[4], "-o", tmp_path / "more") == 0
    assert Image.open(tmp_path / "more" / "small.png").size == (128, 128)


@pytest.mark.parametrize("size", [(178, 218), (160, 160), (129, 129), (128, 128), (90, 90)])
def test_no_restored_face_is_smaller_than_what_was_given(size):
    given = np.array(Image.fromarray(drawn_face(2, 300)[0]).resize(size))
    found = FaceRestorer(quality="real").restore_face(given)
    assert found.faces[0].network == "wnet_real_x1"
    assert found.image.shape[:2] == (max(size[1], 128), max(size[0], 128))
    if found.image.shape != given.shape:
        return
    frame = np.zeros(given.shape[:2], bool)
    left, top, right, bottom = map(int, found.faces[0].box)
    frame[top:bottom, left:right] = True
    changed = (found.image != given).any(-1)
    assert not changed[~frame].any()
    assert changed[frame].mean() > 0.3
    if size == (178, 218):
        assert (left, top, right, bottom) == (12, 40, 164, 192)
        assert not changed[[top, bottom - 1], left:right].any()  # no seam


# The command


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two photos with faces."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(scene(10, 20)).save(folder / "a.png")
    Image.fromarray(scene(10, seed=5)).save(folder / "b.jpg", quality=95)
    return folder


def entries(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "restored.jsonl").read_text().splitlines()]


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_written(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert wnet_restore(photos, "--network", "Bicubic", "--sheet", "--json", "-o", out) == 0
    assert sorted(tree(out)) == [
        "a.png", "b.jpg", "faces/a_01.png", "faces/a_02.png", "faces/b_01.png", "report.json", "restored.jsonl",
        "sheets/a.png", "sheets/b.png",
    ]  # fmt: skip
    with Image.open(out / "a.png") as image:
        assert image.size == (960, 720)
        assert "Comment" not in image.text  # no details were estimated
    with Image.open(out / "b.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (560, 720))
        assert "comment" not in image.info
    assert Image.open(out / "faces" / "a_01.png").size == (128, 128)
    report = json.loads((out / "report.json").read_text())
    assert report["statement"] == STATEMENT
    assert [(photo["stem"], len(photo["faces"])) for photo in report["photos"]] == [("a", 2), ("b", 1)]
    assert report["photos"][0]["faces"][1] == {
        "restored": False, "left_alone": None, "doubts": [], "box": [30, 30, 40, 40],
        "side": 15.2, "score": 1.0, "landmarks": None, "network": "Bicubic",
        "scale": 8, "mask": report["photos"][0]["faces"][1]["mask"],
    }  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "a.png: 960x720, 2 faces, 0 restored (Bicubic enlarges plainly); enlarged as it is",
        "b.jpg: 560x720, 1 face, 0 restored (Bicubic enlarges plainly); enlarged as it is",
        f"{out}: 2 photos, 3 faces, 0 restored",
    ]  # fmt: skip


def test_a_rerun_skips_what_is_done(photos, tmp_path, weights, capsys):
    out = tmp_path / "out"
    arguments = (photos, "--weights", weights[8], weights[4], "-o", out)
    assert wnet_restore(*arguments) == 0
    before = tree(out)
    assert wnet_restore(*arguments, "--batch", 2) == 0
    assert tree(out) == before
    assert "2 of them done before" in capsys.readouterr().out
    Image.fromarray(scene(20)).save(photos / "a.png")  # another photo, with fewer faces
    assert wnet_restore(*arguments) == 0
    after = tree(out)
    assert before.keys() - after.keys() == {"faces/a_02.png"}
    assert after["a.png"] != before["a.png"]
    assert after["b.jpg"] == before["b.jpg"]
    assert wnet_restore(*arguments, "--strength", 0.5) == 0
    assert tree(out)["b.jpg"][1] != before["b.jpg"][1]
    (out / "b.jpg").unlink()
    assert wnet_restore(*arguments, "--strength", 0.5) == 0
    assert (out / "b.jpg").is_file()


def test_files_of_others_stay(photos, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "faces").mkdir(parents=True)
    (out / "a.png").write_bytes(b"mine")
    (out / "faces" / "b_01.png").write_bytes(b"mine too")
    assert wnet_restore(photos, "--network", "Bicubic", "-o", out) == 1
    assert {name for name in tree(out) if name != "restored.jsonl"} == {"a.png", "faces/b_01.png"}
    assert (out / "a.png").read_bytes() == b"mine"
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].endswith("a.png is there and was not made by this command; move it, or use --overwrite")
    assert errors[-1] == "wnet: 2 of 2 could not be restored"
    assert wnet_restore(photos, "--network", "Bicubic", "-o", out, "--overwrite") == 0
    (out / "a.png").write_bytes(b"edited since")
    Image.fromarray(scene(20)).save(photos / "a.png")
    assert wnet_restore(photos, "--network", "Bicubic", "-o", out) == 1
    assert (out / "a.png").read_bytes() == b"edited since"
    (out / "report.json").write_text("mine")
    assert wnet_restore(photos, "--network", "Bicubic", "--json", "-o", out) == 1
    assert (out / "report.json").read_text() == "mine"
    (out / "report.json").unlink()
    (out / "report.json").mkdir()
    assert wnet_restore(photos, "--network", "Bicubic", "--json", "-o", out, "--overwrite") == 1


@pytest.mark.parametrize("moment", range(5))
def test_killed_runs_go_on(photos, tmp_path, monkeypatch, moment):
    """Stopped at any file that is put in place, or in the middle of a line of the record, the same command finishes the work."""
    out, replace, calls = tmp_path / "out", Path.replace, []

    def killed(path, target):
        calls.append(path)
        if len(calls) > moment:
            raise KeyboardInterrupt
        return replace(path, target)

    arguments = (photos, "--network", "Bicubic", "-o", out)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        assert wnet_restore(*arguments) == 130
    if moment == 4:
        with open(out / "restored.jsonl", "ab") as file:
            file.write(b'{"stem": "b", "dig')
    assert not list(out.rglob("*.part"))
    assert wnet_restore(*arguments) == 0
    assert wnet_restore(photos, "--network", "Bicubic", "-o", tmp_path / "unbroken") == 0
    files, unbroken = (tree(folder) for folder in (out, tmp_path / "unbroken"))
    assert {name: content for name, (_, content) in files.items() if name != "restored.jsonl"} == {
        name: content for name, (_, content) in unbroken.items() if name != "restored.jsonl"
    }


def test_a_file_of_earlier_settings_that_a_kill_left_in_place_is_made_again(photos, tmp_path, monkeypatch):
    """The record's line is written before the file gets its name; one that the user has changed stays as it is."""
    out = tmp_path / "out"
    assert wnet_restore(photos, "--network", "Bicubic", "--scale", 2, "-o", out) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert wnet_restore(photos, "--network", "Bicubic", "--scale", 4, "-o", out) == 130
    assert wnet_restore(photos, "--network", "Bicubic", "--scale", 4, "-o", out) == 0
    for name, height in (("a.png", 360), ("b.jpg", 360)):
        assert Image.open(out / name).height == height
    (out / "a.png").write_bytes(b"mine")
    assert wnet_restore(photos, "--network", "Bicubic", "--scale", 4, "-o", out) == 0
    assert (out / "a.png").read_bytes() == b"mine"


def test_half_a_line_of_the_record_does_not_take_the_next_one_with_it(tmp_path, monkeypatch):
    """As on a disk that becomes full within it."""

    class Full(io.FileIO):
        def write(self, data) -> int:
            return super().write(data[: len(data) // 2])

    with record.Record(tmp_path) as kept:
        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", lambda path, mode, **options: Full(path, mode, opener=options["opener"]))
            with pytest.raises(OSError, match="No space left"):
                kept.write({"stem": "a", "digest": "1"}, {})
        kept.write({"stem": "b", "digest": "2"}, {})
    with record.Record(tmp_path) as again:
        assert again.done("a", "1") is None
        assert again.done("b", "2")["stem"] == "b"
    assert (tmp_path / "restored.jsonl").read_bytes().count(b"\n") == 1


def test_photos_of_one_name_from_two_runs_keep_their_results(photos, tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    other.mkdir()
    Image.fromarray(scene(20, seed=9)).save(other / "a.png")
    arguments = ("--network", "Bicubic", "--json", "-o", out)
    assert wnet_restore(photos, *arguments) == 0
    first = tree(out)
    for _ in range(2):
        assert wnet_restore(other, *arguments) == 0
    assert all(tree(out)[name] == first[name] for name in ("a.png", "b.jpg", "faces/a_02.png"))
    assert np.array_equal(np.array(Image.open(out / "a-2.png")), paste.enlarge(scene(20, seed=9), 4))
    assert len(entries(out)) == 3
    assert str(tmp_path) not in json.dumps([{**e, "source": ""} for e in json.loads((out / "report.json").read_text())["photos"]])
    Image.fromarray(scene(10, seed=3)).save(other / "a.png")  # the same photo, changed: its result is replaced
    assert wnet_restore(other, *arguments) == 0
    assert np.array_equal(np.array(Image.open(out / "a-2.png")), paste.enlarge(scene(10, seed=3), 8))
    photos.rename(tmp_path / "moved")  # the same photos elsewhere
    capsys.readouterr()
    assert wnet_restore(tmp_path / "moved", *arguments) == 0
    assert capsys.readouterr().out.count(", done before; ") == 2


@pytest.mark.parametrize(
    ("photo", "folder", "stems"), [("b.bmp", "b.png", ["b", "photos-b.png/c"]), ("b.tif", "b.png", ["b.png/c", "b.tif"])]
)
def test_a_result_and_a_folder_of_results_have_different_names(tmp_path, photo, folder, stems):
    (tmp_path / "in" / folder).mkdir(parents=True)
    for path in (tmp_path / "in" / photo, tmp_path / "in" / folder / "c.png"):
        Image.fromarray(scene(10)).save(path)
    assert wnet_restore(tmp_path / "in", "--recursive", "--network", "Bicubic", "-o", tmp_path / "out") == 0
    assert [entry["stem"] for entry in entries(tmp_path / "out")] == stems


def test_names_that_the_output_cannot_show_do_not_end_the_run(photos, tmp_path, monkeypatch):
    (photos / "a.png").rename(photos / "Ż.png")
    shown = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr("sys.stdout", shown)
    assert wnet_restore(photos, "--network", "Bicubic", "-o", tmp_path / "out") == 0
    shown.flush()
    assert b"\\u017b.png: " in shown.buffer.getvalue()
    assert (tmp_path / "out" / "Ż.png").is_file()


def test_orientation_and_profile(photos, tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = scene(10)
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(upright)))
    turned.save(photos / "a.png", exif=exif, icc_profile=profile)
    turned.save(photos / "b.jpg", exif=exif, icc_profile=profile, quality=95)
    turned.convert("CMYK").save(photos / "c.jpg", icc_profile=profile[:16] + b"CMYK" + profile[20:])
    assert wnet_restore(photos, "--network", "Bicubic", "-o", tmp_path / "out") == 0
    assert np.abs(np.array(Image.open(tmp_path / "out" / "a.png")).astype(int) - paste.enlarge(upright, 8)).max() <= 1
    for name in ("a.png", "b.jpg"):
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == (560, 720)
            assert image.getexif().get(0x0112, 1) == 1
            assert image.info["icc_profile"] == profile
    assert "icc_profile" not in Image.open(tmp_path / "out" / "c.jpg").info


def test_hostile_folder(photos, tmp_path, capsys):
    """Each odd file is used or is one line; the others are done."""
    good = (photos / "a.png").read_bytes()
    (photos / "empty.png").write_bytes(b"")
    (photos / "cut.png").write_bytes(good[: len(good) // 2])
    (photos / "text.jpg").write_text("hello")
    bomb = bytearray(good)
    bomb[16:24] = (30_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (photos / "bomb.png").write_bytes(bomb)
    os.symlink(photos / "nowhere", photos / "lost.png")
    os.symlink("round.png", photos / "round.png")
    os.mkfifo(photos / "pipe.png")
    Image.new("RGB", (5, 5)).save(photos / "tiny.png")
    (photos / "really_png.jpg").write_bytes(good)
    os.mkdir(photos / "folder.png")
    picture = Image.fromarray(scene(10))
    cv2.imwrite(str(photos / "deep.png"), np.array(picture)[..., ::-1].astype(np.uint16) * 257)
    picture.convert("CMYK").save(photos / "cmyk.tif")
    picture.putalpha(Image.fromarray(np.full((90, 70), 200, np.uint8)))
    picture.save(photos / "ghost.png")
    first = Image.fromarray(scene(10))
    first.save(photos / "moving.gif", save_all=True, append_images=[Image.fromarray(scene(20))])
    first.save(photos / "with spaces and éü 人.png")
    first.save(io.BytesIO(), "PNG")
    odd = os.fsencode(photos) + b"/odd\xff\n.png"
    Path(os.fsdecode(odd)).write_bytes(good)
    out = tmp_path / "out"
    assert wnet_restore(photos, "--network", "Bicubic", "-o", out) == 1
    text = capsys.readouterr()
    failed = {os.path.basename(line.split(": ")[1]): line.split(": ", 2)[2] for line in text.err.splitlines()[:-1]}
    assert failed == {
        "empty.png": "empty file", "lost.png": "unreadable: no such file", "round.png": "unreadable: no such file",
        "tiny.png": "too small: 5x5",
        "text.jpg": "broken: not a picture that Pillow can read", "bomb.png": failed["bomb.png"],
    }  # fmt: skip
    assert failed["bomb.png"].startswith("too large: ")
    lines = dict(line.split(": ", 1) for line in text.out.splitlines() if ": " in line)
    assert "; the file is cut off or damaged: " in lines["cut.png"]
    assert lines["moving.png"].endswith("; the first of several pictures was taken")
    assert lines["ghost.png"].endswith("; transparent parts became white")
    assert lines["cmyk.png"].endswith("; CMYK became RGB")
    assert {"deep.png", "really_png.png", "with spaces and éü 人.png", "odd�?.png"} <= lines.keys()
    assert lines["deep.png"].startswith("560x720, 1 face, 0 restored (Bicubic")
    assert not list(out.rglob("*.part"))


def test_forbidden_places(photos, tmp_path, capsys, monkeypatch):
    """What may not be read or written is one line each. Tests may run as root, whom modes do not stop, so the calls refuse."""
    for name in ("closed", "fine"):
        (photos / name).mkdir()
        Image.fromarray(scene(10)).save(photos / name / "c.png")
    scandir, stat, mkdir = os.scandir, Path.stat, Path.mkdir

    def refusing(call, *names):
        def checked(path, *arguments, **options):
            if set(names) & set(Path(path).parts[-2:]):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *arguments, **options)

        return checked

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refusing(scandir, "closed"))
        patch.setattr(Path, "stat", refusing(stat, "closed"))
        assert wnet_restore(photos, "--recursive", "--network", "Bicubic", "-o", tmp_path / "out") == 1
        assert capsys.readouterr().err.splitlines()[0] == f"wnet: {photos / 'closed'}: unreadable: Permission denied"
        assert sorted(entry["stem"] for entry in entries(tmp_path / "out")) == ["a", "b", "fine/c"]
        assert wnet_restore(photos / "closed" / "c.png", "--network", "Bicubic", "-o", tmp_path / "out") == 2
        assert capsys.readouterr().err == f"wnet: error: cannot read {photos / 'closed' / 'c.png'}: Permission denied\n"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refusing(mkdir, "closed"))
        out = tmp_path / "closed" / "out"
        assert wnet_restore(photos, "--network", "Bicubic", "-o", out) == 1
        assert capsys.readouterr().err == f"wnet: error: cannot make the folder {out}: Permission denied\n"
    (tmp_path / "out2" / "restored.jsonl").mkdir(parents=True)
    assert wnet_restore(photos, "--network", "Bicubic", "-o", tmp_path / "out2") == 1
    assert capsys.readouterr().err == f"wnet: error: cannot write {tmp_path / 'out2' / 'restored.jsonl'}: Is a directory\n"


def test_names_that_meet(tmp_path):
    for folder, name in (("x", "a.png"), ("x", "a.bmp"), ("y", "a.png"), ("y", "a.bmp")):
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(scene(10)).save(tmp_path / folder / name)
    paths = (tmp_path / "x", tmp_path / "y", tmp_path / "x" / "a.png")
    assert wnet_restore(*paths, "--network", "Bicubic", "-o", tmp_path / "out") == 0
    assert [(*Path(entry["source"]).parts[-2:], entry["stem"]) for entry in entries(tmp_path / "out")] == [
        ("x", "a.bmp", "a"), ("x", "a.png", "a.png"), ("y", "a.bmp", "a.bmp"), ("y", "a.png", "a-2"),
    ]  # fmt: skip


def test_results_are_no_photos(photos, tmp_path, capsys):
    assert wnet_restore(photos, "--network", "Bicubic", "-o", photos) == 2
    assert "is the folder of the photos" in capsys.readouterr().err
    (photos / "below").mkdir()
    Image.fromarray(scene(10)).save(photos / "below" / "c.png")
    out = photos / "out"
    for _ in range(2):
        assert wnet_restore(photos, "--recursive", "--network", "Bicubic", "-o", out) == 0
    assert sorted(entry["stem"] for entry in entries(out)) == ["a", "b", "below/c"]
    (photos / "below").rename(photos / "faces")
    assert wnet_restore(photos, "--recursive", "--network", "Bicubic", "-o", tmp_path / "out") == 0
    assert sorted(entry["stem"] for entry in entries(tmp_path / "out")) == ["a", "b", "photos-faces/c"]
    assert wnet_restore(photos / "a.png", "--network", "Bicubic", "-o", photos) == 1  # would replace the photo
    assert not (photos / "restored.jsonl").exists()  # nothing was made
    assert np.array_equal(np.array(Image.open(photos / "a.png")), scene(10, 20))


def test_no_photo_is_replaced_whatever_is_asked_for(photos, tmp_path, capsys):
    """Also not by the result of another one, and not where it came from this command."""
    Image.fromarray(scene(10, seed=3)).save(photos / "b.bmp")
    (tmp_path / "link").symlink_to(photos)
    plain = ("--network", "Bicubic", "--overwrite", "-o")
    for out in (photos, tmp_path / "link"):
        before = {path.name: path.read_bytes() for path in photos.iterdir() if path.is_file()}
        assert wnet_restore(photos / "a.png", photos / "b.bmp", photos / "b.jpg", *plain, out) == 1
        assert "is one of the photos, which stay as they are; name another folder" in capsys.readouterr().err
        assert {name: (photos / name).read_bytes() for name in before} == before
    out = tmp_path / "out"
    assert wnet_restore(photos / "a.png", *plain, out) == 0
    before = (out / "a.png").read_bytes()
    assert wnet_restore(out / "a.png", "--scale", 2, *plain, out) == 0
    assert (out / "a.png").read_bytes() == before
    assert (out / "a-2.png").is_file()


@pytest.mark.parametrize("stem", ["n" * 250, "é" * 125, "a.b" * 83])
def test_the_longest_names_have_results(tmp_path, capsys, stem):
    folder, out = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for seed, name in enumerate((stem + ".png", stem[:-1] + ".png")):
        Image.fromarray(scene(10, seed=seed)).save(folder / name)
    for done in ("", "done before"):
        assert wnet_restore(folder, "--network", "Bicubic", "--sheet", "-o", out) == 0, capsys.readouterr().err
        assert capsys.readouterr().out.count(done) >= 2
    results = [path for path in out.iterdir() if path.suffix == ".png"]
    assert len(results) == 2
    assert all(path.name.startswith(stem[:100]) for path in results)


def test_what_does_nothing_is_refused(photos, tmp_path, capsys):
    for given in (("--scale", 2), ("--detector", "foo"), ("--min-face", 900), ("--upright",), ("--weights-dir", "nowhere")):
        assert wnet_restore(photos, "--face-only", *given, "-o", tmp_path / "out") == 2
        assert capsys.readouterr().err == f"wnet: error: --face-only: the photos are faces already; leave out {given[0]}\n"


def test_faces_below_the_smallest_asked_for_are_none(monkeypatch, tmp_path, capsys):
    """Also where nothing else is found, and the detector is asked once more, without a limit."""
    photo = scene(20, 24)
    assert not search.find_faces(BlueScreen(), photo, 300)[0]
    assert len(search.find_faces(BlueScreen(), photo, 24)[0]) == 2
    Image.fromarray(photo).save(tmp_path / "a.png")
    assert wnet_restore(tmp_path / "a.png", "--network", "Bicubic", "--min-face", 300, "-o", tmp_path / "out") == 3
    assert "no face was found" in capsys.readouterr().err


def test_exit_codes(photos, tmp_path, capsys):
    Image.fromarray(scene()).save(photos / "none.png")
    assert wnet_restore(photos / "none.png", "--network", "Bicubic", "-o", tmp_path / "out") == 3
    assert capsys.readouterr().err == "wnet: no face was found; nothing was restored\n"
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / "none.png")), scene())
    assert wnet_restore(photos / "none.png", "--network", "Bicubic", "-o", tmp_path / "out") == 3  # from the record
    assert wnet_restore(photos, "--network", "Bicubic", "-o", tmp_path / "out") == 0
    (tmp_path / "void").mkdir()
    capsys.readouterr()
    for arguments, code, message in (
        ((tmp_path / "void",), 3, "no photo in"),
        ((tmp_path / "missing",), 2, "there is no photo or folder"),
        ((photos, "--scale", 99), 2, "--scale"),
        ((photos, "--weights", tmp_path / "missing.pth"), 2, "there is no weights file"),
        ((photos, "-o", photos / "a.png"), 2, "is a file; name a folder"),
        ((photos, "-o", tmp_path / "better.jpg"), 2, "looks like a file; name a folder"),
        ((photos, "-o", photos / "a.png" / "below"), 1, "cannot make the folder"),
        ((photos, "-o", ""), 2, "-o: name a folder for the results"),
        (("",), 2, "there is no photo or folder ''"),
        ((photos, "--weights", "."), 2, "'.' is no weights file"),
    ):
        network = () if "--weights" in arguments else ("--network", "Bicubic")
        assert wnet_restore(*network, "-o", tmp_path / "out2", *arguments) == code
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_two_runs_into_one_folder(photos, tmp_path, capsys):
    """The second is refused while the first is at it, and changes nothing; afterwards it goes on."""
    out = tmp_path / "out"
    assert wnet_restore(photos / "a.png", "--network", "Bicubic", "-o", out) == 0
    before = tree(out)
    with record.Record(out):
        assert wnet_restore(photos, "--network", "Bicubic", "--json", "-o", out) == 1
    error = capsys.readouterr().err
    assert error == f"wnet: error: another wnet restore is writing to {out}; wait for it, or name another folder\n"
    assert tree(out) == before
    assert wnet_restore(photos, "--network", "Bicubic", "-o", out) == 0
    assert (out / "b.jpg").is_file()


def test_trouble_in_writing_is_of_one_photo(photos, tmp_path, monkeypatch, capsys):
    """A full disk at the first photo: nothing half-written stays, the second is done."""
    save, calls = record.sha256_file, []

    def full(path):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        return save(path)

    monkeypatch.setattr(record, "sha256_file", full)
    assert wnet_restore(photos, "--network", "Bicubic", "-o", tmp_path / "out") == 1
    assert f"a.png: no space left on {tmp_path / 'out'}: free some, then run the same command again" in capsys.readouterr().err
    assert sorted(tree(tmp_path / "out")) == ["b.jpg", "faces/b_01.png", "restored.jsonl"]


def test_python(weights):
    assert wnet_arch.FaceRestorer is FaceRestorer
    photo = changes(weights).restore(scene(10))
    face = photo.faces[0]
    assert (face.box, face.landmarks, face.sr.shape, face.sr.dtype) == ((30, 30, 40, 40), None, (128, 128, 3), np.uint8)
    assert photo.image.dtype == np.uint8


def test_a_quality_is_a_choice_among_shipped_networks_and_says_where_it_has_none(monkeypatch):
    from wnet_arch.restore import networks

    with pytest.raises(UsageError, match="--quality: 'sharpp' is none; did you mean 'sharp'"):
        networks.open_networks(None, [], quality="sharpp")
    with pytest.raises(UsageError, match="--quality chooses among the shipped networks"):
        networks.open_networks("wnet", [], quality="faithful")
    plain, faithful = networks.open_networks(None, []), networks.open_networks(None, [], quality="faithful")
    assert {scale: net.fingerprint for scale, net in plain.items()} == {scale: net.fingerprint for scale, net in faithful.items()}

    monkeypatch.setitem(networks.QUALITIES, "sharp", ("wnet_lite_real",))
    monkeypatch.setattr(networks.shipped, "names", lambda: ["wnet_lite_real_x8", "wnet_x4", "wnet_x8"])
    opened = networks.open_networks(None, [], quality="sharp")
    assert {scale: net.name for scale, net in opened.items()} == {4: "wnet_x4", 8: "wnet_lite_real_x8"}
    notes = FaceRestorer(quality="sharp", detector=BlueScreen()).restore(scene(10, 20)).notes
    assert "faces that went through wnet_x4, as no sharp network has their size: 1" in notes
    assert not FaceRestorer(quality="sharp", detector=BlueScreen()).restore(scene(10)).notes

    monkeypatch.setitem(networks.QUALITIES, "sharp", ("gone",))
    with pytest.raises(WeightsError, match="--quality sharp: no network for it ships"):
        networks.open_networks(None, [], quality="sharp")


# Networks that were trained on faces as photos from life have them


def degraded(path: str, folder: Path) -> str:
    """The same weights, with metadata as `ship_weights.py` writes them after a training with `degradation`."""
    made = folder / Path(path).name
    save_file(load_file(path), made, {**metadata.texts(Path(path)), "degradation": json.dumps({"clean": 0.2})})
    return str(made)


def test_networks_of_degraded_faces_get_the_frame_and_others_the_photos_own_pixels(weights, tmp_path):
    photo = scene(14, 19, 23, 11)
    plain = changes(weights).restore(photo)
    trained = FaceRestorer(weights=[degraded(file, tmp_path) for file in weights.values()], detector=BlueScreen()).restore(photo)
    assert [face.scale for face in trained.faces] == [face.scale for face in plain.faces]
    assert len(trained.restored) == 4
    for own, exact in zip(trained.faces, plain.faces):
        assert own.frame.side == pytest.approx(own.side)
        assert np.array_equal(own.lq, own.frame.image(photo, own.lq.shape[0]))
        assert exact.frame.side == exact.lq.shape[0] != exact.side


def test_what_a_network_was_trained_on_is_known_of_files_runs_and_exports(weights, tmp_path):
    from wnet_arch.export.subject import open_subject
    from wnet_arch.inference.entries import open_one

    file = degraded(weights[8], tmp_path)
    assert open_one(file, None).provenance.degraded
    assert not open_one(weights[8], None).provenance.degraded
    assert json.loads(open_subject(file).about("float32")["degradation"]) == {"clean": 0.2}
    assert "degradation" not in open_subject(weights[8]).about("float32")
    for name, block in (("plain", None), ("photos", {})):
        models = tmp_path / name / "models"
        models.mkdir(parents=True)
        net = create_network("SRCNN", 8)
        torch.save({"params": net.state_dict()}, models / "net_g_latest.pth")
        data = {"train": {"name": "x", "dataroot": "x", "degradation": block}}
        opt = {"name": name, "scale": 8, "network_g": {"type": "SRCNN", "scale": 8}, "datasets": data}
        (tmp_path / name / f"{name}.yml").write_text(json.dumps(opt))
        assert open_one(str(tmp_path / name), None).provenance.degraded is (block is not None)


# What is said


def lines_of(capsys, *arguments) -> list[str]:
    capsys.readouterr()
    wnet_restore(*arguments)
    return capsys.readouterr().out.splitlines()


def test_each_line_says_what_was_done_and_by_what(tmp_path, capsys, weights):
    own = ("--weights", weights[4], weights[8])
    for name, photo in (("both", scene(10, 20, 60)), ("large", scene(60, height=120)), ("larger", scene(60, 70, height=130))):
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    Image.fromarray(scene()).save(tmp_path / "none.png")
    said = {
        name: lines_of(capsys, tmp_path / f"{name}.png", *own, "-o", tmp_path / f"out_{name}")[0].partition(": ")[2]
        for name in ("both", "large", "larger", "none")
    }
    assert said == {
        "both": "1680x720, 3 faces, 2 restored by srcnn_x4 (1) and srcnn_x8 (1); 1 face is larger than 40 pixels and left alone",
        "large": "120x120, 1 face, 0 restored; not enlarged; the face is larger than 40 pixels and left alone",
        "larger": "220x130, 2 faces, 0 restored; not enlarged; all faces are larger than 40 pixels and left alone",
        "none": "30x90, no face was found; not enlarged",
    }
    again = lines_of(capsys, tmp_path / "none.png", *own, "--scale", 4, "-o", tmp_path / "out")
    assert again[0] == "none.png: 120x360, no face was found; enlarged as it is"
    (entry,) = entries(tmp_path / "out_both")
    assert [(face["restored"], face["left_alone"]) for face in entry["faces"]] == [
        (False, "larger than 40 pixels"), (True, None), (True, None),
    ]  # fmt: skip


def test_only_changed_photos_say_that_details_are_estimated(tmp_path, weights):
    Image.fromarray(scene(10)).save(tmp_path / "a.png")
    Image.fromarray(scene(60, height=120)).save(tmp_path / "large.jpg")
    own = ("--weights", weights[8])
    for number, (name, options, photo_says, face_says) in enumerate((
        ("a.png", own, True, True), ("a.png", (*own, "--strength", 0), False, True),
        ("a.png", ("--network", "Bicubic"), False, False), ("large.jpg", own, False, None),
    )):  # fmt: skip
        out = tmp_path / f"out{number}"
        assert wnet_restore(tmp_path / name, *options, "-o", out) == 0
        with Image.open(out / name) as image:
            assert (STATEMENT in str(image.info)) == photo_says
        if face_says is not None:
            with Image.open(out / "faces" / "a_01.png") as image:
                assert (STATEMENT in str(image.info)) == face_says


def test_compressed_and_noisy_photos_are_named(tmp_path, capsys, weights):
    photo = scene(10, 20)
    Image.fromarray(photo).save(tmp_path / "good.jpg", quality=95)
    Image.fromarray(photo).save(tmp_path / "bad.jpg", quality=35)
    noise = np.random.default_rng(0).normal(0, 14, (*photo.shape[:2], 1))
    Image.fromarray((photo * 0.8 + 25 + noise).clip(0, 255).astype(np.uint8)).save(tmp_path / "noisy.png")
    restorer_ = changes(weights)
    for name, doubts in (("good.jpg", ()), ("bad.jpg", ("JPEG of quality 35",))):
        picture = wnet_arch.data.photos.load_picture(tmp_path / name)
        result = restorer_.restore(picture.rgb, picture.tables)
        assert all(face.doubts[: len(doubts)] == doubts and len(face.doubts) <= len(doubts) + 1 for face in result.restored)
    assert wnet_restore(tmp_path / "bad.jpg", "--weights", weights[8], "--json", "-o", tmp_path / "out") == 0
    assert "; JPEG of quality 35: little of the restored faces is certain" in capsys.readouterr().out
    (photo,) = json.loads((tmp_path / "out" / "report.json").read_text())["photos"]
    assert (photo["jpeg_quality"], photo["tone"]) == (35, "colour")
    assert photo["faces"][-1]["doubts"][0] == "JPEG of quality 35"
    result = restorer_.restore(np.array(Image.open(tmp_path / "noisy.png")))
    assert any(note.startswith("noise of ") for note in result.notes)


@pytest.mark.parametrize(("side", "told"), [(39.96, 40.0), (40, 40.0), (40.001, 40.1), (40.04, 40.1), (40.06, 40.1), (15.23, 15.2)])
def test_no_face_reads_as_if_it_met_a_limit_that_it_exceeds(side, told):
    assert frames.told(side) == pytest.approx(told)
    assert (frames.told(side) <= 40) == (frames.choose_scale(side, (4, 8)) is not None)


def test_doubtful_detections_are_named(weights):
    detector = BlueScreen()
    detector._find = lambda view: [Detection(one.box, score) for one, score in zip(BlueScreen._find(detector, view), (0.75, 0.99))]
    result = changes(weights, turns=False)
    result._detector_name = detector
    photo = result.restore(scene(10, 20))
    assert "perhaps no face: 1 of 2 restored" in photo.notes
    assert [any("0.75" in doubt for doubt in face.doubts) for face in photo.faces] == [False, True]


# By a photo's look


@pytest.fixture
def with_real(monkeypatch, weights):
    """A network for degraded faces, at x8 alone, and the faithful ones, as if they shipped."""
    files = {"wnet_x4": Path(weights[4]), "wnet_x8": Path(weights[8]), "wnet_lite_real_x8": Path(weights[8])}

    def ship(*names):
        for listed in ("names", "ours"):
            monkeypatch.setattr(shipped, listed, lambda: sorted(names or files))
        folder = Path(weights[8]).parent
        paths = {name: folder / f"{name}.safetensors" for name in files}
        for name, path in paths.items():
            path.write_bytes(files[name].read_bytes())
        monkeypatch.setattr(shipped, "path", paths.get)

    return ship


def test_auto_takes_the_network_for_degraded_faces_where_the_look_asks_for_it(with_real):
    with_real()
    bad = [list(range(40, 104))]
    found = FaceRestorer(quality="auto", detector=BlueScreen())
    clean, degraded = found.restore(scene(10, 20)), found.restore(scene(10, 20), bad)
    assert [face.network for face in clean.faces] == ["wnet_x4", "wnet_x8"]
    assert not clean.notes
    assert [face.network for face in degraded.faces] == ["wnet_x4", "wnet_lite_real_x8"]
    assert any(note.startswith("quality real, for JPEG of quality ") for note in degraded.notes)
    assert "faces that went through wnet_x4, as no real network has their size: 1" in degraded.notes
    real = FaceRestorer(quality="real", detector=BlueScreen())
    assert [face.network for face in real.restore(scene(10)).faces] == ["wnet_lite_real_x8"]
    for quality, small in (("faithful", "wnet_x8"), (None, "wnet_lite_real_x8")):  # auto is the default
        one = FaceRestorer(quality=quality, detector=BlueScreen()).restore(scene(10, 20), bad)
        assert [face.network for face in one.faces] == ["wnet_x4", small]


@pytest.fixture
def large_faces(monkeypatch, tmp_path):
    """W-Net for larger faces as if it alone shipped: x2 for all photos, x1 for degraded ones."""
    files = {}
    for name in ("wnet_x2", "wnet_real_x2", "wnet_real_x1"):
        block = {"type": "WNet", "scale": int(name[-1]), "num_feat": 8, "peak": 1, "num_heads": 1}
        torch.manual_seed(len(files))
        net = create_network("WNet", **{key: value for key, value in block.items() if key != "type"})
        state = net.state_dict()
        state |= {key: value + 0.01 * torch.randn_like(value) for key, value in state.items() if value.ndim > 1}
        files[name] = tmp_path / f"{name}.safetensors"
        save_file(state, files[name], {"network_g": json.dumps(block), "scale": str(block["scale"]), "training_set": "none"})
    for listed in ("names", "ours"):
        monkeypatch.setattr(shipped, listed, lambda: sorted(files))
    monkeypatch.setattr(shipped, "path", files.get)


def test_larger_faces_have_networks_too_and_a_degraded_one_of_a_networks_own_size_is_restored_in_place(large_faces):
    photo, bad = scene(40, 80, 110, height=170), [list(range(40, 104))]  # squares of 61, 122 and 167 pixels
    restorer = FaceRestorer(detector=BlueScreen())
    clean, degraded = restorer.restore(photo), restorer.restore(photo, bad)
    assert {face.network: face.scale for face in clean.cut_out} == {"wnet_x2": 2}
    assert "2 faces are larger than 80 pixels and left alone" in clean.notes
    assert {face.network: face.scale for face in degraded.cut_out} == {"wnet_real_x2": 2, "wnet_real_x1": 1}
    assert "1 face is larger than 160 pixels and left alone" in degraded.notes
    assert [face.left_alone for face in degraded.faces if not face.cut_out] == ["larger than 160 pixels"]
    assert clean.scale == degraded.scale == 2
    alone = restorer.restore(scene(80, height=140), bad)
    assert (alone.scale, alone.image.shape) == (1, (140, 140, 3))
    rows, columns = around(alone.faces[0], alone, 1)
    outside = np.ones(alone.image.shape[:2], bool)
    outside[rows, columns] = False
    assert np.array_equal(alone.image[outside], scene(80, height=140)[outside])
    assert not np.array_equal(alone.image, scene(80, height=140))


@pytest.mark.parametrize(
    ("jpeg", "noise", "better"), [(95, 2.0, 0), (90, None, 0), (89, None, 1), (None, 4.9, 0), (None, 5.0, 1), (40, 9.0, 2)]
)
def test_what_a_network_for_degraded_faces_does_better(jpeg, noise, better):
    from wnet_arch.restore.hints import PhotoHints

    assert len(PhotoHints(jpeg, noise).better_real) == better


def test_where_no_such_network_ships_auto_is_faithful_and_says_so(with_real, tmp_path, capsys):
    with_real("wnet_x4", "wnet_x8")
    Image.fromarray(scene(10)).save(tmp_path / "a.jpg", quality=30)
    assert wnet_restore(tmp_path / "a.jpg", "--quality", "auto", "-o", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "1 restored by wnet_x8" in text
    assert "quality faithful in spite of JPEG of quality 30, as no network for such photos (wnet_lite_real) ships" in text
    assert wnet_restore(tmp_path / "a.jpg", "--quality", "real", "-o", tmp_path / "out") == 2
    assert "--quality real: no network for it ships yet" in capsys.readouterr().err
    assert wnet_restore(tmp_path / "a.jpg", "--quality", "auto", "--network", "Bicubic", "-o", tmp_path / "out") == 2
    assert "--quality chooses among the shipped networks" in capsys.readouterr().err
