"""The axis of a searched parameter: the place of each value, and the labels."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from frostline.search.words import short_models

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitAxis:
    """An axis from 0 to 1."""

    name: str
    place: Callable[[Any, int], float]
    """Value and number of the trial -> place."""
    labels: Mapping[float, str]
    """Place -> text, escaped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueAxis:
    """An axis in the parameter's own values."""

    place: Callable[[Any, int], float]
    """Value and number of the trial -> place."""
    layout: Mapping[str, Any]
    """Plotly's options of the axis."""


def decades(low: float, high: float) -> list[float]:
    """The labels of a log axis: the powers of ten from `low` to `high`, or both ends if there are fewer than two."""
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    inside = [power for power in powers if low * 0.999 <= power <= high * 1.001]
    return inside if len(inside) > 1 else [low, high]


def jitter(trial: int) -> float:
    """An offset from -0.25 to 0.25, spread evenly over trial numbers: points of equal value do not hide each other."""
    return 0.5 * ((trial * 0.618034) % 1 - 0.5)


def unit_axis(name: str, space: BaseDistribution) -> UnitAxis:
    """The axis of a parameter in parallel coordinates."""
    choices = getattr(space, "choices", None)
    if choices is not None:
        return _unit_axis_of_choices(name, list(choices))
    low, high = _ends(space)
    if getattr(space, "log", False):
        width = math.log(high / low)
        return UnitAxis(
            name=name,
            place=lambda value, trial: math.log(max(float(value), low) / low) / width,
            labels={math.log(power / low) / width: f"{power:g}" for power in decades(low, high)},
        )
    places = [0.0, 0.5, 1.0]
    if _is_whole(space):
        steps = int(high - low)
        places = [step / steps for step in range(0, steps + 1, max(1, round(steps / 8)))]
    return UnitAxis(
        name=name,
        place=lambda value, trial: (float(value) - low) / (high - low),
        labels={place: f"{low + place * (high - low):g}" for place in places},
    )


def _unit_axis_of_choices(name: str, choices: list[Any]) -> UnitAxis:
    words = _words(name, choices)
    step = 1 / max(1, len(choices) - 1)

    def place(value: Any, trial: int) -> float:
        return step * (choices.index(value) + 0.1 * jitter(trial)) if value in choices else 0.0

    labels = {index * step: html.escape(words[choice]) for index, choice in enumerate(choices)}
    return UnitAxis(name=name, place=place, labels=labels)


def value_axis(name: str, space: BaseDistribution, many: bool) -> ValueAxis:
    """The axis of a parameter in a figure of its own.

    Choices stand side by side. Points of one choice, and with `many` trials those of one small whole number, are spread
    a little so that they do not hide each other.
    """
    choices = getattr(space, "choices", None)
    if choices is not None:
        return _value_axis_of_choices(name, list(choices))
    low, high = _ends(space)
    if getattr(space, "log", False):
        labels = decades(low, high)
        return ValueAxis(
            place=lambda value, trial: float(value),
            layout={
                "type": "log",
                "range": [math.log10(low) - 0.05, math.log10(high) + 0.05],
                "tickvals": labels,
                "ticktext": [f"{label:g}" for label in labels],
            },
        )
    margin = 0.04 * (high - low)
    few_steps = _is_whole(space) and high - low <= 30
    return ValueAxis(
        place=lambda value, trial: float(value) + (jitter(trial) if few_steps and many else 0.0),
        layout={
            "range": [low - margin, high + margin],
            **({"dtick": max(1, round((high - low) / 8))} if few_steps else {}),
        },
    )


def _value_axis_of_choices(name: str, choices: list[Any]) -> ValueAxis:
    words = _words(name, choices)

    def place(value: Any, trial: int) -> float:
        return choices.index(value) + jitter(trial) if value in choices else math.nan

    return ValueAxis(
        place=place,
        layout={
            "tickvals": [*range(len(choices))],
            "ticktext": [html.escape(words[choice]) for choice in choices],
            "range": [-0.5, len(choices) - 0.5],
            "showgrid": False,
        },
    )


def _words(name: str, choices: list[Any]) -> dict[Any, str]:
    """Choice -> its text on an axis."""
    return short_models(choices) if name == "model" else {choice: str(choice) for choice in choices}


def _ends(space: BaseDistribution) -> tuple[float, float]:
    return float(space.low), float(space.high)  # type: ignore[attr-defined]


def _is_whole(space: BaseDistribution) -> bool:
    return type(space).__name__ == "IntDistribution"  # Optuna takes a second to import, and is not needed here
