"""What makes SR faces: networks with weights, folders of images made elsewhere, ONNX files.

Each kind is a :class:`Source`: light, sent to worker processes as it is, and turned into something that computes by
:meth:`Source.load` in each of them.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from wnet_arch.archs import create_network
from wnet_arch.archs.base import NETWORKS, build_network
from wnet_arch.archs.guided import MapGuidedNetwork
from wnet_arch.archs.wnet_blocks import PARSING_CHANNELS
from wnet_arch.data.decoding import decode_rgb, image_size, image_tensor
from wnet_arch.data.face_parsing_dataset import FolderReader
from wnet_arch.errors import DataError, UsageError, WeightsError, named
from wnet_arch.faces import labels
from wnet_arch.inference.fingerprints import code_digest, code_of, libraries, machine, named_files, onnx_files
from wnet_arch.inference.onnx import OnnxNetwork
from wnet_arch.inference.provenance import Provenance
from wnet_arch.inference.runners import OnnxRunner, Runner, TorchRunner
from wnet_arch.inference.test_sets import TestSet
from wnet_arch.weights.checkpoint import load_into
from wnet_arch.weights.hashing import digest
from wnet_arch.weights.metadata import origin

#: Takes LR faces, uint8 (h, w, 3), of one size and their keys; gives SR faces, uint8 (H, W, 3).
Restorer = Callable[[Sequence[np.ndarray], Sequence[str]], "list[np.ndarray]"]


#: Files of ``wnet export`` say so, with the version.
MADE_BY = "wnet-fsr"


@dataclass(frozen=True)
class Source(ABC):
    """One network at one scale.

    Attributes:
        name: what tables call it.
        scale: its factor.
        fingerprint: hash of all that decides about its SR images.
        provenance: of its weights.
        path: of its file or folder, for the record.
    """

    name: str
    scale: int
    fingerprint: str = ""
    provenance: Provenance = field(default_factory=Provenance)
    path: str = ""
    kind = "source"

    def check(self, test_set: TestSet) -> None:  # noqa: B027 - most sources serve every set
        """Raises :class:`DataError` if it cannot serve a test set, before anything is computed."""

    @abstractmethod
    def load(self, test_set: TestSet, device: str, batch: int) -> Restorer:
        """Builds what computes, for one process."""


class Computed(Source):
    """A source that computes, with weights or without."""

    @abstractmethod
    def open(self, device: str, threads: int = 1) -> Runner:
        """Builds what computes.

        Args:
            device: where it runs.
            threads: of ONNX Runtime on the CPU; torch has its own setting.

        Raises:
            NetworkError, WeightsError: options or weights are wrong.
        """

    def load(self, test_set: TestSet, device: str, batch: int) -> Restorer:
        """See :class:`Source`; what was built serves all sets of this process."""
        if (self.fingerprint, device) not in _OPEN:
            _OPEN[self.fingerprint, device] = self.open(device)
        runner = _OPEN[self.fingerprint, device]

        def restore(lqs: Sequence[np.ndarray], keys: Sequence[str]) -> list[np.ndarray]:
            return [result.sr for result in runner.run(lqs, keys, batch)]

        return restore


_OPEN: dict[tuple[str, str], Runner] = {}


@dataclass(frozen=True)
class Network(Computed):
    """A registered network; ``weights`` is empty for Bicubic. ``block`` is ``network_g`` of an option file."""

    weights: str = ""
    block: dict = field(default_factory=dict)
    kind = "network"

    def build(self) -> nn.Module:
        """The network with its weights, in eval mode, on the CPU.

        Raises:
            NetworkError: the options are wrong.
            WeightsError: the weights are missing, or those of another configuration.
        """
        net = build_network(self.block)
        if self.weights:
            load_into(net, self.weights, "params_ema")
        return net.eval()

    def open(self, device: str, threads: int = 1) -> TorchRunner:
        """See :class:`Computed`. ``threads`` is not used: torch has a setting of its own."""
        return TorchRunner(self.name, self.scale, self.build().to(device), device)


#: What may stand for the map that a network estimates: nothing, the estimate of another face, the truth.
MAPS = ("zeros", "other", "true")


@dataclass(frozen=True)
class Exchanged(Network):
    """A network that estimates a parsing map and is given another, one of :data:`MAPS`: what the map is worth to it.

    ``other`` is the network's own estimate of the next face of the set, that of the first for the last. Unknown parts of the true
    map are not skin.
    """

    parsing: str = "zeros"
    kind = "exchanged"

    def check(self, test_set: TestSet) -> None:
        """The set has true maps, if these are asked for, and more than one face."""
        if self.parsing == "true" and test_set.parsing is None:
            raise DataError(f"--maps true: {test_set.name} has no parsing maps; prepare it with --parser or --labels")
        if self.parsing == "other" and len(test_set.keys) < 2:
            raise DataError(f"--maps other: {test_set.name} has one face only")

    def load(self, test_set: TestSet, device: str, batch: int) -> Restorer:
        """See :class:`Source`. Face by face: each has its own map."""
        if (self.fingerprint, device) not in _OPEN:
            _OPEN[self.fingerprint, device] = self.open(device)
        net = cast(nn.Module, cast(TorchRunner, _OPEN[self.fingerprint, device]).net)  # what open() has made

        def restore(lqs: Sequence[np.ndarray], keys: Sequence[str]) -> list[np.ndarray]:
            found = []
            for lq, key in zip(lqs, keys):
                guided = functools.partial(net, parsing=self._map(net, test_set, key).to(device))
                found += [result.sr for result in TorchRunner(self.name, self.scale, guided, device).run([lq], [key])]
            return found

        return restore

    def _map(self, net: nn.Module, test_set: TestSet, key: str) -> torch.Tensor:
        """(1, 3, H, W), on the CPU."""
        if self.parsing == "zeros":
            return torch.zeros(1, PARSING_CHANNELS, *test_set.size)
        if self.parsing == "true":
            skin = torch.from_numpy(test_set.labels(key) == labels.SKIN).float()
            return skin.expand(1, PARSING_CHANNELS, -1, -1)
        keys = test_set.keys
        lq = image_tensor(test_set.lr(keys[(keys.index(key) + 1) % len(keys)], self.scale))[None]
        with torch.inference_mode():
            return net(lq.to(next(net.parameters()).device), return_aux=True).parsing.float().cpu()


def estimates_map(net: torch.nn.Module) -> bool:
    """Whether a network estimates a parsing map and is guided by it (WNetLite can be built without)."""
    return isinstance(net, MapGuidedNetwork) and getattr(net.trunk, "to_map", net) is not None


def may_estimate_map(block: dict) -> bool:
    """Whether a network of this type can: told without building it."""
    return issubclass(NETWORKS.get(str(block.get("type")).removesuffix("_face"), object), MapGuidedNetwork)


def exchanged(source: Source, parsing: str, test_sets: Sequence[TestSet]) -> Exchanged | None:
    """The source with another map, ``None`` for one that takes none.

    Args:
        parsing: one of :data:`MAPS`.
        test_sets: that it will run on; which map a face gets depends on them.
    """
    if not isinstance(source, Network) or not source.weights:
        return None
    if not estimates_map(source.build()):
        return None
    of_sets = []
    if parsing != "zeros":
        of_sets = [one for test_set in test_sets for one in (test_set.path, *test_set.keys)]
    if parsing == "other":  # made from the neighbour's LR face
        of_sets += [digest(test_set.lr(key, source.scale)) for test_set in test_sets for key in test_set.keys]
    if parsing == "true":
        maps = (test_set.labels(key) for test_set in test_sets for key in test_set.keys)
        of_sets += [digest(found) for found in maps if found is not None]
    known = {field.name: getattr(source, field.name) for field in fields(source)}
    fingerprint = digest(source.fingerprint, f"map: {parsing}", *of_sets)
    return Exchanged(**{**known, "name": f"{source.name}, map: {parsing}", "fingerprint": fingerprint}, parsing=parsing)


def bicubic(scale: int) -> Network:
    """PIL's bicubic filter, which needs no weights."""
    create_network("Bicubic", scale)  # tells which scales there are
    block = {"type": "Bicubic", "scale": scale}
    provenance = Provenance()
    return Network("Bicubic", scale, digest("Bicubic", str(scale), code_digest("archs"), libraries()), provenance, block=block)


