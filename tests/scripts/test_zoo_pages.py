"""The pages that scripts write about the zoo: the ablation, and the groups of faces."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import load_script, write_set
from wnet_arch import create_network, list_pretrained
from wnet_arch.benchmark import command
from wnet_arch.data.face_parsing_dataset import reduce_bicubic
from wnet_arch.faces import labels
from wnet_arch.inference.sources import bicubic
from wnet_arch.inference.test_sets import open_set
from wnet_arch.metrics import protocols
from wnet_arch.weights import metadata, shipped
from wnet_arch.weights.checkpoint import read_state_dict


@pytest.fixture(scope="module")
def faces(tmp_path_factory) -> Path:
    return write_set(tmp_path_factory.mktemp("zoo_pages") / "faces", count=4, size=128)


def test_the_ablation_goes_on_keeps_our_words_and_refuses_other_options(tmp_path, faces, monkeypatch):
    ablation, page = load_script("zoo/ablation"), tmp_path / "page.md"

    def call(images: int, *experiments: str) -> None:
        arguments = ["--images", images, "--seeds", 3, "--experiments", *experiments, "--data", faces, "--val", faces, "--batch", 1]
        arguments += ["--page", page, "--out", tmp_path / "runs", "--network-option", "peak=1", "num_feat=8"]
        monkeypatch.setattr(sys, "argv", ["ablation.py", *map(str, arguments)])
        ablation.main()

    call(10, "A")
    kept = tmp_path / "runs" / "A_seed3" / "measured.json"
    elsewhere = json.loads(kept.read_text())
    elsewhere["options"]["num_gpu"] = 1 - elsewhere["options"]["num_gpu"]  # a machine with a GPU, or the reverse
    kept.write_text(json.dumps(elsewhere))
    values, written = np.array(json.loads(kept.read_text())["values"]), kept.stat().st_mtime_ns
    assert values.shape == (4, 2)
    assert "Not yet measured: B; C;" in page.read_text(encoding="utf-8")

    page.write_text(page.read_text(encoding="utf-8") + "\n## What holds\n\nOur words.\n", encoding="utf-8")
    call(10, "A", ablation.UNSUPERVISED)
    assert kept.stat().st_mtime_ns == written
    text = page.read_text(encoding="utf-8")
    assert f"| A |  |  |  | 1 | {values[:, 0].mean():.2f} |" in text
    assert "| H, map not supervised | ✓ | ✓ | ✓ | 1 | " in text
    assert text.endswith("## What holds\n\nOur words.\n")
    losses = [
        json.loads((tmp_path / "runs" / f"{name}_seed3" / "measured.json").read_text())["options"]["train"]["wnet_opt"]
        for name in ("A", "H_unsupervised")
    ]
    assert losses[1] == {**losses[0], "parsing_weight": 0} != losses[0]

    with pytest.raises(SystemExit, match="is of a run with other options; give the same, or another --out"):
        call(20, "A")


def test_pyramids_are_trained_for_equal_times(tmp_path, faces, monkeypatch):
    ablation, page, out = load_script("zoo/ablation"), tmp_path / "page.md", tmp_path / "runs"
    arguments = ["--minutes", 0.2, "--seeds", 3, "--data", faces, "--val", faces, "--batch", 1, "--faces", 3]
    arguments += ["--page", page, "--out", out, "--network-option", "num_feat=8"]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *map(str, arguments)])
    monkeypatch.setattr(ablation, "PEAKS", (1, 2))
    paces = {1: 1.0, 2: 1.2}  # seconds; test_train_zoo.py has how they are measured

    def plan(timed, file, folder, *pace) -> dict:
        seconds = paces[dict(timed.network_option)["peak"]]
        return {"asked": {"batch": timed.batch}, "iterations": int(timed.minutes * 60 / seconds), "seconds": seconds}

    monkeypatch.setattr(ablation, "plan", plan)
    ablation.main()
    text = page.read_text(encoding="utf-8")
    assert "3 faces of faces." in text
    lowest = np.array(json.loads((out / "peak1_seed3" / "measured.json").read_text())["values"])
    for peak in (1, 2):
        kept = json.loads((out / f"peak{peak}_seed3" / "measured.json").read_text())
        assert kept["options"]["network_g"]["peak"] == peak
        assert kept["options"]["train"]["total_iter"] == int(12 / paces[peak])
        values = np.array(kept["values"])
        assert values.shape == (3, 2)
        assert f"| {peak} | {paces[peak]:.2f} | {int(12 / paces[peak])} | {values[:, 0].mean():.2f} |" in text
    assert f"| {(values - lowest)[:, 0].mean():+.2f} [" in text


def test_the_ablation_gives_the_true_map(tmp_path, faces, monkeypatch):
    ablation, page, out = load_script("zoo/ablation"), tmp_path / "page.md", tmp_path / "runs"
    arguments = ["--images", 10, "--seeds", 3, "--experiments", ablation.GIVEN, "--data", faces, "--val", faces, "--batch", 1]
    arguments += ["--page", page, "--out", out, "--network-option", "peak=2", "num_feat=8"]
    monkeypatch.setattr(sys, "argv", ["ablation.py", *map(str, arguments)])
    ablation.main()
    kept = json.loads((out / "H_true_map_seed3" / "measured.json").read_text())
    text = page.read_text(encoding="utf-8")
    assert f"| H, true map given | ✓ | ✓ | ✓ | 1 | {np.mean(kept['values'], 0)[0]:.2f} |" in text

    test_set = open_set(str(faces), "faces", [4])
    state = read_state_dict(str(out / "H_true_map_seed3" / "experiments" / "run" / "models" / "net_g_latest.pth"))
    net = create_network("WNet", 4, num_feat=8, peak=2).eval()
    net.load_state_dict(state)
    key = test_set.keys[0]
    skin = torch.from_numpy(test_set.labels(key) == labels.SKIN).float().expand(1, 3, -1, -1)
    lq = torch.from_numpy(test_set.lr(key, 4)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        sr = net(lq, parsing=skin)[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    assert kept["values"][0][0] == pytest.approx(protocols.get("dic").psnr(sr, test_set.hr(key), 4))


@pytest.fixture
def groups():
    return load_script("zoo/zoo_groups")


def test_groups_are_what_the_map_and_the_picture_say(groups):
    parsing = np.zeros((128, 128), np.uint8)
    parsing[20:110, 30:98] = labels.SKIN
    parsing[60:75, 60:68] = labels.NOSE
    light, dark = (np.full((128, 128, 3), colour, np.uint8) for colour in ((250, 225, 205), (80, 50, 35)))
    face = groups.Face(light, parsing)
    named = {name for name, belongs in groups.GROUPS.items() if belongs(face)}
    assert "no glasses (none at all)" in named
    assert "frontal (nose within 4 % of the middle of the skin)" in named
    assert "skin very light (typology angle over 55 degrees)" in named
    assert "little detail (x8 loses under 12 of 255, RMS)" in named

    turned, seen = parsing.copy(), groups.Face(dark, parsing)
    turned[60:75, 60:68], turned[60:75, 78:90], turned[45:50, 35:90] = labels.SKIN, labels.NOSE, labels.EYE_GLASSES
    named = {name for name, belongs in groups.GROUPS.items() if belongs(groups.Face(dark, turned))}
    assert "strongly turned (over 12 %)" in named
    assert "glasses (over 0.5 % of the picture)" in named
    assert "skin brown or dark (below 10)" in named
    assert seen.tone() < 10 < 55 < face.tone()
    empty = groups.Face(light, np.zeros_like(parsing))
    assert not [name for name in groups.GROUPS if "skin" in name and groups.GROUPS[name](empty)]


def test_grey_and_compressed_faces(groups):
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    grey = groups.grey(image)
    assert (grey[..., 0] == grey[..., 2]).all()
    errors = [np.abs(groups.compressed(image, quality).astype(int) - image).mean() for quality in groups.JPEG]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_changed_inputs_are_compared_with_what_they_should_become(groups, faces):
    test_set = open_set(str(faces), "faces", [8])
    text = groups.changed_table(test_set, 8, {"Bicubic": bicubic(8)}, faces=2)
    found = []
    for key in test_set.keys[:2]:
        hr = test_set.hr(key)
        plain = Image.fromarray(reduce_bicubic(hr, 8)).resize((128, 128), Image.Resampling.BICUBIC)
        found.append(protocols.get("dic").psnr(np.array(plain), hr, 8))
    assert f"| as it is | {np.mean(found):.2f} / " in text
    assert text.count("\n") == 2 + len(groups.JPEG) + 1


def test_groups_are_of_networks_that_were_trained_for_clean_faces_and_by_themselves(groups):
    plain, queued = groups.measured.grouped(), {n for n in list_pretrained() if metadata.QUEUE in metadata.texts(shipped.path(n))}
    assert "wnet_x8" in plain
    assert not [name for name in plain if name in queued or "_real_" in name]
    if "srcnn_x8" in list_pretrained():
        assert "srcnn_x8" in queued


def test_the_groups_page_measures_what_no_file_has_values_of(groups, tmp_path, faces, monkeypatch):
    names, measured = ["wnet_x8", "wnet_lite_real_x8"], []

    def watched(job, *args, run=command.runner.run):
        measured.append((job.sets[0].name, [source.name for source in job.sources]))
        return run(job, *args)

    def call(*sets: str) -> str:
        arguments = ["--sets", *sets, "--write", tmp_path, "--benchmark", tmp_path / "bench", "--faces", 1, "--workers", 1]
        monkeypatch.setattr(sys, "argv", ["zoo_groups.py", *map(str, arguments)])
        assert groups.main() == 0
        return (tmp_path / "docs/results/groups.md").read_text(encoding="utf-8")

    monkeypatch.setattr(groups.measured, "grouped", lambda: names)
    monkeypatch.setattr(groups.measured, "METRICS", ("lpips",))
    monkeypatch.setattr(groups, "VALUES", {key: groups.VALUES[key] for key in ("psnr_dic", "lpips")})
    monkeypatch.setattr(groups, "FEWEST", 1)
    monkeypatch.setattr(command.runner, "run", watched)
    call(f"here={faces}")
    text = call(f"here={faces}", f"there={faces}")
    assert measured == [("here", ["Bicubic", "WNet", "wnet_lite_real"]), ("there", ["Bicubic", "WNet", "wnet_lite_real"])]
    assert f"`python scripts/zoo/zoo_groups.py --sets here={faces} there={faces} --write" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| all | ")]
    values = tmp_path / "docs/results/faces/there"
    means = {}
    for name in (*names, "bicubic_x8"):
        with (values / f"{name}.csv").open() as file:
            next(file)
            means[name] = np.mean([float(row["psnr_dic"]) for row in csv.DictReader(file)])
    assert [row[1:4] for row in rows] == 2 * [["4", f"{means['bicubic_x8']:.2f}", f"{means['wnet_x8']:.2f}"]]
    assert rows[1][-1].startswith(f"{means['wnet_x8'] - means['wnet_lite_real_x8']:+.2f} [")
