"""A run continued with other options: each either ends in one line, or is followed and told; nothing is lost without a word."""

from __future__ import annotations

import copy
import functools
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.test_train_command import run_options
from tests.conftest import write_set
from tests.training.test_resume import run_in
from wnet_arch import registration  # noqa: F401 - networks and models by name
from wnet_arch.errors import UsageError
from wnet_arch.training import continuation, training_state
from wnet_arch.weights import checkpoint, pth


def options(face_set: Path) -> dict:
    """Those of a small run, with every block that options have."""
    opt = run_options(face_set)
    opt["train"].update(total_iter=4, ema_decay=0.9)
    opt["logger"].update(print_freq=1, save_checkpoint_freq=2)
    opt["val"].update(val_freq=4, keep_best="psnr")
    return opt


@pytest.fixture(scope="module")
def begun(tmp_path_factory, face_set) -> Path:
    """The folder of a run of four iterations."""
    folder = tmp_path_factory.mktemp("begun")
    run = run_in(folder, options(face_set))
    assert run.returncode == 0, run.stderr
    return folder


def put(opt: dict, values: dict) -> dict:
    opt = copy.deepcopy(opt)
    for key, value in values.items():
        *parents, last = key.split(".")
        block = opt
        for parent in parents:
            block = block[parent]
        block[last] = value
        if value is ...:
            del block[last]
    return opt


def continued(begun: Path, folder: Path, opt: dict):
    shutil.copytree(begun, folder / "run")
    return run_in(folder / "run", opt), folder / "run" / "experiments" / "tiny"


@functools.cache
def known_state(experiment: Path) -> dict:
    return state_of(experiment, 4)


def state_of(experiment: Path, iteration: int) -> dict:
    return training_state.read(experiment / "training_states" / f"{iteration}.state", str(experiment / "models"))


def test_a_state_remembers_the_options_of_its_run(begun):
    remembered = state_of(begun / "experiments" / "tiny", 4)["options"]
    assert remembered["train.ema_decay"] == 0.9
    assert remembered["train.optim_g.lr"] == 1e-3
    assert remembered["datasets.train.batch_size_per_gpu"] == 2
    assert not [key for key in remembered if key.split(".")[0] in ("path", "rank", "resume", "is_train")]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"train.ema_decay": 0}, "train.ema_decay: 0.9, these options have 0, and the moving average would be lost"),
        ({"train.ema_decay": ...}, "train.ema_decay: 0.9, these options have not given, and the moving average"),
        ({"train.optim_g": {"type": "SGD", "lr": 0.1}}, "train.optim_g.type: Adam, these options have SGD"),
        ({"network_g.y_from": "y1"}, "network_g.y_from: deep, these options have y1, and its weights belong to that network"),
        (
            {"train.optim_g.amsgrad": True},
            "train.optim_g.amsgrad: not given, these options have True, and the optimizer",
        ),
        ({"train.frozen": ["decoder"]}, "train.frozen: not given, these options have ['decoder']"),
        ({"train.lr_mult": {"trunk.parsing": 0.1}}, "train.lr_mult.trunk.parsing: not given, these options have 0.1, and the"),
        ({"model_type": "FaceSRModel"}, "model_type: WNetModel, these options have FaceSRModel"),
        ({"scale": 4, "network_g.num_feat": 16}, "network_g.num_feat: 8, these options have 16, and its weights belong to"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_would_be_lost_ends_in_one_line_before_anything_is_written(begun, face_set, values, said):
    experiment = begun / "experiments" / "tiny"
    with pytest.raises(UsageError) as error:
        settled(experiment, put(options(face_set), values))
    assert str(error.value).startswith(f"path.resume_state: that run had {said}")
    assert "\n" not in str(error.value)


def settled(experiment: Path, opt: dict) -> dict[str, str]:
    """What is said of options with which the run is to be continued, as the framework would have parsed them."""
    opt = {**copy.deepcopy(opt), "world_size": 1, "rank": 0, "dist": False}
    if opt["num_gpu"] == "auto":
        opt["num_gpu"] = torch.cuda.device_count()
    return continuation.settle(known_state(experiment), opt, experiment / "training_states" / "4.state")


def test_the_same_options_and_defaults_that_are_given_are_no_change(begun, face_set):
    experiment = begun / "experiments" / "tiny"
    assert settled(experiment, options(face_set)) == {}
    assert settled(experiment, put(options(face_set), {"network_g.scab": True, "network_g.y_from": "deep"})) == {}


def leaves(block: dict, prefix: str = ""):
    for key, value in block.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def test_no_option_at_all_changes_without_a_word(begun, face_set):
    experiment = begun / "experiments" / "tiny"
    opt = options(face_set)
    tried = [key for key in leaves(opt) if key.split(".")[0] not in ("name", "path")]
    for key in tried:
        value = "FaceSRModel" if key == "model_type" else 77
        try:
            said = settled(experiment, put(opt, {key: value})).get(key, "")
        except UsageError as error:
            said = str(error)
        assert key in said
        assert str(value) in said
    assert len(tried) > 30
    added = {"train.precision": "bf16", "train.accumulation": 2, "train.grad_clip": 1.0, "datasets.train.degradation": {},
             "find_unused_parameters": True, "val.batch": 4}  # fmt: skip
    for key, value in added.items():
        assert settled(experiment, put(opt, {key: value})) == {key: f"From iteration 5 on, {key}: not given -> {value}"}


def test_a_refused_run_leaves_the_folder_as_it_was(begun, tmp_path, face_set):
    before = {path.name: path.read_bytes() for path in (begun / "experiments" / "tiny").rglob("*") if path.is_file()}
    run, experiment = continued(begun, tmp_path, put(options(face_set), {"train.ema_decay": 0}))
    assert run.returncode == 2
    assert run.stderr.splitlines()[-1].startswith("basicsr: error: path.resume_state: that run had train.ema_decay")
    assert {path.name: path.read_bytes() for path in experiment.rglob("*") if path.is_file()} == before


def test_rates_and_schedules_are_followed_from_there_on(begun, tmp_path, face_set):
    schedule = {"type": "CosineAnnealingRestartLR", "periods": [8], "eta_min": 0}
    values = {"train.optim_g.lr": 4e-4, "train.optim_g.betas": [0.5, 0.9], "train.scheduler": schedule, "train.total_iter": 6}
    run, experiment = continued(begun, tmp_path, put(options(face_set), values))
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    assert "From iteration 5 on, train.optim_g.lr: 0.001 -> 0.0004" in said
    assert "From iteration 5 on, train.scheduler.type: MultiStepLR -> CosineAnnealingRestartLR; the rate continues as if" in said
    group = state_of(experiment, 6)["optimizers"][0]["param_groups"][0]
    assert group["lr"] == pytest.approx(4e-4 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * 5 / 8)).item()))
    assert list(group["betas"]) == [0.5, 0.9]
    assert state_of(experiment, 6)["optimizers"][0]["state"][0]["step"] == 6  # what it remembered of its steps is there


