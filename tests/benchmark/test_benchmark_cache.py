"""The benchmark's cache when something else has been at it: damage, links, files that are none of ours."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest

from tests.benchmark.test_benchmark import go, train_nothing
from tests.conftest import write_set
from wnet_arch.benchmark import cache as cache_module
from wnet_arch.benchmark.cache import FILE, Cache
from wnet_arch.errors import WNetError


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run: set, weights, values, the bytes of its cache."""
    folder = tmp_path_factory.mktemp("done")
    faces, weights = write_set(folder / "faces", 6), train_nothing(folder, "net")
    results, _ = go(folder / "out", ["Bicubic", weights], [faces])
    return faces, weights, results.values, (folder / "out" / FILE).read_bytes()


def again(out: Path, done):
    faces, weights, values, _ = done
    results, run = go(out, ["Bicubic", weights], [faces])
    assert {place: table.tolist() for place, table in results.values.items()} == {p: t.tolist() for p, t in values.items()}
    return run


def changed(path: Path, statement: str, *values) -> None:
    with sqlite3.connect(path) as database:
        database.execute(statement, values)
    database.close()


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-5000]),
    "a page of zeros": lambda path: overwrite(path, 4096, bytes(4096)),
    "its beginning": lambda path: overwrite(path, 0, b"no database at all"),
    "text": lambda path: path.write_text("nothing\n" * 999),
    "an image": lambda path: changed(path, "UPDATE sr SET png = zeroblob(length(png))"),
    "an image of another face": lambda path: changed(path, "UPDATE sr SET png = (SELECT max(png) FROM sr)"),
    "a value": lambda path: changed(path, "UPDATE value SET value = value + 1 WHERE name = 'psnr'"),
    "a value that is text": lambda path: changed(path, "UPDATE value SET value = 'high'"),
    "a hash": lambda path: changed(path, "UPDATE sr SET digest = (SELECT max(digest) FROM sr)"),
    "a table": lambda path: changed(path, "DROP TABLE value"),
    "a column": lambda path: changed(path, "ALTER TABLE drawn RENAME COLUMN what TO that"),
    "another program's": lambda path: changed(path, "PRAGMA user_version = 0"),
    "another version's": lambda path: changed(path, "PRAGMA user_version = 99"),
}


def overwrite(path: Path, at: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_cache_is_set_aside_and_the_run_goes_on(tmp_path, done, capsys, what):
    path = tmp_path / FILE
    path.write_bytes(done[3])
    DAMAGE[what](path)
    before = path.read_bytes()
    run = again(tmp_path, done)
    said = [line for line in capsys.readouterr().err.splitlines() if FILE in line]
    reason = "was not written by this version of the package" if "another" in what and "'s" in what else "is damaged"
    assert said == [f"{path} {reason}: it is now {path}.bad, and everything is computed again"]
    assert (run.computed, run.reused) == (12, 0)
    assert Path(f"{path}.bad").read_bytes() == before
    assert again(tmp_path, done).computed == 0


def test_any_changed_byte_gives_the_same_numbers(tmp_path, done):
    """Whatever is damaged: values are those of the undamaged cache, taken from it or computed anew."""
    rng = np.random.default_rng(0)
    for _ in range(12):
        content = bytearray(done[3])
        for at in rng.integers(0, len(content), 4):
            content[at] ^= 1 << rng.integers(8)
        (tmp_path / FILE).write_bytes(content)
        again(tmp_path, done)


def test_a_journal_goes_with_its_cache(tmp_path, done):
    """It would be played back into the new one."""
    (tmp_path / FILE).write_text("nothing")
    (tmp_path / f"{FILE}-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(600))
    assert again(tmp_path, done).computed == 12
    assert not (tmp_path / f"{FILE}-journal").exists()


@pytest.mark.parametrize("name", [FILE, f"{FILE}-journal", f"{FILE}-wal"])
@pytest.mark.parametrize("there", [True, False])
def test_links_are_not_followed(tmp_path, done, name, there):
    target, out = tmp_path / "precious", tmp_path / "out"
    out.mkdir()
    if there:
        target.write_bytes(done[3])
    (out / name).symlink_to(target)
    with pytest.raises(WNetError, match=rf"{name} is a link, which is not followed: remove it"):
        again(out, done)
    assert not there or target.read_bytes() == done[3]
    assert target.exists() == there
    (out / name).unlink()
    os.mkfifo(out / name)
    with pytest.raises(WNetError, match=f"{name} is no file"):
        Cache(out)


def test_setting_aside_does_not_write_through_a_link(tmp_path, done):
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / f"{FILE}.bad").symlink_to(target)
    (tmp_path / FILE).write_text("nothing")
    again(tmp_path, done)
    assert target.read_text() == "mine"


def test_a_link_to_the_folder_itself_is_the_users_choice(tmp_path, done):
    (tmp_path / "large").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "large")
    again(tmp_path / "out", done)
    assert (tmp_path / "large" / FILE).is_file()


def test_a_cache_in_use_is_no_damage(tmp_path, done, monkeypatch):
    (tmp_path / FILE).write_bytes(done[3])
    connect = sqlite3.connect
    monkeypatch.setattr(cache_module.sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.1))
    other = connect(tmp_path / FILE)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(WNetError, match=r"cache\.sqlite cannot be used \(database is locked\)"):
        Cache(tmp_path)
    other.close()
    assert not (tmp_path / f"{FILE}.bad").exists()
    assert again(tmp_path, done).computed == 0


def test_values_that_are_no_numbers_have_a_checksum_too(tmp_path):
    with Cache(tmp_path) as cache:
        cache.store([], [("s", "g", "m", name, value) for name, value in (("a", float("nan")), ("b", float("inf")), ("c", -0.0))])
        cache.store_drawn([("i", "w", b"data")])
    with Cache(tmp_path) as cache:
        assert str(cache.values("s", "g", "m")) == "{'a': nan, 'b': inf, 'c': -0.0}"
        assert cache.drawn("i", "w") == b"data"
    assert not (tmp_path / f"{FILE}.bad").exists()


def test_reading_through_is_fast(tmp_path):
    with Cache(tmp_path) as cache:
        cache.store(
            [("n", str(i), "d", os.urandom(20_000)) for i in range(1000)],
            [("s", str(i), "m", str(j), i / 7) for i in range(1000) for j in range(19)],
        )
    start = time.process_time()
    Cache(tmp_path).__exit__()
    assert time.process_time() - start < 2
