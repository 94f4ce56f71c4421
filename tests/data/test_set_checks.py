"""Sets that are not whole, or not one set, are refused when they are opened, by every command, in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from tests.cli.test_train_command import run_options, write_options
from tests.conftest import PATIENCE
from wnet_arch import options
from wnet_arch.data.face_lmdb import GrowingLMDB, LMDBReader, encode_png, write_meta_info
from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset
from wnet_arch.errors import DataError
from wnet_arch.inference.test_sets import open_set


@pytest.fixture
def copied(face_set, tmp_path):
    return shutil.copytree(face_set, tmp_path / "set")


def keep(path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share) // 4096 * 4096])


def change_manifest(root, **changes) -> None:
    manifest = {**json.loads((root / "manifest.json").read_text()), **changes}
    (root / "manifest.json").write_text(json.dumps({key: value for key, value in manifest.items() if value is not None}))


def rewrite(store, change, shape) -> None:
    """Writes an LMDB anew with its values changed: ``change(number, keys, reader) -> bytes``."""
    reader = LMDBReader(store)
    items = [(key, change(number, reader.keys, reader)) for number, key in enumerate(reader.keys)]
    del reader
    shutil.rmtree(store)
    new = GrowingLMDB(store)
    new.write(items)
    new.close()
    write_meta_info(store, [key for key, _ in items], *shape)


def shifted(number, keys, reader):
    return reader.get(keys[(number + 1) % len(keys)])


def as_rgb(number, keys, reader):
    grey = cv2.imdecode(np.frombuffer(reader.get(keys[number]), np.uint8), cv2.IMREAD_UNCHANGED)
    return encode_png(np.stack([grey * 7 % 251, grey, grey], -1).astype(np.uint8))


def swap_lines(meta) -> None:
    first, second, *others = meta.read_text().splitlines(keepends=True)
    meta.write_text("".join([second, first, *others]))


def double_line(meta) -> None:
    lines = meta.read_text().splitlines(keepends=True)
    meta.write_text("".join([lines[0], *lines[:-1]]))


DAMAGES = {
    "cut in half": (lambda s: keep(s / "gt.lmdb" / "data.mdb", 0.5), "gt.lmdb/data.mdb is cut off"),
    "the last page is gone": (lambda s: keep(s / "gt.lmdb" / "data.mdb", 0.999), "gt.lmdb/data.mdb is cut off"),
    "headers alone": (lambda s: keep(s / "gt.lmdb" / "data.mdb", 0.14), "gt.lmdb/data.mdb is cut off"),
    "empty": (lambda s: (s / "gt.lmdb" / "data.mdb").write_bytes(b""), "gt.lmdb/data.mdb is empty"),
    "missing data": (lambda s: (s / "parsing.lmdb" / "data.mdb").unlink(), "parsing.lmdb has no data.mdb"),
    "missing LMDB": (lambda s: shutil.rmtree(s / "lq_x8.lmdb"), "has no lq_x8.lmdb"),
    "not an LMDB": (lambda s: (s / "gt.lmdb" / "data.mdb").write_bytes(b"x" * 9000), "cannot be opened"),
    "x4 under the name of x8": (
        lambda s: [shutil.rmtree(s / "lq_x8.lmdb"), shutil.copytree(s / "lq_x4.lmdb", s / "lq_x8.lmdb")], "is not of shape (8,8,3)",
    ),
    "data of x4 with the list of x8": (
        lambda s: shutil.copy(s / "lq_x4.lmdb" / "data.mdb", s / "lq_x8.lmdb" / "data.mdb"), "is 16x16, not 8x8 as x8",
    ),
    "LR faces of others": (lambda s: rewrite(s / "lq_x8.lmdb", shifted, (8, 8, 3)), "is not the reduced image"),
    "maps in colour": (lambda s: rewrite(s / "parsing.lmdb", as_rgb, (64, 64, 1)), "parsing.lmdb: face000"),
    "maps said to be colour": (
        lambda s: (s / "parsing.lmdb" / "meta_info.txt").write_text(
            (s / "parsing.lmdb" / "meta_info.txt").read_text().replace(",1)", ",3)")
        ),
        "is not of shape (64,64,1)",
    ),
    "names in another order": (lambda s: swap_lines(s / "lq_x8.lmdb" / "meta_info.txt"), "names its images in another order"),
    "a name twice": (lambda s: double_line(s / "gt.lmdb" / "meta_info.txt"), "more than once"),
    "another number": (lambda s: change_manifest(s, count=3), "manifest.json 3"),
    "no scales": (lambda s: change_manifest(s, scales=None), "names no scales or no size"),
    "scales of text": (lambda s: change_manifest(s, scales="48"), "names no scales or no size"),
    "another size": (lambda s: change_manifest(s, size=128), "is not of shape (128,128,3)"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_not_one_whole_set_is_refused_when_it_is_opened(copied, name):
    damage, said = DAMAGES[name]
    damage(copied)
    opt = run_options(copied)
    found = options.list_everything(opt, is_train=True)
    assert {line.partition(":")[0] for line in found} == {"datasets.train", "datasets.val"}
    assert all(said in line and "\n" not in line for line in found)
    for opened in (
        lambda: PairedFaceParsingDataset({"dataroot": str(copied), "scale": 8, "phase": "val"}),
        lambda: open_set(str(copied), "set", [8]),
    ):
        with pytest.raises(DataError) as error:
            opened()
        assert said in str(error.value)


def test_whole_sets_pass(face_set):
    assert options.list_everything(run_options(face_set), is_train=True) == []
    assert len(open_set(str(face_set), "set", [4, 8]).keys) == len(LMDBReader(face_set / "gt.lmdb"))


@pytest.mark.parametrize("command", [["-m", "wnet_arch.cli.wnet", "validate"], ["-m", "wnet_arch.cli.basicsr", "train", "-opt"]])
@pytest.mark.parametrize("framework", [False, True])
def test_a_cut_file_ends_in_a_line_and_not_in_a_bus_error(copied, tmp_path, command, framework):
    opt = run_options(copied)
    if framework:
        opt["datasets"]["val"] = {
            "name": "pairs", "type": "PairedImageDataset", "dataroot_gt": f"{copied}/gt.lmdb",
            "dataroot_lq": f"{copied}/lq_x8.lmdb", "io_backend": {"type": "lmdb"},
        }  # fmt: skip
        opt["datasets"]["train"]["num_worker_per_gpu"] = 1
    keep(copied / "gt.lmdb" / "data.mdb", 0.5)
    command = [sys.executable, *command, write_options(tmp_path / "a.yml", opt)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE)
    assert run.returncode == 2, run.stderr
    lines = [line for line in run.stderr.splitlines() if "error" in line or "datasets." in line]
    assert lines
    assert all("gt.lmdb/data.mdb is cut off" in line for line in lines)


def test_the_folder_around_the_splits_names_them(face_set, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(face_set, tmp_path / "set" / split)
    shutil.copy(face_set / "manifest.json", tmp_path / "set")
    change_manifest(tmp_path / "set", counts={"train": 6, "val": 6})
    with pytest.raises(DataError, match=rf"set holds the sets train and val: name {tmp_path}/set/train$"):
        PairedFaceParsingDataset({"name": "a", "phase": "val", "scale": 8, "dataroot": str(tmp_path / "set")})
