"""Measures the networks that ship, and writes MODEL_ZOO.md, docs/results/zoo_tables.md, and the cards beside the weights.

    python scripts/zoo/model_zoo.py --sets datasets/celeba_val datasets/helen_train   # made with wnet prepare --scales 2 4 8

It is one `wnet benchmark` (folder --out, with its report; a rerun computes only what is missing) of all networks that
wnet_arch.list_pretrained() names, which must be those of both packages (places.py), and of bicubic enlargement: protocols
dic, sparnet and rgb, LPIPS, landmarks, identity and facial parts. The files say what came out, with the paper's numbers in rows
marked so. Networks for x1, whose LR faces are HR faces degraded, are not in it: their cards hold what check_degraded.py found.
Where its results are not at hand (--degraded), a card keeps the ones that it has of the same file.
Networks of more than SLOW multiply-accumulates a face, which take a core seconds for each, are measured on the first --slow-faces
of each set, beside the others of their scale on the same faces. Networks of a queue (`train_queue.py --ship`), which saw the same
faces equally many times, are measured among themselves on the first --queue-faces of each set, in a folder of --out that is called
after it, and have tables and a report of their own. Values of every face go to docs/results/faces; with --new, networks that have
theirs in there are not measured again. After a change of a network's or a metric's code, measure without it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import cost_picture
import face_values
import measured
import zoo_page
from degraded_photos import fingerprint, section
from places import ROOT, described, manifest_of, need_all

from wnet_arch import disk, list_pretrained
from wnet_arch.benchmark import report, results, tables
from wnet_arch.benchmark.command import BenchmarkOptions, cost
from wnet_arch.cli.common import run_script
from wnet_arch.errors import did_you_mean
from wnet_arch.inference.entries import open_one
from wnet_arch.inference.sources import Network
from wnet_arch.weights import metadata, shipped
from wnet_arch.words import counted

#: GMACs of one face.
SLOW = 100
#: Columns of a card.
CARD = ("psnr_dic", "ssim_dic", "psnr_rgb", "ssim_rgb", "lpips", "landmark_distance", "identity", "parsing_iou")

SLOW_NETWORKS = """
## Networks that take seconds for a face

{names}: more than {slow} GMACs a face, so measured on the first {faces} alone, with the others of that scale on the
same faces.

"""
SLOW_NOTE = (
    "{names}: measured on fewer faces, since a face takes seconds; their numbers stand at the end of [all numbers]({tables})."
)

#: The end of a name whose shorter form ships after more images.
SAME = "_equal"

QUEUE_NETWORKS = """
## Equally many images: {queue}

{faces}, the first of each set.

{tables}"""

#: What the marks of a card's numbers compare, where all networks were measured.
AMONG_ALL = """**best** and <u>second best</u> are
among all of them."""

CARD_TEXT = """# {title}

`wnet_arch.load_pretrained("{name}")`: RGB in [0, 1], {side}x{side} to 128x128, aligned as the square (12, 40, 164, 192) of CelebA's
178x218 photos.

{facts}

{measured}
{photos}
It has been trained briefly. celeba_val is a development set, on which the recipe was chosen{form}. Quality falls on faces
cropped or aligned otherwise than above{helen}; `wnet restore` aligns them. Details of the faces are estimated, not recovered:
never use them to identify a person. {groups}
"""
MEASURED = """Mean ± half of the 95 % interval (bootstrap over faces), from `{command}`.
Protocols and metrics are explained in MODEL_ZOO.md, which has the other networks beside it; {among}

