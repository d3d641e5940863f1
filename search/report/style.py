"""The look that all figures of the report share: colours, symbols, axes.

The colours serve a light and a dark page: each has a contrast of at least 3 to 1 with both, and colour-blind readers
can tell them apart (test_figures.py). A symbol repeats what a colour says. page.js sets the colours that depend on the
page: text, grid and background.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from frostline.search.report.view import DONE, FAILING, OPEN, STOPPED, UNFIT, View

COLORS = {DONE: "#2d7fd3", STOPPED: "#8b9199", FAILING: "#d0473a", UNFIT: "#944b91", OPEN: "#b97f10"}
"""Colour of each kind of trial."""
SYMBOLS = {DONE: "circle", STOPPED: "circle-open", FAILING: "x", UNFIT: "square-open", OPEN: "diamond-open"}
RAMP = ("#4f7fc4", "#7587a3", "#8b8b86", "#ad7f58", "#cc6a1c")
"""Colours of scores, worst to best."""
MANY = 60
"""With more trials than this, single points have no markers or names of their own."""


def figure(height: int, x: Mapping[str, Any], y: Mapping[str, Any], **layout: Any) -> go.Figure:
    """An empty figure with axis titles and a legend above; margins grow only for what is there."""
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


def titled(text: str, **axis: Any) -> dict[str, Any]:
    """An axis with a title; the text is escaped."""
    return {"title": {"text": html.escape(text), "standoff": 8}, **axis}


def score_axis(view: View) -> dict[str, Any]:
    """The axis of validation scores."""
    return titled(f"validation {view.metric.name}")


def legend_name(kind: str) -> str:
    """The name of a kind of trial in a legend."""
    return "trained to the end" if kind == DONE else kind


def opacity(count: int) -> float:
    """The opacity of each of `count` marks, so that a crowd does not become a solid block."""
    return max(0.3, min(1.0, 6 / math.sqrt(count + 1)))


def clipped(interval: Sequence[float], view: View) -> tuple[float, float]:
    """The ends of an interval to show. Those of a share lie in 0 to 1, though the estimate may exceed that."""
    low, high = interval
    return (max(0.0, low), min(1.0, high)) if view.metric.is_share else (low, high)
