"""The figures of what is searched: score against parameters, depth, time and size; rules as in figures.py."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from frostline.search.report import figures
from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT, Row, View
from frostline.search.words import number, short_models, value
from frostline.spaces import Metric

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_FEWEST = 3
"""Trials from which parallel coordinates show anything."""
BEST, MOST = 100, 300
"""Of a search of more than so many trials, so many of the best have a line, and of the others an even sample."""
_LINES = {DONE: 1.0, STOPPED: 0.45, OPEN: 0.45}
"""How opaque the line of a trial is, beside how many there are."""


def parallel(view: View) -> go.Figure | None:
    """A vertical axis a parameter and one for the score, a line a trial, coloured by its score.

    Drawn as plain lines: plotly's own kind needs WebGL, does not print and does not follow the page's colours.
    """
    spaces = {name: space for name, space in view.plan.search.distributions.items() if not space.single()}
    rows = [row for row in view.rows if row.seen is not None and row.kind in _LINES]
    rows = [row for row in rows if spaces.keys() <= row.trial.params.keys()]
    if len(rows) < _FEWEST or not spaces:
        return None
    rows = thinned(rows, view.metric)
    scores = [row.seen for row in rows if row.seen is not None]
    low, high = min(scores), max(scores)
    axes: list[tuple[str, Callable[[Row], float], dict[float, str]]] = []
    for name, space in spaces.items():
        place, marks = _along(name, space)
        axes.append((name, lambda row, name=name, place=place: place(row.trial.params[name], row.number), marks))  # type: ignore[misc]
    span = (high - low) or 1.0
    marks = {part: f"{low + part * span:.2f}" for part in (0.0, 0.25, 0.5, 0.75, 1.0)}
    axes.append((view.metric.name, lambda row: ((row.seen or 0.0) - low) / span, marks))
    last = len(axes) - 1
    hidden = {"visible": False, "fixedrange": True}
    shown = figures.figure(
        430, {**hidden, "range": [-0.3, last + 0.45]}, {**hidden, "range": [-0.04, 1.16]}, hovermode="closest"
    )
    shown.update_layout(margin={"t": 40, "b": 8})
    count = len(figures.RAMP)
    for level, color in enumerate(figures.RAMP):
        for kind in (STOPPED, OPEN, DONE):
            some = [
                row
                for row in rows
                if row.kind == kind and min(count - 1, int(((row.seen or 0.0) - low) / span * count)) == level
            ]
            if some:
                shown.add_trace(_polylines(some, axes, kind, color, len(rows)))
    for level, color in enumerate(figures.RAMP):  # the legend: what a colour means
        start, stop = (low + span * part / count for part in (level, level + 1))
        shown.add_scatter(
            x=[None],
            y=[None],
            mode="lines",
            line={"color": color, "width": 4},
            name=f"{start:.2f} to {stop:.2f}",
            hoverinfo="skip",
        )
    for at, (name, _, marks) in enumerate(axes):
        shown.add_shape(type="line", x0=at, x1=at, y0=0, y1=1, layer="below", line={"width": 1, "color": _AXIS})
        for y, text in marks.items():
            shown.add_annotation(
                x=at, y=y, text=text, showarrow=False, xanchor="left", xshift=3, font={"size": 11}, bgcolor="white"
            )
        shown.add_annotation(x=at, y=1.08, text=f"<b>{html.escape(name)}</b>", showarrow=False, xanchor="center")
    return shown


def thinned(rows: Sequence[Row], metric: Metric) -> list[Row]:
    """All rows where they are few, else the best and an even sample of the others; by number."""
    if len(rows) <= MOST:
        return list(rows)
    order = sorted(rows, key=lambda row: metric.objective(row.seen or 0.0), reverse=True)
    others, left = order[BEST:], MOST - BEST
    sample = [others[at * len(others) // left] for at in range(left)]
    return sorted([*order[:BEST], *sample], key=lambda row: row.number)


_AXIS = "#8b9199"


def _polylines(
    rows: Sequence[Row],
    axes: Sequence[tuple[str, Callable[[Row], float], dict[float, str]]],
    kind: str,
    color: str,
    of: int,
) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    who: list[int | None] = []
    for row in rows:
        for at, (_, place, _) in enumerate(axes):
            x.append(at)
            y.append(number(place(row)))
            who.append(row.number)
        x.append(None)
        y.append(None)
        who.append(None)
    return go.Scatter(
        x=x[:-1],
        y=y[:-1],
        customdata=who[:-1],
        mode="lines",
        connectgaps=False,
        opacity=_LINES[kind] * max(0.15, figures.tone(of // 4)),
        line={
            "color": color,
            "width": 2 if kind == DONE else 1.25,
            "dash": "solid" if kind == DONE or of > figures.MANY else "dot",
        },
        showlegend=False,
        hovertemplate="trial %{customdata}<extra></extra>",
    )


def decades(low: float, high: float) -> list[float]:
    """What is written along a log axis: the powers of ten on it, its ends where those are fewer than two."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    inside = [at for at in powers if low * 0.999 <= at <= high * 1.001]
    return inside if len(inside) > 1 else [low, high]


