"""Two thousand damaged picture files go through ``wnet prepare``: none stops it, each is used or recorded with the reason."""

from __future__ import annotations

import io
import random
from collections import Counter

import pytest
from PIL import Image, features

from tests.conftest import FUZZ, FUZZ_SEED, drawn_face
from tests.prepare.test_prepare import run
from wnet_arch.data.face_lmdb import LMDBReader, read_manifest
from wnet_arch.data.face_parsing_dataset import decode_rgb

COUNT, SEED, SIDE = 2000 * FUZZ, FUZZ_SEED, 40
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM") + (("WEBP",) if features.check("webp") else ())


def sources() -> list[tuple[str, bytes]]:
    """Pictures of every format and of several modes, with the metadata that decoders stumble over."""
    found = []
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x8769] = 6, "a photo", {0x9003: "2020:01:01 00:00:00"}
    for seed, kind in enumerate(FORMATS):
        picture = Image.fromarray(drawn_face(seed, SIDE)[0])
        grey = picture.convert("L")
        variants: list[tuple[Image.Image, dict]] = [(picture, {})]
        if kind in ("JPEG", "PNG", "TIFF", "WEBP"):
            variants.append((picture, {"exif": exif.tobytes()}))
        if kind == "JPEG":
            variants += [(picture, {"progressive": True, "optimize": True}), (picture.convert("CMYK"), {}), (grey, {})]
        if kind == "PNG":
            variants += [(picture.convert("RGBA"), {}), (picture.quantize(16), {"transparency": 3}), (grey.convert("I;16"), {})]
            variants.append((picture, {"save_all": True, "append_images": [grey.convert("RGB")]}))
        if kind == "TIFF":
            variants += [(picture, {"compression": name}) for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")]
        if kind in ("GIF", "WEBP"):
            variants.append((picture, {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}))
        for image, options in variants:
            file = io.BytesIO()
            image.save(file, kind, **options)
            found.append((kind, file.getvalue()))
    return found


def flip_bytes(data: bytearray, choose: random.Random) -> None:
    for _ in range(choose.choice((1, 2, 8, 64))):
        data[choose.randrange(len(data))] = choose.randrange(256)


def flip_bits_of_the_header(data: bytearray, choose: random.Random) -> None:
    for _ in range(choose.choice((1, 2, 4))):
        data[choose.randrange(min(64, len(data)))] ^= 1 << choose.randrange(8)


def set_extreme_numbers(data: bytearray, choose: random.Random) -> None:
    for _ in range(choose.choice((1, 3))):
        at = choose.randrange(min(200, len(data) - 4))
        data[at : at + 4] = choose.choice((-1, 0, 2**31 - 1, 20_000)).to_bytes(4, choose.choice(("big", "little")), signed=True)


def truncate(data: bytearray, choose: random.Random) -> None:
    del data[choose.randrange(len(data)) :]


def cut_out(data: bytearray, choose: random.Random) -> None:
    start = choose.randrange(len(data))
    del data[start : start + choose.randrange(1, 200)]


def repeat_part(data: bytearray, choose: random.Random) -> None:
    start = choose.randrange(len(data))
    data[start:start] = data[start : start + choose.randrange(1, 200)] * choose.choice((1, 5))


def append_junk(data: bytearray, choose: random.Random) -> None:
    data += choose.randbytes(choose.randrange(1, 500))


def prepend_junk(data: bytearray, choose: random.Random) -> None:
    data[:0] = choose.randbytes(choose.randrange(1, 20))


MUTATIONS = (
    flip_bytes, flip_bytes, flip_bits_of_the_header, set_extreme_numbers, truncate, cut_out, repeat_part, append_junk, prepend_junk,
)  # fmt: skip


def mutated(choose: random.Random, originals: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """A damaged file and the suffix it bears, which may be that of another format."""
    kind, original = choose.choice(originals)
    data = bytearray(original)
    if choose.random() < 0.1:  # the head of one file on the tail of another
        other = choose.choice(originals)[1]
        data = data[: choose.randrange(len(data))] + other[choose.randrange(len(other)) :]
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        if len(data) > 8:
            choose.choice(MUTATIONS)(data, choose)
    suffixes = {"JPEG": ".jpg", "TIFF": ".tif", "WEBP": ".webp"}
    named = choose.choice(FORMATS) if choose.random() < 0.1 else kind
    return suffixes.get(named, f".{named.lower()}"), bytes(data)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """The folder with the damaged files."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "images").mkdir()
    choose, originals = random.Random(SEED), sources()
    for index in range(COUNT):
        suffix, data = mutated(choose, originals)
        (folder / "images" / f"{index:06d}{suffix}").write_bytes(data)
    return folder


def test_no_damaged_file_stops_a_run_and_each_is_accounted_for(damaged, capfd):
    summary = run(damaged)
    names = {path.name for path in (damaged / "images").iterdir()}
    manifest = read_manifest(damaged / "set")
    rejected = {entry["file"]: entry for entry in manifest["rejected"]}
    reader = LMDBReader(damaged / "set" / "gt.lmdb")
    assert len(rejected) == len(manifest["rejected"])
    assert {name.partition(".")[0] for name in names - set(rejected)} == set(reader.keys)
    assert summary.counts[""] + len(rejected) == COUNT
    assert set(rejected) < names
    reasons = Counter(entry["reason"] for entry in rejected.values())
    known = {
        "empty file",
        "broken",
        "too large",
        "too small",
        "not square",
        "pixel format",
        "duplicate",
        "nearly black",
        "nearly white",
    }
    assert set(reasons) <= known
    assert reasons["broken"] > 300  # the damage is real
    assert summary.counts[""] > 300  # and does not hit the file's head only
    for entry in rejected.values():
        assert len(entry["detail"]) <= 200
        assert "\n" not in entry["detail"]
        assert str(damaged) not in entry["detail"]
    for key in reader.keys:
        assert decode_rgb(reader.get(key), key).shape == (32, 32, 3)
    assert "Traceback" not in capfd.readouterr().err
