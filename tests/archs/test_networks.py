"""What every registered network keeps to, whoever wrote it; a new network is tested without a change here."""

from __future__ import annotations

import copy
from functools import lru_cache
from math import lcm

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from safetensors.torch import load, save
from torch.nn.utils import parameters_to_vector
from torch.utils.flop_counter import FlopCounterMode

from wnet_arch import create_network, list_networks
from wnet_arch.archs.base import NETWORKS, enlarge
from wnet_arch.errors import NetworkError

#: Options that make a network quick. One that is not named here is tested with its defaults.
SMALL = {
    "CTCNet": {"num_feat": 16, "num_refinements": 1},
    "DIC": {"num_feat": 8, "num_groups": 2, "num_steps": 2, "num_fusion_blocks": 1, "num_prior_feat": 32},
    "EDSR": {"num_feat": 8, "num_blocks": 2},
    "FSRNet": {"num_feat": 8, "num_blocks": 1, "num_encoder_blocks": 1},
    "FishFSRNet": {"num_feat": 16, "num_parsing_blocks": 1},
    "MRRNet": {"num_feat": 8, "num_blocks": 1},
    "SCTANet": {"num_feat": 24, "num_groups": 1, "num_blocks": 2, "drop_path": 0.0},
    "SFMNet": {"num_feat": 16},
    "SISN": {"num_feat": 8, "num_groups": 1, "num_blocks": 1},
    "SPARNet": {"num_feat": 8, "num_blocks": 1},
    "SRCNN": {"num_feat": 8, "num_mid_feat": 4},
    "SRResNet": {"num_feat": 8, "num_blocks": 2},
    "UFSRNet": {"num_feat": 8},
    "VDSR": {"num_feat": 8, "num_layers": 4},
    "WFEN": {"num_feat": 8},
    "WIPA": {"num_feat": 8},
    "WNet": {"num_feat": 16, "peak": 1},
    "WNetLite": {"num_feat": 32, "depths": (1, 1, 1, 1)},
}

#: Values that must be refused, as (network, option, value).
WRONG = [
    ("WNetLite", "num_feat", 20),
    ("WNetLite", "num_heads", 5),
    ("WNetLite", "depths", (1, 2, 3)),
    ("WNetLite", "depths", (1, 2, 3, -1)),
    ("WNetLite", "depths", (True, 1, 1, 1)),
    ("WNetLite", "depths", None),
    ("WNetLite", "num_heads", "4"),
    ("WNetLite", "num_heads", 4.0),
    ("WNetLite", "attention", "no"),
    ("WNetLite", "parsing", "false"),
    ("WNetLite", "position", 1),
    ("WNetLite", "grid", 32),  # of a x8 face, which has 16x16 pixels
    ("WNetLite", "grid", 64),
    ("WNetLite", "grid", True),
    ("CTCNet", "num_refinements", 0),
    ("DIC", "num_steps", 1),
    ("DIC", "num_prior_feat", 12),
    ("EDSR", "res_scale", "small"),
    ("EDSR", "res_scale", float("nan")),
    ("FSRNet", "num_feat", 7),
    ("FishFSRNet", "num_feat", 10),
    ("MRRNet", "num_feat", 6),
    ("SCTANet", "num_feat", 64),
    ("SCTANet", "drop_path", 1.0),
    ("SFMNet", "num_feat", 12),
    ("SISN", "num_groups", -1),
    ("SPARNet", "attention", "4d"),
    ("SPARNet", "num_blocks", 2.5),
    ("SRCNN", "kernel_sizes", (9, 4, 5)),
    ("SRCNN", "kernel_sizes", (9, 5)),
    ("SRResNet", "num_blocks", True),
    ("UFSRNet", "num_feat", "32"),
    ("VDSR", "bias", "no"),
    ("VDSR", "num_layers", 1),
    ("WFEN", "num_feat", 42),
    ("WIPA", "wavelet", 1),
]

SCALED = [pytest.param(name, scale, id=f"{name}-x{scale}") for name in list_networks() for scale in NETWORKS[name].scales]


