"""What a user is told to install exists, and what is built holds what it should."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from wnet_arch import __version__, install_basicsr
from wnet_arch.errors import install_extra

ROOT = Path(__file__).parents[1]
EXTRAS = ("landmarks", "fan", "report", "onnx", "demo")


def test_no_message_or_page_names_a_package_that_is_on_no_index():
    """The package is not published: ``pip install wnet-fsr`` in any form would bring nothing, or somebody else's."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "wnet_arch").rglob("*.py"), *(ROOT / "scripts").glob("*")]
    dead = re.compile(r"pip install [^\n]*\bwnet[-_]fsr\b(?![^\n]*\.whl)")
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
    """An sdist and a wheel of this clone, by setuptools itself."""
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
    for step in ("build_sdist", "build_wheel"):
        code = f"import sys; from setuptools import build_meta; build_meta.{step}(sys.argv[1])"
        run = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=clone, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    return folder


def test_the_wheel_holds_options_splits_weights_and_cards(archives):
    with zipfile.ZipFile(next(archives.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    package = ROOT / "wnet_arch"
    wanted = [
        *package.rglob("*.py"), *package.rglob("*.yml"), *(package / "weights").glob("*.*"), *package.rglob("celeba_*.txt"),
        package / "options" / "runs" / "schema.json", package / "demo" / "page.css", *(package / "benchmark").glob("report.*"),
    ]  # fmt: skip
    assert sorted(str(path.relative_to(ROOT)) for path in wanted if str(path.relative_to(ROOT)) not in names) == []
    assert not any(name.startswith(("tests/", "scripts/", "options/")) for name in names)


def test_the_source_archive_holds_what_its_tests_need(archives):
    with tarfile.open(next(archives.glob("*.tar.gz"))) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    places = ("tests/*.py", "scripts/*.*", "docs/*", "options/*.yml", "*.md", "datasets/*.*", "setup.py")
    wanted = [path for place in places for path in ROOT.glob(place)]
    assert sorted(str(path.relative_to(ROOT)) for path in wanted if str(path.relative_to(ROOT)) not in names) == []
