"""The examples of CONTRIBUTING.md do what it says. They run in a process of their own: they register names."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import PATIENCE

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"

CHECK = """
import torch, wnet_arch
from collections import namedtuple
exec({network!r})
exec({loss!r})
net = wnet_arch.create_network("TinySR", 4, num_feat=16)
lq = torch.rand(2, 3, 16, 16)
sr = net(lq)
assert sr.shape == (2, 3, 64, 64) and net(lq, return_aux=True)._fields == ("sr",)
from basicsr.archs import build_network
assert type(build_network({{"type": "TinySR", "scale": 4}})) is TinySR
from wnet_arch.losses import build_loss
loss = build_loss({{"type": "TinySRLoss", "map_weight": 0.5}}, 4)
out = namedtuple("Output", "sr parsing")(sr, lq)
terms = loss(out, torch.rand_like(sr), torch.zeros(2, 64, 64, dtype=torch.uint8), None)
assert list(terms) == ["l_pix", "l_map"]
sum(terms.values()).backward()
assert all(p.grad is not None for p in net.parameters())
import numpy as np
exec({metric!r})
black, grey = np.zeros((1, 8, 8, 3), np.uint8), np.full((1, 8, 8, 3), 5, np.uint8)
assert MeanColour().measure(black, grey)["mean_colour"].tolist() == [5.0]
exec({photos!r})
assert [Portraits(Path("."), None, "none").split_of(name) for name in ("camera1_a.png", "camera2_a.png")] == ["train", "test"]
"""


def test_examples_run():
    network, loss, metric, photos = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)
    command = [sys.executable, "-c", CHECK.format(network=network, loss=loss, metric=metric, photos=photos)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr


def test_files_it_names_exist():
    root = GUIDE.parent
    named = re.findall(r"`((?:tests|options|scripts|wnet_arch)/[\w./]+)`", GUIDE.read_text(encoding="utf-8"))
    assert named
    assert [path for path in named if "NAME" not in path and not (root / path).exists()] == []
