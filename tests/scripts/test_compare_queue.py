"""Trainings of a queue that differ in one option, compared seed by seed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ttest_rel

from tests.conftest import write_set
from wnet_arch import create_network
from wnet_arch.data.decoding import decode_rgb, image_tensor
from wnet_arch.data.face_lmdb import LMDBReader
from wnet_arch.metrics import protocols

SCRIPTS = Path(__file__).parents[2] / "scripts" / "zoo"
QUEUE = """
[all]
network = "SRCNN"
scale = 8
images = 40
batch = 4
data = ["{set}"]
val = "{set}"
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("sets") / "faces", count=5, size=128)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import compare_queue

    return compare_queue


def queue_of(folder: Path, faces: Path, *names: str) -> Path:
    """A queue of SRCNN with Muon and Adam; NAME is OPTIMIZER_SEED."""
    entries = []
    for name in names:
        optimizer, seed = name.split("_")
        entries.append(f'[[train]]\nname = "{name}"\noptimizer = "{optimizer}"\nseed = {seed}\n')
    file = folder / "queue.toml"
    file.write_text(QUEUE.format(set=faces) + "\n".join(entries))
    return file


def finish(out: Path, name: str, noise: float):
    """What a training leaves that has ended: SRCNN as it begins, made worse."""
    net = create_network("SRCNN", 8)
    torch.manual_seed(sum(map(ord, name)))
    state = {key: value + noise * torch.randn_like(value) for key, value in net.state_dict().items()}
    net.load_state_dict(state)
    run = out / name / "experiments" / name
    (run / "models").mkdir(parents=True)
    torch.save({"params": state}, run / "models" / "net_g_latest.pth")
    (run / f"{name}.yml").write_text(json.dumps({"name": name, "scale": 8, "network_g": {"type": "SRCNN", "scale": 8}}))
    (run / "log.jsonl").write_text(json.dumps({"iter": 10, "psnr": 20.0}) + "\n")
    asked = {"network": "SRCNN", "scale": 8, "minutes": None, "images": 40, "batch": 4}
    (out / name / "plan.json").write_text(json.dumps({"asked": asked, "iterations": 10, "seconds": None}))
    return net.eval()


def psnr(net, faces: Path) -> float:
    gts, lqs, found = LMDBReader(faces / "gt.lmdb"), LMDBReader(faces / "lq_x8.lmdb"), []
    for key in gts.keys:
        lq, gt = (decode_rgb(reader.get(key), key) for reader in (lqs, gts))
        with torch.inference_mode():
            sr = net(image_tensor(lq)[None]).clamp(0, 1)[0]
        found.append(protocols.get("dic").psnr((sr * 255).round().byte().permute(1, 2, 0).numpy(), gt, 8))
    return float(np.mean(found))


def run(script, monkeypatch, queue: Path, out: Path, page: Path, faces: Path, *more: str) -> int:
    words = [queue, "--out", out, "--val", faces, "--page", page, *more]
    monkeypatch.setattr(sys, "argv", ["compare_queue.py", *map(str, words)])
    return script.main()


def test_the_page_has_the_seeds_their_differences_and_the_interval_of_students_t(script, faces, tmp_path, monkeypatch, capsys):
    names = [f"{optimizer}_{seed}" for seed in range(3) for optimizer in ("Muon", "Adam")]
    queue, out = queue_of(tmp_path, faces, *names, "Adam_3"), tmp_path / "zoo"
    values = {name: psnr(finish(out, name, 0.002 if "Muon" in name else 0.01), faces) for name in names}
    assert run(script, monkeypatch, queue, out, tmp_path / "page.md", faces, "--by", "optimizer") == 0
    page = (tmp_path / "page.md").read_text()
    assert "Adam_3 has not ended: left out" in capsys.readouterr().out
    muon, adam = (np.array([values[f"{optimizer}_{seed}"] for seed in range(3)]) for optimizer in ("Muon", "Adam"))
    interval = ttest_rel(adam, muon).confidence_interval(0.95)
    expected = f"{(adam - muon).mean():+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"
    assert f"| SRCNN x8 | Muon | {muon.mean():.2f} | {', '.join(f'{value:.2f}' for value in muon)} |  |" in page
    assert f"| SRCNN x8 | Adam | {adam.mean():.2f} | {', '.join(f'{value:.2f}' for value in adam)} | {expected} |" in page
    assert "40 images in batches of 4" in page


