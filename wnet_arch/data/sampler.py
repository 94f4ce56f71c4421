"""Which image is drawn when, and by what chance it is changed: decided by seed, epoch and place alone.

So a run that was interrupted in the middle of an epoch goes on with the very next image, mirrored or not as it would have
been; the number of loader workers and of processes changes nothing; and no two epochs see the same augmentation. The
framework's sampler ignores the seed and always begins an epoch anew, and its workers repeat their random numbers in every
epoch.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from wnet_arch.errors import UsageError
from wnet_arch.words import counted


class Draw(int):
    """The index of an image, which also knows when it was drawn. Any data set can take it for a plain number.

    Attributes:
        epoch: in which it was drawn.
        place: its place in that epoch, over all processes.
    """

    epoch: int
    place: int

    def __new__(cls, index: int, epoch: int, place: int) -> Draw:
        """``index`` with what is said above."""
        draw = super().__new__(cls, index)
        draw.epoch, draw.place = epoch, place
        return draw

    def __getnewargs__(self) -> tuple[int, int, int]:  # type: ignore[override]  # __new__ takes more than that of int
        return int(self), self.epoch, self.place


class DrawSampler(Sampler):
    """Draws images in whole batches, each epoch in another order.

    Args:
        images: number of images.
        batch: images an iteration and process.
        world_size: processes; together they draw what one process with a batch ``world_size`` times as large would.
        rank: of this process.
        ratio: length of an epoch, as a multiple of the data set. What goes beyond a whole multiple draws other images each epoch.
        seed: of the order.
        total_iter: the last epoch ends at this iteration.

    Raises:
        UsageError: there are fewer images than an iteration needs.
    """

    def __init__(self, images: int, batch: int, world_size: int, rank: int, ratio: float, seed: int, total_iter: int):
        self.images, self.batch, self.world_size, self.rank, self.seed = images, batch, world_size, rank, seed
        self.draws = math.ceil(images * ratio)
        self.iterations = self.draws // (batch * world_size)
        if not self.iterations:
            raise UsageError(
                f"datasets.train: {counted(images, 'image')}, fewer than the {batch * world_size} of an iteration: "
                "lower batch_size_per_gpu, or raise dataset_enlarge_ratio"
            )
        self.total_iter = total_iter
        self.epoch, self._start = 0, (0, 0)

    @property
    def epochs(self) -> int:
        """How many epochs ``total_iter`` iterations need."""
        return math.ceil(self.total_iter / self.iterations)

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next iterator."""
        self.epoch = epoch

    def start_behind(self, epoch: int, iteration: int) -> None:
        """Leaves out what a run had drawn that stopped after this iteration (counted over all epochs) of ``epoch``."""
        self._start = epoch, iteration - epoch * self.iterations

    def __iter__(self) -> Iterator[Draw]:
        order = self._permutation(self.draws)
        whole = self.draws - self.draws % self.images
        part = self._permutation(self.images, 1) if whole < self.draws else order
        first = self._start[1] if self.epoch == self._start[0] else 0
        last = min(self.iterations, self.total_iter - self.epoch * self.iterations)
        together = self.batch * self.world_size
        for place in range(first * together + self.rank, last * together, self.world_size):
            drawn = int(order[place])
            yield Draw(drawn % self.images if drawn < whole else int(part[drawn - whole]), self.epoch, place)

    def _permutation(self, length: int, *which: int) -> torch.Tensor:
        """Of an epoch; ``which`` tells several of one epoch apart."""
        seed = np.random.SeedSequence((self.seed, self.epoch, *which)).generate_state(1)[0]
        return torch.randperm(length, generator=torch.Generator().manual_seed(int(seed)))

    def __len__(self) -> int:
        return self.iterations * self.batch


class SeededDataset(Dataset):
    """A data set whose random numbers follow from the draw: those of ``random``, NumPy and torch.

    Args:
        dataset: any data set; its attributes can be read through this one.
        seed: of the run.
    """

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset, self.seed = dataset, seed

    def __len__(self) -> int:
        return len(cast(Sized, self.dataset))

    def __getitem__(self, index: int):
        if not isinstance(index, Draw):
            return self.dataset[index]
        with seeded(self.seed, index.epoch, index.place):
            return self.dataset[int(index)]

    def __getattr__(self, name: str):
        if name == "dataset":  # not there yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.dataset, name)


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Random numbers that depend on ``key`` alone, inside; outside they go on as if nothing had been drawn."""
    before = random.getstate(), np.random.get_state(), torch.default_generator.get_state()  # noqa: NPY002
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])  # noqa: NPY002 - data sets of the framework draw from here
    torch.default_generator.manual_seed(int(words[2]))  # torch.manual_seed would seed the GPU's, too
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.default_generator.set_state(before[2])
