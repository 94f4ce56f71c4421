"""``wnet prepare``: exact images, every rejection, interruption, independence of the number of workers."""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import os
import pickle
import shutil
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.killing import BATCH, kill_and_look, needs_sigkill
from wnet_arch.cli import prepare as command
from wnet_arch.data.face_lmdb import LMDBReader, read_keys, read_manifest
from wnet_arch.errors import DataError, NothingToDoError, UsageError, WNetError
from wnet_arch.faces import labels
from wnet_arch.faces.landmarks import Face
from wnet_arch.prepare import catalog, face_maker
from wnet_arch.prepare.command import PrepareOptions, key_of, prepare


def noise(seed: int, height: int = 40, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def classes(seed: int, height: int = 40, width: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 19, (height, width), dtype=np.uint8)


def save_labels(array: np.ndarray, path: Path) -> None:
    image = Image.fromarray(array).convert("P")
    image.putdata(array.ravel().tolist())
    image.putpalette(np.random.default_rng(0).permutation(768).astype(np.uint8).tobytes())
    image.save(path)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Forty photos with label maps."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i in range(40):
        Image.fromarray(noise(i)).save(tmp_path / "images" / f"{i:03d}.png")
        save_labels(classes(i), tmp_path / "labels" / f"{i:03d}.png")
    return tmp_path


def run(folder: Path, out: str = "set", **options):
    settings = {"size": 32, "scales": (4, 8), "workers": 1, **options}
    return prepare(PrepareOptions(images=folder / "images", out=folder / out, **settings), progress=False)


def decode(reader: LMDBReader, key: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(reader.get(key), np.uint8), cv2.IMREAD_UNCHANGED)
    return image[..., ::-1] if image.ndim == 3 else image


def read(target: Path, kind: str, key: str) -> np.ndarray:
    return decode(LMDBReader(target / f"{kind}.lmdb"), key)


def content(target: Path) -> dict[str, str]:
    files = sorted(p for p in target.rglob("*") if p.is_file())
    return {str(p.relative_to(target)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def reasons(target: Path) -> dict[str, str]:
    return {r["file"]: f"{r['reason']}: {r['detail']}" for r in read_manifest(target)["rejected"]}


def promise(path: Path, width: int, height: int) -> None:
    """Makes the header of a PNG file name another size."""
    data = bytearray(path.read_bytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)


def test_images_equal_pillows_bit_for_bit(folder):
    run(folder, labels=folder / "labels")
    for i in (0, 39):
        gt = Image.fromarray(noise(i)).resize((32, 32), Image.Resampling.BICUBIC)
        assert np.array_equal(read(folder / "set", "gt", f"{i:03d}"), np.array(gt))
        for scale in (4, 8):
            lq = gt.resize((32 // scale, 32 // scale), Image.Resampling.BICUBIC)
            assert np.array_equal(read(folder / "set", f"lq_x{scale}", f"{i:03d}"), np.array(lq))
        parsing = Image.fromarray(classes(i)).resize((32, 32), Image.Resampling.NEAREST)
        assert np.array_equal(read(folder / "set", "parsing", f"{i:03d}"), np.array(parsing))


def test_photo_of_the_right_size_is_not_touched(folder):
    run(folder, size=40)
    assert np.array_equal(read(folder / "set", "gt", "005"), noise(5))
    assert (read(folder / "set", "parsing", "005") == labels.UNKNOWN).all()


def test_manifest_tells_how_the_set_was_made(folder):
    summary = run(folder, labels=folder / "labels", holdout=10)
    manifest = read_manifest(folder / "set" / "val")
    assert manifest["source"]["folder"] == "images"
    assert manifest["source"]["files"] == 40
    assert manifest["crop"] == {"rule": "none"}
    assert manifest["kernel"] == "PIL bicubic"
    assert manifest["parser"] == {"name": "labels", "sha256": None}
    assert (manifest["size"], manifest["scales"], manifest["count"]) == (32, [4, 8], 10)
    assert manifest["counts"] == {"train": 30, "val": 10}
    assert read_manifest(folder / "set")["count"] == 40
    assert summary.counts == {"train": 30, "val": 10}


def test_holdout_takes_the_last_names(folder):
    run(folder, holdout=10)
    assert read_keys(folder / "set" / "train" / "gt.lmdb") == [f"{i:03d}" for i in range(30)]
    assert read_keys(folder / "set" / "val" / "gt.lmdb") == [f"{i:03d}" for i in range(30, 40)]
    with pytest.raises(UsageError, match="leaves no face for training"):
        run(folder, "other", holdout=40)


def test_set_does_not_depend_on_the_number_of_workers(folder):
    Image.fromarray(noise(3)).save(folder / "images" / "038.png")  # a duplicate and a broken file among them
    (folder / "images" / "020.png").write_bytes(b"broken")
    run(folder, "one", labels=folder / "labels", holdout=7)
    run(folder, "two", labels=folder / "labels", holdout=7, workers=2)
    assert content(folder / "one") == content(folder / "two")


def test_work_can_be_sent_to_spawned_processes(folder):
    maker = face_maker.FaceMaker(folder / "images", folder / "labels", "none", 32, (4,))
    outcome, images = pickle.loads(pickle.dumps(maker)).make("000.png")
    assert outcome["side"] == 40
    assert sorted(images) == ["gt", "lq_x4", "parsing"]
    rejected = pickle.loads(pickle.dumps(face_maker.Rejected("no face", "at all")))
    assert (rejected.reason, rejected.detail) == ("no face", "at all")


def _prepare_killed(folder: Path) -> None:
    run(folder, "killed", labels=folder / "labels", holdout=5)


@needs_sigkill
def test_run_killed_three_times_continues_and_equals_an_unbroken_one(folder, monkeypatch):
    stored = kill_and_look(_prepare_killed, folder, folder / "killed", kills=3, seed=0)
    assert 3 <= len(stored) < 40
    monkeypatch.setattr("wnet_arch.prepare.face_lmdb_writer.BATCH", BATCH)
    worked_on = []
    make = face_maker.FaceMaker.make
    monkeypatch.setattr(face_maker.FaceMaker, "make", lambda self, name: worked_on.append(name) or make(self, name))
    run(folder, "killed", labels=folder / "labels", holdout=5)
    assert len(worked_on) == 40 - len(stored)
    assert not stored & set(worked_on)
    run(folder, "unbroken", labels=folder / "labels", holdout=5)
    assert content(folder / "killed") == content(folder / "unbroken")
    assert not (folder / "killed.partial").exists()


@pytest.mark.parametrize(("what", "moment"), [("rename", 0), ("rename", 1), ("rmtree", 0), ("rmtree", 1), ("rmtree", 2)])
def test_killed_while_it_replaces_a_set_the_same_command_ends_it(folder, monkeypatch, what, moment):
    """Until the new set has the name, the old one is whole."""
    run(folder)
    before = content(folder / "set")
    done, place, name = [], *((Path, "rename") if what == "rename" else (shutil, "rmtree"))
    real = getattr(place, name)

    def killed(path, *rest, **options):
        if str(path).startswith(str(folder)) and ".lmdb" not in str(path):
            done.append(path)
            if len(done) > moment:
                raise KeyboardInterrupt
        return real(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(place, name, killed)
        with pytest.raises(KeyboardInterrupt):
            run(folder, overwrite=True, size=40)
    old = folder / "set" if (folder / "set").exists() else folder / "set.partial" / "replaced"
    assert content(old) == before or read_manifest(folder / "set")["size"] == 40
    with contextlib.suppress(UsageError):  # it had its name already: there is nothing to go on with
        run(folder, size=40)
    run(folder, overwrite=True, size=40)
    assert read_manifest(folder / "set")["size"] == 40
    assert not (folder / "set.partial").exists()


def test_margins_and_boxes_that_nothing_uses_are_refused(folder):
    with pytest.raises(UsageError, match=r"--margin 3: --crop none has no margin"):
        run(folder, margin=3)
    with pytest.raises(UsageError, match=r"--min-box 500: no face is measured, as --crop none needs none"):
        run(folder, min_box=500)


def test_a_folder_of_maps_may_hold_one_called_0(folder):
    (folder / "labels" / "0").mkdir()
    assert run(folder, labels=folder / "labels").counts == {"": 40}


def test_a_link_to_a_folder_is_filled_where_it_leads(folder):
    (folder / "disk").mkdir()
    (folder / "set").symlink_to("disk")
    run(folder)
    assert (folder / "set").is_symlink()
    assert read_manifest(folder / "disk")["count"] == 40
    run(folder, overwrite=True, size=40)
    assert (read_manifest(folder / "set")["size"], sorted(path.name for path in folder.iterdir())) == (
        40,
        ["disk", "images", "labels", "set"],
    )


def test_changed_photos_or_options_do_not_continue_an_unfinished_set(folder, monkeypatch):
    monkeypatch.setattr("wnet_arch.prepare.face_lmdb_writer.FaceLMDBWriter.finish", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(folder)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="made with another holdout"):
        run(folder, holdout=3)
    Image.fromarray(noise(99)).save(folder / "images" / "extra.png")
    with pytest.raises(UsageError, match="made with another source"):
        run(folder)
    assert run(folder, overwrite=True).counts == {"": 41}


def test_every_rejection_is_recorded_with_its_reason(folder):
    images, maps = folder / "images", folder / "labels"
    (images / "000.png").write_bytes(b"")
    (images / "001.png").write_bytes((images / "001.png").read_bytes()[:1500])
    (images / "002.png").write_bytes(b"hello, this is text")
    Image.fromarray(noise(3, 40, 44)).save(images / "003.png")
    (maps / "004.png").unlink()
    save_labels(np.full((40, 40), 19, np.uint8), maps / "005.png")
    save_labels(classes(6, 30, 30), maps / "006.png")
    Image.fromarray(noise(7)).save(maps / "007.png")
    (maps / "008.png").write_bytes(b"x")
    promise(images / "009.png", 10_000, 9_000)
    Image.fromarray(noise(20)).save(images / "030.png")
    Image.fromarray(noise(21)).save(images / "021.bmp")
    summary = run(folder, labels=maps)
    assert reasons(folder / "set") == {
        "000.png": "empty file: ",
        "001.png": reasons(folder / "set")["001.png"],
        "002.png": "broken: not a picture that Pillow can read",
        "003.png": "not square: 44x40",
        "004.png": "no label map: 004.png",
        "005.png": "label map: value 19 is not a class (0..18, or 255 for unknown)",
        "006.png": "label map: is 30x30, the photo 40x40",
        "007.png": "label map: has mode RGB; one 8-bit channel of classes is wanted",
        "008.png": "label map: broken not a picture that Pillow can read",
        "009.png": "too large: 10000x9000",
        "021.png": "same name: as 021.bmp",
        "030.png": "duplicate: of 020.png",
    }
    assert reasons(folder / "set")["001.png"].startswith("broken: ")
    assert summary.counts == {"": 29}
    assert "rejected, label map: 4 (005.png, 006.png, ...)" in summary.lines(first=2)


def test_duplicates_never_land_on_both_sides(folder):
    for i in range(30, 40):
        Image.fromarray(noise(i - 30)).save(folder / "images" / f"{i:03d}.png")
    run(folder, holdout=5)
    assert read_keys(folder / "set" / "val" / "gt.lmdb") == [f"{i:03d}" for i in range(25, 30)]


def test_nothing_kept_is_nothing_to_do_and_leaves_nothing(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(NothingToDoError, match="holds no photo"):
        run(tmp_path)
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    with pytest.raises(NothingToDoError, match=r"rejected, empty file: 1 \(a\.jpg\)"):
        run(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["images"]


def test_missing_folders_are_named(folder):
    with pytest.raises(DataError, match="nowhere: No such file"):
        prepare(PrepareOptions(images=folder / "nowhere", out=folder / "set"), progress=False)
    with pytest.raises(DataError, match="no_maps: No such file"):
        run(folder, labels=folder / "no_maps")
    (folder / "file").write_text("")
    with pytest.raises(WNetError, match=r"cannot write .*file/set\.partial: Not a directory"):
        run(folder, "file/set")


def test_existing_target_is_refused(folder):
    run(folder)
    with pytest.raises(UsageError, match="set exists: give --overwrite"):
        run(folder)
    run(folder, overwrite=True, size=40)
    assert read_manifest(folder / "set")["size"] == 40


def test_photos_of_every_kind_become_upright_rgb(folder):
    images = folder / "images"
    for path in images.iterdir():
        path.unlink()
    grey = noise(0)[..., 0]
    Image.fromarray(grey).save(images / "grey.png")
    cv2.imwrite(str(images / "deep.png"), grey.astype(np.uint16) * 257)
    Image.fromarray(noise(1)).save(images / "turned.png", exif=_orientation(6))
    clear = np.dstack((noise(2), np.full((40, 40), 255, np.uint8)))
    clear[:20, :, 3] = 0
    Image.fromarray(clear).save(images / "clear.png")
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(images / "print.jpg", quality=95)
    Image.fromarray(noise(3)).quantize(8).save(images / "few.png")
    run(folder, size=40)
    target = folder / "set"
    for key in ("grey", "deep"):
        rejected = reasons(target)
        if f"{key}.png" not in rejected:  # the two have the same pixels: one is the other's duplicate
            assert np.array_equal(read(target, "gt", key), np.repeat(grey[..., None], 3, 2))
    assert reasons(target) == {"grey.png": "duplicate: of deep.png"}
    assert np.array_equal(read(target, "gt", "turned"), np.rot90(noise(1), -1))
    assert (read(target, "gt", "clear")[:20] == 255).all()
    assert np.array_equal(read(target, "gt", "clear")[20:], noise(2)[20:])
    red = read(target, "gt", "print").reshape(-1, 3).mean(0)
    assert red[0] > 200
    assert red[1:].max() < 60
    assert np.array_equal(read(target, "gt", "few"), np.array(Image.open(images / "few.png").convert("RGB")))


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def test_names_become_keys_that_basicsr_can_read(folder):
    assert key_of("a-b_1.jpg") == "a-b_1"
    assert key_of("v1.2 é.jpg") == "v1~2e~2~20~~e9~"
    os.rename(folder / "images" / "000.png", folder / "images" / "v1.2 é.png")
    run(folder)
    assert read_keys(folder / "set" / "gt.lmdb")[-1] == "v1~2e~2~20~~e9~"
    assert read(folder / "set", "gt", "v1~2e~2~20~~e9~").shape == (32, 32, 3)


def test_celeba_frame(folder):
    Image.fromarray(noise(50, 218, 178)).save(folder / "images" / "celeba.png")
    run(folder, crop="celeba-aligned", size=152)
    assert np.array_equal(read(folder / "set", "gt", "celeba"), noise(50, 218, 178)[40:192, 12:164])
    assert reasons(folder / "set")["000.png"] == "not 178x218: 40x40"


class FakeDetector:
    """Finds a face of 20x20 pixels at a place the photo's first pixel tells; none where it is black."""

    def __init__(self, **options):
        pass

    def find(self, photo, name=""):
        x = int(photo[0, 0, 0])
        corners = np.array([[x, 10], [x + 20, 30]], np.float32)
        points = np.concatenate((corners, np.tile(corners.mean(0, keepdims=True), (66, 1))))
        return Face((x, 10, x + 20, 30), points) if x else None


def test_landmark_crop_and_its_rejections(folder, monkeypatch):
    monkeypatch.setattr("wnet_arch.faces.landmarks.LandmarkDetector", FakeDetector)
    for i in range(40):
        (folder / "images" / f"{i:03d}.png").unlink()
    for name, x, height, width in (("ok", 30, 80, 90), ("none", 0, 80, 90), ("close", 5, 21, 21), ("edge", 60, 22, 90)):
        photo = noise(7, height, width)
        photo[0, 0, 0] = x
        Image.fromarray(photo).save(folder / "images" / f"{name}.png")
        if name == "ok":
            expected = photo[8:32, 28:52]
        if name == "edge":
            edge = photo
    run(folder, crop="landmarks", parser="landmarks", margin=1.2, min_box=20, size=24)
    target = folder / "set"
    assert reasons(target) == {
        "none.png": "no face: ",
        "close.png": "face too large: crop of 24 pixels from a photo of 21x21",
    }
    assert np.array_equal(read(target, "gt", "ok"), expected)
    padded = read(target, "gt", "edge")
    assert np.array_equal(padded[1:23], edge[:, 58:82])
    assert np.array_equal(padded[0], padded[1])
    parsing = read(target, "parsing", "edge")
    assert (parsing[0] == labels.UNKNOWN).all()
    assert (parsing[-1] == labels.UNKNOWN).all()
    manifest = read_manifest(target)
    assert manifest["crop"] == {"rule": "landmarks", "margin": 1.2, "min_face": 20}
    assert manifest["parser"] == {"name": "landmarks", "sha256": None}
    assert manifest["faces"]["landmarker"]["sha256"].startswith("fbdc2cb8")
    run(folder, "larger", crop="landmarks", margin=1.0, min_box=20, size=40)
    assert read_manifest(folder / "larger")["enlarged"] == 3
    with pytest.raises(NothingToDoError, match="face too small: 3"):
        run(folder, "small", crop="landmarks", min_box=21, size=40)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": 100}, "--size 100 cannot be reduced by --scales 4 8"),
        ({"scales": (4, 4)}, "cannot be reduced"),
        ({"labels": Path("x"), "parser": "landmarks"}, "exclude each other"),
        ({"workers": 0}, "--workers and --min-box 1 or more"),
        ({"workers": -1}, "--workers and --min-box 1 or more"),
        ({"margin": 0.5}, "--margin within 1..10"),
        ({"crop": "middle"}, "--crop middle: known are none"),
    ],
)
def test_options_that_do_not_go_together(options, said):
    with pytest.raises(UsageError, match=said):
        PrepareOptions(images=Path("a"), out=Path("b"), **options)


def test_a_photo_that_can_be_read_is_taken_before_its_raw_file(folder):
    for name in ("a.CR2", "b.HEIC", "c.dng"):
        (folder / "images" / name).write_bytes(b"camera")
        Image.fromarray(noise(ord(name[0]))).save(folder / "images" / f"{name[0]}.png")
    (folder / "images" / "000.ARW").write_bytes(b"camera")
    found = run(folder)
    assert found.counts == {"": 43}
    assert reasons(folder / "set")["000.ARW"] == "same name: as 000.png"
    assert sorted(reasons(folder / "set")) == ["000.ARW", "a.CR2", "b.HEIC", "c.dng"]


def test_a_holdout_of_all_photos_is_refused_before_the_work(folder, monkeypatch):
    monkeypatch.setattr(face_maker.FaceMaker, "make", None)
    with pytest.raises(UsageError, match="--holdout 40 leaves no face for training, of 40 photos"):
        run(folder, holdout=40)
    assert not (folder / "set.partial").exists()


def test_the_folder_we_are_in_becomes_the_set_if_it_is_empty(folder, monkeypatch):
    (folder / "here" / "inner").mkdir(parents=True)
    monkeypatch.chdir(folder / "here" / "inner")
    with pytest.raises(UsageError, match="exists and is not a face set"):  # it holds `inner`
        prepare(PrepareOptions(images=folder / "images", out=Path(".."), size=32), progress=False)
    prepare(PrepareOptions(images=folder / "images", out=Path("."), size=32), progress=False)
    assert len(read_keys(folder / "here" / "inner" / "gt.lmdb")) == 40


def test_a_mounted_disk_is_refused_before_the_work(folder, monkeypatch):
    (folder / "disk").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: os.fspath(path) == str(folder / "disk"))
    with pytest.raises(UsageError, match=r"disk is a mounted disk, which cannot be moved into place: name a folder in it"):
        run(folder, "disk")


class Halves(catalog.PhotoSource):
    """Photos 030 to 039 are for tests."""

    def __init__(self, *args):
        super().__init__(*args)
        self.splits = ("train", "test")

    def split_of(self, name: str) -> str:
        return "test" if name.startswith("03") else "train"


def test_a_split_of_which_nothing_is_kept_is_left_out_on_request_without_new_work(folder, monkeypatch):
    monkeypatch.setattr(catalog, "open_source", lambda name, root, mode, crop: Halves(root, mode, crop))
    for i in range(30, 40):
        (folder / "images" / f"{i:03d}.png").write_bytes(b"broken")
    with pytest.raises(UsageError, match="no photo for test could be used; --partial leaves it out"):
        run(folder)
    assert not (folder / "set").exists()
    monkeypatch.setattr(face_maker.FaceMaker, "make", None)
    assert run(folder, partial=True).counts == {"train": 30}
    assert len(read_keys(folder / "set" / "train" / "gt.lmdb")) == 30
    assert not (folder / "set" / "test").exists()


def test_a_set_without_maps_says_so(folder):
    assert (
        "note: all its parsing maps are unknown; networks that learn from maps need --parser compact, or --labels"
        in run(folder).lines()
    )
    assert not any("unknown" in line for line in run(folder, "mapped", labels=folder / "labels").lines())


def test_photos_of_which_none_is_square_need_a_crop(folder):
    images = folder / "images"
    for path in images.iterdir():
        path.unlink()
    for i in range(2):
        Image.new("RGB", (60, 50), (i, 0, 0)).save(images / f"{i}.png")
    with pytest.raises(NothingToDoError) as refused:
        run(folder)
    said = "note: give --crop five-point, which takes the face out of each photo"
    assert str(refused.value) == f"no photo could be used; rejected, not square: 2 (0.png, 1.png); {said}"
    (images / "2.png").write_bytes(b"")
    with pytest.raises(NothingToDoError) as refused:
        run(folder)
    assert "note" not in str(refused.value)  # a crop would not help that one


def test_command(folder, capsys):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    (folder / "images" / "000.png").write_bytes(b"")
    words = ["prepare", "--images", folder / "images", "--out", folder / "set", "--size", 40, "--scales", 4]
    args = parser.parse_args([str(word) for word in (*words, "--workers", 1, "--holdout", 4)])
    assert args.run(args) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        f"{folder / 'set' / 'train'}: 35 faces",
        f"{folder / 'set' / 'val'}: 4 faces",
        "rejected, empty file: 1 (000.png)",
        "note: all its parsing maps are unknown; networks that learn from maps need --parser compact, or --labels",
    ]
    assert "40/40" in shown.err


def test_a_sheet_among_the_photos_is_none_of_them(folder, monkeypatch):
    images = folder / "images"
    whole = run(folder, "whole", sheet=3)

    def once(out: Path):
        return prepare(PrepareOptions(images=images, out=out, size=32, scales=(4, 8), workers=1, sheet=3), progress=False)

    real, left = face_maker.FaceMaker.make, iter(range(10))
    with monkeypatch.context() as patch:
        patch.setattr(face_maker.FaceMaker, "make", lambda *a: real(*a) if next(left, None) is not None else _interrupt())
        with pytest.raises(KeyboardInterrupt):
            once(images / "set")
    assert (images / "set.sheet.png").is_file()
    assert once(images / "set").counts == whole.counts  # continues
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    once(Path("."))
    assert (folder / "here.sheet.png").is_file()


def _interrupt():
    raise KeyboardInterrupt


def test_photos_that_vanish_stop_the_run_and_are_not_recorded(folder, monkeypatch):
    whole = run(folder, "whole")
    images, away = folder / "images", folder / "away"
    real, left = face_maker.FaceMaker.make, iter(range(5))

    def make(self, name):
        if next(left, None) is None and images.exists():
            images.rename(away)
        return real(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(face_maker.FaceMaker, "make", make)
        with pytest.raises(WNetError, match="images is gone: the same command continues when"):
            run(folder)
    away.rename(images)
    again = run(folder)
    assert (again.counts, again.rejected) == (whole.counts, whole.rejected)


def test_a_disk_that_fails_stops_the_run_and_a_photo_without_rights_does_not(folder, monkeypatch):
    real = face_maker.load_photo

    def failing(number):
        def load(path):
            if path.name == "007.png":
                raise face_maker.Rejected("unreadable", os.strerror(number)) from OSError(number, os.strerror(number), str(path))
            return real(path)

        return load

    monkeypatch.setattr(face_maker, "load_photo", failing(errno.EIO))
    with pytest.raises(WNetError, match=r"cannot read .*007\.png: Input/output error; when that is mended, the same command"):
        run(folder)
    monkeypatch.setattr(face_maker, "load_photo", failing(errno.EACCES))
    assert [one["file"] for one in run(folder).rejected] == ["007.png"]


def test_a_share_that_keeps_open_files_does_not_spoil_a_finished_set(folder, monkeypatch):
    """As NFS does: what is open and deleted stays in its folder under another name, which cannot be removed, then."""
    real = shutil.rmtree

    def rmtree(path, *args, **options):
        if Path(path).name.endswith(".partial") or Path(path).name == "work":
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(path))
        return real(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("wnet_arch.prepare.face_lmdb_writer.shutil.rmtree", rmtree)
        run(folder)
    assert len(read_keys(folder / "set" / "gt.lmdb")) == 40
    run(folder, overwrite=True)
    assert not (folder / "set.partial").exists()
