"""``wnet prepare --shard`` and ``wnet prepare merge``: joined shards equal one run, file for file."""

from __future__ import annotations

import itertools
import json
import operator
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.killing import BATCH, kill_and_look, needs_sigkill, stored_photos
from tests.prepare.test_prepare import classes, content, folder, noise, reasons, run, save_labels  # noqa: F401 - folder is a fixture
from wnet_arch.cli import wnet
from wnet_arch.data.face_lmdb import read_keys, read_manifest
from wnet_arch.errors import DataError, NothingToDoError, UsageError
from wnet_arch.prepare import catalog, face_lmdb_writer
from wnet_arch.prepare.merge import merge
from wnet_arch.prepare.shards import Shard, find
from wnet_arch.processors import shared_processors

SMALL = ["--size", "32", "--workers", "1"]


@pytest.fixture
def mixed(folder) -> Path:  # noqa: F811
    """Forty photos with maps, among them broken ones, clashes of names, and twins, three of one kind, near and far apart."""
    images = folder / "images"
    (images / "007.png").write_bytes(b"broken")
    Image.fromarray(noise(9)).save(images / "009.bmp")
    for name, twin in (("002", 1), ("020", 1), ("038", 1), ("033", 32), ("aaa", 39)):
        Image.fromarray(noise(twin)).save(images / f"{name}.png")
        save_labels(classes(40), folder / "labels" / f"{name}.png")
    (folder / "labels" / "005.png").unlink()
    return folder


def in_shards(folder: Path, count: int, out: str = "parts", **options) -> Path:  # noqa: F811
    for index in range(count):
        run(folder, out, shard=Shard(index, count), **options)
    return folder / out


@pytest.mark.parametrize(("count", "holdout"), [(2, 0), (3, 6), (12, 3)])
def test_merged_shards_equal_one_run_file_for_file(mixed, count, holdout):
    options = {"labels": mixed / "labels", "holdout": holdout}
    whole = run(mixed, "whole", **options)
    parts = in_shards(mixed, count, **options)
    assert not parts.exists()
    merged = merge([parts], mixed / "merged")
    assert (merged.counts, merged.rejected) == (whole.counts, whole.rejected)
    assert content(mixed / "merged") == content(mixed / "whole")
    assert reasons(mixed / "merged")["038.png"] == "duplicate: of 001.png"


def test_shard_is_a_set_of_its_own(mixed):
    in_shards(mixed, 2, labels=mixed / "labels")
    keys = [set(read_keys(mixed / f"parts.shard-{i}-of-2" / "gt.lmdb")) for i in (0, 1)]
    assert keys[0]
    assert keys[1]
    assert not keys[0] & keys[1]
    manifest = read_manifest(mixed / "parts.shard-1-of-2")
    assert manifest["shard"] == {"index": 1, "count": 2}
    assert manifest["count"] == len(keys[1])


def test_photos_are_spread_evenly_whatever_their_names():
    for names in ([f"{i:06d}" for i in range(6000)], [f"face_{i * i}" for i in range(6000)]):
        sizes = [sum(Shard(i, 6).holds(name) for name in names) for i in range(6)]
        assert sum(sizes) == 6000
        assert min(sizes) > 900


def test_number_of_a_shard():
    assert Shard.parse("0/4") == Shard.parse("4/4") == (0, 4)
    assert Shard.parse("3/4") == (3, 4)
    assert str(Shard(3, 4)) == "3/4"
    for text in ("5/4", "0/0", "-1/4", "a/b", "1", "", "1/4/2"):
        with pytest.raises(UsageError, match=r"--shard .*give I/N"):
            Shard.parse(text)


def test_ranks_of_torchrun_take_their_shards(mixed, monkeypatch, capsys):
    monkeypatch.delenv("RANK", raising=False)
    assert Shard.parse(None) is None
    with pytest.raises(UsageError, match="RANK and WORLD_SIZE are not set"):
        Shard.parse("auto")
    words = ["prepare", "--root", str(mixed / "images"), "--out", str(mixed / "parts"), *SMALL]
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert wnet._main(words) == 0
    assert f"shard 1/2: writes {mixed / 'parts.shard-1-of-2'}" in capsys.readouterr().out
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("RANK", "0")
    assert wnet._main([*words[:3], "--out", str(mixed / "whole"), *SMALL]) == 0
    assert wnet._main(["prepare", "merge", "--out", str(mixed / "parts")]) == 0
    assert content(mixed / "parts") == content(mixed / "whole")


def test_ranks_share_the_processors(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert shared_processors() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert shared_processors() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "x")
    assert shared_processors() == 8
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert shared_processors() == 8


def _prepare_shard(folder: Path) -> None:  # noqa: F811
    run(folder, "parts", shard=Shard(1, 2))


@needs_sigkill
def test_killed_shard_continues(mixed, monkeypatch):
    target = mixed / "parts.shard-1-of-2"
    kill_and_look(_prepare_shard, mixed, target, kills=1, seed=2)
    monkeypatch.setattr("wnet_arch.prepare.face_lmdb_writer.BATCH", BATCH)
    in_shards(mixed, 2)
    merge([mixed / "parts"], mixed / "merged")
    run(mixed, "whole")
    assert content(mixed / "merged") == content(mixed / "whole")