def test_validation_on_another_set_with_another_metric(begun, tmp_path, face_set):
    """The state behind it is written, and the best of what could not be compared begins anew."""
    rgb = {"type": "calculate_psnr", "crop_border": 0, "better": "higher"}
    values = {"datasets.val.name": "other", "val.metrics.rgb": rgb, "val.keep_best": "rgb", "train.total_iter": 8}
    run, experiment = continued(begun, tmp_path, put(options(face_set), values))
    assert run.returncode == 0, run.stderr
    state = state_of(experiment, 8)
    assert list(state["validated"]) == ["other"]
    assert {name: sorted(best) for name, best in state["best"].items()} == {"other": ["psnr", "rgb"]}
    assert (experiment / "models" / "net_g_best.pth").is_file()


def test_an_average_can_be_added_and_loss_scaling_begins_with_half_precision(tmp_path, face_set):
    opt = put(options(face_set), {"train.ema_decay": ...})
    assert run_in(tmp_path, opt).returncode == 0
    run = run_in(tmp_path, put(opt, {"train.ema_decay": 0.5, "train.precision": "fp16", "train.total_iter": 6}))
    assert run.returncode == 0, run.stderr
    said = run.stdout + run.stderr
    assert "From iteration 5 on, train.ema_decay: not given -> 0.5; a new average begins with the weights as they are" in said
    experiment = tmp_path / "experiments" / "tiny"
    assert sorted(pth.load(experiment / "models" / "net_g_6.pth")) == ["params", "params_ema"]
    assert state_of(experiment, 6)["scaler"]["scale"] > 0