def test_several_sets_and_options_are_columns_of_one_table(script, faces, tmp_path, monkeypatch):
    queue, out, others = (
        queue_of(tmp_path, faces, "Muon_0", "Adam_0"),
        tmp_path / "zoo",
        write_set(tmp_path / "others", 3, 128, seed=9),
    )
    nets = {name: finish(out, name, noise) for name, noise in (("Muon_0", 0.002), ("Adam_0", 0.01))}
    words = ("--by", "network", "optimizer", "--val", faces, others)
    for _ in range(2):  # measured, and kept
        run(script, monkeypatch, queue, out, tmp_path / "page.md", faces, *words)
        page = (tmp_path / "page.md").read_text()
        assert f"{faces.name}: PSNR | seeds | difference to the first | others: PSNR | difference to the first |" in page
        (a, b), (c, d) = ([psnr(nets[name], each) for each in (faces, others)] for name in ("Muon_0", "Adam_0"))
        assert f"| x8 | SRCNN, Muon | {a:.2f} | {a:.2f} |  | {b:.2f} |  |" in page
        assert f"| x8 | SRCNN, Adam | {c:.2f} | {c:.2f} | {c - a:+.2f} (one seed) | {d:.2f} | {d - b:+.2f} (one seed) |" in page


def test_what_was_measured_is_kept_until_the_weights_change(script, faces, tmp_path, monkeypatch):
    queue, out, page = queue_of(tmp_path, faces, "Muon_0", "Adam_0"), tmp_path / "zoo", tmp_path / "page.md"
    for name in ("Muon_0", "Adam_0"):
        finish(out, name, 0.01)
    run(script, monkeypatch, queue, out, page, faces, "--by", "optimizer")
    first = page.read_text()
    assert "(one seed)" in first
    calls, measure = [], script.psnr
    monkeypatch.setattr(script, "psnr", lambda *words: calls.append(words[-1]) or measure(*words))
    run(script, monkeypatch, queue, out, page, faces, "--by", "optimizer")
    assert page.read_text() == first
    assert calls == ["bicubic"]
    net = finish(tmp_path / "other", "Muon_0", 0.03)
    torch.save({"params": net.state_dict()}, out / "Muon_0" / "experiments" / "Muon_0" / "models" / "net_g_latest.pth")
    run(script, monkeypatch, queue, out, page, faces, "--by", "optimizer")
    assert f"| SRCNN x8 | Muon | {psnr(net, faces):.2f} |" in page.read_text()


@pytest.mark.parametrize(
    ("by", "done", "said"),
    [
        ("optimizer", False, "no training of .* has ended in"),
        ("colour", True, "--by colour: a training has"),
        ("seeds", True, "--by seeds"),
    ],
)
def test_nothing_to_compare_ends_in_a_line(script, faces, tmp_path, monkeypatch, by, done, said):
    queue, out = queue_of(tmp_path, faces, "Muon_0"), tmp_path / "zoo"
    if done:
        finish(out, "Muon_0", 0.01)
    with pytest.raises(SystemExit, match=said):
        run(script, monkeypatch, queue, out, tmp_path / "page.md", faces, "--by", by)
    assert not (tmp_path / "page.md").exists()


def test_of_a_list_of_options_what_differs_is_shown(script):
    lists = [["train:a:b=1", "train:a:c=0.5"], ["train:a:b=1", "train:a:c=1"], ["train:a:b=1"]]
    assert [script.shown(one, lists) for one in lists] == ["c 0.5", "c 1", "without"]
    pairs = [[("peak", 1), ("num_feat", 32)], [("peak", 8), ("num_feat", 32)]]
    assert [script.shown(one, pairs) for one in pairs] == ["peak 1", "peak 8"]
    maps = [["train:optim_g={type: Adam, betas: [0.9, 0.99]}", "train:a:b=1"], ["train:a:b=1"]]
    assert [script.shown(one, maps) for one in maps] == ["optim_g {type: Adam, betas: [0.9, 0.99]}", "without"]
    assert [script.shown(one, [None, 2e-3]) for one in (None, 2e-3)] == ["None", "0.002"]
    ends = [["train:pixel_opt:loss_weight=0.1"], ["train:gan_opt:loss_weight=0.1"]]
    assert [script.shown(one, ends) for one in ends] == ["pixel_opt:loss_weight 0.1", "gan_opt:loss_weight 0.1"]
    sets = [["datasets/celebamask"], ["datasets/celebamask", "datasets/helen"]]
    assert [script.shown(one, sets) for one in sets] == ["without", "datasets/helen"]