def _along(name: str, space: BaseDistribution) -> tuple[Callable[[Any, int], float], dict[float, str]]:
    """How a parameter is put on an axis from 0 to 1: value and trial -> place, and what is written along it."""
    choices = getattr(space, "choices", None)
    if choices is not None:
        choices, words = list(choices), short_models(choices) if name == "model" else {}
        step = 1 / max(1, len(choices) - 1)

        def chosen(of: Any, trial: int) -> float:
            return step * (choices.index(of) + 0.1 * aside(trial)) if of in choices else 0.0

        return chosen, {at * step: html.escape(str(words.get(of, of))) for at, of in enumerate(choices)}
    low, high, log = float(space.low), float(space.high), bool(getattr(space, "log", False))  # type: ignore[attr-defined]
    if log:
        width = math.log(high / low)
        marks = {math.log(of / low) / width: f"{of:g}" for of in decades(low, high)}
        return lambda of, trial: math.log(max(float(of), low) / low) / width, marks
    parts = [0.0, 0.5, 1.0]
    if type(space).__name__ == "IntDistribution":
        steps = int(high - low)
        parts = [at / steps for at in range(0, steps + 1, max(1, round(steps / 8)))]
    return lambda of, trial: (float(of) - low) / (high - low), {at: f"{low + at * (high - low):g}" for at in parts}


def slice_of(view: View, name: str, space: BaseDistribution) -> go.Figure | None:
    """Score against one parameter."""
    rows = [row for row in view.rows if row.seen is not None and name in row.trial.params]
    if not rows or space.single():
        return None
    place, axis = scale(name, space, len(rows) > figures.MANY)
    shown = figures.figure(
        270,
        {"title": {"text": html.escape(name), "standoff": 6}, **axis},
        figures.score_axis(view),
        showlegend=False,
    )
    shown.update_layout(margin={"t": 10})
    at = {row.number: place(row.trial.params[name], row.number) for row in rows}
    names = {row.number: html.escape(value(row.trial.params[name])) for row in rows}
    kinds = figures.points(view, rows, at)
    for trace in kinds:
        if trace.customdata is not None:
            trace.text = [names[of] for of in trace.customdata]
            trace.hovertemplate = "trial %{customdata}: %{y:.4f}<br>" + html.escape(name) + " %{text}<extra></extra>"
    shown.add_traces(kinds)
    return shown


def aside(trial: int) -> float:
    """From -0.25 to 0.25, spread evenly over the trials, so that points of one value do not hide each other."""
    return 0.5 * ((trial * 0.618034) % 1 - 0.5)


