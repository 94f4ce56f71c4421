"""The page of the Python interface: names that modules announce in ``__all__``, documented by Sphinx from their docstrings."""

from __future__ import annotations

import importlib
import inspect

INTRODUCTION = """# Python interface

Made from the docstrings. [From Python](../guides/python.md) shows it at work.
"""
#: Title, module, and whether methods are documented, too.
SECTIONS = (
    ("Restoring photos", "wnet_arch.restore", True),
    ("Losses", "wnet_arch.losses", False),
    ("Models", "wnet_arch.models", False),
    ("Metrics", "wnet_arch.metrics", True),
    ("Protocols", "wnet_arch.metrics.protocols", True),
    ("Data", "wnet_arch.data", False),
    ("Weights", "wnet_arch.weights", True),
)
NETWORK_TOOLS = ("create_network", "list_networks", "list_pretrained", "load_pretrained", "patch_trainer")
#: Of modules that announce nothing: what the guides name.
NAMED = {"wnet_arch.metrics.protocols": ("Protocol", "get")}


def page() -> str:
    """The page as Markdown, with directives for Sphinx."""
    from wnet_arch.archs.base import NETWORKS, FaceSRNetwork

    functions = [_function(f"wnet_arch.{name}") for name in NETWORK_TOOLS]
    base = _class(FaceSRNetwork.__module__ + ".FaceSRNetwork", members=True)
    networks = [_class(f"{network.__module__}.{name}", members=False) for name, network in sorted(NETWORKS.items())]
    parts = [INTRODUCTION, _section("Networks", [*functions, base, *networks])]
    for title, module, members in SECTIONS:
        parts.append(_section(title, _directives(module, members)))
    return "\n".join(parts)


def _directives(module: str, members: bool) -> list[str]:
    found = importlib.import_module(module)
    directives = []
    for name in NAMED.get(module) or found.__all__:
        thing = getattr(found, name)
        if inspect.isclass(thing):
            directives.append(_class(f"{module}.{name}", members))
        elif inspect.isfunction(thing):
            directives.append(_function(f"{module}.{name}"))
    return directives


def _section(title: str, directives: list[str]) -> str:
    return f"## {title}\n\n```{{eval-rst}}\n" + "\n".join(directives) + "\n```\n"


def _function(name: str) -> str:
    return f".. autofunction:: {name}\n"


def _class(name: str, members: bool) -> str:
    return f".. autoclass:: {name}\n" + ("   :members:\n" if members else "")
