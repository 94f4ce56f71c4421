"""W-Net as it is computed, against its plain transcription in ``wnet_reference.py``: results, gradients, memory."""

from __future__ import annotations

import pytest
import torch

from tests.wnet_reference import WNetReference
from wnet_arch import create_network
from wnet_arch.archs.base import enlarge
from wnet_arch.inference import profiling


def perturbed(net: torch.nn.Module) -> torch.nn.Module:
    """Moves what starts at 0 or 1, statistics included, so that a mistake in its use is seen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
                tensor.mul_(0.8 + 0.4 * noise).add_(0.02 * noise if "running_var" in name else 0.1 * (noise - 0.5))
    return net


def pair(dtype=torch.float64, num_feat: int = 8, scale: int = 8, **options):
    """Our network and the transcription with the same weights."""
    torch.manual_seed(0)
    ours = perturbed(create_network("WNet", scale, num_feat=num_feat, **options)).to(dtype)
    options.pop("grad_checkpointing", None)
    reference = WNetReference(scale, num_feat, **options).to(dtype)
    reference.load_state_dict(ours.state_dict())
    return ours, reference


def faces(dtype=torch.float64, batch: int = 2, height: int = 4, width: int = 6) -> torch.Tensor:
    image = torch.randint(0, 256, (batch, 3, height, width), generator=torch.Generator().manual_seed(2))
    return image.to(dtype) / 255  # 8-bit values, as the enlargement takes them


def loss(out) -> torch.Tensor:
    return (out.sr - 0.3).square().mean() + (out.parsing - 0.7).square().mean()


@pytest.mark.parametrize(
    "options", [{"peak": 1}, {"peak": 2, "scale": 4, "y_from": "y1"}, {"skip": False, "global_residual": False}]
)
@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_are_those_of_the_transcription(options, training):
    options = {"peak": 2, **options}
    ours, reference = (net.train(training) for net in pair(**options))
    lq = faces(height=8 if options.get("scale") == 4 else 4, width=8)
    found, wanted = ours(lq, return_aux=True), reference(lq)
    for name in ("sr", "parsing"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name))
    loss(found).backward()
    loss(wanted).backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-7, atol=1e-10, msg=name)
    for (name, mine), theirs in zip(ours.named_buffers(), reference.buffers()):
        torch.testing.assert_close(mine, theirs, msg=name)


@pytest.fixture
def small_bands(monkeypatch):
    """Bands of a few rows even of small images."""
    from wnet_arch.archs.ops import bands

    monkeypatch.setitem(bands.BAND_BYTES, "cpu", 1 << 12)


@pytest.mark.parametrize("options", [{"peak": 1}, {"peak": 2}, {"peak": 4, "skip": False}, {"peak": 8, "global_residual": False}])
def test_inference_equals_the_transcription_in_bands(options, small_bands):
    ours, reference = (net.eval() for net in pair(**options))
    lq = faces()
    with torch.no_grad():
        found, wanted = ours(lq, return_aux=True), reference(lq)
    assert ours.trunk.prepared.fast is not None
    torch.testing.assert_close(found.parsing, wanted.parsing)
    torch.testing.assert_close(found.sr, wanted.sr)


def test_the_smallest_face():
    ours, reference = (net.eval() for net in pair(peak=2))
    lq = faces(height=2, width=2)
    with torch.no_grad():
        torch.testing.assert_close(ours(lq), reference(lq).sr)


def test_changed_weights_are_used_even_those_changed_behind_autograds_back():
    ours, reference = (net.eval() for net in pair(peak=1))
    lq = faces()
    with torch.no_grad():
        before = ours(lq)
        for net in (ours, reference):
            net.trunk.encoder_fusions[0].conv_att.weight.data.mul_(1.5)  # as BasicSR keeps its moving average
        after = ours(lq)
        torch.testing.assert_close(after, reference(lq).sr)
    assert not torch.allclose(before, after)


def test_hooks_are_called_and_copies_are_independent():
    import copy

    ours, _ = pair(peak=1)
    ours.eval()
    with torch.no_grad():
        result = ours(faces())
        other = copy.deepcopy(ours)
        assert other.trunk.prepared.fast is None
        seen = []
        other.trunk.encoder_fusions[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
        torch.testing.assert_close(other(faces()), result)
    assert len(seen) == 1


def test_bf16_stays_within_50_db_of_float32():
    """At W-Net's own range: an untrained residual is small, so it is given the size of a trained one."""
    torch.manual_seed(0)
    net = create_network("WNet", 8, num_feat=16, peak=2).eval()
    lq = faces(torch.float32)
    with torch.no_grad():
        residual = net(lq) - enlarge(lq, 8)
        net.trunk.to_rgb.weight.mul_(0.1 / residual.std())
        exact = net(lq)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = net(lq)
    assert rounded.dtype == torch.float32
    assert -10 * torch.log10((rounded - exact).square().mean()) > 50


@pytest.mark.parametrize("peak", [1, 4])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_in_float32_has_the_gradients_of_float64(peak, checkpointing):
    """Running statistics, too: a part that is computed twice must not count its batch twice."""
    ours, reference = pair(peak=peak, grad_checkpointing=checkpointing)
    ours.float().train()
    reference.train()
    image = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(3))
    loss(ours.trunk(image)).backward()
    loss(reference.trunk(image.double())).backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    largest = max(gradient.norm() for gradient in gradients.values())
    for name, parameter in ours.named_parameters():
        # Biases in front of batch normalisation have none: only what rounding leaves.
        size = gradients[name].norm().clamp_min(1e-5 * largest)
        assert (parameter.grad - gradients[name]).norm() < 1e-3 * size, name
    for (name, mine), theirs in zip(ours.named_buffers(), reference.buffers()):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=1e-4, atol=1e-5, msg=name)


def test_checkpointing_keeps_an_eighth_and_nothing_of_the_largest_grid():
    lq = faces(torch.float32, batch=1, height=4, width=4)
    ours, reference = pair(torch.float32, peak=8, grad_checkpointing=True)
    kept = profiling.kept_for_backward(ours.train(), lq)
    plain = profiling.kept_for_backward(reference.train(), lq)
    assert kept < plain / 8
    largest = 32 * 32 * 64 * 8 * 4  # one feature map of the peak, in bytes
    assert kept < 2 * largest
