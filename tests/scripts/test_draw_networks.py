"""The diagrams of networks: what is recorded is what the network has and does, nothing overlaps, and docs/ shows today's."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch import nn

from tests.conftest import SCRIPTS, load_script
from wnet_arch import create_network
from wnet_arch.archs.wnet_arch import WNet, WNetTrunk
from wnet_arch.archs.wnet_blocks import LPF
from wnet_arch.archs.wnet_lite_arch import WNetLite
from wnet_arch.errors import NetworkError

ROOT = SCRIPTS.parent
PAGE = ROOT / "docs" / "reference" / "networks.md"
COMMANDS = re.findall(r"^    python (scripts/pictures/draw_networks\.py .*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
#: Networks of other sizes than those drawn in docs/.
OTHERS = [
    ("WNet", 4, {"peak": 2, "num_feat": 8}),
    ("WNet", 8, {"peak": 1, "num_feat": 8, "encoder_order": "fuse_first", "skip": False}),
    ("WNet", 4, {"peak": 1, "num_feat": 16, "lpf": False, "parsing_block": False, "scab": False, "global_residual": False}),
    ("WNetLite", 4, {"num_feat": 16, "position": True}),
    ("WNetLite", 8, {"num_feat": 32, "depths": [1, 0, 2, 1], "parsing": False}),
    ("SPARNet", 8, {}),
    ("FSRNet", 4, {}),
]


@pytest.fixture(scope="module")
def script():
    return load_script("pictures/draw_networks")


@pytest.fixture(scope="module")
def recorder(script):
    return sys.modules["network_record"]


@pytest.fixture(scope="module")
def planner(script):
    return sys.modules["network_plan"]


def shapes_by_hooks(net: nn.Module, names: list[str]) -> dict[str, tuple]:
    """What modules give on a real face."""
    found = {}
    for name in names:
        net.get_submodule(name).register_forward_hook(
            lambda module, args, out, name=name: found.update({name: tuple(out.shape[1:])})
        )
    net.eval()(torch.rand(1, 3, 128 // net.scale, 128 // net.scale))
    return found


@pytest.mark.parametrize(("name", "scale", "options"), OTHERS)
def test_the_record_is_the_network(recorder, name, scale, options):
    found = recorder.record(name, scale, **options)
    net = create_network(name, scale, **options)
    blocks = {node.name: node for node in found.nodes if node.kind == "block"}
    assert {name: node.shape for name, node in blocks.items()} == shapes_by_hooks(net, list(blocks))
    assert sum(node.parameters for node in found.nodes) == sum(p.numel() for p in net.parameters()) == found.parameters
    for node in blocks.values():
        assert node.parameters == sum(p.numel() for p in net.get_submodule(node.name).parameters())
        assert [source.shape for source in node.inputs] == node.shapes
    lr = found.nodes[0]
    assert (lr.kind, lr.shape) == ("input", (3, 128 // scale, 128 // scale))
    assert [node.shape for node in found.nodes if "sr" in node.outputs] == [(3, 128, 128)]


def test_what_feeds_what_in_wnet(recorder):
    nodes = recorder.record("WNet", 8, peak=1, num_feat=8).nodes
    by_name = {node.name: node for node in nodes if node.kind == "block"}
    fed = {name: [source.label for source in node.inputs] for name, node in by_name.items()}
    assert fed["trunk.parsing"] == ["Bicubic ×8"]
    assert fed["trunk.pyramid.0"] == ["Concatenate"]
    assert fed["trunk.pyramid_fusions.0"] == ["Conv 3×3", "Parsing Block"]
    assert [fed[f"trunk.encoder_fusions.{level}"] for level in range(4)] == [["2 × SCAB", "Nearest"]] * 4
    maps = [by_name[f"trunk.encoder_fusions.{level}"].inputs[1] for level in range(4)]
    assert [(node.shape, node.inputs) for node in maps] == [
        ((3, side, side), [by_name["trunk.parsing"]]) for side in (64, 32, 16, 8)
    ]
    skips = [by_name[f"trunk.decoder_blocks.{level}"].inputs[0].inputs for level in range(4)]
    encoder = [by_name[f"trunk.encoder_fusions.{level}"] for level in (2, 1, 0)]
    assert [inputs[1] for inputs in skips] == [*encoder, by_name["trunk.pyramid_fusions.0"]]
    assert [node.name for node in by_name["trunk.parsing"].inputs] == ["enlarge"]


class DeeperTrunk(WNetTrunk):
    """W-Net's trunk with a block more before its last convolution."""

    extra: nn.Module
    takes_part = True

    def _through_pyramid(self, features, parsing):
        features = super()._through_pyramid(features, parsing)
        return self.extra(features) if self.takes_part else features


def deeper(extra: nn.Module, takes_part: bool) -> WNet:
    with torch.device("meta"):
        net = WNet(8, num_feat=8, peak=1)
        net.trunk.__class__ = DeeperTrunk
        net.trunk.extra = extra.to("meta")
    net.trunk.takes_part = takes_part
    return net