def interrupted(step: str, call: int):
    """The function of the writer, ended as by Ctrl-C when it is called for that time."""
    original, calls = operator.attrgetter(step)(face_lmdb_writer), itertools.count(1)

    def function(*args, **options):
        if next(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    return function


def test_interrupted_merge_continues(mixed, monkeypatch):
    run(mixed, "whole", holdout=4)
    in_shards(mixed, 3, holdout=4)
    for step, call in (("PhotoIndex.add", 1), ("read_items", 4), ("write_meta_info", 5), ("_sync", 1)):
        monkeypatch.setattr(f"wnet_arch.prepare.face_lmdb_writer.{step}", interrupted(step, call))
        with pytest.raises(KeyboardInterrupt):
            merge([mixed / "parts"], mixed / "merged")
        assert not (mixed / "merged").exists()
        monkeypatch.undo()
    assert stored_photos(mixed / "merged")
    merge([mixed / "parts"], mixed / "merged")
    assert content(mixed / "merged") == content(mixed / "whole")
    assert (mixed / "parts.shard-0-of-3").is_dir()


def test_what_cannot_be_joined_is_named(mixed):
    parts = in_shards(mixed, 3)
    run(mixed, "whole")
    with pytest.raises(UsageError, match="whole is a whole set, not a shard"):
        merge([mixed / "whole"], mixed / "merged")
    with pytest.raises(UsageError, match=r"no shard .*elsewhere"):
        merge([mixed / "elsewhere"], mixed / "merged")
    shutil.copytree(f"{parts}.shard-2-of-3", mixed / "copy")
    with pytest.raises(UsageError, match=r"copy and .*shard-2-of-3 are the same shard, 2/3"):
        merge([parts, mixed / "copy"], mixed / "merged")
    run(mixed, "other", shard=Shard(1, 4))
    with pytest.raises(UsageError, match=r"one of 4 shards, .* one of 3"):
        merge([parts, mixed / "other"], mixed / "merged")
    run(mixed, "parts", shard=Shard(1, 3), overwrite=True, size=40)
    with pytest.raises(UsageError, match="was made with another size than"):
        merge([parts], mixed / "merged")
    shutil.rmtree(f"{parts}.shard-1-of-3")
    with pytest.raises(UsageError, match="1 of 3 shards missing: 1/3"):
        merge([parts], mixed / "merged")
    run(mixed, "parts", shard=Shard(1, 3))
    shutil.rmtree(f"{parts}.shard-0-of-3/outcomes")
    with pytest.raises(DataError, match="lost its table of photos"):
        merge([parts], mixed / "merged")
    assert not (mixed / "merged").exists()


def test_damaged_shard_is_named(mixed):
    parts = in_shards(mixed, 2)
    shutil.rmtree(f"{parts}.shard-0-of-2/gt.lmdb")
    with pytest.raises(DataError, match="is missing where it was stored"):
        merge([parts], mixed / "merged")
    assert not (mixed / "merged").exists()


@pytest.mark.parametrize("length", [0, 4096, 8192, 40_000])
def test_a_shard_whose_table_was_cut_off_on_the_way_is_named(mixed, length):
    in_shards(mixed, 2)
    table = mixed / "parts.shard-0-of-2" / "outcomes" / "data.mdb"
    whole = table.read_bytes()
    table.write_bytes(whole[: min(length, len(whole) - 4096)])
    with pytest.raises(DataError, match=r"the shard .*parts\.shard-0-of-2 has lost its table of photos .* copy it again"):
        merge([mixed / "parts"], mixed / "merged")
    table.write_bytes(whole)
    assert merge([mixed / "parts"], mixed / "merged").counts == run(mixed, "whole").counts


@pytest.mark.parametrize("moved", ["outcomes", "manifest.json"])
def test_a_table_of_another_shard_is_named(mixed, moved):
    """Two copies that went into one another: every image is there, and the count and the sum are another shard's."""
    in_shards(mixed, 2)
    first, second = (mixed / f"parts.shard-{index}-of-2" for index in range(2))
    if moved == "outcomes":
        shutil.rmtree(first / moved)
        shutil.copytree(second / moved, first / moved)
    else:
        manifest = json.loads((first / moved).read_text())
        (first / moved).write_text(json.dumps({**manifest, "count": manifest["count"] + 1}))
    with pytest.raises(DataError, match=r"in the shard .*parts\.shard-0-of-2 is of other photos than its manifest"):
        merge([mixed / "parts"], mixed / "merged")
    assert not (mixed / "merged").exists()


def test_shards_are_not_merged_into_one_of_them(mixed):
    in_shards(mixed, 2)
    with pytest.raises(UsageError, match="is one of the shards, which stay as they are"):
        merge([mixed / "parts"], mixed / "parts.shard-0-of-2", overwrite=True)
    assert read_manifest(mixed / "parts.shard-0-of-2")["shard"] == {"index": 0, "count": 2}


def test_a_finished_shard_gets_its_name_under_the_lock(mixed, monkeypatch):
    """Another run of the same command would take it for its own, and finish it first."""
    original = face_lmdb_writer._sync

    def sync(path: Path) -> None:
        child = "import sys; from wnet_arch.cli.wnet import main; main()"
        words = ["prepare", "--images", str(mixed / "images"), "--out", str(mixed / "parts"), "--shard", "0/2", *SMALL]
        second = subprocess.run([sys.executable, "-c", child, *words], capture_output=True, text=True)
        assert "another process is writing" in second.stderr
        original(path)

    monkeypatch.setattr(face_lmdb_writer, "_sync", sync)
    run(mixed, "parts", shard=Shard(0, 2))
    assert (mixed / "parts.shard-0-of-2" / "outcomes").is_dir()
    assert not (mixed / "parts.shard-0-of-2.partial").exists()


@pytest.mark.parametrize(
    "changed", [{"shard": "x"}, {"source": "x"}, {"source": ...}, {"photos_sha256": ...}, {"photos_sha256": None}, {"count": "3"}]
)
def test_a_damaged_manifest_of_a_shard_is_named(mixed, changed):
    parts = in_shards(mixed, 2)
    path = Path(f"{parts}.shard-1-of-2") / "manifest.json"
    known = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({key: value for key, value in known.items() if value is not ...}))
    with pytest.raises(DataError, match=r"shard-1-of-2 has a damaged manifest: prepare this shard again"):
        merge([parts], mixed / "merged")
    assert not (mixed / "merged").exists()


