"""Drawing images: whole epochs, exact continuation, the same for any number of processes and loader workers."""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from wnet_arch.data.sampler import Draw, DrawSampler, SeededDataset, seeded
from wnet_arch.errors import UsageError


def sampler(images=10, batch=2, world_size=1, rank=0, ratio=1, seed=0, total_iter=1000) -> DrawSampler:
    return DrawSampler(images, batch, world_size, rank, ratio, seed, total_iter)


def epoch(drawn: DrawSampler, number: int) -> list[int]:
    drawn.set_epoch(number)
    return [int(draw) for draw in drawn]


def test_an_epoch_shows_every_image_once_in_an_order_of_seed_and_epoch():
    one = sampler()
    orders = [epoch(one, 0), epoch(one, 1), epoch(sampler(seed=1), 0)]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert epoch(sampler(), 0) == orders[0]


def test_longer_epochs_show_every_image_as_often():
    order = epoch(sampler(ratio=3), 0)
    assert np.bincount(order).tolist() == [3] * 10


@pytest.mark.parametrize(("ratio", "whole"), [(0.5, 0), (1.5, 1), (2.3, 2)])
def test_a_part_of_the_set_is_another_one_in_each_epoch(ratio, whole):
    drawn = sampler(images=20, ratio=ratio, batch=1, total_iter=10_000)
    epochs = [np.bincount(epoch(drawn, number), minlength=20) for number in range(200)]
    assert all(set(counts) <= {whole, whole + 1} and counts.sum() == round(20 * ratio) for counts in epochs)
    share = sum(epochs) / 200
    assert np.abs(share - ratio).max() < 0.15  # four standard deviations
    later = sampler(images=20, ratio=ratio, batch=1, total_iter=10_000)
    later.start_behind(3, 3 * later.iterations + 4)
    assert epoch(later, 3) == epoch(drawn, 3)[4:]


def test_what_does_not_fill_an_iteration_is_left_out():
    drawn = sampler(images=11, batch=4)
    assert len(drawn) == len(epoch(drawn, 0)) == 8


def test_the_last_epoch_ends_with_the_last_iteration():
    drawn = sampler(total_iter=7)  # five iterations an epoch
    assert drawn.epochs == 2
    assert [len(epoch(drawn, number)) for number in (0, 1)] == [10, 4]


def test_continues_behind_an_iteration():
    whole, later = sampler(), sampler()
    later.start_behind(1, 8)  # five in epoch 0, three in epoch 1
    assert epoch(later, 1) == epoch(whole, 1)[6:]
    assert epoch(later, 2) == epoch(whole, 2)
    at_the_end = sampler()
    at_the_end.start_behind(0, 5)
    assert epoch(at_the_end, 0) == []


def test_two_processes_share_what_one_draws():
    one = epoch(sampler(images=12, batch=4), 3)
    ranks = [epoch(sampler(images=12, batch=2, world_size=2, rank=rank), 3) for rank in (0, 1)]
    for iteration in range(3):
        together = ranks[0][2 * iteration : 2 * iteration + 2] + ranks[1][2 * iteration : 2 * iteration + 2]
        assert sorted(together) == sorted(one[4 * iteration : 4 * iteration + 4])


def test_too_few_images_are_an_error_that_says_what_to_do():
    with pytest.raises(UsageError, match="3 images, fewer than the 4 of an iteration: lower batch_size_per_gpu"):
        sampler(images=3, batch=4)


def test_a_draw_survives_the_way_to_a_worker():
    draw = pickle.loads(pickle.dumps(Draw(5, 2, 7)))
    assert (draw, draw.epoch, draw.place) == (5, 2, 7)


class Chance(Dataset):
    """Gives the index and what three generators say."""

    note = "of the set"

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple:
        return index, random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002


def drawn(workers: int, epoch: int, seed: int = 0) -> list[tuple]:
    order = sampler(images=8, seed=seed)
    order.set_epoch(epoch)
    loader = DataLoader(SeededDataset(Chance(), seed), 2, sampler=order, num_workers=workers)
    return [tuple(float(value) for value in row) for batch in loader for row in zip(*batch)]


def test_chance_depends_on_seed_epoch_and_place_not_on_workers():
    alone = drawn(0, epoch=0)
    assert drawn(2, epoch=0) == alone
    by_image = {row[0]: row[1:] for row in alone}
    for other in (drawn(0, epoch=1), drawn(0, epoch=0, seed=1)):
        assert all(by_image[row[0]] != row[1:] for row in other)
    assert len({row[1:] for row in alone}) == 8


def test_chance_outside_goes_on_as_if_nothing_had_been_drawn():
    def numbers():
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = numbers()
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    with seeded(1, 2, 3):
        inside = numbers()
    assert numbers() == expected != inside


def test_attributes_of_the_data_set_can_be_read():
    assert SeededDataset(Chance(), 0).note == "of the set"
    assert SeededDataset(Chance(), 0)[3][0] == 3
