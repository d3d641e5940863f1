"""Records of version 0.1.0 and before, turned into those of today when they are read; files are never rewritten.

Their lines have a `state` of Optuna and tell the outcome by the beginning of `reason`. They have no objective: it is
the deciding metric; larger was always better. A line says that it confirms a trial only by its file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_REASONS = {"interrupted": "interrupted", "time budget": "out of time"}
"""Outcome by the whole reason."""
_STATES = {"RUNNING": "running", "COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
"""Outcome by state, where the reason tells no other."""


def is_earlier(fields: dict[str, Any]) -> bool:
    """True for a line of version 0.1.0 or before."""
    return "state" in fields and "outcome" not in fields


def upgraded(fields: dict[str, Any], metric: str) -> dict[str, Any]:
    """The fields of a line as they are written today; lines of today are returned as they are.

    Args:
        fields: one line.
        metric: metric that decides in this search.

    Raises:
        KeyError, TypeError: it is no line of any version.
    """
    if not is_earlier(fields):
        return fields
    rest = {name: value for name, value in fields.items() if name != "state"}
    outcome, reason = _STATES[fields["state"]], fields.get("reason", "")
    if not isinstance(reason, str):
        raise TypeError("the reason is no text")
    if reason in _REASONS:
        outcome, reason = _REASONS[reason], ""
    elif reason.startswith("infeasible"):
        outcome, reason = "infeasible", reason.removeprefix("infeasible").removeprefix(": ")
    return {"confirms": False, **rest, "outcome": outcome, "reason": reason, "objective": fields["metrics"].get(metric)}


def metric_of(path: Path) -> str:
    """Name of the deciding metric of the search that a record file belongs to, by the `plan.json` beside it."""
    try:
        return str(json.loads((path.parent / "plan.json").read_text(encoding="utf-8"))["metric"])
    except (OSError, KeyError, TypeError, ValueError):
        return "accuracy"