def test_trainings_that_the_page_could_not_tell_apart_are_refused(script, faces, tmp_path, monkeypatch):
    queue, out = queue_of(tmp_path, faces, "Muon_0", "Adam_0"), tmp_path / "zoo"
    text = queue.read_text()
    twin = '[[train]]\nname = "twin"\noptimizer = "Muon"\nseed = 0\n'
    for name in ("Muon_0", "Adam_0", "twin"):
        finish(out, name, 0.01)
    queue.write_text(f"{text}\n{twin}")
    with pytest.raises(SystemExit, match="twin and one above it differ in nothing that is shown"):
        run(script, monkeypatch, queue, out, tmp_path / "page.md", faces, "--by", "optimizer")
    plan = json.loads((out / "Adam_0" / "plan.json").read_text())
    (out / "Adam_0" / "plan.json").write_text(json.dumps({**plan, "asked": {**plan["asked"], "images": 80}}))
    queue.write_text(text.replace('optimizer = "Adam"', 'optimizer = "Adam"\nimages = 80'))
    with pytest.raises(SystemExit, match="its trainings must have one number of `images`"):
        run(script, monkeypatch, queue, out, tmp_path / "page.md", faces, "--by", "optimizer")
    assert not (tmp_path / "page.md").exists()


def _pairs(script, name: str, by: list[str]):
    """The arguments of a queue's trainings, which differ in nothing but their seeds and the options compared."""
    trainings = script.train_queue.read(SCRIPTS / "queues" / f"{name}.toml", Path("zoo"))
    assert len({script.kind(one, by, {}) for one in trainings}) == 1
    return [script.arguments(one) for one in trainings]


def test_the_queue_of_the_parsing_weight_pairs_every_training(script, monkeypatch):
    monkeypatch.setattr(script.train_zoo, "find_set", lambda path: path)
    trainings = _pairs(script, "parsing_weight", ["force_yml"])
    values = [one.force_yml for one in trainings]
    found = {(script.shown(one.force_yml, values), one.seed) for one in trainings}
    kinds = "1", "0.03", "0", "1, parsing_ramp_iter 100", "1, detach_map true", "1, trunk.parsing 0.1"
    assert found == {(f"parsing_weight {kind}", seed) for kind in kinds for seed in range(3)}


def test_the_queue_of_the_fast_training_pairs_every_training(script, monkeypatch):
    monkeypatch.setattr(script.train_zoo, "find_set", lambda path: path)
    trainings = _pairs(script, "fast_training", ["force_yml"])
    values = [one.force_yml for one in trainings]
    assert len({(script.shown(one.force_yml, values), one.seed) for one in trainings}) == len(trainings) == 9


@pytest.mark.parametrize(("name", "by"), [("wnet_lite_map", ["network_option"]), ("wnet_lite_x4", ["network", "network_option"])])
def test_the_queues_of_wnetlites_form_pair_every_training(script, monkeypatch, name, by):
    monkeypatch.setattr(script.train_zoo, "find_set", lambda path: path)
    trainings = _pairs(script, name, by)
    forms = {(one.network, str(one.network_option)) for one in trainings}
    assert {(one.network, str(one.network_option), one.seed) for one in trainings} == {
        (*form, s) for form in forms for s in range(3)
    }
    assert len(trainings) == 3 * len(forms)


def test_the_queue_of_the_recipe_pairs_every_training(script, monkeypatch):
    monkeypatch.setattr(script.train_zoo, "find_set", lambda path: path)
    trainings = script.train_queue.read(SCRIPTS / "queues" / "recipe.toml", Path("zoo"))
    own = {one.name: script.arguments(one) for one in trainings}
    kinds = {(script.kind(one, ["optimizer"], {}), own[one.name].seed, own[one.name].optimizer) for one in trainings}
    assert len(kinds) == len(trainings) == 18
    assert len({kind for kind, *_ in kinds}) == 3


def test_trainings_that_begin_with_others_are_paired_by_what_those_are(script, monkeypatch, tmp_path):
    monkeypatch.setattr(script.train_zoo, "find_set", lambda path: path)
    entry = '[[train]]\nnetwork = "EDSR"\nscale = 8\nimages = 40\nbatch = 4\n'
    text = ""
    for seed in (0, 1):
        text += f'{entry}name = "base_{seed}"\nseed = {seed}\n'
        text += "".join(
            f'{entry}name = "{o}_{seed}"\nafter = "base_{seed}"\nseed = {seed}\noptimizer = "{o}"\n' for o in ("Muon", "Adam")
        )
    text += f'{entry}name = "other"\nafter = "Adam_1"\noptimizer = "Adam"\nseed = 5\n'
    (tmp_path / "queue.toml").write_text(text)
    trainings = script.train_queue.read(tmp_path / "queue.toml", tmp_path)
    known = {one.name: one for one in trainings}
    kinds = {name: script.kind(one, ["optimizer"], known) for name, one in known.items()}
    assert len({kinds[name] for name in ("Muon_0", "Adam_0", "Muon_1", "Adam_1")}) == 1
    assert kinds["base_0"] == kinds["base_1"] != kinds["Muon_0"] != kinds["other"]
