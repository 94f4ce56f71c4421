"""The metrics for YAML: functions in BasicSR's registry.

Each takes ``img`` (SR) and ``img2`` (GT), uint8 BGR (H, W, 3), as the framework's validation gives them, and the options
of its block in the file. Their networks are loaded once per process. A misspelt option, or ``better`` with the wrong value,
is a :class:`~wnet_arch.errors.UsageError`.

A face that is not found makes the value NaN, and with it the mean of the validation, so that nobody overlooks it; a number
given as ``missing`` stands for such faces instead. How many there were is logged.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from basicsr.utils import get_root_logger
from basicsr.utils.registry import METRIC_REGISTRY

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.faces.landmarks import LANDMARKERS
from wnet_arch.faces.parsing import PARSERS
from wnet_arch.metrics import protocols
from wnet_arch.metrics.base import Metric
from wnet_arch.metrics.found_faces import BOXES
from wnet_arch.metrics.identity import BACKENDS, IdentitySimilarity
from wnet_arch.metrics.landmarks import LandmarkDistance
from wnet_arch.metrics.lpips import LPIPS, NETS
from wnet_arch.metrics.parsing import PARTS, ParsingIoU

_missing: Counter[str] = Counter()
#: What an option may be, whichever metric has it.
_CHOICES = {
    "backend": BACKENDS,
    "box": BOXES,
    "landmarker": LANDMARKERS,
    "net": NETS,
    "parser": PARSERS,
    "part": ("mean", *PARTS),
    "protocol": protocols.NAMES,
}


def _registered(better: str) -> Callable:
    """Registers a metric; options that the function does not have are refused before it runs.

    The registered function has two more attributes: ``better``, and ``check_options(options)``, which checks a block of an
    option file without measuring anything.
    """

    def decorate(function: Callable) -> Callable:
        known = [name for name in inspect.signature(function).parameters if name not in ("img", "img2")]

        def check_options(options: dict) -> None:
            for name, value in options.items():
                if name not in [*known, "better", "type"]:
                    raise UsageError(f"{function.__name__} has no option '{name}'{did_you_mean(str(name), [*known, 'better'])}")
                if isinstance(value, (dict, list)):
                    raise UsageError(f"{function.__name__}: {name} takes one value, not {value!r}")
                if value not in _CHOICES.get(name, (value,)):
                    raise UsageError(f"{function.__name__}: {name} cannot be '{value}'{did_you_mean(str(value), _CHOICES[name])}")
            if options.get("better", better) != better:
                raise UsageError(f"{function.__name__}: better must be {better}, not {options['better']}")

        @METRIC_REGISTRY.register()
        @functools.wraps(function)
        def metric(img: np.ndarray, img2: np.ndarray, **options) -> float:
            check_options(options)
            options.pop("better", None)
            return function(img, img2, **options)

        metric.better, metric.check_options = better, check_options
        return metric

    return decorate


@lru_cache(maxsize=16)
def _create(kind: type[Metric], **options) -> Metric:
    """Builds a metric once, and logs what its numbers rest on."""
    metric = kind(**options)
    get_root_logger().info(f"Metric {metric.name}: {metric.backbone}")
    return metric


def _measure(metric: Metric, img: np.ndarray, img2: np.ndarray, key: str, missing: float = math.nan) -> float:
    value = float(metric.measure([img[..., ::-1]], [img2[..., ::-1]])[key][0])
    if not math.isnan(value):
        return value
    _missing[key] += 1
    get_root_logger().warning(f"{key}: nothing to measure in an image, {_missing[key]} in all so far; it counts as {missing}")
    return missing


@_registered("higher")
def calculate_protocol_psnr(img, img2, protocol: str = "dic", scale: int = 8) -> float:
    """PSNR in dB under a named protocol, see :mod:`wnet_arch.metrics.protocols`."""
    return protocols.get(protocol).psnr(img[..., ::-1], img2[..., ::-1], scale)


@_registered("higher")
def calculate_protocol_ssim(img, img2, protocol: str = "dic", scale: int = 8) -> float:
    """SSIM under a named protocol, see :mod:`wnet_arch.metrics.protocols`."""
    return protocols.get(protocol).ssim(img[..., ::-1], img2[..., ::-1], scale)


@_registered("lower")
def calculate_lpips(img, img2, net: str = "alex", device: str = "auto") -> float:
    """LPIPS 0.1, see :class:`wnet_arch.metrics.lpips.LPIPS`."""
    return _measure(_create(LPIPS, net=net, device=device, batch=1), img, img2, "lpips")


@_registered("lower")
def calculate_landmark_distance(
    img, img2, box: str = "own", landmarker: str = "dlib", normalised: bool = False, missing: float = math.nan, device: str = "auto"
) -> float:
    """Mean distance of 68 landmarks in pixels, or, ``normalised``, in distances of the outer eye corners; see
    :class:`wnet_arch.metrics.landmarks.LandmarkDistance`."""
    metric = _create(LandmarkDistance, box=box, landmarker=landmarker, device=device)
    return _measure(metric, img, img2, "landmark_nme" if normalised else "landmark_distance", missing)


@_registered("higher")
def calculate_identity_similarity(
    img, img2, backend: str = "dlib", weights=None, box: str = "own", missing: float = math.nan, device: str = "auto"
) -> float:
    """Cosine of identity vectors, see :class:`wnet_arch.metrics.identity.IdentitySimilarity`."""
    metric = _create(IdentitySimilarity, backend=backend, weights=weights, box=box, device=device, batch=1)
    return _measure(metric, img, img2, "identity", missing)


@_registered("higher")
def calculate_parsing_iou(
    img, img2, parser: str = "compact", part: str = "mean", missing: float = math.nan, device: str = "auto"
) -> float:
    """IoU of facial parts, their mean or of one ``part``; see :class:`wnet_arch.metrics.parsing.ParsingIoU`."""
    key = "parsing_iou" if part == "mean" else f"parsing_iou_{part}"
    return _measure(_create(ParsingIoU, parser=parser, device=device, batch=1), img, img2, key, missing)
