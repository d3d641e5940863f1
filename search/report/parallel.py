"""The figure of all parameters together: parallel coordinates.

Plain lines draw it. Plotly's own kind needs WebGL, does not print and does not follow the colours of the page.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from frostline.search.report import style
from frostline.search.report.axes import UnitAxis, unit_axis
from frostline.search.report.view import DONE, OPEN, STOPPED, Row, View
from frostline.search.words import number
from frostline.spaces import Metric

_FEWEST = 3
"""With fewer trials parallel coordinates show nothing."""
BEST, MOST = 100, 300
"""A search of more than `MOST` trials shows the best `BEST` of them, and an even sample of the others up to `MOST`."""
_OPACITY = {DONE: 1.0, STOPPED: 0.45, OPEN: 0.45}
"""Opacity of a trial's line by its kind. The number of trials lowers it further."""
_AXIS = "#8b9199"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scores:
    """The range of the scores that are shown. It has one level for each colour of the ramp, worst score first."""

    low: float
    span: float
    better: str
    """Direction of the metric, `higher` or `lower`."""

    def place(self, row: Row) -> float:
        """Place of a trial's score on the axis, 0 to 1."""
        return ((row.seen or 0.0) - self.low) / self.span

    def level(self, row: Row) -> int:
        """Index of the colour of a trial's line."""
        quality = self.place(row) if self.better == "higher" else 1 - self.place(row)
        return min(len(style.RAMP) - 1, int(quality * len(style.RAMP)))

    def ends(self, level: int) -> tuple[float, float]:
        """The lowest and the highest score of a level."""
        count = len(style.RAMP)
        step = level if self.better == "higher" else count - 1 - level
        return self.at(step / count), self.at((step + 1) / count)

    def at(self, place: float) -> float:
        """The score at a place of the axis."""
        return self.low + place * self.span


def parallel(view: View) -> go.Figure | None:
    """A vertical axis for each parameter and one for the score, a line for each trial, coloured by its score."""
    spaces = {name: space for name, space in view.plan.search.distributions.items() if not space.single()}
    rows = [row for row in view.rows if row.seen is not None and row.kind in _OPACITY]
    rows = [row for row in rows if spaces.keys() <= row.trial.params.keys()]
    if len(rows) < _FEWEST or not spaces:
        return None
    rows = thinned(rows, view.metric)
    values = [row.seen for row in rows if row.seen is not None]
    scores = _Scores(low=min(values), span=(max(values) - min(values)) or 1.0, better=view.metric.better)
    axes = [unit_axis(name, space) for name, space in spaces.items()]
    hidden = {"visible": False, "fixedrange": True}
    chart = style.figure(
        430, {**hidden, "range": [-0.3, len(axes) + 0.45]}, {**hidden, "range": [-0.04, 1.16]}, hovermode="closest"
    )
    chart.update_layout(margin={"t": 40, "b": 8})
    for level, color in enumerate(style.RAMP):
        for kind in (STOPPED, OPEN, DONE):
            drawn = [row for row in rows if row.kind == kind and scores.level(row) == level]
            if drawn:
                chart.add_trace(_polylines(drawn, axes, scores, color, len(rows)))
    _add_legend(chart, scores)
    for position, axis in enumerate(axes):
        _add_axis(chart, position, axis)
    labels = {place: f"{scores.at(place):.2f}" for place in (0.0, 0.25, 0.5, 0.75, 1.0)}
    _add_axis(chart, len(axes), UnitAxis(name=view.metric.name, place=lambda value, trial: 0.0, labels=labels))
    return chart


def thinned(rows: Sequence[Row], metric: Metric) -> list[Row]:
    """At most `MOST` rows, by number: all of them, or else the best `BEST` and an even sample of the others."""
    if len(rows) <= MOST:
        return list(rows)
    order = sorted(rows, key=lambda row: metric.objective(row.seen or 0.0), reverse=True)
    others, size = order[BEST:], MOST - BEST
    sample = [others[place * len(others) // size] for place in range(size)]
    return sorted([*order[:BEST], *sample], key=lambda row: row.number)


def _polylines(rows: Sequence[Row], axes: Sequence[UnitAxis], scores: _Scores, color: str, shown: int) -> go.Scatter:
    """The lines of trials of one kind and colour in one trace, with a gap between two; `shown` trials in all."""
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for row in rows:
        for position, axis in enumerate(axes):
            x.append(position)
            y.append(number(axis.place(row.trial.params[axis.name], row.number)))
        x += [len(axes), None]
        y += [number(scores.place(row)), None]
        numbers += [*[row.number] * (len(axes) + 1), None]
    kind = rows[0].kind
    return go.Scatter(
        x=x[:-1],
        y=y[:-1],
        customdata=numbers[:-1],
        mode="lines",
        connectgaps=False,
        opacity=_OPACITY[kind] * max(0.15, style.opacity(shown // 4)),
        line={
            "color": color,
            "width": 2 if kind == DONE else 1.25,
            "dash": "solid" if kind == DONE or shown > style.MANY else "dot",
        },
        showlegend=False,
        hovertemplate="trial %{customdata}<extra></extra>",
    )


def _add_legend(chart: go.Figure, scores: _Scores) -> None:
    """Say which colour stands for which scores."""
    for level, color in enumerate(style.RAMP):
        low, high = scores.ends(level)
        chart.add_scatter(
            x=[None],
            y=[None],
            mode="lines",
            line={"color": color, "width": 4},
            name=f"{low:.2f} to {high:.2f}",
            hoverinfo="skip",
        )


def _add_axis(chart: go.Figure, position: int, axis: UnitAxis) -> None:
    chart.add_shape(type="line", x0=position, x1=position, y0=0, y1=1, layer="below", line={"width": 1, "color": _AXIS})
    for place, text in axis.labels.items():
        chart.add_annotation(
            x=position,
            y=place,
            text=text,
            showarrow=False,
            xanchor="left",
            xshift=3,
            font={"size": 11},
            bgcolor="white",
        )
    title = f"<b>{html.escape(axis.name)}</b>"
    chart.add_annotation(x=position, y=1.08, text=title, showarrow=False, xanchor="center")
