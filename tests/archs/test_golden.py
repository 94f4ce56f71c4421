"""The compared networks against numbers taken from the published ones: outputs, parameters, multiply-accumulates.

The numbers are those of ``shared/baselines.md``, sections 1.3 (size and cost, "used" parameters) and 5 (outputs).
"""

from __future__ import annotations

from collections.abc import Callable
from math import floor, sin
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.golden import Statistics, golden_input, initialise, pseudo_random, statistics
from wnet_arch import create_network
from wnet_arch.archs.srcnn_arch import SRCNNTrunk
from wnet_arch.archs.vdsr_arch import VDSRTrunk

ENLARGED = ((3, 128, 128),)
LUMA = ((1, 128, 128),)
X8, X4 = ((3, 16, 16),), ((3, 32, 32),)


class Variant(NamedTuple):
    """A trunk: how it is built, the shapes it takes (without batch), used parameters, multiply-accumulates in 10^9."""

    build: Callable[[], nn.Module]
    inputs: tuple[tuple[int, int, int], ...]
    parameters: int
    gmacs: float


def trunk(name: str, scale: int = 8, **options) -> Callable[[], nn.Module]:
    return lambda: create_network(name, scale, **options).trunk


# fmt: off
VARIANTS = {
    "SRCNN 9-1-5 c=1": Variant(lambda: SRCNNTrunk(1, (9, 1, 5)), LUMA, 8_129, 0.132),
    "SRCNN 9-1-5 c=3": Variant(trunk("SRCNN", kernel_sizes=(9, 1, 5)), ENLARGED, 20_099, 0.328),
    "SRCNN 9-5-5 c=1": Variant(lambda: SRCNNTrunk(1, (9, 5, 5)), LUMA, 57_281, 0.937),
    "SRCNN 9-5-5 c=3": Variant(trunk("SRCNN"), ENLARGED, 69_251, 1.133),
    "VDSR c=1 without bias": Variant(lambda: VDSRTrunk(1, bias=False), LUMA, 664_704, 10.89),
    "VDSR c=3 without bias": Variant(trunk("VDSR", bias=False), ENLARGED, 667_008, 10.93),
    "VDSR c=3 with bias": Variant(trunk("VDSR"), ENLARGED, 668_227, 10.93),
    "EDSR x4": Variant(trunk("EDSR", 4), X4, 1_517_571, 2.03),
    "EDSR x8": Variant(trunk("EDSR"), X8, 1_665_283, 1.13),
    "EDSR large x4": Variant(trunk("EDSR", 4, num_feat=256, num_blocks=32, res_scale=0.1), X4, 43_089_923, 51.46),
    "EDSR large x8": Variant(trunk("EDSR", 8, num_feat=256, num_blocks=32, res_scale=0.1), X8, 45_450_243, 22.61),
    "SRResNet x4": Variant(trunk("SRResNet", 4), X4, 1_549_462, 2.27),
    "SRResNet x8": Variant(trunk("SRResNet"), X8, 1_697_175, 1.36),
    "FSRNet": Variant(trunk("FSRNet"), ENLARGED, 3_263_691, 15.28),
    "DIC x8": Variant(trunk("DIC"), X8, 21_803_849, 45.34),
    "DIC x4": Variant(trunk("DIC", 4), X4, 17_389_434, 27.23),
    "SPARNet": Variant(trunk("SPARNet"), ENLARGED, 10_518_867, 7.13),
    "SPARNet 3D": Variant(trunk("SPARNet", attention="3d"), ENLARGED, 11_562_083, 8.08),
    "SPARNet light": Variant(trunk("SPARNet", attention="3d", num_blocks=1), ENLARGED, 5_242_211, 6.88),
    # less the 24 values of two fixed convolutions, which are constants here
    "SISN x4": Variant(trunk("SISN", 4), ENLARGED, 8_073_819 - 24, 6.30),
    "SISN x8": Variant(trunk("SISN"), ENLARGED, 8_304_475 - 24, 2.22),
    "WIPA x4": Variant(trunk("WIPA", 4), X4, 679_040, 1.53),
    "WIPA x8": Variant(trunk("WIPA"), X8, 1_386_688, 1.71),
    "WIPA baseline x4": Variant(trunk("WIPA", 4, wavelet=False), X4, 578_560, 1.27),
    "WIPA baseline x8": Variant(trunk("WIPA", wavelet=False), X8, 1_235_968, 1.44),
    "MRRNet": Variant(trunk("MRRNet"), ENLARGED, 9_130_771, 6.78),
    "UFSRNet": Variant(trunk("UFSRNet"), ENLARGED, 3_490_406, 3.65),
    "CTCNet": Variant(trunk("CTCNet"), ENLARGED, 22_407_699, 29.98),
    "SCTANet x4": Variant(trunk("SCTANet", 4), X4, 27_125_637, 30.51),
    "SCTANet x8": Variant(trunk("SCTANet"), X8, 27_939_642, 10.87),
    "SFMNet": Variant(trunk("SFMNet"), ENLARGED, 8_545_942, 30.69),
    "WFEN": Variant(trunk("WFEN"), ENLARGED, 6_780_519, 8.09),
    "FishFSRNet x8": Variant(trunk("FishFSRNet"), X8 * 2, 8_177_331, 36.28),
    "ParsingNet": Variant(lambda: create_network("FishFSRNet").parsing_net, X8, 594_371, 0.15),
}

