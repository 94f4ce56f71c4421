"""``report.html``: the results as one page that needs no network.

Tables come from Jinja, charts from Vega-Lite, whose code is taken from the package vl-convert-python and written into the page;
the face browser is ``report.js``. A content security policy in the page forbids every request.
"""

from __future__ import annotations

import base64
import io
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wnet_arch import disk
from wnet_arch.benchmark import charts, drawings, stats, tables
from wnet_arch.benchmark.cache import Cache
from wnet_arch.benchmark.drawings import TRUE, DrawnFace
from wnet_arch.benchmark.measures import Column
from wnet_arch.benchmark.results import Results, SetRecord
from wnet_arch.errors import UsageError, install_extra
from wnet_arch.faces import labels

HERE = Path(__file__).parent
#: Faces of each network's worst and best cases, at most.
CASES = 3
_PARTS = "facial parts"


def check_installed() -> None:
    """Raises :class:`UsageError` if what the report is made with is not installed."""
    try:
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        hint = f"{install_extra('report')}, or leave the report out with --report-faces 0"
        raise UsageError(f"the report needs {error.name}: {hint}") from error


def write(results: Results, out: str | os.PathLike, count: int = 48) -> Path:
    """Writes ``report.html`` into the folder of a benchmark.

    Args:
        results: of that benchmark.
        out: its folder, with the cache.
        count: faces to show of each set and scale.
    """
    check_installed()
    path = Path(out) / "report.html"
    disk.write_text(path, page(results, out, count))
    return path


def page(results: Results, out: str | os.PathLike, count: int) -> str:
    """The page as HTML."""
    import jinja2

    places = []
    with Cache(out) as cache:
        for test_set in results.sets:
            places += [_place(results, cache, test_set, scale, count) for scale in results.scales]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    data = {
        "places": {place["id"]: {key: place[key] for key in ("charts", "networks", "best", "faces", "cases")} for place in places},
        "columns": [_column(column) for column in results.columns],
        "colours": charts.colours(list(dict.fromkeys(network.name for network in results.networks))),
        "true": TRUE,
    }
    return environment.get_template("report.html.j2").render(
        results=results,
        places=places,
        groups=column_groups(results.columns),
        colours=data["colours"],
        data=data,
        method=stats.METHOD,
        backbones=tables.backbones(results.columns),
        number=tables.number,
        sortable=_sortable,
        css=_inline("report.css"),
        script=_inline("report.js"),
        library=_library(),
        true=TRUE,
    )


def _inline(name: str):
    from markupsafe import Markup

    return Markup((HERE / name).read_text(encoding="utf-8"))


def _library():
    """Vega, Vega-Lite and vega-embed as one module that sets ``window.vegaEmbed``."""
    import vl_convert
    from markupsafe import Markup

    code = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its argument has a default, which its types do not say
    return Markup(code.replace("</script", "<\\/script"))


def _column(column: Column) -> dict:
    title = f"{column.title} ({column.protocol})" if column.protocol else column.title
    return {**asdict(column), "title": title}


@dataclass(frozen=True)
class Group:
    """Columns under one heading. ``first``: they are seen when the page opens; all of them together fit no screen."""

    heading: str
    columns: list[Column]
    first: bool


def column_groups(columns: list[Column]) -> list[Group]:
    """Columns under the heading of their protocol, in order; the first protocol and whole faces are seen first."""
    groups: dict[str, list[Column]] = {}
    for column in columns:
        groups.setdefault(_heading(column), []).append(column)
    protocols = [heading for heading in groups if heading.startswith("protocol ")]
    return [Group(heading, found, heading not in (*protocols[1:], _PARTS)) for heading, found in groups.items()]


def _heading(column: Column) -> str:
    if column.protocol:
        return f"protocol {column.protocol}"
    if column.key.startswith("parsing_iou_"):
        return _PARTS
    return "downstream" if column.key.startswith(("landmark", "identity", "parsing")) else "perceptual"


