"""What a user is told to install exists, and what is built holds what it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import HIDE_PACKAGES
from wnet_arch import __version__, install_basicsr
from wnet_arch.errors import install_extra
from wnet_arch.weights import entries
from wnet_arch.weights.hashing import sha256_file

ROOT = Path(__file__).parents[1]
EXTRAS = ("landmarks", "fan", "report", "onnx", "demo")


def test_no_message_or_page_names_a_package_that_is_on_no_index():
    """The package is not published: ``pip install wnet-fsr`` in any form would bring nothing, or somebody else's."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("wnet_arch/**/*.py"), *ROOT.glob("scripts/**/*.*")]
    files += [*ROOT.glob("baselines/*.*"), *ROOT.glob("baselines/*/*.md"), *ROOT.glob("wnet_arch/*/*.toml")]
    dead = re.compile(r"pip install [^\n]*\bwnet[-_]fsr(?:\b|_)(?![^\n]*\.whl)")
    assert all(dead.search(f"pip install {what}") for what in ("wnet-fsr", "wnet_fsr_zoo", "-U wnet-fsr-zoo"))
    assert not any(dead.search(f"pip install {what}") for what in ("./baselines", "wnet_fsr_zoo-1-py3-none-any.whl"))
    assert [(file.name, line) for file in files if file.is_file() for line in dead.findall(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_is_named_by_what_it_brings(extra):
    command = install_extra(extra)
    requirements = re.findall(r"'([^']+)'", command)
    assert command.startswith("pip install '")
    assert requirements
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+>=[\d.]+", requirement) for requirement in requirements)


def test_an_unknown_extra_is_that_of_the_folder():
    assert "-e '.[nothing]'" in install_extra("nothing")


def test_the_version_stands_in_one_place():
    assert metadata.version("wnet-fsr") == __version__


def test_the_build_of_the_framework_says_what_it_lacks(monkeypatch, capsys):
    monkeypatch.setattr(install_basicsr, "find_spec", lambda name: None if name in ("torch", "Cython") else object())
    assert install_basicsr.main([]) == 2
    assert capsys.readouterr().err.endswith("run `pip install torch cython` first\n")


def test_exec_writes_to_the_names_of_its_caller_as_it_did_until_python_312(tmp_path):
    """What BasicSR's setup.py does, in a process that starts as those of its build."""
    (tmp_path / "sitecustomize.py").write_text(install_basicsr.SITECUSTOMIZE)
    code = (
        "def version():\n    exec(compile('__version__ = \"1.2\"', 'file', 'exec'))\n    return locals()['__version__']\n"
        "space = {}\nexec('a = 1', globals=space)\nexec('b = 2')\nprint(version(), space['a'], b)"
    )
    environment = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.stdout == "1.2 1 2\n", run.stderr


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    """Sdists and wheels of this clone and its second package, by setuptools itself."""
    if not (ROOT / "pyproject.toml").exists():
        pytest.skip("this is an installed package, not a clone")
    folder = tmp_path_factory.mktemp("dist")
    clone = folder / "clone"
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    if not files:
        pytest.skip("this is no git checkout, and what belongs to it cannot be told from what lies in it")
    for name in files:
        target = clone / name
        if not (ROOT / name).exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        else:
            target.write_bytes((ROOT / name).read_bytes())
    projects = [clone, clone / "baselines"]
    for project, step in ((project, step) for project in projects for step in ("build_sdist", "build_wheel")):
        if not project.is_dir():
            continue
        code = f"import sys; from setuptools import build_meta; build_meta.{step}(sys.argv[1])"
        run = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=project, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert "Package would be ignored" not in run.stdout + run.stderr
    return folder


def contents(archives: Path, wheel: str) -> dict[str, bytes]:
    """Files of a wheel by name; of those of its metadata, the last part of the path."""
    with zipfile.ZipFile(next(archives.glob(wheel))) as archive:
        return {re.sub(r"^[^/]+\.dist-info/", "", name): archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def unpacked(archives, tmp_path_factory) -> list[Path]:
    """Folders as pip would fill them from the two wheels."""
    if not (ROOT / "baselines").is_dir():
        pytest.skip("this is no clone: it has no baselines/")
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    for folder, name in zip(folders, ("wnet_fsr-", "wnet_fsr_zoo-")):
        with zipfile.ZipFile(next(archives.glob(f"{name}*.whl"))) as wheel:
            wheel.extractall(folder)
    return folders


def test_the_wheels_hold_every_weights_file_once_and_stay_small(archives, unpacked):
    first, second = (sorted(path.name for path in folder.rglob("*.safetensors")) for folder in unpacked)
    tracked = subprocess.run(["git", "ls-files", "*.safetensors"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert sorted(first + second) == sorted(Path(name).name for name in tracked)
    assert "face_parser.safetensors" in first
    assert {"wnet_x4.safetensors", "wnet_x8.safetensors"} < set(first)  # what `wnet restore` takes by itself
    assert all(name.startswith(("wnet_", "face_parser")) for name in first)
    for folder in unpacked:
        manifest = entries.load(next(folder.rglob("manifest.toml")))
        files = [entry.shipped for entry in manifest.files.values() if entry.shipped]
        assert [file.name for file in files if sha256_file(file) != manifest.files[file_name(manifest, file)].sha256] == []
        assert all(file.with_suffix(".md").is_file() for file in files)
    assert next(archives.glob("wnet_fsr-*.whl")).stat().st_size < 60e6
    wheel = contents(archives, "wnet_fsr_zoo-*.whl")
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE", "licenses/LICENSE-WEIGHTS.md"} < set(wheel)
    assert wheel["licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    said = wheel["METADATA"].decode()
    assert "License-Expression: Apache-2.0 AND LicenseRef-non-commercial-research\n" in said
    assert "\nRequires-Dist: " not in said
    assert next(archives.glob("wnet_fsr_zoo-*.whl")).name == entries.load(entries.MANIFEST).elsewhere[0].wheel


def file_name(manifest: entries.Manifest, file: Path) -> str:
    return next(name for name, entry in manifest.files.items() if entry.shipped == file)


#: Tells where the package is, and the seed of a rival's weights; or ends with what is wrong.
LOAD = """
import sys, wnet_arch
print(wnet_arch.__file__)
try:
    print(wnet_arch.load_pretrained("sparnet_x8").provenance.seed)
except wnet_arch.errors.WeightsError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("both", [False, True])
def test_what_is_installed_from_the_wheels_finds_each_other(unpacked, tmp_path, both):
    folders = [str(folder) for folder in (unpacked if both else unpacked[:1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    words = [sys.executable, "-c", LOAD if both else HIDE_PACKAGES + LOAD]
    run = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    where, *seed = run.stdout.splitlines()
    assert where.startswith(folders[0])
    if both:
        assert seed == ["0"], run.stderr
    else:
        line = f"run `pip install {entries.load(entries.MANIFEST).elsewhere[0].wheel}`"
        assert run.stderr == f"sparnet_x8: shipped in the package wnet-fsr-zoo, which is not installed: {line}\n"


def test_the_wheel_holds_options_splits_weights_and_cards(archives):
    names = set(contents(archives, "wnet_fsr-*.whl"))
    package = ROOT / "wnet_arch"
    wanted = [
        *package.rglob("*.py"), *package.rglob("*.yml"), *(package / "weights").glob("*.*"), *package.rglob("celeba_*.txt"),
        package / "options" / "runs" / "schema.json", package / "demo" / "page.css", *(package / "benchmark").glob("report.*"),
        package / "py.typed",
    ]  # fmt: skip
    assert sorted(str(path.relative_to(ROOT)) for path in wanted if str(path.relative_to(ROOT)) not in names) == []
    assert not any(name.startswith(("tests/", "scripts/", "options/")) for name in names)


def test_the_source_archive_holds_what_its_tests_need(archives):
    with tarfile.open(next(archives.glob("wnet_fsr-*.tar.gz"))) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    places = ("tests/**/*.py", "scripts/**/*.*", "docs/**/*.*", "options/*.yml", "*.md", "datasets/*.*", "setup.py")
    wanted = [path for place in places for path in ROOT.glob(place)]
    assert sorted(str(path.relative_to(ROOT)) for path in wanted if str(path.relative_to(ROOT)) not in names) == []
