"""WIPA's own losses: Haar targets against a pixel-by-pixel transcription, the wavelet loss, the identity network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wnet_arch import create_network
from wnet_arch.archs.baseline_layers import inverse_haar
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.losses.wipa_loss import SphereFace20, SphereFaceIdentityLoss, WIPAWaveletLoss, haar_targets


@pytest.fixture
def image():
    return torch.rand(2, 3, 32, 16, generator=torch.Generator().manual_seed(0))


def haar_by_hand(channel: np.ndarray) -> tuple[np.ndarray, ...]:
    """Orthonormal 2-D Haar transform of one channel, from the four pixels of every 2x2 square: a, h, v, d."""
    a, b = channel[0::2, 0::2], channel[0::2, 1::2]
    c, d = channel[1::2, 0::2], channel[1::2, 1::2]
    return (a + b + c + d) / 2, (a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2


def test_targets_are_the_haar_packet_divided_by_the_growth_of_each_level(image):
    targets = haar_targets(image, 3)
    assert [tuple(t.shape) for t in targets] == [(2, 9, 16, 8), (2, 9, 8, 4), (2, 9, 4, 2)]
    for index in range(2):
        for colour in range(3):
            approximation = image[index, colour].double().numpy()
            for level, target in enumerate(targets):
                approximation, *details = haar_by_hand(approximation)
                for position, detail in enumerate(details):
                    found = target[index, 3 * colour + position].numpy()
                    np.testing.assert_allclose(found, detail / 2**level, atol=1e-6)


def test_every_level_has_the_range_of_the_image():
    stripes = torch.zeros(1, 3, 16, 16)
    for side in (1, 2, 4):
        stripes[..., (torch.arange(16) // side) % 2 == 0, :] = 1
        level = side.bit_length() - 1
        top_minus_bottom = haar_targets(stripes, 3)[level][:, 0]
        torch.testing.assert_close(top_minus_bottom, torch.ones_like(top_minus_bottom))
        stripes.zero_()


def test_the_image_can_be_rebuilt_from_the_targets(image):
    targets = haar_targets(image, 3)
    size = targets[-1].shape[-2:]
    squares = image.unflatten(2, (size[0], 8)).unflatten(4, (size[1], 8))
    approximation = squares.sum(dim=(3, 5)) / 8  # orthonormal: 8x8 pixels, each level halves the sum of four
    for level in (2, 1, 0):
        h, v, d = (targets[level] * 2**level).unflatten(1, (3, 3)).unbind(2)
        approximation = inverse_haar(approximation, -v, -h, d)
    torch.testing.assert_close(approximation, image, atol=1e-5, rtol=0)


def test_images_that_cannot_be_halved_are_named():
    with pytest.raises(UsageError, match="12x20 cannot be halved 3 times"):
        haar_targets(torch.rand(1, 3, 20, 12), 3)


@pytest.mark.parametrize("scale", [4, 8])
def test_targets_have_the_shapes_that_the_network_predicts(scale):
    out = create_network("WIPA", scale, num_feat=8).eval()(torch.rand(1, 3, 4, 4), return_aux=True)
    targets = haar_targets(out.sr.detach(), len(out.wavelets))
    assert [w.shape for w in out.wavelets] == [t.shape for t in targets]


@pytest.mark.parametrize("levels", [2, 3])
def test_wavelet_loss_is_the_mean_over_levels_of_the_weighted_distances(image, levels):
    targets = haar_targets(image, levels)
    off = [0.1, 0.2, 0.4][:levels]
    predictions = [target + by for target, by in zip(targets, off)]
    loss = WIPAWaveletLoss(loss_weight=2.0)(predictions, image)
    expected = 2 * sum(weight * by for weight, by in zip((1, 1 / 4, 1 / 16), off)) / levels
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert WIPAWaveletLoss()(targets, image).item() == 0


def test_too_few_level_weights_are_named(image):
    with pytest.raises(UsageError, match="2 entries, the network 3 levels"):
        WIPAWaveletLoss(level_weights=[1, 0.5])(haar_targets(image, 3), image)


@pytest.fixture(scope="module")
def sphereface_file(tmp_path_factory) -> str:
    """Random weights in SphereFace's layout, with the names and the classifier of a published file."""
    generator = torch.Generator().manual_seed(0)
    state, channels = {}, 3
    for stage, (wider, blocks) in enumerate(((64, 1), (128, 2), (256, 4), (512, 1)), start=1):
        for index in range(1, 2 * blocks + 2):
            kernel = torch.randn(wider, channels, 3, 3, generator=generator) * (2 / 9 / channels) ** 0.5
            state[f"conv{stage}_{index}.weight"], state[f"conv{stage}_{index}.bias"] = kernel, torch.zeros(wider)
            state[f"relu{stage}_{index}.weight"] = torch.full((wider,), 0.25)
            channels = wider
    state["fc5.weight"] = torch.randn(512, 512 * 7 * 6, generator=generator) * 0.01
    state["fc5.bias"], state["fc6.weight"] = torch.zeros(512), torch.zeros(512, 10)
    path = tmp_path_factory.mktemp("sphereface") / "sphere20.pth"
    torch.save(state, path)
    return str(path)


def test_identity_network_has_the_published_size_and_both_published_inputs(sphereface_file):
    net = SphereFace20(sphereface_file)
    assert sum(p.numel() for p in net.parameters()) == 22_670_656
    assert not any(p.requires_grad for p in net.parameters())
    assert net(torch.rand(1, 3, 111, 95)).shape == net(torch.rand(1, 3, 112, 96)).shape == (1, 512)


def test_identity_loss_is_one_minus_cosine_of_the_cropped_faces(sphereface_file):
    loss = SphereFaceIdentityLoss(sphereface_file, loss_weight=0.5)
    generator = torch.Generator().manual_seed(1)
    x, gt = torch.rand(2, 2, 3, 128, 128, generator=generator)
    x.requires_grad_()
    a, b = (loss.net((image[:, :, 9:120, 17:112] * 2 - 1) * 127.5 / 128) for image in (x, gt))
    value = loss(x, gt)
    torch.testing.assert_close(value, 0.5 * (1 - (a * b).sum(1) / a.norm(dim=1) / b.norm(dim=1)).mean())
    assert loss(gt, gt).item() == pytest.approx(0, abs=1e-6)
    value.backward()
    assert x.grad[:, :, :9].abs().max() == 0 < x.grad[:, :, 9:120, 17:112].abs().max()


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not hold SphereFace"):
        SphereFaceIdentityLoss(str(tmp_path / "other.pth"))
