"""W-Net's switches, each against a plain transcription of what it says."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from tests.archs.test_wnet_inference import perturbed
from tests.wnet_reference import Output, Trunk
from wnet_arch import create_network
from wnet_arch.archs.layers import ChannelSelfAttention, Downsample, PositionSelfAttention, Upsample
from wnet_arch.errors import NetworkError
from wnet_arch.losses import WNetLoss
from wnet_arch.options import training
from wnet_arch.options.signatures import signature_block

SWITCHES = [
    {"attention": "positions"}, {"attention_scaling": "sqrt"}, {"attention": "positions", "attention_scaling": "sqrt"},
    {"norm": "gn"}, {"norm": "none"}, {"num_blocks": 1}, {"num_blocks": 3}, {"encoder_order": "fuse_first"},
]  # fmt: skip


def network(scale: int = 8, num_feat: int = 8, peak: int = 2, **options) -> nn.Module:
    torch.manual_seed(0)
    return perturbed(create_network("WNet", scale, num_feat=num_feat, peak=peak, **options)).double()


def face(batch: int = 2, sides: tuple[int, int] = (16, 32)) -> torch.Tensor:
    return torch.rand(batch, 3, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("between", [ChannelSelfAttention, PositionSelfAttention])
@pytest.mark.parametrize("scaling", ["learned", "sqrt"])
def test_attention_is_equation_21_for_each_head(between, scaling):
    """Softmax(Q K / sqrt(d)) V, rows of Q and K being channels or positions, or with normalised rows and a temperature."""
    torch.manual_seed(0)
    attention = perturbed(between(8, num_heads=2, scaling=scaling)).double()
    x = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    wanted = torch.empty_like(x)
    for image in range(2):
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            rows = []
            for depthwise, pointwise in (attention.query, attention.key, attention.value):
                y = F.conv2d(x[image : image + 1], depthwise.weight, depthwise.bias, padding=1, groups=8)
                y = F.conv2d(y, pointwise.weight, pointwise.bias)[0, part].reshape(4, 15)
                rows.append(y if between is ChannelSelfAttention else y.T)
            q, k, v = rows
            if scaling == "sqrt":
                products = q @ k.T / q.shape[1] ** 0.5
            else:
                q, k = (t / t.norm(dim=1, keepdim=True) for t in (q, k))
                products = q @ k.T * attention.temperature[head, 0, 0]
            found = torch.softmax(products, dim=1) @ v
            wanted[image, part] = (found if between is ChannelSelfAttention else found.T).reshape(4, 3, 5)
    torch.testing.assert_close(attention(x), wanted)
    assert ("temperature" in attention.state_dict()) == (scaling == "learned")


def test_positions_attend_on_grids_of_up_to_32():
    trunk = create_network("WNet", 8, num_feat=8, peak=1, attention="positions").trunk
    sides = {}
    for blocks in (*trunk.encoder_blocks, *trunk.decoder_blocks):
        for scab in blocks:
            scab.attention.register_forward_hook(lambda m, inputs, _: sides.setdefault(type(m), set()).add(inputs[0].shape[-1]))
    with torch.no_grad():
        trunk(torch.rand(1, 3, 128, 128))
    assert sides == {ChannelSelfAttention: {64, 128}, PositionSelfAttention: {8, 16, 32}}


def test_fewer_or_more_heads_and_both_kinds_take_the_same_weights():
    channels, positions = network(), network(attention="positions")
    positions.load_state_dict(channels.state_dict())
    assert not torch.allclose(channels.eval().trunk(face()).sr, positions.eval().trunk(face()).sr)


@pytest.mark.parametrize("norm", ["bn", "gn", "none"])
def test_norms_of_up_and_downsampling(norm):
    x = torch.randn(2, 16, 6, 4, dtype=torch.float64)
    up, down = (perturbed(cls(16, norm)).double().train() for cls in (Upsample, Downsample))

    def normed(y, layer):
        if norm == "none":
            return y
        if norm == "bn":
            mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, unbiased=False)
            z = (y - mean) / (var + 1e-5).sqrt()
        else:
            groups = y.reshape(2, 8, -1)
            z = (groups - groups.mean(2, keepdim=True)) / (groups.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
            z = z.reshape(y.shape)
        return z * layer.weight[:, None, None] + layer.bias[:, None, None]

    torch.testing.assert_close(up(x), normed(F.pixel_shuffle(F.conv2d(x, up[0].weight, up[0].bias), 2), up[2]))
    torch.testing.assert_close(down(x), normed(F.conv2d(F.pixel_unshuffle(x, 2), down[1].weight, down[1].bias), down[2]))


@pytest.mark.parametrize("norm", ["gn", "none"])
def test_without_batchnorm_an_image_does_not_depend_on_its_batch(norm):
    net = network(norm=norm).train()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    torch.testing.assert_close(net.trunk(face()).sr[:1], net.trunk(face()[:1]).sr)


@pytest.mark.parametrize("count", [1, 3])
def test_number_of_residual_blocks(count):
    parsing = network(num_blocks=count).trunk.parsing
    x = torch.randn(1, 8, 6, 6, dtype=torch.float64)
    y = x
    for block in parsing.residual:
        first, _, second = block.body
        y = y + F.conv2d(F.relu(F.conv2d(y, first.weight, first.bias, padding=1)), second.weight, second.bias, padding=1)
    assert len(parsing.residual) == count
    torch.testing.assert_close(parsing.residual(x), y)


class LiteralOrder(Trunk):
    """Equation 22 as printed."""

    def forward(self, image):
        parsing = self.parsing(image)

        def fused(lpf, x):
            return lpf(x, F.interpolate(parsing, size=x.shape[2:], mode="nearest"))

        f = torch.cat([image, parsing], dim=1)
        for step, lpf in zip(self.pyramid, self.pyramid_fusions):
            f = fused(lpf, step(f))
        f_features = []
        for scabs, lpf, down in zip(self.encoder_blocks, self.encoder_fusions, self.encoder_downs):
            f_features.append(fused(lpf, scabs(f)))
            f = down(f_features[-1])
        for up, scabs in zip(self.decoder_ups, self.decoder_blocks):
            f = up(f)
            f = scabs(f + f_features.pop() if self.skip else f)
        return Output(image + self.to_rgb(f), parsing)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_order_of_equation_22_as_printed(skip, training):
    net = network(encoder_order="fuse_first", skip=skip).train(training)
    literal = LiteralOrder(8, 2, "deep", 4, skip, True).double().train(training)
    literal.load_state_dict(net.trunk.state_dict())
    image = face()
    with torch.set_grad_enabled(training):
        found, wanted = net.trunk(image), literal(image)
    torch.testing.assert_close(found.sr, wanted.sr)
    torch.testing.assert_close(found.parsing, wanted.parsing)


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_inference_computes_what_was_trained(options):
    """The fast form, where there is one, and its bands."""
    net = network(**options).eval()
    image = face()
    wanted = net.trunk(image)
    with torch.no_grad():
        found = net.trunk(image)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)
    slow = options.keys() & {"norm", "encoder_order"}
    assert (net.trunk.prepared.fast is None) == bool(slow)


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_every_parameter_gets_the_gradient_it_gets_with_checkpointing(options):
    gradients = []
    for checkpointing in (False, True):
        net = network(peak=2, grad_checkpointing=checkpointing, **options).train()
        (net.trunk(face(sides=(32, 32))).sr - 0.3).square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in net.named_parameters()})
    assert not [name for name, grad in gradients[0].items() if grad is None or not grad.abs().max() > 0]
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_detached_map_learns_from_its_own_loss_alone(checkpointing):
    """The same images and maps; the face's gradients end at the map, and all others are those of the usual network."""
    nets = [network(detach_map=detached, grad_checkpointing=checkpointing).train() for detached in (False, True)]
    outs = [net.trunk(face(sides=(32, 32))) for net in nets]
    torch.testing.assert_close(outs[1], outs[0])
    gradients = []
    for net, out in zip(nets, outs):
        (out.sr - 0.3).square().mean().backward(retain_graph=True)
        gradients.append({name: parameter.grad for name, parameter in net.named_parameters()})
    of_map = {name for name in gradients[0] if name.startswith("trunk.parsing.")}
    assert {name for name, grad in gradients[1].items() if grad is None} == of_map
    assert all(gradients[0][name].abs().max() > 0 for name in of_map)
    for name in gradients[0].keys() - of_map:
        torch.testing.assert_close(gradients[1][name], gradients[0][name])
    for net, out in zip(nets, outs):
        net.zero_grad()
        out.parsing.square().mean().backward()
    ways = [{name: parameter.grad for name, parameter in net.trunk.parsing.named_parameters()} for net in nets]
    assert all(grad.abs().max() > 0 for grad in ways[1].values())
    torch.testing.assert_close(ways[1], ways[0])


