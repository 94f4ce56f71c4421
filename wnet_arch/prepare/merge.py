"""Joins the shards of one set: ``wnet prepare merge``."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import lmdb

from wnet_arch.data.face_lmdb import read_manifest
from wnet_arch.errors import DataError, UsageError
from wnet_arch.prepare import shards
from wnet_arch.prepare.face_lmdb_writer import OUTCOMES, FaceLMDBWriter
from wnet_arch.prepare.face_maker import shapes
from wnet_arch.prepare.finalize import FINDINGS, PrepareSummary, Tally, add, finish
from wnet_arch.prepare.photo_index import PhotoIndex


def merge(paths: Sequence[Path], out: Path, overwrite: bool = False, partial: bool = False) -> PrepareSummary:
    """Makes one set of its shards, equal to what a run without shards makes. Can be interrupted; the same call continues.

    Photos of equal pixels in different shards become one, the first in the order of keys; ``holdout`` counts from the end of
    the whole list.

    Args:
        paths: folders of the shards, or what they were made for (``SET`` stands for ``SET.shard-I-of-N``).
        out: folder of the set.
        overwrite: replace a set that is there.
        partial: leave out splits for which nothing is kept.

    Raises:
        UsageError: a shard is missing, is there twice, is not one, or was made with other options; or ``out`` is in the way.
        NothingToDoError: no shard has a photo.
    """
    folders = shards.find([Path(path) for path in paths])
    own = next((folder for folder in folders if folder.resolve() == Path(out).resolve()), None)
    if own:
        raise UsageError(f"--out {out} is one of the shards, which stay as they are: name another folder")
    manifests = {folder: read_manifest(folder) for folder in folders}
    _check_complete(manifests)
    settings = _joined_settings(manifests)
    stores = shapes(settings["size"], tuple(settings["scales"]), "landmarks" in settings, settings.get("surround", 0))
    parts = {"parts": sorted(manifest["photos_sha256"] for manifest in manifests.values())}
    with FaceLMDBWriter(out, {**settings, **parts}, stores, overwrite) as writer, ExitStack() as stack:
        tables = [stack.enter_context(closing(_table(folder, manifests[folder]))) for folder in folders]
        for outcome in heapq.merge(*(table.kept() for table in tables), key=lambda outcome: outcome["key"]):
            if outcome["file"] not in writer.done:
                add(writer, outcome)
        for outcome in (outcome for table in tables for outcome in table.rejected()):
            if outcome["file"] not in writer.done:
                add(writer, outcome)  # a duplicate names the first of all shards now
        return finish(writer, settings, folders, partial=partial)


def _table(folder: Path, manifest: dict) -> PhotoIndex:
    """The table of a shard's photos, once it is known to be the one that the manifest was written for."""
    try:
        table = PhotoIndex(folder / OUTCOMES, readonly=True)
    except (lmdb.Error, DataError) as error:
        raise DataError(f"the shard {folder} has lost its table of photos ({error}): copy it again, or prepare it again") from error
    found = Tally()
    for outcome in table.kept():
        found.take(outcome, manifest["size"])
    if (found.count, found.digest.hexdigest()) != (manifest["count"], manifest["photos_sha256"]):
        table.close()
        raise DataError(
            f"the table of photos in the shard {folder} is of other photos than its manifest: copy the whole shard again"
        )
    return table


def _check_complete(manifests: dict[Path, dict]) -> None:
    """Raises unless these are all shards of one set, each once."""
    found: dict[int, Path] = {}
    count = 0
    for folder, manifest in manifests.items():
        shard = manifest.get("shard")
        if not shard:
            raise UsageError(f"{folder} is a whole set, not a shard of one")
        if not _is_whole(manifest):
            raise DataError(f"{folder} has a damaged manifest: prepare this shard again")
        if shard["count"] != (count or shard["count"]):
            raise UsageError(f"{folder} is one of {shard['count']} shards, {next(iter(manifests))} one of {count}")
        count = shard["count"]
        if shard["index"] in found:
            raise UsageError(f"{folder} and {found[shard['index']]} are the same shard, {shard['index']}/{count}")
        found[shard["index"]] = folder
    missing = [f"{index}/{count}" for index in range(count) if index not in found]
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise UsageError(f"{len(missing)} of {count} shards missing: {shown}; make them with --shard")


def _is_whole(manifest: dict) -> bool:
    """Whether a shard's manifest has what is read of it."""
    shard, digest = manifest["shard"], manifest.get("photos_sha256")
    listings = [manifest.get(name, "missing") for name in ("source", "labels")]
    return (
        isinstance(shard, dict)
        and all(isinstance(shard.get(name), int) for name in ("index", "count"))
        and all(one is None or (isinstance(one, dict) and {"folder", "files", "listing_sha256"} <= set(one)) for one in listings)
        and isinstance(manifest.get("count"), int)
        and isinstance(digest, str)
        and re.fullmatch("[0-9a-f]{64}", digest) is not None
    )


def _joined_settings(manifests: dict[Path, dict]) -> dict:
    """Settings of the whole set. Those of the shards differ in what they counted only."""
    first, *others = manifests
    joined = _settings(manifests[first])
    for folder in others:
        own = _settings(manifests[folder])
        for listing in ("source", "labels"):
            if own[listing] and joined[listing]:
                own[listing] = _added(joined[listing], own[listing])
                joined[listing] = {**own[listing], "folder": joined[listing]["folder"]}
        names = sorted(name for name in {*own, *joined} if own.get(name) != joined.get(name))
        if names:
            raise UsageError(f"{folder} was made with another {' and '.join(names)} than {first}")
    return joined


def _settings(manifest: dict) -> dict:
    return {name: value for name, value in manifest.items() if name not in FINDINGS}


def _added(one: dict, other: dict) -> dict:
    """The listing of two shards together: counts and sums add up, see ``listing_sha256`` in datasets/README.md."""
    total = (int(one["listing_sha256"], 16) + int(other["listing_sha256"], 16)) % 2**256
    return {"folder": other["folder"], "files": one["files"] + other["files"], "listing_sha256": f"{total:064x}"}
