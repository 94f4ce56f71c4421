"""Charts of the report as Vega-Lite specifications: plain data, drawn in the page by the library that is inlined there."""

from __future__ import annotations

import math

import numpy as np

from wnet_arch.benchmark.results import Results

#: Okabe and Ito's colours, which colour-blind people tell apart, darkened where they would be faint on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b85c9a", "#e69f00", "#3aa0d8", "#7f6a00", "#6f6f6f")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
#: Pixels of a legend's column: its line with the gaps, and each letter of a name.
_SYMBOL, _LETTER = 36, 7


def colours(names: list[str]) -> dict[str, str]:
    """A colour for every network, the same in all charts."""
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _colour_scale(names: list[str]) -> dict:
    return {"domain": names, "range": list(colours(names).values())}


def _base(description: str, height: int) -> dict:
    quiet = {"labelColor": "currentColor", "titleColor": "currentColor", "domainColor": "#8888", "tickColor": "#8888"}
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": description,
        "width": "container",
        "height": height,
        "background": None,
        "config": {
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            "axis": {
                **quiet,
                "gridColor": "#8883",
                "labelFontSize": 12,
                "labelSeparation": 8,
                "titleFontSize": 12,
                "titleFontWeight": "normal",
            },
            "legend": {
                "labelColor": "currentColor",
                "titleColor": "currentColor",
                "labelFontSize": 12,
                "orient": "top",
            },
        },
    }


