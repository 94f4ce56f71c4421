"""A training on the CPU and on a GPU: the same tests, so that those for the GPU are run, too, where there is none.

With a card: ``bash scripts/test.sh -m gpu``.
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model

from tests.models.test_gan_models import gan_options
from tests.models.test_models import options, train
from wnet_arch.training import loaders
from wnet_arch.training.loaders import for_device

ON_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
TRAINING = {"grad_clip": 1.0, "ema_decay": 0.9}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, ON_GPU])])
def device(request) -> str:
    return request.param


@pytest.fixture
def data(face_set):
    return build_dataset({"name": "val", "type": "PairedFaceParsingDataset", "phase": "val", "scale": 8, "dataroot": str(face_set)})


@pytest.fixture
def batch(data, device):
    """As the loader gives it: on the host, pinned for a GPU."""
    samples = torch.utils.data.default_collate([data[i] for i in range(4)])
    return {key: v.pin_memory() if device == "cuda" and isinstance(v, torch.Tensor) else v for key, v in samples.items()}


def build(tmp_path, device: str, model_type: str = "WNetModel", **train_options):
    return build_model({**options(tmp_path, model_type, **train_options), "num_gpu": int(device == "cuda")})


def on_device(model, device: str) -> bool:
    nets = [model.net_g, *([model.net_g_ema] if hasattr(model, "net_g_ema") else [])]
    return all(p.device.type == device for net in nets for p in (*net.parameters(), *net.buffers()))


def test_steps_lower_the_loss_and_their_times_are_told_apart(tmp_path, device, batch):
    torch.manual_seed(0)
    model = build(tmp_path, device, **TRAINING)
    losses = train(model, batch, 12)
    assert losses[-1] < 0.8 * losses[0]
    assert on_device(model, device)
    train(model, batch, 1)
    model.feed_data(batch)
    model.optimize_parameters(14)
    log = model.get_current_log()
    assert ("host_time" in log, "device_time" in log) == (device == "cuda",) * 2
    assert all(math.isfinite(value) for value in log.values())


def test_an_adversarial_training_steps(tmp_path, device, batch):
    torch.manual_seed(0)
    model = build_model({**gan_options(tmp_path), "num_gpu": int(device == "cuda")})
    before = copy.deepcopy(model.net_d.state_dict())
    losses = train(model, {**batch, "lq": torch.nn.functional.avg_pool2d(batch["gt"], 4)}, 2)
    assert all(map(math.isfinite, losses))
    assert any(not torch.equal(before[key], value) for key, value in model.net_d.state_dict().items())


@pytest.mark.parametrize("precision", ["bf16", "auto"])
def test_bf16_stays_near_float32(tmp_path, device, batch, precision):
    losses = {}
    for name in ("fp32", precision):
        torch.manual_seed(0)
        model = build(tmp_path, device, precision=name, channels_last="auto" if name == "auto" else False)
        losses[name] = train(model, batch, 4)
        assert model.precision.name in ("fp32", "bf16")
        assert all(p.dtype == torch.float32 for p in model.net_g.parameters())
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.05)


def test_the_average_follows(tmp_path, device, batch):
    torch.manual_seed(0)
    model = build(tmp_path, device, ema_decay=0.5)
    before = copy.deepcopy(model.net_g_ema.state_dict())
    train(model, batch, 1)
    now = model.net_g.state_dict()
    for key, value in model.net_g_ema.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.5 * before[key] + 0.5 * now[key])


def test_a_continued_training_takes_the_same_steps(tmp_path, device, batch):
    torch.backends.cudnn.benchmark = False
    torch.manual_seed(0)
    model = build(tmp_path, device, **TRAINING)
    train(model, batch, 3)
    model.save(0, 3)
    expected = train(model, batch, 3)
    opt = options(tmp_path, **TRAINING)
    opt["path"]["pretrain_network_g"] = str(tmp_path / "net_g_3.pth")
    again = build_model({**opt, "num_gpu": int(device == "cuda")})
    again.resume_training(torch.load(tmp_path / "3.state", weights_only=True))
    exact = {"rel": 0, "abs": 0} if device == "cpu" else {"rel": 1e-4}  # kernels of cuDNN add in any order
    assert train(again, batch, 3) == pytest.approx(expected, **exact)


def test_validation_gives_what_the_cpu_gives(tmp_path, device, data, batch):
    found = {}
    for where in ("cpu", device):
        torch.manual_seed(0)
        model = build(tmp_path, where, ema_decay=0.9)
        model.net_g.load_state_dict({key: value.to(where) for key, value in _weights(model).items()})
        model.model_ema(0)
        model.validation(build_dataloader(data, {"phase": "val"}, num_gpu=0), 1, None)
        found[where] = model.metric_results["psnr"]
    assert found[device] == pytest.approx(found["cpu"], abs=1e-3)


def _weights(model) -> dict:
    """The same on every device."""
    generator = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(value.shape, generator=generator) * 0.05 if value.is_floating_point() and value.ndim == 4 else value.cpu()
        for key, value in model.net_g.state_dict().items()
    }


@pytest.mark.gpu
@ON_GPU
def test_a_compiled_network_trains(tmp_path, face_set, data):
    batch = torch.utils.data.default_collate([data[i] for i in range(4)])
    losses = {}
    for compiled in (False, True):
        torch.manual_seed(0)
        losses[compiled] = train(build(tmp_path, "cuda", "FaceSRModel", compile=compiled), batch, 3)
    assert losses[True] == pytest.approx(losses[False], rel=1e-2)


def test_adam_is_fused_on_gpus_only_unless_the_file_decides(tmp_path, device, batch):
    model = build(tmp_path, device)
    assert bool(model.optimizer_g.defaults["fused"]) == (device == "cuda")
    named = build(tmp_path, device, optim_g={"type": "Adam", "lr": 1e-3, "foreach": True})
    assert not named.optimizer_g.defaults["fused"]
    losses = [train(one, batch, 2) for one in (model, named)]
    assert all(map(math.isfinite, (*losses[0], *losses[1])))


def test_loaders_take_what_fits_the_device(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(6)))
    assert for_device({}, on_gpu=False) == {"num_worker_per_gpu": 1, "pin_memory": False, "persistent_workers": True}
    assert for_device({}, on_gpu=True) == {"num_worker_per_gpu": 6, "pin_memory": True, "persistent_workers": True}
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert for_device({}, on_gpu=True)["num_worker_per_gpu"] == 2
    given = {"num_worker_per_gpu": 0, "pin_memory": False, "persistent_workers": None}
    assert for_device(given, on_gpu=True) == {"num_worker_per_gpu": 0, "pin_memory": False, "persistent_workers": False}


def test_a_training_on_a_gpu_keeps_decoded_images_if_they_fit(monkeypatch, face_set):
    block = {"name": "train", "type": "PairedFaceParsingDataset", "phase": "train", "scale": 8, "dataroot": str(face_set)}
    opt = {
        "datasets": {"train": {**block, "batch_size_per_gpu": 2}}, "manual_seed": 0, "world_size": 1, "rank": 0, "dist": False,
        "train": {"total_iter": 6}, "num_gpu": 1,
    }  # fmt: skip

    def kept(memory: int, **changes) -> bool:
        monkeypatch.setattr(loaders, "memory_of_machine", lambda: memory)
        one = {**opt, "datasets": {"train": {**opt["datasets"]["train"], **changes}}}
        loader, _ = loaders._train_loader(one, one["datasets"]["train"])
        return loader.dataset.dataset.decoded is not None

    needed = 6 * (64 * 64 * 3 + 8 * 8 * 3 + 64 * 64 + 1)  # HR, LR, map, mark
    assert kept(4 * needed)
    assert not kept(4 * needed - 8)
    assert not kept(4 * needed, cache=False)
    opt["dist"] = True  # spawned workers share nothing
    assert not kept(4 * needed)
    opt.update(dist=False, num_gpu=0)
    assert not kept(4 * needed)
