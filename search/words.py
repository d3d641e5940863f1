"""Numbers, times, names and parameters as the terminal and the report show them."""

from __future__ import annotations

import math
import os.path
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

STOPPED, UNFIT = "stopped early", "did not fit"
"""Outcomes of a trial that a rung stopped, and of an infeasible one, for people. Records keep their own words."""


def outcome(recorded: str) -> str:
    """An outcome for people: `complete`, `stopped early`, `did not fit`, `out of time`, `interrupted`, `failed`."""
    return {"pruned": STOPPED, "infeasible": UNFIT}.get(recorded, str(recorded))


def number(value: float | None) -> float | None:
    """The value rounded to five significant digits, which keeps files small; None if it is not a finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def duration(seconds: float) -> str:
    """`0.4 s`, `38 s`, `2 min 53 s`, `30 min`, `1 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def estimate(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h 20 min`: no more digits than an estimate deserves."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes, -1), 60)
    return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{hours} h"


def clock(seconds: float) -> str:
    """`2:03`: minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def score(value: float | None) -> str:
    """A score with four decimals; empty for None, `undefined` for NaN."""
    if value is None:
        return ""
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def interval(ends: Sequence[float] | None) -> str:
    """`0.780 to 0.855`; empty for None."""
    return "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def value(parameter: Any) -> str:
    """A parameter's value; floats with three digits."""
    return f"{parameter:.3g}" if isinstance(parameter, float) else str(parameter)


def recipe_line(params: Mapping[str, Any]) -> str:
    """Parameters on one line: `learning_rate 0.001, batch_size 16`."""
    return ", ".join(f"{name} {value(parameter)}" for name, parameter in params.items())


def short_models(models: Iterable[Any]) -> dict[Any, str]:
    """Model -> its name on an axis: without the folder or package it is in, and without an ending that all share.

    Models whose short names would be equal keep their full names.
    """
    names = list(models)
    last_parts = {model: PurePath(str(model)).name.split(":")[-1] for model in names}
    if len(names) > 1:
        ending = len(os.path.commonprefix([part[::-1] for part in last_parts.values()]))
        shorter = {model: part[: len(part) - ending] for model, part in last_parts.items()}
        if all(len(part) > 3 for part in shorter.values()) and len({*shorter.values()}) == len(names):
            return {model: part.rstrip("_-.") for model, part in shorter.items()}
    all_differ = len({*last_parts.values()}) == len(names)
    return last_parts if all_differ else {model: str(model) for model in names}


def shown(place: str) -> str:
    """A model or data for a page that may go to another machine: of a path the last name, any other name whole."""
    return PurePath(place).name if PurePath(place).is_absolute() else place


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""


def plural(count: int, word: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{count} {word}{'s' * (count != 1)}"
