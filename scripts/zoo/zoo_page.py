"""What MODEL_ZOO.md says: which network to take, tables for each scale (all that ship; those that saw equally many images), the
picture of cost and quality (cost_picture.py), the paper beside it.

All other numbers (protocols, sets, facial parts, paired tests) stand in docs/results/zoo_tables.md. Written by model_zoo.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from places import described

from wnet_arch.benchmark import paper_numbers as paper
from wnet_arch.benchmark import results, tables
from wnet_arch.benchmark.command import cost
from wnet_arch.inference.sources import Network
from wnet_arch.weights import metadata, shipped

#: Below the repository's root: the picture, and where all numbers stand.
PICTURE, TABLES = "docs/pictures/cost_quality.png", "docs/results/zoo_tables.md"
#: Columns of the tables, and what networks are chosen by: a title, a column, 1 where more of it is better, -1 where less.
COLUMNS = ("psnr_dic", "ssim_dic", "lpips", "landmark_distance", "identity")
PURPOSES = (("the least error (PSNR)", "psnr_dic", 1), ("what looks sharpest (LPIPS); its details are less certain", "lpips", -1))

PAGE = """# Model zoo

Every network that ships, trained by one script and measured by one command. Optimizer, start and number of images differ, and the
card of each network (the link in the tables) says them.
{compared}**None has been trained to the end.** The paper does not say how many images its networks saw; the 400,000 iterations of
`options/wnet_x8.yml` are 1.6 million, and the order may change on that way.

## Which network

{choice}

What `wnet restore` takes by itself comes with the package: `wnet_x8`, `wnet_x4`, `wnet_x2` and the `real` networks. All others are
in a second one (`pip install ./baselines` in a clone). Each name works
everywhere: `wnet restore --network NAME`, `wnet benchmark --networks NAME`, `wnet_arch.load_pretrained("NAME")`, and
`path.pretrain_network_g: NAME` in an option file. They were trained on CelebA and CelebAMask-HQ, which are for non-commercial
research only, and so are they. The details of a restored face are estimated, not recovered: never use them to identify a person.

