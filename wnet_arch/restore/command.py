"""All that ``wnet restore`` does, callable from Python: photos and folders, one photo in memory at a time."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from tqdm import tqdm

from wnet_arch import disk
from wnet_arch.data.photos import Rejected, load_picture
from wnet_arch.errors import NothingToDoError, UsageError, WNetError
from wnet_arch.inference.fingerprints import code_digest
from wnet_arch.photo_formats import shown, suffixes, told
from wnet_arch.restore import files, frames
from wnet_arch.restore.listing import PhotoJob, apart, list_jobs
from wnet_arch.restore.networks import AUTO, FaceNetwork
from wnet_arch.restore.record import Record
from wnet_arch.restore.restorer import STATEMENT, FaceRestorer, RestoredFace, RestoredPhoto
from wnet_arch.weights.hashing import digest, sha256_file
from wnet_arch.words import counted

REPORT = "report.json"
#: What may go wrong with one photo, and does not stop the others. torch and OpenCV report a lack of memory as theirs.
_TROUBLE = (Rejected, WNetError, OSError, MemoryError, RuntimeError, cv2.error)
#: A face image may be as small as this.
_LEAST_FACE = 8


@dataclass
class RestoreOptions:
    """Options of ``wnet restore``, under the names of its arguments.

    Attributes:
        paths: photos and folders.
        out: folder for results.
        recursive: take the folders below as well.
        face_only: the photos are aligned faces.
        sheet: write before-and-after sheets.
        json: write ``report.json``.
        overwrite: replace files that are not of our making.
    """

    paths: Sequence[str]
    out: str
    recursive: bool = False
    face_only: bool = False
    sheet: bool = False
    json: bool = False
    overwrite: bool = False


@dataclass
class Totals:
    """Counts of a run; faces are counted in photos skipped, too.

    ``failed``: photo and reason. ``passed``: file that is no photo, and why.
    ``with_faces``: photos with a face; where photos are aligned faces, those that a network has worked on.
    """

    photos: int = 0
    skipped: int = 0
    with_faces: int = 0
    faces: int = 0
    restored: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    passed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1: a photo failed; 3: no photo had a face, or of aligned faces none was small enough; 0."""
        return 1 if self.failed else 0 if self.with_faces else NothingToDoError.exit_code


def restore_photos(
    options: RestoreOptions,
    open_restorer: Callable[[], FaceRestorer],
    tell: Callable[[str], None] = print,
) -> Totals:
    """Restores photos one by one, and skips those whose results are there already.

    Args:
        options: what to work on, and where results go.
        open_restorer: makes the restorer, once the paths have been checked.
        tell: gets a line for each photo.

    Raises:
        UsageError, WeightsError, WNetError: a path, the folder for results, an option or weights are wrong. No photo was touched.
        NothingToDoError: there is no photo.
    """
    if not options.out:
        raise UsageError("-o: name a folder for the results")
    out = Path(os.path.expanduser(options.out))
    _check_out(out)
    listing = list_jobs(options.paths, out, options.recursive)
    jobs = listing.jobs
    if not jobs and not listing.failed:
        deeper = "" if options.recursive else "; --recursive looks into the folders below"
        passed = f"; {told(listing.passed)}" if listing.passed else ""
        raise NothingToDoError(f"no photo in {', '.join(map(str, options.paths))}{passed}{deeper}")
    restorer = open_restorer()
    if not options.face_only:
        restorer.detector  # noqa: B018 - weights that are missing are no trouble of one photo
    settings = _settings(restorer, options)
    totals = Totals(failed=[(shown(path), reason) for path, reason in listing.failed], passed=listing.passed)
    with _open_record(out, options.overwrite, listing.photos) as record:
        jobs = apart(jobs, record.is_of_another)
        _restore_all(jobs, restorer, record, settings, options, totals, tell)
        if options.json:
            _write_report(record, jobs, totals, restorer)
    return totals