def test_a_block_that_is_added_appears_and_one_that_does_nothing_is_refused(recorder):
    nodes = recorder.nodes_of(deeper(nn.Conv2d(8, 8, 5, padding=2), True))
    added = next(node for node in nodes if node.name == "trunk.extra")
    assert (added.label, added.shape, added.parameters) == ("Conv 5×5", (8, 128, 128), 8 * 8 * 25 + 8)
    assert added.inputs[0].label == "LPF"
    assert next(node for node in nodes if node.name == "trunk.encoder_downs.0").inputs == [added]
    with pytest.raises(
        NetworkError, match=r"^WNet x8: trunk\.extra\.weight and 1 other \(1,608 parameters\) not used in the forward"
    ):
        recorder.nodes_of(deeper(nn.Conv2d(8, 8, 5, padding=2), False))


def test_what_comes_from_where_nothing_is_seen_is_refused(recorder, monkeypatch):
    monkeypatch.setattr(WNetTrunk, "_map_of_size", lambda self, parsing, features: torch.zeros_like(features, device="meta")[:, :3])
    assert recorder.record("WNet", 8, peak=1, num_feat=8).parameters  # made of the features, which are known
    monkeypatch.setattr(WNetTrunk, "_map_of_size", lambda self, parsing, features: torch.zeros(1, 3, 128, 128, device="meta"))
    with pytest.raises(NetworkError, match=r"^WNet x8: what feeds trunk\.pyramid_fusions\.0 was not seen"):
        recorder.record("WNet", 8, peak=1, num_feat=8)


def test_functions_between_blocks_are_seen(recorder, monkeypatch):
    monkeypatch.setattr(LPF, "forward", lambda self, features, parsing: features)  # of a block nothing is shown but the block
    fold = next(node for node in recorder.record("WNetLite", 4, num_feat=16).nodes if node.name == "pixel_unshuffle")
    assert (fold.shape, [source.label for source in fold.inputs]) == ((12, 16, 16), ["− 0.5"])
    monkeypatch.setattr(WNetLite, "super_resolve", lambda self, lq: self.trunk(lq, torch.relu(lq.repeat(1, 1, 8, 8))))
    labels = [node.label for node in recorder.record("WNetLite", 8, num_feat=16).nodes]
    assert labels[:4] == ["LR face", "repeat", "relu", "− 0.5"]


@pytest.mark.parametrize(("name", "scale", "options"), [*OTHERS, ("WNet", 8, {"num_feat": 8})])
def test_nothing_overlaps(planner, recorder, name, scale, options):
    plan = planner.Diagram(recorder.record(name, scale, **options))
    areas = [(box.x, box.y, box.x + plan.width, box.y + box.height) for box in plan.boxes]
    for number, (left, top, right, bottom) in enumerate(areas):
        assert left > 0
        assert right < plan.total
        assert bottom < plan.height
        assert not any(left < r and l < right and top < b and t < bottom for l, t, r, b in areas[:number])  # noqa: E741
    for box in plan.boxes:
        for node, words in box.lines:
            assert planner.width_of(words, 12) + planner.width_of(planner.short(node), 10.5) <= plan.width - 9
    ways = [list(itertools.pairwise(points)) for points in map(plan.path, plan.edges)]
    for pieces in ways:
        for (x1, y1), (x2, y2) in pieces:
            assert x1 == x2 or y1 == y2
            (a, b), (c, d) = sorted((x1, x2)), sorted((y1, y2))
            assert not any(a < right and left < b and c < bottom and top < d for left, top, right, bottom in areas)
            inside = [(left, top) for left, top, right, bottom in areas if left < a and b < right and c < bottom and top < d]
            assert inside == []
    drawn = {(edge.source, edge.target) for edge in plan.edges}
    stacked = {pair for box in plan.boxes for pair in itertools.pairwise(box.nodes)}
    assert drawn | stacked >= {(source, node) for node in plan.record.nodes for source in node.inputs}


def test_edges_of_different_sources_share_no_way(planner, recorder):
    plan = planner.Diagram(recorder.record("WNet", 8, num_feat=8))
    taken = [
        (edge.key, *sorted((start, end)))
        for edge in plan.edges
        for points in [plan.path(edge)]
        for start, end in itertools.pairwise(points)
        if start[0] == end[0]
    ]
    for key, (x, top), (_, bottom) in taken:
        others = [o for o, (a, high), (_, low) in taken if o != key and a == x and high < bottom and top < low]
        assert others == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.rpartition("/")[2])
def test_docs_show_what_the_script_draws(script, command, tmp_path, monkeypatch):
    words = shlex.split(command)
    shown = ROOT / words[-1]
    assert f"](../pictures/{shown.name})" in PAGE.read_text(encoding="utf-8")
    out = tmp_path / shown.name
    monkeypatch.setattr(sys, "argv", [*words[:-1], str(out)])
    assert script.main() == 0
    assert out.read_bytes() == shown.read_bytes()
    ElementTree.parse(out)


def test_the_docs_name_the_three_networks():
    assert [Path(command.split()[-1]).stem for command in COMMANDS] == ["wnet_x8", "wnet_peak1_x8", "wnet_lite_x8"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["WNett", "-o", "x.svg"], "draw_networks: no network is called 'WNett'; did you mean 'WNet'"),
        (["WNet", "-o", "x.png"], "draw_networks: -o: x.png is not the name of an .svg file"),
        (["SFMNet", "-o", "x.svg"], "draw_networks: SFMNet x8: fft_rfft2 gives (1, 64, 64, 33), which is no square image; it"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(script, arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["draw_networks.py", *arguments])
    assert script.main() == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(said)
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []
