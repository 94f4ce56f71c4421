"""Running a part of a network so that the backward pass computes it again, batch normalisation inside included."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def recomputed(function: Callable, norms: Iterable[_NormBase], *inputs, **options):
    """``function(*inputs, **options)``, which keeps only its inputs for the backward pass.

    Args:
        norms: :func:`moving_norms` of the modules it runs, so that their statistics move once, not twice. Code that is
            compiled cannot switch them off.
    """
    norms = list(norms)
    if norms:
        options["context_fn"] = lambda: (nullcontext(), _statistics_left_alone(norms))
    return checkpoint(function, *inputs, use_reentrant=False, **options)


def moving_norms(module: nn.Module) -> list[_NormBase]:
    """The normalisation inside that moves its running statistics in every forward pass in training."""
    return [norm for norm in module.modules() if isinstance(norm, _NormBase) and norm.track_running_stats]


@contextmanager
def _statistics_left_alone(norms: list[_NormBase]) -> Iterator[None]:
    """Context in which normalisation does not move its running statistics, which the first pass has moved already.

    It still writes them, with weight 0: the autograd engine compares what both passes save.
    """
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, batches) in zip(norms, before):
        norm.momentum = 0.0
        norm.num_batches_tracked = None if batches is None else batches.clone()
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before):
            norm.momentum, norm.num_batches_tracked = momentum, batches
