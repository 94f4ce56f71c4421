"""Loss terms that are read once, and the check for those that are no numbers, at once and one iteration later."""

from __future__ import annotations

import pytest
import torch
from basicsr.models import build_model

from tests.models.test_models import options, train
from wnet_arch.errors import WNetError
from wnet_arch.training import accumulation
from wnet_arch.training.loss_values import FiniteCheck, LossValues

CPU = torch.device("cpu")
GOOD = {"l_pix": torch.tensor(0.5, requires_grad=True), "l_parsing": torch.tensor([0.25])}
IMAGES = ["a.png", "b.png", "c.png", "d.png", "e.png"]


def bad(*names: str, value: float = float("nan")) -> dict:
    return {**GOOD, **{name: torch.tensor(value) for name in names}}


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(2, 3, 64, 64, generator=generator)
    names = ["a.png", "b.png"]
    parsing = torch.ones(2, 64, 64, dtype=torch.uint8)
    return {"lq": gt[..., ::8, ::8], "gt": gt, "parsing": parsing, "lq_path": names, "gt_path": names}


class Counted(torch.Tensor):
    """Counts how often values are read from it."""

    reads = 0

    def tolist(self):
        Counted.reads += 1
        return self.as_subclass(torch.Tensor).tolist()


def test_terms_are_read_once_and_only_when_asked_for():
    Counted.reads = 0
    values = LossValues(("l_pix", "l_parsing"), torch.tensor([0.5, 0.25]).as_subclass(Counted))
    assert list(values) == ["l_pix", "l_parsing"]
    assert Counted.reads == 0
    assert dict(values) == {"l_pix": 0.5, "l_parsing": 0.25}
    assert values["l_pix"] == 0.5
    assert Counted.reads == 1


def test_means_over_parts_are_those_of_each_term():
    torch.manual_seed(0)
    terms = [{"a": torch.rand(()), "b": torch.rand(())} for _ in range(3)]
    for name, mean in accumulation.mean(terms).items():
        assert torch.equal(mean, sum(part[name] for part in terms) / 3)
    assert accumulation.mean([]) == {}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_at_once_all_bad_terms_are_named(value):
    check = FiniteCheck(CPU, skip=False, several=False)
    assert check.passes(GOOD, 6, IMAGES)
    said = r"iteration 7: not a finite number: l_pix, l_eyes_pix \(images a.png, b.png, c.png, d.png\); lower"
    with pytest.raises(WNetError, match=said):
        check.passes(bad("l_pix", "l_eyes_pix", value=value), 7, IMAGES)


def test_a_step_can_be_left_out_on_any_device():
    for device in ("cpu", "cuda"):
        assert FiniteCheck(torch.device(device), skip=True, several=False).later is False
    check = FiniteCheck(CPU, skip=True, several=False)
    assert [check.passes(losses, 1, IMAGES) for losses in (GOOD, bad("l_pix"), GOOD)] == [True, False, True]


def test_later_the_same_is_said_of_the_same_iteration():
    assert FiniteCheck(torch.device("cuda"), skip=False, several=False).later
    said = r"iteration 3: not a finite number: l_parsing \(images a.png\)"
    check = FiniteCheck(CPU, skip=False, several=False, later=True)
    assert all(check.passes(GOOD, iteration, IMAGES) for iteration in (1, 2))
    assert check.passes(bad("l_parsing"), 3, IMAGES[:1])
    assert check.passes(GOOD, 3, IMAGES)  # the discriminator's, of the same iteration
    with pytest.raises(WNetError, match=said):
        check.passes(GOOD, 4, IMAGES[1:])
    check = FiniteCheck(CPU, skip=False, several=False, later=True)
    check.passes(bad("l_parsing"), 3, IMAGES[:1])
    with pytest.raises(WNetError, match=said):
        check.settle()
    check.settle()  # said once


@pytest.mark.parametrize("moment", ["save", "get_current_log", "validation"])
def test_nothing_is_saved_logged_or_validated_before_it_is_known(tmp_path, batch, moment):
    model = build_model(options(tmp_path))
    model.finite.later = True
    train(model, batch, 1)
    model.feed_data({**batch, "gt": batch["gt"] * float("nan")})
    model.optimize_parameters(2)
    loader = torch.utils.data.DataLoader(type("Set", (list,), {"opt": {"name": "val"}})([1]))
    calls = {
        "save": lambda: model.save(0, 2), "get_current_log": model.get_current_log,
        "validation": lambda: model.validation(loader, 2, None),
    }  # fmt: skip
    with pytest.raises(WNetError, match=r"iteration 2: not a finite number: l_pix.* \(images a.png, b.png\)"):
        calls[moment]()
    assert not list(tmp_path.glob("*.pth"))


def test_looking_later_changes_no_training(tmp_path, batch):
    nets = []
    for later in (False, True):
        torch.manual_seed(0)
        model = build_model(options(tmp_path, ema_decay=0.9))
        model.finite.later = later
        losses = train(model, batch, 3)
        nets.append([losses, *model.net_g.state_dict().values(), *model.net_g_ema.state_dict().values()])
    assert nets[0][0] == nets[1][0]
    assert all(torch.equal(one, other) for one, other in zip(nets[0][1:], nets[1][1:]))
