"""Face sets on disk: writing, growing, continuing, reading, BasicSR's own reader."""

from __future__ import annotations

import multiprocessing
import operator
import os
import pickle
import sys

import lmdb
import numpy as np
import pytest

from tests.conftest import write_set
from tests.killing import stored_photos
from wnet_arch.data.face_lmdb import GrowingLMDB, LMDBReader, encode_png, read_keys, read_manifest, write_meta_info
from wnet_arch.errors import DataError, UsageError, WNetError
from wnet_arch.prepare import face_lmdb_writer
from wnet_arch.prepare.face_lmdb_writer import FaceLMDBWriter

SHAPES = {"gt": (8, 8, 3), "lq_x4": (2, 2, 3)}


def images(value: int) -> dict[str, bytes]:
    return {name: encode_png(np.full(shape, value, np.uint8)) for name, shape in SHAPES.items()}


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("wnet_arch.prepare.face_lmdb_writer.BATCH", 3)


def fill(target, count=10, stop=None, settings=None, **options):
    """Writes a set of ``count`` photos, those of earlier runs left out; stops without an end after ``stop``."""
    with FaceLMDBWriter(target, settings or {"size": 8}, SHAPES, **options) as writer:
        for index in range(count):
            if index == stop:
                return writer
            if f"{index}.jpg" not in writer.done:
                writer.add({"file": f"{index}.jpg", "key": f"k{index}"}, images=images(index))
        writer.finish({"": {"count": count}})
    return writer


