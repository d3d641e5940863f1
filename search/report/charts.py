"""The figures of the page, each with its alternative text and the words that replace it if it is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from frostline.search.report import figures, landscape
from frostline.search.report.analysis import Analysis
from frostline.search.report.curves import curves
from frostline.search.report.parallel import parallel
from frostline.search.report.view import DONE, View


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A figure of the page, or the reason why it is missing."""

    name: str
    """The id of its element."""
    about: str
    """Alternative text."""
    figure: go.Figure | None
    absent: str = ""
    """The sentence in its place if `figure` is None."""
    width: int = 0
    """Least readable width in pixels, below which it scrolls in its box; 0 if any width will do."""

    @property
    def height(self) -> int:
        """In pixels. The page keeps this space free until the figure is drawn."""
        return int(self.figure.layout.height) if self.figure is not None else 0

    @property
    def json(self) -> str:
        """Data and layout for plotly's script, safe inside a script element."""
        assert self.figure is not None
        fields = self.figure.to_plotly_json()
        fields["layout"].pop("template", None)
        text = json.dumps(_plain(fields), allow_nan=False, separators=(",", ":"))
        return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _plain(fields: Any) -> Any:
    """The same without options that are None, and with None for NaN, which JSON does not know: a gap in the data."""
    if isinstance(fields, Mapping):
        return {key: _plain(item) for key, item in fields.items() if item is not None}
    if isinstance(fields, list | tuple):
        return [_plain(item) for item in fields]
    if isinstance(fields, float) and fields != fields:
        return None
    return fields


def charts(analysis: Analysis) -> list[Chart]:
    """Every figure but the slices."""
    view = analysis.view
    metric, axes = view.metric.name, sum(not space.single() for space in view.plan.search.distributions.values())
    return [
        _answer(analysis),
        Chart(
            name="curves",
            about=f"Validation {metric} of every trial against epochs",
            figure=curves(view),
            absent="No trial has reported yet.",
        ),
        Chart(
            name="parallel",
            about=f"Parameters and validation {metric} of every trial, one line each",
            figure=parallel(view),
            absent="Too few trials have reported to show a pattern.",
            width=96 * (axes + 1),
        ),
        Chart(
            name="importance",
            about="Importance of each parameter",
            figure=figures.importance(analysis.importance) if analysis.importance else None,
        ),
        Chart(
            name="depth",
            about=f"Validation {metric} against frozen depth; the area of a mark is the seconds per epoch",
            figure=landscape.depth(view),
            absent="All trials that have reported froze the same part of the model.",
        ),
        *_fronts(view),
        Chart(
            name="timeline",
            about="The trainings in each slot, over time",
            figure=figures.timeline(view, analysis.slots),
            absent="Nothing has run yet.",
        ),
    ]


def _answer(analysis: Analysis) -> Chart:
    """The scores of the winner and of its references."""
    trained_to_the_end = {row.trial.label for row in analysis.view.rows if row.kind == DONE}
    shown = []
    for reference in analysis.references:
        score = reference.first_rung if reference.validation is None else reference.validation
        if score is not None:
            is_whole = not reference.params or reference.name in trained_to_the_end
            shown.append((reference.name, score, is_whole))
    return Chart(
        name="answer",
        about="Scores of the winner and of its references",
        figure=figures.answer(analysis.view, shown),
    )


def _fronts(view: View) -> list[Chart]:
    """Score against time, and score against model size."""
    metric, models = view.metric.name, view.plan.search.models
    seconds = {row.number: row.best.seconds for row in view.rows if row.best is not None}
    sizes = {row.number: row.parameters / 1e6 for row in view.rows if row.score is not None}
    size = next(iter(models.values())).parameters / 1e6
    return [
        Chart(
            name="pareto-seconds",
            about=f"Validation {metric} against the seconds it took, with the Pareto front",
            figure=landscape.pareto(view, seconds, "seconds of training until that score", "s"),
            absent="Fewer than two trials have a score on all validation examples.",
        ),
        Chart(
            name="pareto-size",
            about=f"Validation {metric} against the number of the model's parameters, with the Pareto front",
            figure=landscape.pareto(view, sizes, "parameters of the model (millions)", "M parameters"),
            absent=(
                f"Every trial trains the same model ({size:.1f} million parameters), so there is no size to choose."
                if len(models) == 1
                else "So far only models of one size have a score on all validation examples."
            ),
        ),
    ]


def slices(view: View) -> list[Chart]:
    """A small figure for each parameter that trials have scores for."""
    shown = []
    for place, (name, space) in enumerate(view.plan.search.distributions.items()):
        figure = landscape.slice_of(view, name, space)
        if figure is not None:
            about = f"Validation {view.metric.name} against {name}"
            shown.append(Chart(name=f"slice-{place}", about=about, figure=figure))
    return shown