#: Every tensor of a trunk's output in order: shape; mean, std, first, middle, last.
OUTPUTS = {
    "SPARNet": [((3, 128, 128), 0.0585582218, 0.080328437, -0.0188974503, 0.0722997886, 0.105283694)],
    "SPARNet light": [((3, 128, 128), 0.0403726689, 0.054609056, 0.0190327014, 0.00904237078, 0.0737886336)],
    "MRRNet": [((3, 128, 128), 0.0054653499, 1.12892945, -1.67427176, -1.34524231, -0.270077441)],
    "UFSRNet": [((3, 128, 128), 0.531779241, 0.389502941, 0.429608344, 0.537501655, 0.942688062)],
    "CTCNet": [((3, 128, 128), 0.469177443, 0.384135476, 0.538200152, 0.00383457198, 0.891647489)],
    "WFEN": [((3, 128, 128), -0.243797189, 0.330189715, -0.138711183, 0.0271319992, -0.392872892)],
    "SCTANet x8": [((3, 128, 128), 1.13958448, 8.81673116, 3.51733039, -14.9577413, 13.8910728)],
    "SISN x8": [((3, 128, 128), 1441.46195, 21583.542, 1350.22101, -38875.3587, 1600.03999)],
    "WIPA x8": [
        ((3, 128, 128), 0.00883361776, 0.0575467457, -0.00441174378, -0.0609104452, 0.0183293653),
        ((9, 64, 64), -0.0127955746, 0.0272315608, 0.00509760376, 0.0124982634, 0.0011454186),
        ((9, 32, 32), -0.0432041213, 0.0992940406, 0.00566595424, -0.0588099126, -0.0219847411),
        ((9, 16, 16), -0.109148605, 0.289846221, 0.213631566, -0.409257841, -0.0446508536),
    ],
    "WIPA baseline x8": [((3, 128, 128), -0.0695795064, 0.122229824, 0.0854172884, -0.136440854, -0.014093344)],
    "WIPA baseline x4": [((3, 128, 128), -0.0204727248, 0.0608751894, 0.0573445244, 0.071438102, -0.00289870461)],
    "DIC x8": [
        ((3, 128, 128), 0.502436587, 0.260875914, 0.509824388, 0.56790242, 0.0910919265),
        ((3, 128, 128), 0.502238098, 0.260830571, 0.509878722, 0.569408893, 0.0906567516),
        ((3, 128, 128), 0.502244675, 0.260827091, 0.509796051, 0.56933174, 0.0906023069),
        ((3, 128, 128), 0.502238273, 0.260825872, 0.509888977, 0.569332148, 0.0905384556),
        ((68, 32, 32), 0.0177287442, 0.372744706, 0.633800433, 0.108224439, -0.348965309),
        ((68, 32, 32), -0.0379971357, 1.67673186, -0.191883615, 3.18774207, -1.38976086),
        ((68, 32, 32), 0.619058946, 7.32354299, 5.34952875, 6.74346559, 3.53201111),
        ((68, 32, 32), 3.27704194, 31.2611531, -7.0043936, 59.9509544, -5.9764977),
    ],
    "FSRNet": [
        ((3, 128, 128), -0.226462297, 0.255301555, -0.575734436, 0.0298388174, -0.174312614),
        ((11, 64, 64), 0.753139105, 4.52284968, 4.430577, 3.37821325, -3.92741798),
        ((3, 128, 128), -0.142484037, 0.527876385, -0.379799162, 0.528081037, -0.664727659),
    ],
    "SFMNet": [
        ((3, 128, 128), 0.455145668, 0.346566713, 0.47075234, 0.264633012, 1.03371909),
        ((3, 128, 128), 0.499819966, 0.400296782, 0.456930304, 0.220472268, 0.971256182),
    ],
    "FishFSRNet x8": [((3, 128, 128), 0.105516268, 0.160366602, 0.15261326, 0.144029985, 0.0130999257)],
    "ParsingNet": [((3, 16, 16), -0.214124345, 0.234078224, -0.1893572, -0.142488635, -0.22225861)],
    "SRCNN 9-1-5 c=1": [((1, 128, 128), 0.184369667, 0.097118306, 0.117784838, 0.267054694, 0.072201983)],
    "SRCNN 9-5-5 c=1": [((1, 128, 128), -0.041826087, 0.0398439867, -0.0143688391, -0.065260627, 0.00875903361)],
    "SRCNN 9-5-5 c=3": [((3, 128, 128), -0.0373317306, 0.0882930577, 0.0243887028, -0.108039605, 0.0123607256)],
    "VDSR c=1 without bias": [((1, 128, 128), 0.500445152, 0.353504448, 0.500000121, 0.882533674, 0.0615689573)],
    "VDSR c=3 without bias": [((3, 128, 128), 0.499920689, 0.353545882, 0.500000028, 0.131421876, 0.985299047)],
    "VDSR c=3 with bias": [((3, 128, 128), 0.50145662, 0.353594645, 0.510655348, 0.126720577, 0.994031391)],
    "SRResNet x4": [((3, 128, 128), 0.718481966, 1.36409506, 0.0743000276, -0.264808574, 0.403504994)],
}
# fmt: on

