"""What a picture's file holds beside its pixels (EXIF, XMP, ICC, texts, thumbnails): read where it is whole, left out where not."""

from __future__ import annotations

import io
import struct

from PIL import Image, ImageCms

#: EXIF's orientation, and how a picture of that orientation is turned upright.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_PNG_MARK, _PNG_PIXELS = b"\x89PNG\r\n\x1a\n", (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JPEG_MARK = b"\xff\xd8"
#: Parts beside the pixels, and the bit of VP8X that says there is one.
_WEBP_EXTRAS = {b"ICCP": 0x20, b"XMP ": 0x04, b"EXIF": 0x08}
#: Tags of TIFF that say how its pixels lie; all others can go.
_TIFF_PIXELS = frozenset((
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332, 338,
    339, 340, 341, 347, 529, 530, 531, 532,
))  # fmt: skip


def orientation(image: Image.Image) -> tuple[int, bool]:
    """The orientation of a picture, 1 to 8, by its EXIF or XMP, and whether these could be read."""
    try:
        Image.Exif().load(image.info.get("exif") or b"")  # getexif() is silent about what failed once
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # SyntaxError, struct.error, TypeError, ...
        return 1, False
    return (found if isinstance(found, int) and 1 <= found <= 8 else 1), True


def upright(image: Image.Image, turn: int) -> Image.Image:
    """The picture as it is shown; ``turn``: its :func:`orientation`."""
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def rgb_profile(image: Image.Image) -> tuple[bytes | None, bool]:
    """The ICC profile, where it is one of RGB colours (others do not fit what the photo becomes), and whether it could be read."""
    if "icc_profile" not in image.info:
        return None, True
    profile = image.info["icc_profile"] or b""  # None: there is one, which Pillow could not unpack
    try:
        ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except Exception:
        return None, False
    return (profile if profile[16:20] == b"RGB " else None), True


def without(data: bytes, keep_exif: bool) -> bytes | None:
    """A picture's file with its pixels alone, or these and EXIF.

    Returns:
        ``None`` for formats that have no other parts, or where these cannot be told apart.
    """
    try:
        if data.startswith(_PNG_MARK):
            return _bare_png(data, (*_PNG_PIXELS, b"eXIf") if keep_exif else _PNG_PIXELS)
        if data.startswith(_JPEG_MARK):
            return _bare_jpeg(data, (b"Adobe", b"Exif\0") if keep_exif else (b"Adobe",))
        if _is_webp(data):
            return _bare_webp(data, tuple(_WEBP_EXTRAS)[:2] if keep_exif else tuple(_WEBP_EXTRAS))
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _bare_tiff(data)
    except (struct.error, IndexError):
        pass
    return None


def completed(data: bytes) -> bytes:
    """A file that may be cut off, with an end that lets its decoder go on with what there is."""
    if data.startswith(_JPEG_MARK):
        return data + b"\xff\xd9"  # the mark of its end
    if _is_webp(data):
        return data + bytes(max(0, min(struct.unpack("<I", data[4:8])[0] + 8 - len(data), 9 * len(data))))
    return data


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _bare_png(data: bytes, kinds: tuple[bytes, ...]) -> bytes:
    kept, at = [_PNG_MARK], len(_PNG_MARK)
    while at + 8 <= len(data):
        (length,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        if not kind.isalpha():  # a part whose length is wrong: on to the next that pixels need
            after = [place - 4 for name in _PNG_PIXELS[1:] if (place := data.find(name, at + 4)) > 0]
            if not after:
                break
            at = min(after)
            continue
        if kind in kinds:
            kept.append(data[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def _bare_jpeg(data: bytes, names: tuple[bytes, ...]) -> bytes:
    """Without comments and APP segments but the named; Adobe's says how colours are coded."""
    kept, at = [data[:2]], 2
    while data[at] == 0xFF:
        marker, length = data[at + 1], struct.unpack(">H", data[at + 2 : at + 4])[0]
        part = data[at : at + 2 + length]
        is_extra = marker == 0xFE or 0xE0 <= marker <= 0xEF
        if not is_extra or part[4:9] in names:
            kept.append(part)
        at += 2 + length
        if marker == 0xDA:
            break
    return b"".join([*kept, data[at:]])


def _bare_webp(data: bytes, dropped: tuple[bytes, ...]) -> bytes:
    kept, at = [], 12
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])
        part = bytearray(data[at : at + 8 + length + length % 2])
        if kind == b"VP8X":
            part[8] &= ~sum(_WEBP_EXTRAS[name] for name in dropped)
        if kind not in dropped:
            kept.append(bytes(part))
        at += 8 + length + length % 2
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _bare_tiff(data: bytes) -> bytes:
    """With those entries of the first directory that pixels need, and no directory after it."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[start : start + 2])
    entries = [data[start + 2 + 12 * i : start + 14 + 12 * i] for i in range(count)]
    kept = [entry for entry in entries if len(entry) == 12 and struct.unpack(order + "H", entry[:2])[0] in _TIFF_PIXELS]
    table = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    return data[:start] + table + data[start + len(table) :]
