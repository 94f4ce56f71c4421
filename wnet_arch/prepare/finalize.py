"""The end of ``wnet prepare`` and of ``wnet prepare merge``: twins, splits, manifests, and what is said about the set."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wnet_arch.errors import NothingToDoError, UsageError
from wnet_arch.photo_formats import shown
from wnet_arch.prepare.face_lmdb_writer import FaceLMDBWriter
from wnet_arch.prepare.photo_index import PhotoIndex
from wnet_arch.words import counted

#: What a manifest holds besides the settings.
FINDINGS = (
    "format", "version", "split", "count", "counts", "shard", "photos_sha256", "enlarged", "without_landmarks", "rejected",
)  # fmt: skip

_NO_MAPS = ("all its parsing maps are unknown; networks that learn from maps need --parser compact, or --labels",)

_NO_CROP = ("give --crop five-point, which takes the face out of each photo",)


@dataclass(frozen=True)
class PrepareSummary:
    """What came of it.

    ``counts``: images by split (``""`` without ``--holdout``). ``rejected``: photos with reasons. ``enlarged`` and
    ``without_landmarks``: how many of the images had a smaller crop, and have no landmarks though they were asked for.
    ``notes``: how the set differs from what is published under its name, and what it lacks.
    """

    target: Path
    counts: dict[str, int]
    rejected: list[dict]
    enlarged: int
    without_landmarks: int = 0
    notes: tuple[str, ...] = ()

    def lines(self, first: int = 5) -> list[str]:
        """The summary for people: one line a set, one line a reason with the ``first`` few names."""
        lines = [f"{self.target / split}: {counted(count, 'face')}" for split, count in self.counts.items()]
        for count, one, more, why in (
            (self.enlarged, "was enlarged", "were enlarged", "their crop is smaller than the HR image"),
            (self.without_landmarks, "has no landmarks", "have no landmarks", "no face was found"),
        ):
            if count:
                lines.append(f"{count} of them {one if count == 1 else more}: {why}")
        for reason, count in sorted(Counter(r["reason"] for r in self.rejected).items()):
            names = [shown(r["file"]) for r in self.rejected if r["reason"] == reason]
            more = ", ..." if count > first else ""
            lines.append(f"rejected, {reason}: {count} ({', '.join(names[:first])}{more})")
        return lines + [f"note: {note}" for note in self.notes]


def add(writer: FaceLMDBWriter, outcome: dict, images: dict[str, bytes] | None = None) -> None:
    """Hands a photo to the writer; among photos of the same pixels, the first is kept."""
    twin = writer.twin(outcome["digest"]) if "digest" in outcome else None
    if twin is not None:
        outcome = {"file": outcome["file"], "reason": "duplicate", "detail": f"of {twin}", "digest": outcome["digest"]}
        images = None
    writer.add(outcome, images)


def finish(writer: FaceLMDBWriter, settings: dict, sources: Sequence[Path] = (), partial: bool = False) -> PrepareSummary:
    """Splits the kept photos, writes manifests and gives the set its name.

    Args:
        writer: has taken the outcomes of all photos.
        settings: of the set.
        sources: sets that hold the images, where the writer has not been given them.
        partial: leave out splits for which nothing is kept.

    Raises:
        UsageError: nothing is left for one of the splits.
        NothingToDoError: no photo is kept.
    """
    writer.flush()
    is_shard = "shard" in settings
    split_of, splits = _split_rule(settings, writer.done)
    tallies = _tallies(writer.done, splits, split_of, settings["size"])
    if partial or settings.get("dataset", {}).get("partial"):
        splits = tuple(split for split in splits if tallies[split].count)
    whole = tallies[""]
    rejected = [{name: outcome[name] for name in ("file", "reason", "detail")} for outcome in writer.done.rejected()]
    counts = {split: tallies[split].count for split in splits or ("",)}
    notes = (*settings.get("dataset", {}).get("notes", ()), *_NO_MAPS * (settings["parser"]["name"] == "none"))
    summary = PrepareSummary(writer.target, counts, rejected, whole.enlarged, whole.without_landmarks, notes)
    if not is_shard and not min(counts.values()):
        if whole.count and not settings["holdout"]:  # what was made stays, and the same command with --partial takes it
            raise UsageError(f"no photo for {min(counts, key=counts.__getitem__)} could be used; --partial leaves it out")
        writer.discard()
        if not whole.count:
            unsquare = bool(rejected) and all(photo["reason"] == "not square" for photo in rejected)
            summary = replace(summary, notes=_NO_CROP * unsquare)
            raise NothingToDoError("; ".join(["no photo could be used", *summary.lines()[len(counts) :]]))
        raise UsageError(f"--holdout {settings['holdout']} leaves no face for training")
    manifests = {split: _manifest(split, tallies[split], counts, settings, rejected) for split in ("", *splits)}
    writer.finish(manifests, split_of, sources, keep_outcomes=is_shard)
    return summary


def _split_rule(settings: dict, outcomes: PhotoIndex) -> tuple[Callable[[dict], str], tuple[str, ...]]:
    """The split of a kept photo by its outcome, and the names of all splits.

    A shard is not split: which photos are the last ones is known when all shards are there.
    """
    if "shard" in settings:
        return lambda outcome: "", ()
    if settings["holdout"]:
        first = outcomes.nth_last_key(settings["holdout"])
        return lambda outcome: "val" if outcome["key"] >= first else "train", ("train", "val")
    return lambda outcome: outcome["split"], tuple(settings.get("dataset", {}).get("splits", ()))


@dataclass
class Tally:
    """Sums over the kept photos of a set. ``digest``: of the lines ``key digest``, in the order of keys."""

    count: int = 0
    enlarged: int = 0
    without_landmarks: int = 0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, outcome: dict, size: int) -> None:
        """Adds a kept photo, whose face was made at ``size`` pixels."""
        self.count += 1
        self.enlarged += outcome["side"] < size
        self.without_landmarks += not outcome.get("landmarks", True)
        self.digest.update(f"{outcome['key']} {outcome['digest']}\n".encode())


def _tallies(outcomes: PhotoIndex, splits: tuple[str, ...], split_of: Callable[[dict], str], size: int) -> dict[str, Tally]:
    """Sums for each split, and for all together under ``""``."""
    tallies = {split: Tally() for split in ("", *splits)}
    for outcome in outcomes.kept():
        for split in {"", split_of(outcome)}:
            tallies[split].take(outcome, size)
    return tallies


def _manifest(split: str, tally: Tally, counts: dict, settings: dict, rejected: list[dict]) -> dict:
    """The manifest of one set, or of the folder around several."""
    return {
        "split": split or None,
        "count": tally.count,
        "counts": {name or "all": count for name, count in counts.items()},
        **settings,
        "photos_sha256": tally.digest.hexdigest(),
        "enlarged": tally.enlarged,
        **({"without_landmarks": tally.without_landmarks} if "landmarks" in settings else {}),
        "rejected": rejected,
    }
