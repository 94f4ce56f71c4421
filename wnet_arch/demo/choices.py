"""The networks one can choose from on the page. Each is opened on first use, and all share one detector."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wnet_arch.archs.base import list_networks
from wnet_arch.errors import UsageError
from wnet_arch.faces.detection import Detection, Detector
from wnet_arch.faces.detectors import DEFAULT, create_detector
from wnet_arch.restore import FaceRestorer
from wnet_arch.restore.networks import AUTO, BICUBIC, QUALITIES, ships
from wnet_arch.weights import packages, shipped

#: Scales that the page offers, besides what the faces need.
SCALES = (1, 2, 4, 8)
#: Choices by what a person wants, in the order of the page; those whose network does not ship are left out.
_WANTED = {
    AUTO: "Automatic, by the photo",
    "faithful": "Faithful: clean photos",
    "real": "Real: JPEG, noise, blur",
    "sharp": "Sharp: less certain",
}
PLAIN = "Plain enlargement"


@dataclass(frozen=True)
class Choice:
    """What :class:`FaceRestorer` is opened with: the name of a shipped network, weights of the user's, or a quality."""

    network: str | None
    weights: tuple[str, ...] = ()
    quality: str | None = None


class Choices:
    """Networks by the labels that the page shows.

    Args:
        network: chosen at first; ``None``: the weights given, or else what the photo's quality asks for.
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
        self._detector = Remembering(detector or create_detector(DEFAULT, device, offline))
        self._opened: dict[str, FaceRestorer] = {}
        self._choices: dict[str, Choice] = {}
        for paths in weights:
            self._add_own(tuple(paths))
        packages.note_faults()
        own = list(self._choices)
        for quality, label in _WANTED.items():
            if quality == AUTO or ships(quality):
                self._choices[label] = Choice(None, quality=quality)
        for name, scales in _shipped().items():
            self._choices[_label(title(name), scales)] = Choice(name)
        self._choices[PLAIN] = Choice(BICUBIC)
        self.first = self._find(network) if network else own[0] if own else _WANTED[AUTO]
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
        names = list(OrderedDict.fromkeys(title(network.name) for network in opened.networks.values()))
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
        label = _label(title(name), sorted(opened.networks))
        self._choices[label], self._opened[label] = Choice(name), opened
        return label


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


def title(name: str) -> str:
    """A network's name for people: ``wnet_lite_real_x4`` is ``WNetLite real``. What is no network of ours keeps its name."""
    base, _, scale = name.rpartition("_x")
    words = (base if scale.isdigit() else name).split("_")
    known = {packages.plain(network): network for network in list_networks()}
    for count in range(len(words), 0, -1):
        network = known.get(packages.plain("_".join(words[:count])))
        if network:
            return " ".join(["W-Net" if network == "WNet" else network, *words[count:]])
    return name


def _shipped() -> dict[str, list[int]]:
    """Shipped networks that no quality stands for, without their scales, and the scales of each."""
    found: dict[str, list[int]] = {}
    for name in shipped.names():
        base, _, scale = name.rpartition("_x")
        if not any(base in networks for networks in QUALITIES.values()):
            found.setdefault(base, []).append(int(scale))
    return found


def _label(name: str, scales: Sequence[int]) -> str:
    return f"{name} ({', '.join(f'x{scale}' for scale in scales)})"
