"""`wnet benchmark` from command line to files, on drawn faces and small networks."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.conftest import drawn_face, write_folders, write_set
from wnet_arch import create_network
from wnet_arch.benchmark import results as results_module
from wnet_arch.benchmark import runner, work
from wnet_arch.benchmark.command import BenchmarkOptions, benchmark
from wnet_arch.benchmark.measures import Column
from wnet_arch.benchmark.results import NetworkRecord, Results, SetRecord, evaluate
from wnet_arch.benchmark.tables import markdown
from wnet_arch.cli.common import run_command
from wnet_arch.cli.wnet import _main
from wnet_arch.errors import DataError, UsageError, WeightsError
from wnet_arch.inference.entries import open_one
from wnet_arch.inference.test_sets import open_set
from wnet_arch.metrics import protocols


def train_nothing(folder: Path, name: str, scale: int = 8, kind: str = "SRCNN", seed: int = 0, **options) -> Path:
    """The folder of a BasicSR run, with random weights."""
    torch.manual_seed(seed)
    run = folder / name
    (run / "models").mkdir(parents=True)
    net = create_network(kind, scale, **options)
    torch.save({"params": net.state_dict()}, run / "models" / "net_g_latest.pth")
    opt = {
        "name": name, "scale": scale, "manual_seed": 7, "network_g": {"type": kind, "scale": scale, **options},
        "datasets": {"train": {"name": "train", "dataroot": "somewhere/celeba_train"}}, "train": {"total_iter": 1200},
    }  # fmt: skip
    (run / f"{name}.yml").write_text(yaml.safe_dump(opt))
    return run


def go(out: Path, networks: list, sets: list, **options):
    options = {"metrics": (), "workers": 1, **options}
    return benchmark(BenchmarkOptions([str(n) for n in networks], [str(s) for s in sets], str(out), **options))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return train_nothing(tmp_path_factory.mktemp("runs"), "SRCNN_x8")


# --- the numbers ---------------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_protocols(tmp_path, face_set, weights):
    results, _ = go(tmp_path / "out", ["Bicubic", weights], [face_set], protocols=("dic", "rgb"))
    test_set = open_set(str(face_set), "faces", [8])
    net = create_network("SRCNN", 8)
    net.load_state_dict(torch.load(weights / "models" / "net_g_latest.pth", weights_only=True)["params"])
    for row, key in enumerate(test_set.keys):
        hr = test_set.hr(key)
        lr = np.asarray(Image.fromarray(hr).resize((8, 8), Image.BICUBIC))
        enlarged = np.asarray(Image.fromarray(lr).resize((64, 64), Image.BICUBIC))
        with torch.no_grad():
            out = net(torch.from_numpy(lr.transpose(2, 0, 1).copy())[None] / 255)[0]
        made = (out.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        for name, sr in (("Bicubic", enlarged), ("SRCNN_x8", made)):
            values = results.values["faces", 8, name][row]
            for protocol in ("dic", "rgb"):
                wanted = protocols.get(protocol).psnr(sr, hr, 8), protocols.get(protocol).ssim(sr, hr, 8)
                found = [values[results.column(f"{what}_{protocol}")] for what in ("psnr", "ssim")]
                assert found == pytest.approx(wanted, rel=1e-9)


def test_one_and_two_processes_give_identical_files(tmp_path, weights):
    faces = write_set(tmp_path / "faces", runner.CHUNK * 2 + 3)
    for workers in (1, 2):
        go(tmp_path / str(workers), ["Bicubic", weights], [faces], workers=workers, protocols=("dic", "sparnet"))
    for name in ("per_image.csv", "results.csv", "table.md"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_files_agree_with_each_other(tmp_path, face_set, weights):
    results, _ = go(tmp_path, ["Bicubic", weights], [face_set])
    loaded = results_module.load(tmp_path)
    assert loaded.scores == results.scores
    assert {place: table.tolist() for place, table in loaded.values.items()} == {p: t.tolist() for p, t in results.values.items()}
    with open(tmp_path / "per_image.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["network"] == "SRCNN_x8"]
    with open(tmp_path / "results.csv", newline="") as file:
        score = next(r for r in csv.DictReader(file) if (r["network"], r["metric"]) == ("SRCNN_x8", "psnr"))
    assert len(rows) == 6
    assert float(score["mean"]) == pytest.approx(np.mean([float(row["psnr_dic"]) for row in rows]))
    assert (score["protocol"], score["training_set"], score["iterations"], score["seed"]) == ("dic", "celeba_train", "1,200", "7")
    assert "| SRCNN_x8 | x8 | network | celeba_train | 1,200 | 7 |" in (tmp_path / "table.md").read_text()
    json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)  # no NaN, no Infinity


# --- the cache -----------------------------------------------------------------------------------------------------------------


def test_a_rerun_does_only_what_is_missing(tmp_path, face_set, weights):
    out = tmp_path / "out"
    first, run = go(out, ["Bicubic"], [face_set], scales=[8])
    assert (run.computed, run.reused) == (6, 0)
    _, run = go(out, ["Bicubic", weights], [face_set])
    assert (run.computed, run.reused) == (6, 6)
    again, run = go(out, ["Bicubic", weights], [face_set])
    assert (run.computed, run.reused) == (0, 12)
    assert again.values["faces", 8, "Bicubic"].tolist() == first.values["faces", 8, "Bicubic"].tolist()


def test_a_new_protocol_does_not_run_networks_again(tmp_path, face_set, weights, monkeypatch):
    out = tmp_path / "out"
    go(out, [weights], [face_set])
    monkeypatch.setattr(work, "_faces", _only_decoding(work._faces))
    _, run = go(out, [weights], [face_set], protocols=("dic", "rgb"))
    assert run.computed == 6


def _only_decoding(real):
    def faces(task, need, source, test_set, hr):
        assert need.pngs, "the network was run again"
        return real(task, need, source, test_set, hr)

    return faces


def test_other_weights_under_the_same_name_are_not_mixed_up(tmp_path, face_set):
    one, two = train_nothing(tmp_path, "one"), train_nothing(tmp_path, "two", seed=1)
    a, _ = go(tmp_path / "out", [f"net={one}"], [face_set])
    b, run = go(tmp_path / "out", [f"net={two}"], [face_set])
    assert run.computed == 6
    assert (a.values["faces", 8, "net"] != b.values["faces", 8, "net"]).all()


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    faces = write_set(tmp_path / "faces", 3 * runner.CHUNK)
    whole, _ = go(tmp_path / "whole", ["Bicubic"], [faces], scales=[8])
    real, done = work.perform, []

    def killed_in_the_third(task):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task)
        return real(task)

    monkeypatch.setattr(work, "perform", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "out", ["Bicubic"], [faces], scales=[8])
    assert not (tmp_path / "out" / "results.json").exists()
    monkeypatch.setattr(work, "perform", real)
    results, run = go(tmp_path / "out", ["Bicubic"], [faces], scales=[8])
    assert (run.computed, run.reused) == (runner.CHUNK, 2 * runner.CHUNK)
    assert results.values["faces", 8, "Bicubic"].tolist() == whole.values["faces", 8, "Bicubic"].tolist()


# --- networks ------------------------------------------------------------------------------------------------------------------


def test_one_label_for_two_scales(tmp_path, face_set, weights):
    x4 = train_nothing(tmp_path, "other", scale=4)
    results, _ = go(tmp_path / "out", ["Bicubic", f"net={weights}", f"net={x4}"], [face_set])
    assert sorted(results.values) == [("faces", s, n) for s in (4, 8) for n in ("Bicubic", "net")]
    assert "faces (64x64, untrained size) (x4) PSNR" in markdown(results)
    assert "faces (64x64, untrained size) (x8) PSNR" in markdown(results)


def test_images_of_another_program(tmp_path, weights):
    hr = write_folders(tmp_path / "hr", 3) / "gt"
    for scale in (4, 8):
        folder = tmp_path / "sr" / "gt" / f"x{scale}"
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(drawn_face(index)[0]).save(folder / f"face{index:03d}_mine.png")
    pattern = tmp_path / "sr" / "{set}" / "x{scale}" / "{name}_mine.png"
    results, _ = go(tmp_path / "out", ["Bicubic", f"same={pattern}"], [hr], scales=[4, 8])
    psnr = results.values["gt", 8, "same"][:, 0]
    assert np.isinf(psnr).all()
    assert results.score("gt", 8, "same", "psnr_dic").mean == math.inf
    assert results_module.load(tmp_path / "out").score("gt", 8, "same", "psnr_dic").mean == math.inf
    assert "∞" in (tmp_path / "out" / "table.md").read_text()
    # a changed image is measured anew
    Image.fromarray(drawn_face(9)[0]).save(tmp_path / "sr" / "gt" / "x8" / "face001_mine.png")
    changed, _ = go(tmp_path / "out", ["Bicubic", f"same={pattern}"], [hr], scales=[4, 8])
    assert np.isfinite(changed.values["gt", 8, "same"][:, 0]).tolist() == [False, True, False]


def test_onnx_equals_the_network_it_was_made_of(tmp_path, face_set, weights):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import TensorProto, helper

    # nearest enlargement eight times, made by hand so that no exporter is needed
    resize = helper.make_node(
        "Resize", ["lq", "", "scales"], ["sr"], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    entry = helper.make_tensor_value_info("lq", TensorProto.FLOAT, ["b", 3, "h", "w"])
    leave = helper.make_tensor_value_info("sr", TensorProto.FLOAT, None)
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 8, 8])
    model = helper.make_model(
        helper.make_graph([resize], "net", [entry], [leave], [scales]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "nearest.onnx"))
    results, _ = go(tmp_path / "out", [tmp_path / "nearest.onnx"], [face_set], protocols=("rgb",))
    test_set = open_set(str(face_set), "faces", [8])
    for row, key in enumerate(test_set.keys):
        sr = test_set.lr(key, 8).repeat(8, axis=0).repeat(8, axis=1)
        assert results.values["faces", 8, "nearest"][row, 0] == pytest.approx(protocols.get("rgb").psnr(sr, test_set.hr(key), 8))
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"broken\.onnx is not a readable ONNX file"):
        go(tmp_path / "out", [tmp_path / "broken.onnx"], [face_set])


def test_safetensors_tell_where_they_come_from(tmp_path, face_set):
    from safetensors.torch import save_file

    net = create_network("SRCNN", 8, kernel_sizes=(5, 1, 3))
    block = {"type": "SRCNN", "scale": 8, "kernel_sizes": [5, 1, 3]}
    metadata = {"network_g": json.dumps(block), "training_set": "faces of mine", "iterations": "300", "seed": "4"}
    save_file(net.state_dict(), str(tmp_path / "mine.safetensors"), metadata)
    results, _ = go(tmp_path / "out", [tmp_path / "mine.safetensors"], [face_set])
    assert results.networks[0].origin == ("faces of mine", "300", "4")
    assert results.networks[0].parameters == sum(p.numel() for p in net.parameters())


def test_a_run_on_several_sets_names_them_all(tmp_path, face_set):
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    torch.save({"params": create_network("SRCNN", 8).state_dict()}, run / "models" / "net_g_latest.pth")
    train = {"dataroot": [str(face_set), "sets/others"]}
    options = {"scale": 8, "network_g": {"type": "SRCNN", "scale": 8}, "datasets": {"train": train}}
    (run / "run.yml").write_text(json.dumps(options))
    assert open_one(str(run), None).provenance.training_set == "faces + others"


def test_unknown_origin_is_said_to_be_unknown(tmp_path, face_set):
    net = create_network("SRCNN", 8)
    torch.save(net.state_dict(), tmp_path / "bare.pth")
    results, _ = go(tmp_path / "out", [f"SRCNN={tmp_path / 'bare.pth'}"], [face_set], scales=[8])
    assert results.networks[0].origin == ("unknown", "unknown", "unknown")
    assert "| SRCNN | x8 | network | unknown | unknown | unknown |" in markdown(results)


# --- bad input -----------------------------------------------------------------------------------------------------------------


def test_nan_outputs_name_the_faces(tmp_path, face_set, monkeypatch):
    run = train_nothing(tmp_path, "broken")
    state = torch.load(run / "models" / "net_g_latest.pth", weights_only=True)
    next(iter(state["params"].values())).fill_(math.nan)
    torch.save(state, run / "models" / "net_g_latest.pth")
    with pytest.raises(DataError, match=r"broken x8 makes values that are no numbers \(NaN or infinite\) of face000"):
        go(tmp_path / "out", [run], [face_set])


@pytest.mark.parametrize(
    ("networks", "options", "message"),
    [
        (["CTCNet"], {}, "CTCNet needs weights, and none are shipped: train it"),
        (["SPARNett"], {}, "no weights file, folder, ONNX file or network; did you mean 'SPARNet'"),
        (["a=missing.pth"], {}, "there is no weights file missing.pth"),
        (["a=missing.onnx"], {}, "there is no ONNX file missing.onnx"),
        (["Bicubic"], {}, "--scales: these networks do not tell their scale"),
        (["Bicubic", "Bicubic"], {"scales": [8]}, "two entries are called Bicubic at x8"),
        (["RUN"], {"scales": [4]}, "SRCNN_x8 is a network for x8, but --scales asks for x4"),
        (["RUN"], {"protocols": ["dicc"]}, "there is no protocol 'dicc'; did you mean 'dic'"),
        (["RUN"], {"metrics": ["lpip"]}, "there is no metric 'lpip'; did you mean 'lpips'"),
        (["RUN"], {"baseline": "Bicubic"}, "no network is called 'Bicubic'"),
        (["RUN"], {"protocols": []}, "nothing to measure"),
        (["RUN"], {"workers": 0}, "--workers: at least 1, not 0"),
        (["RUN"], {"device": "cuda:99"}, "--device: 'cuda:99' cannot be used here"),
        (["RUN"], {"device": "gpu"}, "--device: 'gpu' cannot be used here"),
        (["=x"], {}, "'=x' is not"),
        (["Bicubic"], {"scales": [3]}, "Bicubic has no scale 3"),
    ],
)  # fmt: skip
def test_wrong_arguments(tmp_path, face_set, weights, networks, options, message):
    networks = [str(weights) if name == "RUN" else name for name in networks]
    options = {"metrics": (), **options}
    with pytest.raises(UsageError, match=message.replace("(", r"\(")):
        benchmark(BenchmarkOptions(networks, [str(face_set)], str(tmp_path / "out"), **options))
    assert not (tmp_path / "out" / "results.json").exists()


def test_weights_that_nothing_explains(tmp_path, face_set):
    torch.save(create_network("SRCNN", 8).state_dict(), tmp_path / "net.pth")
    with pytest.raises(UsageError, match=r"net: nothing tells how to build .*net\.pth; add its option file"):
        go(tmp_path / "out", [tmp_path / "net.pth"], [face_set])
    with pytest.raises(WeightsError, match="made for another configuration of VDSR"):
        go(tmp_path / "out", [f"VDSR={tmp_path / 'net.pth'}"], [face_set], scales=[8])
    with pytest.raises(UsageError, match=r"add its option file, or give one --scales$"):
        go(tmp_path / "out", [f"SRCNN={tmp_path / 'net.pth'}"], [face_set])
    with pytest.raises(UsageError, match=r"nothing tells the scale of .*net\.pth; add its option file$"):
        open_one(f"SRCNN={tmp_path / 'net.pth'}", None)  # as commands without --scales ask
    for content in (b"", b"a text\n", pickle.dumps([1, 2])):
        (tmp_path / "other.pth").write_bytes(content)
        with pytest.raises(WeightsError, match=r"other\.pth"):  # no option file would help
            open_one(str(tmp_path / "other.pth"), None)


def test_the_folder_one_is_in_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "mine" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    with pytest.raises(WeightsError, match=r"the run \. has no models/net_g_latest\.pth yet"):
        open_one(".", None)
    torch.save(create_network("SRCNN", 8).state_dict(), tmp_path / "mine" / "models" / "net_g_latest.pth")
    (tmp_path / "mine" / "mine.yml").write_text("name: mine\nscale: 8\nnetwork_g: {type: SRCNN, scale: 8}\n")
    assert open_one(".", None).name == "mine"


def test_a_folder_with_other_names_or_sizes(tmp_path):
    hr = write_folders(tmp_path / "hr", 5) / "gt"
    sr = tmp_path / "sr"
    sr.mkdir()
    for index in range(5):
        Image.fromarray(drawn_face(index)[0]).save(sr / f"{'other' if index < 4 else 'face'}{index:03d}.png")
    with pytest.raises(DataError, match=r"mine: .*sr lacks 4 of the faces of gt: face000, face001, face002 and 1 more"):
        go(tmp_path / "out", [f"mine={sr}"], [hr], scales=[8])
    for index in range(5):
        Image.fromarray(drawn_face(index, 32 if index == 2 else 64)[0]).save(sr / f"face{index:03d}.png")
    with pytest.raises(DataError, match=r"the HR faces of gt are 64x64, but face002\.png is 32x32"):
        go(tmp_path / "out", [f"mine={sr}"], [hr], scales=[8])
    with pytest.raises(DataError, match="cannot read the folder"):
        go(tmp_path / "out", [f"mine={tmp_path}/nowhere/{{set}}"], [hr], scales=[8])


def test_one_folder_of_images_is_not_taken_for_several_scales_or_sets(tmp_path, weights):
    hr = write_folders(tmp_path / "hr", 3) / "gt"
    x4 = train_nothing(tmp_path, "SRCNN_x4", scale=4)
    with pytest.raises(UsageError, match=r"hr/gt are of one scale, and this benchmark has x4 and x8: write \{scale\} where"):
        go(tmp_path / "out", [weights, x4, f"mine={hr}"], [hr])
    other = write_folders(tmp_path / "other", 4) / "gt"
    with pytest.raises(UsageError, match=r"one and two both have a face face000, and .*hr/gt has one image of that name: write"):
        go(tmp_path / "out", [f"mine={hr}"], [f"one={hr}", f"two={other}"], scales=[8])
    for name in ("one", "two"):
        (tmp_path / "sr" / name).parent.mkdir(exist_ok=True)
        shutil.copytree(other, tmp_path / "sr" / name)
    results, _ = go(tmp_path / "out", [f"mine={tmp_path}/sr/{{set}}"], [f"one={hr}", f"two={other}"], scales=[8])
    assert len(results.values) == 2


def test_sets_that_cannot_be_used(tmp_path, weights):
    hr = write_folders(tmp_path / "hr", 4) / "gt"
    Image.fromarray(drawn_face(1, 32)[0]).save(hr / "face001.png")
    with pytest.raises(DataError, match=r"HR faces have one size, 64x64 here, but not face001\.png \(32x32\)"):
        go(tmp_path / "out", [weights], [hr])
    with pytest.raises(DataError, match="there is no folder"):
        go(tmp_path / "out", [weights], [tmp_path / "none"])
    only_x4 = write_set(tmp_path / "only4", 1, scales=(4,))
    with pytest.raises(DataError, match="was prepared for x4, not x8"):
        go(tmp_path / "out", [weights], [only_x4])
    with pytest.raises(UsageError, match="two sets are called 'only4'"):
        go(tmp_path / "out", ["Bicubic"], [only_x4, only_x4], scales=[4])
    (tmp_path / "odd").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "odd" / "a.png")
    with pytest.raises(DataError, match="60x60 cannot be reduced 8 times"):
        go(tmp_path / "out", [weights], [tmp_path / "odd"])


def test_the_command_says_it_in_one_line_and_ends_with_2(tmp_path, face_set, capsys):
    argv = ["benchmark", "--networks", "CTCNet", "--sets", str(face_set), "-o", str(tmp_path / "out"), "--report-faces", "0"]
    assert run_command("wnet", _main, argv) == 2
    error = capsys.readouterr().err
    assert error.startswith("wnet: error: --networks: CTCNet needs weights")
    assert error.count("\n") == 1


def test_the_command(tmp_path, face_set, weights, capsys):
    argv = ["benchmark", "--networks", "Bicubic", str(weights), "--sets", f"drawn={face_set}", "-o", str(tmp_path / "out"),
            "--protocols", "all", "--metrics", "--report-faces", "0", "--workers", "1", "--limit", "4"]  # fmt: skip
    assert run_command("wnet", _main, argv) == 0
    out = capsys.readouterr().out
    assert "drawn, x8, 4 faces" in out
    assert re.search(r"^8 faces x networks computed, 0 taken from the cache, \d+ s \(.*\d s\)$", out, re.MULTILINE)
    assert not (tmp_path / "out" / "report.html").exists()
    assert run_command("wnet", _main, argv) == 0
    assert re.search(r"^0 faces x networks computed, 8 taken from the cache, \d+ s$", capsys.readouterr().out, re.MULTILINE)


def test_faces_whose_names_are_no_utf8_are_measured_and_read_again(tmp_path):
    (tmp_path / "hr").mkdir()
    for seed, name in enumerate((b"a.png", b"\xff.png")):
        Image.fromarray(drawn_face(seed, 64)[0]).save(tmp_path / "hr" / "x.png")
        (tmp_path / "hr" / "x.png").rename(tmp_path / "hr" / os.fsdecode(name))
    made, _ = go(tmp_path / "out", ["Bicubic"], [tmp_path / "hr"], scales=[8])
    again = results_module.load(tmp_path / "out")
    assert again.sets[0].keys == made.sets[0].keys == ["a", os.fsdecode(b"\xff")]


def test_metric_options():
    from wnet_arch.cli.benchmark import metric_options

    for odd in ("identity.weights=@x", "lpips.net={a", "lpips.net=2020-01-01", "lpips.net=[a]"):
        with pytest.raises(UsageError, match="a text, a number, true or false is wanted"):
            metric_options([odd])
    found = metric_options(["identity.backend=adaface", "identity.weights=a.pth", "landmarks.box=gt"])
    assert found == {"identity": {"backend": "adaface", "weights": "a.pth"}, "landmarks": {"box": "gt"}}
    with pytest.raises(UsageError, match=r"'lpips=vgg' is not METRIC\.NAME=VALUE"):
        metric_options(["lpips=vgg"])


# --- tables --------------------------------------------------------------------------------------------------------------------


def handmade(blocks: dict[str, dict], values: dict[str, np.ndarray], columns: list[Column], scale: int = 8) -> Results:
    networks = [NetworkRecord(name, scale, "network", "", name, block, None, None, None) for name, block in blocks.items()]
    faces = len(next(iter(values.values())))
    sets = [SetRecord("celeba_val", "nowhere", (128, 128), "PIL bicubic", [f"f{i}" for i in range(faces)])]
    places = {("celeba_val", scale, name): table for name, table in values.items()}
    return evaluate(Results(next(iter(blocks)), networks, sets, [], columns, places))


PSNR = Column("psnr_dic", "psnr", "PSNR", 2, "dB", "higher", "Y", "dic", 0)
IDENTITY = Column("identity", "identity", "Identity", 4, "cosine", "higher", "some net", "", 1)


def test_faces_that_could_not_be_measured_are_counted_in_the_cell():
    values = np.column_stack([np.linspace(20, 30, 12), np.linspace(0.1, 0.9, 12)])
    lost = values.copy()
    lost[[2, 5, 6], 1] = np.nan
    results = handmade({"Bicubic": {}, "net": {}}, {"Bicubic": values, "net": lost}, [PSNR, IDENTITY])
    score = results.score("celeba_val", 8, "net", "identity")
    assert (score.measured, score.missing) == (9, 3)
    assert score.mean == pytest.approx(np.nanmean(lost[:, 1]))
    assert "(3 ✗)" in markdown(results)
    assert score.difference["mean"] == 0  # over the nine faces where both could be measured


def test_table_3_shows_modules_where_they_differ():
    values = np.linspace(20, 30, 8)[:, None]
    full, plain = {"type": "WNet"}, {"type": "WNet", "parsing_block": False, "scab": False}
    text = markdown(handmade({"H": full, "C": plain}, {"H": values, "C": values - 1}, [PSNR], scale=4))
    assert "| celeba_val | x4 | H | ✓ | ✓ | ✓ |" in text
    assert "| celeba_val | x4 | C |  | ✓ |  |" in text
    assert "Table 3" not in markdown(handmade({"H": full}, {"H": values}, [PSNR]))


def test_the_papers_numbers_only_when_asked_for_and_marked():
    values = np.column_stack([np.linspace(20, 30, 8), np.linspace(0.1, 0.9, 8)])
    results = handmade({"Bicubic": {}}, {"Bicubic": values}, [PSNR, IDENTITY])
    assert "paper" not in markdown(results)
    text = markdown(results, with_paper=True)
    assert "| *SPARNet, paper, mode II* | *27.29* |" in text
    assert "| *CelebA, paper* | x8 | Cosine similarity ↑ | *0.3680* | *0.5744* |" in text
    assert "not comparable" in text


def test_names_cannot_break_the_table():
    values = np.linspace(20, 30, 8)[:, None]
    text = markdown(handmade({"a|b<i>": {}}, {"a|b<i>": values}, [PSNR]))
    assert "a&#124;b&#60;i&#62;" in text
    assert "a|b" not in text


@pytest.mark.parametrize("side", [64, 96, 152, 200, 256])
def test_faces_of_an_untrained_size_are_told_and_can_be_reduced(tmp_path, weights, capsys, side):
    folder = tmp_path / "faces"
    folder.mkdir()
    for seed in range(2):
        Image.fromarray(drawn_face(seed, side)[0]).save(folder / f"{seed}.png")
    words = ["benchmark", "--networks", "Bicubic", f"S={weights}", "--sets", str(folder), "--metrics", "--workers", "1"]
    out = tmp_path / "out"
    assert run_command("wnet", _main, [*words, "-o", str(out), "--report-faces", str(int(side == 152))]) == 0
    said = f"note: faces: its faces are {side}x{side}, outside of what the networks were trained on (128x128)"
    shown = capsys.readouterr().out
    assert said in shown
    assert ("--size 128 reduces them first" in shown) == (side > 128)
    table = (out / "table.md").read_text()
    assert f"faces ({side}x{side}, untrained size) (x8)" in table
    assert "**Note.**" in table
    assert side != 152 or "not trained on" in (out / "report.html").read_text()
    code = run_command(
        "wnet", _main, [*words, "-o", str(tmp_path / "small"), "--report-faces", str(int(side == 256)), "--size", "128"]
    )
    shown = capsys.readouterr()
    assert code == (0 if side > 128 else 2)
    assert "outside" not in shown.out
    if side < 128:
        assert "--size 128: the faces of" in shown.err
        return
    assert (tmp_path / "small" / "report.html").is_file() == (side == 256)
    if side == 256:
        figure = ["report", "figure", str(tmp_path / "small"), "--faces", "1", "-o", str(tmp_path / "figure.png")]
        assert run_command("wnet", _main, figure) == 0
    results, _ = go(tmp_path / "small", ["Bicubic"], [folder], size=128, scales=[8])
    assert results.sets[0].size == (128, 128)
    small = open_set(str(folder), "x", [8], side=128)
    hr = np.array(Image.fromarray(drawn_face(0, side)[0]).resize((128, 128), Image.Resampling.BICUBIC))
    assert np.array_equal(small.hr("0"), hr)
    assert small.lr("0", 8).shape == (16, 16, 3)
    assert "untrained" not in (tmp_path / "small" / "table.md").read_text()
