"""``wnet prepare --landmarks``: what is stored, which faces stay without, and what the data set makes of it."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import drawn_points, write_folders, write_set
from tests.faces.test_landmarks import MIRRORED, upright_face
from tests.killing import BATCH, kill_and_look, needs_sigkill
from tests.prepare.test_prepare import content, noise, run
from wnet_arch.cli import prepare as command
from wnet_arch.data.face_lmdb import LMDBReader, decode_landmarks, encode_landmarks, read_keys, read_manifest
from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset
from wnet_arch.errors import DataError, NothingToDoError, UsageError, WeightsError, WNetError
from wnet_arch.faces import crop, landmarks, parse_landmarks
from wnet_arch.faces.landmarks import Face


class FakeDetector:
    """The face of :func:`upright_face`, reduced, at a place which the photo's first pixel tells; none where it is black."""

    def __init__(self, **options):
        pass

    def find(self, photo, name=""):
        place = int(photo[0, 0, 0])
        points = upright_face() / 4 + (place, place)
        return Face((place, place, place + 32, place + 32), points.astype(np.float32)) if place else None


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Twelve photos of 40x40, and a detector for them. In every fourth there is no face; in photo 5 it lies outside."""
    monkeypatch.setattr("wnet_arch.faces.landmarks.LandmarkDetector", FakeDetector)
    (tmp_path / "images").mkdir()
    for i in range(12):
        photo = noise(i)
        photo[0, 0, 0] = 0 if i % 4 == 3 else 100 if i == 5 else 1 + i
        Image.fromarray(photo).save(tmp_path / "images" / f"{i:03d}.png")
    return tmp_path


def points_of(target: Path, key: str) -> np.ndarray:
    return decode_landmarks(LMDBReader(target / "landmarks.lmdb").get(key), key)


def dataset(root: Path, phase: str = "val", **options) -> PairedFaceParsingDataset:
    options = {"landmarks": True, **options}
    return PairedFaceParsingDataset({"name": "set", "phase": phase, "scale": 8, "dataroot": str(root), **options})


def test_points_are_stored_in_pixels_of_the_hr_image(folder):
    run(folder, landmarks=True, size=80)
    target = folder / "set"
    expected = (upright_face() / 4 + 1 + 0.5) * 2 - 0.5  # pixel centres at whole numbers, 40 -> 80
    np.testing.assert_allclose(points_of(target, "000"), expected, atol=1e-4)
    assert points_of(target, "000").dtype == np.float32
    assert (target / "landmarks.lmdb" / "meta_info.txt").read_text().splitlines()[0] == "000.f32 (68,2,1) 0"
    assert read_keys(target / "landmarks.lmdb") == read_keys(target / "gt.lmdb")
    assert len(LMDBReader(target / "landmarks.lmdb").get("000")) == 68 * 2 * 4


def test_faces_without_landmarks_stay_and_are_counted(folder):
    summary = run(folder, landmarks=True, holdout=4)
    assert summary.counts == {"train": 8, "val": 4}
    assert summary.without_landmarks == 4
    assert "4 of them have no landmarks: no face was found" in summary.lines()
    for split, missing in (("train", ["003", "005", "007"]), ("val", ["011"])):
        manifest = read_manifest(folder / "set" / split)
        assert manifest["without_landmarks"] == len(missing)
        assert manifest["landmarks"]["points"] == 68
        assert manifest["landmarks"]["sha256"].startswith("fbdc2cb8")
        assert manifest["parser"] == {"name": "none", "sha256": None}
        assert "min_face" not in manifest["crop"]
        keys = read_keys(folder / "set" / split / "gt.lmdb")
        assert [key for key in keys if np.isnan(points_of(folder / "set" / split, key)).all()] == missing
    assert read_manifest(folder / "set")["without_landmarks"] == 4


def test_crop_and_parser_use_the_same_points(folder):
    for path in (folder / "images").iterdir():
        path.unlink()
    photo = noise(0, 60, 70)
    photo[0, 0, 0] = 9
    Image.fromarray(photo).save(folder / "images" / "face.png")
    Image.fromarray(np.zeros((60, 70, 3), np.uint8)).save(folder / "images" / "nobody.png")
    run(folder, landmarks=True, crop="landmarks", parser="landmarks", margin=1.2, min_box=10)
    target = folder / "set"
    assert [r["reason"] for r in read_manifest(target)["rejected"]] == ["no face"]
    found = FakeDetector().find(photo).points
    box = crop.around_landmarks(found, 1.2, 60, 70)
    expected = crop.to_box(found, box, 32)
    np.testing.assert_allclose(points_of(target, "face"), expected, atol=1e-4)
    parsing = cv2.imdecode(np.frombuffer(LMDBReader(target / "parsing.lmdb").get("face"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(parsing, parse_landmarks.draw(points_of(target, "face"), 32, 32))


def test_set_without_the_option_is_as_before(folder):
    run(folder)
    assert not (folder / "set" / "landmarks.lmdb").exists()
    manifest = read_manifest(folder / "set")
    assert "landmarks" not in manifest
    assert "without_landmarks" not in manifest


def test_number_of_workers_makes_no_difference(folder):
    run(folder, "one", landmarks=True, holdout=3)
    run(folder, "two", landmarks=True, holdout=3, workers=2)
    assert content(folder / "one") == content(folder / "two")


def _prepare_killed(folder: Path) -> None:
    landmarks.LandmarkDetector = FakeDetector
    run(folder, "killed", landmarks=True, holdout=2)


@needs_sigkill
def test_killed_run_continues_and_equals_an_unbroken_one(folder, monkeypatch):
    kill_and_look(_prepare_killed, folder, folder / "killed", kills=1, seed=1)
    monkeypatch.setattr("wnet_arch.prepare.face_lmdb_writer.BATCH", BATCH)
    with pytest.raises(UsageError, match="made with another faces and landmarks"):
        run(folder, "killed", holdout=2)
    assert run(folder, "killed", landmarks=True, holdout=2).without_landmarks == 4
    run(folder, "unbroken", landmarks=True, holdout=2)
    assert content(folder / "killed") == content(folder / "unbroken")


def test_existing_set_with_landmarks_can_be_replaced(folder):
    run(folder, landmarks=True)
    run(folder, landmarks=False, overwrite=True)
    assert not (folder / "set" / "landmarks.lmdb").exists()


def test_command_has_the_option(folder, capsys):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    words = ["prepare", "--images", folder / "images", "--out", folder / "set", "--size", 32, "--workers", 1, "--landmarks"]
    args = parser.parse_args([str(word) for word in words])
    assert args.run(args) == 0
    assert "4 of them have no landmarks: no face was found" in capsys.readouterr().out


def test_nothing_is_stored_where_no_photo_is_left(folder):
    with pytest.raises(NothingToDoError, match="face too small"):
        run(folder, landmarks=True, parser="landmarks", min_box=39)
    assert not (folder / "set").exists()


def test_damaged_landmarks_are_named():
    assert np.isnan(decode_landmarks(encode_landmarks(None), "x")).all()
    with pytest.raises(DataError, match="x holds 3 bytes; 68 landmarks are 544"):
        decode_landmarks(b"abc", "x")
    points = np.zeros((68, 2), np.float32)
    points[7, 1] = np.nan
    with pytest.raises(DataError, match="x holds landmarks that are not all finite"):
        decode_landmarks(points.tobytes(), "x")
    with pytest.raises(WNetError, match=r"68 points \(x, y\), these have the shape \(5, 2\)"):
        encode_landmarks(points[:5])


@pytest.fixture(scope="module")
def landmark_set(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "landmarks", count=4, landmarks=True)


def test_sample_has_the_points(landmark_set):
    data = dataset(landmark_set)
    for index in (0, 1, 3):
        assert data[index]["landmarks"].dtype == torch.float32
        assert np.array_equal(data[index]["landmarks"].numpy(), drawn_points(index))
    assert data[2]["landmarks"].shape == (68, 2)
    assert data[2]["landmarks"].isnan().all()
    batch = torch.utils.data.default_collate([data[i] for i in range(4)])
    assert batch["landmarks"].shape == (4, 68, 2)
    assert "landmarks" not in dataset(landmark_set, landmarks=False)[0]


def test_points_turn_with_the_image(landmark_set, monkeypatch):
    data = dataset(landmark_set, "train", use_hflip=True)
    monkeypatch.setattr("random.random", lambda: 0.9)
    straight = [data[i] for i in range(3)]
    monkeypatch.setattr("random.random", lambda: 0.1)
    turned = [data[i] for i in range(3)]
    assert torch.equal(turned[0]["gt"], straight[0]["gt"].flip(-1))
    expected = straight[0]["landmarks"][MIRRORED]
    expected[:, 0] = 63 - expected[:, 0]
    assert torch.equal(turned[0]["landmarks"], expected)
    assert turned[2]["landmarks"].isnan().all()
    assert torch.equal(data[0]["landmarks"], turned[0]["landmarks"])  # stored points are left as they are


def test_mirrored_order_is_its_own_inverse_and_that_of_a_symmetric_face():
    assert landmarks.FLIP.tolist() == MIRRORED
    assert landmarks.FLIP[landmarks.FLIP].tolist() == list(range(68))
    face = upright_face()
    np.testing.assert_allclose(landmarks.flip(face, 129), face, atol=1e-4)  # its axis is x = 64


def test_set_without_landmarks_is_named(face_set, tmp_path):
    with pytest.raises(DataError, match="has no landmarks: prepare it again with --landmarks"):
        dataset(face_set)
    folders = write_folders(tmp_path / "faces", 1)
    with pytest.raises(UsageError, match="landmarks: true needs dataroot"):
        dataset("", dataroot_gt=str(folders / "gt"))


def test_landmarks_of_other_faces_are_refused(landmark_set, tmp_path):
    import shutil

    target = tmp_path / "mixed"
    shutil.copytree(landmark_set, target)
    (target / "landmarks.lmdb" / "meta_info.txt").write_text("face000.f32 (68,2,1) 0\n")
    with pytest.raises(DataError, match=r"landmarks\.lmdb holds, and does not name, 3 images"):
        dataset(target)


def test_real_landmarks_of_a_photo(tmp_path):
    """dlib's points, stored from the photo and found anew in the stored image, are the same within a few pixels."""
    pytest.importorskip("dlib", reason="dlib is not installed (extra 'landmarks')")
    from skimage.data import astronaut

    try:
        detector = landmarks.LandmarkDetector(download=False)
    except WeightsError as error:
        pytest.skip(f"the landmark file is not in the cache: {error}")
    (tmp_path / "images").mkdir()
    Image.fromarray(astronaut()[:300, 80:380]).save(tmp_path / "images" / "astronaut.png")
    summary = run(tmp_path, landmarks=True, size=256)
    assert summary.without_landmarks == 0
    stored = points_of(tmp_path / "set", "astronaut")
    gt = cv2.imdecode(np.frombuffer(LMDBReader(tmp_path / "set" / "gt.lmdb").get("astronaut"), np.uint8), cv2.IMREAD_COLOR)
    again = detector.largest(gt[..., ::-1]).points
    assert np.abs(stored - again).mean() < 3
