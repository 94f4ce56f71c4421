"""``wnet validate``: everything at once, and what would only show in the run."""

from __future__ import annotations

import copy

import pytest
from test_train_command import basicsr, run_options, write_options

from wnet_arch import options


def framework_options(face_set, network: dict, model_type: str = "SRModel") -> dict:
    opt = options.complete(run_options(face_set))
    opt.update(model_type=model_type, network_g=network)
    opt["train"] = {key: value for key, value in opt["train"].items() if key != "wnet_opt"}
    opt["train"]["pixel_opt"] = {"type": "L1Loss"}
    return opt


def lmdb_block(face_set, name: str) -> dict:
    roots = {"dataroot_gt": f"{face_set}/gt.lmdb", "dataroot_lq": f"{face_set}/lq_x8.lmdb"}
    return {"name": name, "type": "PairedImageDataset", **roots, "io_backend": {"type": "lmdb"}}


def everything(opt: dict) -> list[str]:
    return options.list_everything(opt, is_train="train" in opt)


def test_faults_of_all_sets_networks_and_losses_are_listed_together(face_set):
    opt = run_options(face_set)
    opt["datasets"]["train"]["dataroot"] = "nowhere/train"
    opt["datasets"]["val"]["dataroot"] = "elsewhere"
    opt["datasets"]["val_1"] = {**opt["datasets"]["val"], "name": "third", "landmarks": True, "dataroot": str(face_set)}
    opt["train"]["wnet_opt"].update(vgg="gone.pth", key_weight=0.5)
    opt["val"]["keep_best"] = "sssim"
    found = everything(opt)
    for said in (
        "datasets.train: dataroot: there is no folder nowhere/train", "datasets.val: dataroot: there is no folder elsewhere",
        "datasets.val_1: the set", "train.wnet_opt: ", "val.keep_best: no metric is called 'sssim'",
    ):  # fmt: skip
        assert len([line for line in found if line.startswith(said)]) == 1, (said, found)
    assert len(found) == 5


def test_fine_options_have_no_faults(face_set):
    assert everything(run_options(face_set)) == []


def test_metrics_need_references(face_set, tmp_path):
    opt = run_options(face_set)
    lmdb = {"dataroot_lq": f"{face_set}/lq_x8.lmdb", "io_backend": {"type": "lmdb"}}
    lq = {"name": "lq", "type": "SingleImageDataset", **lmdb}
    opt["datasets"] = {"test": lq}
    del opt["train"]
    assert [line.partition(" gives")[0] for line in everything(opt)] == ["datasets.test.type: SingleImageDataset"]
    opt["val"]["metrics"] = {"niqe": {"type": "calculate_niqe", "crop_border": 0, "better": "lower"}}
    assert not any("gives no HR images" in line for line in everything(opt))
    opt["val"]["metrics"] = None
    assert everything(opt) == []


def test_there_is_nothing_to_learn_from_without_references(face_set):
    opt = framework_options(face_set, {"type": "EDSR_face", "scale": 8}, "FaceSRModel")
    opt["datasets"]["train"] = {
        "name": "lq", "type": "SingleImageDataset", "dataroot_lq": str(face_set), "io_backend": {"type": "disk"},
        "num_worker_per_gpu": 0, "batch_size_per_gpu": 1,
    }  # fmt: skip
    said = "datasets.train.type: SingleImageDataset gives no HR images to learn from"
    assert any(line.startswith(said) for line in everything(opt))


@pytest.mark.parametrize("mixed", [False, True])
def test_one_lmdb_cannot_be_opened_by_two_sets_of_the_framework(face_set, tmp_path, mixed):
    opt = run_options(face_set)
    del opt["train"]
    first = opt["datasets"]["val"] if mixed else lmdb_block(face_set, "first")
    opt["datasets"] = {"test": first, "test_1": lmdb_block(face_set, "second")}
    found = everything(opt)
    assert len(found) == 2
    assert all("LMDB opens a path once in a process" in line and line.startswith("datasets.test_1.dataroot_") for line in found)
    run = basicsr("test", "-opt", write_options(tmp_path / "test.yml", opt), cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1


def test_readers_of_the_package_share_an_lmdb(face_set):
    opt = run_options(face_set)
    opt["datasets"]["val_1"] = {**copy.deepcopy(opt["datasets"]["val"]), "name": "again"}
    assert everything(opt) == []


@pytest.mark.parametrize(
    ("network", "model_type", "decay", "refused"),
    [
        ({"type": "SRResNet", "scale": 8}, "SRModel", 0.9, True),
        ({"type": "SRResNet", "scale": 8}, "SRModel", 0, False),
        ({"type": "SRResNet", "scale": 8}, "FaceSRModel", 0.9, False),
        ({"type": "SRCNN", "scale": 8}, "SRModel", 0.9, False),
    ],
)
def test_the_frameworks_average_forgets_batchnorm(face_set, network, model_type, decay, refused):
    opt = framework_options(face_set, network, model_type)
    opt["train"]["ema_decay"] = decay
    found = everything(opt)
    assert any(line.startswith("train.ema_decay: the average of SRModel would keep") for line in found) == refused
    assert len(found) == refused
