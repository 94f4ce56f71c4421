"""The schema for editors (JSON schema) and for people (Markdown), both from the blocks themselves."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from wnet_arch.options import blocks, kinds, training
from wnet_arch.options.blocks import Block
from wnet_arch.options.schema import DATASETS, inner_block

INTRODUCTION = """# Option files

Every key that `basicsr train` and `basicsr test` take, made by `wnet validate --describe` from the schema in
`wnet_arch/options/`, which checks a file before a run creates anything: a key that is not listed here is an error, and so is a
value of another type. `wnet validate FILE` lists everything that is wrong with a file.

* The tables tell what holds where a key is not given; **needed** keys have no such value. `~` is nothing.
* Numbers are not quoted; `1e-4` is one, and `1e5` is a whole one. A key must not be given twice.
* `type` names a class, and the other keys of such a block are arguments of that class, checked against its signature.
* `--force_yml train:total_iter=1000` changes a key, or adds one of these. The value is YAML.
* Other packages' models and data sets declare keys of their own in an attribute `OWN_OPTIONS`: names (data sets) or dotted
  names such as `"train.mix_opt"` (models). Without it, keys that are not listed here pass for these classes.
* Editors with a YAML language server check and complete a file that begins with the line
  `# yaml-language-server: $schema=schema.json` (the path of [schema.json](schema.json) from that file).
