"""What people's folders really hold: odd files are used as they should be, or recorded with a reason; trouble is one clear line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, features

from tests.conftest import drawn_face
from tests.killing import clean_processes, needs_sigkill
from tests.prepare.test_prepare import content, folder, noise, promise, read, reasons, run  # noqa: F401 - folder is a fixture
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.data.face_lmdb import LMDBReader, read_keys, read_manifest
from wnet_arch.data.photos import MIN_SIDE, Rejected, load_photo
from wnet_arch.errors import DataError, WNetError
from wnet_arch.prepare.face_maker import FaceMaker


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder with one good photo."""
    (tmp_path / "images").mkdir()
    Image.fromarray(noise(0)).save(tmp_path / "images" / "good.png")
    return tmp_path / "images"


def why(path: Path) -> str:
    with pytest.raises(Rejected) as caught:
        load_photo(path)
    return f"{caught.value.reason}: {caught.value.detail}"


def test_tiny_and_huge_photos(images):
    for side in (1, MIN_SIDE - 1, MIN_SIDE):
        Image.fromarray(noise(1, side, side)).save(images / f"{side}.png")
    shutil.copy(images / "good.png", images / "huge.png")
    promise(images / "huge.png", 20_000, 20_000)
    Image.new("1", (20_000, 300)).save(images / "wide.png")
    assert why(images / "1.png") == "too small: 1x1"
    assert why(images / "15.png") == "too small: 15x15"
    assert load_photo(images / "16.png").shape == (16, 16, 3)
    assert why(images / "huge.png").startswith("too large: ")
    promise(images / "huge.png", 9_500, 9_500)
    assert why(images / "huge.png") == "too large: 9500x9500"
    run(images.parent)
    assert reasons(images.parent / "set")["wide.png"] == "not square: 20000x300"


def test_what_promises_too_much_is_not_decoded(images):
    promise(images / "good.png", 60_000, 60_000)
    began = time.monotonic()
    assert why(images / "good.png").startswith("too large: ")
    assert time.monotonic() - began < 1


def test_animations_give_their_first_picture(images):
    first, second = (Image.fromarray(drawn_face(seed)[0]) for seed in (1, 2))
    first.save(images / "moving.png", save_all=True, append_images=[second], duration=100)  # APNG
    first.save(images / "moving.tif", save_all=True, append_images=[second])
    for name in ("moving.png", "moving.tif"):
        assert np.array_equal(load_photo(images / name), np.array(first))
    for suffix in ("gif", "webp") if features.check("webp") else ("gif",):
        path = images / f"moving.{suffix}"
        first.save(path, save_all=True, append_images=[second], duration=100, quality=100)
        error = np.abs(load_photo(path).astype(int) - np.array(first)).mean()
        assert error < 8 < np.abs(load_photo(path).astype(int) - np.array(second)).mean()


def test_content_counts_not_the_name(images):
    Image.fromarray(noise(2)).save(images / "other.png")
    os.rename(images / "other.png", images / "really_png.jpg")
    Image.fromarray(noise(3)).save(images / "other.bmp")
    os.rename(images / "other.bmp", images / "really_bmp.webp")
    assert np.array_equal(load_photo(images / "really_png.jpg"), noise(2))
    assert np.array_equal(load_photo(images / "really_bmp.webp"), noise(3))
    (images / "film.jpg").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(500))
    assert why(images / "film.jpg") == "broken: not a picture that Pillow can read"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photos_stand_upright(images, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(4, 30, 40)).save(images / "turned.png", exif=exif)
    turns = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90,
    }  # fmt: skip
    assert np.array_equal(load_photo(images / "turned.png"), turns[orientation](noise(4, 30, 40)))


def test_deep_pictures(images):
    deep = np.random.default_rng(0).integers(0, 65536, (40, 40, 3), dtype=np.uint16)
    cv2.imwrite(str(images / "deep_rgb.png"), deep[..., ::-1])
    assert np.abs(load_photo(images / "deep_rgb.png").astype(int) - deep / 257).max() <= 1
    Image.fromarray(np.random.default_rng(1).random((40, 40)).astype(np.float32)).save(images / "float.tif")
    assert (
        why(images / "float.tif")
        == "pixel format: floating-point values, whose range the file does not state; save it with 8 or 16 bits"
    )