def small(name: str, scale: int, seed: int = 0) -> torch.nn.Module:
    """A quick variant of the network in eval mode; parameters which start at zero are drawn, so that all take part."""
    torch.manual_seed(seed)
    network = create_network(name, scale, **SMALL.get(name, {})).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.numel() and not parameter.any():
                parameter.normal_(std=0.1)
    return network


def leaking(network: torch.nn.Module) -> torch.nn.Module:
    """Lets every ReLU module pass a little of what is negative."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is torch.nn.ReLU:
                setattr(parent, name, torch.nn.LeakyReLU(0.2))
    return network


def faces(network: torch.nn.Module, batch: int = 1, wide: bool = False, seed: int = 0) -> torch.Tensor:
    """Random 8-bit faces of the smallest size that is fair: outputs of 64x64, or what the network takes at least."""
    side = max(64, network.size_multiple) // network.scale
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (batch, 3, side, 2 * side if wide else side), generator=generator) / 255


def tensors(output) -> list[torch.Tensor]:
    """All tensors of nested tuples, in order."""
    return [output] if isinstance(output, torch.Tensor) else [t for part in output for t in tensors(part)]


@lru_cache(maxsize=1)
def shared(name: str, scale: int) -> torch.nn.Module:
    """The network of a test that changes nothing in it."""
    return small(name, scale)


@pytest.mark.parametrize(("name", "scale"), SCALED)
@torch.no_grad()
def test_face_of_the_contract(name, scale):
    """128x128 from the LR face, and the same image as the first of what the network gives beside it."""
    network = shared(name, scale)
    lq = torch.rand(1, 3, 128 // scale, 128 // scale, generator=torch.Generator().manual_seed(0))
    sr, aux = network(lq), network(lq, return_aux=True)
    assert sr.shape == (1, 3, 128, 128)
    assert sr.dtype == torch.float32
    assert aux._fields[0] == "sr"
    assert torch.equal(aux.sr, sr)
    assert all(t.isfinite().all() and len(t) == 1 for t in tensors(aux))
    assert isinstance(network.trunk, torch.nn.Module)


@pytest.mark.parametrize(("name", "scale"), SCALED)
@torch.no_grad()
def test_images_do_not_mix(name, scale):
    """An image comes out the same alone and in a batch; they need not be square. In float64: SFMNet's phases amplify rounding."""
    network = copy.deepcopy(shared(name, scale)).double()
    lq = faces(network, batch=2, wide=True).double()
    both, alone = network(lq), network(lq[1:])
    height, width = lq.shape[-2:]
    assert both.shape == (2, 3, scale * height, scale * width)
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-4 * float(alone.abs().max()))


