"""Weights in packages of their own: W-Net's rivals in baselines/, and what anybody may publish in the same way."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import wnet_arch
from tests.conftest import BASELINES, HIDE_PACKAGES, PATIENCE, announce
from tests.weights.test_weights import run_command
from wnet_arch import create_network, weights
from wnet_arch.demo.choices import Choices
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.export.subject import open_subject
from wnet_arch.inference import entries as benchmarked
from wnet_arch.options.relations import _paths
from wnet_arch.restore.networks import open_networks
from wnet_arch.weights import entries, packages, seals, shipped
from wnet_arch.weights.checkpoint import read_state_dict

ROOT = Path(__file__).parents[2]
RIVALS = ["edsr_x4", "edsr_x8", "sparnet_x4", "sparnet_x8"]
#: All of the second package, by its files.
ZOO = sorted(file.stem for file in (BASELINES / "wnet_fsr_zoo").glob("*.safetensors"))
OPTIONS = {"num_feat": 32, "depths": [1, 1, 1, 1]}
#: Of the only entry of a manifest; tests change a line.
FIELDS = {
    "name": '"tiny_x8"', "purpose": '"tests"', "file": '"tiny_x8.safetensors"', "sha256": "SHA256", "size": "1",
    "licence": '"none"', "terms": '"none"',
}  # fmt: skip
SOURCE = '\n[[files.sources]]\nkind = "package"\n'


def publish(site: Path, distribution: str, network: str = "tiny_x8", seed: int = 0, **fields: str) -> tuple[Path, torch.nn.Module]:
    """A distribution as anybody could publish it, with the weights of one network; returns its package, and the network."""
    package = site / distribution.replace("-", "_")
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('this package was imported')\n")
    torch.manual_seed(seed)
    scale = int(network.rpartition("_x")[2])
    net = create_network("WNetLite", scale, **OPTIONS).eval()
    about = {"network_g": json.dumps({"type": "WNetLite", "scale": scale, **OPTIONS}), "scale": str(scale), "iterations": "7"}
    file = package / f"{network}.safetensors"
    seals.write_tensors(net.state_dict(), file, about)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    told = {**FIELDS, "name": f'"{network}"', "file": f'"{file.name}"', "sha256": f'"{sha256}"', **fields}
    text = "[[files]]\n" + "".join(f"{key} = {value}\n" for key, value in told.items() if value) + SOURCE
    (package / "manifest.toml").write_text(text)
    announce(site, package.name, distribution, "1.5")
    entries.load.cache_clear()
    return package, net


def test_weights_of_others_are_used_by_their_names_and_nothing_of_them_is_imported(site, capsys):
    package, net = publish(site, "tiny-weights")
    assert "tiny_x8" in wnet_arch.list_pretrained()
    loaded = wnet_arch.load_pretrained("tiny_x8")
    assert loaded.provenance.iterations == 7
    lq = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        assert torch.equal(loaded(lq), net(lq))
    assert read_state_dict("tiny_x8").keys() == net.state_dict().keys()
    assert [net.name for net in open_networks("tiny", []).values()] == ["tiny_x8"]
    assert [(source.name, source.scale) for source in benchmarked.read(["tiny"], None)[0]] == [("tiny", 8)]
    assert open_subject("tiny").texts["iterations"] == "7"
    assert list(_paths({"pretrain_network_g": "tiny_x8"}, {"network_g": {}})) == []
    assert run_command("verify", "tiny_x8") == 0
    assert run_command("list") == 0
    assert re.search(rf"tiny_x8 .*, here: {re.escape(str(package))}/tiny_x8.safetensors\)\n.*\n.*\n    from     ships with "
                     r"tiny-weights 1\.5\n", capsys.readouterr().out)  # fmt: skip
    assert "tiny_weights" not in sys.modules


def test_several_packages_are_used_together(site):
    nets = {name: publish(site, f"of-{name}", f"{name}_x8", seed)[1] for seed, name in enumerate(("one", "other"))}
    assert {"one_x8", "other_x8"} < set(wnet_arch.list_pretrained())
    for name, net in nets.items():
        state = wnet_arch.load_pretrained(f"{name}_x8").state_dict()
        assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_a_name_that_two_packages_give_stands_for_neither_and_both_are_named(site, tmp_path, capsys):
    publish(site, "good-weights", "good_x8")
    publish(site, "one-weights")
    publish(site, "other-weights", seed=1)
    refused = r"tiny_x8: several packages bring weights of this name, one-weights 1\.5 \(as tiny_x8\) and other-weights 1\.5 "
    doors = [
        wnet_arch.load_pretrained, read_state_dict, weights.resolve, open_subject,
        lambda name: open_networks(name, []), lambda name: benchmarked.read([name], None),
    ]  # fmt: skip
    for door in doors:
        with pytest.raises(WeightsError, match=refused):
            door("tiny_x8")
    assert re.match(f"path.pretrain_network_g: {refused}", next(_paths({"pretrain_network_g": "tiny_x8"}, {"network_g": {}})))
    assert "tiny_x8" not in wnet_arch.list_pretrained()
    assert wnet_arch.load_pretrained("good_x8")
    assert run_command("list") == 0
    assert re.search(refused, capsys.readouterr().out)


@pytest.mark.parametrize("name", ["wnet_x8", "w_net_x8"])
def test_no_package_takes_the_place_of_a_network_of_ours(site, name):
    publish(site, "greedy", name)
    with pytest.raises(WeightsError, match=rf"wnet-fsr \(as wnet_x8\) and greedy 1\.5 \(as {name}\): uninstall all but one"):
        wnet_arch.load_pretrained("wnet_x8")
    assert wnet_arch.load_pretrained("wnet_x4")


def test_a_package_is_not_taken_by_default(site):
    publish(site, "wnet-fsr-zoo", "wnet_lite_sharp_x8")  # the second of ours
    publish(site, "sharper", "wnet_lite_sharp_x4")
    assert {scale: net.name for scale, net in open_networks(None, [], quality="sharp").items()} == {
        2: "wnet_x2", 4: "wnet_x4", 8: "wnet_lite_sharp_x8",
    }  # fmt: skip
    assert [net.name for net in open_networks("wnet_lite_sharp_x4", []).values()] == ["wnet_lite_sharp_x4"]


def write(name: str, content: bytes | str):
    return lambda package, info: (package / name).write_bytes(content.encode() if isinstance(content, str) else content)


DAMAGE = {
    "no manifest": (lambda package, info: (package / "manifest.toml").unlink(), r"manifest\.toml is not a valid manifest: No such"),
    "no TOML": (write("manifest.toml", "[[files]"), "is not a valid manifest: "),
    "no text": (write("manifest.toml", b"\xff\xfe"), "is not a valid manifest: "),
    "no files": (write("manifest.toml", "# none\n"), "it lacks 'files'"),
    "odd files": (write("manifest.toml", 'files = "all"\n'), "is not a valid manifest: "),
    "other tables": (write("manifest.toml", "files = []\nelsewhere = []\n"), "unknown tables: elsewhere"),
    "no package": (lambda package, info: shutil.rmtree(package), "its entry point names tiny_weights, which is no package"),
    "odd entry points": (lambda package, info: (info / "entry_points.txt").write_text("[wnet_arch.weights]\nthis\n"),
                         "its entry points cannot be read: "),
    "odd module": (lambda package, info: (info / "entry_points.txt").write_text("[wnet_arch.weights]\na = -\n"),
                   "its entry points cannot be read: "),
}  # fmt: skip
ODD_FIELDS = {
    "a name for a file of ours": ({"name": '"vgg19"'}, "'vgg19' is no name for a network's weights"),
    "a name in capitals": ({"name": '"Tiny_x8"'}, "'Tiny_x8' is no name for a network's weights"),
    "a file elsewhere": ({"file": '"../tiny_x8.safetensors"'}, "is not the name of a .safetensors file beside the manifest"),
    "a file of another kind": ({"file": '"tiny_x8.pth"'}, "is not the name of a .safetensors file beside the manifest"),
    "half a hash": ({"sha256": f'"{"0" * 32}"'}, "sha256 needs all 64 digits"),
    "no hash": ({"sha256": ""}, "sha256"),
    "a size in words": ({"size": '"large"'}, "size must be a whole number of bytes"),
    "terms as a number": ({"terms": "3"}, "terms must be a text"),
    "a field of its own": ({"colour": '"red"'}, "colour"),
}


def check_fault(says: str, label: str, caplog) -> None:
    fault = rf"the package {label} is damaged \(.*{says}.*\): install it again, or remove it"
    packages._note.cache_clear()
    with caplog.at_level(logging.WARNING, "wnet_arch"):
        names = wnet_arch.list_pretrained()
    assert [re.match(f"note: {fault}", record.getMessage()) is not None for record in caplog.records] == [True]
    assert "\n" not in caplog.records[0].getMessage()
    assert {"good_x8", "wnet_x8"} <= set(names)
    assert "tiny_x8" not in names
    for door in (wnet_arch.load_pretrained, weights.resolve, lambda name: open_networks(name, [])):
        with pytest.raises(UsageError, match=f"'tiny_x8'.*{fault}"):
            door("tiny_x8")
    assert wnet_arch.load_pretrained("good_x8")
    with pytest.raises(WeightsError, match=fault):
        run_command("verify")


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_package_is_one_line_and_takes_nothing_from_the_others(site, kind, caplog):
    publish(site, "good-weights", "good_x8")
    package, _ = publish(site, "tiny-weights")
    damage, says = DAMAGE[kind]
    damage(package, site / "tiny_weights-1.5.dist-info")
    check_fault(says, r"tiny-weights 1\.5", caplog)


@pytest.mark.parametrize("kind", ODD_FIELDS)
def test_a_package_brings_networks_and_nothing_else(site, kind, caplog):
    publish(site, "good-weights", "good_x8")
    fields, says = ODD_FIELDS[kind]
    publish(site, "tiny-weights", **fields)
    check_fault(says, r"tiny-weights 1\.5", caplog)


def test_files_to_download_are_no_business_of_a_package(site, caplog):
    publish(site, "good-weights", "good_x8")
    package, _ = publish(site, "tiny-weights")
    text = (package / "manifest.toml").read_text()
    (package / "manifest.toml").write_text(text.replace('kind = "package"', 'kind = "url"\nurl = "http://localhost:9/tiny"'))
    entries.load.cache_clear()
    check_fault("it must be a file beside the manifest", r"tiny-weights 1\.5", caplog)


def test_a_distribution_without_metadata_is_called_as_its_folder(site, caplog):
    publish(site, "good-weights", "good_x8")
    package, _ = publish(site, "tiny-weights")
    (site / "tiny_weights-1.5.dist-info" / "METADATA").unlink()
    assert wnet_arch.load_pretrained("tiny_x8")
    (package / "manifest.toml").unlink()
    entries.load.cache_clear()
    check_fault("is not a valid manifest", "tiny_weights", caplog)


def test_a_damaged_or_missing_file_of_a_package_names_it(site, capsys):
    package, _ = publish(site, "tiny-weights")
    file = package / "tiny_x8.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(WeightsError, match=r"has sha256 \w{64}, expected \w{64}: install tiny-weights 1\.5 again"):
        wnet_arch.load_pretrained("tiny_x8")
    file.unlink()
    with pytest.raises(WeightsError, match=r"is missing, though it ships with tiny-weights 1\.5: install tiny-weights 1\.5 again"):
        wnet_arch.load_pretrained("tiny_x8")
    assert run_command("list") == 0
    assert "tiny_x8  (0.0 MB, MISSING, though it ships)" in capsys.readouterr().out
    with pytest.raises(WeightsError, match="is missing, though it ships with tiny-weights"):
        run_command("verify")


def test_of_two_distributions_of_one_name_the_first_on_the_path_counts(site, tmp_path, monkeypatch):
    later = tmp_path / "later"
    later.mkdir()
    publish(later, "tiny-weights", seed=1)
    shutil.move(later / "tiny_weights", later / "tiny_weights_of_later")
    (later / "tiny_weights-1.5.dist-info" / "entry_points.txt").write_text("[wnet_arch.weights]\na = tiny_weights_of_later\n")
    _, net = publish(site, "tiny-weights")
    monkeypatch.syspath_prepend(later)
    monkeypatch.syspath_prepend(site)
    path = str(site), str(later)
    monkeypatch.setattr(packages, "announced", lambda: packages._announced.__wrapped__(path))
    state = wnet_arch.load_pretrained("tiny_x8").state_dict()
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_the_rivals_weights_are_used_as_those_of_the_package(baselines, capsys):
    assert set(RIVALS) < set(wnet_arch.list_pretrained())
    assert wnet_arch.load_pretrained("sparnet_x8").provenance.iterations == 5000
    assert {scale: net.name for scale, net in open_networks("sparnet", []).items()} == {4: "sparnet_x4", 8: "sparnet_x8"}
    sources, scales = benchmarked.read(["Bicubic", "sparnet_x8", "EDSR"], [8])
    assert ([source.name for source in sources], scales) == (["Bicubic", "SPARNet", "EDSR"], [8])
    assert open_subject("edsr_x4").block["type"] == "EDSR_face"
    assert list(_paths({"pretrain_network_g": "sparnet_x8"}, {"network_g": {}})) == []
    assert "SPARNet (x4, x8)" in Choices(detector=SimpleNamespace(name="none", smallest_frame=1)).labels
    for name in RIVALS:
        assert run_command("verify", name) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{name}: good, {baselines / name}.safetensors" for name in RIVALS]
    assert run_command("list") == 0
    assert capsys.readouterr().out.count("ships with wnet-fsr-zoo 0.1.0\n") == len(ZOO)


def test_an_older_package_of_the_rivals_is_told_from_none(site):
    publish(site, "wnet-fsr-zoo", "edsr_x8")
    assert wnet_arch.load_pretrained("edsr_x8")
    with pytest.raises(
        WeightsError, match=r"sparnet_x8: .*wnet-fsr-zoo, which is installed in a version that does not have it: run `pip"
    ):
        wnet_arch.load_pretrained("sparnet_x8")


def test_a_damaged_package_of_the_rivals_is_what_their_names_say(site):
    package, _ = publish(site, "wnet-fsr-zoo", "edsr_x8")
    (package / "manifest.toml").unlink()
    entries.load.cache_clear()
    with pytest.raises(WeightsError, match=r"sparnet_x8: the package wnet-fsr-zoo 1\.5 is damaged .*: install it again"):
        wnet_arch.load_pretrained("sparnet_x8")


def test_what_is_said_of_the_rivals_package_is_what_it_has():
    if not BASELINES.is_dir():
        pytest.skip("this is no clone: it has no baselines/")
    project = entries.tomllib.loads((BASELINES / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    other = next(one for one in entries.load(entries.MANIFEST).elsewhere if one.distribution == project["name"])
    assert sorted(entries.load(BASELINES / "wnet_fsr_zoo" / "manifest.toml", project["name"]).files) == list(other.names) == ZOO
    assert other.wheel == f"{project['name'].replace('-', '_')}-{project['version']}-py3-none-any.whl"
    assert ROOT / other.folder == BASELINES
    assert project["entry-points"][packages.GROUP] == {"baselines": "wnet_fsr_zoo"}
    family = [name for name in entries.load(entries.MANIFEST).files if re.search(r"_x\d+$", name)]
    assert all(name.startswith("wnet_") for name in family)


#: Runs commands in one process, where no package brings weights; prints what each said and its exit code, as JSON.
WITHOUT = """
import contextlib, io, json, sys
import wnet_arch
from wnet_arch.cli import wnet
from wnet_arch.errors import WeightsError
assert not [name for name in wnet_arch.list_pretrained() if not name.startswith("wnet_")]
try:
    wnet_arch.load_pretrained("sparnet_x8")
