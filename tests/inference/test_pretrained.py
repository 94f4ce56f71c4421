"""Weights that ship: how they get into the package, how they are loaded, and what is refused."""

from __future__ import annotations

import copy
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wnet_arch
from tests.conftest import BASELINES, announce, load_script
from wnet_arch import create_network
from wnet_arch.benchmark import command, results
from wnet_arch.errors import DataError, WeightsError
from wnet_arch.inference import entries as networks
from wnet_arch.metrics import protocols
from wnet_arch.weights import entries, metadata, shipped
from wnet_arch.weights.checkpoint import load_into, read_state_dict
from wnet_arch.weights.hashing import sha256_file

RIVALS = BASELINES / "wnet_fsr_zoo" / "manifest.toml"
SMALL = {"num_feat": 32, "depths": [1, 1, 1, 1]}
FACTS = {
    "training_set": "faces (10 faces)", "iterations": "300", "seed": "4", "images_seen": "1200",
    "recipe": "Adam", "hardware": "a CPU", "torch": "2", "licence": "Apache-2.0", "terms": "research",
}  # fmt: skip


@pytest.fixture
def ship(tmp_path, site, monkeypatch):
    """ship_weights.py, with packages of its own to write into; the second is installed, and both are without networks."""
    folder, zoo = tmp_path / "weights", site / "wnet_fsr_zoo"
    folder.mkdir()
    zoo.mkdir()
    announce(site, "wnet_fsr_zoo", "wnet-fsr-zoo")
    for file in (entries.MANIFEST, entries.MANIFEST.with_name("face_parser.safetensors")):
        shutil.copy(file, folder)
    text = (folder / "manifest.toml").read_text().partition('[[files]]\nname = "wnet_')[0]
    (folder / "manifest.toml").write_text(re.sub(r"(?m)^names = \[.*\]$", "names = []", text))
    (zoo / "manifest.toml").write_text("# Nothing yet.\n")
    monkeypatch.setattr(entries, "MANIFEST", folder / "manifest.toml")
    script = load_script("zoo/ship_weights")
    monkeypatch.setattr(sys.modules["places"], "ZOO", zoo / "manifest.toml")
    yield script
    entries.load.cache_clear()


def put(script, name: str, scale: int = 8, block: dict | None = None, half=False, net: torch.nn.Module | None = None, **more):
    """Ships a WNetLite that knows nothing, or another network; returns it. ``more``: facts of its file."""
    torch.manual_seed(scale)
    net = net or create_network("WNetLite", scale, **SMALL).eval()
    block = block or {"type": "WNetLite", "scale": scale, **SMALL}
    state = script.halved(net.state_dict()) if half else net.state_dict()
    facts = {**FACTS, "network_g": json.dumps(block), "scale": str(scale), **more}
    script.write(state, facts, script.manifest_of(name).with_name(f"{name}.safetensors"), name)
    entries.load.cache_clear()
    return net


def test_a_shipped_network_is_the_one_that_was_trained(ship):
    net = put(ship, "wnet_lite_x8")
    lq = torch.rand(2, 3, 16, 16)
    assert wnet_arch.list_pretrained() == ["wnet_lite_x8"]
    loaded = wnet_arch.load_pretrained("wnet_lite_x8")
    assert not loaded.training
    assert loaded.provenance.iterations == 300
    with torch.inference_mode():
        assert torch.equal(loaded(lq), net(lq))
    put(ship, "wnet_lite_x8", half=True)  # takes the place of the other, in the manifest as well
    assert wnet_arch.list_pretrained() == ["wnet_lite_x8"]
    state = wnet_arch.load_pretrained("wnet_lite_x8").state_dict()
    assert all(torch.allclose(state[key], value, atol=1e-3) for key, value in net.state_dict().items())
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items() if value.ndim < 2)
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())