def weights_network(name: str, weights: str, block: dict, scale: int, provenance: Provenance, device: str) -> Network:
    """A network with a weights file. Builds it once, so that a wrong file is found before the run.

    Raises:
        WeightsError, UsageError: the file or the options are wrong.
    """
    from wnet_arch.weights.hashing import sha256_file

    if not os.path.isfile(weights):
        raise WeightsError(f"there is no weights file {weights}")
    source = Network(name, scale, "", provenance, weights, weights, block)
    try:
        code = code_digest("archs"), code_of(source.build())
    except (KeyError, TypeError) as error:
        raise UsageError(f"{name}: the network of {weights} cannot be built: {error}") from error
    files = sha256_file(Path(weights)), *named_files(block)
    parts = *files, json.dumps(block, sort_keys=True), str(scale), machine(device), libraries(), *code
    return replace(source, fingerprint=digest(*parts))


def batched(source: Source, batch: int) -> Source:
    """The same source, run in batches: a convolution sums in another order in each size, so the last digits differ."""
    if batch == 1 or not source.fingerprint:
        return source
    return replace(source, fingerprint=digest(source.fingerprint, f"batches of {batch}"))


@dataclass(frozen=True)
class Onnx(Computed):
    """An ONNX file: float32 (B, 3, h, w) RGB in [0, 1] to (B, 3, H, W), its first output. ``fixed``: (h, w) it takes."""

    fixed: tuple[int, int] | None = None
    kind = "onnx"

    def check(self, test_set: TestSet) -> None:
        """The faces have the size that the file was made for."""
        size = test_set.size[0] // self.scale, test_set.size[1] // self.scale
        if self.fixed and size != self.fixed:
            made, given = (f"{width}x{height}" for height, width in (self.fixed, size))
            raise DataError(
                f"{self.path} was made for faces of {made} pixels; LR faces of {test_set.name} x{self.scale} are {given}"
            )

    def open(self, device: str, threads: int = 1) -> OnnxRunner:
        """See :class:`Computed`."""
        return OnnxRunner(self.name, self.scale, OnnxNetwork(self.path, device, threads))