def scale(name: str, space: BaseDistribution, many: bool) -> tuple[Any, dict[str, Any]]:
    """How a parameter is put on an axis: value and trial -> place, and the axis.

    Choices stand side by side, their points spread a little by the trial's number, so that they do not hide each other.
    """
    choices = getattr(space, "choices", None)
    if choices is not None:
        choices = list(choices)
        words = short_models(choices) if name == "model" else {choice: str(choice) for choice in choices}

        def spread(value: Any, trial: int) -> float:
            return choices.index(value) + aside(trial) if value in choices else math.nan

        labels = [html.escape(words[choice]) for choice in choices]
        return spread, {
            "tickvals": [*range(len(choices))],
            "ticktext": labels,
            "range": [-0.5, len(choices) - 0.5],
            "showgrid": False,
        }
    low, high, log = float(space.low), float(space.high), bool(getattr(space, "log", False))  # type: ignore[attr-defined]
    if log:
        return lambda value, trial: float(value), {
            "type": "log",
            "range": [math.log10(low) - 0.05, math.log10(high) + 0.05],
            "tickvals": decades(low, high),
            "ticktext": [f"{at:g}" for at in decades(low, high)],
        }
    pad = 0.04 * (high - low)
    whole = type(space).__name__ == "IntDistribution" and high - low <= 30
    return lambda value, trial: float(value) + (aside(trial) if whole and many else 0.0), {
        "range": [low - pad, high + pad],
        **({"dtick": max(1, round((high - low) / 8))} if whole else {}),
    }


def depth(view: View) -> go.Figure | None:
    """Score against frozen depth, area by seconds per epoch."""
    rows = [row for row in view.rows if row.seen is not None and row.epoch > 0]
    if len({row.frozen / row.blocks for row in rows}) < 2:
        return None
    several = len(view.plan.search.models) > 1
    title = "frozen blocks (% of the model's)" if several else f"frozen blocks (of {rows[0].blocks})"
    shown = figures.figure(
        380,
        {"title": {"text": title, "standoff": 8}, **({} if several else {"dtick": 1})},
        figures.score_axis(view),
    )
    spread = len(rows) > figures.MANY
    at = {row.number: row.frozen + (aside(row.number) if spread else 0.0) for row in rows}
    if several:
        at = {row.number: 100 * at[row.number] / row.blocks for row in rows}
    cost = {row.number: row.seconds / row.epoch for row in rows}
    largest = max(cost.values())
    for trace in figures.points(view, rows, at):
        if trace.customdata is not None:
            trace.marker.size = [number(max(cost[of], 0.0)) for of in trace.customdata]
            trace.marker.sizemode, trace.marker.sizemin = "area", 3
            trace.marker.sizeref = 2 * largest / 26**2
            trace.text = [f"{cost[of]:.3g} s per epoch" for of in trace.customdata]
            trace.hovertemplate = "trial %{customdata}: %{y:.4f}<br>%{x:.3g} frozen, %{text}<extra></extra>"
            shown.add_trace(trace)
    return shown


def front(points: Mapping[int, tuple[float, float]]) -> list[int]:
    """The trials that no other beats in both: cheapest first.

    Args:
        points: cost (smaller is better) and objective (larger is better) by trial.
    """
    found: list[int] = []
    best = -math.inf
    for of, (_, score) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if score > best:
            best = score
            found.append(of)
    return found


def pareto(view: View, costs: Mapping[int, float], title: str, unit: str) -> go.Figure | None:
    """Score against a cost, with the front of what nothing beats in both.

    Args:
        view: of the search.
        costs: by trial, of those with a score.
        title: of the axis.
        unit: of the cost.
    """
    rows = [
        row for row in view.rows if row.score is not None and row.number in costs and row.kind not in {FAILING, UNFIT}
    ]
    if len(rows) < 2 or len({costs[row.number] for row in rows}) < 2:
        return None
    values = [costs[row.number] for row in rows]
    log = min(values) > 0 and max(values) > 20 * min(values)
    shown = figures.figure(
        380,
        {"title": {"text": title, "standoff": 8}, **({"type": "log"} if log else {"rangemode": "tozero"})},
        figures.score_axis(view),
    )
    of = front({row.number: (costs[row.number], row.objective) for row in rows})
    score = {row.number: row.score for row in rows}
    shown.add_scatter(
        x=[number(costs[one]) for one in of],
        y=[number(score[one]) for one in of],
        customdata=of,
        name="Pareto front",
        mode="lines+markers+text" if len(of) <= 12 else "lines+markers",
        text=[f"{one}" for one in of],
        textposition="top left",
        line={"shape": "hv", "width": 2, "color": figures.RAMP[-1]},
        marker={"size": 15, "symbol": "circle-open", "color": figures.RAMP[-1], "line": {"width": 2}},
        hoverinfo="skip",
    )
    shown.add_traces([trace for trace in figures.points(view, rows, costs, unit) if trace.customdata is not None])
    return shown