def content(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_written_set_is_read_back(tmp_path):
    fill(tmp_path / "set")
    reader = LMDBReader(tmp_path / "set" / "gt.lmdb")
    assert reader.keys == [f"k{i}" for i in range(10)]
    assert len(reader) == 10
    assert reader.get("k7") == images(7)["gt"]
    assert read_manifest(tmp_path / "set")["count"] == 10
    first = (tmp_path / "set" / "lq_x4.lmdb" / "meta_info.txt").read_text().splitlines()[0]
    assert first == "k0.png (2,2,3) 1"
    assert not (tmp_path / "set.partial").exists()


@pytest.mark.parametrize("stop", [1, 3, 5, 9])
def test_continued_set_equals_unbroken_one_file_for_file(tmp_path, stop):
    fill(tmp_path / "unbroken")
    fill(tmp_path / "set", stop=stop)
    assert not (tmp_path / "set").exists()
    fill(tmp_path / "set")
    assert content(tmp_path / "set") == content(tmp_path / "unbroken")


def test_stored_photos_are_not_asked_for_again(tmp_path):
    fill(tmp_path / "set", stop=8)
    with FaceLMDBWriter(tmp_path / "set", {"size": 8}, SHAPES) as writer:
        assert [outcome["file"] for outcome in writer.done.kept()] == [f"{i}.jpg" for i in range(6)]  # two batches of three


def test_half_written_batch_is_done_again(tmp_path):
    """As after a kill between the commits of two LMDBs."""
    fill(tmp_path / "unbroken")
    fill(tmp_path / "set", stop=7)
    store = GrowingLMDB(tmp_path / "set.partial" / "work" / "gt.lmdb")
    store.write((f"k{i}", images(i)["gt"]) for i in (6, 7, 8))
    store.close()
    fill(tmp_path / "set")
    assert content(tmp_path / "set") == content(tmp_path / "unbroken")


@pytest.mark.parametrize(
    ("step", "call"), [("read_items", 1), ("read_items", 2), ("write_meta_info", 1), ("write_meta_info", 2), ("_sync", 1)]
    + [("shutil.rmtree", call) for call in (1, 2, 3, 4)]
)  # fmt: skip
def test_end_can_be_interrupted_anywhere(tmp_path, monkeypatch, step, call):
    """As after a kill while the finished LMDBs are written, or while what they were made from is removed."""
    fill(tmp_path / "unbroken")
    calls, module = [], "wnet_arch.prepare.face_lmdb_writer"
    original = operator.attrgetter(step)(face_lmdb_writer)

    def interrupt(*args, **options):
        calls.append(step)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(f"{module}.{step}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "set")
    assert not (tmp_path / "set").exists()
    monkeypatch.undo()
    monkeypatch.setattr(f"{module}.BATCH", 3)
    fill(tmp_path / "set", overwrite=True)
    assert content(tmp_path / "set") == content(tmp_path / "unbroken")
    assert not (tmp_path / "set.partial").exists()


def test_other_settings_are_refused_by_name_and_dropped_on_request(tmp_path):
    fill(tmp_path / "set", stop=8)
    with pytest.raises(UsageError, match=r"set\.partial is an unfinished set made with another size"):
        fill(tmp_path / "set", settings={"size": 16})
    fill(tmp_path / "set", count=2, settings={"size": 16}, overwrite=True)
    assert read_keys(tmp_path / "set" / "gt.lmdb") == ["k0", "k1"]


def test_existing_set_is_replaced_only_on_request(tmp_path):
    fill(tmp_path / "set", count=4)
    with pytest.raises(UsageError, match="exists: give --overwrite"):
        fill(tmp_path / "set", count=2)
    fill(tmp_path / "set", count=2, overwrite=True)
    assert len(read_keys(tmp_path / "set" / "gt.lmdb")) == 2


def test_what_is_not_ours_is_never_deleted(tmp_path):
    strange = tmp_path / "thesis"
    strange.mkdir()
    (strange / "chapter.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not a face set"):
        fill(strange, overwrite=True)
    fill(tmp_path / "set")
    (tmp_path / "set" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        fill(tmp_path / "set", overwrite=True)
    (tmp_path / "new.partial").mkdir()
    (tmp_path / "new.partial" / "data.csv").write_text("1")
    with pytest.raises(UsageError, match=r"new\.partial is in the way"):
        fill(tmp_path / "new", overwrite=True)
    assert (strange / "chapter.txt").exists()
    assert (tmp_path / "set" / "notes.txt").exists()
    assert (tmp_path / "new.partial" / "data.csv").exists()


def test_map_grows_by_itself_and_keeps_everything(tmp_path):
    store = GrowingLMDB(tmp_path / "x.lmdb", map_size=1 << 16)
    values = {f"k{i:02d}": os.urandom(20_000) for i in range(40)}
    for start in range(0, 40, 8):
        store.write(list(values.items())[start : start + 8])
    store.close()
    assert store.map_size >= 40 * 20_000
    write_meta_info(tmp_path / "x.lmdb", values, 1, 1, 1)
    reader = LMDBReader(tmp_path / "x.lmdb")
    assert {key: reader.get(key) for key in reader.keys} == values


def test_missing_key_names_key_and_path(face_set):
    with pytest.raises(DataError, match=r"gt\.lmdb has no key 'nobody'"):
        LMDBReader(face_set / "gt.lmdb").get("nobody")


def test_missing_or_damaged_lmdb_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.lmdb is not an image LMDB.*No such file"):
        LMDBReader(tmp_path / "none.lmdb")
    (tmp_path / "bad.lmdb").mkdir()
    write_meta_info(tmp_path / "bad.lmdb", ["a"], 1, 1, 1)
    (tmp_path / "bad.lmdb" / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(DataError, match=r"bad\.lmdb cannot be opened"):
        LMDBReader(tmp_path / "bad.lmdb").get("a")


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "coco"}', '{"format": "wnet face set", "version": 99}'])
def test_foreign_manifest_is_an_error(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=str(tmp_path)):
        read_manifest(tmp_path)


def test_readers_of_one_lmdb_live_side_by_side_and_are_sent_to_other_processes(face_set):
    one, other = LMDBReader(face_set / "gt.lmdb"), LMDBReader(face_set / "gt.lmdb")
    value = one.get("face000")
    assert other.get("face000") == value
    copy = pickle.loads(pickle.dumps(one))
    assert copy.get("face000") == value
    assert lmdb.version()


def _read_in_child(reader, queue):
    queue.put((reader.get("face001"), LMDBReader(reader.path).get("face002")))


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_open_reader_works_on_both_sides_of_a_fork(face_set):
    reader = LMDBReader(face_set / "gt.lmdb")
    one, two = reader.get("face001"), reader.get("face002")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(reader, queue))
    child.start()
    assert queue.get(timeout=20) == (one, two)
    child.join(20)
    assert reader.get("face001") == one


def _hold(target, ready, release):
    with FaceLMDBWriter(target, {"size": 8}, SHAPES):
        ready.set()
        release.wait(20)


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and fcntl")
def test_two_processes_cannot_write_one_set(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, release = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(tmp_path / "set", ready, release))
    child.start()
    assert ready.wait(20)
    with pytest.raises(WNetError, match="another process is writing"):
        fill(tmp_path / "set")
    release.set()
    child.join(20)
    fill(tmp_path / "set")


def _fill_small_disk(target, pictures, queue):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    face_lmdb_writer.BATCH = 4
    shapes = {"gt": (100, 100, 3)}
    try:
        with FaceLMDBWriter(target, {}, shapes) as writer:
            for i, picture in enumerate(pictures):
                writer.add({"file": f"{i}", "key": f"{i}"}, images={"gt": picture})
        queue.put("no error")
    except WNetError as error:
        queue.put(str(error))


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork and file size limits")
def test_full_disk_is_one_clear_line_and_keeps_what_was_stored(tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    noise = np.random.default_rng(0).integers(0, 256, (40, 100, 100, 3), dtype=np.uint8)
    pictures = [encode_png(image) for image in noise]  # here: OpenCV may hang in a forked process
    child = context.Process(target=_fill_small_disk, args=(tmp_path / "set", pictures, queue))
    child.start()
    message = queue.get(timeout=20)
    child.join(20)
    assert "set.partial" in message
    assert "the same command continues" in message
    assert "\n" not in message
    assert stored_photos(tmp_path / "set") == {"0", "1", "2", "3"}


def test_basicsr_reads_the_set_with_its_own_dataset(own_face_set):
    from basicsr.data.paired_image_dataset import PairedImageDataset

    dataset = PairedImageDataset(
        {
            "dataroot_gt": str(own_face_set / "gt.lmdb"),
            "dataroot_lq": str(own_face_set / "lq_x8.lmdb"),
            "io_backend": {"type": "lmdb"},
            "scale": 8,
            "phase": "val",
        }
    )
    assert len(dataset) == 6
    sample = dataset[0]
    assert sample["gt"].shape == (3, 64, 64)
    assert sample["lq"].shape == (3, 8, 8)


@pytest.mark.parametrize("kind", ["gt", "lq_x4", "parsing"])
def test_a_path_that_another_reader_has_open_is_told_with_what_to_do(tmp_path, kind):
    folder = write_set(tmp_path / "set", count=2) / f"{kind}.lmdb"
    reader = LMDBReader(folder)
    with lmdb.open(str(folder), readonly=True, lock=False):
        try:
            lmdb.open(str(folder), readonly=True, lock=False).close()
        except lmdb.Error:
            pass
        else:  # 1.4 to 1.7 open a path twice: there is nothing to tell, and it is read
            assert reader.get(reader.keys[0])
            return
        with pytest.raises(DataError, match="BasicSR's own perhaps") as error:
            reader.get(reader.keys[0])
    assert str(error.value).startswith(f"{folder} is open for another reader")
    assert reader.get(reader.keys[0])
