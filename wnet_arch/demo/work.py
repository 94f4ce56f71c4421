"""One photo through the restorer, and the files that the page shows of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from wnet_arch.demo import drawing
from wnet_arch.demo.choices import title
from wnet_arch.demo.limits import Limits, open_upload
from wnet_arch.photo_formats import stem
from wnet_arch.restore import FaceRestorer, RestoredFace, RestoredPhoto, files, paste

#: Faces in the gallery; all are in the list and in the photo.
GALLERY = 60


@dataclass
class Shown:
    """What the page shows of a photo; paths of files in the folder it was given.

    Attributes:
        before, after: the photo plainly enlarged and restored, reduced where a browser would have trouble.
        boxes: the photo with numbered faces.
        parsing: the network's own map over the plainly enlarged photo; ``None`` where it makes none.
        about_parsing: what that shows, or why there is none, HTML.
        faces: of each restored face, what the network got and made side by side, and a caption.
        close_ups: of the same faces, plainly enlarged and restored, with their surroundings.
        download: the restored photo, in full.
        summary, lines: what was found and done, and a line for each face, HTML.
    """

    before: str
    after: str
    boxes: str
    parsing: str | None
    about_parsing: str
    download: str
    summary: str
    lines: str
    faces: list[tuple[str, str]] = field(default_factory=list)
    close_ups: list[tuple[str, str]] = field(default_factory=list)


def restore_upload(path: str, restorer: FaceRestorer, limits: Limits, folder: Path) -> Shown:
    """Restores an uploaded photo.

    Args:
        path: of the photo.
        folder: gets a folder of its own for the results.

    Raises:
        DataError: the photo is too large, cannot be read, or would become too large.
    """
    picture = open_upload(path, limits)
    photo = restorer.restore(picture.rgb, picture.tables)
    photo.notes += picture.notes
    place = Path(tempfile.mkdtemp(dir=folder))
    plain = paste.enlarge(picture.rgb, photo.scale)
    before, after = drawing.fitted(plain), drawing.fitted(photo.image)
    keep = partial(_keep, place)
    overlay = drawing.parsing_overlay(photo, picture.rgb.shape[:2], before)
    download = Path(tempfile.mkdtemp(dir=place)) / f"{stem(Path(path).name)}.png"  # as `wnet restore` would call it
    files.save(photo.image, picture.icc, ".png", download, photo.changed)
    shown = Shown(
        keep("before", before),
        keep("after", after),
        keep("boxes", drawing.numbered(picture.rgb, photo.faces)),
        None if overlay is None else keep("parsing", overlay),
        about_parsing(photo),
        str(download),
        summary(Path(path).name, picture.rgb, photo),
        listing(photo.faces),
    )
    for number, face in enumerate(photo.faces, 1):
        if face.cut_out and len(shown.faces) < GALLERY:
            shown.faces.append((keep(f"face{number}", drawing.before_and_after(face)), f"{number} · {face.side:.0f} pixels"))
            then, now = (drawing.close_up(image, face, photo.scale) for image in (plain, photo.image))
            shown.close_ups.append((keep(f"before{number}", then), keep(f"after{number}", now)))
    return shown


def summary(name: str, rgb: np.ndarray, photo: RestoredPhoto) -> str:
    """What was found and done, a sentence or two of HTML."""
    height, width = photo.image.shape[:2]
    count, restored = len(photo.faces), len(photo.restored)
    found = f"no face was found; the photo was {'enlarged' if photo.scale > 1 else 'left'} as it is"
    if count:
        found = f"{count} face{'s' * (count != 1)} found, {restored} restored"
    size = f"{rgb.shape[1]} × {rgb.shape[0]} became {width} × {height} pixels"
    if photo.scale == 1:
        size = f"It keeps its {width} × {height} pixels"
    notes = "".join(f"<br>{escape(note[:1].upper() + note[1:])}." for note in photo.notes)
    return f"<b>{escape(name)}</b>: {found}. {size}.{notes}"


def about_parsing(photo: RestoredPhoto) -> str:
    """What the networks' own maps show, or why there are none, a sentence of HTML."""
    if any(face.skin is not None for face in photo.faces):
        return "What the network itself takes for skin, by which it is guided: the more colour, the surer it is."
    names = list(dict.fromkeys(title(str(face.network)) for face in photo.restored))
    if not names:
        return "No face was restored, so there is no map."
    return f"{escape(' and '.join(names))} estimate{'s' * (len(names) == 1)} no map of the face."


def listing(faces: list[RestoredFace]) -> str:
    """A line for each face, HTML."""
    lines = []
    for face in faces:
        network = escape(title(str(face.network)))
        done = f"{face.side:.0f} pixels, {'restored' if face.restored else 'enlarged'} by {network} x{face.scale}"
        lines.append(f"<li>{done if face.cut_out else 'left alone: ' + drawing.why_left_alone(face)}</li>")
    return f"<ol>{''.join(lines)}</ol>" if lines else ""


def _keep(folder: Path, name: str, image: np.ndarray) -> str:
    """Writes a picture for the browser, without loss."""
    path = folder / f"{name}.png"
    Image.fromarray(image).save(path, compress_level=1)
    return str(path)
