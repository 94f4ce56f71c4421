"""Option files: reading them safely, and writing them for the framework."""

from __future__ import annotations

import re

import yaml

from wnet_arch.errors import UsageError
from wnet_arch.options import old_names

#: Sizes beyond which a file is no option file: bytes, values with every alias (``*name``) written out, blocks in blocks.
MAX_BYTES, MAX_VALUES, MAX_DEPTH = 1_000_000, 20_000, 40


class _SafeLoader(yaml.SafeLoader):
    """Safe YAML which says where a value cannot be read; PyYAML lets out whatever int(), date() and the like raise."""

    def construct_object(self, node: yaml.Node, deep: bool = False):
        try:
            return super().construct_object(node, deep)
        except (yaml.YAMLError, RecursionError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:60]
            problem = f"{node.value[:20]!r} does not fit its form or its tag ({reason})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


class _Loader(_SafeLoader):
    """Safe YAML in which ``1e-4`` is a number, as in YAML 1.2; PyYAML demands ``1.0e-4``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class _FrameworkLoader(_SafeLoader):
    """What BasicSR's own reader makes of a file: ``1e-4`` is text, and ``<<`` a key like any other."""


_FrameworkLoader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: dict(loader.construct_pairs(node, deep=True)))
_FrameworkLoader.add_constructor("tag:yaml.org,2002:merge", lambda loader, node: node.value)


def load(path: str) -> dict:
    """Reads an option file.

    Raises:
        UsageError: it cannot be read, is not YAML with keys and values, gives a key twice, or is endless (aliases).
    """
    return old_names.rename(_options(path, _Loader))


def load_as_framework(path: str) -> dict:
    """The same file as the framework's own reader takes it (``1e-4`` is text to it)."""
    return _options(path, _FrameworkLoader)


def framework_reads(opt: dict, path: str) -> bool:
    """Whether the framework reads just these options from a file: the same values, none of them in two places (aliases)."""
    aliases = any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(_text(path), Loader=yaml.SafeLoader))
    # repr: 100000.0 is not the integer.
    return repr(opt) == repr(load_as_framework(path)) and not aliases


def save(opt: dict, path: str) -> None:
    """Writes options as a file that the framework reads back with the same values."""
    with open(path, "w", encoding="utf-8") as file:
        yaml.dump(opt, file, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Without aliases: the framework changes what it has read, and a block would change wherever it stands."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def parse_value(text: str, where: str):
    """The value that a piece of YAML stands for.

    Raises:
        UsageError: it stands for none; ``where`` is what the message begins with.
    """
    return _parse(text, where, _Loader)


def _options(path: str, loader: type) -> dict:
    opt = _parse(_text(path), path, loader)
    if opt is None:
        raise UsageError(f"{path} is empty: it does not hold options (key: value)")
    if not isinstance(opt, dict):
        raise UsageError(f"{path} does not hold options (key: value), but {'a list' if isinstance(opt, list) else 'one value'}")
    return opt


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path} ({error.strerror}); name an option file (YAML)") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES:,} bytes, so it is not an option file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path} is not a text file in UTF-8 (line {line}): save it as UTF-8") from error


def _parse(text: str, where: str, loader: type):
    try:
        reader = loader(text)
        node = reader.get_single_node()
        if node is None:
            return None
        _measure(node, where, {}, set())
        _check_keys(node, where, "", set())
        return _apart(reader.construct_document(node))
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is not valid YAML: {_reason(error, text)}") from error
    except RecursionError as error:
        raise UsageError(f"{where} is nested too deeply: options have at most {MAX_DEPTH} levels") from error


def _apart(value):
    """A copy in which no block or list stands in two places, so that a change of one is not a change of both."""
    if isinstance(value, dict):
        return {key: _apart(child) for key, child in value.items()}
    return [_apart(child) for child in value] if isinstance(value, list) else value


def _reason(error: yaml.YAMLError, text: str) -> str:
    """Line and problem of a YAML error, in one line."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: the character {chr(error.character)!r} cannot stand in a text; remove it"
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return " ".join(str(error).split())[:200]
    lines = text.splitlines()
    before = lines[mark.line][: mark.column + 1] if mark.line < len(lines) else ""
    if "\t" in before:
        return f"line {mark.line + 1} has a tab before a key or value: use spaces"
    problem = getattr(error, "problem", None) or getattr(error, "context", None) or "cannot be read"
    hint = ""
    if "could not determine a constructor for the tag" in problem:
        hint = "; options are plain values, remove the tag"
    elif "mapping values are not allowed" in problem:
        hint = "; check its indentation, and quote a text with a colon"
    return f"line {mark.line + 1}: {' '.join(problem.split())[:200]}{hint}"


def _measure(node: yaml.Node, where: str, known: dict[int, tuple[int, int]], above: set[int]) -> tuple[int, int]:
    """How many values a node has, every alias written out, and how many levels.

    Raises:
        UsageError: too many of either, or a block that stands inside itself.
    """
    line = f"{where}, line {node.start_mark.line + 1}"
    if id(node) in above:
        raise UsageError(f"{line}: an alias (*) stands inside the very block it means; write out what is meant")
    if id(node) not in known:
        above.add(id(node))
        inner = [_measure(child, where, known, above) for child in _children(node)]
        above.discard(id(node))
        known[id(node)] = 1 + sum(count for count, _ in inner), 1 + max((height for _, height in inner), default=0)
    count, height = known[id(node)]
    if height > MAX_DEPTH:
        raise UsageError(f"{line}: nested too deeply: options have at most {MAX_DEPTH} levels")
    if count > MAX_VALUES:
        raise UsageError(f"{line}: more than {MAX_VALUES:,} values, with every alias (*) written out; remove aliases")
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_keys(node: yaml.Node, where: str, path: str, seen: set[int]) -> None:
    """Raises :class:`UsageError` for a key that a block has twice: PyYAML would take the last one without a word."""
    if id(node) in seen:
        return
    seen.add(id(node))
    prefix = f"{path}." if path else ""
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _check_keys(child, where, f"{prefix}{index}", seen)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UsageError(f"{where}, line {line}: a key is a name, not a list or block")
        name = prefix + (key.value if key.value.isprintable() else repr(key.value))
        if (key.tag, key.value) in lines:
            first = lines[key.tag, key.value]
            raise UsageError(f"{where}: {name} is given twice, in lines {first} and {line}; remove one of them")
        lines[key.tag, key.value] = line
        _check_keys(value, where, name, seen)
