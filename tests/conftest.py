"""Small sets and files that several tests use. Images are made here: smooth colour fields with a drawn face and its map."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from wnet_arch.data.face_lmdb import LANDMARKS, encode_landmarks, encode_png, reduce_bicubic
from wnet_arch.faces import labels
from wnet_arch.prepare.face_lmdb_writer import FaceLMDBWriter
from wnet_arch.prepare.face_maker import shapes

#: Seconds after which a command hangs, however busy the machine is: ends a test run that would never end, and nothing else.
PATIENCE = 3600
#: Tests with damaged and random input try so many times as much (WNET_FUZZ=50), and other damage (WNET_FUZZ_SEED=7).
FUZZ, FUZZ_SEED = int(os.environ.get("WNET_FUZZ", "1")), int(os.environ.get("WNET_FUZZ_SEED", "20260101"))
SCRIPTS = Path(__file__).parents[1] / "scripts"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def drawn_face(seed: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A face-like picture and its map: RGB uint8 (size, size, 3), classes uint8 (size, size). Left is not right."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]

    def disc(cx, cy, rx, ry):
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1

    shift = rng.uniform(-0.05, 0.05)
    parsing = np.zeros((size, size), np.uint8)
    parsing[disc(0.5 + shift, 0.5, 0.35, 0.45)] = labels.SKIN
    for value, cx, cy, rx, ry in (
        (labels.R_EYE, 0.36, 0.42, 0.09, 0.06),
        (labels.L_EYE, 0.64, 0.42, 0.07, 0.06),
        (labels.R_BROW, 0.36, 0.3, 0.1, 0.04),
        (labels.L_BROW, 0.64, 0.3, 0.1, 0.04),
        (labels.NOSE, 0.5, 0.55, 0.06, 0.1),
        (labels.MOUTH, 0.5, 0.75, 0.12, 0.05),
    ):
        parsing[disc(cx + shift, cy, rx, ry)] = value
    colours = rng.integers(30, 226, (256, 3))
    image = colours[parsing] + 20 * np.sin(9 * x + 5 * y)[..., None] + rng.normal(0, 2, (size, size, 3))
    return image.clip(0, 255).astype(np.uint8), parsing


def drawn_points(seed: int, size: int = 64) -> np.ndarray | None:
    """Landmarks for a drawn face, (68, 2) float32, anywhere in it; every third face has none."""
    return None if seed % 3 == 2 else np.random.default_rng(seed).uniform(0, size - 1, (68, 2)).astype(np.float32)


def write_set(
    path: Path, count: int, size: int = 64, scales: tuple[int, ...] = (4, 8), seed: int = 0, landmarks: bool = False
) -> Path:
    """Writes a face set of drawn faces as ``wnet prepare`` would."""
    with FaceLMDBWriter(path, {}, shapes(size, scales, landmarks)) as writer:
        for index in range(count):
            gt, parsing = drawn_face(seed + index, size)
            images = {"gt": gt, "parsing": parsing, **{f"lq_x{scale}": reduce_bicubic(gt, scale) for scale in scales}}
            files = {name: encode_png(image) for name, image in images.items()}
            if landmarks:
                files[LANDMARKS] = encode_landmarks(drawn_points(seed + index, size))
            key = f"face{index:03d}"
            writer.add({"file": key, "key": key}, images=files)
        writer.finish({"": {"scales": list(scales), "size": size}})
    return path


def write_folders(path: Path, count: int, size: int = 64) -> Path:
    """Writes drawn faces as plain folders ``gt`` and ``labels``."""
    for folder in ("gt", "labels"):
        (path / folder).mkdir(parents=True)
    for index in range(count):
        gt, parsing = drawn_face(index, size)
        Image.fromarray(gt).save(path / "gt" / f"face{index:03d}.png")
        Image.fromarray(parsing).save(path / "labels" / f"face{index:03d}.png")
    return path


def load_script(name: str) -> ModuleType:
    """A script, by its path in scripts/ without suffix, as a module made anew; those that it imports beside it stay imported."""
    path = SCRIPTS / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)
        patch.setitem(sys.modules, path.stem, module)  # dataclasses look there
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def face_set(tmp_path_factory) -> Path:
    """A set of six drawn faces, 64x64, x4 and x8."""
    return write_set(tmp_path_factory.mktemp("sets") / "faces", count=6)


@pytest.fixture
def own_face_set(tmp_path) -> Path:
    """The same for one test alone. The framework opens an LMDB itself, and a process does so once: no earlier test may hold it."""
    return write_set(tmp_path / "own_faces", count=6)


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory) -> str:
    """A file with the layout of torchvision's VGG-19, random weights: for tests of the loss's arithmetic only."""
    import torch

    from wnet_arch.losses.vgg import CONVOLUTIONS_PER_STAGE

    generator = torch.Generator().manual_seed(0)
    state, in_channels, index = {}, 3, 0
    for stage, count in enumerate(CONVOLUTIONS_PER_STAGE):
        out_channels = min(64 * 2**stage, 512)
        for _ in range(count):
            std = (2 / (9 * in_channels)) ** 0.5
            state[f"features.{index}.weight"] = torch.randn(out_channels, in_channels, 3, 3, generator=generator) * std
            state[f"features.{index}.bias"] = torch.zeros(out_channels)
            in_channels, index = out_channels, index + 2
        index += 1
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(state, path)
    return str(path)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, driven by Playwright; where one of them is missing, its tests skip and say which."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser is installed ({', '.join(BROWSERS)})")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


#: The project of the weights of W-Net's rivals; a source archive comes without.
BASELINES = Path(__file__).parents[1] / "baselines"


def announce(site: Path, module: str, distribution: str, version: str = "1.0") -> Path:
    """Writes what pip would of an installed distribution whose package ``module`` brings weights; returns that folder."""
    folder = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(f"[wnet_arch.weights]\nthese = {module}\n")
    return folder


#: Python code, for the beginning of a program that shall run as if no package that brings weights were installed.
HIDE_PACKAGES = """
from importlib import metadata
everything = metadata.distributions
metadata.distributions = lambda **known: (
    one for one in everything(**known) if "wnet_arch.weights" not in (one.read_text("entry_points.txt") or "")
)
"""


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A folder, on Python's path, of the only installed packages that bring weights. The cache is empty."""
    from wnet_arch.weights import packages

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(packages, "announced", lambda: packages._announced.__wrapped__((str(folder),)))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("WNET_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def baselines(site, monkeypatch) -> Path:
    """The weights of W-Net's rivals, as if they alone were installed."""
    if not BASELINES.is_dir():
        pytest.skip("this is no clone: it has no baselines/")
    announce(site, "wnet_fsr_zoo", "wnet-fsr-zoo", "0.1.0")
    monkeypatch.syspath_prepend(BASELINES)
    return BASELINES / "wnet_fsr_zoo"
