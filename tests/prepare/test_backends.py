"""Choice of detector, landmarker, parser and crop in ``wnet prepare``, and the picture of what they make."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.faces.test_landmarks import upright_face
from tests.prepare.test_prepare import noise, reasons, run
from wnet_arch import weights
from wnet_arch.data.face_lmdb import LMDBReader, decode_landmarks, read_keys, read_manifest
from wnet_arch.errors import NothingToDoError, UsageError, WeightsError
from wnet_arch.faces import align, labels, parsing
from wnet_arch.faces.landmarks import FAN_WEIGHTS, FanLandmarker, five_points
from wnet_arch.prepare.backends import Backends
from wnet_arch.prepare.command import PrepareOptions


class FakeParser(parsing.Parser):
    """Takes brightness for skin. Needs no points."""

    name = "compact"

    def parse_batch(self, rgbs, points=None):
        return [np.where(rgb[..., 0] > 128, labels.SKIN, labels.BACKGROUND).astype(np.uint8) for rgb in rgbs]


def read(target: Path, kind: str, key: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(LMDBReader(target / f"{kind}.lmdb").get(key), np.uint8), cv2.IMREAD_UNCHANGED)


def write_points(path: Path, entries: dict[str, np.ndarray]) -> Path:
    count = len(next(iter(entries.values())))
    lines = ["name," + ",".join(f"x{i},y{i}" for i in range(count))]
    lines += [name + "," + ",".join(str(v) for v in points.ravel()) for name, points in entries.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """Six photos of 180x200 and a file with the landmarks of five, moved by 10 pixels a photo."""
    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.fromarray(noise(i, 180, 200)).save(tmp_path / "images" / f"{i}.png")
    write_points(tmp_path / "points.csv", {f"{i}.png": upright_face() + 10 * i for i in range(5)})
    return tmp_path


def test_landmarks_from_a_file(folder):
    run(folder, crop="landmarks", landmarks=True, margin=1.5, size=64, landmarks_file=folder / "points.csv")
    target = folder / "set"
    assert reasons(target) == {"5.png": "not in the landmark file: "}
    assert read_keys(target / "gt.lmdb") == ["0", "1", "2", "3", "4"]
    points = decode_landmarks(LMDBReader(target / "landmarks.lmdb").get("2"), "2")
    assert np.ptp(points, axis=0).max() == pytest.approx(64 / 1.5, rel=0.01)
    assert points.mean() == pytest.approx(32, abs=6)
    manifest = read_manifest(target)
    assert manifest["faces"]["landmarks_file"]["name"] == "points.csv"
    assert manifest["landmarks"]["sha256"] == manifest["faces"]["landmarks_file"]["sha256"]


def test_five_point_crop_brings_the_face_into_celeba_s_frame(folder):
    turn = np.array(((0.9, 0.2), (-0.2, 0.9)))
    points = ((align.TEMPLATE - 64) @ turn + (100, 90)).astype(np.float32)
    write_points(folder / "five.csv", {f"{i}": points for i in range(5)})
    photo = noise(9, 180, 200)
    for x, y in points.round().astype(int):
        photo[y - 2 : y + 3, x - 2 : x + 3] = 255
    Image.fromarray(photo // 2 + (photo == 255) * np.uint8(127)).save(folder / "images" / "0.png")
    run(folder, crop="five-point", size=128, min_box=10, landmarks_file=folder / "five.csv")
    gt = read(folder / "set", "gt", "0").astype(int)
    for x, y in align.TEMPLATE.round().astype(int):
        assert gt[y - 1 : y + 2, x - 1 : x + 2].min() > 150  # the white dots
    assert read_manifest(folder / "set")["crop"] == {"rule": "five-point", "min_face": 10}


def test_five_point_crop_rejects_faces_that_lie_outside(folder):
    near, far = np.add(five_points(upright_face()), (30, 20)), np.add(five_points(upright_face()), (130, 60))
    write_points(folder / "five.csv", {"0": near, "1": far})
    run(folder, crop="five-point", size=64, min_box=10, landmarks_file=folder / "five.csv")
    found = reasons(folder / "set")
    assert found["1.png"].startswith("face too large: ")
    assert found["1.png"].endswith("% of the crop lie outside the photo")
    assert read_keys(folder / "set" / "gt.lmdb") == ["0"]


def test_exchanged_points_are_no_tiny_face(folder):
    five, whole = np.add(five_points(upright_face()), (30, 20)), np.array(((0.3, 0.4), (-0.4, 0.3)))
    middle = five.mean(0)
    exchanged = {"0": five[[1, 0, 2, 4, 3]], "1": (five[[1, 0, 2, 4, 3]] - middle) @ whole * 2 + middle, "2": five}
    write_points(folder / "five.csv", exchanged)
    run(folder, crop="five-point", size=64, min_box=10, landmarks_file=folder / "five.csv")
    found = reasons(folder / "set")
    for name in ("0.png", "1.png"):
        assert found[name] == "points exchanged: of each pair, the eye or corner of the mouth on the image's left comes first"
    assert read_keys(folder / "set" / "gt.lmdb") == ["2"]
    on_a_line = np.stack((np.full(5, 40.0), align.TEMPLATE[:, 1]), 1)  # a face seen from the side
    assert not align.is_mirrored(on_a_line)


def test_five_points_are_not_enough_for_some(folder):
    file = write_points(folder / "five.csv", {"0": five_points(upright_face())})
    for options, said in (
        ({"crop": "landmarks"}, "--crop landmarks needs 68 points"),
        ({"crop": "five-point", "parser": "landmarks"}, "--parser landmarks needs 68 points"),
        ({"crop": "five-point", "landmarks": True}, "--landmarks needs 68 points"),
    ):
        with pytest.raises(UsageError, match=f"{said}, .*five.csv has 5, which do for --crop five-point"):
            run(folder, landmarks_file=file, **options)
    assert not (folder / "set.partial").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"detector": "yolo"}, "--detector yolo: known are mtcnn, retinaface, dlib"),
        ({"landmarker": "ert"}, "--landmarker ert: known are dlib, face-alignment"),
        ({"parser": "unet"}, "--parser unet: known are compact, landmarks, bisenet, parsenet"),
        ({"crop": "landmarks", "face": "best"}, "--face best: known are largest, centre"),
        ({"detector": "dlib"}, "--detector dlib: no face is looked for, as --crop none needs none"),
        ({"landmarks_file": Path("x.csv"), "parser": "compact"}, "--landmarks-file x.csv: no face is looked for"),
        (
            {"landmarks_file": Path("x.csv"), "crop": "landmarks", "detector": "dlib"},
            "--landmarks-file and --detector dlib exclude",
        ),
        ({"sheet": -1}, "--sheet must be 0 or more"),
    ],
)
def test_options_that_do_not_go_together(options, said):
    with pytest.raises(UsageError, match=said):
        PrepareOptions(images=Path("a"), out=Path("b"), **options)


def test_record_says_what_was_used():
    record = Backends("landmarks", parser="bisenet").record()
    assert record["parser"]["name"] == "bisenet"
    assert record["parser"]["sha256"].startswith("468e13ca")
    assert record["faces"]["detector"]["sha256"].startswith("ef3fb828")
    assert record["faces"]["landmarker"]["sha256"].startswith("fbdc2cb8")
    assert record["faces"]["choice"] == "largest"
    five = Backends("five-point", face="centre").record()["faces"]
    assert "landmarker" not in five  # the detector's own points
    by_dlib = Backends("five-point", detector="dlib").record()["faces"]
    assert by_dlib["detector"] == {"name": "dlib", "sha256": None}
    assert by_dlib["landmarker"]["name"] == "dlib"  # its five points come from the 68
    assert Backends("celeba-aligned").record() == {"parser": {"name": "none", "sha256": None}}
    for name in parsing.PARSERS:
        sha256 = weights.entry(parsing.WEIGHTS[name]).sha256 if name != "landmarks" else None  # `faces` says whose points it draws
        assert Backends("landmarks", parser=name).record()["parser"] == {"name": name, "sha256": sha256}


def test_parser_without_points_needs_no_detection(folder, monkeypatch):
    monkeypatch.setattr("wnet_arch.prepare.backends.create_parser", lambda *args, **options: FakeParser())
    Image.fromarray(noise(3, 218, 178)).save(folder / "images" / "0.png")
    run(folder, crop="celeba-aligned", parser="compact", size=152)
    parsing_map, gt = (read(folder / "set", kind, "0") for kind in ("parsing", "gt"))
    assert np.array_equal(parsing_map == labels.SKIN, gt[..., 2] > 128)
    manifest = read_manifest(folder / "set")
    assert manifest["parser"]["name"] == "compact"
    assert "faces" not in manifest


def test_map_is_unknown_outside_the_photo(folder, monkeypatch):
    monkeypatch.setattr("wnet_arch.prepare.backends.create_parser", lambda *args, **options: FakeParser())
    five = np.add(five_points(upright_face()), (0, -20))
    file = write_points(folder / "five.csv", {"0": five})
    run(folder, crop="five-point", parser="compact", size=64, min_box=10, landmarks_file=file)
    found = read(folder / "set", "parsing", "0")
    share = (found == labels.UNKNOWN).mean()
    assert share == pytest.approx(align.five_point_frame(five).outside_share(180, 200), abs=0.01)
    assert 0.01 < share < align.MAX_OUTSIDE


def test_sheet_shows_photos_and_reasons(folder):
    options = {"crop": "landmarks", "parser": "landmarks", "margin": 1.2, "size": 64, "landmarks_file": folder / "points.csv"}
    run(folder, **options)
    assert not list(folder.glob("*.sheet.png"))
    (folder / "images" / "1.png").write_bytes(b"")
    Image.fromarray(np.zeros((200, 180, 3), np.uint8)).save(folder / "images" / "2.png")
    run(folder, "drawn", sheet=6, **options)
    assert reasons(folder / "drawn")["2.png"].startswith("nearly black")
    sheet = np.array(Image.open(folder / "drawn.sheet.png"))
    strip = 3 * 192 + 3 * 4
    assert sheet.shape == (2 * (192 + 14 + 4) + 4, 3 * strip + 4, 3)

    def colours(index: int) -> np.ndarray:
        row, column = divmod(index, 3)
        return sheet[row * 210 : row * 210 + 210, column * strip : column * strip + strip].reshape(-1, 3)

    def is_red(pixels: np.ndarray) -> np.ndarray:
        return (pixels[:, 0] > 200) & (pixels[:, 1:] < 100).all(1)

    assert (colours(0) == (255, 210, 0)).all(1).sum() > 300  # the crop
    assert (colours(0) == (0, 255, 90)).all(1).sum() > 68  # the points
    assert not (colours(1) == (255, 210, 0)).all(1).any()  # empty file
    assert is_red(colours(1)[-14 * strip :]).sum() > 20  # says why
    assert not (colours(5) == (0, 255, 90)).all(1).any()  # not in the file
    assert is_red(colours(2)[-14 * strip :]).sum() > 20
    assert {p.name for p in folder.iterdir()} == {"images", "points.csv", "set", "drawn", "drawn.sheet.png"}


def test_sheet_is_drawn_before_the_work_and_where_nothing_is_kept(folder, capsys):
    with pytest.raises(NothingToDoError):
        run(folder, "none", crop="celeba-aligned", sheet=4)
    assert (folder / "none.sheet.png").exists()
    assert f"{folder / 'none.sheet.png'}: 4 photos\n" in capsys.readouterr().out


@pytest.mark.parametrize(("crop", "parser"), [("landmarks", None), ("celeba-aligned", "landmarks")])
def test_landmarks_of_another_size_of_the_photo_are_no_face(folder, crop, parser):
    for i in range(6):
        Image.fromarray(noise(i, 218, 178)).save(folder / "images" / f"{i}.png")
    file = write_points(folder / "large.csv", {"0.png": upright_face(), "1.png": upright_face() + 400})
    run(folder, crop=crop, parser=parser, landmarks_file=file)
    assert read_keys(folder / "set" / "gt.lmdb") == ["0"]
    assert reasons(folder / "set")["1.png"].startswith("landmarks outside the crop: their middle is at ")


def test_fan_is_optional_and_run_as_its_authors_run_it(monkeypatch, tmp_path):
    import sys

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "face_alignment", None)
        with pytest.raises(WeightsError, match=r"pip install 'face-alignment>=[\d.]+'"):
            FanLandmarker(download=False)
    numba = pytest.importorskip("numba", reason="face-alignment is not installed (extra 'fan')")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # compiling takes longer than all else here
    face_alignment = pytest.importorskip("face_alignment", reason="face-alignment is not installed (extra 'fan')")
    import torch
    from face_alignment.models import FAN

    from wnet_arch.faces.detection import Detection

    for place in ("face_alignment.models.FAN", "face_alignment.api.FAN"):
        monkeypatch.setattr(place, lambda stacks: FAN(1))  # one of its four stacks, to be quick
    torch.manual_seed(0)
    file = tmp_path / "fan.pth"
    torch.save(FAN(1).state_dict(), file)
    monkeypatch.setattr("wnet_arch.weights.resolve", lambda name, **options: {FAN_WEIGHTS: file}[name])
    monkeypatch.setattr("face_alignment.api.load_file_from_url", lambda url: str(file))
    reference = face_alignment.FaceAlignment(
        face_alignment.LandmarksType.TWO_D, device="cpu", face_detector="folder", face_detector_kwargs={}, compile=False
    )
    reference.face_detector.__class__.reference_scale = property(lambda self: 195)
    rgb, box = noise(1, 200, 180), (40.0, 50.0, 140.0, 150.0)
    expected = reference.get_landmarks_from_image(rgb, detected_faces=[box])[0]
    found = FanLandmarker(download=False).landmarks(rgb, Detection(box, 1.0))
    assert found.shape == (68, 2)
    np.testing.assert_allclose(found, expected, atol=1e-3)
