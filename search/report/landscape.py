"""Figures of the score of each trial against one number: a parameter, frozen depth, time or size."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from frostline.search.report import style
from frostline.search.report.axes import jitter, value_axis
from frostline.search.report.style import COLORS, MANY, SYMBOLS
from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT, Row, View
from frostline.search.words import number, value

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def slice_of(view: View, name: str, space: BaseDistribution) -> go.Figure | None:
    """Score against one parameter."""
    rows = [row for row in view.rows if row.seen is not None and name in row.trial.params]
    if not rows or space.single():
        return None
    axis = value_axis(name, space, len(rows) > MANY)
    title = {"text": html.escape(name), "standoff": 6}
    chart = style.figure(270, {"title": title, **axis.layout}, style.score_axis(view), showlegend=False)
    chart.update_layout(margin={"t": 10})
    places = {row.number: axis.place(row.trial.params[name], row.number) for row in rows}
    texts = {row.number: html.escape(value(row.trial.params[name])) for row in rows}
    traces = _trials(rows, places)
    for trace in traces:
        trace.text = [texts[trial] for trial in trace.customdata]
        trace.hovertemplate = "trial %{customdata}: %{y:.4f}<br>" + html.escape(name) + " %{text}<extra></extra>"
    chart.add_traces([*traces, *_ring(view, rows, places)])
    return chart


def depth(view: View) -> go.Figure | None:
    """Score against frozen depth. The area of a mark is the seconds per epoch."""
    rows = [row for row in view.rows if row.seen is not None and row.epoch > 0]
    if len({row.frozen / row.blocks for row in rows}) < 2:
        return None
    several = len(view.plan.search.models) > 1
    title = "frozen blocks (% of the model's)" if several else f"frozen blocks (of {rows[0].blocks})"
    axis = style.titled(title) if several else style.titled(title, dtick=1)
    chart = style.figure(380, axis, style.score_axis(view))
    spread = len(rows) > MANY
    places = {row.number: row.frozen + (jitter(row.number) if spread else 0.0) for row in rows}
    if several:
        places = {row.number: 100 * places[row.number] / row.blocks for row in rows}
    seconds = {row.number: row.seconds / row.epoch for row in rows}
    largest = max(seconds.values())
    for trace in _trials(rows, places):
        trace.marker.size = [number(max(seconds[trial], 0.0)) for trial in trace.customdata]
        trace.marker.sizemode, trace.marker.sizemin = "area", 3
        trace.marker.sizeref = 2 * largest / 26**2
        trace.text = [f"{seconds[trial]:.3g} s per epoch" for trial in trace.customdata]
        trace.hovertemplate = "trial %{customdata}: %{y:.4f}<br>%{x:.3g} frozen, %{text}<extra></extra>"
        chart.add_trace(trace)
    return chart


def front(points: Mapping[int, tuple[float, float]]) -> list[int]:
    """The trials that no other beats in both cost and objective, cheapest first.

    Args:
        points: cost (smaller is better) and objective (larger is better) by trial.
    """
    trials: list[int] = []
    best = -math.inf
    for trial, (_, objective) in sorted(points.items(), key=lambda item: (item[1][0], -item[1][1])):
        if objective > best:
            best = objective
            trials.append(trial)
    return trials


def pareto(view: View, costs: Mapping[int, float], title: str, unit: str) -> go.Figure | None:
    """Score against a cost, with the front of trials that no other beats in both.

    Args:
        view: view of the run directory.
        costs: cost by trial, for the trials that have a score.
        title: title of the axis.
        unit: unit of the cost.
    """
    rows = [
        row for row in view.rows if row.score is not None and row.number in costs and row.kind not in {FAILING, UNFIT}
    ]
    if len(rows) < 2 or len({costs[row.number] for row in rows}) < 2:
        return None
    shown_costs = [costs[row.number] for row in rows]
    log = min(shown_costs) > 0 and max(shown_costs) > 20 * min(shown_costs)
    axis = style.titled(title, type="log") if log else style.titled(title, rangemode="tozero")
    chart = style.figure(380, axis, style.score_axis(view))
    scores = {row.number: row.score for row in rows}
    best = front({row.number: (costs[row.number], row.objective) for row in rows})
    chart.add_scatter(
        x=[number(costs[trial]) for trial in best],
        y=[number(scores[trial]) for trial in best],
        customdata=best,
        name="Pareto front",
        mode="lines+markers+text" if len(best) <= 12 else "lines+markers",
        text=[f"{trial}" for trial in best],
        textposition="top left",
        line={"shape": "hv", "width": 2, "color": style.RAMP[-1]},
        marker={"size": 15, "symbol": "circle-open", "color": style.RAMP[-1], "line": {"width": 2}},
        hoverinfo="skip",
    )
    chart.add_traces(_trials(rows, costs, unit))
    return chart


def _trials(rows: Sequence[Row], places: Mapping[int, float], unit: str = "") -> list[go.Scatter]:
    """One trace for each kind of trial: score against `places`, which is by number; `unit` is that of a place."""
    traces = []
    for kind in (STOPPED, OPEN, FAILING, UNFIT, DONE):
        shown = [row for row in rows if row.kind == kind and row.seen is not None and row.number in places]
        if shown:
            traces.append(
                go.Scatter(
                    x=[number(places[row.number]) for row in shown],
                    y=[number(row.seen) for row in shown],
                    customdata=[row.number for row in shown],
                    name=style.legend_name(kind),
                    mode="markers",
                    opacity=max(0.55, style.opacity(len(shown))),
                    marker={
                        "symbol": SYMBOLS[kind],
                        "size": 9 if len(shown) <= MANY else 6,
                        "color": COLORS[kind],
                        "line": {"width": 1.75 if SYMBOLS[kind].endswith("open") else 0, "color": COLORS[kind]},
                    },
                    hovertemplate=f"trial %{{customdata}}: %{{y:.4f}}<br>%{{x:.3g}} {unit}<extra></extra>",
                )
            )
    return traces


def _ring(view: View, rows: Sequence[Row], places: Mapping[int, float]) -> list[go.Scatter]:
    """The ring around the trial of the winning recipe; empty if that trial is not shown."""
    won = view.won
    winner = next((row for row in rows if won and row.number == won.number and row.number in places), None)
    if winner is None or winner.seen is None:
        return []
    ring = {"symbol": "circle-open", "size": 17, "color": COLORS[DONE], "line": {"width": 2}}
    x, y = [number(places[winner.number])], [number(winner.seen)]
    return [go.Scatter(x=x, y=y, name="winning recipe", mode="markers", marker=ring, hoverinfo="skip")]
