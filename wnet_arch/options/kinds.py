"""What a value of an option may be: each kind checks strictly, and says in a few words what it wants.

A quoted number is no number, ``true`` is no number, 1.5 is no count; 1e5 is a count, and becomes the integer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Optional, Union, get_args

from pydantic_core import PydanticCustomError, core_schema

#: The type of the errors that a :class:`Kind` raises inside pydantic.
ERROR = "kind"


@dataclass(frozen=True, eq=False)
class Kind:
    """A check in front of pydantic's own.

    Attributes:
        phrase: completes "must be ...".
        accept: returns the value, or what it stands for; raises ``ValueError`` for one that is not of the kind.
        json: what a JSON schema says of it, as far as it can.
        choices: the values there are, where they can be listed.
    """

    phrase: str
    accept: Callable[[Any], Any]
    json: dict
    choices: tuple = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        try:
            return self.accept(value)
        except ValueError:
            raise PydanticCustomError(ERROR, "must be {phrase}", {"phrase": self.phrase}) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63


def whole(low: int | None = None, high: int | None = None) -> Kind:
    """Whole numbers, from ``low`` (0 or 1) where given, as far as ``high``."""

    def accept(value: Any) -> int:
        if not _is_number(value) or value != int(value) or (low is not None and value < low) or (high is not None and value > high):
            raise ValueError
        return int(value)

    limits = {name: limit for name, limit in (("minimum", low), ("maximum", high)) if limit is not None}
    phrase = "a whole number" + ("" if low is None else " above 0" if low == 1 else f", {low} or more")
    if high is not None:
        phrase = f"a whole number from {low} to {high:,}"
    return Kind(phrase, accept, {"type": "integer", **limits})


def number(phrase: str = "a number", fits: Callable[[float], bool] = lambda value: True, **limits: float) -> Kind:
    """Finite numbers for which ``fits``; ``limits`` tell the same in the words of JSON schema."""

    def accept(value: Any) -> float:
        if not _is_number(value) or not math.isfinite(value) or not fits(value):
            raise ValueError
        return value

    return Kind(phrase, accept, {"type": "number", **limits})


def interval(low: float, high: float, whole: bool = False) -> Kind:
    """Two numbers between ``low`` and ``high``, the smaller one first."""

    def accept(value: Any) -> list:
        fits = isinstance(value, list) and len(value) == 2 and all(_is_number(end) and math.isfinite(end) for end in value)
        if not fits or not low <= value[0] <= value[1] <= high or (whole and any(end != int(end) for end in value)):
            raise ValueError
        return [int(end) for end in value] if whole else value

    kind = "integer" if whole else "number"
    json = {"type": "array", "items": {"type": kind, "minimum": low, "maximum": high}, "minItems": 2, "maxItems": 2}
    return Kind(f"two {'whole ' * whole}numbers from {low:g} to {high:g}, the smaller one first", accept, json)


def choices(*values: str) -> Kind:
    """Lists of one or more of several words."""

    def accept(value: Any) -> list[str]:
        if not isinstance(value, list) or not value or not all(isinstance(word, str) and word in values for word in value):
            raise ValueError
        return value

    phrase = f"a list of one or more of {', '.join(values)}"
    return Kind(phrase, accept, {"type": "array", "items": {"enum": list(values)}, "minItems": 1})


def choice(*values: str) -> Kind:
    """One of several words."""

    def accept(value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise ValueError
        return value

    phrase = " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))
    return Kind(phrase, accept, {"enum": list(values)}, values)


def _instance(cls: type) -> Callable[[Any], Any]:
    def accept(value: Any) -> Any:
        if not isinstance(value, cls) or value == "":
            raise ValueError
        return value

    return accept


def _accept_devices(value: Any) -> Any:
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError
    return value


def _accept_flag_or_auto(value: Any) -> Any:
    if value != "auto" and not isinstance(value, bool):
        raise ValueError
    return value


def _accept_name(value: Any) -> str:
    if not isinstance(value, str) or value in ("", ".", "..") or any(c in "/\\" or not c.isprintable() for c in value):
        raise ValueError
    return value


def _accept_names(value: Any) -> Any:
    if not isinstance(value, (str, list)) or not all(isinstance(item, str) for item in value):
        raise ValueError
    return value


Text = Annotated[str, Kind("text", _instance(str), {"type": "string", "minLength": 1})]
Flag = Annotated[bool, Kind("true or false", _instance(bool), {"type": "boolean"})]
FlagOrAuto = Annotated[
    Union[bool, str], Kind("true, false or auto", _accept_flag_or_auto, {"anyOf": [{"enum": ["auto"]}, {"type": "boolean"}]})
]
Count = Annotated[int, whole(1)]
CountOrZero = Annotated[int, whole(0)]
Integer = Annotated[int, whole()]
# Union: a whole number stays one, so that options are given on as they were written.
Number = Annotated[Union[int, float], number()]
Positive = Annotated[Union[int, float], number("a number above 0", lambda value: value > 0, exclusiveMinimum=0)]
NotNegative = Annotated[Union[int, float], number("a number, 0 or more", lambda value: value >= 0, minimum=0)]
Share = Annotated[
    Union[int, float],
    number("a number from 0 to 1, without 1", lambda value: 0 <= value < 1, minimum=0, exclusiveMaximum=1),
]
Portion = Annotated[Union[int, float], number("a number from 0 to 1", lambda value: 0 <= value <= 1, minimum=0, maximum=1)]
Angle = Annotated[
    Union[int, float],
    number("a number of degrees from 0 to 180", lambda value: 0 <= value <= 180, minimum=0, maximum=180),
]
#: A number of GPUs.
Devices = Annotated[
    Union[int, str],
    Kind("auto or a number of GPUs (0: CPU)", _accept_devices, {"anyOf": [{"enum": ["auto"]}, {"type": "integer", "minimum": 0}]}),
]
#: A name that becomes a folder's.
FolderName = Annotated[
    str, Kind("a name that a folder can have, without / and \\", _accept_name, {"type": "string", "minLength": 1})
]
Names = Annotated[
    Union[str, list[str]],
    Kind("a name or a list of names", _accept_names, {"type": ["string", "array"], "items": {"type": "string"}}),
]
Counts = list[Count]
CountsOrZero = list[CountOrZero]
Numbers = list[Number]
PositiveNumbers = list[Positive]

# What an annotation of an argument, as it is written, asks for. Other annotations take any value.
_ANNOTATED = {"int": Integer, "float": Number, "bool": Flag, "str": Text}


def of_annotation(annotation: Any) -> Any:
    """The kind for an argument's annotation; ``Any`` for one that is more than a plain type, or ``None`` beside it."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    if text.endswith(" | None"):
        inner = _ANNOTATED.get(text[: -len(" | None")])
        return Optional[inner] if inner else Any
    return _ANNOTATED.get(text, Any)


def of_default(default: Any) -> Any:
    """The kind of an argument without annotation, after its default."""
    if isinstance(default, bool):
        return Flag
    if isinstance(default, (int, float)):
        return Number
    return Optional[Text] if isinstance(default, str) else Any


def find(annotation: Any, metadata: Any = ()) -> Kind | None:
    """The kind inside an annotation such as ``Optional[Count]``, or among a field's metadata."""
    for entry in metadata:
        if isinstance(entry, Kind):
            return entry
    if hasattr(annotation, "__metadata__"):
        return find(None, annotation.__metadata__)
    options = [option for option in get_args(annotation) if option is not type(None)]
    return find(options[0]) if len(options) == 1 and type(None) in get_args(annotation) else None
