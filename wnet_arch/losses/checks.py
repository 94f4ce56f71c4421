"""What losses are given, checked once and in one line: numbers and shapes that would otherwise be spread silently to fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import reduce
from numbers import Real
from operator import add

import torch

from wnet_arch.errors import UsageError
from wnet_arch.faces.landmarks import NUM_POINTS


def total(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    """Sum of tensors of one shape, of which there is at least one: what ``sum`` gives, but never the number 0."""
    return reduce(add, terms)


def weights(owner: str, **values: float) -> None:
    """Raises :class:`UsageError` unless each value, by the name of its argument, is a finite number, at least 0."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
            raise UsageError(f"{owner}: {name} is a number, at least 0, not {value!r}")


def named_weights(owner: str, argument: str, values: Mapping[str, float], what: str) -> dict[str, float]:
    """Returns weights by name, ``what`` for instance layers.

    Raises:
        UsageError: it is no mapping, is empty, or holds something else than weights.
    """
    if not isinstance(values, Mapping) or not values:
        raise UsageError(f"{owner}: {argument} gives at least one {what} its weight, as in {{name: 1.0}}; it is {values!r}")
    weights(owner, **{f"{argument}.{name}": value for name, value in values.items()})
    return dict(values)


def images(owner: str, **batches: torch.Tensor) -> None:
    """Raises :class:`UsageError` unless all are float batches (B, 3, H, W) of the shape of the last."""
    name_of_last, last = list(batches.items())[-1]
    for name, batch in {name_of_last: last, **batches}.items():
        if not isinstance(batch, torch.Tensor) or not batch.is_floating_point() or batch.ndim != 4 or batch.shape[1] != 3:
            raise UsageError(f"{owner}: {name} is a float tensor (B, 3, H, W), not {_said(batch)}")
        if batch.shape != last.shape:
            raise UsageError(f"{owner}: {name} is {_shape(batch)} and {name_of_last} {_shape(last)}; their shapes are the same")


def label(owner: str, label: torch.Tensor, gt: torch.Tensor) -> None:
    """Raises :class:`UsageError` unless label maps are uint8 (B, H, W), B, H and W those of the images ``gt``."""
    wanted = (len(gt), *gt.shape[-2:])
    if not isinstance(label, torch.Tensor) or label.dtype != torch.uint8 or tuple(label.shape) != wanted:
        raise UsageError(f"{owner}: label is a uint8 tensor (B, H, W), here {wanted}, not {_said(label)}")


def landmarks(owner: str, landmarks: torch.Tensor, gt: torch.Tensor) -> None:
    """Raises :class:`UsageError` unless landmarks are floats (B, 68, 2), B that of the images ``gt``."""
    wanted = (len(gt), NUM_POINTS, 2)
    if not isinstance(landmarks, torch.Tensor) or not landmarks.is_floating_point() or tuple(landmarks.shape) != wanted:
        raise UsageError(f"{owner}: landmarks are a float tensor {wanted}, not {_said(landmarks)}")


def _said(value: object) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {_shape(value)}" if isinstance(value, torch.Tensor) else type(value).__name__


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
