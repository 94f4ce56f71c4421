"""Data sets by name: layouts, split lists, counts, and what ``wnet prepare`` makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import drawn_face
from tests.prepare.test_prepare import read
from wnet_arch.cli import wnet
from wnet_arch.data import photos
from wnet_arch.data.face_lmdb import read_keys, read_manifest
from wnet_arch.data.photos import Rejected
from wnet_arch.errors import DataError, NothingToDoError, UsageError
from wnet_arch.faces import labels
from wnet_arch.prepare import catalog
from wnet_arch.prepare.splits import NumberSplit, read_split

DATASETS = Path(__file__).parents[2] / "datasets"


def save(path: Path, seed: int, width: int = 178, height: int = 218) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn_face(seed, 256)[0]).resize((width, height)).save(path, quality=95)


def wnet_prepare(*words) -> int:
    return wnet._main(["prepare", *(str(word) for word in words), "--size", "32", "--workers", "1"])


def test_mode_one_is_the_split_of_dic():
    split = read_split("celeba_I")
    assert split.counts == {"train": 201_317, "val": 100, "test": 1_000}
    assert len(split.without) == 182
    test = [number for number in range(1, 202_600) if split.of(number) == "test"]
    assert (len(test), test[0], test[1], test[-1]) == (1000, 201_418, 201_421, 202_599)
    assert split.of(201_419) is None  # not among DIC's test photos
    assert split.of(202_591) is None
    assert [split.of(number) for number in (1, 201_317, 201_318, 201_417)] == ["train", "train", "val", "val"]
    assert split.of(0) is split.of(202_600) is None


def test_mode_two_and_the_official_partition():
    assert read_split("celeba_II").counts == {"train": 18_000, "test": 100, "val": 100}
    assert [read_split("celeba_II").of(n) for n in (18_000, 18_001, 18_100, 18_101, 18_200, 18_201)] == [
        "train", "test", "test", "val", "val", None
    ]  # fmt: skip
    official = read_split("celeba_official")
    assert official.counts == {"train": 162_770, "val": 19_867, "test": 19_962}
    assert sum(official.counts.values()) == 202_599


@pytest.mark.parametrize("name", ["celeba_I", "celeba_II", "celeba_official"])
def test_lists_in_datasets_are_those_of_the_package(name):
    assert (DATASETS / f"{name}.txt").read_text().strip()
    assert (DATASETS / f"{name}.txt").resolve() == (Path(catalog.__file__).parent / "splits" / f"{name}.txt").resolve()


@pytest.fixture
def celeba(tmp_path) -> Path:
    """Photos of the official layout on both sides of all borders of the splits."""
    borders = (1, 2, 17_999, 18_000, 18_001, 18_100, 18_101, 162_770, 162_771, 201_317, 201_318, 201_417, 201_418, 201_419, 202_599)
    for number in borders:
        save(tmp_path / "Img" / "img_align_celeba" / f"{number:06d}.jpg", number)
    save(tmp_path / "Img" / "img_align_celeba" / "thumbnail.jpg", 0)
    return tmp_path


def test_celeba_by_mode(celeba, tmp_path, capsys):
    expected = r"expected 201,317 train \+ 100 val \+ 1,000 test photos, found 10 train \+ 2 val \+ 2 test"
    with pytest.raises(DataError, match=expected):
        wnet_prepare("celeba", "--root", celeba, "--mode", "I", "--out", tmp_path / "set")
    assert not list(tmp_path.glob("set*"))
    assert wnet_prepare("celeba", "--root", celeba, "--mode", "I", "--out", tmp_path / "set", "--partial") == 0
    assert read_keys(tmp_path / "set" / "test" / "gt.lmdb") == ["201418", "202599"]
    assert read_keys(tmp_path / "set" / "val" / "lq_x8.lmdb") == ["201318", "201417"]
    assert len(read_keys(tmp_path / "set" / "train" / "gt.lmdb")) == 10
    manifest = read_manifest(tmp_path / "set" / "test")
    assert manifest["crop"] == {"rule": "celeba-aligned"}
    assert manifest["counts"] == {"train": 10, "val": 2, "test": 2}
    record = manifest["dataset"]
    assert (record["name"], record["mode"], record["partial"]) == ("celeba", "I", True)
    assert record["expected"]["train"] == 201_317
    assert record["found"] == {"train": 10, "val": 2, "test": 2}
    assert "OpenFace" in record["notes"][0]
    assert "note: DIC trained on 168,854 photos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("gone", "said"),
    [(("201318", "201417"), "to val: this set is not made"), (("201418", "202599"), "to test: this set is not made"),
     (("201318", "201417", "201418", "202599"), "to val or test: these sets are not made"), ((), "")],
)  # fmt: skip
def test_a_part_of_celeba_without_photos_of_a_split_says_what_will_be_missing(celeba, tmp_path, capsys, gone, said):
    for number in gone:
        (celeba / "Img" / "img_align_celeba" / f"{number}.jpg").unlink()
    assert wnet_prepare("celeba", "--root", celeba, "--mode", "I", "--partial", "--out", tmp_path / "set") == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: none of the photos belongs")]
    assert len(notes) == bool(said)
    assert all(said in note for note in notes)


def test_celeba_mode_two_uses_its_photos_only_and_shards_agree(celeba, tmp_path):
    words = ("celeba", "--root", celeba / "Img", "--mode", "II", "--partial", "--out")
    assert wnet_prepare(*words, tmp_path / "set") == 0
    assert read_keys(tmp_path / "set" / "train" / "gt.lmdb") == ["000001", "000002", "017999", "018000"]
    assert read_keys(tmp_path / "set" / "test" / "gt.lmdb") == ["018001", "018100"]
    for shard in ("1/2", "2/2"):
        assert wnet_prepare(*words, tmp_path / "parts", "--shard", shard) == 0
    assert wnet._main(["prepare", "merge", "--out", str(tmp_path / "parts")]) == 0
    for path in (p for p in (tmp_path / "set").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "parts" / path.relative_to(tmp_path / "set")).read_bytes()


def test_celeba_that_is_complete_needs_no_leave(celeba, tmp_path, monkeypatch):
    words = ("celeba", "--root", celeba, "--mode", "II", "--out", tmp_path / "set")
    counts = r"expected 18,000 train \+ 100 test \+ 100 val photos, found 4 train \+ 2 test \+ 1 val; complete"
    with pytest.raises(DataError, match=counts):
        wnet_prepare(*words)
    complete = NumberSplit({"train": (17_999, 18_000), "test": (18_100, 18_101)}, frozenset())
    monkeypatch.setattr(catalog, "read_split", lambda name: complete)
    assert wnet_prepare(*words) == 0
    assert read_manifest(tmp_path / "set")["dataset"]["partial"] is False


def test_celeba_in_the_wild_is_taken_for_other_crops(celeba):
    save(celeba / "Img" / "img_celeba" / "000001.jpg", 1, 300, 200)
    assert catalog.open_source("celeba", celeba, "I", "landmarks").images == celeba / "Img" / "img_celeba"
    assert catalog.open_source("celeba", celeba, "I", "celeba-aligned").images == celeba / "Img" / "img_align_celeba"
    assert catalog.open_source("celeba", celeba / "Img" / "img_align_celeba", "I", "landmarks").images.name == "img_align_celeba"


def test_celeba_without_photos_or_mode(tmp_path):
    with pytest.raises(UsageError, match="celeba needs --mode: I, II, official, all"):
        wnet_prepare("celeba", "--root", tmp_path, "--out", tmp_path / "set")
    with pytest.raises(DataError, match="holds neither Img/img_align_celeba nor photos"):
        wnet_prepare("celeba", "--root", tmp_path, "--mode", "I", "--out", tmp_path / "set")
    with pytest.raises(DataError, match="nowhere: No such file"):
        wnet_prepare("celeba", "--root", tmp_path / "nowhere", "--mode", "I", "--out", tmp_path / "set")
    (tmp_path / "img_align_celeba").mkdir()
    with pytest.raises(NothingToDoError, match="holds no photo"):
        wnet_prepare("celeba", "--root", tmp_path, "--mode", "I", "--out", tmp_path / "set")


@pytest.mark.parametrize("folder", ["img_align_celeba/img_align_celeba", "Img/img_align_celeba_png/img_align_celeba_png"])
def test_celeba_as_some_archives_unpack_it(tmp_path, folder):
    save(tmp_path / folder / "000001.jpg", 1, 178, 218)
    assert catalog.open_source("celeba", tmp_path, "all", "celeba-aligned").images == tmp_path / folder


@pytest.fixture
def helen(tmp_path) -> Path:
    for folder, names in (("trainset", ("10_1", "11_1", "11_1_mirror", "12_2")), ("testset", ("30_1", "31_1"))):
        for seed, name in enumerate(names):
            save(tmp_path / "helen" / folder / f"{name}.jpg", seed + len(folder) * 10, 80, 80)
            (tmp_path / "helen" / folder / f"{name}.pts").write_text("version: 1\n")
    return tmp_path


def test_helen_has_the_official_division(helen, tmp_path):
    with pytest.raises(DataError, match=r"expected 2,000 train \+ 330 test photos, found 3 train \+ 2 test"):
        wnet_prepare("helen", "--root", helen, "--crop", "none", "--out", tmp_path / "set")
    assert wnet_prepare("helen", "--root", helen, "--crop", "none", "--partial", "--out", tmp_path / "set") == 0
    assert read_keys(tmp_path / "set" / "train" / "gt.lmdb") == ["10_1", "11_1", "12_2"]
    assert read_keys(tmp_path / "set" / "test" / "gt.lmdb") == ["30_1", "31_1"]
    with pytest.raises(UsageError, match="--holdout: helen is split into train, test already"):
        wnet_prepare("helen", "--root", helen, "--crop", "none", "--holdout", 1, "--partial", "--out", tmp_path / "other")
    with pytest.raises(DataError, match="holds neither trainset nor testset"):
        wnet_prepare("helen", "--root", helen / "helen" / "trainset", "--crop", "none", "--out", tmp_path / "other")


def test_helen_can_be_divided_as_the_numbers_of_fsrnet_suggest(tmp_path):
    for name in ("10_1", "11_1"):
        save(tmp_path / "trainset" / f"{name}.jpg", int(name[:2]), 80, 80)
    for number in range(100, 152):
        save(tmp_path / "testset" / f"{number}_1.jpg", number, 80, 80)
    words = ("helen", "--root", tmp_path, "--mode", "last50", "--crop", "none", "--out", tmp_path / "set")
    with pytest.raises(DataError, match=r"expected 2,280 train \+ 50 test photos, found 4 train \+ 50 test"):
        wnet_prepare(*words)
    assert wnet_prepare(*words, "--partial") == 0
    assert read_keys(tmp_path / "set" / "train" / "gt.lmdb") == ["100_1", "101_1", "10_1", "11_1"]
    assert len(read_keys(tmp_path / "set" / "test" / "gt.lmdb")) == 50


def test_landmarks_of_a_data_set_are_used_unless_others_are_asked_for(helen, celeba):
    assert catalog.defaults("helen", helen, {}) == {"crop": "landmarks", "landmarks_file": helen / "helen"}
    assert catalog.defaults("helen", helen, {"crop": "none"})["landmarks_file"] is None
    assert catalog.defaults("helen", helen, {"detector": "mtcnn"}) == {"crop": "landmarks"}
    (celeba / "Anno").mkdir()
    five = celeba / "Anno" / "list_landmarks_align_celeba.txt"
    five.write_text("0\n\n")
    assert catalog.defaults("celeba", celeba, {}) == {"crop": "celeba-aligned", "landmarks_file": None}
    assert catalog.defaults("celeba", celeba, {"crop": "five-point"})["landmarks_file"] == five
    assert catalog.defaults("celeba", celeba, {"crop": "five-point", "landmarks": True})["landmarks_file"] is None
    assert catalog.defaults("celebamask", celeba, {}) == catalog.defaults("folder", celeba, {}) == {"landmarks_file": None}


def write_parts(root: Path, number: int, parts: dict[str, np.ndarray]) -> None:
    folder = root / "CelebAMask-HQ-mask-anno" / str(number // 2000)
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in parts.items():
        Image.fromarray(np.repeat((mask * 255).astype(np.uint8)[..., None], 3, 2)).save(folder / f"{number:05d}_{name}.png")


@pytest.fixture
def celebamask(tmp_path) -> Path:
    """Three photos of the official layout, 64x64, with masks of half their size; the masks of a face overlap."""
    for number in (0, 1999, 2000):
        save(tmp_path / "CelebA-HQ-img" / f"{number}.jpg", number, 64, 64)
        y, x = np.mgrid[:32, :32]
        skin, nose = x < 20 + number % 7, (x - 10) ** 2 + (y - 10) ** 2 < 30
        write_parts(tmp_path, number, {"skin": skin, "nose": nose, "hair": y < 8})
    return tmp_path


def test_masks_of_parts_are_joined_in_the_order_of_classes(celebamask, tmp_path):
    assert wnet_prepare("celebamask", "--root", celebamask, "--partial", "--out", tmp_path / "set") == 0
    assert read_keys(tmp_path / "set" / "gt.lmdb") == ["0", "1999", "2000"]
    y, x = np.mgrid[:32, :32]
    for number in (0, 1999, 2000):
        expected = np.zeros((32, 32), np.uint8)
        expected[x < 20 + number % 7] = labels.SKIN
        expected[(x - 10) ** 2 + (y - 10) ** 2 < 30] = labels.NOSE
        expected[y < 8] = labels.HAIR
        assert np.array_equal(read(tmp_path / "set", "parsing", str(number)), expected)
    manifest = read_manifest(tmp_path / "set")
    assert manifest["labels"]["files"] == 9
    assert manifest["parser"]["name"] == "labels"


def test_masks_that_do_not_fit_are_rejected(celebamask):
    folder = celebamask / "CelebAMask-HQ-mask-anno"
    assert photos.load_labels(folder, "0.jpg", 96, 96).shape == (96, 96)
    with pytest.raises(Rejected, match=r"label map.*masks of 32x32, the photo 80x64"):
        photos.load_labels(folder, "0.jpg", 64, 80)
    with pytest.raises(Rejected, match="no label map"):
        photos.load_labels(folder, "7.jpg", 64, 64)
    with pytest.raises(Rejected, match="no label map"):
        photos.load_labels(folder, "face.jpg", 64, 64)
    write_parts(celebamask, 0, {"cloth": np.ones((16, 16))})
    with pytest.raises(Rejected, match="masks of 32x32 and 16x16"):
        photos.load_labels(folder, "0.jpg", 64, 64)


def test_celebamask_of_one_map_a_photo_and_its_official_split(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    rows = ("        idx    orig_idx   orig_file", "0 119613 119614.jpg", "1 99094 182638.jpg", "2 200 162771.jpg")
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(rows) + "\n")
    for number in range(3):
        save(tmp_path / "images" / f"{number}.jpg", number, 64, 64)
        Image.fromarray(drawn_face(number, 64)[1]).save(tmp_path / "labels" / f"{number}.png")
    words = ("celebamask", "--root", tmp_path, "--partial", "--mode", "official", "--out", tmp_path / "set")
    assert wnet_prepare(*words) == 0
    assert [read_keys(tmp_path / "set" / split / "gt.lmdb") for split in ("train", "val", "test")] == [["0"], ["2"], ["1"]]
    for folder in ("images", "labels"):  # names of five digits, as in the archive of masks
        for path in list((tmp_path / folder).iterdir()):
            path.rename(path.with_stem(f"{int(path.stem):05d}"))
    assert wnet_prepare(*words, "--overwrite") == 0
    assert [read_keys(tmp_path / "set" / split / "gt.lmdb") for split in ("train", "val", "test")] == [
        ["00000"],
        ["00002"],
        ["00001"],
    ]
    (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("idx\nx y\n")
    with pytest.raises(DataError, match="not a list idx orig_idx file"):
        wnet_prepare(*words, "--overwrite")


def test_celebamask_without_maps(tmp_path):
    save(tmp_path / "images" / "0.jpg", 0, 64, 64)
    with pytest.raises(DataError, match="holds neither CelebAMask-HQ-mask-anno nor labels; --parser"):
        wnet_prepare("celebamask", "--root", tmp_path, "--partial", "--out", tmp_path / "set")


@pytest.mark.parametrize("name", catalog.NAMES)
def test_help_tells_all_about_a_data_set(name, capsys):
    with pytest.raises(SystemExit):
        wnet._main(["prepare", name, "--help"])
    shown = capsys.readouterr().out
    assert "--root DIR" in shown
    for word in ("From:", "Layout:", "Crop:") if name != catalog.FOLDER else ():
        assert word in shown
    assert "Raises" not in shown


def test_command_without_a_folder_or_with_a_wrong_name(tmp_path):
    with pytest.raises(UsageError, match="wnet prepare needs --root DIR"):
        wnet._main(["prepare", "--out", str(tmp_path / "set")])
    with pytest.raises(UsageError, match="wnet prepare needs --out SET"):
        wnet._main(["prepare", "helen", "--root", str(tmp_path)])
    with pytest.raises(UsageError, match="merge needs --out"):
        wnet._main(["prepare", "merge", "a"])
    with pytest.raises(UsageError, match="no data set 'lfw'; known are celeba"):
        catalog.check("lfw", None)
    with pytest.raises(UsageError, match="--mode III: celeba has I, II, official, all"):
        catalog.check("celeba", "III")
    with pytest.raises(UsageError, match="--mode I: helen has official, last50"):
        catalog.check("helen", "I")


def test_options_may_come_before_the_name(celeba, tmp_path):
    words = ["prepare", "--size", "32", "--out", str(tmp_path / "set"), "celeba", "--root", str(celeba), "--mode", "II"]
    assert wnet._main([*words, "--partial", "--workers", "1"]) == 0
    assert read_manifest(tmp_path / "set")["size"] == 32
