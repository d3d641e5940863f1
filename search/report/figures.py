"""The figures of the winner's scores, of importance, and of what ran where.

Here and in curves.py, landscape.py and parallel.py a function makes one figure from the records. It returns None if
there is nothing to draw.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from frostline.search.report import style
from frostline.search.report.importance import Importance
from frostline.search.report.style import COLORS, MANY, SYMBOLS
from frostline.search.report.timeline import Stretch, search_clock
from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT, View, described
from frostline.search.words import number, plural

_LABEL = 26
"""Characters of a line of a label beside the marks; more would leave a narrow figure no room for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Mark:
    """A row of the figure of scores."""

    name: str
    score: float
    kind: str = DONE
    slice_name: str = "validation"
    interval: Sequence[float] | None = None
    """95 % interval of the score; None if it is not known."""
    seed_scores: Sequence[float] = ()
    seeds: Sequence[int] = ()
    """Seeds of `seed_scores`, in their order."""


def answer(view: View, references: Sequence[tuple[str, float, bool]]) -> go.Figure | None:
    """Scores of the winner and its references, one row each, with 95 % intervals where they are known.

    Args:
        view: view of the run directory.
        references: name, validation score, and True if the score comes from a whole training.
    """
    if view.won is None:
        return None
    marks = _marks(view, references)
    chart = style.figure(
        70 + 30 * len(marks),
        style.titled(view.metric.name),
        {"ticks": "", "showgrid": False, "range": [-0.6, len(marks) - 0.4], "tickvals": [*range(len(marks))]},
        showlegend=False,
    )
    chart.update_layout(margin={"t": 8}, yaxis={"ticktext": [mark.name for mark in marks]})
    for place, mark in enumerate(marks):
        if mark.seeds:
            chart.add_scatter(
                x=[*mark.seed_scores],
                y=[place] * len(mark.seed_scores),
                customdata=[*mark.seeds],
                mode="markers",
                marker={"symbol": "line-ns-open", "size": 12, "color": COLORS[DONE], "line": {"width": 1.5}},
                hovertemplate="seed %{customdata}: %{x:.4f}<extra></extra>",
            )
    for place, mark in enumerate(marks):
        chart.add_trace(_score_trace(view, place, mark))
    return chart


def _marks(view: View, references: Sequence[tuple[str, float, bool]]) -> list[_Mark]:
    """The rows of the figure of scores, from the bottom up."""
    won, test = view.won, view.test
    assert won is not None
    marks = [
        _Mark(
            name="<br>".join(map(html.escape, textwrap.wrap(name, _LABEL))),
            score=score,
            kind=DONE if whole else STOPPED,
        )
        for name, score, whole in reversed(references)
    ]
    marks += [
        _Mark(
            name=f"trial {recipe.number}: {plural(len(recipe.scores), 'fresh seed')}",
            score=recipe.estimate,
            interval=recipe.interval,
            seed_scores=recipe.scores,
            seeds=recipe.seeds,
        )
        for recipe in reversed(view.confirmed)
    ]
    if not view.confirmed:
        marks.append(_Mark(name=f"trial {won.number}, the winner", score=view.metric.value(won.objective)))
    if test:
        score = test["metrics"][view.metric.name]
        marks.append(
            _Mark(name="winner on the test set", score=score, slice_name="test", interval=test.get("interval"))
        )
    return marks


def _score_trace(view: View, place: int, mark: _Mark) -> go.Scatter:
    """A mark at a score, with a bar for its interval."""
    low, high = style.clipped(mark.interval, view) if mark.interval else (mark.score, mark.score)
    color = COLORS[mark.kind]
    interval = f"<br>95 %: {low:.4f} to {high:.4f}" if mark.interval else ""
    return go.Scatter(
        x=[mark.score],
        y=[place],
        mode="markers",
        marker={
            "symbol": "diamond" if mark.slice_name == "test" else SYMBOLS[mark.kind],
            "size": 11,
            "color": color,
            "line": {"width": 2 if mark.kind == STOPPED else 0, "color": color},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - mark.score],
            "arrayminus": [mark.score - low],
            "thickness": 2,
            "width": 5,
            "color": color,
            "visible": bool(mark.interval),
        },
        hovertemplate=f"{mark.slice_name} %{{x:.4f}}{interval}<extra></extra>",
    )


