"""Face parsers by name: each makes the 19-class map of a face crop, in the label order of :mod:`wnet_arch.faces.labels`.

========= ============================================================ =========================================
name      method                                                       needs
========= ============================================================ =========================================
compact   this project's own network, see its model card               nothing, its weights ship with the package
landmarks polygons through 68 points, forehead unknown                 the points
bisenet   BiSeNet (Yu et al., ECCV 2018), as facexlib has it           file ``parsing-bisenet``
parsenet  ParseNet of PSFR-GAN (Chen et al., CVPR 2021), from facexlib file ``parsing-parsenet``
========= ============================================================ =========================================
"""

from __future__ import annotations

import itertools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image

from wnet_arch import weights
from wnet_arch.errors import UsageError, WeightsError, did_you_mean
from wnet_arch.faces import labels, parse_landmarks
from wnet_arch.weights import seals

PARSERS = ("compact", "landmarks", "bisenet", "parsenet")
#: Entry of the weights manifest for each parser that has one.
WEIGHTS = {
    "compact": "face-parser",
    "bisenet": "parsing-bisenet",
    "parsenet": "parsing-parsenet",
}
#: facexlib's BiSeNet numbers the classes so. Its networks were trained on the files of CelebAMask-HQ by the same names, with
#: left and right exchanged in mirrored photos (repository zllrunning/face-parsing.PyTorch, transform.py), so ``l_eye`` is the
#: person's left eye as here. Read, not measured: the weights were not to be had where this was written.
BISENET_ORDER = (
    "background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r",
    "nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat",
)  # fmt: skip
#: facexlib's ParseNet has the order of CelebAMask-HQ, which is ours.
PARSENET_ORDER = labels.NAMES


