"""Optimizers that an option file can name: Muon against PyTorch's own, and through a checkpoint."""

import pytest
import torch
from torch import nn

from wnet_arch import create_network
from wnet_arch.errors import UsageError
from wnet_arch.training.optimizers import Muon, create, is_matrix, optimizers
from wnet_arch.training.precision import Precision
from wnet_arch.weights import checkpoint


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("shape", [(64, 16, 3, 3), (8, 3, 3, 3), (200, 16, 1, 1), (12, 40), (24, 24)])
def test_muon_steps_kernels_as_torch_steps_their_matrix(shape, precision):
    reference = getattr(torch.optim, "Muon", None)
    if reference is None:
        pytest.skip("this torch has no Muon of its own (2.9 and newer have)")
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(shape))
    flat = nn.Parameter(weight.detach().flatten(1).clone())
    ours = Muon([weight], lr=2e-3, weight_decay=0.1, precision=precision)
    theirs = reference([flat], lr=2e-3, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw")
    begin = flat.detach().clone()
    for _ in range(3):
        gradient = torch.randn(shape)
        weight.grad, flat.grad = gradient, gradient.flatten(1).clone()
        ours.step()
        theirs.step()
    moved = (flat - begin).norm()
    assert (weight.flatten(1) - flat).norm() < 2e-2 * moved  # PyTorch's iterates in bfloat16


def test_in_float32_its_step_is_that_of_the_iteration_in_double_precision():
    torch.manual_seed(0)
    shapes = [(24, 6, 3, 3), (6, 24, 3, 3), (54, 24, 1, 1), (24, 54), (40, 3, 3, 3), (16, 16)]  # several to a batch, tall and wide
    weights = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    optimizer = Muon(weights, lr=1.0, nesterov=False, momentum=0.0, precision="fp32")
    for weight in weights:
        narrow = torch.randn(len(weight), 4) @ torch.randn(4, weight[0].numel())  # of rank 4, but for a little noise
        weight.grad = (narrow + 1e-4 * torch.randn(narrow.shape)).view(weight.shape).to(memory_format=layout(weight))
    expected = [polar(weight.grad.flatten(1).double()) for weight in weights]
    optimizer.step()
    for weight, step in zip(weights, expected):
        found = -weight.detach().flatten(1).double() / (0.2 * max(step.shape) ** 0.5)
        assert (found - step).norm() < 1e-3 * step.norm(), tuple(weight.shape)


def layout(weight):
    return torch.channels_last if weight.ndim == 4 else torch.contiguous_format


def polar(matrix):
    """Five quintic Newton-Schulz steps (Jordan et al.), written down anew."""
    x = matrix / matrix.norm()
    for _ in range(5):
        product = x @ x.T
        x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
    return x


@pytest.mark.parametrize(("train", "expected"), [({}, "fp32"), ({"precision": "bf16"}, "bf16"), ({"precision": "fp16"}, "bf16")])
def test_muon_iterates_in_the_precision_of_the_training(train, expected):
    weight = nn.Parameter(torch.randn(4, 4))
    optimizer = create("Muon", [weight], torch.device("cpu"), Precision(train, "cpu").name, lr=1e-3)
    assert optimizer.param_groups[0]["precision"] == expected
    assert create("Muon", [weight], torch.device("cpu"), "fp32", lr=1e-3, precision="bf16").param_groups[0]["precision"] == "bf16"
    with pytest.raises(TypeError, match="precision"):
        create("Adam", [weight], torch.device("cpu"), "fp32", lr=1e-3, precision="bf16")
    with pytest.raises(UsageError, match="precision must be bf16 or fp32, not 'half'"):
        Muon([weight], precision="half")


def test_a_step_is_as_large_as_adams():
    weight = nn.Parameter(torch.zeros(64, 64, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=1.0).step()
    assert 0.1 < weight.detach().square().mean().sqrt() < 0.3  # Adam's own is 0.2 to 0.4 in long trainings


def test_what_is_no_matrix_goes_by_adam():
    torch.manual_seed(0)
    norm, depthwise = nn.Parameter(torch.randn(16)), nn.Parameter(torch.randn(16, 1, 3, 3))
    copies = [nn.Parameter(value.detach().clone()) for value in (norm, depthwise)]
    ours = Muon([norm, depthwise], lr=4e-3)
    theirs = torch.optim.Adam(copies, lr=1e-3, betas=(0.9, 0.99))
    for _ in range(4):
        for parameter, copy in zip((norm, depthwise), copies):
            parameter.grad = torch.randn(parameter.shape)
            copy.grad = parameter.grad.clone()
        ours.step()
        theirs.step()
    for parameter, copy in zip((norm, depthwise), copies):
        torch.testing.assert_close(parameter, copy, rtol=1e-5, atol=1e-6)


def test_every_parameter_is_in_one_group():
    for name in ("WNet", "WNetLite", "SPARNet", "EDSR"):
        parameters = list(create_network(name, 8, **({"peak": 1, "num_feat": 16} if name == "WNet" else {})).parameters())
        groups = Muon(parameters).param_groups
        assert sorted(id(one) for group in groups for one in group["params"]) == sorted(map(id, parameters))
        assert all(is_matrix(one) == group["use_muon"] for group in groups for one in group["params"])


def test_a_run_goes_on_exactly_from_a_checkpoint(tmp_path):
    def run(net, optimizer, steps):
        for step in steps:
            batch = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            net(batch).square().mean().backward()
            optimizer.step()

    def make():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
        return net, Muon(net.parameters(), lr=1e-2)

    unbroken, optimizer = make()
    run(unbroken, optimizer, range(6))
    broken, optimizer = make()
    run(broken, optimizer, range(3))
    checkpoint.write({"net": broken.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pth")
    resumed, optimizer = make()
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    resumed.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    run(resumed, optimizer, range(3, 6))
    for one, other in zip(unbroken.parameters(), resumed.parameters()):
        assert torch.equal(one, other)


def test_names_are_those_that_can_be_stepped():
    known = optimizers()
    assert known["Muon"] is Muon
    assert {"Adam", "AdamW", "SGD"} <= known.keys()
    assert "LBFGS" not in known