def test_weights_of_rivals_go_into_the_package_beside_and_the_first_knows_their_names(ship, site):
    small = {"num_feat": 8, "num_blocks": 2}
    for name in ("edsr_x8", "edsr_x4", "edsr_x8"):  # the last takes the place of the first
        scale = int(name[-1])
        net = create_network("EDSR", scale, **small).eval()
        put(ship, name, scale, {"type": "EDSR_face", "scale": scale, **small}, net=net)
    put(ship, "wnet_lite_real_x8")
    assert wnet_arch.list_pretrained() == ["edsr_x4", "edsr_x8", "wnet_lite_real_x8"]
    assert {name: shipped.path(name).parent.name for name in wnet_arch.list_pretrained()} == {
        "edsr_x4": "wnet_fsr_zoo", "edsr_x8": "wnet_fsr_zoo", "wnet_lite_real_x8": "weights",
    }  # fmt: skip
    state = wnet_arch.load_pretrained("edsr_x8").state_dict()
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    assert entries.load(entries.MANIFEST).elsewhere[0].names == ("edsr_x4", "edsr_x8")
    zoo = load_script("zoo/model_zoo")
    zoo.need_all()
    shutil.rmtree(site / "wnet_fsr_zoo-1.0.dist-info")
    with pytest.raises(WeightsError, match="edsr_x8: shipped in the package wnet-fsr-zoo, which is not installed"):
        wnet_arch.load_pretrained("edsr_x8")
    with pytest.raises(
        SystemExit, match=r"^edsr_x4, edsr_x8: shipped in the package wnet-fsr-zoo, which is not installed: run `pip i"
    ):
        zoo.need_all()
    with pytest.raises(SystemExit, match="--on: edsr_x8: shipped in the package wnet-fsr-zoo"):
        ship.check_base("edsr_x8")


def test_names_and_networks_must_agree_about_the_package(ship):
    ship.check_name("wnet_lite_x8", "WNetLite")
    ship.check_name("sparnet_x8", "SPARNet")
    for name, kind in (("lite_x8", "WNetLite"), ("wnet_x8", "EDSR_face")):
        with pytest.raises(SystemExit, match=f"'{name}' is no name for weights of {kind}"):
            ship.check_name(name, kind)


def test_weights_between_two_networks_keep_what_both_have(ship, tmp_path, monkeypatch):
    start = {"same": torch.rand(3, 3).half(), "other": torch.zeros(2), "count": torch.tensor(1)}
    end = {"same": start["same"].float(), "other": torch.tensor([1.0, 2.0]), "count": torch.tensor(5)}
    mixed = ship.blend(start, end, 0.7)
    assert torch.equal(mixed["same"], end["same"])
    torch.testing.assert_close(mixed["other"], torch.tensor([0.7, 1.4]))
    assert mixed["count"] == 5
    put(ship, "wnet_lite_x8")
    wrong = [["--blend", "0.7"], ["--blend", "1.5", "--on", "wnet_lite_x8"]]
    for arguments in wrong:
        monkeypatch.setattr(sys, "argv", ["ship_weights.py", str(tmp_path), "wnet_lite_sharp_x8", "--set", "faces", *arguments])
        with pytest.raises(SystemExit, match="--blend X lies between 0 and 1, and needs the network it starts from"):
            ship.main()


def test_a_card_tells_each_of_several_trainings_once(ship):
    parts = [("1200", "Adam", "an old CPU"), ("800", "Muon", "a new CPU"), ("1000", "Muon, slower", "a new CPU")]
    known = None
    for images, recipe, hardware in parts:
        part = {**FACTS, "images_seen": images, "recipe": recipe, "hardware": hardware}
        known = ship.continued(known, part) if known else part
    assert known["recipe"] == "1,200 images, Adam; then 800, Muon; then 1,000, Muon, slower"
    assert known["hardware"] == "an old CPU, then a new CPU"
    assert (known["training_set"], known["images_seen"], known["iterations"]) == (FACTS["training_set"], "3000", "900")
    other = ship.continued({**FACTS, "training_set": "a + b"}, {**FACTS, "training_set": "b"})  # one set of the two
    assert other["training_set"] == "a + b, then b"