@pytest.mark.parametrize(("name", "scale"), SCALED)
@torch.no_grad()
def test_smallest_image(name, scale):
    """What ``size_multiple`` promises is true of the smallest image, too."""
    network = shared(name, scale)
    side = lcm(network.size_multiple, scale)
    sr = network(torch.rand(1, 3, side // scale, side // scale, generator=torch.Generator().manual_seed(0)))
    assert sr.shape == (1, 3, side, side)
    assert sr.isfinite().all()


@pytest.mark.parametrize(("name", "scale"), [one for one in SCALED if one.values[0] != "Bicubic"])
def test_every_parameter_receives_a_gradient(name, scale):
    """It differs from zero for one of a few initialisations; ReLUs leak here, as a silent one proves nothing."""
    waiting = None
    for seed in range(6):
        network = leaking(small(name, scale, seed))
        parameters = dict(network.named_parameters())
        assert parameters
        outputs = tensors(network(faces(network, seed=seed), return_aux=True))
        sum((output * torch.randn_like(output)).mean() for output in outputs).backward()
        assert [n for n, p in parameters.items() if p.grad is None] == []
        alive = {n for n, p in parameters.items() if p.grad.isfinite().all() and p.grad.any()}
        waiting = (parameters.keys() if waiting is None else waiting) - alive
        if not waiting:
            return
    assert sorted(waiting) == []


@pytest.mark.parametrize(("name", "scale"), SCALED)
@torch.no_grad()
def test_state_goes_through_safetensors(name, scale):
    network, other = shared(name, scale), small(name, scale, seed=1)
    lq = faces(network)
    if network.state_dict():  # safetensors refuses tensors that share memory
        other.load_state_dict(load(save({k: v.contiguous() for k, v in network.state_dict().items()})))
    assert torch.equal(network(lq), other(lq))


@pytest.mark.parametrize(("name", "scale"), SCALED)
@torch.no_grad()
def test_bfloat16_is_close(name, scale):
    """Under autocast, as training and inference use it: a few per cent of the image's contrast."""
    network = shared(name, scale)
    lq = faces(network)
    exact = network(lq)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(lq)
    assert rough.isfinite().all()
    share = 0.08 if (name, scale) == ("DIC", 4) else 0.05  # its layers run several times over: 6.1 % on a CPU with AMX
    assert float((rough.float() - exact).pow(2).mean().sqrt()) < share * float(exact.std())


@pytest.mark.parametrize("name", list_networks())
def test_bad_input_is_one_line_that_names_the_network(name):
    network = shared(name, 8)
    side = 128 // 8
    bad = [
        torch.zeros(1, 1, side, side),
        torch.zeros(1, 4, side, side),
        torch.zeros(3, side, side),
        torch.zeros(1, 3, side, side, dtype=torch.uint8),
        torch.zeros(1, 3, 0, side),
        torch.zeros(0, 3, side, side),
        np.zeros((1, 3, side, side), np.float32),
    ]
    if next(network.parameters(), None) is not None:
        bad += [torch.zeros(1, 3, side, side, dtype=dtype) for dtype in (torch.float64, torch.float16)]
    if network.size_multiple > 8:
        bad.append(torch.zeros(1, 3, side, network.size_multiple // 8 + 1))
    for lq in bad:
        with pytest.raises(NetworkError, match=f"^{name} [^\n]*$"):
            network(lq)


@pytest.mark.parametrize("name", [None, 5, ["WNet"], "WNett"])
def test_wrong_names(name):
    with pytest.raises(NetworkError, match=r"^no network is called [^\n]*WNet"):
        create_network(name)


@pytest.mark.parametrize("name", ["WNet", "WNetLite"])
def test_maps_of_other_kinds_are_refused_and_of_other_float_types_taken(name):
    network, lq = shared(name, 8), torch.rand(1, 3, 16, 16)
    mask = torch.ones(1, 3, 128, 128)
    for wrong in (mask.bool(), mask.to(torch.uint8), mask.long(), "skin"):
        with pytest.raises(NetworkError, match=rf"^{name} x8 takes parsing as a float tensor [^\n]*mask.float\(\)$"):
            network(lq, parsing=wrong)
    with torch.no_grad():
        assert torch.equal(network(lq, parsing=mask.double()), network(lq, parsing=mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["WFEN", "SFMNet"])
@torch.no_grad()
def test_networks_run_in_half_precision(name, dtype):
    """With the weights they are born with, whose products float16 would round to 0."""
    torch.manual_seed(0)
    network = create_network(name, 8, **SMALL[name]).eval()
    lq = faces(network)
    exact, rough = network(lq), copy.deepcopy(network).to(dtype)(lq.to(dtype)).float()
    assert rough.isfinite().all()
    assert float((rough - exact).pow(2).mean().sqrt()) < 0.05 * float(exact.std())


@pytest.mark.parametrize("name", list_networks())
@pytest.mark.parametrize("scale", [3, 0, -4, "8", 8.0, True, None])
def test_wrong_scale(name, scale):
    with pytest.raises(NetworkError, match=f"^{name} [^\n]*x8"):
        create_network(name, scale)


@pytest.mark.parametrize("name", list_networks())
def test_unknown_option(name):
    with pytest.raises(NetworkError, match=f"^{name} has no option 'num_feet'[^\n]*$"):
        create_network(name, num_feet=64)


@pytest.mark.parametrize(("name", "option", "value"), WRONG)
def test_wrong_value(name, option, value):
    with pytest.raises(NetworkError, match=f"^{name} [^\n]*{option}[^\n]*$"):
        create_network(name, **{option: value})


@pytest.mark.parametrize("name", list_networks())
def test_yaml_finds_it(name):
    """BasicSR builds it from an option block; EDSR is the framework's own there, and ours has a suffix."""
    kind = next(n for n in (f"{name}_face", name) if n in ARCH_REGISTRY)
    network = build_network({"type": kind, "scale": 4, **SMALL.get(name, {})})
    assert type(network) is NETWORKS[name]
    assert network.scale == 4


def test_doc_of_every_network_says_where_it_comes_from():
    for name in list_networks():
        assert len(NETWORKS[name].__doc__.split()) > 8, name


def layers(network: torch.nn.Module, *kinds: type) -> list[torch.nn.Module]:
    return [module for module in network.modules() if isinstance(module, kinds)]


@pytest.mark.parametrize("name", ["CTCNet", "MRRNet", "SCTANet", "SPARNet", "UFSRNet", "WFEN", "WIPA"])
def test_weights_start_from_the_published_normal_distribution(name):
    """N(0, 0.02) with zero biases for convolutions, N(1, 0.02) for batch norms, as in the training code of these networks."""
    torch.manual_seed(0)
    trunk = create_network(name, 8, **SMALL[name]).trunk
    cyclic = {layer for up in trunk.up for layer in (up.along_width, up.along_height)} if name == "SCTANet" else set()
    convolutions = [c for c in layers(trunk, torch.nn.Conv2d, torch.nn.ConvTranspose2d) if c not in cyclic]
    weights = parameters_to_vector([c.weight for c in convolutions]).detach()
    assert float(weights.mean()) == pytest.approx(0, abs=1e-3)
    assert float(weights.std()) == pytest.approx(0.02, rel=0.05)
    assert float(weights.abs().max()) > 0.06  # a uniform distribution of that spread ends at 0.035
    assert not any(c.bias.any() for c in convolutions if c.bias is not None)
    assert all(float(c.weight.detach().abs().max()) > 0.02 and c.bias.any() for c in cyclic)  # torch's own
    norms = layers(trunk, torch.nn.BatchNorm2d)
    if norms:
        factors = parameters_to_vector([n.weight for n in norms]).detach()
        assert float(factors.mean()) == pytest.approx(1, abs=0.01)
        assert float(factors.std()) == pytest.approx(0.02, rel=0.35)  # 48 of them in SCTANet


@pytest.mark.parametrize("name", ["DIC", "VDSR"])
def test_weights_start_from_he_initialisation(name):
    torch.manual_seed(0)
    trunk = create_network(name, 8, **{**SMALL[name], "num_feat": 16}).trunk
    parts = [trunk.head, trunk.first, trunk.recurrent, trunk.tail] if name == "DIC" else [trunk]
    convolutions = [c for part in parts for c in layers(part, torch.nn.Conv2d, torch.nn.ConvTranspose2d)]
    gains = [c.weight.detach().flatten() * (c.weight[0].numel() / 2) ** 0.5 for c in convolutions]  # fan_in, as torch counts
    assert float(torch.cat(gains).std()) == pytest.approx(1, rel=0.05)
    assert not any(c.bias.any() for c in convolutions)


@torch.no_grad()
def test_landmark_net_of_dic_starts_with_small_heatmaps():
    """At its full width He initialisation would give heatmaps of 10^3, growing by 10^2 and more in every step."""
    torch.manual_seed(0)
    landmarks = create_network("DIC", 8).trunk.landmarks
    heatmaps, hidden = landmarks(torch.rand(1, 3, 64, 64) - 0.45, None)
    heatmaps, _ = landmarks(torch.rand(1, 3, 64, 64) - 0.45, hidden)
    assert 0 < float(heatmaps.std()) < 2


def test_options_change_the_network():
    """The options that the comparison names do what they say."""

    def count(name: str, **options) -> int:
        return len(parameters_to_vector(create_network(name, **options).parameters()))

    assert count("SPARNet", attention="3d") > count("SPARNet") > count("SPARNet", num_blocks=1)
    assert create_network("WIPA", wavelet=False)(torch.rand(1, 3, 16, 16), return_aux=True)._fields == ("sr",)
    assert count("SRCNN", kernel_sizes=(9, 1, 5)) < count("SRCNN")


@torch.no_grad()
def test_priors_have_the_shapes_they_are_documented_with():
    lq = torch.rand(1, 3, 16, 16)
    shapes = {
        name: {f: [tuple(t.shape[1:]) for t in tensors(v)] for f, v in out._asdict().items() if f != "sr"}
        for name, out in ((n, small(n, 8)(lq, return_aux=True)) for n in ("DIC", "FSRNet", "WIPA", "SFMNet"))
    }
    assert shapes == {
        "DIC": {"steps": [(3, 128, 128)] * 2, "heatmaps": [(68, 32, 32)] * 2},
        "FSRNet": {"coarse": [(3, 128, 128)], "maps": [(11, 64, 64)]},
        "WIPA": {"wavelets": [(9, 64, 64), (9, 32, 32), (9, 16, 16)]},
        "SFMNet": {"frequency": [(3, 128, 128)]},
    }
    assert small("FishFSRNet", 8)(lq, return_aux=True).parsing.shape == (1, 3, 16, 16)


# --- WNetLite -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [4, 8])
def test_wnetlite_costs_no_more_than_sparnet(scale):
    costs = {}
    for name in ("WNetLite", "SPARNet"):
        network = create_network(name, scale).to("meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.rand(1, 3, 128 // scale, 128 // scale, device="meta"))
        costs[name] = counter.get_total_flops()
    assert costs["WNetLite"] < costs["SPARNet"]


@pytest.mark.parametrize(
    ("parsing", "scale", "grid"), [(True, 8, 16), (False, 8, 16), (True, 4, 16), (True, 4, 32), (False, 4, 32)]
)
def test_wnetlite_starts_from_the_enlarged_face_and_uses_its_map(parsing, scale, grid):
    torch.manual_seed(0)
    network = create_network("WNetLite", scale, num_feat=32, depths=(1, 1, 1, 1), parsing=parsing, grid=grid).eval()
    lq = torch.rand(1, 3, 8, 8)
    out = network(lq, return_aux=True)
    assert (out.sr - enlarge(lq, scale)).abs().max() < 0.05
    assert out.parsing.shape == out.sr.shape
    assert bool(out.parsing.abs().max() > 0) is parsing
    if parsing:
        for fusion in network.trunk.fusions:
            torch.nn.init.normal_(fusion.fuse.weight)
        torch.nn.init.normal_(network.trunk.to_rgb.weight)
        before = network(lq)
        torch.nn.init.constant_(network.trunk.to_map[-1].bias, 1.0)
        assert not torch.equal(network(lq), before)


def test_wnetlite_on_the_grid_of_a_x4_face_sees_every_pixel_by_itself():
    """Folding to 16x16 puts four pixels in one place; on 32x32 the first layer sees three channels. The levels are as many."""
    network = create_network("WNetLite", 4, num_feat=32, depths=(1, 2, 1, 1), grid=32)
    assert network.trunk.shallow.weight.shape == (32, 3, 3, 3)
    seen = []
    for level in (network.trunk.body, *network.trunk.levels):
        level.register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape[1:])))
    network(torch.rand(1, 3, 32, 32))
    assert seen == [(32, 32, 32), (32, 32, 32), (16, 64, 64), (8, 128, 128)]
    assert create_network("WNetLite", 4, num_feat=32).trunk.shallow.weight.shape == (32, 12, 3, 3)


def test_wnetlite_knows_places_of_the_face():
    """What is learned of a place moves with the size of the face, and is the only thing that tells one grey pixel from another."""
    torch.manual_seed(0)
    network = create_network("WNetLite", 4, num_feat=32, depths=(0, 0, 0, 0), attention=False, position=True).eval()
    torch.nn.init.normal_(network.trunk.to_rgb.weight)
    grey = torch.full((1, 3, 32, 32), 0.5)
    inside = network(grey)[..., 32:96, 32:96]
    assert (inside - inside.mean((2, 3), keepdim=True)).abs().max() < 1e-5
    network.trunk.position.data[..., 8, 8] = 1
    assert network(grey)[..., 64:72, 64:72].std() > 1e-3
    assert network(torch.full((1, 3, 48, 48), 0.5)).shape == (1, 3, 192, 192)
