"""What ``wnet profile`` counts, against counts by hand."""

from __future__ import annotations

import pytest

from wnet_arch.cli import wnet
from wnet_arch.errors import UsageError
from wnet_arch.inference import profiling


def test_srcnn_is_counted_as_by_hand():
    cost = profiling.cost("SRCNN", 8, kernel_sizes=(9, 5, 5))
    layers = [(9, 3, 64), (5, 64, 32), (5, 32, 3)]
    weights = sum(k * k * cin * cout for k, cin, cout in layers)
    assert cost.total == cost.used == weights + 64 + 32 + 3
    assert cost.macs == weights * 128 * 128


def test_bicubic_costs_nothing():
    cost = profiling.cost("Bicubic", 4)
    assert (cost.total, cost.used, cost.macs) == (0, 0, 0)


def test_parameters_without_a_gradient_are_not_used(monkeypatch):
    import torch

    from wnet_arch.archs.base import NETWORKS

    class Wasteful(NETWORKS["SRCNN"]):
        def __init__(self, scale: int = 8):
            super().__init__(scale)
            self.dead = torch.nn.Parameter(torch.zeros(5))

    monkeypatch.setitem(NETWORKS, "Wasteful", Wasteful)
    cost = profiling.cost("Wasteful", 8)
    assert cost.total - cost.used == 5


def test_times_are_relative_to_sparnet(capsys):
    costs = [profiling.cost(name, 8, **options) for name, options in (("SPARNet", {"num_feat": 8}), ("SRCNN", {}))]
    profiling.measure_time(costs, {"SPARNet": {"num_feat": 8}}, runs=1)
    assert all(c.seconds > 0 for c in costs)
    rows = profiling.table(costs).splitlines()
    assert rows[1].endswith("1.00")
    assert float(rows[2].split()[-1]) == pytest.approx(costs[1].seconds / costs[0].seconds, abs=0.01)


def test_one_thread_is_measured_by_its_own_processor_time(monkeypatch):
    """A network that sleeps costs nothing there, but does on the wall clock of several threads."""
    import time

    import torch

    from wnet_arch.archs.base import NETWORKS

    class Sleepy(NETWORKS["Bicubic"]):
        def super_resolve(self, lq):
            time.sleep(0.2)
            return super().super_resolve(lq)

    monkeypatch.setitem(NETWORKS, "Sleepy", Sleepy)
    for threads, slow in ((1, False), (2, True)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        costs = [profiling.Cost("Sleepy", 8, 0, 0, 0.0)]
        profiling.measure_time(costs, {}, runs=1)
        assert (costs[0].seconds > 0.19) == slow


def test_the_command_prints_the_table_and_refuses_what_it_cannot_do(capsys):
    parser = wnet.build_parser()
    args = parser.parse_args(["profile", "WNet", "--option", "num_feat=8", "peak=1"])
    assert args.run(args) == 0
    assert "WNet" in capsys.readouterr().out
    for arguments, said in (
        (["profile"], "name networks"),
        (["profile", "--all", "--option", "a=1"], "--option"),
        (["profile", "WNet", "--option", "num_feat=[1"], "--option num_feat: the value is not valid YAML"),
        (["profile", "WNet", "--option", "num_feat=!!python/x y"], "--option num_feat: the value"),
        (["profile", "WNet", "--option", "scale=4"], "--option scale: give --scale"),
        (["profile", "WNet", "--option", "name=x"], "--option name: "),
        (["profile", "SRCNN", "--time", "--device", "meta"], "--device: 'meta' cannot be used here"),
        (["profile", "--all", "--scale", "16"], "--scale 16: no network has it"),
    ):
        args = parser.parse_args(arguments)
        with pytest.raises(UsageError, match=said):
            args.run(args)
