"""All that ``wnet export`` does, callable from Python."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError

from wnet_arch import disk
from wnet_arch.data.decoding import image_tensor
from wnet_arch.errors import DataError, UsageError, WNetError
from wnet_arch.export import checks, onnx_file, program_file, tensors_file
from wnet_arch.export.speed import Speed, measure
from wnet_arch.export.storage import PRECISIONS, rounded
from wnet_arch.export.subject import Outputs, Subject, open_subject
from wnet_arch.inference.test_sets import TestSet, open_sets
from wnet_arch.restore.frames import OUTPUT
from wnet_arch.words import counted

FORMATS = {module.SUFFIX: module for module in (onnx_file, program_file, tensors_file)}
#: How far short weights may move a pixel of a face.
ROUNDING_LIMITS = {"fp16": 1 / 255, "bf16": 8 / 255}


@dataclass
class Exported:
    """A written file.

    Attributes:
        path, bytes: of the file.
        subject: the network in it.
        precision: of its weights.
        checked_with: name and version of what ran it.
        difference: largest of any value between the file and torch, on batches of :data:`wnet_arch.export.checks.BATCHES`.
        rounding: largest difference of a pixel between float32 weights and short ones; ``None`` for fp32.
        set_name, faces, set_difference, set_rounding: the same on faces of a set, where that was asked for.
        speeds: of the file beside torch, on those faces.
    """

    path: Path
    subject: Subject
    precision: str
    checked_with: str
    bytes: int = 0
    difference: float = 0.0
    rounding: float | None = None
    set_name: str | None = None
    faces: int = 0
    set_difference: float = 0.0
    set_rounding: float | None = None
    speeds: list[Speed] = field(default_factory=list)


def export_network(
    network: str,
    out: str | os.PathLike,
    precision: str = "fp32",
    overwrite: bool = False,
    check: str | None = None,
    faces: int | None = None,
) -> Exported:
    """Writes a network as one file, and compares that with torch before it gets its name.

    Args:
        network: a shipped network by its name, or a run, ``.pth`` or ``.safetensors`` file, ``[LABEL=]WHAT[@OPTIONS.yml]``.
        out: the file; its suffix says the format, one of :data:`FORMATS`.
        precision: of the weights in it: ``fp32``, ``fp16`` or ``bf16``.
        overwrite: replace a file that is there.
        check: a test set, as ``wnet benchmark --sets`` takes them, to compare and time the file on.
        faces: how many of that set, from its beginning; ``None`` is 50.

    Raises:
        UsageError, WeightsError, DataError: an argument, the weights or the set are wrong, or a package is missing.
        WNetError: the place cannot be written, or the file gives other faces than torch. Nothing is left of it then.
    """
    if faces is not None and not check:
        raise UsageError("--faces: says how many of --check SET, which is not given")
    faces = 50 if faces is None else faces
    out = Path(os.path.expanduser(out))
    kind = _format(out, precision, faces)
    kind.need()
    _check_place(out, overwrite)
    subject = open_subject(network)
    _check_not_itself(out, subject)
    test_set = _open_set(check, subject.scale, faces) if check else None
    lqs = None if test_set is None else _faces(test_set, subject)
    done = Exported(out, subject, precision, kind.describe())
    part = out.with_name(f".{out.stem}.part{out.suffix}")
    try:
        _begin(part)
        _write_and_check(kind, part, done, test_set, lqs)
        done.bytes = part.stat().st_size
        part.replace(out)
    except (OSError, SafetensorError) as error:
        raise WNetError(f"cannot write {out}: {disk.reason(error, part)}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return done


def _open_set(check: str, scale: int, faces: int) -> TestSet:
    try:
        return open_sets([check], [scale], faces)[0]
    except (UsageError, DataError) as error:  # the benchmark has another name for it
        raise type(error)(str(error).replace("--sets: ", "--check: ", 1)) from error


def _write_and_check(kind, part: Path, done: Exported, test_set: TestSet | None, lqs: torch.Tensor | None) -> None:
    full = done.subject.outputs
    short = full if done.precision == "fp32" else Outputs(rounded(full.net, done.precision), full.side)
    kind.write(short, done.subject.about(done.precision), done.precision, part)
    trial, what = checks.trial_faces(full.side), str(done.path)
    done.difference = checks.check_batches(kind.reopen(part), short, trial, kind.LIMIT, what)
    done.rounding = _rounding(full, checks.results(short, trial), trial, done.precision, what)
    if test_set is None or lqs is None:
        return
    wanted, what = checks.results(short, lqs), f"{what}, faces of {test_set.name}"
    found = checks.results(kind.reopen(part), lqs)
    done.set_name, done.faces = test_set.name, len(lqs)
    done.set_difference = checks.accepted(checks.difference(found, wanted), kind.LIMIT, what)
    done.set_rounding = _rounding(full, wanted, lqs, done.precision, what)
    if kind is not tensors_file:  # those are run by torch itself
        done.speeds = measure(full, lambda threads: kind.reopen(part, threads), lqs)


def _rounding(full: Outputs, short: list[torch.Tensor], faces: torch.Tensor, precision: str, what: str) -> float | None:
    """How far short weights move the pixels of faces."""
    if precision == "fp32":
        return None
    sr = checks.results(full, faces)[0]
    return checks.accepted(checks.difference([short[0]], [sr]), ROUNDING_LIMITS[precision], f"{what}, weights in {precision}")


def _format(out: Path, precision: str, faces: int):
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"-o: {out} has no suffix of {', '.join(FORMATS)}, which says the format")
    if precision not in PRECISIONS:
        raise UsageError(f"--precision: {' or '.join(PRECISIONS)}, not {precision!r}")
    if faces < 1:
        raise UsageError(f"--faces: at least 1, not {faces}")
    return FORMATS[out.suffix.lower()]


def _check_place(out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise UsageError(f"-o: {out} is a folder; name a file in it")
    if os.path.lexists(out) and not overwrite:
        raise UsageError(f"-o: {out} is there already; --overwrite replaces it")
    if not out.parent.is_dir():
        raise UsageError(f"-o: there is no folder {out.parent}")


def _check_not_itself(out: Path, subject: Subject) -> None:
    if out.exists() and os.path.samefile(out, subject.path):
        raise UsageError(f"-o: {out} is the network that is to be exported; choose another name")


def _begin(part: Path) -> None:
    """Finds out, before the work, whether the place can be written."""
    with open(part, "wb"):
        pass


def _faces(test_set: TestSet, subject: Subject) -> torch.Tensor:
    """LR faces of a set: float32 (B, 3, side, side)."""
    if test_set.size != (OUTPUT, OUTPUT):
        height, width = test_set.size
        raise DataError(f"--check: the faces of {test_set.path} are {width}x{height}; exported networks make {OUTPUT}x{OUTPUT}")
    return torch.stack([image_tensor(test_set.lr(key, subject.scale)) for key in test_set.keys])


def report(done: Exported) -> list[str]:
    """What was written and seen, a line each."""
    source, grey = done.subject.provenance, 255
    known = []
    if source.training_set:
        known.append(f"trained on {source.training_set}")
    if source.iterations is not None:
        known.append(f"{source.iterations:,} iterations")
    if source.seed is not None:
        known.append(f"seed {source.seed}")
    origin = ", ".join(known) or "nothing is known of its training"
    lines = [f"{done.path}: {done.subject.name}, {done.subject.kind}, {done.precision}, {done.bytes / 1e6:.1f} MB; {origin}"]
    if "terms" in done.subject.texts:
        lines.append(f"terms: {done.subject.texts['terms']}")
    batches = ", ".join(map(str, checks.BATCHES))
    lines.append(f"{done.checked_with}: batches of {batches} equal torch to {done.difference:.1e}")
    if done.rounding is not None:
        limit = ROUNDING_LIMITS[done.precision] * grey
        lines.append(f"weights in {done.precision} move pixels by {done.rounding * grey:.2f} grey levels at most (limit {limit:g})")
    if done.set_name is not None:
        moved = (
            ""
            if done.set_rounding is None
            else f"; {done.precision} moves them by {done.set_rounding * grey:.2f} grey levels at most"
        )
        lines.append(f"{counted(done.faces, 'face')} of {done.set_name} equal torch to {done.set_difference:.1e}{moved}")
    for speed in done.speeds:
        times = f"torch {speed.torch * 1e3:.1f} ms, file {speed.file * 1e3:.1f} ms, {speed.ratio:.2f} times as fast"
        lines.append(f"one face on {counted(speed.threads, 'thread')}: {times} (medians of turns, {speed.clock})")
    return lines
