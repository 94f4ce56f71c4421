"""Losses of networks with priors against direct transcriptions in NumPy, and the model that trains with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from basicsr.models import build_model

from tests.archs.test_networks import SMALL
from tests.conftest import drawn_face, drawn_points
from wnet_arch import create_network
from wnet_arch.archs.base import FaceSROutput
from wnet_arch.archs.dic_arch import DICOutput
from wnet_arch.archs.fishfsrnet_arch import FishFSRNetOutput
from wnet_arch.archs.fsrnet_arch import FSRNetOutput
from wnet_arch.archs.sfmnet_arch import SFMNetOutput
from wnet_arch.errors import UsageError
from wnet_arch.faces import labels
from wnet_arch.losses import DICLoss, FishFSRNetLoss, FSRNetLoss, SFMNetLoss
from wnet_arch.losses.heatmaps import HELEN

SIZE = 64
LOSSES = {"DIC": DICLoss, "FSRNet": FSRNetLoss, "FishFSRNet": FishFSRNetLoss, "SFMNet": SFMNetLoss}


class Batch:
    """Three faces: the first complete, the second with a partly unknown map, the third with neither map nor landmarks."""

    def __init__(self):
        rng = np.random.default_rng(0)
        drawn = [drawn_face(seed, SIZE) for seed in range(3)]
        self.gt = torch.tensor(np.stack([image for image, _ in drawn]).transpose(0, 3, 1, 2) / 255)
        self.label = torch.from_numpy(np.stack([parsing for _, parsing in drawn]))
        self.label[1, :20] = labels.UNKNOWN
        self.label[2] = labels.UNKNOWN
        points = [drawn_points(seed, SIZE) for seed in range(3)]
        self.landmarks = torch.from_numpy(np.stack([np.full((68, 2), np.nan, np.float32) if p is None else p for p in points]))
        self.rng = rng

    def image(self) -> torch.Tensor:
        return torch.from_numpy(self.rng.uniform(0, 1, self.gt.shape))

    def maps(self, channels: int, side: int) -> torch.Tensor:
        return torch.from_numpy(self.rng.normal(0, 1, (3, channels, side, side)))


@pytest.fixture
def batch() -> Batch:
    return Batch()


def near(terms, **expected) -> None:
    assert list(terms) == list(expected)
    for name, value in expected.items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-5), name


def mae(x, y) -> float:
    return float(np.abs(np.asarray(x) - np.asarray(y)).mean())


def mse(x, y) -> float:
    return float(np.square(np.asarray(x) - np.asarray(y)).mean())


def heatmap_mse(maps: torch.Tensor, points: torch.Tensor, stride: float) -> float:
    """Mean over the batch; the third face has no landmarks and adds 0."""
    side, total = maps.shape[-1], 0.0
    rows, columns = np.mgrid[0:side, 0:side]
    for heat, face in zip(maps.numpy()[:2], points.numpy()[:2].astype(np.float64)):
        for one, (x, y) in zip(heat, face):
            total += mse(one, np.exp(-((columns - x / stride) ** 2 + (rows - y / stride) ** 2) / 2)) / 68
    return total / 3


def test_dic(batch):
    steps = tuple(batch.image() for _ in range(3))
    heatmaps = tuple(batch.maps(68, SIZE // 4) for _ in range(3))
    terms = DICLoss()(DICOutput(steps[-1], steps, heatmaps), batch.gt, batch.label, batch.landmarks)
    near(
        terms,
        l_pix=sum(mae(step, batch.gt) for step in steps),
        l_heatmap=0.1 * sum(heatmap_mse(maps, batch.landmarks, 4) for maps in heatmaps),
    )


def map_mse(maps: torch.Tensor, label: torch.Tensor) -> float:
    """Over cells of 2x2 pixels that are all known; mean of an image, then of the batch."""
    total = 0.0
    for one, face in zip(maps.numpy(), label.numpy()):
        errors = []
        for row in range(SIZE // 2):
            for column in range(SIZE // 2):
                cell = face[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                if (cell != labels.UNKNOWN).all():
                    target = [np.isin(cell, classes).mean() for classes in HELEN]
                    errors.append(mse(one[:, row, column], target))
        total += float(np.mean(errors)) if errors else 0.0
    return total / 3


def test_fsrnet(batch):
    sr, coarse, maps = batch.image(), batch.image(), batch.maps(11, SIZE // 2)
    terms = FSRNetLoss(1.0, 0.5, 2.0)(FSRNetOutput(sr, coarse, maps), batch.gt, batch.label)
    signed = 2 * batch.gt - 1
    near(
        terms,
        l_coarse=0.5 * mse(2 * coarse - 1, signed),
        l_pix=mse(2 * sr - 1, signed),
        l_maps=2 * map_mse(maps, batch.label),
    )


def test_fsrnet_with_heatmaps(batch):
    maps = batch.maps(79, SIZE // 2)
    terms = FSRNetLoss()(FSRNetOutput(batch.image(), batch.image(), maps), batch.gt, batch.label, batch.landmarks)
    assert float(terms["l_maps"]) == pytest.approx(map_mse(maps[:, :11], batch.label), rel=1e-5)
    assert float(terms["l_heatmap"]) == pytest.approx(heatmap_mse(maps[:, 11:], batch.landmarks, 2), rel=1e-5)


def test_sfmnet(batch):
    sr, frequency = batch.image(), batch.image()
    terms = SFMNetLoss()(SFMNetOutput(sr, frequency), batch.gt)
    ours, theirs = np.fft.rfft2(frequency.numpy()), np.fft.rfft2(batch.gt.numpy())
    near(
        terms,
        l_pix=mae(sr, batch.gt),
        l_frequency=mae(frequency, batch.gt),
        l_amplitude=0.01 * mae(np.abs(ours), np.abs(theirs)),
        l_phase=0.01 * mae(np.angle(ours), np.angle(theirs)),
    )


def test_fishfsrnet(batch):
    sr, parsing = batch.image(), batch.maps(3, 8)
    terms = FishFSRNetLoss(parsing_weight=0.5)(FishFSRNetOutput(sr, parsing), batch.gt, batch.label)
    total = 0.0
    for one, face in zip(parsing.numpy(), batch.label.numpy()):
        errors = []
        for row in range(8):
            for column in range(8):
                cell = face[8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                if (cell != labels.UNKNOWN).all():
                    errors.append(mae(one[:, row, column], labels.colorize(cell).mean((0, 1)) / 255))
        total += float(np.mean(errors)) if errors else 0.0
    near(terms, l_pix=mae(sr, batch.gt), l_parsing=0.5 * total / 3)


def small(name: str, scale: int = 8, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    return create_network(name, scale, **{**SMALL[name], **options})


def loss_of(name: str, network: torch.nn.Module, batch: Batch, part: slice) -> dict:
    lq = torch.nn.functional.avg_pool2d(batch.gt.float(), network.scale)[part]
    out = network(lq, return_aux=True)
    return LOSSES[name]()(out, batch.gt[part].float(), batch.label[part], batch.landmarks[part])


#: The terms that need a label map or landmarks, and parameters that learn from nothing else.
PRIOR_TERMS = {"DIC": "l_heatmap", "FSRNet": "l_maps", "FishFSRNet": "l_parsing"}
HEADS = {"DIC": "trunk.landmarks.head", "FSRNet": "trunk.to_maps", "FishFSRNet": "parsing_net"}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [4, 8])
@torch.no_grad()
def test_perfect_output_costs_nothing_but_priors(name, scale, batch):
    """The value ranges of what a network gives are those its loss compares."""
    network = small(name, scale)
    lq = torch.nn.functional.avg_pool2d(batch.gt.float(), scale)
    gt = batch.gt.float()
    out = network(lq, return_aux=True)
    images = {field: gt for field in ("sr", "coarse", "frequency") if field in out._fields}
    if name == "DIC":
        images["steps"] = tuple(gt for _ in out.steps)
    terms = LOSSES[name]()(out._replace(**images), gt, batch.label, batch.landmarks)
    costly = {term for term, value in terms.items() if float(value) > 1e-6}
    assert costly == ({PRIOR_TERMS[name]} if name in PRIOR_TERMS else set())
    assert all(value.dtype == torch.float32 and value.ndim == 0 for value in terms.values())


@pytest.mark.parametrize("name", PRIOR_TERMS)
def test_heads_learn_from_known_faces_and_not_from_others(name, batch):
    network = small(name)
    head = dict(network.get_submodule(HEADS[name]).named_parameters())
    for part, learns in ((slice(0, 2), True), (slice(2, 3), False)):
        network.zero_grad()
        term = loss_of(name, network, batch, part)[PRIOR_TERMS[name]]
        term.backward()
        assert (term.item() > 0) is learns
        for parameter, value in head.items():
            assert value.grad is not None, parameter
            assert value.grad.isfinite().all(), parameter
            assert bool(value.grad.any()) is learns, parameter


@pytest.mark.parametrize("name", LOSSES)
def test_faces_without_priors_still_train_the_image(name, batch):
    network = small(name)
    terms = loss_of(name, network, batch, slice(2, 3))
    sum(terms.values()).backward()
    assert all(math.isfinite(term.item()) for term in terms.values())
    assert terms["l_pix"].item() > 0
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.any() for g in gradients)


@pytest.mark.parametrize("name", LOSSES)
@torch.no_grad()
def test_no_prior_drowns_the_image_at_the_start(name, batch):
    """FSRNet's hourglasses give features so large that its maps' loss began at some 200, and the image was not learnt."""
    terms = loss_of(name, small(name), batch, slice(0, 2))
    images = sum(float(terms[term]) for term in ("l_pix", "l_coarse", "l_frequency") if term in terms)
    assert sum(map(float, terms.values())) < 3 * images


def test_black_image_has_finite_gradients():
    """Amplitude and phase of zero have no derivative; it counts as zero."""
    black = torch.zeros(1, 3, 16, 16, requires_grad=True)
    terms = SFMNetLoss()(SFMNetOutput(black, black), torch.rand(1, 3, 16, 16))
    sum(terms.values()).backward()
    assert black.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
@torch.no_grad()
def test_autocast_changes_little(name, batch):
    network = small(name).eval()
    exact = loss_of(name, network, batch, slice(None))
    with torch.autocast("cpu", torch.bfloat16):
        rough = loss_of(name, network, batch, slice(None))
    for term, value in exact.items():
        assert rough[term].dtype == torch.float32
        assert float(rough[term]) == pytest.approx(float(value), rel=0.1), term


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda b: DICLoss()(FaceSROutput(b.gt), b.gt), "DICLoss needs a network that gives steps and heatmaps; this one gives sr"),
        (lambda b: DICLoss()(DICOutput(b.gt, (), ()), b.gt, b.label), "'landmarks'; use type: .* with landmarks: true"),
        (lambda b: FSRNetLoss()(FSRNetOutput(b.gt, b.gt, b.maps(11, 32)), b.gt), "'parsing'; use type: PairedFaceParsingDataset"),
        (lambda b: FSRNetLoss()(FSRNetOutput(b.gt, b.gt, b.maps(12, 32)), b.gt, b.label), r"num_maps: .* \(79\), not 12"),
        (lambda b: FSRNetLoss()(FSRNetOutput(b.gt, b.gt, b.maps(79, 32)), b.gt, b.label), "'landmarks'"),
        (lambda b: FishFSRNetLoss()(FishFSRNetOutput(b.gt, b.maps(3, 8)), b.gt), "'parsing'"),
    ],
)
def test_what_is_missing_is_named(batch, call, said):
    with pytest.raises(UsageError, match=said):
        call(batch)


def options(tmp_path, name: str = "DIC", **train) -> dict:
    train = {
        "optim_g": {"type": "Adam", "lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.1},
        "scheduler": {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5},
        "total_iter": 10,
        "prior_opt": {"type": f"{name}Loss"},
        **train,
    }
    return {
        "name": "test", "model_type": "PriorFaceSRModel", "scale": 8, "num_gpu": 0, "dist": False, "is_train": True, "rank": 0,
        "world_size": 1, "manual_seed": 0, "network_g": {"type": name, "scale": 8, **SMALL[name]},
        "path": {"models": str(tmp_path), "training_states": str(tmp_path)}, "train": train,
    }  # fmt: skip


def train(model, batch: Batch, steps: range) -> list[float]:
    gt = batch.gt.float()
    data = {"lq": torch.nn.functional.avg_pool2d(gt, 8), "gt": gt, "parsing": batch.label, "landmarks": batch.landmarks}
    totals = []
    for step in steps:
        model.feed_data(data)
        model.optimize_parameters(step)
        totals.append(sum(model.get_current_log().values()))
    return totals


@pytest.mark.parametrize("name", LOSSES)
def test_training_lowers_the_loss_and_logs_every_term(tmp_path, name, batch):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, name))
    totals = train(model, batch, range(1, 9))
    assert totals[-1] < totals[0]
    terms = {
        "DIC": {"l_pix", "l_heatmap"},
        "FSRNet": {"l_coarse", "l_pix", "l_maps"},
        "FishFSRNet": {"l_pix", "l_parsing"},
        "SFMNet": {"l_pix", "l_frequency", "l_amplitude", "l_phase"},
    }
    assert set(model.get_current_log()) == terms[name]


def test_landmark_net_stays_as_it_is_while_frozen(tmp_path, batch):
    torch.manual_seed(0)
    model = build_model(options(tmp_path, freeze_landmark_iters=2))
    before = {name: value.clone() for name, value in model.net_g.named_parameters()}

    def changed() -> set[bool]:
        """Whether parameters of the landmark net, and of the rest, have changed."""
        now = dict(model.net_g.named_parameters())
        moved = {name for name, value in now.items() if not torch.equal(value, before[name])}
        return {name.startswith("trunk.landmarks") for name in moved}

    train(model, batch, range(1, 3))
    assert changed() == {False}
    train(model, batch, range(3, 4))
    assert changed() == {False, True}


@pytest.mark.parametrize(
    ("name", "train_options", "said"),
    [
        ("DIC", {"prior_opt": None}, "needs prior_opt"),
        ("DIC", {"freeze_landmark_iters": -1}, "freeze_landmark_iters: a number of iterations, not -1"),
        ("DIC", {"freeze_landmark_iters": "2k"}, "not '2k'"),
        ("DIC", {"freeze_landmark_iters": True}, "not True"),
        ("SFMNet", {"freeze_landmark_iters": 5}, "SFMNet has no landmark net"),
    ],
)
def test_wrong_options_are_named(tmp_path, name, train_options, said):
    with pytest.raises(UsageError, match=said):
        build_model(options(tmp_path, name, **train_options))
