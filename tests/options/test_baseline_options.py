"""Every file of options/baselines: the common protocol, what `wnet validate` checks, and a short run that is resumed."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils.misc import check_resume
from basicsr.utils.registry import ARCH_REGISTRY

from tests.archs.test_networks import SMALL
from tests.conftest import load_script, write_set
from wnet_arch import options
from wnet_arch.errors import DataError, UsageError

OPTIONS = Path(__file__).parents[2] / "options"
FILES = sorted((OPTIONS / "baselines").glob("*.yml"))
#: CTCNet takes no faces below 128 pixels.
SMALLER = {"CTCNet": {"num_feat": 8}}
#: Iterations before the state is saved. At these widths, one costs 0.2 s on average.
ITERATIONS = 8
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> dict[int, Path]:
    """Sets of three faces, the last without landmarks, by the side of their HR images."""
    folder = tmp_path_factory.mktemp("sets")
    return {size: write_set(folder / str(size), 3, size=size, landmarks=True) for size in (64, 128)}


def with_set(opt: dict, root: Path) -> dict:
    """The options with a small set in place of CelebA, and batches that it can fill."""
    entries = [f"datasets:{phase}:dataroot={root}" for phase in opt["datasets"]]
    return options.override(opt, [*entries, "datasets:train:batch_size_per_gpu=2"])


def with_vgg(opt: dict, vgg_file: str) -> dict:
    """The options with VGG weights that need not be fetched."""
    opt = copy.deepcopy(opt)
    for block in opt["train"].values():
        if isinstance(block, dict) and block.get("vgg"):
            block["vgg"] = vgg_file
    return opt


def protocol(opt: dict) -> dict:
    """What all networks of the comparison must share."""
    datasets = copy.deepcopy(opt["datasets"])
    datasets["train"].pop("landmarks", None)  # more to learn from, the same images
    return {
        "datasets": datasets,
        **{key: opt[key] for key in ("scale", "manual_seed", "val", "logger")},
        **{key: opt["train"][key] for key in ("total_iter",)},
    }


def test_there_are_files_for_both_scales():
    names = [{file.stem[:-3] for file in FILES if file.stem.endswith(ending)} for ending in ("_x4", "_x8")]
    assert names[0] == names[1]
    assert len(names[0]) >= 14


@EVERY_FILE
def test_protocol_is_that_of_wnet(file):
    opt = options.load(str(file))
    assert opt["name"] == file.stem
    assert file.stem == f"{file.stem[:-3]}_x{opt['scale']}"
    assert opt["network_g"]["scale"] == opt["scale"]
    assert protocol(opt) == protocol(options.load(str(OPTIONS / f"wnet_x{opt['scale']}.yml")))


@EVERY_FILE
def test_files_differ_between_the_scales_by_names_only(file):
    """Where the x8 file has a value of its own, the x4 file has the same, unless it names the scale."""
    ours, other = (options.load(str(file.with_name(f"{file.stem[:-3]}_x{scale}.yml"))) for scale in (4, 8))
    for opt in (ours, other):
        for key in ("name", "scale"):
            del opt[key]
        del opt["network_g"]["scale"]
    assert ours == other


@EVERY_FILE
def test_validate_accepts_it(file, sets, vgg_file):
    options.check(with_vgg(with_set(options.load(str(file)), sets[64]), vgg_file), is_train=True)


def test_landmarks_are_asked_for_before_a_run(sets, face_set):
    opt = with_set(options.load(str(OPTIONS / "baselines" / "DIC_x8.yml")), sets[64])
    with pytest.raises(DataError, match=r"datasets\.train: the set .* has no landmarks"):
        options.check(with_set(opt, face_set), is_train=True)
    del opt["datasets"]["train"]["landmarks"]
    with pytest.raises(UsageError, match=r"datasets\.train\.landmarks must be true: DICLoss trains with landmarks"):
        options.check(opt, is_train=True)


@pytest.fixture(scope="module")
def try_options():
    """The script that tries the files at full width, as a module."""
    return load_script("bench/try_options")


@EVERY_FILE
def test_the_trying_script_fits_it(file, try_options):
    """What the script changes exists in the file, and no loss of a run of 20 iterations waits longer than that."""
    opt = options.load(str(file))
    opt = options.override(opt, try_options.changes(opt, Path("SET"), 1, ITERATIONS))
    assert opt["datasets"]["train"]["dataroot"] == "SET/train"
    assert opt["train"]["total_iter"] == opt["logger"]["save_checkpoint_freq"] == ITERATIONS
    assert set(opt["train"].get("start_iters", {}).values()) <= {1}
    assert opt["datasets"]["train"]["batch_size_per_gpu"] == (2 if opt["network_g"]["type"] == "SISN" else 1)


@pytest.mark.parametrize(
    ("code", "text", "resumed_from", "problem"),
    [
        (0, "l_pix: 1.0e-01\n# psnr: 20.5\n", None, None),
        (0, "Resuming training from epoch: 1, iter: 18.\n# psnr: 20.5\n", 18, None),
        (0, "# psnr: 20.5\n", 18, "did not resume"),
        (0, "l_pix: 1.0e-01\n", None, "no validation"),
        (0, "l_pix: nan\n# psnr: 5.1\n", None, "a loss is not finite"),
        (0, "# psnr: nan\n", None, "a metric is not finite"),
        (2, "INFO\nbasicsr: error: no such set\n", None, "exit code 2: basicsr: error: no such set"),
    ],
)
def test_the_trying_script_finds_what_went_wrong(try_options, code, text, resumed_from, problem):
    assert try_options.find_problem(code, text, resumed_from) == problem


def small_run(file: Path, sets: dict[int, Path], vgg_file: str, folder: Path) -> dict:
    """Options for a few iterations of a small variant, filled in as the framework does."""
    opt = with_vgg(options.complete(options.load(str(file))), vgg_file)
    kind = opt["network_g"]["type"]
    name = kind.replace("_face", "")
    opt["network_g"].update({**SMALL.get(name, {}), **SMALLER.get(name, {})})
    opt = with_set(opt, sets[128 if ARCH_REGISTRY.get(kind).size_multiple > 64 else 64])
    if "size" in opt.get("network_d", {}):
        opt["network_d"]["size"] = 64
    train = opt["train"]
    train["start_iters"] = dict.fromkeys(train.get("start_iters", {}), 1)  # all losses from the beginning
    for block in train.values():
        if isinstance(block, dict) and "resize" in block:
            block["resize"] = None
    for phase, block in opt["datasets"].items():
        block.update(phase=phase, scale=opt["scale"])
    opt.update(num_gpu=0, dist=False, is_train=True, rank=0, world_size=1)
    opt["val"]["pbar"] = False
    opt["path"].update(dict.fromkeys(("models", "training_states", "visualization"), str(folder)))
    return opt


def iteration(model, batch: dict, number: int) -> dict[str, float]:
    torch.manual_seed(number)  # dropped paths, noisy labels
    model.update_learning_rate(number, warmup_iter=-1)
    model.feed_data(batch)
    model.optimize_parameters(number)
    return dict(model.get_current_log())


@EVERY_FILE
def test_it_trains_validates_and_resumes(file, sets, vgg_file, tmp_path):
    opt = small_run(file, sets, vgg_file, tmp_path)
    data = build_dataset(opt["datasets"]["train"])
    random.seed(0)
    count = 1 if data[0]["gt"].shape[-1] == 128 else 2
    batch = torch.utils.data.default_collate([data[index] for index in (0, 2)[:count]])
    torch.manual_seed(0)
    model = build_model(opt)
    start = copy.deepcopy(model.get_bare_model(model.net_g).state_dict())
    logs = [iteration(model, batch, number) for number in range(1, ITERATIONS + 1)]
    assert all(torch.tensor(list(log.values())).isfinite().all() for log in logs)
    if "network_d" not in opt:  # a discriminator learns against the loss
        assert sum(logs[-1].values()) < sum(logs[0].values())
    moved = [name for name, value in model.get_bare_model(model.net_g).named_parameters() if not torch.equal(value, start[name])]
    assert moved

    faces = build_dataset(opt["datasets"]["val"])
    faces.keys = faces.keys[:2]
    model.validation(build_dataloader(faces, {"phase": "val"}, num_gpu=0), ITERATIONS, None, save_img=False)
    assert set(model.metric_results) == {"psnr", "ssim"}
    assert all(abs(value) < 100 for value in model.metric_results.values())

    model.save(epoch=0, current_iter=ITERATIONS)
    again = copy.deepcopy(opt)
    again["path"]["resume_state"] = str(tmp_path / f"{ITERATIONS}.state")
    check_resume(again, ITERATIONS)
    torch.manual_seed(1)
    resumed = build_model(again)
    resumed.resume_training(torch.load(tmp_path / f"{ITERATIONS}.state", weights_only=True))
    assert iteration(resumed, batch, ITERATIONS + 1) == iteration(model, batch, ITERATIONS + 1)
    expected = model.net_g.state_dict()
    for name, value in resumed.net_g.state_dict().items():
        assert torch.equal(value, expected[name]), name
