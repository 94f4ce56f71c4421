"""Frames a little off their place: as exact as if cut out of the photo itself, drawn by seed and place alone."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.test_train_command import run_options
from tests.conftest import drawn_face, drawn_points
from wnet_arch import options
from wnet_arch.cli import wnet
from wnet_arch.data.face_lmdb import LMDBReader, reduce_bicubic, wide_side
from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset
from wnet_arch.data.jitter import IN_PLACE, FrameJitter, Square
from wnet_arch.data.sampler import Draw, SeededDataset, seeded
from wnet_arch.errors import DataError, UsageError
from wnet_arch.faces import crop, labels
from wnet_arch.faces.align import Tilted
from wnet_arch.prepare.command import PrepareOptions, prepare

SIZE, SURROUND = 64, 0.25


def smooth_photo(seed: int, width: int = 178, height: int = 218) -> np.ndarray:
    """A photo without noise: waves, so that every place and angle differs."""
    y, x = np.mgrid[:height, :width] / 20.0
    a, b, c = np.random.default_rng(seed).uniform(0.3, 1.0, 3)
    waves = [np.sin(a * x + k) * np.cos(b * y - k) + 0.5 * np.sin(c * (x + y) * (k + 1) / 2) for k in range(3)]
    return (127 + 60 * np.stack(waves, -1)).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def wide_set(tmp_path_factory):
    """Six photos of CelebA's size, prepared with their surroundings."""
    folder = tmp_path_factory.mktemp("wide")
    (folder / "photos").mkdir()
    (folder / "maps").mkdir()
    for seed in range(6):
        Image.fromarray(smooth_photo(seed)).save(folder / "photos" / f"face{seed}.png")
        parsing = np.zeros((218, 178), np.uint8)
        parsing[80:160, 60:120] = labels.SKIN
        parsing[100:110, 70 + seed : 80 + seed] = labels.L_EYE
        Image.fromarray(parsing).save(folder / "maps" / f"face{seed}.png")
    prepare(PrepareOptions(
        images=folder / "photos", labels=folder / "maps", out=folder / "set", crop="celeba-aligned", size=SIZE, surround=SURROUND
    ), progress=False)  # fmt: skip
    return folder


def draws(jitter: FrameJitter, count: int) -> list[Square | None]:
    found = []
    for index in range(count):
        with seeded(11, index):
            found.append(jitter.draw())
    return found


def error_of(one: np.ndarray, other: np.ndarray, border: int = 3) -> float:
    inner = slice(border, -border)
    return float(np.abs(one[inner, inner].astype(int) - other[inner, inner]).mean())


def test_what_is_drawn_lies_within_its_limits():
    found = draws(FrameJitter(share=1, scale=(0.8, 1.25), shift=0.1, rotation=20), 400)
    sides = np.array([1 / np.hypot(*square.matrix[:, 0]) for square in found])
    angles = np.degrees([np.arctan2(square.matrix[0, 1], square.matrix[0, 0]) for square in found])
    centres = np.array([np.linalg.solve(square.matrix[:, :2], (0.5, 0.5) - square.matrix[:, 2]) for square in found]) - 0.5
    for values, low, high in ((np.log(sides), np.log(0.8), np.log(1.25)), (angles, -20, 20), (centres, -0.1, 0.1)):
        assert low <= values.min() < low + 0.05 * (high - low)
        assert high >= values.max() > high - 0.05 * (high - low)
        assert abs(values.mean() - (low + high) / 2) < 0.06 * (high - low)
    assert all(abs(np.linalg.det(square.matrix[:, :2]) * side**2 - 1) < 1e-9 for square, side in zip(found, sides))


def test_the_share_keeps_the_frame():
    kept = np.mean([square is None for square in draws(FrameJitter(share=0.7), 500)])
    assert kept == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("frame", [crop.CELEBA_ALIGNED, crop.Box(20, 30, 137, 147), None])
def test_a_square_of_the_surroundings_is_that_of_the_photo(frame):
    """Against one cut out of the photo itself, with upright frames and a turned one."""
    turned = Tilted(np.array(((0.96, 0.28, -40.0), (-0.28, 0.96, -15.0))) / 110)
    photo, frame = smooth_photo(3), frame or turned
    wide = frame.wide(photo, SURROUND, wide_side(SIZE, SURROUND))
    assert error_of(IN_PLACE.image(wide, SURROUND, SIZE), frame.image(photo, SIZE)) < 1.0
    own = Tilted(np.linalg.inv(np.vstack((np.column_stack(((frame.corners[1] - frame.corners[0]),
                 (frame.corners[3] - frame.corners[0]), frame.corners[0])), (0, 0, 1))))[:2])  # fmt: skip
    for square in draws(FrameJitter(share=1, scale=(0.9, 1.1), shift=0.03, rotation=10), 5):
        chained = square.matrix @ np.vstack((own.matrix, (0, 0, 1)))
        direct = Tilted(chained).image(photo, SIZE)
        error = error_of(square.image(wide, SURROUND, SIZE), direct)
        assert error < 1
        assert error_of(frame.image(photo, SIZE), direct) > 3 * error


