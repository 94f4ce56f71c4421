"""Classes that other installed packages bring, by name: metrics and data sets.

A distribution announces each by an entry point, in its ``pyproject.toml``:

    [project.entry-points."wnet_arch.metrics"]
    sharpness = "its_package.metrics:Sharpness"

Nothing of it is imported before the name is asked for, in whichever process that is. (Networks, losses, models and data sets of a
training are registered with BasicSR instead, by the group ``basicsr.plugins``; weights by ``wnet_arch.weights``.)
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

from wnet_arch.errors import UsageError

METRICS = "wnet_arch.metrics"
PHOTO_SOURCES = "wnet_arch.photo_sources"


Base = TypeVar("Base")


class Classes(Mapping[str, type[Base]]):
    """Our own classes by name, and after them those of other packages, which cannot replace ours.

    Args:
        group: of entry points.
        own: ours.
        base: what every class must derive from.
    """

    def __init__(self, group: str, own: Mapping[str, type[Base]], base: type):
        self.group, self.own, self.base = group, dict(own), base

    def __getitem__(self, name: str) -> type[Base]:
        """The class called ``name``.

        Raises:
            KeyError: there is none.
            UsageError: the package that brings it cannot be imported, or has something else by that name.
        """
        if name in self.own:
            return self.own[name]
        point = self._announced()[name]
        try:
            found = point.load()
        except Exception as error:  # whatever the other package raises when it is imported
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UsageError(f"'{name}' of {_package(point)} cannot be imported ({reason}): mend or remove that package") from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise UsageError(f"'{name}' of {_package(point)} is no {self.base.__name__} ({point.value})")
        return cast(type[Base], found)

    def __iter__(self):
        return iter([*self.own, *self._announced()])

    def __len__(self) -> int:
        return len(self.own) + len(self._announced())

    def _announced(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.group) if point.name not in self.own}


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name} {point.dist.version}" if point.dist else point.value
