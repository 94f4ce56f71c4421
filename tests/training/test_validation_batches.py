"""Validation by batches: which images are computed together, what comes out, in which number format, how long it took."""

from __future__ import annotations

import json

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model

from tests.models.test_models import options
from wnet_arch.errors import WNetError
from wnet_arch.float32 import true_float32
from wnet_arch.training import run_log, validation


class Sizes(torch.utils.data.Dataset):
    """Samples of given sides."""

    def __init__(self, sides):
        self.sides = sides

    def __len__(self):
        return len(self.sides)

    def __getitem__(self, index):
        return {"lq": torch.full((3, self.sides[index], 8), float(index)), "lq_path": f"{index}.png"}


@pytest.mark.parametrize("size", [1, 3, 4, 50])
def test_what_is_computed_together_does_not_depend_on_the_number_of_processes(size):
    loader = torch.utils.data.DataLoader(Sizes([8, 8, 16, 8, 16, 8, 8, 8, 8, 16]))
    alone = list(validation.own_share(loader, 0, 1, size))
    assert sorted(index for indices, _ in alone for index in indices) == list(range(10))
    assert max(len(indices) for indices, _ in alone) == {1: 1, 3: 3, 4: 3, 50: 7}[size]
    for indices, batch in alone:
        assert batch["lq_path"] == [f"{index}.png" for index in indices]
        assert batch["lq"][:, 0, 0, 0].tolist() == indices
        assert len(batch["lq"]) == len(indices)
    for processes in (2, 3):
        shares = [list(validation.own_share(loader, rank, processes, size)) for rank in range(processes)]
        assert sorted(indices for share in shares for indices, _ in share) == sorted(indices for indices, _ in alone)
        assert validation.images_of_first(10, processes, size) == sum(len(indices) for indices, _ in shares[0])


def test_one_face_at_a_time_on_cpus_and_eight_on_gpus_unless_said_otherwise():
    assert [validation.batch_size({}, torch.device(name)) for name in ("cpu", "cuda")] == [1, 8]
    assert [validation.batch_size({"batch": 5}, torch.device(name)) for name in ("cpu", "cuda")] == [5, 5]


def loader_of(face_set):
    block = {"name": "val", "type": "PairedFaceParsingDataset", "phase": "val", "scale": 8, "dataroot": str(face_set)}
    return build_dataloader(build_dataset(block), {"phase": "val"}, num_gpu=0)


def test_batches_give_the_numbers_images_and_names_of_single_faces(tmp_path, face_set):
    found, sizes = {}, {}
    for batch in (1, 4):
        torch.manual_seed(0)
        opt = options(tmp_path / str(batch), ema_decay=0.9)
        opt["val"]["batch"] = batch
        model, seen = build_model(opt), sizes.setdefault(batch, [])
        model.net_g_ema.register_forward_pre_hook(lambda net, inputs, seen=seen: seen.append(len(inputs[0])))
        model.validation(loader_of(face_set), 2, None, save_img=True)
        found[batch] = model.metric_results["psnr"]
        files = sorted(path.name for path in (tmp_path / str(batch)).glob("pictures/*/*.png"))
        assert files == [f"face{index:03d}_2.png" for index in range(6)]
    assert sizes == {1: [1] * 6, 4: [4, 2]}
    assert found[4] == pytest.approx(found[1], abs=1e-3)


def test_images_that_are_no_numbers_end_a_validation_by_name(tmp_path, face_set):
    opt = options(tmp_path)
    opt["datasets"], opt["val"]["val_freq"] = {"val": {"name": "val"}}, 2
    model = build_model(opt)
    model.save(0, 2)
    assert not list(tmp_path.rglob("*.state"))  # waits for the validation
    with torch.no_grad():
        for parameter in model.net_g.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(WNetError, match=r"validation on val: what the network makes of face000 is no finite number"):
        model.validation(loader_of(face_set), 2, None)
    assert not list(tmp_path.rglob("*.state"))  # the run would go on with it


def test_what_was_trained_is_not_lost_when_a_metric_fails(tmp_path, face_set, monkeypatch):
    opt = options(tmp_path)
    opt["datasets"], opt["val"]["val_freq"] = {"val": {"name": "val"}}, 2
    model = build_model(opt)
    model.save(0, 2)
    monkeypatch.setattr(validation, "_measure_face", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.validation(loader_of(face_set), 2, None)
    assert [path.name for path in tmp_path.rglob("*.state")] == ["2.state"]


def test_the_log_says_how_long_a_validation_took(tmp_path, face_set):
    opt = options(tmp_path)
    opt["path"]["experiments_root"] = str(tmp_path)
    build_model(opt).validation(loader_of(face_set), 3, None)
    (line,) = (json.loads(line) for line in (tmp_path / run_log.FILE).read_text().splitlines())
    assert line["validation_seconds"] > 0
    assert list(line) == ["iter", "set", "psnr", "validation_seconds"]


def settings() -> tuple:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()


@pytest.fixture
def with_tf32():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def test_validation_is_in_whole_float32_and_training_in_what_it_was(tmp_path, face_set, with_tf32, monkeypatch):
    model, inside = build_model(options(tmp_path)), []
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda net: inside.append(settings()) or predict(net))
    model.validation(loader_of(face_set), 2, None)
    assert set(inside) == {(False, False, "highest")}
    assert settings() == (True, True, "high")


def test_settings_return_behind_an_error(with_tf32):
    with pytest.raises(ValueError, match="broken"), true_float32():
        raise ValueError("broken")
    assert settings() == (True, True, "high")


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="this torch has no fp32_precision")
def test_settings_by_torchs_newer_names_are_kept_too():
    places = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    before = [place.fp32_precision for place in places]
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        with true_float32():
            assert [place.fp32_precision for place in places] == ["ieee"] * 3
        assert [place.fp32_precision for place in places] == ["tf32", *before[1:]]
    finally:
        for place, value in zip(places, before):
            place.fp32_precision = value
