"""A set is found by either of its names, and one that is not there is said with the command that makes it."""

import logging

import pytest

from tests.conftest import write_set
from wnet_arch import options
from wnet_arch.data import PairedFaceParsingDataset
from wnet_arch.data.set_paths import find_set
from wnet_arch.errors import DataError
from wnet_arch.inference.test_sets import open_set


@pytest.mark.parametrize(("there", "asked"), [("faces/train", "faces_train"), ("faces_val", "faces/val"), ("a_b_test", "a_b/test")])
def test_either_name_finds_the_other_with_a_note(tmp_path, caplog, there, asked):
    (tmp_path / there).parent.mkdir(exist_ok=True)
    write_set(tmp_path / there, 2)
    with caplog.at_level(logging.WARNING):
        assert find_set(tmp_path / asked) == str(tmp_path / there)
        assert find_set(tmp_path / asked) == str(tmp_path / there)
    assert [record.getMessage() for record in caplog.records] == [
        f"note: there is no folder {tmp_path / asked}; the set {tmp_path / there} is read in its place"
    ]
    block = {"dataroot": str(tmp_path / asked), "phase": "val", "scale": 8, "name": "x", "type": "PairedFaceParsingDataset"}
    assert len(PairedFaceParsingDataset(block)) == 2
    assert len(open_set(str(tmp_path / asked), "x", [8]).keys) == 2


def test_what_was_named_wins(tmp_path, caplog):
    for name in ("faces/train", "faces_train"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_set(tmp_path / name, 2)
        assert find_set(tmp_path / name) == str(tmp_path / name)
    assert not caplog.records


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("datasets/celeba/train", "wnet prepare celeba --root CelebA --mode I --parser compact --out datasets/celeba"),
        ("datasets/celeba_II/val", "wnet prepare celeba --root CelebA --mode II --parser compact --out datasets/celeba_II"),
        ("datasets/helen/test", "wnet prepare helen --root helen --parser compact --out datasets/helen"),
        ("datasets/helen50/test", "wnet prepare helen --root helen --mode last50 --parser compact --out datasets/helen50"),
        ("elsewhere/mine", "wnet prepare --root PHOTOS --crop five-point --parser compact --out elsewhere/mine"),
        ("mine/train", "wnet prepare --root PHOTOS --crop five-point --parser compact --holdout N --out mine"),
        ("train", "wnet prepare"),
    ],
)
def test_a_missing_set_is_said_with_the_command_that_makes_it(tmp_path, monkeypatch, path, command):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"there is no folder {path}; `{command}.*` makes it"):
        find_set(path)


def test_a_mere_folder_of_that_name_is_not_taken_for_a_set(tmp_path):
    (tmp_path / "faces_train").mkdir()
    with pytest.raises(DataError, match="there is no folder"):
        find_set(tmp_path / "faces" / "train")


def test_every_packaged_file_names_sets_that_a_printed_command_makes(tmp_path, monkeypatch):
    """The option files, the commands of messages and the pages agree on where sets lie."""
    monkeypatch.chdir(tmp_path)
    for name, file in options.packaged.files().items():
        for block in options.load(str(file))["datasets"].values():
            if block["dataroot"].startswith("demo/"):
                continue
            with pytest.raises(DataError, match=r"wnet prepare celeba .*--out datasets/celeba(_II)?`"):
                find_set(block["dataroot"])
            mode = "II" if name.startswith("ablation/") else "I"
            assert block["dataroot"].startswith("datasets/celeba_II/" if mode == "II" else "datasets/celeba/")