def test_less_of_what_a_network_adds(ship):
    """Whatever the network, its answer lies so far from the enlarged face to the answer before; or it is refused."""
    torch.manual_seed(0)
    lite = {"network_g": {"type": "WNetLite", "scale": 4, "num_feat": 16, "depths": [1, 1, 1, 1]}, "scale": 4}
    net, lq = ship.build_network(lite["network_g"]).eval(), torch.rand(2, 3, 32, 32)
    torch.nn.init.normal_(net.trunk.to_rgb.weight)
    state = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        before, plain = net(lq), ship.enlarge(lq, 4)
        net.load_state_dict(ship.with_residual(lite, state, 0.25))
        assert (before - plain).abs().mean() > 0.1
        torch.testing.assert_close(net(lq) - plain, 0.25 * (before - plain), atol=1e-5, rtol=1e-4)
    edsr = {"network_g": {"type": "EDSR_face", "scale": 4}, "scale": 4}
    with pytest.raises(SystemExit, match="--residual: EDSR_face does not add to the enlarged face by a layer to_rgb"):
        ship.with_residual(edsr, ship.build_network(edsr["network_g"]).state_dict(), 0.9)


def test_a_training_in_two_parts_counts_the_images_of_both(ship, tmp_path, monkeypatch):
    def options(peak: int, iterations: int) -> dict:
        train = {"total_iter": iterations, "optim_g": {"type": "Adam", "lr": 1e-4}, "scheduler": {"type": "MultiStepLR"}}
        data = {"batch_size_per_gpu": 4, "dataroot": ["faces"]}
        return {
            "network_g": {"type": "WNet", "scale": 8, "peak": peak}, "scale": 8, "manual_seed": 0, "train": train,
            "datasets": {"train": data},
        }  # fmt: skip

    monkeypatch.setattr(ship, "training_set", lambda data: data["dataroot"][0])
    monkeypatch.setattr(ship, "finished", lambda run: (options(1, 1000), {}))
    later = options(8, 20)
    known = ship.after(tmp_path, ship.facts(later, ship.LAST, "a CPU"))
    assert (known["iterations"], known["images_seen"], known["training_set"]) == ("1020", "4080", "faces")
    assert known["recipe"].startswith("with peak 1: 4,000 images, Adam 0.0001, MultiStepLR, batches of 4, ")
    assert "; then 80, Adam 0.0001" in known["recipe"]
    assert json.loads(known["network_g"])["peak"] == 8


def test_weights_that_a_training_went_on_with_count_the_images_of_both(ship):
    first = {
        "iterations": "5000", "images_seen": "20000", "training_set": "faces", "hardware": "a CPU", "recipe": "Adam 0.0005",
        "seed": "0",
    }  # fmt: skip
    more = {**first, "iterations": "100", "images_seen": "400", "hardware": "another", "recipe": "Muon 0.002", "seed": "1"}
    assert ship.continued(first, more) == {
        "iterations": "5100", "images_seen": "20400", "training_set": "faces", "hardware": "a CPU, then another", "seed": "1",
        "recipe": "20,000 images, Adam 0.0005; then 400, Muon 0.002",
    }  # fmt: skip


def test_what_is_not_whole_is_not_loaded(ship):
    put(ship, "wnet_lite_real_x8")
    with pytest.raises(WeightsError, match=r"no shipped network is called 'wnetlite_real_x8'; did you mean 'wnet_lite_real_x8'\?"):
        wnet_arch.load_pretrained("wnetlite_real_x8")
    file = entries.MANIFEST.with_name("wnet_lite_real_x8.safetensors")
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match=r"has sha256 \w{64}, expected \w{64}: install wnet-fsr again"):
        wnet_arch.load_pretrained("wnet_lite_real_x8")
    file.unlink()
    with pytest.raises(WeightsError, match="is missing, though it ships with this package"):
        wnet_arch.load_pretrained("wnet_lite_real_x8")


