"""What the report and the figure show of a face: its images, landmarks and parsing maps. Slow parts are kept in the cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch

from wnet_arch.benchmark.cache import Cache
from wnet_arch.benchmark.results import NetworkRecord, Results, SetRecord
from wnet_arch.benchmark.runner import sr_faces
from wnet_arch.data.face_lmdb import decode_landmarks, encode_landmarks, encode_png
from wnet_arch.data.face_parsing_dataset import decode_labels, image_tensor
from wnet_arch.errors import DataError, WNetError, named
from wnet_arch.faces import labels
from wnet_arch.inference.provenance import Provenance
from wnet_arch.inference.sources import Exchanged, Folder, Network, Onnx, Source, estimates_map, may_estimate_map
from wnet_arch.inference.test_sets import TestSet, open_set
from wnet_arch.weights.hashing import digest, sha256_file

#: Name under which the true face stands beside the networks.
TRUE = "HR"


@dataclass
class DrawnFace:
    """One face. Images uint8 RGB; ``landmarks`` (68, 2), NaN where no face was found; maps uint8 (H, W). By network, or ``TRUE``.

    ``parsing``: classes that a parser finds in the image. ``estimated``: the map that a network estimates itself, 0..255.
    """

    key: str
    hr: np.ndarray
    lr: np.ndarray
    sr: dict[str, np.ndarray]
    landmarks: dict[str, np.ndarray] = field(default_factory=dict)
    parsing: dict[str, np.ndarray] = field(default_factory=dict)
    estimated: dict[str, np.ndarray] = field(default_factory=dict)


def source_of(record: NetworkRecord) -> Source:
    """The source that a record was made of."""
    known = Provenance(record.training_set, record.iterations, record.seed)
    common = (record.name, record.scale, record.fingerprint, known, record.path)
    if record.kind == "network":
        return Network(*common, weights=record.path, block=record.block)
    if record.kind == "exchanged":
        return Exchanged(*common, weights=record.path, block=record.block, parsing=record.name.rpartition(": ")[2])
    return {"folder": Folder, "onnx": Onnx}[record.kind](*common)


def reopen(record: SetRecord, scale: int) -> TestSet:
    """The test set of a record.

    Raises:
        DataError: it is gone, or has lost faces.
    """
    found = open_set(record.path, record.name, [scale], side=record.size[0] if record.reduced else None)
    missing = sorted(set(record.keys) - set(found.keys))
    if missing:
        raise DataError(f"{record.path} has lost {len(missing)} of its faces since the benchmark: {named(missing)}")
    return found


def faces(results: Results, cache: Cache, set_record: SetRecord, scale: int, keys: list[str]) -> list[DrawnFace]:
    """Images of some faces by all networks of a scale.

    Raises:
        DataError: the set, or a folder of SR images, has changed.
        WNetError: the cache does not hold the images any more.
    """
    test_set = reopen(set_record, scale)
    made = {}
    for record in results.at(scale):
        source = source_of(record)
        source.check(test_set)
        made[record.name] = sr_faces(cache, source, test_set, keys)
    found = []
    for key in keys:
        hr = test_set.hr(key)
        face = DrawnFace(key, hr, test_set.lr(key, scale, hr), {name: images[key] for name, images in made.items()})
        _check_measured(results, cache, face, set_record, scale)
        found.append(face)
    return found


def _check_measured(results: Results, cache: Cache, face: DrawnFace, set_record: SetRecord, scale: int) -> None:
    """The images are those whose values stand beside them: their hashes are known to the cache."""
    measure = results.measures[0].fingerprint(scale)
    for name, image in face.sr.items():
        if not cache.values(digest(image), digest(face.hr), measure):
            raise DataError(
                f"{face.key} of {set_record.name}, or what {name} made of it, has changed since the benchmark: run it again"
            )


def add_landmarks(results: Results, cache: Cache, drawn: list[DrawnFace], scale: int) -> None:
    """Fills in landmarks, if the benchmark measured them."""

    def points(metric, images, reference) -> list[np.ndarray]:
        return list(metric.describe(images, reference).points)

    _add(results, cache, drawn, scale, "landmarks", points, encode_landmarks, lambda data: decode_landmarks(data, "cache"))


def add_parsing(results: Results, cache: Cache, drawn: list[DrawnFace], scale: int) -> None:
    """Fills in the maps that the parser finds, if the benchmark measured parsing."""

    def maps(metric, images, reference) -> list[np.ndarray]:
        return list(metric.describe(images, reference).maps)

    _add(results, cache, drawn, scale, "parsing", maps, encode_png, lambda data: decode_labels(data, "cache"))


def _add(results, cache, drawn: list[DrawnFace], scale: int, what: str, find: Callable, encode: Callable, decode: Callable) -> None:
    """Describes the images that the cache does not know, all those of a network at once: metrics work in batches."""
    measure = next((measure for measure in results.measures if measure.metric == what), None)
    if measure is None or not drawn:
        return
    metric, name = measure.create(scale), measure.fingerprint(scale)
    for who in (TRUE, *drawn[0].sr):
        images = [face.hr if who == TRUE else face.sr[who] for face in drawn]
        places = [digest(image, face.hr) for image, face in zip(images, drawn)]
        new = [i for i, place in enumerate(places) if cache.drawn(place, name) is None]
        if new:
            reference = metric.describe([drawn[i].hr for i in new])
            found = find(metric, [images[i] for i in new], reference)
            cache.store_drawn([(places[i], name, encode(_or_none(one))) for i, one in zip(new, found)])
        for face, place in zip(drawn, places):
            getattr(face, what)[who] = decode(cache.drawn(place, name))


def _or_none(found: np.ndarray) -> np.ndarray | None:
    return None if found.dtype.kind == "f" and np.isnan(found).any() else found


def add_estimated(results: Results, cache: Cache, drawn: list[DrawnFace], set_record: SetRecord, scale: int) -> None:
    """Fills in the parsing maps that networks estimate themselves (W-Net's Figure 8), beside the skin map of the set."""
    for record in results.at(scale):
        if record.kind != "network" or not may_estimate_map(record.block):
            continue
        what, places = digest("estimated", record.fingerprint), [digest(face.lr) for face in drawn]
        kept = [cache.drawn(place, what) for place in places]
        known = [data for data in kept if data is not None]
        if len(known) < len(kept):
            net = _unchanged(record)
            if net is None or not estimates_map(net):
                continue
            known = [encode_png(_estimate(net, face.lr)) for face in drawn]
            cache.store_drawn([(place, what, data) for place, data in zip(places, known)])
        for face, data in zip(drawn, known):
            face.estimated[record.name] = _grey(data)
    if any(face.estimated for face in drawn):
        _add_true_skin(drawn, reopen(set_record, scale))


def _unchanged(record: NetworkRecord) -> torch.nn.Module | None:
    """The network of a record, or nothing, with a note, where its weights are not those of the benchmark any more."""
    if not os.path.isfile(record.path):
        print(f"note: the map that {record.name} estimates is left out: its weights {record.path} are gone")
        return None
    if record.weights_sha256 and sha256_file(Path(record.path)) != record.weights_sha256:
        print(f"note: the map that {record.name} estimates is left out: {record.path} has changed since the benchmark")
        return None
    return cast(Network, source_of(record)).build()


def _estimate(net: torch.nn.Module, lr: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        out = net(image_tensor(lr)[None], return_aux=True)
    return (out.parsing[0].float().mean(0).clamp(0, 1) * 255).round().byte().numpy()


def _grey(data: bytes) -> np.ndarray:
    import cv2

    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise WNetError("the cache holds a damaged map: remove it, it is only a cache")
    return image


def _add_true_skin(drawn: list[DrawnFace], test_set: TestSet) -> None:
    for face in drawn:
        label = test_set.labels(face.key)
        if label is not None and (label != labels.UNKNOWN).any():
            face.estimated[TRUE] = labels.skin_picture(label)