def test_image_map_and_points_move_together():
    """A dark disc, its class and a point in its middle come to lie in one place."""
    image, classes = np.full((SIZE, SIZE, 3), 200, np.uint8), np.full((SIZE, SIZE), labels.SKIN, np.uint8)
    middle = np.array((40.0, 24.0))
    cv2.circle(image, (40, 24), 5, (20, 20, 20), -1)
    cv2.circle(classes, (40, 24), 5, labels.L_EYE, -1)
    wide = cv2.resize(image, (80, 80), interpolation=cv2.INTER_AREA)
    for square in draws(FrameJitter(share=1), 10):
        moved, parsing = square.image(wide, 0.0, SIZE), square.map(classes, SIZE)
        point = square.points(middle[None].astype(np.float32), SIZE)[0]
        for where in (np.argwhere(moved[..., 0] < 100), np.argwhere(parsing == labels.L_EYE)):
            assert np.abs(where.mean(0)[::-1] - point).max() < 0.35


def test_a_map_is_unknown_outside_of_the_frame():
    square = Square(np.array(((0.5, 0, 0.25), (0, 0.5, 0.25))))  # twice as large
    parsing = square.map(np.full((SIZE, SIZE), labels.HAIR, np.uint8), SIZE)
    assert (parsing[:15] == labels.UNKNOWN).all()
    assert (parsing[18:46, 18:46] == labels.HAIR).all()


