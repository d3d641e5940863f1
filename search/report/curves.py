"""The figure of the learning curves: score against epochs, a line for each trial."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from frostline.search.report import style
from frostline.search.report.style import COLORS, MANY, SYMBOLS
from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT, Row, View
from frostline.search.words import number

if TYPE_CHECKING:
    from frostline.search.records.trials import Line, Trial

_HOVER = "%{y:.4f} after %{x:.2f} epochs<extra></extra>"


def curves(view: View) -> go.Figure | None:
    """Score against epochs, a line for each trial that ends where the trial was stopped; None without any score."""
    rows = [row for row in view.rows if _scored(view, row.trial)]
    if not rows:
        return None
    chart = style.figure(420, style.titled("epochs trained", rangemode="tozero"), style.score_axis(view))
    _add_rungs(chart, view.plan.schedule.rungs)
    _add_trials(chart, view, rows)
    _add_ends(chart, view, rows)
    _add_winner(chart, view, rows)
    return chart


def _add_rungs(chart: go.Figure, rungs: Iterable[float]) -> None:
    for rung in rungs:
        chart.add_vline(x=rung, line={"width": 1, "dash": "dot", "color": COLORS[STOPPED]})
        chart.add_annotation(x=rung, y=1, yref="paper", yanchor="top", xanchor="left", text=" rung", showarrow=False)


def _add_trials(chart: go.Figure, view: View, rows: Sequence[Row]) -> None:
    """One trace for each kind of trial."""
    for kind in (STOPPED, FAILING, UNFIT, OPEN, DONE):
        trials = [row.trial for row in rows if row.kind == kind]
        if trials:
            chart.add_scatter(
                **_lines(view, trials),
                name=style.legend_name(kind),
                mode="lines" if len(rows) > MANY else "lines+markers",
                line={"color": COLORS[kind], "width": 1.5},
                opacity=style.opacity(len(trials)),
                marker={"size": 5, "color": COLORS[kind]},
                hovertemplate=f"trial %{{customdata}}: {_HOVER}",
                legendgroup=kind,
            )


def _add_ends(chart: go.Figure, view: View, rows: Sequence[Row]) -> None:
    """A mark at the last score of each trial that did not train to the end."""
    for kind in (STOPPED, FAILING, UNFIT):
        trials = [row.trial for row in rows if row.kind == kind]
        if trials:
            last_reports = [max(_scored(view, trial), key=lambda line: line.epoch) for trial in trials]
            chart.add_scatter(
                x=[number(line.epoch) for line in last_reports],
                y=[number(view.value(line)) for line in last_reports],
                customdata=[trial.number for trial in trials],
                name="its end",
                mode="markers",
                opacity=max(0.5, style.opacity(len(trials))),
                marker={"symbol": SYMBOLS[kind], "size": 8 if len(trials) <= MANY else 6, "color": COLORS[kind]},
                hovertemplate="trial %{customdata} ended: " + _HOVER,
                legendgroup=kind,
                showlegend=False,
            )


def _add_winner(chart: go.Figure, view: View, rows: Sequence[Row]) -> None:
    """The trial of the winning recipe as a thick line, its trainings with fresh seeds as dashed ones."""
    if view.won is None:
        return
    winner = view.won.number
    confirmations = [trial for trial in view.confirmations if trial.number == winner]
    if any(trial.reports for trial in confirmations):
        chart.add_scatter(
            **_lines(view, confirmations, by_seed=True),
            name=f"trial {winner} again, fresh seeds",
            mode="lines",
            line={"color": COLORS[DONE], "width": 1.5, "dash": "dash"},
            hovertemplate=f"seed %{{customdata}}: {_HOVER}",
        )
    trials = [row.trial for row in rows if row.number == winner]
    if trials:
        chart.add_scatter(
            **_lines(view, trials),
            name=f"trial {winner}, the winning recipe",
            mode="lines+markers",
            line={"color": COLORS[DONE], "width": 3.5},
            marker={"size": 8},
            hovertemplate=f"trial %{{customdata}}: {_HOVER}",
        )


def _scored(view: View, trial: Trial) -> list[Line]:
    """The reports of a trial that have a score."""
    return [line for line in trial.reports if view.value(line) is not None]


def _lines(view: View, trials: Iterable[Trial], by_seed: bool = False) -> dict[str, Any]:
    """The curves of several trials in one trace, with a gap between two; `customdata` is the number or the seed."""
    epochs: list[float | None] = []
    scores: list[float | None] = []
    names: list[int | None] = []
    for trial in trials:
        for line in _scored(view, trial):
            epochs.append(number(line.epoch))
            scores.append(number(view.value(line)))
            names.append(trial.seed if by_seed else trial.number)
        epochs.append(None)
        scores.append(None)
        names.append(None)
    return {"x": epochs[:-1], "y": scores[:-1], "customdata": names[:-1], "connectgaps": False}
