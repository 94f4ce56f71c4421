"""The networks one can choose from on the page. Each is opened on first use, and all share one detector."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wnet_arch.errors import UsageError
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.faces.detectors import create_detector
from wnet_arch.restore import FaceRestorer
from wnet_arch.restore.networks import BICUBIC, DEFAULT, QUALITIES
from wnet_arch.weights import packages, shipped

#: Scales that the page offers, besides what the faces need.
SCALES = (1, 2, 4, 8)


@dataclass(frozen=True)
class Choice:
    """What :class:`FaceRestorer` is opened with: the name of a shipped network, weights of the user's, or a quality."""

    network: str | None
    weights: tuple[str, ...] = ()
    quality: str | None = None


class Choices:
    """Networks by the labels that the page shows.

    Args:
        network: chosen at first; ``None``: the weights given, or else the default network.
        weights: of the user's; each entry is one choice, with one file for each scale at most.
        device: where networks and detector run.
        offline: folder with the detector's weights; nothing is downloaded.
        detector: instead of MTCNN.

    Raises:
        UsageError, WeightsError: a name is unknown, or weights are missing, damaged, or two for one scale.
    """

    def __init__(
        self,
        network: str | None = None,
        weights: Sequence[Sequence[str]] = (),
        device: str = "cpu",
        offline: str | None = None,
        detector: Detector | None = None,
    ):
        self._device, self._lock = device, threading.Lock()
        self._detector = Remembering(detector or create_detector("mtcnn", device, offline))
        self._opened: dict[str, FaceRestorer] = {}
        self._choices: dict[str, Choice] = {}
        for paths in weights:
            self._add_own(tuple(paths))
        packages.note_faults()
        own = list(self._choices)
        for name, scales in _shipped().items():
            self._choices[_label(name, scales)] = Choice(name)
        sharp, *others = QUALITIES["sharp"]
        if sharp in _shipped():  # where there is none for a size, as the command does
            self._choices[f"sharp: {sharp}, {others[0]} where there is none"] = Choice(None, quality="sharp")
        self._choices[BICUBIC] = Choice(BICUBIC)
        self.first = own[0] if own and network is None else self._find(network or DEFAULT)
        self.restorer(self.first)  # what is missing is said before there is a page

    @property
    def labels(self) -> list[str]:
        """All choices: the user's, those that ship with the package, plain enlargement."""
        return list(self._choices)

    def restorer(self, label: str, strength: float = 1.0, scale: float | None = None) -> FaceRestorer:
        """The restorer of a choice with these settings.

        Raises:
            UsageError: there is no such choice, or a setting is out of its range.
            WeightsError: its weights cannot be used.
        """
        if label not in self._choices:
            raise UsageError(f"there is no network '{label}'")
        if not 0 <= strength <= 1:
            raise UsageError(f"strength: 0 to 1, not {strength:g}")
        if scale is not None and scale not in SCALES:
            raise UsageError(f"scale: one of {', '.join(map(str, SCALES))}, not {scale:g}")
        with self._lock:
            if label not in self._opened:
                self._opened[label] = self._open(self._choices[label])
            one = copy.copy(self._opened[label])
        one.strength, one.scale = strength, scale
        return one

    def _open(self, choice: Choice) -> FaceRestorer:
        return FaceRestorer(choice.network, self._device, weights=choice.weights, detector=self._detector, quality=choice.quality)

    def _add_own(self, paths: tuple[str, ...]) -> None:
        choice = Choice(None, paths)
        opened = self._open(choice)
        names = list(OrderedDict.fromkeys(network.name for network in opened.networks.values()))
        wanted = label = f"{_label(' and '.join(names), sorted(opened.networks))}, yours"
        while label in self._choices:
            label = f"{wanted} {len(self._choices) + 1}"
        self._choices[label], self._opened[label] = choice, opened

    def _find(self, name: str) -> str:
        """The label of a network that the user has named; one scale of it alone becomes a choice of its own."""
        for label, choice in self._choices.items():
            if choice.network == name:
                return label
        opened = self._open(Choice(name))  # or it says what is wrong
        self._choices[name], self._opened[name] = Choice(name), opened
        return name


class Remembering(Detector):
    """A detector that knows the pictures it has searched last, so that another network or strength need not search again."""

    def __init__(self, detector: Detector, size: int = 256):
        self.name, self.smallest_frame = detector.name, detector.smallest_frame
        self._detector, self._size = detector, size
        self._known: OrderedDict[tuple, list[Detection]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, view: np.ndarray) -> list[Detection]:
        """See :meth:`Detector.find`."""
        return self._remembered("find", self._detector.find, view)

    def detect(self, rgb: np.ndarray) -> list[Detection]:
        """See :meth:`Detector.detect`."""
        return self._remembered("detect", self._detector.detect, rgb)

    def _find(self, rgb: np.ndarray) -> list[Detection]:
        return self.find(rgb)

    def _remembered(self, kind: str, search: Callable[[np.ndarray], list[Detection]], image: np.ndarray) -> list[Detection]:
        key = kind, image.shape, hashlib.sha256(np.ascontiguousarray(image).data).digest()
        with self._lock:
            if key not in self._known:
                self._known[key] = search(image)
            self._known.move_to_end(key)
            while len(self._known) > self._size:
                self._known.popitem(last=False)
            return list(self._known[key])


def _shipped() -> dict[str, list[int]]:
    """Shipped networks without their scales, and the scales of each; the default one first."""
    found: dict[str, list[int]] = {}
    for name in shipped.names():
        base, _, scale = name.rpartition("_x")
        found.setdefault(base, []).append(int(scale))
    return dict(sorted(found.items(), key=lambda one: (one[0] != DEFAULT, one[0])))


def _label(name: str, scales: Sequence[int]) -> str:
    return f"{name} ({', '.join(f'x{scale}' for scale in scales)})"