def importance(result: Importance) -> go.Figure:
    """A bar for each parameter, and the level of chance."""
    names = list(result.shares)[::-1]
    values = [100 * result.shares[name] for name in names]
    chance, largest = 100 * result.chance, max(values)
    chart = style.figure(
        70 + 28 * len(names),
        style.titled("share of importance (%)", rangemode="tozero"),
        {"ticks": "", "showgrid": False},
        showlegend=False,
    )
    chart.update_layout(margin={"t": 24})
    chart.add_bar(
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
        chart.add_vline(x=chance, line={"width": 1.5, "dash": "dash", "color": COLORS[FAILING]})
        where = {"x": chance, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False}
        chart.add_annotation(**where, text="level of chance", xanchor="left" if chance < largest / 2 else "right")
    chart.update_xaxes(range=[0, 1.12 * max(largest, chance if chance < 1.5 * largest else 0)])
    return chart


def timeline(view: View, slots: Sequence[Sequence[Stretch]]) -> go.Figure | None:
    """A row for each slot, a bar for each training. The time between two sessions is left out."""
    stretches = [stretch for slot in slots for stretch in slot]
    if not stretches:
        return None
    clock = search_clock([event["time"] for event in view.sessions], view.times)
    end = max(clock(stretch.stop) for stretch in stretches)
    seconds, unit = (3600.0, "h") if end > 3 * 3600 else (60.0, "min") if end > 300 else (1.0, "s")
    names = [f"slot {place}" for place in range(1, len(slots) + 1)]
    chart = style.figure(
        96 + 46 * len(slots),
        style.titled(f"time that the search worked ({unit})", rangemode="tozero"),
        {"autorange": "reversed", "ticks": "", "showgrid": False, "type": "category", "categoryarray": names},
        barmode="overlay",
        bargap=0.25,
    )
    placed = [(name, stretch) for name, slot in zip(names, slots, strict=True) for stretch in slot]
    for confirms in (False, True):
        for kind in (DONE, STOPPED, FAILING, UNFIT, OPEN):
            shown = [
                (name, stretch)
                for name, stretch in placed
                if stretch.trial.confirms == confirms
                and described(stretch.trial, view.status, view.plan.schedule.rungs)[0] == kind
            ]
            if shown:
                chart.add_bar(
                    **_bars(shown, lambda time: clock(time) / seconds, seconds),
                    **_bar_look(kind, confirms),
                    text=[str(stretch.trial.number) for _, stretch in shown] if len(stretches) <= MANY else None,
                )
    for session in view.sessions[1:]:
        line = {"width": 1, "dash": "dot", "color": COLORS[STOPPED]}
        chart.add_vline(x=clock(session["time"]) / seconds, line=line)
    return chart


def _bars(shown: Sequence[tuple[str, Stretch]], place: Callable[[float], float], seconds: float) -> dict[str, Any]:
    """The bars of trainings: slot and stretch.

    Args:
        shown: name of the slot, and the stretch that ran in it.
        place: time in seconds since 1970 -> place on the axis.
        seconds: seconds in one unit of the axis.
    """
    stretches = [stretch for _, stretch in shown]
    return {
        "base": [number(place(stretch.start)) for stretch in stretches],
        "x": [number((stretch.stop - stretch.start) / seconds) for stretch in stretches],
        "y": [name for name, _ in shown],
        "customdata": [
            [stretch.trial.number, stretch.trial.seed, stretch.pid, number(stretch.stop - stretch.start)]
            for stretch in stretches
        ],
        "hovertemplate": "trial %{customdata[0]}, seed %{customdata[1]}<br>%{customdata[3]:.3g} s "
        "in process %{customdata[2]}<extra></extra>",
    }


def _bar_look(kind: str, confirms: bool) -> dict[str, Any]:
    """Colour, hatching and legend of the bars of one kind of training."""
    return {
        "orientation": "h",
        "name": "again, fresh seed" if confirms else style.legend_name(kind),
        "showlegend": not confirms or kind == DONE,
        "marker": {
            "color": COLORS[kind],
            "line": {"width": 0},
            "pattern": {
                "shape": "/" if confirms else "",
                "fillmode": "overlay",
                "fgcolor": "#ffffff",
                "fgopacity": 0.55,
                "size": 7,
                "solidity": 0.22,
            },
        },
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "constraintext": "inside",
    }
