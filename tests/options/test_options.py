"""Option files: broken ones end in one line before anything exists on disk; the schema, its documents, plugins, overrides."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from basicsr.models.sr_model import SRModel
from basicsr.utils import registry
from basicsr.utils.options import ordered_yaml
from pydantic import TypeAdapter

from tests.broken_options import GONE, TABLE, TEXTS
from tests.cli.test_train_command import basicsr, run_options, write_options
from tests.conftest import write_folders
from wnet_arch import options
from wnet_arch.cli import basicsr as command
from wnet_arch.cli.common import run_command
from wnet_arch.data.face_parsing_dataset import OWN_OPTIONS
from wnet_arch.errors import PeerError, UsageError
from wnet_arch.models import FaceSRModel
from wnet_arch.options import blocks, description, kinds, training
from wnet_arch.options.schema import fields, schema_of
from wnet_arch.training.distributed import first_one_speaks

OPTIONS = Path(__file__).parents[2] / "options"
FILES = sorted(OPTIONS.glob("**/*.yml"))


def gan_options(face_set: Path) -> dict:
    opt = run_options(face_set)
    opt.update(model_type="FaceGANModel", network_g={"type": "SRCNN", "scale": 8, "num_feat": 4, "num_mid_feat": 4},
               network_d={"type": "SRGANDiscriminator", "num_feat": 4, "size": 64})  # fmt: skip
    del opt["train"]["wnet_opt"]
    opt["train"].update(optim_d={"type": "Adam", "lr": 1e-4}, pixel_opt={"type": "L1Loss"}, gan_opt={"type": "NoisyLabelGANLoss"})
    return opt


def framework_options(folders: Path) -> dict:
    """Nothing but what BasicSR itself has."""
    opt = run_options(folders)
    paired = {"type": "PairedImageDataset", "dataroot_gt": str(folders / "gt"), "dataroot_lq": str(folders / "gt"),
              "io_backend": {"type": "disk"}}  # fmt: skip
    opt["datasets"]["val"] = {"name": "val", **paired}
    opt["datasets"]["train"] = {"name": "train", **paired, "gt_size": 32, "use_hflip": True, "use_rot": False,
                                "num_worker_per_gpu": 0, "batch_size_per_gpu": 2}  # fmt: skip
    opt.update(model_type="SRModel", scale=1, network_g={"type": "EDSR", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 4,
                                                         "num_block": 1, "upscale": 1})  # fmt: skip
    del opt["train"]["wnet_opt"]
    opt["train"]["pixel_opt"] = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    return opt


@pytest.fixture(scope="module")
def bases(face_set, tmp_path_factory):
    folders = write_folders(tmp_path_factory.mktemp("plain") / "faces", 3)
    return {
        "wnet": lambda: run_options(face_set),
        "gan": lambda: gan_options(face_set),
        "framework": lambda: framework_options(folders),
    }


def change(opt: dict, key: str, value) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        opt = opt[parent]
    if value is GONE:
        del opt[last]
    else:
        opt[last] = value


@pytest.fixture
def train(tmp_path, monkeypatch):
    """The command ``basicsr train`` without what follows when the options are fine: its last line, and what is on disk."""

    def run(content: dict | str | bytes) -> tuple[str, list[str]]:
        here = tmp_path / "here"
        here.mkdir()
        file = tmp_path / "broken.yml"
        if isinstance(content, dict):
            write_options(file, content)
        else:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        monkeypatch.chdir(here)
        monkeypatch.setattr(command, "run_pipeline", lambda args, path: pytest.fail(f"would run: {Path(path).read_text()}"))
        with pytest.raises(UsageError) as error:
            command._main(["train", "-opt", str(file)])
        return str(error.value), sorted(path.name for path in here.iterdir())

    return run


# --- broken files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["wnet", "gan", "framework"])
def test_the_options_the_table_breaks_are_fine(bases, base):
    assert options.check(bases[base](), is_train=True) == bases[base]()


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE)
def test_broken_options_end_in_one_line_and_leave_nothing(bases, train, case):
    opt = bases[case.base]()
    for key, value in case.changes.items():
        change(opt, key, value)
    message, made = train(opt)
    assert case.key in message
    assert case.fix in message
    assert message.isprintable()
    assert not made


@pytest.mark.parametrize("text", TEXTS)
def test_files_that_hold_no_options_end_in_one_line_and_leave_nothing(train, text):
    content, said = TEXTS[text]
    message, made = train(content)
    assert said in message
    assert "broken.yml" in message
    assert message.isprintable()
    assert not made


def test_the_real_command_ends_in_one_line_and_leaves_nothing(tmp_path, face_set):
    opt = run_options(face_set)
    opt["logger"]["kep_last"] = 5
    file = write_options(tmp_path / "bad.yml", opt)
    run = basicsr("train", "-opt", file, cwd=tmp_path)
    assert run.returncode == 2
    assert run.stderr == "basicsr: error: logger.kep_last is not an option; did you mean 'keep_last'?\n"
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yml"]


def validate(*arguments) -> int:
    from wnet_arch.cli import wnet

    return run_command("wnet", wnet._main, ["validate", *map(str, arguments)])


def test_validate_lists_everything_at_once(tmp_path, face_set, capsys):
    opt = run_options(face_set)
    opt["scale"], opt["train"]["total_itre"], opt["logger"]["keep_last"] = "8", 5, 0
    opt["network_g"]["type"] = "WNett"
    bad, good = write_options(tmp_path / "bad.yml", opt), write_options(tmp_path / "good.yml", run_options(face_set))
    assert validate(bad, tmp_path / "gone.yml", good) == 2
    out, err = capsys.readouterr()
    assert out == f"{good}: fine\n"
    lines = err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith(f"{bad}: network_g.type: 'WNett' is not registered by basicsr, wnet_arch")
    assert set(lines[1:4]) == {
        f"{bad}: scale must be a whole number above 0, not '8'",
        f"{bad}: train.total_itre: WNetModel has no such option; did you mean 'total_iter'?",
        f"{bad}: logger.keep_last must be a whole number above 0, not 0",
    }
    assert lines[4].startswith(f"there is no option file {tmp_path / 'gone.yml'}, and none of that name in the package")
    assert validate(good) == 0


def test_training_says_how_many_more_there_are(face_set):
    opt = run_options(face_set)
    opt["num_gpu"], opt["logger"]["keep_last"] = "all", 0
    with pytest.raises(UsageError, match=r"num_gpu must be .*, not 'all' \(and 1 more; `wnet validate` lists them\)"):
        options.check(opt, is_train=True)


def test_of_several_processes_the_first_says_what_is_wrong():
    for launcher, rank in (("pytorch", "RANK"), ("slurm", "SLURM_PROCID")):
        for environment, expected in (({}, UsageError), ({rank: "0"}, UsageError), ({rank: "3"}, PeerError)):
            with pytest.raises(expected), first_one_speaks(launcher, environment):
                raise UsageError("x")
    with pytest.raises(UsageError), first_one_speaks("none", {"RANK": "3"}):
        raise UsageError("x")


# --- the shipped files, and what is made from the schema -------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_shipped_files_keep_to_the_schema(file):
    problems = options.list_problems(options.load(str(file)), is_train=not file.stem.startswith("test_"))
    assert [problem for problem in problems if "there is no file experiments/" not in problem] == []  # of a training to come
    first = file.read_text(encoding="utf-8").splitlines()[0]
    schema = file.parent / re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)[1]
    assert schema.resolve() == (OPTIONS / "schema.json").resolve()


def test_there_are_shipped_files():
    assert len(FILES) >= 43


@pytest.mark.parametrize(("flag", "file"), [("--describe", "README.md"), ("--json-schema", "schema.json")])
def test_documents_are_those_of_the_schema(capsys, flag, file):
    """If this fails: ``wnet validate FLAG > options/FILE``."""
    assert validate(flag) == 0
    assert capsys.readouterr().out == (OPTIONS / file).read_text(encoding="utf-8")


def described_blocks() -> set[type]:
    return {block for _, section in description.SECTIONS for block in section}


def test_every_key_is_described():
    text = (OPTIONS / "README.md").read_text(encoding="utf-8")
    for block in described_blocks() | set(training.OF_MODEL.values()):
        for name, info in fields(block).items():
            assert info.description, name
            assert f"| `{name}` |" in text, name


def test_editors_see_what_the_check_sees():
    """JSON schema and check agree about a few mistakes; a full validator is no dependency, so refs are followed by hand."""
    schema = json.loads((OPTIONS / "schema.json").read_text(encoding="utf-8"))
    trains = {name: rule["then"]["properties"]["train"]["anyOf"][0]["$ref"].split("/")[-1]
              for rule in schema["allOf"] for name in rule["if"]["properties"]["model_type"]["enum"]}  # fmt: skip
    assert trains.keys() == training.OF_MODEL.keys()
    for model, name in trains.items():
        block = schema["$defs"][name]
        assert block["additionalProperties"] is False
        assert set(block["properties"]) == set(training.OF_MODEL[model].model_fields)
    assert schema["$defs"]["WNetTrain"]["properties"]["total_iter"]["minimum"] == 1
    assert schema["properties"]["scale"] == {
        "description": blocks.Options.model_fields["scale"].description, "type": "integer", "minimum": 1,
    }  # fmt: skip


def test_the_data_set_and_its_schema_name_the_same_options():
    assert set(OWN_OPTIONS) == set(blocks.FaceDataset.model_fields) - set(blocks.Dataset.model_fields)


def test_defaults_are_of_their_kind():
    for block in described_blocks():
        hints = get_type_hints(block, include_extras=True)
        for name, info in block.model_fields.items():
            if not info.is_required() and not isinstance(info.default, blocks.Block):
                TypeAdapter(hints[name]).validate_python(info.default)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_whole_numbers_reach_the_framework_as_integers(tmp_path, face_set):
    opt = run_options(face_set)
    opt["train"]["total_iter"], opt["datasets"]["train"]["batch_size_per_gpu"] = 1e5, 2.0
    opt["train"]["scheduler"]["milestones"] = [5e4, 7]
    settled = options.check(opt, is_train=True)
    assert settled == opt
    assert list(settled) == list(opt)
    assert repr(settled["train"]["total_iter"]) == "100000"
    assert repr(settled["datasets"]["train"]["batch_size_per_gpu"]) == "2"
    assert repr(settled["train"]["scheduler"]["milestones"]) == "[50000, 7]"
    assert repr(settled["train"]["optim_g"]["lr"]) == "0.001"  # not touched
    assert repr(opt["train"]["total_iter"]) == "100000.0"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (kinds.Count, [1, 5, 1e5, 7.0], [0, -1, 1.5, True, "1", None, [1], float("nan"), float("inf"), 1e300]),
        (kinds.CountOrZero, [0, 1, 0.0], [-1, False, "0"]),
        (kinds.Positive, [1, 1e-9, 0.5], [0, -1, True, "1e-4", float("inf"), None]),
        (kinds.Share, [0, 0.0, 0.999], [1, 1.0, -0.1, False]),
        (kinds.Flag, [True, False], [0, 1, "true", "yes", None]),
        (kinds.Text, ["a", "~"], ["", 1, None, True, b"a"]),
        (kinds.Devices, ["auto", 0, 3], [-1, True, "2", 1.0, "all", None]),
        (kinds.FolderName, ["run_1", "W-Net x8"], ["", ".", "..", "a/b", "a\\b", "a\nb", "a\0", 5]),
    ],
)
def test_kinds_are_strict(kind, good, bad):
    block = type("One", (blocks.Block,), {"__annotations__": {"value": kind}})
    for value in good:
        assert block.model_validate({"value": value}).value == value
    for value in bad:
        with pytest.raises(ValueError, match="must be"):
            block.model_validate({"value": value})


# --- --force_yml ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "place", "value"),
    [
        ("train:precision=bf16", ("train", "precision"), "bf16"),
        ("train:accumulation=4", ("train", "accumulation"), 4),
        ("train:grad_clip=1e-1", ("train", "grad_clip"), 0.1),
        ("network_g:lpf=false", ("network_g", "lpf"), False),
        ("train:optim_g:betas=[0.9, 0.99]", ("train", "optim_g", "betas"), [0.9, 0.99]),
        ("train:wnet_opt:key_weight=0", ("train", "wnet_opt", "key_weight"), 0),
        ("dist_params:backend=gloo", ("dist_params", "backend"), "gloo"),
        ("logger:wandb:project=faces", ("logger", "wandb", "project"), "faces"),
        ("val:metrics:ssim:type=calculate_ssim", ("val", "metrics", "ssim", "type"), "calculate_ssim"),
        ("datasets:val_2:name=other", ("datasets", "val_2", "name"), "other"),
        ("manual_seed=~", ("manual_seed",), None),
    ],
)
def test_keys_that_the_schema_knows_can_be_given(face_set, entry, place, value):
    opt = run_options(face_set)
    changed = options.override(opt, [entry])
    for key in place:
        changed = changed[key]
    assert changed == value
    assert opt == run_options(face_set)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("train:precison=bf16", "no 'train:precison'; did you mean 'precision'"),
        ("train:prior_opt:type=DICLoss", "no 'train:prior_opt:type'"),
        ("network_g:num_feats=8", "no 'network_g:num_feats'; did you mean 'num_feat'"),
        ("network_d:type=x", "no 'network_d:type'; did you mean 'network_g'"),
        ("datasets:extra:name=x", "no 'datasets:extra:name'"),
        ("train:optim_g:lr:x=1", "no 'train:optim_g:lr:x'"),
        ("train:scheduler_d:type=MultiStepLR", "no 'train:scheduler_d:type'; did you mean 'scheduler'"),
        ("=5", "'=5' is not KEY:KEY=VALUE"),
        ("a::b=5", "'a::b=5' is not KEY:KEY=VALUE"),
        ("name={a: 1, a: 2}", "--force_yml name: the value: a is given twice"),
        ("name=!!python/object/apply:os.system [touch sprung]", "--force_yml name: the value is not valid YAML"),
    ],
)
def test_keys_that_nobody_knows_cannot(face_set, entry, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(said)):
        options.override(run_options(face_set), [entry])
    assert not list(tmp_path.iterdir())


def test_blocks_on_the_way_are_made(face_set):
    opt = options.override(gan_options(face_set), ["train:start_iters:gan=2", "train:scheduler_d:type=MultiStepLR",
                                                   "train:scheduler_d:milestones=[1e3]", "val=~", "val:val_freq=2",
                                                   "val:save_img=false"])  # fmt: skip
    assert opt["train"]["start_iters"] == {"gan": 2}
    assert opt["val"] == {"val_freq": 2, "save_img": False}
    assert options.check(opt, is_train=True)["train"]["scheduler_d"] == {"type": "MultiStepLR", "milestones": [1000]}


def test_commands_of_the_readme_change_what_exists():
    pages = [OPTIONS.parent / "README.md", *sorted((OPTIONS.parent / "docs").rglob("*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    commands = re.findall(r"basicsr train -opt (options/\S+\.yml) --force_yml ([^`\n]+)", text)
    assert len(commands) >= 4
    for file, entries in commands:
        opt = options.override(options.load(str(OPTIONS.parent / file)), shlex.split(entries))
        assert options.list_problems(opt, is_train=True) == [], entries


# --- files ------------------------------------------------------------------------------------------------------------


def test_anchors_and_merges_are_written_out_for_the_framework(tmp_path):
    file = tmp_path / "opt.yml"
    file.write_text("a: &a {x: 1, y: [2]}\nb: {<<: *a, x: 3}\nc: *a\n")
    opt = options.load(str(file))
    assert opt == {"a": {"x": 1, "y": [2]}, "b": {"x": 3, "y": [2]}, "c": {"x": 1, "y": [2]}}
    assert not options.framework_reads(opt, str(file))
    opt["a"]["y"].append(3)
    assert opt["b"]["y"] == opt["c"]["y"] == [2]  # no two places of one list
    options.save(opt, str(tmp_path / "saved.yml"))
    assert "&" not in (tmp_path / "saved.yml").read_text()
    assert yaml.safe_load((tmp_path / "saved.yml").read_text()) == opt
    assert options.framework_reads(opt, str(tmp_path / "saved.yml"))


@pytest.mark.parametrize(
    ("text", "opt"),
    [
        ("a: 1e-4\n", {"a": 1e-4}),
        ("a: 1e5\n", {"a": 100000}),
        ("a: 1.0\n", {"a": 1}),
        ("a: &x [1]\nb: *x\n", {"a": [1], "b": [1]}),
        ("a: &x {b: 1}\nc: {<<: *x}\n", {"a": {"b": 1}, "c": {"b": 1}}),
    ],
)
def test_what_the_framework_would_read_otherwise_is_written_anew(tmp_path, text, opt):
    file = tmp_path / "opt.yml"
    file.write_text(text)
    assert options.load(str(file)) == opt
    assert not options.framework_reads(opt, str(file))
    options.save(opt, str(file))
    assert options.framework_reads(opt, str(file))
    assert read_by_the_framework(file) == opt


def read_by_the_framework(file: Path) -> dict:
    with open(file) as text:
        return json.loads(json.dumps(yaml.load(text, Loader=ordered_yaml()[0])))


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "opt.yml").write_bytes("\ufeffname: rün\n".encode())
    assert options.load(str(tmp_path / "opt.yml")) == {"name": "rün"}


# --- other packages ---------------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(monkeypatch):
    """Registers classes for one test."""

    def register(known: registry.Registry, cls: type) -> type:
        monkeypatch.setitem(known._obj_map, cls.__name__, cls)
        return cls

    return register


class MixModel(SRModel):
    """Of another package: declares what it reads."""

    OWN_OPTIONS = ("mixing", "train.mix_opt", "train.share", "val.faces", "logger.verbose")


class FreeModel(FaceSRModel):
    """Of another package: says nothing, and has a schedule and optimizers of its own."""

    def setup_schedulers(self) -> None:
        pass

    def get_optimizer(self, optim_type, params, lr, **kwargs):
        pass


class MaskDataset:
    OWN_OPTIONS = ("mask_root",)


class FreeDataset:
    pass


def plain_options(face_set: Path, model: str) -> dict:
    opt = run_options(face_set)
    opt["model_type"] = model
    opt["train"]["pixel_opt"] = {"type": "L1Loss"}
    del opt["train"]["wnet_opt"]
    return opt


def test_what_a_model_declares_is_an_option_and_nothing_else(face_set, plugin):
    plugin(registry.MODEL_REGISTRY, MixModel)
    opt = plain_options(face_set, "MixModel")
    opt["mixing"], opt["val"]["faces"], opt["logger"]["verbose"] = {"any": "thing"}, 3, "very"
    opt["train"].update(share=0.5, mix_opt={"type": "L1Loss"})
    assert options.list_problems(opt, is_train=True) == []
    opt["train"].update(shrae=0.5, mix_opt={"type": "L1Loss", "loss_wieght": 1})
    opt["mixin"] = 1
    assert options.list_problems(opt, is_train=True) == [
        "train.mix_opt.loss_wieght: L1Loss has no such option; did you mean 'loss_weight'?",
        "train.shrae: MixModel has no such option; did you mean 'share'?",
        "mixin is not an option; did you mean 'mixing'?",
    ]
    assert options.override(opt, ["train:share=1"])["train"]["share"] == 1


def test_a_model_that_declares_nothing_may_read_anything(face_set, plugin):
    plugin(registry.MODEL_REGISTRY, FreeModel)
    opt = plain_options(face_set, "FreeModel")
    opt["anything"], opt["val"]["faces"], opt["network_x"] = [1], 3, {"type": "WNet"}
    opt["train"].update(rate=5, scheduler={"type": "Own", "x": 1}, optim_g={"type": "Lion", "lr": 1}, more_opt={"type": "L1Loss"})
    opt["path"]["pretrain_network_x"] = None
    assert options.list_problems(opt, is_train=True) == []
    opt["train"].update(total_iter="5", more_opt={"type": "L1Loss", "loss_wieght": 1})
    assert options.list_problems(opt, is_train=True) == [
        "train.total_iter must be a whole number above 0, not '5'",
        "train.more_opt.loss_wieght: L1Loss has no such option; did you mean 'loss_weight'?",
    ]
    assert options.override(opt, ["train:new:deep=1"])["train"]["new"] == {"deep": 1}


def test_data_sets_of_others(face_set, plugin):
    for cls in (MaskDataset, FreeDataset):
        plugin(registry.DATASET_REGISTRY, cls)
    opt = run_options(face_set)
    opt["datasets"]["val"] = {"name": "val", "type": "MaskDataset", "mask_root": [1, 2]}
    opt["datasets"]["val_1"] = {"name": "other", "type": "FreeDataset", "whatever": {"a": 1}}
    assert options.list_problems(opt, is_train=True) == []
    opt["datasets"]["val"]["mask_rot"] = 1
    opt["datasets"]["val_1"]["pin_memory"] = "yes"
    assert options.list_problems(opt, is_train=True) == [
        "datasets.val.mask_rot: MaskDataset has no such option; did you mean 'mask_root'?",
        "datasets.val_1.pin_memory must be true or false, not 'yes'",
    ]


def test_a_metric_of_others_is_checked_by_its_signature(face_set, plugin, monkeypatch):
    def measure(img, img2, window: int, sigma: float = 1.5):
        return 0.0

    monkeypatch.setitem(registry.METRIC_REGISTRY._obj_map, "measure", measure)
    opt = run_options(face_set)
    opt["val"]["metrics"]["own"] = {"type": "measure", "window": 11}
    assert options.list_problems(opt, is_train=True) == []
    opt["val"]["metrics"]["own"] = {"type": "measure", "sigam": 1, "better": "higher"}
    assert sorted(options.list_problems(opt, is_train=True)) == [
        "val.metrics.own.better: measure has no such option; known: sigma, type, window",
        "val.metrics.own.sigam: measure has no such option; did you mean 'sigma'?",
        "val.metrics.own.window is missing from the options: measure needs it",
    ]


@pytest.mark.parametrize("model", sorted(registry.MODEL_REGISTRY.keys()))
def test_every_registered_model_has_a_schema(face_set, model):
    opt = plain_options(face_set, model)
    schema = schema_of(opt, training_run=True)
    assert {"name", "datasets", "network_g", "path", "train"} <= set(schema.model_fields)
