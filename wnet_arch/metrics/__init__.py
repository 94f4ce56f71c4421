"""How good a super-resolved face is: PSNR and SSIM under named protocols, LPIPS, landmarks, identity, facial parts.

Importing this package registers ``calculate_*`` functions with BasicSR, for the ``metrics`` of an option file.
"""

from __future__ import annotations

import inspect

from wnet_arch.compat import check_framework

check_framework()  # first: BasicSR, when imported, joins this package to itself

from wnet_arch.errors import UsageError, did_you_mean
from wnet_arch.metrics import protocols, registered
from wnet_arch.metrics.base import Metric
from wnet_arch.metrics.identity import IdentitySimilarity
from wnet_arch.metrics.landmarks import LandmarkDistance
from wnet_arch.metrics.lpips import LPIPS
from wnet_arch.metrics.parsing import ParsingIoU
from wnet_arch.metrics.protocols import ProtocolMetric
from wnet_arch.plugins import METRICS, Classes

__all__ = ["Metric", "create", "list_metrics", "protocols", "registered"]

_OWN: dict[str, type[Metric]] = {
    "identity": IdentitySimilarity,
    "landmarks": LandmarkDistance,
    "lpips": LPIPS,
    "parsing": ParsingIoU,
    "protocol": ProtocolMetric,
}
_METRICS: Classes[Metric] = Classes(METRICS, _OWN, Metric)


def list_metrics() -> list[str]:
    """Names that :func:`create` takes: ours, and those of installed packages (:mod:`wnet_arch.plugins`)."""
    return sorted(_METRICS)


def create(name: str, **options) -> Metric:
    """Builds a metric; its network is loaded once per process and device.

    Args:
        name: one of :func:`list_metrics`.
        options: of its class, such as ``protocol="dic"``, ``backend="dlib"``, ``device="cpu"``.

    Raises:
        UsageError: no such metric or option, the message names the nearest; or the package that brings it is broken.
        WeightsError: its network cannot be had.
    """
    if name not in _METRICS:
        raise UsageError(f"no metric is called '{name}'{did_you_mean(str(name), _METRICS)}")
    metric = _METRICS[name]
    known = inspect.signature(metric).parameters
    for option in options:
        if option not in known:
            raise UsageError(f"metric {name} has no option '{option}'{did_you_mean(option, known)}")
    return metric(**options)