def test_shards_without_any_face(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(3):
        (tmp_path / "images" / f"{i}.png").write_bytes(b"broken")
    parts = in_shards(tmp_path, 2)
    with pytest.raises(NothingToDoError, match=r"rejected, broken: 3 \(0\.png, 1\.png, 2\.png\)"):
        merge([parts], tmp_path / "merged")


def test_names_of_shards(tmp_path):
    for name in ("a.shard-0-of-2", "a.shard-1-of-2", "a.shard-x", "b"):
        (tmp_path / name).mkdir()
    first, second = tmp_path / "a.shard-0-of-2", tmp_path / "a.shard-1-of-2"
    assert find([tmp_path / "a"]) == [first, second]
    assert find([second, tmp_path / "a", tmp_path / "b"]) == [second, first, tmp_path / "b"]


def test_table_of_photos_keeps_the_first_twin(tmp_path):
    from wnet_arch.prepare.photo_index import PhotoIndex

    table = PhotoIndex(tmp_path / "table")
    digest = "ab" * 32
    table.add({"file": f"{i:04d}é.png", "key": f"k{i:04d}", "digest": digest} for i in range(9000))  # more than the first map
    table.add([{"file": "x.png", "reason": "broken", "detail": ""}])
    assert table.first_with(digest) == "0000é.png"
    assert len(table) == 9001
    assert table.nth_last_key(1) == "k8999"
    assert table.nth_last_key(9000) == "k0000"
    assert table.nth_last_key(9001) == ""
    assert "x.png" in table
    assert "y.png" not in table
    (tmp_path / "copy").mkdir()
    table.copy(tmp_path / "copy")
    table.close()
    again = PhotoIndex(tmp_path / "copy", readonly=True)
    assert [outcome["key"] for outcome in again.kept()] == [f"k{i:04d}" for i in range(9000)]
    assert [outcome["file"] for outcome in again.rejected()] == ["x.png"]
    again.close()


def test_a_process_counts_the_processors_that_it_may_use(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5, 7, 9})
    assert shared_processors() == 4


def test_shards_of_a_part_of_a_data_set_are_merged_as_one_run_makes_it(tmp_path, monkeypatch):
    """As many photos as there should be, and none of one split can be used."""
    real = catalog.Helen.__init__

    def small(self, *args):
        real(self, *args)
        self.expected = {"train": 6, "test": 1}

    monkeypatch.setattr(catalog.Helen, "__init__", small)
    for name in ("trainset", "testset"):
        (tmp_path / "helen" / name).mkdir(parents=True)
    for index in range(6):
        Image.fromarray(noise(index)).save(tmp_path / "helen" / "trainset" / f"{index}_1.jpg")
    (tmp_path / "helen" / "testset" / "9_1.jpg").write_bytes(b"broken")
    words = ["prepare", "helen", "--root", str(tmp_path / "helen"), "--crop", "none", "--partial", *SMALL]
    assert wnet._main([*words, "--out", str(tmp_path / "whole")]) == 0
    for index in range(2):
        assert wnet._main([*words, "--out", str(tmp_path / "parts"), "--shard", f"{index}/2"]) == 0
    with pytest.raises(UsageError, match="no photo for test could be used; --partial leaves it out"):
        wnet._main(["prepare", "merge", "--out", str(tmp_path / "parts")])
    assert wnet._main(["prepare", "merge", "--out", str(tmp_path / "parts"), "--partial"]) == 0
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