class Parser(ABC):
    """Makes label maps. Can be sent to worker processes: networks are loaded on first use and never pickled."""

    name: str
    #: Whether :meth:`parse` needs landmarks.
    needs_points = False

    def parse(self, rgb: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
        """The map of one face.

        Args:
            rgb: uint8 (H, W, 3), the face filling most of it, upright within about 30 degrees.
            points: landmarks (68, 2) in pixels of it, for the parser ``landmarks``.

        Returns:
            uint8 (H, W), classes 0..18; 255 where the parser does not know.
        """
        return self.parse_batch([rgb], None if points is None else [points])[0]

    @abstractmethod
    def parse_batch(self, rgbs: Sequence[np.ndarray], points: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """The maps of several faces, each of any size; see :meth:`parse`."""


def create_parser(
    name: str, device: str = "cpu", offline: str | None = None, download: bool = True, path: str | None = None
) -> Parser:
    """The parser called ``name``.

    Args:
        name: one of :data:`PARSERS`.
        device: ``cpu``, ``cuda``, ... for the networks.
        offline: folder with the weights instead of the cache; see :func:`wnet_arch.weights.resolve`.
        download: whether weights may be fetched when they are not there.
        path: weights of your own for one of the networks, instead of those of the manifest.

    Raises:
        UsageError: there is no parser of that name.
        WeightsError: the weights are not there.
    """
    if name not in PARSERS:
        raise UsageError(f"no parser is called '{name}'" + did_you_mean(name, PARSERS))
    if name == "landmarks":
        return LandmarkParser()
    path = path or str(weights.resolve(WEIGHTS[name], offline=offline, download=download))
    classes: dict[str, Callable[[str, str], Parser]]
    classes = {"compact": CompactParser, "bisenet": BiSeNetParser, "parsenet": ParseNetParser}
    return classes[name](path, device)


class LandmarkParser(Parser):
    """Polygons through the landmarks, see :mod:`wnet_arch.faces.parse_landmarks`."""

    name, needs_points = "landmarks", True

    def parse_batch(self, rgbs: Sequence[np.ndarray], points: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """The maps of several faces; raises :class:`UsageError` without landmarks."""
        if points is None or any(p is None for p in points):
            raise UsageError("the parser 'landmarks' needs the landmarks of every face")
        return [parse_landmarks.draw(p, *rgb.shape[:2]) for rgb, p in zip(rgbs, points)]


class NetworkParser(Parser):
    """A network that scores classes on square images of one size.

    Args:
        path: its weights.
        device: where it runs.
    """

    #: Side in pixels of what the network sees.
    side: int
    #: Mean and standard deviation that are taken out of RGB in [0, 1].
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __init__(self, path: str, device: str = "cpu"):
        self.path, self.device = str(path), device

    @abstractmethod
    def _scores(self, images):
        """Scores in our label order, (B, 19, side, side), of normalised RGB (B, 3, side, side)."""

    def parse_batch(self, rgbs: Sequence[np.ndarray], points: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
        """The maps of several faces: resized by Pillow's bicubic filter, scored, and the scores resized back bilinearly."""
        import torch
        from torch.nn import functional as F

        from wnet_arch.faces.inference import one_thread

        small = np.stack([_resized(rgb, self.side) for rgb in rgbs])
        with one_thread(self.device):
            images = torch.from_numpy(small).to(self.device).permute(0, 3, 1, 2).float() / 255
            mean, std = (torch.tensor(values, device=self.device).view(3, 1, 1) for values in (self.mean, self.std))
            scores = self._scores(((images - mean) / std).contiguous(memory_format=torch.channels_last)).float()
            maps = []
            for rgb, own in zip(rgbs, scores):
                if rgb.shape[:2] != (self.side, self.side):
                    own = F.interpolate(own[None], rgb.shape[:2], mode="bilinear", align_corners=False, antialias=True)[0]
                maps.append(own.argmax(0).to(torch.uint8).cpu().numpy())
        return maps


class CompactParser(NetworkParser):
    """The parser that ships with this package, :class:`wnet_arch.faces.parser_net.ParserNet`, at 128x128."""

    name, side = "compact", 128
    mean, std = (0.0,) * 3, (1.0,) * 3

    def _scores(self, images):
        return _compact_network(self.path, self.device)(images)


class BiSeNetParser(NetworkParser):
    """facexlib's BiSeNet, at 512x512."""

    name, side = "bisenet", 512
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def _scores(self, images):
        return _facexlib_network("bisenet", self.path, self.device)(images)[0][:, our_order(BISENET_ORDER)]


class ParseNetParser(NetworkParser):
    """facexlib's ParseNet, at 512x512."""

    name, side = "parsenet", 512
    mean, std = (0.5,) * 3, (0.5,) * 3

    def _scores(self, images):
        return _facexlib_network("parsenet", self.path, self.device)(images)[0][:, our_order(PARSENET_ORDER)]


def our_order(names: Sequence[str]) -> list[int]:
    """For each of our classes, its number in another order: what to index another network's scores with."""
    return [names.index(name) for name in labels.NAMES]


def _resized(rgb: np.ndarray, side: int) -> np.ndarray:
    if rgb.shape[:2] == (side, side):
        return rgb
    return np.array(Image.fromarray(rgb).resize((side, side), Image.Resampling.BICUBIC))


@lru_cache(maxsize=2)
def _compact_network(path: str, device: str):
    import torch
    from safetensors import SafetensorError, safe_open

    from wnet_arch.faces.parser_net import ParserNet
    from wnet_arch.weights import pth

    network = ParserNet()
    seals.check(path)
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("architecture") != "ParserNet":
                raise WeightsError(f"{path} does not hold the weights of ParserNet: its header does not say so")
            state = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 - no dict
        counters = {n: v for n, v in network.state_dict().items() if n.endswith("num_batches_tracked")}  # of no use here
        network.load_state_dict({**counters, **state})
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path} does not hold the weights of ParserNet: {pth.why(path, error)}") from error
    except RuntimeError as error:
        raise WeightsError(f"{path} does not hold the weights of ParserNet: {' '.join(str(error).split())[:200]}") from error
    return folded(network.eval()).to(device, memory_format=torch.channels_last)


def folded(network):
    """Joins each convolution with the batch normalisation after it, which saves a third of the time. Changes the network."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in network.modules():
        children = list(module.named_children()) if isinstance(module, nn.Sequential) else []
        for (name, conv), (next_name, norm) in itertools.pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, next_name, nn.Identity())
    return network


@lru_cache(maxsize=2)
def _facexlib_network(name: str, path: str, device: str):
    import torch

    from wnet_arch.faces.inference import load_into

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from facexlib.parsing.bisenet import BiSeNet
        from facexlib.parsing.parsenet import ParseNet
    network = BiSeNet(num_class=19) if name == "bisenet" else ParseNet(in_size=512, out_size=512, parsing_ch=19)
    loaded = load_into(network, path, f"facexlib's {type(network).__name__}")
    return loaded.to(device).to(memory_format=torch.channels_last)
