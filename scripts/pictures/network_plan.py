"""Where draw_networks.py draws what network_record.py has recorded: boxes in columns, and ways between them that cross no box."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from network_record import Node, Record

#: Kinds of edges.
FLOW, MAP, SKIP = "flow", "map", "skip"
#: Heights of a line and of the space between boxes, distance of lines that run beside each other, and margins of the picture.
LINE, GAP, TRACK, MARGIN, HEAD = 20, 22, 9, 12, 92
#: Widths of letters in Arial, as parts of the size; 0.56 for all others.
LETTERS = {"ijl": 0.22, " ,.ftI()": 0.28, "r": 0.34, "cksvxyzJ": 0.5, "mM": 0.84, "wDNRUHC": 0.73, "ABEKPSVXY": 0.67, "WOGQ": 0.86}
#: Most width of a box, unless its words need more, and about the width that a narrow picture grows to.
BROAD, WIDE = 190, 860

Key = TypeVar("Key", bound=Hashable)


@dataclass(eq=False)
class Box:
    """Blocks that follow each other on one grid, one a line, and below them the shape that each of them gives."""

    nodes: list[Node]
    column: int
    lines: list[tuple[Node, str]] = field(default_factory=list)
    row: int = 0
    x: float = 0
    y: float = 0

    @property
    def height(self) -> float:
        return LINE * len(self.lines) + 17 + 16 * len(self.nodes[-1].outputs)

    def middle(self, node: Node) -> float:
        """Height at which a line enters a block or leaves it."""
        return self.y + LINE * (next(i for i, (owner, _) in enumerate(self.lines) if owner is node) + 0.5)


@dataclass
class Edge:
    """From one node to another; ``top``: into the box from above, else from the side; ``bottom``: out of it below."""

    source: Node
    target: Node
    kind: str
    top: bool
    bottom: bool

    @property
    def key(self) -> tuple[Node, str]:
        """Edges of one key share their way as far as it is the same."""
        return self.source, self.kind


class Diagram:
    """The places of a record's nodes, and the ways between them."""

    def __init__(self, found: Record):
        self.record = found
        self.sides = sorted({node.shape[1] for node in found.nodes}, reverse=True)
        self.map = map_nodes(found.nodes)
        self.branch = map_branch(found.nodes, self.map)
        self.rows = self._rows()
        self.boxes = [box for row in self.rows for box in row]
        self.box_of = {node: box for box in self.boxes for node in box.nodes}
        self.edges = [edge for node in found.nodes for edge in self._edges(node)]
        self._place()

    def _rows(self) -> list[list[Box]]:
        """A box a row; the map on all other grids is one row, below the block that makes it."""
        rows: list[list[Box]] = []
        resized = [node for node in self.record.nodes if node in self.map and node.name == "interpolate"]
        for node in self.record.nodes:
            if node in resized:
                continue
            last = rows[-1][-1] if rows else None
            if last and self._continues(node, last):
                last.nodes.append(node)
            else:
                rows.append([self._box(node)])
            made = [other for other in resized if other.inputs[0] is node]
            if made:
                rows.append([self._box(other) for other in made])
        room = max(72, WIDE / len(self.sides) - 80)
        for number, row in enumerate(rows):
            for box in row:
                box.row = number
                box.lines = [(node, text) for node in box.nodes for text in wrapped(node.label, room)]
        return rows

    def _box(self, node: Node) -> Box:
        return Box([node], self.sides.index(node.shape[1]))

    def _continues(self, node: Node, box: Box) -> bool:
        before = box.nodes[-1]
        alike = before.shape == node.shape and (before in self.branch) == (node in self.branch)
        return alike and before.kind != "input" and main_input(node, self.map) is before

    def _edges(self, node: Node) -> list[Edge]:
        box, main, edges = self.box_of[node], main_input(node, self.map), []
        for source in dict.fromkeys(node.inputs):
            home = self.box_of[source]
            place = box.nodes.index(node)
            if home is box and place and box.nodes[place - 1] is source:
                continue  # the line above
            added = node.name.endswith("add") and source is not main
            kind = MAP if source in self.map else SKIP if added else FLOW
            last = source is home.nodes[-1] and home is not box
            top = last and place == 0 and box.row == home.row + 1 and source is main
            edges.append(Edge(source, node, kind, top, last))
        return edges

    def _place(self) -> None:
        """Heights first: they say which vertical ways overlap, and so how far apart the columns are."""
        room = [width_of(text, 12) + 4 + width_of(short(node), 10.5) for box in self.boxes for node, text in box.lines]
        needed = max(*room, *(width_of(shape_of(box.nodes[-1]), 11) for box in self.boxes)) + 10
        self.width = max(needed, min(BROAD, WIDE / len(self.sides) - 40))
        across = [edge for edge in self.edges if edge.bottom or self.box_of[edge.source].column != self.box_of[edge.target].column]
        self.tracks = share({edge.key: self._span(edge, across) for edge in across}, lambda key: self.box_of[key[0]].row)
        y = HEAD
        self.floors = []  # where the space below a row begins
        for number, row in enumerate(self.rows):
            for box in row:
                box.y = y
            y += max(box.height for box in row)
            self.floors.append(y)
            y += GAP + TRACK * max((lane for (node, _), lane in self.tracks.items() if self.box_of[node].row == number), default=0)
        self.height = y
        self._place_columns()

    def _span(self, edge: Edge, across: list[Edge]) -> tuple[float, float]:
        """From where to where a horizontal way goes, in columns, for all edges of its key."""
        column = self.box_of[edge.source].column
        ends = [column + (0.2 if edge.kind == SKIP else 0.5) if edge.bottom else column + 0.95 * (edge.kind == MAP)]
        for other in across:
            if other.key == edge.key:
                column = self.box_of[other.target].column
                ends.append(column + (0.5 if other.top else 0.95 if other.kind == MAP else 0.05))
        return min(ends), max(ends)

    def _place_columns(self) -> None:
        spans: dict[tuple[int, bool, tuple], tuple[float, float]] = {}
        for edge in self.edges:
            for column, top, bottom in self._runs(edge):
                key = (column, edge.kind == MAP, edge.key)
                low, high = spans.get(key, (top, bottom))
                spans[key] = min(low, top), max(high, bottom)
        self.lanes = share(spans, lambda key: key[:2])
        count = len(self.sides)
        most = {(column, right): 0 for column in range(count) for right in (False, True)}
        for column, right, key in self.lanes:
            most[column, right] = max(most[column, right], self.lanes[column, right, key] + 1)
        x, self.xs = float(MARGIN), []
        for column in range(count):
            x += 8 + TRACK * most[column, False]
            self.xs.append(x)
            x += self.width + 4 + TRACK * most[column, True]
        self.total = x + MARGIN
        for box in self.boxes:
            box.x = self.xs[box.column]

    def _track(self, edge: Edge) -> float:
        """Height of an edge's way through the space below its source."""
        return self.floors[self.box_of[edge.source].row] + 8 + TRACK * self.tracks.get(edge.key, 0)

    def _runs(self, edge: Edge) -> list[tuple[int, float, float]]:
        """Column, top and bottom of an edge's vertical ways beside columns."""
        source, target = self.box_of[edge.source], self.box_of[edge.target]
        end = target.middle(edge.target)
        if edge.top:
            return []
        if edge.bottom:
            return [(target.column, self._track(edge), end)]
        start = source.middle(edge.source)
        if source.column == target.column:
            return [(target.column, start, end)]
        between = self._track(edge)
        return [(source.column, start, between), (target.column, between, end)]

    def path(self, edge: Edge) -> list[tuple[float, float]]:
        """The corners of an edge's way."""
        source, target = self.box_of[edge.source], self.box_of[edge.target]
        right = edge.kind == MAP
        track = self._track(edge)
        points = []
        if edge.bottom:
            x = source.x + (16 if edge.kind == SKIP else self.width / 2)
            points += [(x, source.y + source.height), (x, track)]
        else:
            points.append((source.x + self.width * right, source.middle(edge.source)))
        if edge.top:
            x = target.x + self.width / 2
            return [*points, (x, track), (x, target.y)]
        for column, top, bottom in self._runs(edge):
            x = self._lane(column, right, edge.key)
            points += [(x, top), (x, bottom)]
        return [*points, (target.x + self.width * right, target.middle(edge.target))]

    def _lane(self, column: int, right: bool, key: tuple) -> float:
        away = 11 + TRACK * self.lanes[column, right, key]
        return self.xs[column] + (self.width + away if right else -away)


