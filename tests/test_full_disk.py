"""A full disk is one line that says so, whatever a library calls it, and nothing half-written is left.

Most of this runs on a real file system of one megabyte, which only root may mount.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

from wnet_arch import create_network, disk, visuals
from wnet_arch.benchmark.cache import Cache
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.errors import WeightsError, WNetError
from wnet_arch.export import export_network
from wnet_arch.prepare.face_lmdb_writer import FaceLMDBWriter
from wnet_arch.restore.record import Record
from wnet_arch.weights import checkpoint, sources
from wnet_arch.weights import manager as weights_manager

NOISE = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
FREE = r"no space left on .*: free some, then "


@pytest.fixture
def small(tmp_path):
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount command")
    if mounted.returncode:
        pytest.skip("no permission to mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fails(run, message: str = FREE) -> None:
    with pytest.raises(WNetError, match=message) as caught:
        run()
    assert "\n" not in str(caught.value)
    assert "enforce" not in str(caught.value)


# --- on a disk that is full ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [torch.rand(500_000), [torch.rand(500) for _ in range(900)]], ids=["one", "many"])
def test_checkpoints(small, content):
    path = small / "net_g_latest.pth"
    checkpoint.write({"params": {"a": torch.zeros(9)}}, path)
    before = path.read_bytes()
    said = rf"cannot save {path}: no space left on {small}: free some, then go on with --auto_resume"
    fails(lambda: checkpoint.write({"params": content}, path), said)
    assert path.read_bytes() == before
    assert files(small) == ["net_g_latest.pth"]
    assert checkpoint.verify(path)


def test_a_checkpoint_that_finds_no_room_at_its_very_end(tmp_path, monkeypatch):
    path = tmp_path / "a.pth"
    checkpoint.write({"params": {"a": torch.zeros(1)}}, path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("wnet_arch.weights.seals.os.fsync", full)
    fails(lambda: checkpoint.write({"params": {"a": torch.ones(1)}}, path))
    assert path.read_bytes() == before
    assert files(tmp_path) == ["a.pth"]
    assert checkpoint.verify(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> str:
    """A network of two megabytes."""
    options = {"num_feat": 96, "depths": [1, 1, 1, 1]}
    about = {"network_g": json.dumps({"type": "WNetLite", "scale": 8, **options}), "scale": "8"}
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    state = create_network("WNetLite", 8, **options).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, str(path), about)
    assert path.stat().st_size > 1 << 20
    return str(path)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".safetensors"])
def test_exports(small, weights, suffix):
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        pytest.importorskip("onnx", reason="onnx is not installed")
    out = small / f"net{suffix}"
    out.write_text("mine")
    fails(lambda: export_network(weights, out, overwrite=True), rf"cannot write {out}: no space left on {small}: free some")
    assert files(small) == [out.name]
    assert out.read_text() == "mine"


@pytest.mark.parametrize("name", ["a.png", "new/b.bmp"])
def test_pictures(small, name):
    said = rf"cannot write {small / name}: no space left on {small}"
    fails(lambda: visuals.save(Image.fromarray(NOISE), small / name), said)
    assert files(small) == []


def test_texts(small):
    (small / "table.md").write_text("before")
    fails(lambda: disk.write_text(small / "table.md", "x" * (2 << 20)))
    assert (small / "table.md").read_text() == "before"
    assert files(small) == ["table.md"]


def test_validation_images(small):
    from wnet_arch.training import validation

    fails(lambda: validation.save_image(NOISE, str(small / "run" / "a.png")), rf"cannot write .*a\.png: no space left on {small}")
    assert files(small) == []


def test_the_cache_of_a_benchmark(small):
    with Cache(small) as cache:
        cache.store([("net", "a", "d", b"first")], [])
        rows = [("net", str(i), "d", NOISE.tobytes()[:100_000]) for i in range(20)]
        fails(lambda: cache.store(rows, []), rf"cannot write .*cache\.sqlite: no space left on {small}: free some, .*is kept")
    with Cache(small) as cache:
        assert cache.sr_png("net", "a") == b"first"
        assert cache.sr_png("net", "1") is None


def test_photos(small, tmp_path, capsys):
    Image.fromarray(NOISE[:300, :300]).save(tmp_path / "a.png")
    argv = ["restore", tmp_path / "a.png", "--network", "Bicubic", "--face-only", "-o", small / "out"]
    (small / "ballast").write_bytes(bytes((1 << 20) - 20_000))
    assert run_command("wnet", wnet._main, [str(arg) for arg in argv]) == 1
    assert f"a.png: no space left on {small}/out: free some, then run the same command again" in capsys.readouterr().err
    assert [name for name in files(small) if name.endswith("png")] == []


def test_downloads_do_not_blame_the_server(small, tmp_path):
    (tmp_path / "weights").write_bytes(bytes(2 << 20))
    part = small / "weights.part"

    class Answer(io.BytesIO):
        status = 200
        headers: dict = {}

    calls = []

    def answer(*_, **__):
        calls.append(1)
        return Answer((tmp_path / "weights").read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources.urllib.request, "urlopen", answer)
        with pytest.raises(WeightsError, match=rf"cannot write {part}: no space left on {small}"):
            sources.download("https://example.org/weights", part, progress=False)
    assert len(calls) == 1


@pytest.mark.parametrize("size", [300, 5_000, 60_000, 700_000])
def test_lmdb_whatever_the_size_of_its_values(small, size):
    """LMDB calls a write that was cut short an input/output error."""

    def write():
        with FaceLMDBWriter(small / "set", {}, {"gt": (1, 1, 3)}) as writer:
            for index in range(4 * (1 << 20) // size):
                writer.add({"file": f"{index:06d}", "key": f"{index:06d}"}, {"gt": NOISE.tobytes()[:size]})
            writer.flush()

    fails(write, rf"cannot write .*set\.partial: no space left on {small}\S*: free some, then the same command continues where")


# --- what the system says, and what libraries say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "asked", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), None, FREE),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), None, FREE),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), None, FREE),
        (sqlite3.OperationalError("database or disk is full"), None, FREE),
        (lmdb.Error("mdb_txn_commit: No space left on device"), None, FREE),
        (lmdb.Error("mdb_txn_commit: Input/output error"), errno.ENOSPC, FREE),
        (lmdb.Error("mdb_txn_commit: Input/output error"), errno.EDQUOT, FREE),
        (lmdb.Error("mdb_txn_commit: Input/output error"), None, "the disk took only a part of it: it is full, or failing"),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), errno.ENOSPC, FREE),
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), errno.EFBIG, "it became larger than"),
        (OSError("Failed in writing images."), errno.EROFS, "Read-only file system"),
        (OSError(errno.EIO, "Input/output error"), None, "Input/output error"),
        (OSError(errno.EACCES, "Permission denied"), errno.ENOSPC, "Permission denied"),
        (RuntimeError("something\nelse"), None, "something else"),
        (ValueError(), None, "ValueError"),
    ],
)
def test_names_of_a_full_disk(tmp_path, monkeypatch, error, asked, said):
    monkeypatch.setattr(disk, "_asked", lambda path: asked)
    found = disk.reason(error, tmp_path / "a" / "b.pth", "go on")
    assert re.match(said, found)
    assert found.startswith("no space") == (found == f"no space left on {tmp_path}: free some, then go on")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_real_error_of_the_system():
    with pytest.raises(OSError, match="No space") as caught, open("/dev/full", "wb") as file:
        file.write(bytes(1 << 20))
    assert disk.is_full(caught.value)


def test_any_command_says_it_in_one_line(tmp_path, capsys):
    def main(_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "log.txt"))

    assert run_command("basicsr", main, []) == 1
    assert capsys.readouterr().err == f"basicsr: error: no space left on {tmp_path}: free some, then run the same command again\n"


def test_logs_and_threads_on_a_full_disk_have_no_traceback(small, capsys, monkeypatch):
    monkeypatch.chdir(small)
    logger = logging.getLogger("test_full_disk")
    (small / "ballast").write_bytes(bytes((1 << 20) - 8192))

    def fill():
        raise OSError(errno.ENOSPC, "No space left on device")

    def main(_):
        handler = logging.FileHandler(small / "run.log")
        logger.addHandler(handler)
        try:
            for _ in range(3):
                logger.warning("x" * 6000)
            thread = threading.Thread(target=fill)
            thread.start()
            thread.join()
            fill()
        finally:
            logger.removeHandler(handler)

    assert run_command("basicsr", main, []) == 1
    log, error = capsys.readouterr().err.splitlines()
    assert log == f"basicsr: no space left on {small}: free some, then the log continues"
    assert error == f"basicsr: error: no space left on {small}: free some, then run the same command again"


def test_files_that_may_not_grow(tmp_path):
    """A limit of the shell's, in a process of its own: torch is as silent about that."""
    pytest.importorskip("resource", reason="limits of this kind are Unix's")
    code = (
        "import resource, torch\nfrom wnet_arch.weights import checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300000, 300000))\n"
        f"checkpoint.write({{'params': {{'a': torch.rand(200000)}}}}, {str(tmp_path / 'a.pth')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("a.pth: it became larger than a file may be here (ulimit -f)")
    assert files(tmp_path) == []


def test_records_and_locks_are_not_links(tmp_path, monkeypatch):
    target = tmp_path / "precious"
    target.write_text("mine")
    monkeypatch.setenv("WNET_CACHE", str(tmp_path / "cache"))
    for place in (tmp_path / "out" / "restored.jsonl", tmp_path / "cache" / ".identity-dlib.lock"):
        place.parent.mkdir()
        place.symlink_to(target)
    for run in (lambda: Record(tmp_path / "out"), lambda: weights_manager.add("identity-dlib", target)):
        fails(run, r"cannot write .*: it is a link, which is not followed; remove it")
    assert target.read_text() == "mine"


def test_replacing_does_not_write_through_links(tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "a.txt").symlink_to(target)
    with disk.replacing(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert target.read_text() == "mine"
    assert (tmp_path / "a.txt").read_text() == "new"
    assert files(tmp_path) == ["a.txt", "precious"]