{numbers}"""
IN_PLACE = """It does not enlarge: it restores faces that are large enough and yet blurred, noisy or compressed. Protocols of
super-resolution do not apply."""
#: What is only true of some cards.
FORM = ", and so was WNetLite's form, on its first 200 faces and those of helen_train (docs/reference/networks.md)"
FORM_32 = """, and so was WNetLite's form
on the grid of 32x32, on the first 150 faces of four sets (docs/results/wnet_lite_x4.md)"""
GROUPS = (
    "docs/results/groups.md tells for which faces (glasses, pose, light, measured skin tone) and inputs (grey, JPEG) it does\n"
    "well; nothing was measured by age."
)
NO_GROUPS = "Nothing was measured by groups of people."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", required=True, metavar="SET", help="the first is that of the cards")
    parser.add_argument("--out", default="zoo_benchmark", metavar="DIR", help="tables, report and cache (default: zoo_benchmark)")
    parser.add_argument("--workers", type=int, metavar="N")
    parser.add_argument("--limit", type=int, metavar="N", help="first faces of each set, to try it")
    parser.add_argument("--slow-faces", type=int, default=100, metavar="N", help="of each set, for slow networks (default: 100)")
    parser.add_argument("--queue-faces", type=int, default=300, metavar="N", help="of each set, for a queue (default: 300)")
    parser.add_argument("--write", type=Path, default=ROOT, metavar="DIR", help="where the pages go (default: the repository)")
    parser.add_argument("--metrics", nargs="*", default=measured.METRICS, metavar="M")
    parser.add_argument("--card", metavar="NAME", help="measure this network alone, and write its card alone")
    parser.add_argument("--degraded", type=Path, default=Path("zoo_degraded"), metavar="DIR", help="results of check_degraded.py, "
        "a folder for each network that was trained on degraded faces (default: zoo_degraded)")  # fmt: skip
    parser.add_argument("--new", action="store_true", help=f"measure only what {face_values.FOLDER} has no values of; the page and "
        "the cards are the same, but there is no report")  # fmt: skip
    args = parser.parse_args()
    need_all()
    names = list_pretrained()
    if not names:
        sys.exit("no super-resolution weights ship: scripts/zoo/train_zoo.py trains some, scripts/zoo/ship_weights.py puts them in")
    command = shlex.join(["python", "scripts/zoo/model_zoo.py", *(word for word in sys.argv[1:] if word != "--new")])
    if args.card:
        return write_card(args, command, names)
    photos = {name: photos_of(name, args.degraded) for name in names}  # what is missing is said before hours of measuring
    sources = {name: open_one(name, None) for name in names}
    in_place = [name for name in names if sources[name].scale == 1]
    queues = of_queues(names)
    names = [name for name in names if name not in in_place and not any(name in queue for queue in queues.values())]
    slow = [name for name, source in sources.items() if name in names and cost(source.block, source.scale)[1] > SLOW * 1e9]
    quick = [name for name in names if name not in slow]
    found = measure(args, command, quick, args.out, args.limit)
    write_report(args, found, args.out)
    whole, note = zoo_page.Measured(found, zoo_page.shipped_networks({name: sources[name] for name in names})), ""
    tables_page, equal = zoo_page.details(found, command), []
    cards: dict[str, results.Results | None] = {**dict.fromkeys(quick, found), **dict.fromkeys(in_place)}
    for queue, its in queues.items():
        faces, named = min(filter(None, (args.queue_faces, args.limit))), [f"{source.name}={name}" for name, source in its.items()]
        among = measure(args, command, named, str(Path(args.out) / queue), faces)
        write_report(args, among, str(Path(args.out) / queue))
        equal.append(zoo_page.Measured(among, zoo_page.shipped_networks(its), queue))
        tables_page += QUEUE_NETWORKS.format(queue=queue, faces=faces_of(among), tables=zoo_page.more_details(among))
        cards, sources = {**cards, **dict.fromkeys(its, among)}, {**sources, **its}
    if slow:
        scales = {sources[name].scale for name in slow}
        rivals = [name for name in quick if sources[name].scale in scales]
        faces = min(filter(None, (args.slow_faces, args.limit)))
        some = measure(args, command, [*rivals, *slow], str(Path(args.out) / "slow"), faces)
        tables_page, cards = tables_page + about_slow(some, slow), {**cards, **dict.fromkeys(slow, some)}
        note = SLOW_NOTE.format(names=", ".join(f"`{name}`" for name in slow), tables=zoo_page.TABLES)
    cost_picture.draw(zoo_page.fair(whole, equal), args.write / zoo_page.PICTURE)
    disk.write_text(args.write / zoo_page.TABLES, tables_page)
    disk.write_text(args.write / "MODEL_ZOO.md", zoo_page.page(whole, equal, command, note, in_place))
    face_values.tidy(args.write / face_values.FOLDER, list(sources))
    for name in cards:
        card = manifest_of(name).with_name(f"{name}.md")
        text = model_card(cards[name], name, sources[name], command, photos[name])
        disk.write_text(card if args.write == ROOT else args.write / card.name, text)
    faces = "no report, since faces were not made anew" if args.new else f"{args.out}/report.html has the faces"
    print(f"{args.write / 'MODEL_ZOO.md'} and {len(cards)} model cards; {faces}")
    return 0


def write_card(args: argparse.Namespace, command: str, names: list[str]) -> int:
    """The card of one network that has just been put into the package; the page waits for a run over all."""
    if args.card not in names:
        sys.exit(f"--card {args.card}: there is no such network{did_you_mean(args.card, names)}")
    source, photos = open_one(args.card, None), photos_of(args.card, args.degraded)
    out = str(Path(args.out) / args.card)  # values of its faces wait as well: a queue measures on a set that no page has
    found = measure(args, command, [args.card], out, args.limit, keep=False) if source.scale > 1 else None
    card = (manifest_of(args.card).parent if args.write == ROOT else args.write) / f"{args.card}.md"
    text = model_card(found, args.card, source, command, photos)
    disk.write_text(card, text.replace("**", "").replace("<u>", "").replace("</u>", ""))
    print(card)
    return 0


def photos_of(name: str, degraded: Path) -> str:
    return section(name, degraded / name, manifest_of(name).with_name(f"{name}.md"))


def measure(
    args: argparse.Namespace, command: str, names: list[str], out: str, limit: int | None, keep: bool = True
) -> results.Results:
    return measured.measure(
        names, args.sets, out, command, args.write, args.metrics, new=args.new, keep=keep, limit=limit, workers=args.workers
    )


def write_report(args: argparse.Namespace, found: results.Results, out: str) -> None:
    """Not with --new: it shows faces that are not made then."""
    if not args.new:
        report.write(found, out, BenchmarkOptions.report_faces)


def faces_of(found: results.Results) -> str:
    return " and ".join(f"{len(s.keys)} faces of {s.name}" for s in found.sets)


def about_slow(found: results.Results, names: list[str]) -> str:
    text = SLOW_NETWORKS.format(names=", ".join(f"`{name}`" for name in names), slow=SLOW, faces=faces_of(found))
    return text + zoo_page.more_details(found)


def of_queues(names: list[str]) -> dict[str, dict[str, Network]]:
    """Networks by the queues that their files name, each by its name and called as its option file is."""
    found: dict[str, dict[str, Network]] = {}
    for name in names:
        queue = metadata.texts(shipped.path(name)).get(metadata.QUEUE)
        if queue:
            found.setdefault(queue, {})[name] = open_one(f"{trained_as(name)}={name}", None)
    return found


def trained_as(name: str) -> str:
    """`SPARNet` for sparnet_equal_x8, `SRGAN` for srgan_x8: what the option file of its training is called."""
    stem = name.rpartition("_x")[0].removesuffix(SAME).replace("_", "")
    known = {file.stem.rpartition("_x")[0] for file in (ROOT / "options" / "baselines").glob("*_x*.yml")} | {"WNet", "WNetLite"}
    return next((one for one in known if one.lower() == stem), stem)


def model_card(found: results.Results | None, name: str, source: Network, command: str, photos: str) -> str:
    """What a user must know of one file; ``source``: as ``found`` calls it, which is ``None`` for a network for x1."""
    path = shipped.path(name)
    about = metadata.texts(path)
    parameters, macs = cost(source.block, source.scale)
    facts = [
        ["network", f"`{json.dumps(source.block)}`; {parameters:,} parameters, {macs / 1e9:.2f} GMACs a face"],
        ["file", f"`{path.name}`, {path.stat().st_size / 1e6:.1f} MB, {fingerprint(name)}; package `{described(name)[0]}`"],
        ["training data", f"{about['training_set']}: aligned CelebA photos with maps by our parser, CelebAMask-HQ with its own"],
        ["seen", f"{int(about['images_seen']):,} images in {int(about['iterations']):,} iterations, seed {about['seed']}"],
        ["recipe", f"`scripts/zoo/train_zoo.py`: {about['recipe']}"],
        ["hardware", f"{about['hardware']}, torch {about['torch']}"],
        ["terms", f"{about['licence']} as far as it is ours; {about['terms']}"],
    ]
    for key, title in ((metadata.DEGRADATION, "LR faces"), (metadata.JITTER, "frames")):
        if key in about:
            facts.append([title, f"`datasets.train.{key}: {about[key]}`; what is not named has its default (options/README.md)"])
    if "note" in about:
        facts.append(["note", about["note"]])
    return CARD_TEXT.format(
        title=f"{source.name} x{source.scale}",
        name=name,
        side=128 // source.scale,
        facts=tables.table(["", ""], facts, left=2),
        measured=IN_PLACE if found is None else numbers(found, source, command),
        photos=photos,
        form=form(source.block),
        helen=", as helen_train shows" if found and "helen_train" in {s.name for s in found.sets} else "",
        groups=GROUPS if name in measured.grouped() else NO_GROUPS,
    )


def form(block: dict) -> str:
    """On which faces the form of a network was chosen, where it was."""
    if block["type"] != "WNetLite":
        return ""
    return FORM_32 if block.get("grid") == 32 else FORM


def numbers(found: results.Results, source: Network, command: str) -> str:
    """The numbers of one network, with how they were made."""
    columns = [c for c in found.columns if c.id in CARD]
    rows = [
        [
            f"{s.name} ({counted(len(s.keys), 'face')})",
            *(tables.cell(found.score(s.name, source.scale, source.name, c.id), c) for c in columns),
        ]
        for s in found.sets
    ]
    return MEASURED.format(
        command=command,
        among=AMONG_ALL if len(found.at(source.scale)) > 2 else "it was\nmeasured by itself.",
        numbers=tables.table(["set", *(f"{c.title} {c.protocol}".strip() for c in columns)], rows),
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
