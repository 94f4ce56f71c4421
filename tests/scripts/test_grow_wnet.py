"""A W-Net grown from a lower pyramid goes on where that one stood."""

from __future__ import annotations

import pytest
import torch

from tests.conftest import load_script
from wnet_arch import create_network


@pytest.fixture(scope="module")
def grow():
    return load_script("zoo/grow_wnet").grow


def trained(peak: int) -> torch.nn.Module:
    """Random weights everywhere, and statistics of their own."""
    net = create_network("WNet", 8, num_feat=8, peak=peak)
    generator = torch.Generator().manual_seed(peak)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    net.train()(torch.rand(2, 3, 8, 8, generator=generator))
    return net.eval()


@pytest.mark.parametrize("peak", [2, 4])
def test_the_grown_network_is_the_small_one(grow, peak):
    small, large = trained(1), trained(peak)
    lq = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    before = large(lq, return_aux=True)
    grow(small, large, lq)
    wanted, found = small(lq, return_aux=True), large(lq, return_aux=True)
    assert (before.sr - wanted.sr).abs().max() > 0.1
    torch.testing.assert_close(found.sr, wanted.sr, rtol=0, atol=2e-4)
    torch.testing.assert_close(found.parsing, wanted.parsing, rtol=0, atol=2e-4)


def test_everything_new_learns(grow):
    """Parts that start without effect have gradients: they are not dead."""
    small, large = trained(1), trained(2)
    lq = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    grow(small, large, lq)
    large.train()(lq).square().mean().backward()
    fusion = large.trunk.pyramid_fusions[0]
    for layer in (fusion.conv_lr2, fusion.conv_fuse1, fusion.conv_fuse2, fusion.conv_parsing, large.trunk.pyramid[1][0]):
        assert layer.weight.grad.abs().max() > 0