except WeightsError as error:
    said = [["load_pretrained", 2, str(error)]]
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    out = io.StringIO()
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
        try:
            wnet.main()
        except SystemExit as end:
            said.append([" ".join(words[:2]), end.code, out.getvalue()])
print(json.dumps(said))
"""


def test_without_the_rivals_package_every_door_names_the_command_that_brings_it(tmp_path, face_set):
    pytest.importorskip("gradio")
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(tmp_path / "photo.png")
    photo, out = str(tmp_path / "photo.png"), str(tmp_path / "out")
    commands = [
        ["restore", photo, "--network", "sparnet", "-o", out],
        ["restore", photo, "--network", "sparnet_x8", "-o", out],
        ["benchmark", "--networks", "Bicubic", "sparnet_x8", "--sets", str(face_set), "-o", out],
        ["benchmark", "--networks", "SPARNet", "--sets", str(face_set), "-o", out],
        ["export", "sparnet_x8", "-o", f"{out}.safetensors"],
        ["export", "sparnet", "-o", f"{out}.safetensors"],
        ["demo", "--network", "sparnet_x8", "--no-open", "--port", "0"],
        ["weights", "verify", "sparnet_x8"],
        ["weights", "fetch", "sparnet_x8"],
        ["validate", "wnet_lite_x8", "--force_yml", "path:pretrain_network_g=sparnet_x8"],
        ["weights", "list"],
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", HIDE_PACKAGES + WITHOUT, json.dumps(commands)]
    run = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout.splitlines()[-1])
    assert len(said) == 1 + len(commands)
    command = "pip install ./baselines" if BASELINES.is_dir() else "pip install wnet_fsr_zoo-0.1.0-py3-none-any.whl"
    line = f"shipped in the package wnet-fsr-zoo, which is not installed: run `{command}`"
    for what, code, text in said[:-2]:
        assert code == 2, what
        assert re.fullmatch(rf"(wnet: error: )?sparnet_x[48]: {re.escape(line)}", text.strip()), (what, text)
    _, code, text = said[-2]
    assert code == 2
    assert [found.partition("path.")[2] for found in text.splitlines() if "pretrain" in found] == [
        f"pretrain_network_g: sparnet_x8: {line}"
    ]
    _, code, text = said[-1]
    assert (code, text.splitlines()[-1]) == (0, f"{', '.join(ZOO)}: {line}")


@pytest.mark.parametrize("inside", [True, False])
def test_the_command_fits_the_folder_that_one_is_in(tmp_path, monkeypatch, inside):
    other = entries.Elsewhere("a-zoo", "its folder", "a_zoo-1-py3-none-any.whl", ())
    monkeypatch.setattr(packages, "CLONE", tmp_path / "clone")
    assert packages.install_command(other) == "pip install a_zoo-1-py3-none-any.whl"
    folder = tmp_path / "clone" / "its folder"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path / "clone" if inside else tmp_path)
    assert packages.install_command(other) == ("pip install './its folder'" if inside else f"pip install '{folder}'")


def test_one_word_is_a_name_wherever_it_may_be():
    assert shipped.is_name("wnet_x8")
    assert shipped.is_name("sparnet_x8")
    assert not shipped.is_name("srcnn_x3")