def identity_curve(results: Results, set_name: str, scale: int) -> dict | None:
    """Share of faces whose cosine similarity with the true face reaches a threshold (the paper's Figure 6).

    A face that was not found in the SR image reaches none. ``None`` if identity was not measured.
    """
    column = results.column("identity")
    if column is None:
        return None
    names = [network.name for network in results.at(scale)]
    measured = {name: results.values[set_name, scale, name][:, column] for name in names}
    thresholds = _thresholds(np.concatenate(list(measured.values())))
    rows = []
    for name, values in measured.items():
        with np.errstate(invalid="ignore"):
            shares = (values[:, None] >= thresholds).mean(0)
        rows += [{"network": name, "threshold": float(t), "share": round(float(s), 5)} for t, s in zip(thresholds, shares)]
    spec = _base(f"Identity curve of {set_name}, x{scale}: share of faces above each cosine similarity", 320)
    dashes = [_DASHES[i // len(COLOURS) % len(_DASHES)] for i in range(len(names))]
    field = {"field": "network", "type": "nominal", "sort": names, "title": None}
    x = {
        "field": "threshold",
        "type": "quantitative",
        "scale": {"zero": False},
        "title": "cosine similarity with the true face, at least",
    }
    legend = {"columns": {"expr": f"clamp(floor(width / {_SYMBOL + _LETTER * max(map(len, names))}), 1, 6)"}}
    lines = {
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {
            "x": x,
            "y": {"field": "share", "type": "quantitative", "title": "share of faces", "axis": {"format": ".0%"}},
            "color": {**field, "scale": _colour_scale(names), "legend": legend},
            "strokeDash": {**field, "scale": {"domain": names, "range": dashes}, "legend": legend},
        },
    }
    return {**spec, "data": {"values": rows}, "layer": [lines, _nearest_rule(names, x)]}


def _thresholds(values: np.ndarray) -> np.ndarray:
    """A hundred steps from below the lowest similarity to 1."""
    lowest = np.nanmin(values) if not np.isnan(values).all() else 0.0
    return np.round(np.linspace(np.floor(min(lowest, 0.95) * 20) / 20, 1, 101), 4)


def _nearest_rule(names: list[str], x: dict) -> dict:
    """A rule under the pointer with the values of all networks in its tooltip."""
    name_fields = [
        {"field": name.replace(".", "\\.").replace("[", "\\["), "type": "quantitative", "format": ".1%"} for name in names
    ]
    return {
        "transform": [{"pivot": "network", "value": "share", "groupby": ["threshold"]}],
        "mark": {"type": "rule", "color": "#8888", "strokeWidth": 1},
        "encoding": {
            "x": x,
            "opacity": {"condition": {"param": "at", "empty": False, "value": 1}, "value": 0},
            "tooltip": [{"field": "threshold", "type": "quantitative"}, *name_fields],
        },
        "params": [
            {
                "name": "at",
                "select": {"type": "point", "fields": ["threshold"], "nearest": True, "on": "pointerover", "clear": "pointerout"},
            }
        ],
    }


def cost_quality(results: Results, set_name: str, scale: int) -> dict | None:
    """Multiply-accumulates of a face against a metric; the area of a point is the number of parameters. report.js writes the names.

    The signal ``metric`` (a column id) selects the metric. ``None`` if the cost of fewer than two networks is known.
    """
    networks = [(network, network.macs) for network in results.at(scale) if network.macs]
    if len(networks) < 2:
        return None
    rows = []
    for network, macs in networks:
        for column in results.columns:
            score = results.score(set_name, scale, network.name, column.id)
            if score is not None and score.measured and math.isfinite(score.mean):
                rows.append(
                    {
                        "network": network.name,
                        "GMACs": round(macs / 1e9, 3),
                        "parameters": network.parameters,
                        "metric": column.id,
                        "value": round(score.mean, column.decimals + 1),
                        "low": None if math.isnan(score.low) else score.low,  # of one face
                        "high": None if math.isnan(score.high) else score.high,
                    }
                )
    names = [network.name for network in results.at(scale)]
    y = _number("value", scale={"zero": False}, title=None)
    tooltip = [{"field": "network"}, *map(_number, ("value", "GMACs", "parameters"))]
    log = {"type": "log", "nice": False, "padding": 24}  # Vega's nice ends, powers of ten, leave half of a phone empty
    spec = _base(f"Cost against quality on {set_name}, x{scale}", 320)
    return {
        **spec,
        **_choice_of_metric(results, rows),
        "encoding": {
            "x": _number("GMACs", scale=log, title="multiply-accumulates of one face (10⁹, log scale)"),
            "color": {"field": "network", "type": "nominal", "scale": _colour_scale(names), "legend": None},
            "tooltip": tooltip,
        },
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": {"y": {**y, "field": "low"}, "y2": {"field": "high"}}},
            {
                "mark": {"type": "circle", "opacity": 0.9},
                "encoding": {"y": y, "size": _number("parameters", scale={"range": [60, 900]}, legend=None)},
            },
        ],
    }


def _number(field: str, **more) -> dict:
    return {"field": field, "type": "quantitative", **more}


def _choice_of_metric(results: Results, rows: list[dict]) -> dict:
    """Data of which the signal ``metric`` selects a column."""
    return {
        "data": {"values": rows},
        "params": [{"name": "metric", "value": results.columns[0].id}],
        "transform": [{"filter": "datum.metric === metric"}],
    }


def differences(results: Results, set_name: str, scale: int) -> dict | None:
    """Paired differences to the baseline with their intervals; hollow where not significant. Signal ``metric`` as above."""
    rows = []
    for network in results.at(scale):
        for column in results.columns:
            score = results.score(set_name, scale, network.name, column.id)
            found = None if score is None else score.difference
            if found and all(math.isfinite(found[key]) for key in ("mean", "low", "high")):
                rows.append({"network": network.name, "metric": column.id, **found})
    if not rows:
        return None
    names = [network.name for network in results.at(scale)]
    spec = _base(f"Differences to {results.baseline} on {set_name}, x{scale}", 30 + 34 * len(names))
    colour = {"field": "network", "type": "nominal", "scale": _colour_scale(names), "legend": None}
    filled = {"condition": {"test": "datum.significant", "value": 1}, "value": 0}
    tooltip = [{"field": "network"}, *(_number(field, format=".4~g") for field in ("mean", "low", "high", "p"))]
    zero = {"x": {"datum": 0}, "y": {"value": 0}, "y2": {"value": "height"}, "color": {"value": "#888"}}
    title = f"difference to {results.baseline}, with 95 % interval"
    return {
        **spec,
        **_choice_of_metric(results, rows),
        "encoding": {"y": {"field": "network", "type": "nominal", "sort": names, "title": None}, "color": colour},
        "layer": [
            {"mark": "rule", "encoding": zero},
            {
                "mark": {"type": "rule", "strokeWidth": 2.5},
                "encoding": {"x": _number("low", title=title), "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "size": 110, "strokeWidth": 2},
                "encoding": {"x": _number("mean"), "fill": colour, "fillOpacity": filled, "tooltip": tooltip},
            },
        ],
    }


def of_place(results: Results, set_name: str, scale: int) -> dict[str, dict | None]:
    """All charts of a set and scale by name."""
    return {
        "identity": identity_curve(results, set_name, scale),
        "cost": cost_quality(results, set_name, scale),
        "differences": differences(results, set_name, scale),
    }