FLAGS = ("parsing_block", "lpf", "scab", "skip", "global_residual", "grad_checkpointing", "detach_map")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"attention": "pixels"}, "takes 'channels' or 'positions' for attention, not 'pixels'"),
        ({"attention_scaling": None}, "takes 'learned' or 'sqrt' for attention_scaling, not None"),
        ({"norm": "in"}, "takes 'bn', 'gn' or 'none' for norm, not 'in'"),
        ({"num_blocks": 0}, "takes a whole number above 0 for num_blocks, not 0"),
        ({"num_blocks": True}, "takes a whole number above 0 for num_blocks, not True"),
        *(({flag: "false"}, f"takes True or False for {flag}, not 'false'") for flag in FLAGS),
        ({"encoder_order": "up"}, "takes 'down_first' or 'fuse_first' for encoder_order, not 'up'"),
    ],
)
def test_wrong_values_are_named(options, said):
    with pytest.raises(NetworkError, match=f"^WNet {said}$"):
        create_network("WNet", 8, num_feat=8, peak=1, **options)


def test_option_files_know_the_switches_of_the_loss():
    block = signature_block(WNetLoss, training.Loss)
    block.model_validate({"type": "WNetLoss", "component_weights": {"eyes": 2.0}, "component_mean": "image"})
    for wrong in ({"component_mean": 3}, {"component_means": "image"}, {"component_weight": {"eyes": 2.0}}):
        with pytest.raises(ValidationError):
            block.model_validate({"type": "WNetLoss", **wrong})
