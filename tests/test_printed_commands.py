"""Commands that the pages print: the chain from photos to restored ones is run as it is printed, all others are parsed."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import drawn_face
from wnet_arch import weights
from wnet_arch.cli import basicsr, wnet
from wnet_arch.errors import WeightsError

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "datasets" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: The chain in README.md, each by how its line begins, and what makes it small; nothing else is changed.
SMALL_NET = ["network_g:num_feat=8", "network_g:peak=1"]
SMALL_RUN = [
    *SMALL_NET, "train:wnet_opt:vgg=null", "datasets:train:num_worker_per_gpu=0", "datasets:train:batch_size_per_gpu=2",
    "val:val_freq=2", "logger:save_checkpoint_freq=2", "num_gpu=0",
]  # fmt: skip
CHAIN = [
    ("wnet prepare celeba --root CelebA --mode I ", ["--partial", "--workers", "1"]),
    ("wnet validate options/wnet_x8.yml", ["--force_yml", "train:wnet_opt:vgg=null", "num_gpu=0"]),
    ("basicsr train -opt options/wnet_x8.yml", ["--force_yml", *SMALL_RUN, "train:total_iter=4"]),
    ("basicsr train -opt options/wnet_x8.yml --auto_resume", ["--force_yml", *SMALL_RUN, "train:total_iter=6"]),
    ("basicsr test -opt options/test_wnet_x8.yml", ["--force_yml", *SMALL_NET, "num_gpu=0"]),
    ("wnet benchmark --networks Bicubic wnet_lite_x8 W-Net=experiments/wnet_x8 ", ["--metrics", "--workers", "1"]),
    ("wnet restore photos --weights experiments/wnet_x8 ", []),
]

#: Kinds of commands that are neither run nor parsed here, and why. Each must still be printed somewhere.
NOT_RUN = {
    "bash scripts/": "installs, trains or fetches for minutes: run by hand before a release, CONTRIBUTING.md",
    "python scripts/": "scripts have tests of their own at small size",
    ".venv/bin/python scripts/": "scripts have tests of their own at small size",
    "python3 -m venv": "installation",
    "pip install": "installation",
    "pip download": "fetches wheels for another machine",
    "python wnet_arch/install_basicsr.py": "installation: its parts in tests/test_packaging.py",
    "python -m wnet_arch.install_basicsr": "the same",
    "docker": "no container engine is at hand",
    "torchrun": "several processes: tests/training/test_distributed.py",
    "srun": "Slurm is nowhere at hand",
}


def printed(page: Path) -> list[str]:
    """Commands in the indented blocks of a page, continued lines joined, without comments."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).replace("\\\n", " ")
    lines = re.findall(r"^ {4}(\S.*)$", text, flags=re.MULTILINE)
    return [re.sub(r"\s+#\s.*$", "", line).strip() for line in lines]


def commands(*programs: str) -> list[tuple[str, str]]:
    """(page, command) of the commands of some programs."""
    return [(page.name, line) for page in PAGES for line in printed(page) if line.split()[:1] and line.split()[0] in programs]


@pytest.mark.parametrize(("page", "line"), commands("wnet", "basicsr"))
def test_a_printed_command_has_the_options_that_it_names(page, line, capsys):
    if set(line) & set("|><") or "..." in line:
        line = re.split(r"[|><]|\.\.\.", line)[0]
    program, *words = shlex.split(line)
    parser = wnet.build_parser() if program == "wnet" else basicsr.build_parser()
    try:
        parser.parse_args(words)
    except SystemExit as end:
        pytest.fail(f"{page} prints a command that ends at once (code {end.code}): {line}\n{capsys.readouterr().err}")


def test_what_is_not_run_is_listed_with_its_reason():
    lines = [line for page in PAGES for line in printed(page)]
    known = ("wnet ", "basicsr ", *NOT_RUN)
    looks_like_one = re.compile(r"^(\.venv/bin/|python|pip|bash|torchrun|srun|tensorboard|docker|twine)\b")
    assert [line for line in lines if looks_like_one.match(line) and not line.startswith(known)] == []
    assert [begin for begin in NOT_RUN if not any(line.startswith(begin) for line in lines)] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An empty folder with a stand-in for CelebA, in its layout, and a photo."""
    folder = tmp_path_factory.mktemp("chain")
    photos = folder / "CelebA" / "Img" / "img_align_celeba"
    photos.mkdir(parents=True)
    for number in (1, 2, 3, 4, 201_318, 201_319, 201_418, 201_421):
        Image.fromarray(drawn_face(number, 256)[0]).resize((178, 218)).save(photos / f"{number:06d}.jpg", quality=95)
    (folder / "photos").mkdir()
    Image.fromarray(drawn_face(5, 256)[0]).resize((60, 60)).save(folder / "photos" / "small.png")
    return folder


def run(line: str, extra: list[str], cwd: Path) -> subprocess.CompletedProcess:
    program, *words = shlex.split(line)
    start = [sys.executable, "-m", f"wnet_arch.cli.{program}"]
    return subprocess.run([*start, *words, *extra], cwd=cwd, capture_output=True, text=True)


def test_the_chain_of_the_readme_runs_as_it_is_printed(folder):
    lines = printed(ROOT / "README.md")
    results = {}
    for begin, extra in CHAIN:
        exact = [line for line in lines if line == begin] or [line for line in lines if line.startswith(begin)]
        assert exact, f"README.md does not print: {begin}"
        if begin.startswith("wnet restore") and not _has_detector():
            continue
        result = results[begin] = run(exact[0], extra, folder)
        allowed = (0, 3) if begin.startswith("wnet restore") else (0,)  # 3: the detector sees no face in a drawn one
        assert result.returncode in allowed, f"{exact[0]}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    assert (folder / "datasets/celeba/test/manifest.json").is_file()
    run_folder = folder / "experiments" / "wnet_x8"
    assert (run_folder / "models" / "net_g_6.pth").is_file()
    log = "".join(path.read_text() for path in sorted(run_folder.glob("train_*.log")))
    assert "Resuming training from epoch" in log
    assert list((folder / "results").rglob("*.png"))
    table = (folder / "bench" / "table.md").read_text()
    assert all(name in table for name in ("Bicubic", "WNetLite", "W-Net"))


def _has_detector() -> bool:
    try:
        weights.resolve("mtcnn", download=False)
    except WeightsError:
        return False
    return True