def test_samples_follow_from_the_draw_and_their_lr_image_is_pillows(wide_set):
    opt = {"dataroot": str(wide_set / "set"), "scale": 8, "jitter": {"share": 1}, "use_hflip": True}
    train = PairedFaceParsingDataset({**opt, "phase": "train"})
    one, other = SeededDataset(train, 5), SeededDataset(PairedFaceParsingDataset({**opt, "phase": "train", "cache": True}), 5)
    seen = set()
    for place in range(8):
        first, second = one[Draw(2, place % 3, place)], other[Draw(2, place % 3, place)]
        assert all(torch.equal(first[kind], second[kind]) for kind in ("lq", "gt", "parsing"))
        gt = (first["gt"].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        lq = (first["lq"].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        mirrored = reduce_bicubic(np.ascontiguousarray(gt[:, ::-1]), 8)[:, ::-1]  # reduced first, mirrored then
        assert np.array_equal(lq, reduce_bicubic(gt, 8)) or np.array_equal(lq, mirrored)
        seen.add(gt.tobytes())
    assert len(seen) == 8
    val = PairedFaceParsingDataset({**opt, "phase": "val"})
    first = [val[index]["gt"] for index in range(6)]
    assert all(torch.equal(val[index]["gt"], first[index]) for index in (4, 0, 5))
    plain = PairedFaceParsingDataset({**opt, "phase": "val", "jitter": {"share": 0}})
    without = PairedFaceParsingDataset({**opt, "phase": "val", "jitter": None})
    assert all(torch.equal(plain[index]["gt"], without[index]["gt"]) for index in range(6))
    assert not any(torch.equal(plain[index]["gt"], first[index]) for index in range(6))


def test_sets_with_surroundings_of_their_own_are_drawn_from_together(wide_set, tmp_path):
    prepare(PrepareOptions(
        images=wide_set / "photos", labels=wide_set / "maps", out=tmp_path / "less", crop="celeba-aligned", size=SIZE, surround=0.1,
    ), progress=False)  # fmt: skip
    opt = {"dataroot": [str(wide_set / "set"), str(tmp_path / "less")], "scale": 4, "phase": "train", "jitter": {"share": 1}}
    both = SeededDataset(PairedFaceParsingDataset(opt), 5)
    for index in range(6):  # the same photos: so the same squares, but for what the smaller surroundings do not show
        one, other = (both[Draw(number, 0, 3)]["gt"].numpy()[:, 12:-12, 12:-12] for number in (index, index + 6))
        assert np.abs(one - other).mean() < 1.5 / 255


def test_compact_sets_stay_what_they_were(wide_set, tmp_path):
    prepare(PrepareOptions(
        images=wide_set / "photos", labels=wide_set / "maps", out=tmp_path / "plain", crop="celeba-aligned", size=SIZE
    ), progress=False)  # fmt: skip
    manifest = json.loads((tmp_path / "plain" / "manifest.json").read_text())
    assert "surround" not in manifest
    assert not (tmp_path / "plain" / "wide.lmdb").exists()
    for kind in ("gt", "lq_x8", "parsing"):
        one, other = (LMDBReader(root / f"{kind}.lmdb") for root in (tmp_path / "plain", wide_set / "set"))
        assert one.keys == other.keys
        assert all(one.get(key) == other.get(key) for key in one.keys)
    with pytest.raises(DataError, match="has no surroundings of its faces: prepare it again with --surround"):
        PairedFaceParsingDataset({"dataroot": str(tmp_path / "plain"), "scale": 4, "phase": "train", "jitter": {}})


def test_landmarks_move_with_the_frame():
    points = drawn_points(0, SIZE)
    square = next(iter(draws(FrameJitter(share=1), 1)))
    moved = square.points(points, SIZE)
    assert moved.dtype == points.dtype
    expected = ((points + 0.5) / SIZE @ square.matrix[:, :2].T + square.matrix[:, 2]) * SIZE - 0.5
    assert np.allclose(moved, expected, atol=1e-4)
    assert np.isnan(square.points(np.full((68, 2), np.nan, np.float32), SIZE)).all()


def test_shards_are_merged_with_their_surroundings(wide_set, tmp_path, capsys):
    words = ["prepare", "--root", str(wide_set / "photos"), "--labels", str(wide_set / "maps")]
    words += ["--crop", "celeba-aligned", "--size", str(SIZE)]
    for shard in ("0/2", "1/2"):
        assert wnet._main([*words, "--surround", str(SURROUND), "--shard", shard, "--out", str(tmp_path / "set")]) == 0
    assert wnet._main(["prepare", "merge", "--out", str(tmp_path / "set")]) == 0
    for name in ("wide.lmdb/data.mdb", "wide.lmdb/meta_info.txt", "gt.lmdb/data.mdb"):
        assert (tmp_path / "set" / name).read_bytes() == (wide_set / "set" / name).read_bytes()


@pytest.mark.parametrize("damage", ["another face", "another size", "missing"])
def test_surroundings_of_something_else_are_refused(wide_set, tmp_path, damage):
    import shutil

    from wnet_arch.data.face_lmdb import GrowingLMDB, encode_png, write_meta_info

    root = shutil.copytree(wide_set / "set", tmp_path / "set")
    shutil.rmtree(root / "wide.lmdb")
    side = wide_side(SIZE, SURROUND)
    if damage != "missing":
        store, keys = GrowingLMDB(root / "wide.lmdb"), [f"face{seed}" for seed in range(6)]
        shown = side if damage == "another face" else side - 6
        faces = [(key, encode_png(drawn_face(seed, shown)[0])) for seed, key in enumerate(keys)]
        store.write(faces)
        store.close()
        write_meta_info(root / "wide.lmdb", keys, side, side, 3)
    said = {
        "another face": "does not show the face",
        "another size": f"is {side - 6}x{side - 6}, not",
        "missing": "has no wide.lmdb",
    }
    with pytest.raises(DataError, match=said[damage]):
        PairedFaceParsingDataset({"dataroot": str(root), "scale": 4, "phase": "train", "jitter": {}})
    PairedFaceParsingDataset({"dataroot": str(root), "scale": 4, "phase": "train"})  # what is not read is not looked at


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"shfit": 0.1}, "jitter.shfit: PairedFaceParsingDataset has no such option; did you mean 'shift'"),
        ({"scale": [1.2, 0.9]}, "two numbers from 0.5 to 2, the smaller one first"),
        ({"scale": 1.1}, "two numbers from 0.5 to 2"),
        ({"rotation": -3}, "jitter.rotation must be a number of degrees from 0 to 180, not -3"),
        ({"share": 2}, "jitter.share must be a number from 0 to 1, not 2"),
        ({}, None),
        ({"scale": [0.8, 1.3], "rotation": 20, "shift": 0, "share": 1}, None),
    ],
)
def test_options_out_of_range_end_in_validation(wide_set, block, said):
    opt = run_options(wide_set / "set")
    opt["datasets"]["train"]["jitter"] = block
    found = options.list_everything(opt, is_train=True)
    assert len(found) == bool(said), found
    assert all(said in line for line in found)


def test_jitter_needs_a_set(tmp_path):
    Image.fromarray(drawn_face(0)[0]).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="jitter needs dataroot"):
        PairedFaceParsingDataset({"dataroot_gt": str(tmp_path), "scale": 4, "phase": "train", "jitter": {}})


@pytest.mark.parametrize("surround", ["-0.1", "1.5", "nan"])
def test_surroundings_out_of_range_are_refused(wide_set, tmp_path, surround):
    words = ["prepare", "--root", str(wide_set / "photos"), "--crop", "celeba-aligned", "--out", str(tmp_path / "s")]
    with pytest.raises(UsageError, match=r"--surround .*: 0 to 1, a share of the frame's side"):
        wnet._main([*words, f"--surround={surround}"])