def onnx(name: str, path: str, device: str) -> Onnx:
    """An ONNX file; its scale is found by running it once.

    Raises:
        UsageError, WeightsError: as :class:`wnet_arch.inference.onnx.OnnxNetwork`; or its metadata are damaged.
    """
    network = OnnxNetwork(path, device)
    height, width = network.size
    fixed = None if height is None or width is None else (height, width)
    fingerprint = digest(onnx_files(path), network.runs_on, machine(device), libraries())
    return Onnx(name, network.find_scale(), fingerprint, _onnx_provenance(network), path, fixed)


def _onnx_provenance(network: OnnxNetwork) -> Provenance:
    """What a file of ``wnet export`` says of its weights; other programs may mean something else by the same words."""
    if not network.metadata.get("made_by", "").startswith(MADE_BY):
        return Provenance()
    try:
        return origin(network.metadata)
    except ValueError as error:
        raise WeightsError(f"{network.path}: its metadata is damaged ({error})") from error


@dataclass(frozen=True)
class Folder(Source):
    """SR images made by any other program, named as the HR images. ``path`` may hold ``{set}``, ``{scale}`` and ``{name}``."""

    kind = "folder"

    def check(self, test_set: TestSet) -> None:
        """All images are there, and have the size of the HR images."""
        files = self._files(test_set)
        missing = [key for key in test_set.keys if key not in files]
        if missing:
            hint = "" if "{name}" in self.path else "; if its names have an ending of their own, write FOLDER/{name}_ending.png"
            where = self._place(test_set)
            raise DataError(f"{self.name}: {where} lacks {len(missing)} of the faces of {test_set.name}: {named(missing)}{hint}")
        odd = []
        for key in test_set.keys:
            size = image_size(files[key])
            if size != test_set.size:
                odd.append(f"{os.path.basename(files[key])} is {size[1]}x{size[0]}")
        if odd:
            height, width = test_set.size
            raise DataError(f"{self.name}: the HR faces of {test_set.name} are {width}x{height}, but {named(odd)}")

    def load(self, test_set: TestSet, device: str, batch: int) -> Restorer:
        """See :class:`Source`; the LR faces are not looked at, and images that cannot be read raise :class:`DataError`."""
        files = self._files(test_set)

        def restore(lqs: Sequence[np.ndarray], keys: Sequence[str]) -> list[np.ndarray]:
            return [decode_rgb(Path(files[key]).read_bytes(), files[key]) for key in keys]

        return restore

    def _place(self, test_set: TestSet) -> str:
        return self.path.replace("{set}", test_set.name).replace("{scale}", str(self.scale))

    def _files(self, test_set: TestSet) -> dict[str, str]:
        place = self._place(test_set)
        if "{name}" in place:
            files = {key: place.replace("{name}", key) for key in test_set.keys}
            return {key: path for key, path in files.items() if os.path.isfile(path)}
        reader = FolderReader(place)
        return {key: os.path.join(place, file) for key, file in reader.files.items()}


def check_folders(found: Sequence[Source], test_sets: Sequence[TestSet]) -> None:
    """No folder of SR images is taken for two sets whose faces have the same names.

    Raises:
        UsageError: one is.
    """
    for one, other in itertools.combinations(test_sets, 2):
        common = sorted(set(one.keys) & set(other.keys))
        for source in found:
            if common and isinstance(source, Folder) and "{set}" not in source.path:
                raise UsageError(
                    f"--networks: {one.name} and {other.name} both have a face {common[0]}, and {source.path} has one image "
                    "of that name: write {set} where the folders' names have it, or measure the sets one by one"
                )