def test_weights_of_another_configuration(ship):
    put(ship, "wnet_lite_x8", block={"type": "WNetLite", "scale": 8, **SMALL, "num_feat": 64})
    with pytest.raises(WeightsError, match="was made for another configuration of WNetLite"):
        wnet_arch.load_pretrained("wnet_lite_x8")
    with pytest.raises(WeightsError, match="was made for another configuration of SRCNN"):
        load_into(create_network("SRCNN", 8), "wnet_lite_x8")


def test_names_serve_wherever_weights_are_named(ship):
    put(ship, "wnet_lite_x4", 4)
    put(ship, "wnet_lite_x8", 8)
    assert read_state_dict("wnet_lite_x8").keys() == create_network("WNetLite", 8, **SMALL).state_dict().keys()
    sources, scales = networks.read(["Bicubic", "wnet_lite"], None)
    assert [(s.name, s.scale) for s in sources] == [("Bicubic", 4), ("Bicubic", 8), ("WNetLite", 4), ("WNetLite", 8)]
    assert scales == [4, 8]
    assert sources[2].provenance.training_set == "faces (10 faces)"
    sources, _ = networks.read(["mine=wnet_lite"], [8])
    assert [(s.name, s.scale) for s in sources] == [("mine", 8)]


def test_only_a_finished_run_ships(ship, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.yml").write_text("train: {total_iter: 20}\n")
    (run / "log.jsonl").write_text('{"iter": 10}\n')
    with pytest.raises(SystemExit, match="has done 10 of 20 iterations"):
        ship.finished(run)
    with pytest.raises(SystemExit, match="is not the folder of a training run"):
        ship.finished(tmp_path)


def test_the_zoo_is_what_was_measured(ship, tmp_path, face_set, monkeypatch):
    put(ship, "wnet_lite_x4", 4)
    put(ship, "wnet_lite_x8", 8)
    zoo = load_script("zoo/model_zoo")
    arguments = ["--sets", f"celeba_val={face_set}", "--workers", 1, "--metrics", "parsing"]
    arguments += ["--out", tmp_path / "bench", "--write", tmp_path]
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", *map(str, arguments)])
    assert zoo.main() == 0
    page = (tmp_path / "MODEL_ZOO.md").read_text(encoding="utf-8")
    found = results.load(tmp_path / "bench")
    psnr = f"{found.score('celeba_val', 8, 'WNetLite', 'psnr_dic').mean:.2f}"
    assert "scripts/zoo/model_zoo.py --sets celeba_val=" in page
    record = found.networks[-1]
    row = (
        "| [wnet_lite_x8](baselines/wnet_fsr_zoo/wnet_lite_x8.md) | 1,200 | "
        f"{record.parameters / 1e6:.1f} M | {record.macs / 1e9:.2f} |"
    )
    assert row in page
    assert psnr in page
    assert "| the least error (PSNR) | `wnet_lite_x8`, `wnet_lite_x4` |" in page
    assert (tmp_path / "docs/pictures/cost_quality.png").stat().st_size > 5000
    everything = (tmp_path / "docs/results/zoo_tables.md").read_text(encoding="utf-8")
    assert f"{found.score('celeba_val', 8, 'WNetLite', 'psnr_sparnet').mean:.2f}" in everything
    assert "W-Net, paper, mode I" in everything  # the paper's rows are marked
    card = (tmp_path / "wnet_lite_x8.md").read_text(encoding="utf-8")
    assert card.startswith("# WNetLite x8\n")
    assert "1,200 images in 300 iterations, seed 4" in card
    assert f" MB, SHA-256 `{sha256_file(shipped.path('wnet_lite_x8'))[:16]}…`; package `wnet-fsr-zoo` |" in card
    assert psnr in card


def test_what_is_known_of_every_face_is_not_measured_again(ship, tmp_path, face_set, monkeypatch):
    put(ship, "wnet_lite_x4", 4)
    put(ship, "wnet_lite_x8", 8)
    zoo, measured = load_script("zoo/model_zoo"), []

    def watched(job, *args, run=command.runner.run):
        measured.append([(source.name, source.scale) for source in job.sources])
        return run(job, *args)

    def pages() -> dict[str, bytes]:
        files = [file for kind in ("*.md", "*.csv") for file in (tmp_path / "pages").rglob(kind)]
        return {file.name: file.read_bytes() for file in files}

    monkeypatch.setattr(command.runner, "run", watched)
    given = ["model_zoo.py", "--sets", f"celeba_val={face_set}", "--write", str(tmp_path / "pages"), "--workers", "1", "--metrics"]
    monkeypatch.setattr(sys, "argv", given)
    monkeypatch.chdir(tmp_path)
    assert zoo.main() == 0
    first = pages()
    assert {"MODEL_ZOO.md", "wnet_lite_x8.md", "wnet_lite_x8.csv", "bicubic_x8.csv"} <= first.keys()
    per_image = (tmp_path / "zoo_benchmark" / "per_image.csv").read_text().splitlines()
    its = [line.partition(",8,WNetLite,")[2] for line in per_image if ",8,WNetLite," in line]
    rows = [line.split(",", 2) for line in first["wnet_lite_x8.csv"].decode().splitlines()[2:]]
    assert [(face, values) for face, _, values in rows] == [tuple(line.split(",", 1)) for line in its]
    shutil.rmtree("zoo_benchmark")
    monkeypatch.setattr(sys, "argv", [*given, "--new"])
    assert zoo.main() == 0
    assert measured == [[("Bicubic", 4), ("Bicubic", 8), ("WNetLite", 4), ("WNetLite", 8)]]
    assert pages() == first
    assert not Path("zoo_benchmark/report.html").exists()
    put(ship, "wnet_lite_x8", 8, half=True)  # other weights
    assert zoo.main() == 0
    assert measured[1:] == [[("WNetLite", 8)]]
    second = pages()
    assert second["wnet_lite_x8.csv"] != first["wnet_lite_x8.csv"]
    assert second["wnet_lite_x4.csv"] == first["wnet_lite_x4.csv"]
    monkeypatch.setattr(sys, "argv", [*given, "parsing", "--new"])
    assert zoo.main() == 0
    assert len(measured[2]) == 4, "values of other measures are none of these"
    file = tmp_path / "pages" / "docs/results/faces/celeba_val/wnet_lite_x8.csv"
    whole = file.read_text()
    for damaged in (whole.rpartition(",")[0] + "\n", whole.rstrip() + "?\n", whole.rstrip() + ",1\n"):
        file.write_text(damaged)
        with pytest.raises(DataError, match=r"wnet_lite_x8.csv is damaged: remove it"):
            zoo.main()


def test_a_network_that_has_just_come_gets_its_card_alone(ship, tmp_path, face_set, monkeypatch):
    put(ship, "wnet_lite_x4", 4)
    put(ship, "wnet_lite_x8", 8)
    zoo = load_script("zoo/model_zoo")
    arguments = ["--sets", f"celeba_val={face_set}", "--workers", 1, "--metrics", "--card", "wnet_lite_x8"]
    arguments += ["--out", tmp_path / "bench", "--write", tmp_path]
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", *map(str, arguments)])
    assert zoo.main() == 0
    assert [path.name for path in tmp_path.glob("*.md")] == ["wnet_lite_x8.md"]
    assert not (tmp_path / "docs").exists()
    card = (tmp_path / "wnet_lite_x8.md").read_text(encoding="utf-8")
    psnr = results.load(tmp_path / "bench" / "wnet_lite_x8").score("celeba_val", 8, "WNetLite", "psnr_dic").mean
    assert f"{psnr:.2f}" in card
    assert "measured by itself" in card
    assert "best" not in card
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", "--sets", str(face_set), "--card", "wnet_lite_x9"])
    with pytest.raises(SystemExit, match="--card wnet_lite_x9: there is no such network; did you mean"):
        zoo.main()


def test_the_card_of_a_network_for_x1_has_what_it_does_to_degraded_photos(ship, tmp_path, face_set, monkeypatch):
    small = {"num_feat": 8, "peak": 1}
    monkeypatch.setitem(FACTS, metadata.DEGRADATION, "{}")
    put(ship, "wnet_real_x1", 1, {"type": "WNet", "scale": 1, **small}, net=create_network("WNet", 1, **small))
    zoo = load_script("zoo/model_zoo")
    arguments = ["--sets", face_set, "--card", "wnet_real_x1", "--write", tmp_path, "--degraded", tmp_path / "degraded"]
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", *map(str, arguments)])
    with pytest.raises(SystemExit, match=r"no numbers of its file: run .*check_degraded\.py --network wnet_real_x1 --out"):
        zoo.main()
    assert not list(tmp_path.glob("*.md"))
    folder = tmp_path / "degraded" / "wnet_real_x1"
    folder.mkdir(parents=True)
    (folder / "table.md").write_text("| JPEG 75 | x1 | +0.5 |\n")
    (folder / "command.txt").write_text("python scripts/bench/check_degraded.py --scales 1\n")
    assert zoo.main() == 0
    card = (tmp_path / "wnet_real_x1.md").read_text(encoding="utf-8")
    assert "128x128 to 128x128" in card
    assert "It does not enlarge" in card
    assert "`python scripts/bench/check_degraded.py --scales 1`:\n\n| JPEG 75 | x1 | +0.5 |" in card


def test_a_card_keeps_what_was_measured_of_its_own_file_and_of_no_other(ship, tmp_path, face_set, monkeypatch):
    monkeypatch.setitem(FACTS, metadata.DEGRADATION, "{}")
    put(ship, "wnet_lite_real_x4", 4)
    zoo = load_script("zoo/model_zoo")
    folder, card = tmp_path / "degraded" / "wnet_lite_real_x4", shipped.path("wnet_lite_real_x4").with_suffix(".md")
    folder.mkdir(parents=True)
    (folder / "table.md").write_text("| JPEG 75 | x4 | +0.7 |\n| noise 8 | x4 | +1.4 |\n")
    (folder / "command.txt").write_text("python scripts/bench/check_degraded.py --scales 4\n")
    arguments = ["--sets", face_set, "--metrics", "--out", tmp_path / "bench", "--workers", 1, "--degraded", tmp_path / "degraded"]
    monkeypatch.setattr(zoo, "ROOT", tmp_path / "root")
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", *map(str, arguments), "--write", str(tmp_path / "root")])
    assert zoo.main() == 0
    written = card.read_text(encoding="utf-8")
    assert "| JPEG 75 | x4 | +0.7 |\n| noise 8 | x4 | +1.4 |\n\nIt has been trained" in written
    shutil.rmtree(folder)
    assert zoo.main() == 0
    assert card.read_text(encoding="utf-8") == written
    put(ship, "wnet_lite_real_x4", 4, half=True)  # weights that the numbers are not of
    shutil.rmtree(tmp_path / "bench")
    with pytest.raises(SystemExit, match=r"x4.md has no numbers of its file: run .*check_degraded.py --network wnet"):
        zoo.main()
    assert card.read_text(encoding="utf-8") == written
    assert not (tmp_path / "bench").exists(), "the measurements of hours end in that line"


def test_the_zoo_measures_slow_networks_on_few_faces_beside_their_rivals(ship, tmp_path, face_set, monkeypatch):
    put(ship, "wnet_lite_x4", 4)
    put(ship, "wnet_lite_x8", 8)
    small = {"num_feat": 8, "peak": 1}
    put(ship, "wnet_x8", 8, {"type": "WNet", "scale": 8, **small}, net=create_network("WNet", 8, **small))
    zoo = load_script("zoo/model_zoo")
    sources = {name: zoo.open_one(name, None) for name in wnet_arch.list_pretrained()}
    costs = {name: zoo.cost(source.block, source.scale)[1] for name, source in sources.items()}
    monkeypatch.setattr(zoo, "SLOW", (costs["wnet_lite_x8"] + costs["wnet_x8"]) / 2e9)
    arguments = ["--sets", f"celeba_val={face_set}", "--workers", 1, "--slow-faces", 1]
    arguments += ["--out", tmp_path / "bench", "--write", tmp_path, "--metrics"]
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", *map(str, arguments)])
    assert zoo.main() == 0
    everything, few = results.load(tmp_path / "bench"), results.load(tmp_path / "bench" / "slow")
    assert [n.name for n in everything.at(8)] == ["Bicubic", "WNetLite"]
    assert [(n.name, n.scale) for n in few.networks] == [("Bicubic", 8), ("WNetLite", 8), ("WNet", 8)]
    assert [len(found.sets[0].keys) for found in (everything, few)] == [len(everything.sets[0].keys), 1]
    page = (tmp_path / "MODEL_ZOO.md").read_text(encoding="utf-8")
    everything = (tmp_path / "docs/results/zoo_tables.md").read_text(encoding="utf-8")
    _, mark, last = everything.partition("\n## Networks that take seconds for a face\n")
    assert mark
    assert f"{few.score('celeba_val', 8, 'WNet', 'psnr_dic').mean:.2f}" in last
    assert f"| {costs['wnet_x8'] / 1e9:.2f} | – |" in page
    assert "`wnet_x8`: measured on fewer faces" in page
    assert f"{few.score('celeba_val', 8, 'WNet', 'psnr_dic').mean:.2f}" in (tmp_path / "wnet_x8.md").read_text(encoding="utf-8")


def test_networks_of_a_queue_are_compared_among_themselves(ship, tmp_path, face_set, monkeypatch):
    put(ship, "wnet_lite_x8", 8)
    together = {metadata.QUEUE: "table1_x8", "images_seen": "2000"}
    put(ship, "wnet_lite_equal_x8", 8, **together)
    for name, kind in (("srcnn_x8", "SRCNN"), ("srgan_x8", "SRResNet")):
        torch.manual_seed(len(name))
        block = {"type": kind, "scale": 8}
        seen = "4000" if name == "srgan_x8" else "2000"  # it began with weights of another
        put(ship, name, 8, block, net=create_network(kind, 8).eval(), **{**together, "images_seen": seen})
    zoo = load_script("zoo/model_zoo")
    arguments = ["--sets", f"celeba_val={face_set}", "--workers", 1, "--metrics", "--limit", 3, "--queue-faces", 2]
    arguments += ["--out", tmp_path / "bench", "--write", tmp_path]
    monkeypatch.setattr(sys, "argv", ["model_zoo.py", *map(str, arguments)])
    assert zoo.main() == 0
    everything, equal = results.load(tmp_path / "bench"), results.load(tmp_path / "bench" / "table1_x8")
    assert [n.name for n in everything.at(8)] == ["Bicubic", "WNetLite"]
    assert {n.name for n in equal.at(8)} == {"Bicubic", "SRCNN", "SRGAN", "WNetLite"}
    assert [len(found.sets[0].keys) for found in (everything, equal)] == [3, 2]
    assert all(f">{name}<" in (tmp_path / "bench/table1_x8/report.html").read_text(encoding="utf-8") for name in ("SRCNN", "SRGAN"))
    page = (tmp_path / "MODEL_ZOO.md").read_text(encoding="utf-8")
    first, _, rest = page.partition("### x8, 2,000 images each")
    second, _, paper = rest.partition("## Beside the paper")
    assert "[wnet_lite_x8](" in first
    assert "[srcnn_x8](" not in first
    rows = {row.split("](")[0].removeprefix("| ["): row for row in second.splitlines() if row.startswith("| [")}
    assert rows.keys() == {"wnet_lite_equal_x8", "srcnn_x8", "srgan_x8"}
    for name, shown in (("wnet_lite_equal_x8", "WNetLite"), ("srcnn_x8", "SRCNN"), ("srgan_x8", "SRGAN")):
        assert f" {equal.score('celeba_val', 8, shown, 'psnr_dic').mean:.2f} " in rows[name].replace("**", "").replace("<u>", "")
    assert "| 4,000 |" in rows["srgan_x8"]
    assert "Measured on the first 2 faces of celeba_val." in second
    assert "| SRGAN, mode II | x8 |" in paper  # the paper's networks are beside those that compare with one another
    assert "## Equally many images: table1_x8" in (tmp_path / "docs/results/zoo_tables.md").read_text(encoding="utf-8")
    card = (tmp_path / "srgan_x8.md").read_text(encoding="utf-8")
    assert f"{equal.score('celeba_val', 8, 'SRGAN', 'psnr_dic').mean:.2f}" in card


def networks_of(manifest: Path) -> list[str]:
    return [name for name in entries.load(manifest).files if re.search(r"_x\d+$", name)]


@pytest.mark.parametrize("name", networks_of(entries.MANIFEST))
def test_every_shipped_network_beats_bicubic_enlargement_on_a_photo(name):
    beats_bicubic(name)


@pytest.mark.parametrize("name", networks_of(RIVALS) if RIVALS.is_file() else [])
def test_every_rival_beats_bicubic_enlargement_on_a_photo(name, baselines):
    beats_bicubic(name)


def beats_bicubic(name: str) -> None:
    data = pytest.importorskip("skimage.data")
    scale = shipped_scale(name)
    hr = Image.fromarray(data.astronaut()).crop((152, 22, 296, 166)).resize((128, 128), Image.Resampling.BICUBIC)
    lq = hr.resize((128 // scale,) * 2, Image.Resampling.BICUBIC)
    if scale == 1:  # there is nothing to enlarge: noise is what it is for
        noise = np.random.default_rng(0).normal(0, 8, (128, 128, 3))
        lq = Image.fromarray((np.array(lq) + noise).round().clip(0, 255).astype(np.uint8))
    with torch.inference_mode():
        sr = wnet_arch.load_pretrained(name)(torch.from_numpy(np.array(lq)).permute(2, 0, 1)[None] / 255)
    sr = (sr[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    plain = np.array(lq.resize((128, 128), Image.Resampling.BICUBIC))
    dic = protocols.get("dic")
    least = 0.1 if metadata.QUEUE in metadata.texts(shipped.path(name)) else 0.5  # those of a queue saw few images
    assert dic.psnr(sr, np.array(hr), scale) > dic.psnr(plain, np.array(hr), scale) + least


def shipped_scale(name: str) -> int:
    assert shipped.path(name).is_file()
    return int(name.rpartition("_x")[2])


def test_a_file_holds_the_options_that_were_defaults_when_it_was_trained():
    script = load_script("zoo/ship_weights")
    block = script.explicit({"type": "WNetLite", "scale": 4, "num_feat": 64})
    assert block["num_feat"] == 64
    assert set(block) == {"type", "scale", "num_feat", "depths", "num_heads", "attention", "parsing", "position", "grid"}
    for name in ("wnet_lite_real_x4", "wnet_lite_real_x8"):
        of_file = metadata.read(shipped.path(name)).network
        later = {"grid": 16}  # an option since; what files without it were trained with
        assert {**later, **of_file} == script.explicit(of_file), f"{name} relies on defaults"