def _restore_all(
    jobs: Sequence[PhotoJob], restorer: FaceRestorer, record: Record, settings: str, options: RestoreOptions, totals: Totals,
    tell: Callable[[str], None],
) -> None:  # fmt: skip
    with tqdm(total=len(jobs), desc="photos", unit="photo", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:
        for job in jobs:
            try:
                entry, skipped = _restore(job, restorer, record, settings, options)
                _count(totals, entry, skipped, options.face_only)
                with bar.external_write_mode(file=sys.stdout):
                    tell(_line(entry, skipped))
            except _TROUBLE as error:
                totals.failed.append((shown(job.source), _reason(error, record.folder)))
            bar.update()


def _check_out(out: Path) -> None:
    if os.path.lexists(out) and not os.path.isdir(out):
        raise UsageError(f"-o: {out} is a file; name a folder for the results")
    if not os.path.lexists(out) and out.suffix.lower() in suffixes():
        raise UsageError(f"-o: {out} looks like a file; name a folder for the results")


def _open_record(out: Path, overwrite: bool, photos: Set[str]) -> Record:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WNetError(f"cannot make the folder {out}: {disk.reason(error, out)}") from error
    report = out / REPORT
    if os.path.lexists(report) and not (overwrite and os.path.isfile(report)) and not _is_report(report):
        raise WNetError(f"{report} is there and was not made by this command; move it, or use --overwrite")
    return Record(out, overwrite, photos)


def _is_report(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return STATEMENT.encode() in file.read(1000)
    except OSError:
        return False


def _settings(restorer: FaceRestorer, options: RestoreOptions) -> str:
    """Hash of all that decides about a photo's results but the photo."""
    networks = [f"{scale} {network.fingerprint}" for scale, network in _networks(restorer)]
    detector = "" if options.face_only else restorer.detector.name
    chosen = (
        restorer.quality == AUTO,
        restorer.scale,
        restorer.strength,
        restorer.smallest,
        restorer.turns,
        options.face_only,
        options.sheet,
    )
    return digest(*networks, detector, repr(chosen), code_digest("restore"), code_digest("faces"))


def _networks(restorer: FaceRestorer) -> list[tuple[int, FaceNetwork]]:
    """All that a photo may go through, with their scales; each once."""
    found = [*sorted(restorer.networks.items()), *sorted(restorer.real_networks.items())]
    return list({(scale, network.fingerprint): (scale, network) for scale, network in found}.values())


def _restore(job: PhotoJob, restorer: FaceRestorer, record: Record, settings: str, options: RestoreOptions) -> tuple[dict, bool]:
    """Restores one photo, unless that was done; its entry in the record, and whether it had been done."""
    if not job.source.is_file():
        raise Rejected("unreadable", "no such file" if not job.source.exists() else "not a file")
    sha256 = sha256_file(job.source)
    key = digest(sha256, settings)
    known = record.done(job.stem, key)
    if known:
        return known, True
    picture = load_picture(job.source, _LEAST_FACE, partial=True)
    record.check_free(job.stem + (".png" if options.face_only else files.suffix(picture, 1, 1)))  # before the work
    restore = restorer.restore_face if options.face_only else restorer.restore
    photo = restore(picture.rgb, picture.tables)
    photo.notes += picture.notes
    known = {"stem": job.stem, "source": str(job.source), "real": os.path.realpath(job.source), "sha256": sha256, "digest": key}
    entry = {**known, **describe(photo)}
    record.write(entry, files.pictures(job.stem, picture, photo, options.face_only, options.sheet))
    return next(record.entries([job.stem])), False


def describe(photo: RestoredPhoto) -> dict:
    """A restored photo in JSON's types, pictures left out."""
    height, width = photo.image.shape[:2]
    return {
        "width": width, "height": height, "scale": photo.scale, "turn": photo.turn,
        "jpeg_quality": photo.hints.jpeg_quality, "noise": None if photo.hints.noise is None else round(photo.hints.noise, 1),
        "tone": photo.hints.tone.name if photo.hints.tone else "colour",
        "smallest_face": round(photo.smallest, 1), "notes": photo.notes, "faces": [_describe_face(face) for face in photo.faces],
    }  # fmt: skip


def _describe_face(face: RestoredFace) -> dict:
    return {
        "restored": face.restored, "left_alone": face.left_alone, "doubts": list(face.doubts),
        "box": [round(float(side), 1) for side in face.box], "side": frames.told(face.side),
        "score": None if face.score is None else round(face.score, 3),
        "landmarks": None if face.landmarks is None else [[round(float(v), 1) for v in point] for point in face.landmarks],
        "network": face.network, "scale": face.scale, "mask": face.mask_from,
    }  # fmt: skip


def _count(totals: Totals, entry: dict, skipped: bool, face_only: bool) -> None:
    totals.photos += 1
    totals.skipped += skipped
    totals.faces += len(entry["faces"])
    totals.with_faces += any(face["network"] or not face_only for face in entry["faces"])
    totals.restored += sum(face["restored"] for face in entry["faces"])


def _line(entry: dict, skipped: bool) -> str:
    what = _what(entry["faces"], "enlarged as it is" if entry["scale"] > 1 else "not enlarged")
    notes = "; ".join(["done before"] * skipped + [what, *entry["notes"]])
    return f"{shown(next(iter(entry['files'])))}: {entry['width']}x{entry['height']}, {notes}"


def _what(faces: Sequence[dict], else_done: str) -> str:
    """What was found and made of it, and by which networks, a few words."""
    if not faces:
        return f"no face was found; {else_done}"
    found = f"{counted(len(faces), 'face')}"
    used = Counter(face["network"] for face in faces if face["restored"])
    if used:
        by = " and ".join(f"{name} ({count})" if len(used) > 1 else name for name, count in sorted(used.items()))
        return f"{found}, {used.total()} restored by {by}"
    return f"{found}, 0 restored{' (Bicubic enlarges plainly)' * any(face['network'] for face in faces)}; {else_done}"


def _reason(error: BaseException, folder: Path) -> str:
    if isinstance(error, Rejected):
        return f"{error.reason}: {error.detail}" if error.detail else error.reason
    if disk.is_full(error):
        return disk.no_space(folder)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{': ' + shown(error.filename) if error.filename else ''}"
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, WNetError) else f"{type(error).__name__} {text}".strip()


def _write_report(record: Record, jobs: Sequence[PhotoJob], totals: Totals, restorer: FaceRestorer) -> None:
    """``report.json``, entry by entry, so that memory does not grow."""
    path = record.folder / REPORT
    part = path.with_name(f".{REPORT}.part")
    failed = {source for source, _ in totals.failed}
    head = {
        "statement": STATEMENT,
        "networks": [
            {"name": net.name, "scale": scale, "training_set": net.provenance.training_set, "iterations": net.provenance.iterations}
            for scale, net in _networks(restorer)
        ],
        "failed": [{"source": source, "reason": reason} for source, reason in totals.failed],
        "passed_over": [{"source": shown(source), "reason": reason} for source, reason in totals.passed],
    }
    with open(part, "w", encoding="utf-8") as file:
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "photos": [')
        stems = (job.stem for job in jobs if shown(job.source) not in failed)
        for number, entry in enumerate(record.entries(stems)):
            entry.pop("real", None)  # where the photo lay is nobody's business
            file.write(",\n  " * bool(number) + "\n  " * (not number) + json.dumps(entry))
        file.write("\n ]\n}\n")
    part.replace(path)
