"""Gathers the pages of the site in one folder, for Sphinx: those of docs/ and those that lie elsewhere, and those that code makes.

    python scripts/docs/gather.py build/docs/pages

Pages are copied with their links turned to where the pages go. Files that a page links to and that are no pages are copied to
files/. The lists of links in docs/index.md become the table of contents. Commands and the Python interface are written from the
parsers and the docstrings (command_pages.py, api_pages.py).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import api_pages
import command_pages

ROOT = Path(__file__).parents[2]
#: Pages outside of docs/, and where they go; cards of weights are in no table of contents.
ELSEWHERE = {
    "README.md": "index.md",
    "MODEL_ZOO.md": "results/model_zoo.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changes.md",
    "datasets/README.md": "guides/datasets.md",
    "options/README.md": "reference/options.md",
}
CARDS = ("wnet_arch/weights", "baselines/wnet_fsr_zoo")
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for the pages")
    out = parser.parse_args().out
    pages = places()
    made = {"reference/commands.md": command_pages.page(), "reference/api.md": api_pages.page()}
    for page, place in pages.items():
        if page == "README.md":
            continue
        text = turned(page, place, pages, out)
        if page == "docs/index.md":
            text = with_contents(text, {"Reference": list(made)})
        elif page.startswith(CARDS):
            text = f"---\norphan: true\n---\n\n{text}"
        write(out / place, text)
    for place, text in made.items():
        write(out / place, text)


def places() -> dict[str, str]:
    """Every page, as a path of the repository, and where it goes in the site."""
    docs = {str(path.relative_to(ROOT)): str(path.relative_to(ROOT / "docs")) for path in sorted((ROOT / "docs").rglob("*.md"))}
    cards = {
        f"{folder}/{path.name}": f"results/cards/{path.name}" for folder in CARDS for path in sorted((ROOT / folder).glob("*.md"))
    }
    return {**ELSEWHERE, **docs, **cards}


def turned(page: str, place: str, pages: dict[str, str], out: Path) -> str:
    """The text of a page, with links that lead from its place in the site; copies the files that it links to."""

    def link(found: re.Match) -> str:
        target = found[2]
        if "://" in target or target.startswith("mailto:"):
            return found[0]
        path = os.path.normpath(os.path.join(os.path.dirname(page), target))
        if not (ROOT / path).is_file():
            sys.exit(f"{page}: the link to {target} leads to no file")
        if path not in pages:
            copy = out / "files" / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, copy)
        return found[1] + os.path.relpath(pages.get(path, f"files/{path}"), os.path.dirname(place)) + found[3]

    return LINK.sub(link, (ROOT / page).read_text(encoding="utf-8"))


def with_contents(index: str, more: dict[str, list[str]]) -> str:
    """The index with a table of contents, hidden beside its lists, for each of its sections that lists pages."""
    return index + "".join(_contents(title, [*listed, *more.get(title, [])]) for title, listed in _sections(index))


def _sections(index: str) -> Iterator[tuple[str, list[str]]]:
    for section in index.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        yield title, re.findall(r"^\* \[.*?\]\(([^)\s]+\.md)\)", text, flags=re.MULTILINE)


def _contents(title: str, pages: list[str]) -> str:
    return "\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
