"""W-Net: each block against a transcription of its equations, the shape of the whole, gradients, checkpointing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from wnet_arch import create_network
from wnet_arch.archs.base import enlarge
from wnet_arch.archs.layers import SCAB, ChannelSelfAttention, Downsample, Upsample
from wnet_arch.archs.wnet_blocks import LPF, MultiScaleAttentionUnit, ParsingBlock
from wnet_arch.errors import NetworkError

#: Table 3: Parsing Block, LPF, SCAB.
ABLATION = {
    "A": (False, False, False),
    "B": (True, False, False),
    "C": (False, True, False),
    "D": (False, False, True),
    "E": (True, False, True),
    "F": (False, True, True),
    "G": (True, True, False),
    "H": (True, True, True),
}


def ablation(name: str) -> dict:
    return dict(zip(("parsing_block", "lpf", "scab"), ABLATION[name]))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random_features(channels: int, size: int = 16) -> torch.Tensor:
    return torch.randn(2, channels, size, size, dtype=torch.float64)


def conv(x, layer):
    """A convolution, written out from its weights."""
    return F.conv2d(x, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)


def channel_attention(x, module):
    squeeze, excite = module.gate[1], module.gate[3]
    mean = x.mean((2, 3), keepdim=True)
    return x * torch.sigmoid(conv(F.relu(conv(mean, squeeze)), excite))


def spatial_attention(x, module):
    pooled = torch.stack([x.mean(1), x.max(1).values], dim=1)
    return x * torch.sigmoid(F.conv2d(pooled, module.conv.weight, padding=3))


def test_lpf_is_equations_9_to_11():
    lpf = LPF(8).double()
    f_lr, parsing = random_features(8), random_features(3)
    f_parsing = conv(parsing, lpf.embed)
    f_lr1, f_lr2, f_par = conv(f_lr, lpf.conv_lr1), conv(f_lr, lpf.conv_lr2), conv(f_parsing, lpf.conv_parsing)
    f_att = conv(channel_attention(f_lr1, lpf.channel_attention) + spatial_attention(f_lr1, lpf.spatial_attention), lpf.conv_att)
    sigma = torch.sigmoid(conv(f_lr2 + f_par, lpf.pixel_attention.conv))
    f_pixel = sigma * f_lr2 + (1 - sigma) * f_par
    fuse1 = conv(torch.cat([f_att, f_par], 1), lpf.conv_fuse1)
    fuse2 = conv(f_pixel + f_lr + f_parsing, lpf.conv_fuse2)
    torch.testing.assert_close(lpf(f_lr, parsing), fuse1 + fuse2 + f_lr2 + f_par)


@pytest.mark.parametrize("y_from", ["deep", "y1"])
def test_parsing_attention_unit_is_equations_4_to_7(y_from):
    unit = MultiScaleAttentionUnit(8, y_from).double()
    deep = random_features(8)
    y1 = F.relu(conv(deep, unit.conv1))
    source = deep if y_from == "deep" else y1
    y2, y3 = F.relu(conv(source, unit.conv2)), F.relu(conv(source, unit.conv3))
    y4 = F.relu(conv(torch.cat([y1, y2, y3], 1), unit.conv4))
    y5 = F.relu(conv(y3, unit.conv5))
    joined = torch.cat([y2, y4, y5], 1)
    y6 = channel_attention(joined, unit.channel_attention) + spatial_attention(joined, unit.spatial_attention)
    torch.testing.assert_close(unit(deep), conv(y6, unit.conv7) + deep)


def test_self_attention_is_equations_20_and_21_for_each_head():
    attention = ChannelSelfAttention(8, num_heads=4).double()
    torch.nn.init.uniform_(attention.temperature, 0.5, 2)
    x = random_features(8, size=6)

    def project(module):
        depthwise, pointwise = module
        return conv(F.conv2d(x, depthwise.weight, depthwise.bias, padding=1, groups=8), pointwise)

    q, k, v = (project(m) for m in (attention.query, attention.key, attention.value))
    expected = torch.zeros_like(x)
    for image, head in itertools.product(range(2), range(4)):
        rows = slice(2 * head, 2 * head + 2)
        qh, kh, vh = (t[image, rows].reshape(2, 36) for t in (q, k, v))
        qh, kh = qh / qh.norm(dim=1, keepdim=True), kh / kh.norm(dim=1, keepdim=True)
        weights = torch.softmax(attention.temperature[head, 0, 0] * qh @ kh.T, dim=1)
        expected[image, rows] = (weights @ vh).reshape(2, 6, 6)
    torch.testing.assert_close(attention(x), expected)


def test_scab_without_self_attention_is_rcab():
    rcab = SCAB(8, self_attention=False).double()
    x = random_features(8)
    body = conv(F.relu(conv(x, rcab.features[0])), rcab.features[2])
    torch.testing.assert_close(rcab(x), x + channel_attention(body, rcab.channel_attention))


def test_scab_adds_self_attention_to_the_features_of_rcab():
    scab = SCAB(8).double()
    x = random_features(8)
    body = conv(F.relu(conv(x, scab.features[0])), scab.features[2])
    torch.testing.assert_close(scab(x), x + channel_attention(body + scab.attention(body), scab.channel_attention))


def test_up_and_downsample_double_and_halve():
    x = torch.randn(2, 8, 16, 16)
    assert Upsample(8)(x).shape == (2, 8, 32, 32)
    assert Downsample(8)(x).shape == (2, 8, 8, 8)


def test_upsample_starts_as_nearest_enlargement():
    up, x = Upsample(8).eval(), torch.randn(1, 8, 4, 4)
    coarse = up(x)[..., ::2, ::2]
    torch.testing.assert_close(up(x), coarse.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_parsing_block_sees_the_whole_face():
    """An hourglass of depth 4 on 128 pixels joins far corners: every output pixel depends on a pixel far away."""
    block = ParsingBlock(8).double()
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64, requires_grad=True)
    block(image)[0, 0, 0, 0].backward()
    assert image.grad[0, :, 40:, 40:].abs().max() > 0


def sizes_visited(peak: int) -> dict[str, list[int]]:
    """Sides of the feature maps after each fusion, on the meta device."""
    with torch.device("meta"):
        net = create_network("WNet", 8, num_feat=8, peak=peak)
        visited = {"pyramid_fusions": [], "encoder_fusions": [], "decoder_blocks": []}
        for name, sides in visited.items():
            for block in getattr(net.trunk, name):
                block.register_forward_hook(lambda m, i, out, sides=sides: sides.append(out.shape[-1]))
        out = net(torch.zeros(1, 3, 16, 16), return_aux=True)
    assert out.sr.shape == out.parsing.shape == (1, 3, 128, 128)
    return visited


def test_pyramid_encoder_and_decoder_have_the_papers_sizes():
    visited = sizes_visited(peak=8)
    assert visited["pyramid_fusions"] == [256, 512, 1024, 512, 256, 128]  # with the concatenation: seven fusions
    assert visited["encoder_fusions"] == [64, 32, 16, 8]
    assert visited["decoder_blocks"] == [16, 32, 64, 128]


@pytest.mark.parametrize(("peak", "sizes"), [(4, [256, 512, 256, 128]), (2, [256, 128]), (1, [128])])
def test_lower_peaks_leave_out_the_upper_levels(peak, sizes):
    assert sizes_visited(peak)["pyramid_fusions"] == sizes


def test_each_fusion_gets_the_nearest_map_of_its_size():
    net = create_network("WNet", 8, num_feat=8, peak=2).eval()
    seen = []
    for fuse in [*net.trunk.pyramid_fusions, *net.trunk.encoder_fusions]:
        fuse.register_forward_hook(lambda m, inputs, out: seen.append(inputs[1]))
    with torch.no_grad():
        parsing = net(torch.rand(1, 3, 4, 4), return_aux=True).parsing
    up, same, *reduced = seen
    assert torch.equal(up, parsing.repeat_interleave(2, 2).repeat_interleave(2, 3))
    assert torch.equal(same, parsing)
    for level, small in enumerate(reduced, start=1):
        assert torch.equal(small, parsing[..., :: 2**level, :: 2**level])


@pytest.mark.parametrize("name", ABLATION)
@pytest.mark.parametrize("peak", [1, 2])
def test_every_parameter_of_every_variant_gets_a_gradient(name, peak):
    net = create_network("WNet", 8, num_feat=16, peak=peak, **ablation(name))
    for _ in range(3):
        out = net(torch.rand(2, 3, 4, 4), return_aux=True)
        ((out.sr - torch.rand_like(out.sr)) ** 2).mean().backward()
    without = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without


def test_every_parameter_gets_a_gradient_from_the_image_alone_and_the_map_is_used():
    net = create_network("WNet", 4, num_feat=8, peak=1).eval()
    lq = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        before = net(lq)
        net.trunk.parsing.to_map.bias += 1
        after = net(lq)
    assert (before - after).abs().max() > 1e-4


def test_paper_size_costs_what_the_readme_says():
    with torch.device("meta"):
        net = create_network("WNet", 8).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, 3, 16, 16))
    assert sum(p.numel() for p in net.parameters()) == 5_398_348
    assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(483.4, abs=0.1)


@pytest.mark.parametrize(("option", "other"), [("skip", False), ("global_residual", False), ("y_from", "y1"), ("num_heads", 2)])
def test_switches_change_the_function(option, other):
    nets = []
    for value in ({}, {option: other}):
        torch.manual_seed(0)
        nets.append(create_network("WNet", 8, num_feat=8, peak=1, **value).eval())
    fewer_heads = option == "num_heads"
    state = {name: value[:2] if fewer_heads and "temperature" in name else value for name, value in nets[0].state_dict().items()}
    nets[1].load_state_dict(state)
    lq = torch.rand(1, 3, 4, 4)
    with torch.no_grad():
        assert not torch.allclose(nets[0](lq), nets[1](lq))


def test_checkpointing_changes_neither_result_nor_gradients_nor_statistics():
    nets = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        net = create_network("WNet", 8, num_feat=8, peak=2, grad_checkpointing=checkpointing)
        torch.manual_seed(1)
        net(torch.rand(2, 3, 4, 4)).square().mean().backward()
        nets.append(net)
    for (name, plain), saving in zip(nets[0].named_parameters(), nets[1].parameters()):
        assert torch.equal(plain.grad, saving.grad), name
    for (name, plain), saving in zip(nets[0].named_buffers(), nets[1].buffers()):
        assert torch.equal(plain, saving), name


def test_checkpointing_saves_memory():
    def saved_bytes(net):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            net(torch.rand(1, 3, 8, 8))
        return total

    net = create_network("WNet", 8, num_feat=8, peak=1)
    plain = saved_bytes(net)
    net.set_grad_checkpointing()
    assert saved_bytes(net) < 0.5 * plain


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(16, 16), (1, 3), (40, 7)])
def test_enlarge_is_pils_bicubic(scale, size):
    """Bit for bit, halves and borders included, whatever precision the image comes in."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (60, *size, 3), dtype=np.uint8)  # noise: the hardest image
    small[::2][rng.random(small[::2].shape) < 0.5] = 255
    large = size[1] * scale, size[0] * scale
    pil = np.stack([np.asarray(Image.fromarray(image).resize(large, Image.Resampling.BICUBIC)) for image in small])
    for dtype in (torch.float32, torch.float64):
        ours = enlarge(torch.from_numpy(small).permute(0, 3, 1, 2).to(dtype) / 255, scale)
        assert ours.dtype == dtype
        assert np.array_equal(ours.mul(255).round().permute(0, 2, 3, 1).numpy(), pil)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_feat": 20}, "num_feat"),
        ({"num_feat": 8, "num_heads": 3}, "num_heads"),
        ({"num_feat": 8, "num_heads": "4"}, "num_heads"),
        ({"num_feat": 8, "num_heads": 4.0}, "num_heads"),
        ({"peak": 3}, "peak"),
        ({"peak": 2.0}, "peak"),
        ({"peak": True}, "peak"),
        ({"y_from": "shallow"}, "y_from"),
        ({"num_feats": 8}, "did you mean 'num_feat'"),
    ],
)
def test_wrong_options_are_named(options, said):
    with pytest.raises(NetworkError, match=said):
        create_network("WNet", 8, **options)


@pytest.mark.parametrize(
    ("lq", "said"),
    [
        (torch.rand(1, 3, 3, 3), "multiples of 16"),
        (torch.rand(1, 1, 16, 16), "RGB batches"),
        (torch.rand(3, 16, 16), "RGB batches"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "divide"),
    ],
)
def test_wrong_input_is_refused(lq, said):
    net = create_network("WNet", 8, num_feat=8, peak=1)
    with pytest.raises(NetworkError, match=f"WNet.*{said}"):
        net(lq)
