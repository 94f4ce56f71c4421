"""``wnet validate``: everything at once, and what would only show in the run."""

from __future__ import annotations

import copy
import json
import random
import shutil

import pytest
from PIL import Image

from tests.cli.test_train_command import basicsr, run_options, write_options
from wnet_arch import options
from wnet_arch.data.face_parsing_dataset import PairedFaceParsingDataset
from wnet_arch.errors import UsageError


@pytest.fixture
def face_set(own_face_set):
    return own_face_set


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
        "name": "lq", "type": "SingleImageDataset", "dataroot_lq": f"{face_set}/lq_x8.lmdb", "io_backend": {"type": "lmdb"},
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


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"type": "MSRResNet", "num_in_ch": 3, "num_out_ch": 3, "upscale": 4}, "network_g.upscale is 4, but scale is 8"),
        ({"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3}, "network_g.upscale is 4, but scale is 8"),
        ({"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 2}, "network_g.scale is 2, but scale is 8"),
        ({"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3, "upscale": 8}, None),
    ],
)
def test_networks_of_the_framework_have_the_scale_of_the_options(face_set, network, said):
    found = everything(framework_options(face_set, network))
    assert [line.partition(";")[0] for line in found] == ([said] if said else [])


def folders(face_set, tmp_path, scale: int = 8) -> dict[str, str]:
    """Two faces of a set as folders of HR and LR images."""
    source = PairedFaceParsingDataset({"dataroot": str(face_set), "scale": scale, "phase": "val"})
    roots = {"dataroot_gt": tmp_path / "gt", "dataroot_lq": tmp_path / "lq"}
    for index in range(2):
        for root, image in zip(roots.values(), source._images(index)):
            root.mkdir(exist_ok=True)
            Image.fromarray(image).save(root / f"{index}.png")
    return {key: str(root) for key, root in roots.items()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gt_size": 44}, "datasets.train: LR images of 5x5 and HR images of 4"),  # 44 or what is left of the image
        ({"gt_size": 256}, "datasets.train: the first image of PairedImageDataset cannot be read: LQ (8, 8) is smaller than"),
        ({"gt_size": 48}, None),
    ],
)
def test_patches_of_the_framework_are_drawn_once(face_set, tmp_path, changes, said):
    opt = framework_options(face_set, {"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3, "upscale": 8})
    opt["datasets"]["train"] = {
        "name": "pairs", "type": "PairedImageDataset", **folders(face_set, tmp_path), "io_backend": {"type": "disk"},
        "num_worker_per_gpu": 0, "batch_size_per_gpu": 1, "use_hflip": True, "use_rot": True, **changes,
    }  # fmt: skip
    random.seed(3)
    found = everything(opt)
    assert random.random() == random.Random(3).random()
    assert [line[: len(said or line)] for line in found] == ([said] if said else [])


def test_lr_images_of_another_scale(face_set, tmp_path):
    """The framework's own data set does not look at sizes in validation; the run would die in its metrics."""
    opt = framework_options(face_set, {"type": "SRVGGNetCompact", "num_in_ch": 3, "num_out_ch": 3, "upscale": 8})
    roots = folders(face_set, tmp_path, scale=4)
    opt["datasets"]["val"] = {"name": "pairs", "type": "PairedImageDataset", **roots, "io_backend": {"type": "disk"}}
    said = "datasets.val: LR images of 16x16 and HR images of 64x64 are not x8; give images of that scale"
    assert everything(opt) == [said]


@pytest.mark.parametrize(
    ("model_type", "loss", "said"),
    [
        ("WNetModel", {"wnet_opt": {"type": "WNetLoss", "vgg": None, "key_weight": 0}}, "train.wnet_opt has no map to learn from"),
        ("WNetModel", {"wnet_opt": {"type": "WNetLoss", "vgg": None, "key_weight": 0, "parsing_weight": 0}}, None),
        ("PriorFaceSRModel", {"prior_opt": {"type": "FishFSRNetLoss"}}, "train.prior_opt has no map to learn from"),
    ],
)
def test_folders_without_maps_teach_no_parsing(face_set, tmp_path, model_type, loss, said):
    opt = run_options(face_set)
    opt["model_type"] = model_type
    opt["network_g"] = {"type": "FishFSRNet" if "prior_opt" in loss else "WNet", "scale": 8, "num_feat": 8}
    opt["train"] = {key: value for key, value in opt["train"].items() if key != "wnet_opt"} | loss
    roots = folders(face_set, tmp_path)
    train = {key: value for key, value in opt["datasets"]["train"].items() if key not in ("dataroot", "landmarks")}
    opt["datasets"]["train"] = {**train, "dataroot_gt": roots["dataroot_gt"]}
    found = everything(opt)
    assert len(found) == bool(said)
    assert all(said in line and line.startswith("datasets.train.dataroot_parsing is missing") for line in found)


@pytest.mark.parametrize("weight", [1, 0])
def test_sets_that_were_made_without_maps_teach_no_parsing(face_set, tmp_path, weight):
    opt = run_options(face_set)
    opt["train"]["wnet_opt"] = {"type": "WNetLoss", "vgg": None, "key_weight": 0, "parsing_weight": weight}
    bare = tmp_path / "bare"
    shutil.copytree(face_set, bare)
    manifest = json.loads((bare / "manifest.json").read_text())
    (bare / "manifest.json").write_text(json.dumps({**manifest, "parser": {"name": "none", "sha256": None}}))
    opt["datasets"]["train"]["dataroot"] = str(bare)
    said = f"datasets.train.dataroot: {bare} was made without maps, so that train.wnet_opt has none to learn from; "
    assert [line[: len(said)] for line in everything(opt)] == [said] * bool(weight)
    opt["datasets"]["train"]["dataroot"] = [str(bare), str(face_set)]  # some faces have maps
    assert everything(opt) == []


def test_a_file_for_tests_does_not_measure_the_training_set(face_set, tmp_path, capsys):
    opt = run_options(face_set)
    del opt["train"]
    said = "datasets.train: `basicsr test` would measure the training set, too; take the block out, or call it test"
    assert everything(opt) == [said]
    opt["datasets"]["test"] = {**opt["datasets"].pop("train"), "name": "test"}
    assert everything(opt) == []


def test_arguments_that_are_dictionaries_can_be_given_entry_by_entry(face_set):
    opt = run_options(face_set)
    changed = options.override(opt, ["train:wnet_opt:component_weights:eyes=2", "train:wnet_opt:component_weights:nose=0.5"])
    assert changed["train"]["wnet_opt"]["component_weights"] == {"eyes": 2, "nose": 0.5}
    assert everything(changed) == []
    (said,) = everything(options.override(opt, ["train:wnet_opt:component_weights:ears=2"]))
    assert said == "train.wnet_opt: WNetLoss: component_weights has 'ears'; the components are eyes, brows, nose, mouth"
    for entry in ("train:wnet_opt:vgg:x=1", "train:wnet_opt:masked:x=1", "train:wnet_opt:key_weight:eyes=1"):
        with pytest.raises(UsageError, match="the options have no 'train:wnet_opt:"):
            options.override(opt, [entry])


def test_rates_of_parts_can_be_given_entry_by_entry(face_set):
    opt = run_options(face_set)
    changed = options.override(opt, ["train:lr_mult:trunk.parsing=0.1", "train:lr_mult:trunk.to_rgb=2"])
    assert changed["train"]["lr_mult"] == {"trunk.parsing": 0.1, "trunk.to_rgb": 2}
    assert everything(changed) == []
    (said,) = everything(options.override(opt, ["train:lr_mult:trunk.parsing:weight=0.1"]))
    assert said == "train.lr_mult.trunk.parsing must be a number above 0, not a block of options"
    (said,) = everything(options.override(opt, ["train:lr_mult:trunk.prasing=0.1"]))
    assert said.startswith("train.lr_mult: WNet has no part 'trunk.prasing'; did you mean 'trunk.parsing'")


def test_maps_and_landmarks_are_asked_of_other_data_sets(face_set, tmp_path):
    opt = run_options(face_set)
    opt.update(model_type="PriorFaceSRModel", network_g={"type": "DIC", "scale": 8})
    opt["train"] = {key: value for key, value in opt["train"].items() if key != "wnet_opt"} | {"prior_opt": {"type": "DICLoss"}}
    opt["datasets"]["train"] = {
        **lmdb_block(face_set, "pairs"), "num_worker_per_gpu": 0, "batch_size_per_gpu": 1, "gt_size": 64,
        "use_hflip": False, "use_rot": False,
    }  # fmt: skip
    del opt["datasets"]["val"]
    assert [line.partition(":")[0] for line in everything(opt)] == ["datasets.train.landmarks"]
    said = "datasets.train.type: PairedImageDataset gives no parsing maps, which train.{} needs"
    opt["network_g"] = {"type": "FSRNet", "scale": 8}
    opt["train"]["prior_opt"] = {"type": "FSRNetLoss", "prior_weight": 0}
    assert [line.partition(";")[0] for line in everything(opt)] == [said.format("prior_opt")]
    opt.update(model_type="WNetModel", network_g={"type": "WNet", "scale": 8, "num_feat": 8})
    del opt["train"]["prior_opt"]
    opt["train"]["wnet_opt"] = {"type": "WNetLoss", "vgg": None, "key_weight": 0}
    assert [line.partition(";")[0] for line in everything(opt)] == [said.format("wnet_opt")]


def test_a_generator_that_would_never_learn(face_set):
    opt = options.complete(run_options(face_set))
    opt["model_type"] = "WNetGANModel"
    opt["network_d"] = {"type": "MRRNetDiscriminator"}
    opt["train"].update(optim_d={"type": "Adam", "lr": 1e-4}, gan_opt={"type": "GANLoss", "gan_type": "vanilla"})
    opt["train"]["net_d_init_iters"] = opt["train"]["total_iter"]
    assert [line.partition(",")[0] for line in everything(opt)] == [f"train.net_d_init_iters is {opt['train']['total_iter']}"]
