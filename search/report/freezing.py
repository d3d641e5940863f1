"""The sentence about what it costs and saves to freeze more blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from frostline.search.ledger import confirm
from frostline.search.ledger.confirm import Confirmed
from frostline.search.report.findings import noise, points, signed_points
from frostline.search.report.view import DONE, Row
from frostline.search.words import plural

_SLOWER = 1.25
"""A single training counts as slower than another if it takes this many times as long: the machine does other things
too."""
_APART = 0.25
"""Share of a model's blocks by which the depths of two single trainings must differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Comparison:
    """Two trials of one model with different depths."""

    less: Row
    """The trial with fewer frozen blocks."""
    more: Row
    difference: float
    """Score of `more` minus score of `less`."""
    score_is_certain: bool
    """True if the scores differ by more than chance."""
    time_ratio: float
    """Training time of `more` as a multiple of that of `less`."""
    time_is_certain: bool
    evidence: str
    """The trainings behind the numbers, in words."""


def freezing(
    confirmed: Sequence[Confirmed], rows: Sequence[Row], seconds: Mapping[int, Sequence[float]], examples: int
) -> str | None:
    """Cost and savings of freezing more blocks, from two confirmed recipes or else from two single trials.

    Args:
        confirmed: recipes, best first.
        rows: trials.
        seconds: time of each training with a fresh seed, by trial.
        examples: size of the validation slice.
    """
    pair = _of_confirmed(confirmed, rows, seconds) or _of_trials(rows, examples)
    if pair is None:
        return None
    less, more = pair.less, pair.more
    blocks = f"{more.frozen} of {more.blocks} blocks" + (f" instead of {less.frozen}" if less.frozen else "")
    if pair.score_is_certain:
        cost = f"{'costs' if pair.difference < 0 else 'gains'} {points(pair.difference)}"
    else:
        cost = f"changes the score by no more than chance ({signed_points(pair.difference)})"
    if pair.time_is_certain:
        change = f"{'saves' if pair.time_ratio < 1 else 'adds'} {100 * abs(1 - pair.time_ratio):.0f} % of the time"
    else:
        change = "takes about as long"
    same = all(
        less.trial.params.get(name) == value
        for name, value in more.trial.params.items()
        if not name.startswith("frozen")
    )
    trials = f"trial {more.number} against trial {less.number}"
    rest = "" if same else "; their other parameters differ too"
    return f"Freezing {blocks} {cost} and {change} ({trials}; {pair.evidence}{rest})."


def _of_confirmed(
    confirmed: Sequence[Confirmed], rows: Sequence[Row], seconds: Mapping[int, Sequence[float]]
) -> _Comparison | None:
    """The best confirmed recipe, and the best one with another depth of the same model."""
    by_number = {row.number: row for row in rows if row.epoch > 0}
    sound = {recipe.number: recipe for recipe in confirmed if not recipe.failed and recipe.number in by_number}
    order = [by_number[number] for number in sound]
    rival = next((row for row in order if row.frozen != order[0].frozen and row.model == order[0].model), None)
    if rival is None:
        return None
    first = order[0]
    less, more = sorted((first, rival), key=lambda row: row.frozen)
    one, other = sound[less.number], sound[more.number]
    return _Comparison(
        less=less,
        more=more,
        difference=other.mean - one.mean,
        score_is_certain=confirm.apart(one.scores, other.scores),
        time_ratio=other.seconds / one.seconds,
        time_is_certain=confirm.apart(seconds[one.number], seconds[other.number]),
        evidence=f"means of {min(len(one.scores), len(other.scores))} fresh seeds",
    )


def _of_trials(rows: Sequence[Row], examples: int) -> _Comparison | None:
    """The best trial, and the best one whose depth is clearly different, both trained to the end."""
    ended = [row for row in rows if row.kind == DONE and row.score is not None and row.model == rows[0].model]
    best = max(ended, key=lambda row: row.objective, default=None)
    if best is None or not best.seconds > 0:
        return None
    others = [row for row in ended if abs(row.frozen - best.frozen) >= _APART * row.blocks and row.seconds > 0]
    rival = max(others, key=lambda row: row.objective, default=None)
    if rival is None:
        return None
    less, more = sorted((best, rival), key=lambda row: row.frozen)
    assert less.score is not None
    assert more.score is not None
    difference, time_ratio = more.score - less.score, more.seconds / less.seconds
    return _Comparison(
        less=less,
        more=more,
        difference=difference,
        score_is_certain=abs(difference) > noise(less.score, more.score, examples),
        time_ratio=time_ratio,
        time_is_certain=abs(math.log(time_ratio)) > math.log(_SLOWER),
        evidence=f"one training each, {plural(examples, 'validation example')}",
    )