"""
#: The sections of the description: dotted place, its blocks.
SECTIONS: tuple[tuple[str, tuple[type[Block], ...]], ...] = (
    ("Top level", (blocks.Options, blocks.AdversarialOptions)),
    ("`datasets.train`, `datasets.val`, ...",
     (blocks.Dataset, blocks.FaceDataset, blocks.LQDataset, blocks.PairedDataset, blocks.ImageStore)),
    ("`datasets.train.degradation`, `datasets.val.degradation`, ...", (blocks.DegradationBlock,)),
    ("`datasets.train.jitter`, `datasets.val.jitter`, ...", (blocks.JitterBlock,)),
    ("`network_g`, `network_d`", (blocks.Named,)),
    ("`path`", (blocks.Paths,)),
    ("`train`", (training.AnyTrain, training.EngineTrain, training.FaceSRTrain, training.WNetTrain, training.PriorTrain,
                 training.PixelTrain, training.Adversarial, training.StagedAdversarial, training.FaceGANTrain,
                 training.WNetGANTrain, training.GANTrain)),
    ("`train.start_iters`", (training.StartIters,)),
    ("`train.*_opt`", (training.Loss,)),
    ("`train.optim_g`, `train.optim_d`", (training.Optimizer,)),
    ("`train.scheduler`, `train.scheduler_d`", (training.MultiStepLR, training.CosineAnnealingRestartLR)),
    ("`val`", (blocks.Val, blocks.EngineVal)),
    ("`val.metrics.NAME`", (blocks.MetricBlock,)),
    ("`logger`", (blocks.Logger, blocks.EngineLogger)),
    ("`logger.wandb`", (blocks.Wandb,)),
    ("`dist_params`", (blocks.Distributed,)),
)  # fmt: skip


def markdown() -> str:
    """The description of every key: options/README.md."""
    parts = [INTRODUCTION]
    for title, described in SECTIONS:
        parts.append(f"\n## {title}\n")
        for block in described:
            parts.append(f"\n{_sentence(block)}\n\n{_table(block)}")
    return "".join(parts)


def _sentence(block: type[Block]) -> str:
    text = " ".join((inspect.getdoc(block) or block.__name__).split())
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ":")


def _table(block: type[Block]) -> str:
    """Only what the block adds to those it derives from."""
    own = {name: info for name, info in block.model_fields.items() if name in vars(block).get("__annotations__", {})}
    if not own:
        return ""
    hints = get_type_hints(block, include_extras=True)
    lines = ["| key | value | if not given | what |", "| --- | --- | --- | --- |"]
    for name, info in own.items():
        default = "**needed**" if info.is_required() else f"`{_yaml(info.default)}`"
        lines.append(f"| `{name}` | {words(hints[name])} | {default} | {info.description} |")
    return "\n".join(lines) + "\n"


def words(annotation: Any) -> str:
    """What a value may be, in a few words."""
    kind = kinds.find(annotation)
    if kind:
        return " or ".join(f"`{choice}`" for choice in kind.choices) if kind.choices else kind.phrase
    if inner_block(annotation):
        return "block"
    bare = next((option for option in get_args(annotation) if option is not type(None)), Any)
    if getattr(annotation, "__origin__", None) is list:
        return f"list: {words(bare)} each"
    if getattr(annotation, "__origin__", None) is dict or annotation is Any or bare is Any:
        return "block"
    return words(bare)


def _yaml(value: Any) -> str:
    if isinstance(value, Block):
        return "{}"
    return "~" if value is None else json.dumps(value) if not isinstance(value, str) or not value else value


def json_schema() -> str:
    """The JSON schema of an option file, for editors: options/schema.json."""
    described = {block for _, section in SECTIONS for block in section} | set(training.OF_MODEL.values())
    definitions = {block.__name__: _object(block) for block in sorted(described, key=lambda block: block.__name__)}
    definitions["Dataset"] = {"type": "object", "required": ["name", "type"], "allOf": _choose("type", DATASETS)}
    definitions["Scheduler"] = {"type": "object", "required": ["type"], "allOf": _choose("type", training.SCHEDULERS)}
    root = definitions.pop("AdversarialOptions")
    del definitions["Options"]
    phases = {"^(train|(val|test)(_\\w+)?)$": _ref(blocks.Dataset)}
    root["properties"]["datasets"].update(patternProperties=phases, additionalProperties=False)
    for key, block in (("val", blocks.EngineVal), ("logger", blocks.EngineLogger)):
        root["properties"][key]["anyOf"][0] = _ref(block)
    root["allOf"] = _choose("model_type", training.OF_MODEL, "train")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Option file of BasicSR with wnet_arch"}
    return json.dumps({**head, **root, "$defs": definitions}, indent=1, ensure_ascii=False) + "\n"


def _object(block: type[Block]) -> dict:
    hints = get_type_hints(block, include_extras=True)
    properties = {}
    for name, info in block.model_fields.items():
        properties[name] = {"description": info.description, **_value(hints[name])}
        if not info.is_required() and not isinstance(info.default, Block):
            properties[name]["default"] = info.default
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name, info in block.model_fields.items() if info.is_required()],
        "additionalProperties": block.model_config["extra"] == "allow",
    }


def _value(annotation: Any) -> dict:
    """What a JSON schema says of an annotation."""
    kind, arguments, origin = kinds.find(annotation), get_args(annotation), getattr(annotation, "__origin__", None)
    if type(None) in arguments:
        return {"anyOf": [_value(next(option for option in arguments if option is not type(None))), {"type": "null"}]}
    if kind:
        return dict(kind.json)
    if hasattr(annotation, "__metadata__"):  # a list of a certain length
        return _value(origin)
    if origin is list:
        return {"type": "array", "items": _value(arguments[0])}
    if origin is dict:
        return {"type": "object", "additionalProperties": _value(arguments[1])}
    return _ref(annotation) if inner_block(annotation) else {"type": "object"} if annotation is Any else {}


def _ref(block: type[Block]) -> dict:
    return {"$ref": f"#/$defs/{block.__name__}"}


def _choose(key: str, table: Mapping[str, type[Block]], place: str = "") -> list[dict]:
    """Conditions: where ``key`` has a value of the table, the block (or what is at ``place`` in it) is the table's."""
    rules = []
    for block in dict.fromkeys(table.values()):
        names = [name for name, other in table.items() if other is block]
        then = {"properties": {place: {"anyOf": [_ref(block), {"type": "null"}]}}} if place else _ref(block)
        rules.append({"if": {"properties": {key: {"enum": names}}, "required": [key]}, "then": then})
    return rules
