"""A thousand mutations of the shipped option files: each is read, or refused in one line; nothing else happens.

``WNET_FUZZ=50`` runs so many times as many, ``WNET_FUZZ_SEED=7`` others.
"""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import yaml

from tests.conftest import FUZZ, FUZZ_SEED
from wnet_arch import options
from wnet_arch.errors import WNetError

OPTIONS = Path(__file__).parents[2] / "options"
FILES = sorted(OPTIONS.glob("**/*.yml"))
COUNT, SEED = 1000 * FUZZ, FUZZ_SEED
#: One in so many of the mutations in which the schema finds nothing wrong is built, too: networks take seconds.
BUILD_EVERY = 25

#: What may stand where something else is expected.
VALUES = (
    None, True, False, 0, 1, -1, 8, 1.5, 1e5, -0.0, 1e308, 1e999, float("nan"), 2**63, 10**400, "", "~", "true", "100", "1e-4",
    "auto", "a\nb", "\x07", "\u2028", "ü" * 300, "../..", "~nobody/x", "/dev/null", "a\0b", [], {}, [1, 2], [[]], ["a", None],
    {"type": None}, {"type": "WNet"}, {"type": ["WNet"]}, {"type": "L1Loss", "loss_weight": "x"}, {1: 2}, {None: None}, {True: {}},
    {"": ""}, {"type": "Adam", "lr": 1e-4, "betas": [2, 2]}, {"a": {"b": {"c": {"d": {}}}}},
)  # fmt: skip
#: What may stand anywhere in a file.
TOKENS = (
    "\t", "\0", "\x85", "\ufeff", "\u2029", "&a ", "*a", "*a\n", "!!python/object/apply:os.system ['touch sprung']", "!!int x",
    "!!set {a}", "!!timestamp x", "!!binary x", "!!bool x", "!!float x", "!!map 1", "!x ", "{", "}", "[", "]", ": ", "- ", "? ",
    "| ", "> ", "# ", "'", '"', "%", "@", "`", "---\n", "...\n", "<<: *a\n", "<<: 1\n", "2026-99-99", "0x", "1:99", "\\ud800",
    '"\\ud800"', '"\\xff"', "?\n", ",", "=", "9" * 30, "1" * 5000, "[" * 1500, "{a: " * 60, "- " * 60,
)  # fmt: skip
OVERRIDES = (
    "train:total_iter=", "train:precision=", "network_g:num_feat=", "val:metrics:a:type=", "datasets:test_1:name=", "logger:wandb=",
    "x:y=", "path:pretrain_network_g=", ":::=", "train=", "train:scheduler:gamma=", "val:keep_best=", "dist_params:port=",
)  # fmt: skip


def mutate_bytes(text: str, choose: random.Random) -> bytes:
    """Changes at a few places of a file."""
    data = text
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        at = choose.randrange(len(data) + 1)
        lines = data.splitlines(keepends=True) or [""]
        line = choose.randrange(len(lines))
        action = choose.randrange(9)
        if action == 0:
            data = data[:at] + choose.choice(TOKENS) + data[at:]
        elif action == 1:
            data = data[:at] + data[at + choose.choice((1, 1, 5, 50)) :]
        elif action == 2:
            data = data[:at] + chr(choose.choice((choose.randrange(128), choose.randrange(0xD800)))) + data[at + 1 :]
        elif action == 3:
            data = "".join(lines[:line] + lines[line + 1 :])
        elif action == 4:
            data = "".join([*lines[: line + 1], lines[line], *lines[line + 1 :]])
        elif action == 5:
            lines[line] = choose.choice(("", " ", "  ", "    ", "\t")) + lines[line].lstrip(choose.choice((" ", "")))
            data = "".join(lines)
        elif action == 6:
            key, colon, _ = lines[line].partition(":")
            lines[line] = f"{key}{colon} {choose.choice(TOKENS)}\n"
            data = "".join(lines)
        elif action == 7:
            data = data[:at]
        else:
            other = choose.randrange(len(lines))
            lines[line], lines[other] = lines[other], lines[line]
            data = "".join(lines)
    encoded = bytearray(data.encode("utf-8", "surrogatepass"))
    if encoded and not choose.randrange(6):
        encoded[choose.randrange(len(encoded))] = choose.randrange(256)
    return bytes(encoded)


def places(tree, path: tuple = ()) -> list[tuple]:
    """The paths of all values in blocks and lists."""
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, child in entries for found in ((*path, key), *places(child, (*path, key)))]


def mutate_tree(tree: dict, choose: random.Random) -> dict:
    """Deletes, renames, exchanges, repeats or nests a few values."""
    tree = copy.deepcopy(tree)
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        found = places(tree)
        if not found:
            break
        *parents, key = choose.choice(found)
        block = tree
        for parent in parents:
            block = block[parent]
        action = choose.randrange(7)
        if action == 0:
            del block[key]
        elif action == 1 and isinstance(block, dict):
            name = str(key)
            at = choose.randrange(len(name)) if name else 0
            new = choose.choice(
                (name[:at] + name[at + 1 :], name[:at] + name[at:][::-1], name.upper(), 5, None, "x" * 200, "a\nb", True)
            )
            block[new] = block.pop(key)
        elif action == 2:
            block[key] = copy.deepcopy(choose.choice(VALUES))
        elif action == 3:
            block[key] = {choose.choice(("type", "name", "x", str(key))): block[key]}
        elif action == 4:
            block[key] = [block[key]] * choose.choice((1, 2))
        elif action == 5:
            other = choose.choice(found)
            value = tree
            for part in other:
                value = value[part] if isinstance(value, (dict, list)) and (isinstance(value, list) or part in value) else None
                if value is None:
                    break
            block[key] = copy.deepcopy(value)
        elif isinstance(block, dict):
            block[f"{key}_2"] = copy.deepcopy(block[key])
    return tree


def mutant(choose: random.Random) -> bytes:
    file = choose.choice(FILES)
    if choose.random() < 0.5:
        return mutate_bytes(file.read_text(encoding="utf-8"), choose)
    tree = mutate_tree(options.load(str(file)), choose)
    return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


def test_a_thousand_mutants_end_in_one_line_or_are_fine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, choose = tmp_path / "mutant.yml", random.Random(SEED)
    ends, said = {"unreadable": 0, "wrong": 0, "fine": 0}, []
    for number in range(COUNT):
        file.write_bytes(mutant(choose))
        change = choose.choice(OVERRIDES) + choose.choice(("1", "x", "~", "[1", "{a: 1}", "*a", "!!x y", "1e5"))
        entries = [change] if number % 4 == 0 else []
        is_train = number % 5 != 0
        stage = "unreadable"
        try:
            opt = options.override(options.load(str(file)), entries)
            stage = "wrong"
            problems = options.list_problems(opt, is_train, ["wnet_arch"])
            said += problems
            if not problems:
                stage = "fine"
                if ends["fine"] % BUILD_EVERY == 0:
                    options.check(opt, is_train)
        except WNetError as error:
            said.append(str(error))
        except BaseException as error:
            pytest.fail(f"mutant {number} of seed {SEED}: {type(error).__name__}: {error}\n{file.read_bytes()[:3000]!r}")
        ends[stage] += 1
    assert [path.name for path in tmp_path.iterdir()] == ["mutant.yml"]
    assert all(line and line.isprintable() for line in said), [line for line in said if not line.isprintable()]
    assert min(ends.values()) > COUNT / 50, ends  # the mutations are neither all harmless nor all alike
