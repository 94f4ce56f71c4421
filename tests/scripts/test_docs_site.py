"""What is between the pages and their site: links turned, commands written from their parsers, links checked."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from tests.conftest import load_script
from wnet_arch import list_networks
from wnet_arch.cli import basicsr, wnet

ROOT = Path(__file__).parents[2]


def test_links_are_turned_to_where_the_pages_go(tmp_path):
    gather = load_script("docs/gather")
    pages = gather.places()
    text = gather.turned("docs/guides/python.md", "guides/python.md", pages, tmp_path)
    assert "(datasets.md)" in text
    assert "(../project/contributing.md#add-a-network)" in text
    assert "https://" not in text or "](https://" not in text
    zoo = gather.turned("MODEL_ZOO.md", "results/model_zoo.md", pages, tmp_path)
    picture = "docs/pictures/cost_quality.png"
    assert f"(../files/{picture})" in zoo
    assert (tmp_path / "files" / picture).read_bytes() == (ROOT / picture).read_bytes()
    assert "(cards/wnet_x8.md)" in zoo


def test_a_link_that_leads_nowhere_ends_the_build(tmp_path, monkeypatch):
    gather = load_script("docs/gather")
    (tmp_path / "page.md").write_text("[there](https://example.org) and [gone](missing.md#part)")
    monkeypatch.setattr(gather, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"page\.md: the link to missing\.md leads to no file"):
        gather.turned("page.md", "page.md", {"page.md": "page.md"}, tmp_path / "out")


def test_the_lists_of_the_index_become_contents():
    gather = load_script("docs/gather")
    index = "# Title\n\n## Guides\n\n* [One](guides/one.md): about [two](guides/two.md)\n\n## Reference\n\n* [Three](three.md)\n"
    text = gather.with_contents(index, {"Reference": ["made.md"]})
    contents = re.findall(r"```\{toctree\}\n(.*?)```", text, flags=re.DOTALL)
    assert [block.split() for block in contents] == [
        [":hidden:", ":caption:", "Guides", "guides/one.md"],
        [":hidden:", ":caption:", "Reference", "three.md", "made.md"],
    ]


def options_of(parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """(command, option) of a parser and those below it, but for what no help shows."""
    found = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found += [pair for sub in action.choices.values() for pair in options_of(sub)]
        elif action.help != argparse.SUPPRESS and action.dest != "help":
            found += [(parser.prog, option) for option in action.option_strings]
    return found


def test_the_page_of_commands_has_every_option():
    command_pages = load_script("docs/command_pages")
    sections = dict(
        re.findall(r"^#+ ((?:wnet|basicsr).*?)\n\n(.*?)(?=^#|\Z)", command_pages.page(), flags=re.MULTILINE | re.DOTALL)
    )
    wanted = [*options_of(wnet.build_parser()), *options_of(basicsr.build_parser())]
    assert len(wanted) > 100
    assert [
        pair for pair in wanted if not re.search(rf"^\|.*`{re.escape(pair[1])}[ `]", sections[pair[0]], flags=re.MULTILINE)
    ] == []


def test_texts_of_a_parser_do_not_become_markup():
    command_pages = load_script("docs/command_pages")
    parser = argparse.ArgumentParser(prog="tool", description="Takes *all* of [a|b].")
    parser.add_argument("--kind", choices=("a|b", "c"), required=True, help="a|b: 100 %% of <it>, see `x_y`; c_d_e")
    section = "\n".join(command_pages._sections(parser))
    assert r"Takes \*all\* of \[a|b]." in section
    assert r"| `--kind {a\|b,c}` | a\|b: 100 % of \<it>, see `x_y`; c\_d\_e (needed) |" in section


def test_the_interface_has_every_network():
    api_pages = load_script("docs/api_pages")
    page = api_pages.page()
    assert [name for name in list_networks() if not re.search(rf"^\.\. autoclass:: \S+\.{name}$", page, flags=re.MULTILINE)] == []
    assert ".. autofunction:: wnet_arch.load_pretrained" in page


def test_broken_links_of_a_site_are_named(tmp_path):
    check_links = load_script("docs/check_links")
    (tmp_path / "index.html").write_text(
        '<a id="top" href="a.html#part">a</a> <a href="#top">up</a> <a href="https://example.org/x">x</a>'
    )
    (tmp_path / "a.html").write_text('<h1 id="part">A</h1> <img src="gone.png"> <a href="index.html#gone">b</a>')
    assert check_links.broken(tmp_path) == ["a.html: gone.png", "a.html: index.html#gone"]