def share(spans: dict[Key, tuple[float, float]], place: Callable[[Key], Hashable]) -> dict[Key, int]:
    """A lane for each way, such that no two ways of one place and lane overlap."""
    lanes: dict[Key, int] = {}
    taken: dict[tuple[Hashable, int], list[tuple[float, float]]] = defaultdict(list)
    for key, (start, end) in spans.items():
        lane = 0
        while any(start < above and below < end for below, above in taken[place(key), lane]):
            lane += 1
        taken[place(key), lane].append((start, end))
        lanes[key] = lane
    return lanes


def map_nodes(nodes: list[Node]) -> set[Node]:
    """The block whose output is the map (an output beside the face), and the map on other grids."""
    found = {node for node in nodes if set(node.outputs) - {"sr"}}
    for node in reversed(nodes):
        if node in found and node.name == "interpolate":
            found.update(node.inputs)
    for node in nodes:
        if node.name == "interpolate" and found.issuperset(node.inputs):
            found.add(node)
    return found


def map_branch(nodes: list[Node], maps: set[Node]) -> set[Node]:
    """The map, and what serves for nothing else."""
    branch = set(maps)
    for node in reversed(nodes):
        readers = [other for other in nodes if node in other.inputs]
        if readers and branch.issuperset(readers):
            branch.add(node)
    return branch


def main_input(node: Node, maps: set[Node]) -> Node | None:
    """The first input of a block, and of a function the one computed last; the map only if there is no other."""
    inputs = [source for source in node.inputs if source not in maps] or node.inputs
    if node.kind == "block":
        return inputs[0]
    return max(inputs, key=lambda source: source.order, default=None)


def wrapped(label: str, room: float) -> list[str]:
    """A label in lines that a box has room for."""
    lines = [""]
    for word in label.split():
        longer = f"{lines[-1]} {word}".strip()
        fits = not lines[-1] or width_of(longer, 12) <= room
        lines[-1:] = [longer] if fits else [lines[-1], word]
    return lines


def width_of(text: str, size: float) -> float:
    """About the width of a text in Arial, and a little more for other fonts."""
    return 1.04 * size * sum(next((width for letters, width in LETTERS.items() if letter in letters), 0.56) for letter in text)


def shape_of(node: Node) -> str:
    return " × ".join(map(str, node.shape))


def short(node: Node) -> str:
    """A node's parameters: ``16.4k``."""
    count = node.parameters
    if count < 1000:
        return str(count or "")
    unit, letter = (1e3, "k") if count < 999_500 else (1e6, "M")
    return f"{count / unit:.{2 - int(math.log10(count / unit))}f}{letter}"
