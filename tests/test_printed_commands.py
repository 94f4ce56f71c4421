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

#: Commands of the guides that follow the chain, by page and how the line begins, with what makes them small, and what they write.
#: Left to the tests of their rooms: those that need real faces (crops by points), many photos, or another run.
GUIDES = [
    ("data.md", "wnet prepare folder --root photos --labels maps ", [], "datasets/mine/manifest.json"),
    (
        "data.md",
        "wnet prepare celeba --root CelebA --mode II ",
        ["--partial", "--workers", "1"],
        "datasets/celeba_II/val/manifest.json",
    ),
    ("benchmark.md", "wnet report figure bench ", [], "figure.pdf"),
    (
        "benchmark.md",
        "wnet benchmark --networks wnet_lite_x8 W-Net=experiments/wnet_x8 ",
        ["--metrics", "--workers", "1"],
        "maps/table.md",
    ),
    ("export.md", "wnet export wnet_x8 -o wnet_x8.onnx", [], "wnet_x8.onnx"),
    ("export.md", "wnet export experiments/wnet_x8 ", [], "mine_x8.onnx"),
    ("export.md", "wnet restore photos --weights wnet_x8.onnx ", [], ""),
    ("training.md", "wnet sheet -opt options/wnet_x8.yml ", ["--force_yml", *SMALL_NET], "sheet.png"),
    ("training.md", "wnet sheet -opt wnet_lite_x4 ", [], "samples.png"),
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
    for number in (1, 2, 3, 4, 18_001, 18_002, 18_101, 18_102, 201_318, 201_319, 201_418, 201_421, 201_422):
        Image.fromarray(drawn_face(number, 256)[0]).resize((178, 218)).save(photos / f"{number:06d}.jpg", quality=95)
    for name in ("photos", "maps"):
        (folder / name).mkdir()
    for number in range(2):
        photo, labels = drawn_face(number, 128)
        Image.fromarray(photo).save(folder / "photos" / f"{number}.png")
        Image.fromarray(labels).save(folder / "maps" / f"{number}.png")
    Image.fromarray(drawn_face(5, 256)[0]).resize((60, 60)).save(folder / "photos" / "small.png")
    return folder


def run(line: str, extra: list[str], cwd: Path) -> subprocess.CompletedProcess:
    program, *words = shlex.split(line)
    start = [sys.executable, "-m", f"wnet_arch.cli.{program}"]
    return subprocess.run([*start, *words, *extra], cwd=cwd, capture_output=True, text=True)


@pytest.fixture(scope="module")
def chained(folder) -> Path:
    """The folder after README's chain, each command as it is printed."""
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
    return folder


def test_the_chain_of_the_readme_runs_as_it_is_printed(chained):
    folder = chained
    assert (folder / "datasets/celeba/test/manifest.json").is_file()
    run_folder = folder / "experiments" / "wnet_x8"
    assert (run_folder / "models" / "net_g_6.pth").is_file()
    log = "".join(path.read_text() for path in sorted(run_folder.glob("train_*.log")))
    assert "Resuming training from epoch" in log
    assert list((folder / "results").rglob("*.png"))
    table = (folder / "bench" / "table.md").read_text()
    assert all(name in table for name in ("Bicubic", "WNetLite", "W-Net"))


@pytest.mark.parametrize(("page", "begin", "extra", "made"), GUIDES, ids=[begin.strip() for _, begin, _, _ in GUIDES])
def test_the_guides_commands_run_after_it(chained, page, begin, extra, made):
    if ".onnx" in begin or begin.startswith("wnet export"):
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'onnx')")
    if begin.startswith("wnet restore") and not _has_detector():
        pytest.skip("the detector's weights are not here: wnet weights fetch mtcnn")
    found = [line for line in printed(ROOT / "docs" / "guides" / page) if line.startswith(begin)]
    assert found, f"{page} does not print: {begin}"
    result = run(found[0], extra, chained)
    allowed = (0, 3) if begin.startswith("wnet restore") else (0,)  # 3: the detector sees no face in a drawn one
    assert result.returncode in allowed, f"{found[0]}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    assert (chained / made).exists()


def _has_detector() -> bool:
    try:
        weights.resolve("mtcnn", download=False)
    except WeightsError:
        return False
    return True