{tables}
{set}: {faces} faces. Protocol `dic`: Y channel, border of 8 pixels. Mean ± half of the 95 % interval.
**Best** and <u>second best</u> of a table are marked only where the difference to the next is significant{marked}.
"Against {baseline}": the paired difference in PSNR to the one in the same table, `≈` where it is not significant. Cost is
that of one 128x128 face; images seen counts repetitions. (n ✗): of n faces the metric could not be measured. LPIPS measures
features of AlexNet, and networks trained on features of VGG-19 (`sharp`, MRRNet, SRGAN, WIPA) have an advantage in it.
Networks called `real` are for photos from life, which their cards measure; here they restore faces that were only reduced.
{set} is a development set, on which the recipe was chosen ([the sets of our
numbers](datasets/README.md#the-sets-of-our-numbers)).

![Cost against PSNR and LPIPS{pictured}]({picture})

## Beside the paper

{paper}

The paper measured its networks on other crops of CelebA, trained them on other photos (mode I: 168,854; mode II: 18,000), and
does not state its protocol in full; its LPIPS is of a backbone that it does not name. The rows show how far our trainings have
come. They rank no network of ours against one of the paper's.

## More

* [All numbers]({all}): protocols `dic`, `sparnet` and `rgb`, other sets, facial parts, paired tests.
* [Values of every face](docs/results/faces.md), a CSV for each network: for paired tests with networks of your own.
* The card of each network has data, recipe, hardware, licence.{in_place}
* Networks that saw the same faces, equally many: curves at [x8](docs/results/equal_images_x8.md) and
  [x4](docs/results/equal_images_x4.md).
* [Groups](docs/results/groups.md): for which faces they fail. [Networks](docs/reference/networks.md): what each is.

This page and the tables are written by

    {command}
{note}"""

#: Where there are networks of a queue.
COMPARED = """Designs compare in the tables of equally many images; the others rank networks that saw different numbers of them.
"""

#: A queue's networks at one scale.
EQUAL = """### x{scale}, {images:,} images each

The queue [{queue}](scripts/zoo/queues/{queue}.toml): the same faces in the same order, one recipe and seed, each with its
own loss, in float32 or bf16 by what was faster where it was trained; what else differs for one of them, that file says. A
network that began with another's weights counts the images of both. Measured on the first {faces} faces of {set}.

{table}
"""


@dataclass(frozen=True)
class Shipped:
    """A network that ships: its name, what the results call it, and what its file says."""

    name: str
    shown: str
    scale: int
    parameters: int
    macs: float
    images: int

    @property
    def card(self) -> str:
        """A link to its card."""
        return f"[{self.name}]({described(self.name)[1]}/{self.name}.md)"


@dataclass(frozen=True)
class Measured:
    """Networks that were measured together. ``queue``: the list of trainings that all are from, empty where there is none."""

    found: results.Results
    networks: list[Shipped]
    queue: str = ""

    @property
    def images(self) -> int:
        """What each of the queue saw; more where one began with the weights of another."""
        return min(network.images for network in self.networks)


def shipped_networks(sources: dict[str, Network]) -> list[Shipped]:
    """What the files say of networks by their names, called in tables as the sources are."""
    found = []
    for name, source in sources.items():
        images = int(metadata.texts(shipped.path(name))["images_seen"])
        found.append(Shipped(name, source.name, source.scale, *cost(source.block, source.scale), images))
    return found


def page(whole: Measured, queues: Sequence[Measured], command: str, note: str = "", in_place: Sequence[str] = ()) -> str:
    """MODEL_ZOO.md.

    Args:
        whole: networks that ship, whatever they saw.
        queues: those that saw equally many images, with those of their queue.
        command: that writes the page.
        note: what the reader must know of numbers that were measured otherwise, a paragraph.
        in_place: names of networks that do not enlarge, which are in no table.
    """
    found, networks, first, parts = whole.found, whole.networks, whole.found.sets[0], []
    for scale in scales_of([whole, *queues]):
        parts.append(f"## x{scale}: {128 // scale}x{128 // scale} to 128x128\n")
        if any(network.scale == scale for network in networks):
            parts.append(f"{scale_table(found, networks, scale)}\n")
        for one in queues:
            if scale in one.found.scales:
                table = scale_table(one.found, one.networks, scale)
                its = one.found.sets[0]
                parts.append(EQUAL.format(
                    scale=scale, queue=one.queue, images=one.images, table=table, faces=len(its.keys), set=its.name,
                ))  # fmt: skip
    return PAGE.format(
        choice=choice(found, networks), tables="\n".join(parts), set=first.name, faces=f"{len(first.keys):,}",
        baseline=found.baseline, picture=PICTURE, all=TABLES, paper=beside_paper(fair(whole, queues)), command=command,
        pictured=" of networks that saw equally many images" if queues else " of every network that ships",
        compared=COMPARED if queues else "", in_place=_only_cards(in_place),
        marked=", among those measured together" if note else "", note=f"\n{note}\n" if note else "",
    )  # fmt: skip


def _only_cards(names: Sequence[str]) -> str:
    """Where the numbers of networks are that no table has."""
    links = [f"[{name}]({described(name)[1]}/{name}.md)" for name in names]
    return f" Networks that do not enlarge have their numbers there alone:\n  {', '.join(links)}." if links else ""


def scales_of(measured: Sequence[Measured]) -> list[int]:
    """Scales of all their networks, the largest first."""
    return sorted({network.scale for one in measured for network in one.networks}, reverse=True)


def fair(whole: Measured, queues: Sequence[Measured]) -> list[tuple[int, Measured]]:
    """Each scale with the networks that compare best there: those of a queue where there is one."""
    return [(scale, next((one for one in queues if scale in one.found.scales), whole)) for scale in scales_of([whole, *queues])]


def choice(found: results.Results, networks: list[Shipped]) -> str:
    """A row for each purpose: the networks, of each scale, that are first in it on the first set."""
    rows = [["photos of your own", "`wnet restore` without a name: it looks at each photo and takes what suits it"]]
    for title, column, sign in PURPOSES:
        if any(c.id == column for c in found.columns):
            rows.append([title, firsts(networks, partial(penalty, found, column, sign))])
    rows.append(["the least computation", firsts(networks, lambda n: n.macs)])
    return tables.table(["you want", "take"], rows, left=2)


def firsts(networks: list[Shipped], key: Callable[[Shipped], float]) -> str:
    """The network of each scale for which ``key`` is least."""
    scales = sorted({n.scale for n in networks}, reverse=True)
    return ", ".join(f"`{min((n for n in networks if n.scale == scale), key=key).name}`" for scale in scales)


def penalty(found: results.Results, column: str, sign: int, network: Shipped) -> float:
    """What orders the networks, the best first: the mean on the first set, negated where more of it is better."""
    score = found.score(found.sets[0].name, network.scale, network.shown, column)
    return math.inf if score is None else -sign * score.mean


def scale_table(found: results.Results, networks: list[Shipped], scale: int) -> str:
    """The networks of one scale on the first set, the best PSNR first, plain enlargement last."""
    first = found.sets[0].name
    columns = [c for name in COLUMNS for c in found.columns if c.id == name]
    rows = []
    for n in sorted((n for n in networks if n.scale == scale), key=partial(penalty, found, "psnr_dic", 1)):
        cells = (tables.cell(found.score(first, scale, n.shown, c.id), c) for c in columns)
        rows.append(
            [n.card, f"{n.images:,}", f"{n.parameters / 1e6:.1f} M", f"{n.macs / 1e9:.2f}", *cells, against(found, n.shown, scale)]
        )
    cells = (tables.cell(found.score(first, scale, "Bicubic", c.id), c) for c in columns)
    rows.append(["Bicubic", "", "0", "0", *cells, against(found, "Bicubic", scale)])
    header = [
        "network",
        "images seen",
        "parameters",
        "GMACs",
        *(tables.heading(c) for c in columns),
        f"against {found.baseline}, dB",
    ]
    return tables.table(header, rows)


def against(found: results.Results, name: str, scale: int) -> str:
    """The paired difference in PSNR to the baseline."""
    score = found.score(found.sets[0].name, scale, name, "psnr_dic")
    if score is None or score.difference is None:
        return "–"
    difference = score.difference
    return f"{difference['mean']:+.2f}" if difference["significant"] else f"≈ ({difference['mean']:+.2f})"


def beside_paper(measured: list[tuple[int, Measured]]) -> str:
    """Ours and the paper's numbers of the networks that both have, on the first set that is called after one of the paper's."""
    found = measured[0][1].found
    test_set = next((s.name for s in found.sets if tables.paper_set(s.name)), None)
    if test_set is None:
        return "No set here is called after one of the paper's."
    columns = [c for name in ("psnr_dic", "ssim_dic", "lpips") for c in found.columns if c.id == name]
    rows = []
    for scale, one in measured:
        if (tables.paper_set(test_set), scale) not in paper.TABLE_1_PLACES:
            continue
        place = paper.TABLE_1_PLACES.index((tables.paper_set(test_set), scale))
        for (name, mode), triples in paper.TABLE_1.items():
            score = [one.found.score(test_set, scale, plain(name), c.id) for c in columns]
            if score[0] is None:
                continue
            ours = [tables.number(s.mean, c.decimals) if s else "–" for s, c in zip(score, columns)]
            theirs = [f"*{tables.number(value, c.decimals)}*" for value, c in zip(triples[place], columns)]
            rows.append([f"{name}{f', mode {mode}' if mode else ''}", f"x{scale}", *ours, *theirs])
    titles = [c.title for c in columns]
    return tables.table(["network", "scale", *titles, *(f"{title}, *paper*" for title in titles)], rows, left=2)


def plain(name: str) -> str:
    """The paper's name of a network as the registry has it."""
    return name.replace("-", "")


def details(found: results.Results, command: str) -> str:
    """All tables of the benchmark."""
    head = "# All numbers of the model zoo\n\n[MODEL_ZOO.md](../../MODEL_ZOO.md) is the page to read; this one has the rest of\n\n"
    return f"{head}    {command}\n\n{_body(found, with_paper=True)}"


def more_details(found: results.Results) -> str:
    """All tables of another benchmark, for a part of that page."""
    return _body(found).replace("\n#", "\n##")


def _body(found: results.Results, with_paper: bool = False) -> str:
    """The tables without their title."""
    return tables.markdown(found, with_paper).partition("\n")[2].lstrip("\n")