def _place(results: Results, cache: Cache, test_set: SetRecord, scale: int, count: int) -> dict:
    """All that the page shows of one set and scale."""
    names = [network.name for network in results.at(scale)]
    cases = worst_and_best(results, test_set, scale)
    keys = choose_faces(test_set, count, cases)
    drawn = drawings.faces(results, cache, test_set, scale, keys)
    drawings.add_landmarks(results, cache, drawn, scale)
    drawings.add_parsing(results, cache, drawn, scale)
    drawings.add_estimated(results, cache, drawn, test_set, scale)
    rows = {key: index for index, key in enumerate(test_set.keys)}
    shown = set(keys)
    return {
        "id": f"{test_set.name}|{scale}",
        "set": test_set,
        "scale": scale,
        "outside": tables.is_outside(results, test_set),
        "networks": names,
        "best": best_network(results, test_set, scale),
        "charts": charts.of_place(results, test_set.name, scale),
        "faces": [_face(results, face, test_set, scale, rows[face.key]) for face in drawn],
        "cases": [[name, _shown(cases[name], shown)] for name in names],
    }


def _shown(both: dict[str, list], keys: set[str]) -> dict[str, list]:
    return {kind: [case for case in found if case[0] in keys] for kind, found in both.items()}


def _sortable(value: float) -> str:
    """A number as JavaScript reads it, empty for one that is not known."""
    if math.isnan(value):
        return ""
    return str(value).replace("inf", "Infinity")


def best_network(results: Results, test_set: SetRecord, scale: int) -> str:
    """The network that is first by the first column's mean over the faces that all have; of equal ones, the one named last."""
    networks = results.at(scale)
    values = np.column_stack([results.values[test_set.name, scale, network.name][:, 0] for network in networks])
    means = stats.common_means(values) * (1 if results.columns[0].better == "higher" else -1)
    ranked = dict(zip((network.name for network in networks), np.where(np.isnan(means), -np.inf, means)))
    return max(reversed(ranked), key=ranked.__getitem__)


def worst_and_best(results: Results, test_set: SetRecord, scale: int) -> dict[str, dict[str, list]]:
    """For each network its worst and best faces by the first column: name to ``worst`` and ``best``, lists of (key, value)."""
    better = results.columns[0].better
    found = {}
    for network in results.at(scale):
        values = results.values[test_set.name, scale, network.name][:, 0]
        order = [i for i in np.argsort(values if better == "higher" else -values, kind="stable") if not np.isnan(values[i])]
        faces = [(test_set.keys[i], _rounded(values[i], 4)) for i in order]
        found[network.name] = {"worst": faces[:CASES], "best": faces[::-1][:CASES]}
    return found


def choose_faces(test_set: SetRecord, count: int, cases: dict) -> list[str]:
    """``count`` faces in the set's order: of every network the worst and best cases as far as half of the room allows, then
    faces spread evenly over the set.
    """
    wanted: dict[str, None] = {}
    for rank in range(CASES):
        for both in cases.values():
            for kind in ("worst", "best"):
                if len(wanted) < max(count // 2, 1) and rank < len(both[kind]):
                    wanted[both[kind][rank][0]] = None
    rest = [key for key in test_set.keys if key not in wanted]
    room = min(count - len(wanted), len(rest))
    if room > 0:
        wanted.update(dict.fromkeys(rest[i] for i in np.linspace(0, len(rest) - 1, room).round().astype(int)))
    return [key for key in test_set.keys if key in wanted]


def _face(results: Results, face: DrawnFace, test_set: SetRecord, scale: int, row: int) -> dict:
    values = {
        network.name: [_rounded(value, column.decimals + 1) for value, column in
                       zip(results.values[test_set.name, scale, network.name][row], results.columns)]
        for network in results.at(scale)
    }  # fmt: skip
    return {
        "key": face.key,
        "size": list(face.hr.shape[:2]),
        "lr": _uri(face.lr, "PNG"),
        "images": {who: _uri(image, "WEBP") for who, image in {TRUE: face.hr, **face.sr}.items()},
        "landmarks": {who: _points(points) for who, points in face.landmarks.items()},
        "parsing": {who: _uri(labels.colorize(found), "PNG") for who, found in face.parsing.items()},
        "estimated": {who: _uri(found, "PNG") for who, found in face.estimated.items()},
        "values": values,
    }


def _rounded(value: float, decimals: int) -> float | str | None:
    """JSON knows neither NaN nor infinity."""
    if np.isnan(value):
        return None
    return "∞" if np.isinf(value) else round(float(value), decimals)


def _points(points: np.ndarray) -> list | None:
    return None if np.isnan(points).any() else [round(float(value), 1) for value in points.ravel()]


def _uri(image: np.ndarray, kind: str) -> str:
    """A picture inside the page. Faces are WebP without loss: compression must not blur what is compared."""
    picture, buffer = Image.fromarray(image), io.BytesIO()
    picture.save(buffer, kind, **({"lossless": True, "method": 6} if kind == "WEBP" else {"optimize": True}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