#: Relative difference allowed; SISN's output is large against its parts.
TOLERANCE = {"SISN x8": 1e-5}


def tensors(output) -> list[torch.Tensor]:
    """All tensors of nested tuples and lists, in order."""
    return [output] if isinstance(output, torch.Tensor) else [t for part in output for t in tensors(part)]


@pytest.mark.parametrize("name", OUTPUTS)
def test_output_is_that_of_the_published_network(name):
    variant = VARIANTS[name]
    network = initialise(variant.build())
    with torch.no_grad():
        outputs = tensors(network(*(golden_input(*shape) for shape in variant.inputs)))
    assert [tuple(output.shape) for output in outputs] == [(1, *row[0]) for row in OUTPUTS[name]]
    for output, (_, *expected) in zip(outputs, OUTPUTS[name]):
        assert statistics(output) == pytest.approx(Statistics(*expected), rel=TOLERANCE.get(name, 1e-6), abs=0)


@pytest.mark.parametrize("name", VARIANTS)
def test_size_and_cost_are_those_of_the_published_network(name):
    variant = VARIANTS[name]
    with torch.device("meta"):
        network = variant.build().eval()
        inputs = [torch.zeros(1, *shape) for shape in variant.inputs]
    assert sum(p.numel() for p in network.parameters()) == variant.parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*inputs)
    # tolerance, or half of the last digit of the published number where that is more
    assert counter.get_total_flops() / 2e9 == pytest.approx(variant.gmacs, rel=0.01, abs=0.005)


def test_the_recipe_is_the_written_one():
    """A few values of the hash, by hand: h(0, 0) is frac(43758.5453 sin 0.5) - 0.5."""

    values = pseudo_random((3, 2))
    for i in range(3):
        for j in range(2):
            v = 43758.5453 * sin(0.5 + 12.9898 * i + 78.233 * j)
            assert float(values[i, j]) == pytest.approx(v - floor(v) - 0.5, abs=1e-9)
    assert golden_input(1, 4, 4)[0, 0, 1, 0] == pytest.approx(0.5 + 0.5 * sin(3.2))