def test_the_seed_stays_and_other_images_are_refused(begun, tmp_path, face_set):
    lines = settled(begun / "experiments" / "tiny", put(options(face_set), {"manual_seed": 5}))
    assert lines == {"manual_seed": "manual_seed: the run keeps the one it began with, 0 (not 5)"}
    write_set(tmp_path / "as_many", count=6, seed=40)
    run, _ = continued(begun, tmp_path, put(options(face_set), {"datasets.train.dataroot": str(tmp_path / "as_many")}))
    assert run.returncode == 2
    assert "error: path.resume_state: that run drew from other images" in run.stderr.splitlines()[-1]
    shutil.rmtree(tmp_path / "run")
    shutil.copytree(face_set, tmp_path / "moved")
    moved = {"datasets.train.dataroot": str(tmp_path / "moved"), "train.total_iter": 5}
    run, _ = continued(begun, tmp_path, put(options(face_set), moved))
    assert run.returncode == 0, run.stderr
    assert f"datasets.train.dataroot: {face_set} -> {tmp_path / 'moved'}" in run.stdout + run.stderr


def test_a_state_from_before_goes_on_and_its_option_file_is_compared(begun, tmp_path, face_set):
    """As runs wrote them that exist: without options, and without what tells the images."""
    shutil.copytree(begun, tmp_path / "run")
    experiment = tmp_path / "run" / "experiments" / "tiny"
    path = experiment / "training_states" / "4.state"
    state = {key: value for key, value in state_of(experiment, 4).items() if key != "options"}
    state["draws"] = {key: value for key, value in state["draws"].items() if key != "set"}
    checkpoint.write(state, path)
    run = run_in(tmp_path / "run", put(options(face_set), {"train.ema_decay": 0}))
    assert run.returncode == 2
    assert "the moving average would be lost" in run.stderr.splitlines()[-1]
    run = run_in(tmp_path / "run", put(options(face_set), {"train.total_iter": 5}))
    assert run.returncode == 0, run.stderr
    assert "From iteration 5 on, train.total_iter: 4 -> 5" in run.stdout + run.stderr
    for file in experiment.glob("*.yml"):
        file.unlink()
    known_state.cache_clear()
    assert "does not tell with which options" in settled(experiment, options(face_set))["options"]


def test_models_of_the_framework_cannot_follow_another_rate(tmp_path, face_set):
    opt = options(face_set)
    opt["model_type"] = "SRModel"
    opt["train"] = {"total_iter": 4, "ema_decay": 0.9, "pixel_opt": {"type": "L1Loss"}, "optim_g": opt["train"]["optim_g"],
                    "scheduler": opt["train"]["scheduler"]}  # fmt: skip
    folder = tmp_path / "experiments" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny.yml").write_text(yaml.safe_dump(opt))
    state = {"iter": 4, "epoch": 0, "optimizers": [], "schedulers": []}
    for values, said in (
        ({"train.optim_g.lr": 1.0}, "and SRModel takes that from the state"),
        ({"train.scheduler.milestones": [1]}, "and SRModel takes that from the state"),
        ({"train.ema_decay": 0}, "and the moving average would be lost"),
    ):
        now = {**put(opt, values), "num_gpu": torch.cuda.device_count(), "world_size": 1}
        with pytest.raises(UsageError, match=said):
            continuation.settle(state, now, folder / "training_states" / "4.state")


def test_two_optimizers_where_the_run_had_one_are_one_line():
    net = torch.nn.Linear(2, 2)
    optimizers = [torch.optim.Adam(net.parameters()) for _ in range(2)]
    state = {"optimizers": [optimizers[0].state_dict()], "schedulers": []}
    with pytest.raises(UsageError, match="that run had 1 optimizer, this one has 2"):
        continuation.load_optimizers(optimizers, [], state, ())
    state = {"optimizers": [torch.optim.Adam([net.weight]).state_dict()], "schedulers": []}
    with pytest.raises(UsageError, match="the optimizers of that run are others"):
        continuation.load_optimizers(optimizers[:1], [], state, ())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop])
def test_momentum_that_is_turned_on_begins_from_nothing(kind):
    def step(optimizer) -> None:
        weight.grad = torch.ones(1)
        optimizer.step()

    weight = torch.nn.Parameter(torch.ones(1))
    without, began = kind([weight], lr=0.1), kind([weight], lr=0.1, momentum=0.9)
    step(without)
    schedulers = [torch.optim.lr_scheduler.ConstantLR(began, 1)]
    state = {"optimizers": [without.state_dict()], "schedulers": [{"last_epoch": 1}]}
    continuation.load_optimizers([began], schedulers, state, ["train.optim_g.momentum"])
    moved = []
    for _ in range(2):
        before = weight.item()
        step(began)
        moved.append(before - weight.item())
    assert moved[1] > 1.5 * moved[0] > 0  # the second step has the first one's momentum
