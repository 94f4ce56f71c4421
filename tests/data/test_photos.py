"""Photos of any origin: one rule for suffixes, metadata, damaged files, depths and folders, whoever reads them."""

from __future__ import annotations

import io
import itertools
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, features

from tests.conftest import drawn_face
from tests.prepare.test_prepare import reasons, run
from wnet_arch import photo_formats as formats
from wnet_arch.cli import wnet
from wnet_arch.cli.common import run_command
from wnet_arch.data.face_lmdb import LMDBReader
from wnet_arch.data.face_parsing_dataset import FolderReader, PairedFaceParsingDataset
from wnet_arch.data.photos import Rejected, load_photo, load_picture, photo_size
from wnet_arch.errors import DataError
from wnet_arch.inference.test_sets import open_set

FACE = drawn_face(3, 128)[0]
PHOTO = Image.fromarray(FACE)


def file_of(kind: str, image: Image.Image = PHOTO, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def folder_of(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def restored(folder: Path, capsys) -> tuple[int, str, str]:
    code = run_command("wnet", wnet._main, ["restore", str(folder), "--face-only", "--network", "Bicubic", "-o", f"{folder}_out"])
    return code, *capsys.readouterr()


# 1. Content decides

ODD_NAMES = {
    "a.jpe": "JPEG", "b.jp2": "JPEG2000", "c.jfif": "JPEG", "d.tga": "TGA", "e": "PNG", "Dr. Smith 12.05.2019": "JPEG",
    "f.bin": "WEBP",
}  # fmt: skip
NO_PHOTOS = {
    "notes.txt": b"text",
    "plain": b"text\n" * 50,
    "film.mp4": b"\0\0\0\x18ftypmp42" + bytes(500),
    "._a.jpe": b"\0\5\x16\7",
}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(300)


@pytest.fixture
def odd(tmp_path) -> Path:
    """Photos of names that say little, each of other pixels, and files that are none."""
    kinds = {name: kind for name, kind in ODD_NAMES.items() if features.check("jpg_2000") or kind != "JPEG2000"}
    photos = {name: file_of(kind, Image.fromarray(np.roll(FACE, n, 1))) for n, (name, kind) in enumerate(kinds.items())}
    return folder_of(tmp_path / "images", **photos, **NO_PHOTOS)


def test_all_commands_and_data_sets_find_the_same_photos(odd, capsys, caplog):
    photos = {path.name for path in odd.iterdir()} - set(NO_PHOTOS)
    assert set(formats.scan(odd)) == photos
    assert set(FolderReader(str(odd)).files.values()) == photos
    assert caplog.messages[0].startswith("note: ")
    assert "4 files passed over: ._a.jpe (hidden), film.mp4 (not a photo)" in caplog.messages[0]
    run(odd.parent)
    assert {name: why for name, why in reasons(odd.parent / "set").items() if not why.startswith("same")} == {
        "._a.jpe": "passed over: hidden", **dict.fromkeys(("film.mp4", "notes.txt", "plain"), "passed over: not a photo"),
    }  # fmt: skip
    assert len(LMDBReader(odd.parent / "set" / "gt.lmdb")) == len(photos)
    code, out, _ = restored(odd, capsys)
    assert code == 3  # 128 pixels are more than a network takes: the photos stay as they are
    assert f"{len(photos)} photos" in out
    assert "4 files passed over: " in out
    for name in NO_PHOTOS:
        assert f"{name} (" in out


def test_links_that_lead_nowhere_are_refused_by_name(tmp_path):
    folder = folder_of(tmp_path / "images", **{"a.png": file_of("PNG")})
    (folder / "round.png").symlink_to("round.png")
    (folder / "lost").symlink_to("nowhere")
    (folder / "sub").mkdir()
    run(tmp_path)
    assert {name: why.partition(":")[0] for name, why in reasons(tmp_path / "set").items()} == {
        "round.png": "unreadable", "lost": "unreadable",
    }  # fmt: skip


def test_heic_says_which_package_opens_it(tmp_path, capsys):
    if "HEIF" in formats.formats():
        pytest.skip("pillow-heif is installed")
    folder = folder_of(
        tmp_path / "images", **{"a.heic": HEIC, "b.HEIF": HEIC, "really.jpg": HEIC, "none": HEIC, "c.png": file_of("PNG")}
    )
    code, _, err = restored(folder, capsys)
    assert code == 1
    assert err.count("broken: HEIC, which the package pillow-heif opens: pip install pillow-heif") == 4
    run(tmp_path)
    assert all("pillow-heif" in why for why in reasons(tmp_path / "set").values())


def test_heic_is_opened_where_its_package_is_there(tmp_path):
    if "HEIF" not in formats.formats():
        pytest.skip("pillow-heif is not installed")
    PHOTO.save(tmp_path / "a.heic", quality=95)
    assert ".heic" in formats.suffixes()
    assert np.abs(load_photo(tmp_path / "a.heic").astype(int) - FACE).mean() < 6


@pytest.mark.parametrize(("name", "said"), [("a.cr2", "raw file"), ("a.NEF", "raw file"), ("a.jxl", "JPEG XL")])
def test_photos_that_pillow_cannot_open_are_refused_by_name(tmp_path, name, said):
    folder = folder_of(tmp_path / "images", **{name: b"\1\2\3\4" * 100})
    assert list(formats.scan(folder)) == [name]
    with pytest.raises(Rejected) as caught:
        load_photo(folder / name)
    assert said in caught.value.detail


# 2. Metadata is optional


def png_part(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def png_with(kind: bytes, data: bytes, wrong: int = 0) -> bytes:
    whole = file_of("PNG")
    return whole[:33] + png_part(kind, data, wrong) + whole[33:]


def jpeg_with(marker: int, data: bytes) -> bytes:
    whole = file_of("JPEG", quality=95)
    return whole[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + whole[2:]


def tiff_with_lost_directory() -> bytes:
    data = bytearray(file_of("TIFF"))
    (start,) = struct.unpack("<I", data[4:8])
    end = start + 2 + 12 * struct.unpack("<H", data[start : start + 2])[0]
    data[end : end + 4] = struct.pack("<I", 0x7FFFFF00)  # where a thumbnail would be
    return bytes(data)


BROKEN_EXTRAS = {
    "exif.png": png_with(b"eXIf", b"garbage!"),
    "text.png": png_with(b"tEXt", b"Comment\0hi", wrong=1),
    "long_text.png": png_with(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 5_000_000)),
    "profile.png": png_with(b"iCCP", b"icc\0\0not packed"),
    "size.png": png_with(b"pHYs", b"abc"),
    "exif.jpg": jpeg_with(0xE1, b"Exif\0\0garbagegarbage"),
    "profile.jpg": jpeg_with(0xE2, b"ICC_PROFILE\0\1\1" + b"y" * 100),
    "exif.webp": file_of("WEBP", exif=b"Exif\0\0garbage", quality=95),
    "profile.tif": file_of("TIFF", icc_profile=b"z" * 99),
}


@pytest.mark.parametrize("name", BROKEN_EXTRAS)
def test_what_is_broken_beside_the_pixels_is_left_out_and_noted(tmp_path, name):
    for source in (folder_of(tmp_path / "images", **{name: BROKEN_EXTRAS[name]}) / name, BROKEN_EXTRAS[name]):
        picture = load_picture(source)
        assert np.abs(picture.rgb.astype(int) - FACE).mean() < 6
        assert any("broken and was left out" in note for note in picture.notes)
        assert picture.icc is None
        assert photo_size(source) == (128, 128)


@pytest.mark.parametrize(
    "data",
    [tiff_with_lost_directory(), jpeg_with(0xE2, b"MPF\0garbagegarbage"), jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0<\xff")],
)
def test_broken_thumbnails_and_xmp_do_not_refuse_a_photo(data):
    assert np.abs(load_picture(data).rgb.astype(int) - FACE).mean() < 6


def test_a_broken_text_does_not_lose_the_orientation():
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = file_of("PNG", exif=exif)
    data = whole[:33] + png_part(b"tEXt", b"Comment\0hi", wrong=1) + whole[33:]
    assert np.array_equal(load_picture(data).rgb, np.rot90(FACE, -1))


# 3. Damaged files

CUT = {"jpg": ("JPEG", {}), "prog.jpg": ("JPEG", {"progressive": True}), "png": ("PNG", {}), "bmp": ("BMP", {}),
       "tif": ("TIFF", {}), "ppm": ("PPM", {}), "webp": ("WEBP", {}), "tga": ("TGA", {})}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("share", [0.9, 0.6])
def test_of_a_cut_file_restore_takes_what_is_there_and_prepare_says_why_not(tmp_path, name, share):
    kind, options = CUT[name]
    whole = file_of(kind, **options)
    data = whole[: int(len(whole) * share)]
    picture = load_picture(data, partial=True)
    assert picture.rgb.shape == FACE.shape
    assert any(note.startswith("the file is cut off or damaged") for note in picture.notes)
    same = (np.abs(picture.rgb.astype(int) - load_photo_of(whole)) < 32).all(axis=2)
    assert same.mean() > share - 0.3
    with pytest.raises(Rejected) as caught:
        load_picture(data)
    assert caught.value.reason == "broken"


def load_photo_of(data: bytes) -> np.ndarray:
    return load_picture(data).rgb.astype(int)


def test_how_much_is_missing_is_told(tmp_path, capsys):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8))
    whole = file_of("PPM", noise)
    folder = folder_of(tmp_path / "images", **{"a.ppm": whole[: len(whole) * 3 // 4], "b.ppm": whole[:20]})
    code, out, err = restored(folder, capsys)
    assert code == 1
    assert "about 26 % of the picture is missing" in out  # rows begun count as missing
    assert "b.ppm: broken: " in err


# 4. Ranges

GREY = np.asarray(PHOTO.convert("L"))


def write_deep(path: Path, values: np.ndarray) -> Path:
    cv2.imwrite(str(path), values[..., ::-1] if values.ndim == 3 else values)
    return path


@pytest.mark.parametrize("factor", [1, 4, 16, 64, 257])
@pytest.mark.parametrize("name", ["grey.png", "grey.tif", "rgb.png", "rgb.tif", "rgb.ppm", "grey.pgm"])
def test_the_range_of_deep_pictures_is_that_of_their_values(tmp_path, name, factor):
    eight = GREY if name.startswith("grey") else FACE
    eight = eight.copy()
    eight[0, 0] = 255  # every depth has its largest value
    picture = load_picture(write_deep(tmp_path / name, eight.astype(np.uint16) * factor))
    wanted = np.repeat(eight[..., None], 3, 2) if eight.ndim == 2 else eight
    assert np.abs(picture.rgb.astype(int) - wanted).max() <= 1
    assert any(note == "16 bits became 8" if factor == 257 else "were taken as values of" in note for note in picture.notes)


@pytest.mark.parametrize(("mode", "factor"), [("L", 1), ("I;16", 257), ("I;16", 16)])
def test_tiffs_in_which_zero_is_white_are_no_negatives(tmp_path, mode, factor):
    values = GREY.astype(np.uint16)
    values[0, :2] = 0, 255
    stored = Image.fromarray(((255 - values) * factor).astype(np.uint8 if mode == "L" else np.uint16))
    path = tmp_path / "scan.tif"
    stored.save(path)
    data, black_is_zero = path.read_bytes(), struct.pack("<HHIH", 262, 3, 1, 1)
    assert data.count(black_is_zero) == 1
    path.write_bytes(data.replace(black_is_zero, struct.pack("<HHIH", 262, 3, 1, 0)))
    assert np.abs(load_photo(path)[..., 0].astype(int) - values).max() <= 1


def test_whole_numbers_of_32_bits(tmp_path):
    Image.fromarray(GREY.astype(np.int32)).save(tmp_path / "a.tif")
    assert np.array_equal(load_photo(tmp_path / "a.tif")[..., 0], GREY)
    for number, values in enumerate((GREY.astype(np.int32) - 300, GREY.astype(np.int32) * 100_000)):
        Image.fromarray(values).save(tmp_path / f"{number}.tif")
        with pytest.raises(Rejected, match="beyond 16 bit"):
            load_photo(tmp_path / f"{number}.tif")


def test_opacity_of_16_bits_keeps_its_own_range(tmp_path):
    values = np.dstack([FACE.astype(np.uint16) * 16, np.full(GREY.shape, 65535, np.uint16)])
    values[:64, :, 3] = 0
    cv2.imwrite(str(tmp_path / "a.png"), values[..., [2, 1, 0, 3]])
    picture = load_picture(tmp_path / "a.png")
    assert (picture.rgb[:64] == 255).all()
    assert np.abs(picture.rgb[64:].astype(int) - FACE[64:]).max() <= 255 // FACE.max() + 2


@pytest.mark.parametrize("level", [0, 5, 250, 255])
def test_nearly_black_and_white_results_are_told_and_kept_in_no_set(tmp_path, level, capsys):
    flat = file_of("PNG", Image.new("RGB", (128, 128), (level, level, level)))
    folder = folder_of(tmp_path / "images", **{"a.png": file_of("PNG"), "b.png": flat})
    said = "nearly black" if level < 128 else "nearly white"
    run(tmp_path)
    assert reasons(tmp_path / "set") == {"b.png": f"{said}: values of {level} to {level}"}
    assert said in restored(folder, capsys)[1]
    data = PairedFaceParsingDataset({"dataroot_gt": str(folder), "scale": 8, "phase": "train"})
    with pytest.raises(DataError, match=f"{said}, with values of {level} to {level}"):
        data[1]


# 5. One loader


def hidden_black() -> Image.Image:
    values = np.dstack([FACE, np.full(GREY.shape, 255, np.uint8)])
    values[:64] = 0
    return Image.fromarray(values)


SAME_EVERYWHERE = {
    "cut_out.png": file_of("PNG", hidden_black()),
    "cut_out.webp": file_of("WEBP", hidden_black(), lossless=True),
    "palette.png": file_of("PNG", PHOTO.quantize(64), transparency=3),
    "colour_key.png": file_of("PNG", transparency=tuple(int(v) for v in FACE[64, 64])),
    "chroma.jpg": file_of("JPEG", quality=80),
    "cmyk.jpg": file_of("JPEG", PHOTO.convert("CMYK")),
    "grey_clear.png": file_of("PNG", hidden_black().convert("LA")),
}


@pytest.mark.parametrize("name", SAME_EVERYWHERE)
def test_prepare_folder_data_sets_benchmark_and_restore_see_the_same_pixels(tmp_path, name, capsys):
    folder = folder_of(tmp_path / "images", **{name: SAME_EVERYWHERE[name], f"._{name}": b"\0\5\x16\7"})
    run(tmp_path, size=128)
    stored = cv2.imdecode(np.frombuffer(LMDBReader(tmp_path / "set" / "gt.lmdb").get(formats.stem(name)), np.uint8), 1)[..., ::-1]
    sample = PairedFaceParsingDataset({"dataroot_gt": str(folder), "scale": 8, "phase": "val"})[0]
    measured = open_set(str(folder), "x", [8])
    assert np.array_equal((sample["gt"].permute(1, 2, 0).numpy() * 255).round(), stored)
    assert np.array_equal(measured.hr(measured.keys[0]), stored)
    assert np.array_equal(load_photo(folder / name), stored)


def test_sizes_of_photos_are_those_they_are_shown_with(tmp_path):
    exif = Image.Exif()
    for turn, kind in itertools.product((1, 3, 6, 8), ("JPEG", "PNG", "TIFF")):
        exif[0x0112] = turn
        data = file_of(kind, PHOTO.resize((64, 32)), exif=exif)
        assert photo_size(data) == load_picture(data).rgb.shape[:2] == ((32, 64) if turn < 5 else (64, 32))