def test_links_pipes_folders_and_lost_files(images, monkeypatch):
    os.symlink(images / "nowhere", images / "lost.jpg")
    os.symlink(images / "good.png", images / "link.png")
    os.mkfifo(images / "pipe.jpg")  # opening it would wait for ever
    (images / "folder.png").mkdir()
    (images / ".hidden.png").write_bytes(b"x")
    (images / "notes.txt").write_text("not a photo")
    run(images.parent)
    assert reasons(images.parent / "set") == {
        ".hidden.png": "passed over: hidden",
        "link.png": "duplicate: of good.png",
        "lost.jpg": "unreadable: No such file or directory",
        "notes.txt": "passed over: not a photo",
        "pipe.jpg": "passed over: not a file",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux")
def test_names_that_are_no_text(images, capsys):
    strange = os.fsdecode(b"caf\xe9 1.png")
    Image.fromarray(noise(5)).save(images / "x.png")
    os.rename(images / "x.png", os.path.join(os.fsencode(images), os.fsencode(strange)))
    with open(os.path.join(os.fsencode(images), b"bad\xff.jpg"), "wb") as file:
        file.write(b"broken")
    summary = run(images.parent)
    assert read_keys(images.parent / "set" / "gt.lmdb") == ["caf~dce9~~20~1", "good"]
    assert np.array_equal(read(run_size(images, 40), "gt", "caf~dce9~~20~1"), noise(5))
    assert read_manifest(images.parent / "set")["rejected"][0]["file"] == os.fsdecode(b"bad\xff.jpg")
    "\n".join(summary.lines()).encode()  # can be printed


def run_size(images: Path, size: int) -> Path:
    run(images.parent, f"set{size}", size=size)
    return images.parent / f"set{size}"


def test_photo_that_may_not_be_read(images, monkeypatch):
    """Tests may run as root, who may read everything: the system's answer is imitated."""
    opened = Image.open

    def refuse(path, *args):
        if Path(path).name == "secret.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args)

    Image.fromarray(noise(6)).save(images / "secret.png")
    monkeypatch.setattr(Image, "open", refuse)
    run(images.parent)
    assert reasons(images.parent / "set") == {"secret.png": "unreadable: Permission denied"}


def test_folder_that_may_not_be_read(images, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"^cannot read the folder .*images: Permission denied$"):
        run(images.parent)


def test_decoder_without_memory_is_a_rejected_photo(images, monkeypatch):
    Image.fromarray(noise(7)).save(images / "a.png")
    load = ImageFile.ImageFile.load

    def fail_once(image):
        monkeypatch.setattr(ImageFile.ImageFile, "load", load)
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail_once)
    run(images.parent)
    assert reasons(images.parent / "set") == {"a.png": "too large: "}


def _slow_command(folder: Path) -> None:  # noqa: F811
    """``wnet prepare`` as the console script runs it, nine seconds a photo; in a process of its own."""
    os.dup2(os.open(folder / "shown", os.O_CREAT | os.O_WRONLY), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as on a terminal; a shell's background jobs ignore it
    make = FaceMaker.make
    FaceMaker.make = lambda self, name: (time.sleep(9), make(self, name))[1]
    words = ["prepare", "--root", folder / "images", "--out", folder / "set", "--size", 32, "--workers", 1]
    sys.exit(run_command("wnet", wnet._main, [str(word) for word in words]))


@needs_sigkill
def test_control_c_is_one_line_and_the_same_command_continues(images):
    folder = images.parent  # noqa: F811
    child = clean_processes().Process(target=_slow_command, args=(folder,))
    child.start()
    deadline = time.monotonic() + 90
    while not ((folder / "shown").exists() and "0/1" in (folder / "shown").read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    os.kill(child.pid, signal.SIGINT)
    child.join(60)
    shown = (folder / "shown").read_text()
    assert child.exitcode == 130
    assert shown.splitlines()[-1] == "wnet: interrupted"
    assert "Traceback" not in shown
    assert not (folder / "set").exists()
    assert (folder / "set.partial").exists()
    assert run(folder).counts == {"": 1}


def _small_disk(path: Path, megabytes: int) -> bool:
    path.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
    try:
        return subprocess.run(options, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_full_disk_is_one_line_and_the_same_command_continues(folder, tmp_path):  # noqa: F811
    """On a real small file system, which is enlarged afterwards."""
    disk = tmp_path / "disk"
    if not _small_disk(disk, 1):
        pytest.skip("no permission to mount a small file system")
    try:
        for i in range(40, 140):
            Image.fromarray(noise(i)).save(folder / "images" / f"{i:03d}.png")
        said = r"cannot write .*disk/set\.partial: no space left on .*: free some, then the same command continues"
        with pytest.raises(WNetError, match=said) as caught:
            run(folder, "disk/set", size=64)
        assert "\n" not in str(caught.value)
        assert not (disk / "set").exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        assert run(folder, "disk/set", size=64).counts == {"": 140}
        run(folder, "set", size=64)
        assert content(disk / "set") == content(folder / "set")
        assert len(LMDBReader(disk / "set" / "gt.lmdb")) == 140
    finally:
        subprocess.run(["umount", str(disk)], check=False)
