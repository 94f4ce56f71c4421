"""What the benchmark's cache belongs to: everything that decides about a result, not the names it goes by."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from tests.benchmark.test_benchmark import go, train_nothing
from tests.conftest import drawn_face, write_folders
from wnet_arch.benchmark import measures
from wnet_arch.benchmark.measures import Measure
from wnet_arch.inference import fingerprints, sources
from wnet_arch.inference.entries import open_one


@pytest.fixture
def run(tmp_path) -> Path:
    return train_nothing(tmp_path, "net")


def network(run: Path, **block):
    """A network by its weights file and its block, as of the run with options added."""
    found = open_one(str(run), None)
    return sources.weights_network("net", found.weights, {**found.block, **block}, 8, found.provenance, "cpu")


class FakeMetric:
    """A metric with a network from a file, as an identity metric has; ``add`` is what the network adds."""

    backbone, units, better = "fake", {"fake": ""}, "higher"

    def __init__(self, weights: str):
        self.net = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.net.weight, float(Path(weights).expanduser().read_text()))


def test_faces_changed_in_place_are_done_anew(tmp_path, run):
    hr = write_folders(tmp_path / "hr", 4) / "gt"
    before, _ = go(tmp_path / "out", [run], [hr])
    Image.fromarray(drawn_face(9)[0]).save(hr / "face002.png")
    after, done = go(tmp_path / "out", [run], [hr])
    assert done.computed == 4  # a task is done as a whole
    changed = before.values["gt", 8, "net"] != after.values["gt", 8, "net"]
    assert changed.all(1).tolist() == [False, False, True, False]


@pytest.mark.parametrize("what", ["libraries", "machine"])
def test_other_libraries_and_machines_make_other_results(monkeypatch, run, what):
    measure = Measure("protocol", (("protocol", "rgb"),), "rgb")
    before = network(run).fingerprint, measure.fingerprint(8)
    measures._fingerprint.cache_clear()
    assert before == (network(run).fingerprint, measure.fingerprint(8))
    for module in (sources, measures):
        monkeypatch.setattr(module, what, lambda *_: "another")
    measures._fingerprint.cache_clear()
    after = network(run).fingerprint, measure.fingerprint(8)
    measures._fingerprint.cache_clear()
    assert not set(before) & set(after)


def test_what_is_known_of_libraries_and_machine(monkeypatch):
    assert f"torch {fingerprints._version('torch')}" in fingerprints.libraries()
    before = fingerprints.machine("cpu")
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    assert fingerprints.machine("cpu") != before


def test_batches_are_part_of_it(run):
    source = network(run)
    assert sources.batched(source, 1) == source
    assert len({sources.batched(source, batch).fingerprint for batch in (1, 2, 16)}) == 3
    folder = sources.Folder("mine", 8)
    assert sources.batched(folder, 16) == folder


def test_files_that_a_metrics_options_name(tmp_path, monkeypatch):
    """By their content, in one process, too, where what was read is kept in memory."""
    monkeypatch.setattr(measures.metrics, "create", lambda name, **options: FakeMetric(**options))
    file = tmp_path / "w.pth"
    monkeypatch.setenv("HOME", str(tmp_path))
    measure, seen = Measure("fake", (("weights", "~/w.pth"),)), []
    for number, text in enumerate(("1.25", "2.50", "1.25")):
        file.write_text(text)
        os.utime(file, (number, number))
        seen.append(measure.fingerprint(8))
        assert measure.create(8).net.weight.item() == float(text)
    assert seen[0] == seen[2] != seen[1]


def test_weights_count_as_they_were_loaded():
    """Such as the heads of LPIPS, which come out of another package's folder."""
    metric = FakeMetric.__new__(FakeMetric)
    metric.net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = fingerprints.loaded_weights(metric)
    assert fingerprints.loaded_weights(metric) == before
    metric.net[1].running_var[1] = 2
    assert fingerprints.loaded_weights(metric) != before
    metric.net = nn.ParameterList([torch.zeros(2), torch.ones(1, dtype=torch.bfloat16)])
    assert fingerprints.loaded_weights(metric) != before


def test_files_that_a_networks_options_name(tmp_path):
    (tmp_path / "a").write_text("1")
    options = {"type": "X", "deep": [{"path": str(tmp_path / "a")}], "number": 3, "none": None, "missing": "b", "empty": ""}
    before = fingerprints.named_files(options)
    assert len(before) == 1
    (tmp_path / "a").write_text("2")
    assert fingerprints.named_files(options) != before


def test_code_of_networks_that_are_not_ours(tmp_path, monkeypatch):
    """A plugin's network is its file as much as its weights."""
    file = tmp_path / "strange_arch.py"

    def digest_with(line: str) -> str:
        file.write_text(f"from torch import nn\nclass Strange(nn.Identity):\n    {line}\n")
        spec = importlib.util.spec_from_file_location("strange_arch", file)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "strange_arch", module)
        spec.loader.exec_module(module)
        return fingerprints.code_of(nn.Sequential(module.Strange()))

    assert digest_with("gain = 1") == digest_with("gain = 1") != digest_with("gain = 22")


def test_provenance_does_not_count(run):
    """What is said of weights changes tables, not results."""
    source = network(run)
    assert replace(source, name="other").fingerprint == source.fingerprint
