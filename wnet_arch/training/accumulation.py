"""One step of the optimizer from several smaller batches (``train.accumulation``)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import reduce
from operator import add

import torch

from wnet_arch.errors import UsageError
from wnet_arch.training.loss_values import stacked


def count(train_opt: dict) -> int:
    """How many parts an iteration's batch has.

    Raises:
        UsageError: it is no whole number above 0.
    """
    parts = train_opt.get("accumulation", 1)
    if isinstance(parts, bool) or not isinstance(parts, int) or parts < 1:
        raise UsageError(f"train.accumulation must be a whole number above 0, not {parts!r}")
    return parts


def split(batch: dict, parts: int) -> list[dict]:
    """Splits a batch, tensors and lists alike, along its first dimension into equal parts."""

    def share(value, number: int):
        size = len(value) // parts
        return value[number * size : (number + 1) * size]

    return [{key: share(value, number) for key, value in batch.items()} for number in range(parts)]


def mean(terms: Sequence[dict[str, torch.Tensor]]) -> OrderedDict:
    """The mean of loss terms over the parts, for the log; scalars."""
    if not terms:
        return OrderedDict()
    names = list(terms[0])
    means = reduce(add, (stacked([each[name] for name in names]) for each in terms)) / len(terms)
    return OrderedDict(zip(names, means))
