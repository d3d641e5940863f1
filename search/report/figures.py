"""The figures of report.html, a function each: records in, a plotly figure out; None where there is nothing to draw.

Colours are the same on a light and a dark page: each stands out from both by 3 to 1 at least, and they differ for
the colour-blind, too (test_figures.py); a symbol always says the same as the colour. What depends on
the page (text, grid, background) is set by page.js.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from frostline.search.report.importance import Importance
from frostline.search.report.timeline import Stretch, worked
from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT, Row, View, described
from frostline.search.words import number

if TYPE_CHECKING:
    from frostline.search.records.trials import Trial

COLORS = {DONE: "#2d7fd3", STOPPED: "#8b9199", FAILING: "#d0473a", UNFIT: "#944b91", OPEN: "#b97f10"}
"""By what has become of a trial."""
SYMBOLS = {DONE: "circle", STOPPED: "circle-open", FAILING: "x", UNFIT: "square-open", OPEN: "diamond-open"}
RAMP = ("#4f7fc4", "#7587a3", "#8b8b86", "#ad7f58", "#cc6a1c")
"""Scores from low to high."""
MANY = 60
"""Trials from which single points carry no markers or names of their own."""


def figure(height: int, x: Mapping[str, Any], y: Mapping[str, Any], **layout: Any) -> go.Figure:
    """An empty figure: axes with titles, a legend above, room for nothing that is not there."""
    shared = {"automargin": True, "zeroline": False, "ticks": "outside", "ticklen": 4}
    return go.Figure(
        layout={
            "template": "none",
            "height": height,
            "margin": {"l": 8, "r": 12, "t": 36, "b": 8},
            "xaxis": {**shared, "title": {"standoff": 8}, **x},
            "yaxis": {**shared, "title": {"standoff": 8}, **y},
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.0,
                "yanchor": "bottom",
                "itemsizing": "constant",
            },
            "hovermode": "closest",
            **layout,
        }
    )


def score_axis(view: View) -> dict[str, Any]:
    return {"title": {"text": f"validation {html.escape(view.metric.name)}", "standoff": 8}}


def tone(count: int) -> float:
    """How opaque each of so many things is, that a crowd does not become a block."""
    return max(0.3, min(1.0, 6 / math.sqrt(count + 1)))


def answer(view: View, references: Sequence[tuple[str, float, bool]]) -> go.Figure | None:
    """Scores beside each other, with 95 % intervals where they are known.

    Args:
        view: of the search.
        references: name, validation score, and whether that is of a whole training.
    """
    confirmed, won, test = view.confirmed, view.won, view.test
    if won is None:
        return None
    names: list[str] = []  # from the bottom up
    marks: list[tuple[float, Sequence[float] | None, str, str]] = []
    for name, score, whole in reversed(references):
        names.append(html.escape(name))
        marks.append((score, None, DONE if whole else STOPPED, "validation"))
    for row in reversed(confirmed):
        names.append(f"trial {row.number}: mean of {len(row.scores)} seeds")
        marks.append((row.mean, row.interval, DONE, "validation"))
    if not confirmed:
        names.append(f"trial {won.number}, the winner")
        marks.append((view.metric.value(won.objective), None, DONE, "validation"))
    if test:
        names.append("winner on the test set")
        marks.append((test["metrics"][view.metric.name], test.get("interval"), DONE, "test"))
    shown = figure(
        70 + 30 * len(names),
        {"title": {"text": html.escape(view.metric.name), "standoff": 8}},
        {"ticks": "", "showgrid": False, "range": [-0.6, len(names) - 0.4], "tickvals": [*range(len(names))]},
        showlegend=False,
    )
    shown.update_layout(margin={"t": 8}, yaxis={"ticktext": names})
    for row in confirmed:
        place = names.index(f"trial {row.number}: mean of {len(row.scores)} seeds")
        shown.add_scatter(
            x=[*row.scores],
            y=[place] * len(row.scores),
            customdata=[*row.seeds],
            mode="markers",
            marker={"symbol": "line-ns-open", "size": 12, "color": COLORS[DONE], "line": {"width": 1.5}},
            hovertemplate="seed %{customdata}: %{x:.4f}<extra></extra>",
        )
    for place, (score, interval, kind, of) in enumerate(marks):
        low, high = clipped(interval, view) if interval else (score, score)
        shown.add_scatter(
            x=[score],
            y=[place],
            mode="markers",
            marker={
                "symbol": "diamond" if of == "test" else SYMBOLS[kind],
                "size": 11,
                "color": COLORS[kind],
                "line": {"width": 2 if kind == STOPPED else 0, "color": COLORS[kind]},
            },
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - score],
                "arrayminus": [score - low],
                "thickness": 2,
                "width": 5,
                "color": COLORS[kind],
                "visible": bool(interval),
            },
            hovertemplate=f"{of} %{{x:.4f}}"
            + (f"<br>95 %: {low:.4f} to {high:.4f}" if interval else "")
            + "<extra></extra>",
        )
    return shown


def clipped(interval: Sequence[float], view: View) -> tuple[float, float]:
    """An interval as it is shown: a share of examples is between 0 and 1, whatever a t-distribution says."""
    low, high = interval
    return (max(0.0, low), min(1.0, high)) if view.metric.is_share else (low, high)


def curves(view: View) -> go.Figure | None:
    """Score against epochs, a line a trial, ending where the trial was stopped; rungs as vertical lines."""
    rows = [row for row in view.rows if any(view.value(line) is not None for line in row.trial.reports)]
    if not rows:
        return None
    shown = figure(420, {"title": {"text": "epochs trained", "standoff": 8}, "rangemode": "tozero"}, score_axis(view))
    for rung in view.plan.schedule.rungs:
        shown.add_vline(x=rung, line={"width": 1, "dash": "dot", "color": COLORS[STOPPED]})
        shown.add_annotation(x=rung, y=1, yref="paper", yanchor="top", xanchor="left", text=" rung", showarrow=False)
    many, won = len(rows) > MANY, view.won
    for kind in (STOPPED, FAILING, UNFIT, OPEN, DONE):
        trials = [row.trial for row in rows if row.kind == kind]
        if trials:
            line = {"color": COLORS[kind], "width": 1.5}
            shown.add_scatter(
                **_lines(view, trials),
                name=kind if kind != DONE else "trained to the end",
                mode="lines" if many else "lines+markers",
                line=line,
                opacity=tone(len(trials)),
                marker={"size": 5, "color": COLORS[kind]},
                hovertemplate="trial %{customdata}: %{y:.4f} after %{x:.2f} epochs<extra></extra>",
                legendgroup=kind,
            )
    stopped = [row for row in rows if row.kind in {STOPPED, FAILING, UNFIT}]
    for kind in (STOPPED, FAILING, UNFIT):
        ends = [row.trial for row in stopped if row.kind == kind]
        if ends:
            lasts = [max((ln for ln in t.reports if view.value(ln) is not None), key=lambda ln: ln.epoch) for t in ends]
            shown.add_scatter(
                x=[number(line.epoch) for line in lasts],
                y=[number(view.value(line)) for line in lasts],
                customdata=[trial.number for trial in ends],
                name="its end",
                mode="markers",
                opacity=max(0.5, tone(len(ends))),
                marker={"symbol": SYMBOLS[kind], "size": 8 if len(ends) <= MANY else 6, "color": COLORS[kind]},
                hovertemplate="trial %{customdata} ended: %{y:.4f} after %{x:.2f} epochs<extra></extra>",
                legendgroup=kind,
                showlegend=False,
            )
    again = [trial for trial in view.confirmations if won is not None and trial.number == won.number]
    if any(trial.reports for trial in again):
        shown.add_scatter(
            **_lines(view, again, seeds=True),
            name=f"trial {again[0].number} again, fresh seeds",
            mode="lines",
            line={"color": COLORS[DONE], "width": 1.5, "dash": "dash"},
            hovertemplate="seed %{customdata}: %{y:.4f} after %{x:.2f} epochs<extra></extra>",
        )
    best = next((row.trial for row in rows if won is not None and row.number == won.number), None)
    if best:
        shown.add_scatter(
            **_lines(view, [best]),
            name=f"trial {best.number}, the winning recipe",
            mode="lines+markers",
            line={"color": COLORS[DONE], "width": 3.5},
            marker={"size": 8},
            hovertemplate="trial %{customdata}: %{y:.4f} after %{x:.2f} epochs<extra></extra>",
        )
    return shown


def _lines(view: View, trials: Iterable[Trial], seeds: bool = False) -> dict[str, Any]:
    """Curves as one trace, a gap between two."""
    x: list[float | None] = []
    y: list[float | None] = []
    of: list[int | None] = []
    for trial in trials:
        for line in trial.reports:
            value = view.value(line)
            if value is not None:
                x.append(number(line.epoch))
                y.append(number(value))
                of.append(trial.seed if seeds else trial.number)
        x.append(None)
        y.append(None)
        of.append(None)
    return {"x": x[:-1], "y": y[:-1], "customdata": of[:-1], "connectgaps": False}


def importance(view: View, found: Importance) -> go.Figure:
    """A bar a parameter, and the level of chance."""
    names = list(found.shares)[::-1]
    values = [100 * found.shares[name] for name in names]
    chance, largest = 100 * found.chance, max(values)
    shown = figure(
        70 + 28 * len(names),
        {"title": {"text": "share of importance (%)", "standoff": 8}, "rangemode": "tozero"},
        {"ticks": "", "showgrid": False},
        showlegend=False,
    )
    shown.update_layout(margin={"t": 24})
    shown.add_bar(
        x=[number(value) for value in values],
        y=[html.escape(name) for name in names],
        orientation="h",
        width=0.6,
        marker={"color": [COLORS[DONE if value > chance else STOPPED] for value in values]},
        text=[f"{value:.0f} %" for value in values],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
    )
    if chance < 1.5 * largest:
        shown.add_vline(x=chance, line={"width": 1.5, "dash": "dash", "color": COLORS[FAILING]})
        where = {"x": chance, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        shown.add_annotation(**where, text="level of chance", xanchor="left" if chance < largest / 2 else "right")
    shown.update_xaxes(range=[0, 1.12 * max(largest, chance if chance < 1.5 * largest else 0)])
    return shown


def points(view: View, rows: Sequence[Row], x: Mapping[int, float], unit: str = "") -> list[go.Scatter]:
    """A trace for each of what has become of trials: seen score against `x` by number."""
    traces, won = [], view.won
    for kind in (STOPPED, OPEN, FAILING, UNFIT, DONE):
        some = [row for row in rows if row.kind == kind and row.seen is not None and row.number in x]
        if some:
            traces.append(
                go.Scatter(
                    x=[number(x[row.number]) for row in some],
                    y=[number(row.seen) for row in some],
                    customdata=[row.number for row in some],
                    name=kind if kind != DONE else "trained to the end",
                    mode="markers",
                    opacity=max(0.55, tone(len(some))),
                    marker={
                        "symbol": SYMBOLS[kind],
                        "size": 9 if len(some) <= MANY else 6,
                        "color": COLORS[kind],
                        "line": {"width": 1.75 if SYMBOLS[kind].endswith("open") else 0, "color": COLORS[kind]},
                    },
                    hovertemplate=f"trial %{{customdata}}: %{{y:.4f}}<br>%{{x:.3g}} {unit}<extra></extra>",
                )
            )
    best = next((row for row in rows if won and row.number == won.number and row.number in x), None)
    if best and best.seen is not None:
        ring = {"symbol": "circle-open", "size": 17, "color": COLORS[DONE], "line": {"width": 2}}
        traces.append(
            go.Scatter(
                x=[number(x[best.number])], y=[number(best.seen)], name="winning recipe", mode="markers", marker=ring,
                hoverinfo="skip",
            )
        )  # fmt: skip
    return traces


def timeline(view: View, slots: Sequence[Sequence[Stretch]]) -> go.Figure | None:
    """A row a slot, a bar a training; time between two sessions is left out."""
    ran = [stretch for slot in slots for stretch in slot]
    if not ran:
        return None
    since = worked([event["time"] for event in view.sessions], view.times)
    whole = max(since(stretch.stop) for stretch in ran)
    unit, name = (3600.0, "h") if whole > 3 * 3600 else (60.0, "min") if whole > 300 else (1.0, "s")
    names = [f"slot {place}" for place in range(1, len(slots) + 1)]
    shown = figure(
        96 + 46 * len(slots),
        {"title": {"text": f"time that the search worked ({name})", "standoff": 8}, "rangemode": "tozero"},
        {"autorange": "reversed", "ticks": "", "showgrid": False, "type": "category", "categoryarray": names},
        barmode="overlay",
        bargap=0.25,
    )
    few = len(ran) <= MANY
    for again in (False, True):
        for kind in (DONE, STOPPED, FAILING, UNFIT, OPEN):
            some = [
                (slot, stretch)
                for slot, of in zip(names, slots, strict=True)
                for stretch in of
                if stretch.trial.confirms == again
                and described(stretch.trial, view.status, view.plan.schedule.rungs)[0] == kind
            ]
            if some:
                shown.add_bar(
                    base=[number(since(s.start) / unit) for _, s in some],
                    x=[number((s.stop - s.start) / unit) for _, s in some],
                    y=[slot for slot, _ in some],
                    customdata=[[s.trial.number, s.trial.seed, s.pid, number(s.stop - s.start)] for _, s in some],
                    orientation="h",
                    name=("trained to the end" if kind == DONE else kind) if not again else "again, fresh seed",
                    showlegend=not again or kind == DONE,
                    marker={
                        "color": COLORS[kind],
                        "line": {"width": 0},
                        "pattern": {
                            "shape": "/" if again else "",
                            "fillmode": "overlay",
                            "fgcolor": "#ffffff",
                            "fgopacity": 0.55,
                            "size": 7,
                            "solidity": 0.22,
                        },
                    },
                    text=[str(s.trial.number) for _, s in some] if few else None,
                    textposition="inside",
                    insidetextanchor="middle",
                    textangle=0,
                    constraintext="inside",
                    hovertemplate="trial %{customdata[0]}, seed %{customdata[1]}<br>%{customdata[3]:.3g} s "
                    "in process %{customdata[2]}<extra></extra>",
                )
    for session in view.sessions[1:]:
        shown.add_vline(x=since(session["time"]) / unit, line={"width": 1, "dash": "dot", "color": COLORS[STOPPED]})
    return shown
