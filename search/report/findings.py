"""Sentences about what a search found. Each is computed from the records, and left out if they do not support it.

Every function takes records and returns a sentence or None. A difference between single trainings counts only if the
validation slice is large enough to show it. Scores with fresh seeds are compared by Welch's test, as for the winner.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from frostline.search.ledger.confirm import Confirmed
from frostline.search.records.trials import Outcome
from frostline.search.report.importance import Importance
from frostline.search.report.references import Reference
from frostline.search.report.timeline import SlotUse
from frostline.search.report.view import DONE, FAILING, STOPPED, UNFIT, Row
from frostline.search.words import duration, listed, plural, value
from frostline.spaces import Metric

_Z = 1.96
"""Standard errors that 95 % of a normal distribution lie within."""
_IDLE = 0.15
"""Share of idle time that deserves a sentence."""
_EDGE = 0.1
"""Share of a parameter's range that counts as its edge."""
_FEW = 3
"""The least number of trials, seeds or reasons that a statement is made from."""


def points(difference: float) -> str:
    """The size of a difference between two shares, in percentage points."""
    size = 100 * abs(difference)
    return f"{size:.1f} {'point' if f'{size:.1f}' == '1.0' else 'points'}"


def signed_points(difference: float) -> str:
    """A difference between two shares in percentage points, with its sign."""
    return f"{'+' if difference >= 0 else '−'}{points(difference)}"


def noise(one: float, other: float, examples: int) -> float:
    """The difference that two equally good models stay below on `examples` validation examples in 95 of 100 cases.

    Computed as if the two were measured on different examples. That is more than on the same ones, so a larger
    difference is certain.
    """
    middle = min(1.0, max(0.0, (one + other) / 2))
    return _Z * math.sqrt(2 * middle * (1 - middle) / examples)


def explained(importance: Importance | None) -> str | None:
    """Which parameters matter: only those above the level of chance."""
    if importance is None or not importance.clear:
        return None
    first, *others = importance.clear
    share = importance.shares[first]
    verb = "explains most of" if share > 0.5 else "matters most for"
    more = f" {listed(others)} {'matters' if len(others) == 1 else 'matter'} too." if others else ""
    return (
        f"{first} {verb} the difference between the best {importance.best} of {importance.trials} trials and the "
        f"others ({100 * share:.0f} % of the importance by PED-ANOVA).{more}"
    )


def at_the_edge(rows: Sequence[Row], spaces: Mapping[str, Any]) -> list[str]:
    """Parameters whose best values crowd at an end of their range, so that better ones may lie outside.

    Looks at the best quarter of the trials that trained to the end, the winner included, and at three at least.
    """
    ended = sorted((row for row in rows if row.kind == DONE and row.score is not None), key=lambda row: -row.objective)
    count = max(_FEW, len(ended) // 4)
    if len(ended) < 2 * count:
        return []
    sentences = []
    for name, space in spaces.items():
        given = [row.trial.params.get(name) for row in ended[:count]]
        values = [float(number) for number in given if isinstance(number, int | float)]
        is_depth = name in {"frozen_layers", "frozen_fraction"}
        if getattr(space, "choices", None) is not None or space.single() or is_depth or len(values) < count:
            continue
        end = _crowded_end(values, space)
        if end:
            sentences.append(f"The best {count} trials have {name} close to the {end}: better values may lie beyond.")
    return sentences


def _crowded_end(values: Sequence[float], space: Any) -> str:
    """The end of the range that all values are close to; empty if there is none."""
    scale = math.log if getattr(space, "log", False) else float
    low, high = scale(space.low), scale(space.high)
    places = [(scale(number) - low) / (high - low) for number in values]
    if all(place > 1 - _EDGE for place in places):
        return f"upper end of its range ({value(space.high)})"
    if all(place < _EDGE for place in places) and space.low != 0:  # nothing lies below zero
        return f"lower end of its range ({value(space.low)})"
    return ""


def against(references: Sequence[Reference], winner: float, examples: int) -> str | None:
    """How much better the winner is than the recipes that the space brought along."""
    clear, unclear = [], []
    for reference in references:
        if reference.validation is None or not reference.params:
            continue
        gain = winner - reference.validation
        if abs(gain) <= noise(winner, reference.validation, examples):
            unclear.append(f"the {reference.name} ({reference.validation:.4f}; {signed_points(gain)})")
        else:
            side = "above" if gain > 0 else "below"
            clear.append(f"{points(gain)} {side} the {reference.name} ({reference.validation:.4f})")
    on = f"On {plural(examples, 'validation example')} the winner"
    if clear:
        doubt = f" Its difference from {listed(unclear)} may be chance." if unclear else ""
        return f"{on} scores {listed(clear)}.{doubt}"
    return f"{on}'s difference from {listed(unclear)} may be chance." if unclear else None


def saved(rows: Sequence[Row], epochs: float) -> str | None:
    """How many epochs early stopping has saved."""
    stopped = [row for row in rows if row.trial.outcome == Outcome.PRUNED]  # not those that ran out of time
    ended = [*stopped, *(row for row in rows if row.kind == DONE)]
    if not stopped:
        return None
    trained, whole = sum(row.epoch for row in ended), float(epochs * len(ended))
    were, digits = "was" if len(stopped) == 1 else "were", 0 if trained > 100 else 1
    return (
        f"{len(stopped)} of {plural(len(ended), 'trial')} {were} stopped early. The search trained "
        f"{trained:,.{digits}f} epochs instead of {whole:,.0f}: {100 * (1 - trained / whole):.0f} % less."
    )


def seeds_matter(confirmed: Sequence[Confirmed], metric: Metric) -> str | None:
    """How much the seed alone changes a score, over all recipes that were trained again."""
    groups = [recipe.scores for recipe in confirmed if len(recipe.scores) > 1]
    freedom = sum(len(scores) - 1 for scores in groups)
    if freedom < _FEW:
        return None
    spread = math.sqrt(sum(statistics.variance(scores) * (len(scores) - 1) for scores in groups) / freedom)
    if spread == 0:
        return None
    amount = points(spread) if metric.is_share else f"{spread:.4f} {metric.unit}".strip()
    return (
        f"The seed alone changes a score by {amount} (standard deviation over "
        f"{sum(map(len, groups))} trainings of {plural(len(groups), 'recipe')}), so smaller differences between single "
        "trials say little."
    )


def longer(rows: Sequence[Row], epochs: float) -> str | None:
    """Advice on the number of epochs, if most of the trials that trained to the end agree."""
    ended = [row for row in rows if row.kind == DONE and row.best is not None and len(row.trial.reports) > 1]
    late = sum(row.best.epoch >= epochs for row in ended if row.best)
    if len(ended) < 5:
        return None
    trials = f"of {len(ended)} trials that trained to the end"
    if late >= 0.8 * len(ended):
        return f"{late} {trials} had their best score there: more than {epochs:g} epochs may help."
    if late <= 0.2 * len(ended):
        return f"{len(ended) - late} {trials} had their best score earlier: fewer epochs are enough."
    return None


def of_models(rows: Sequence[Row], names: Mapping[str, str], examples: int) -> str | None:
    """How the models compare, each by its best trial that trained to the end.

    Args:
        rows: trials.
        names: model -> its short name.
        examples: size of the validation slice.
    """
    tried = Counter(row.model for row in rows)
    ended = sorted((row for row in rows if row.kind == DONE and row.score is not None), key=lambda row: row.objective)
    best = {row.model: row for row in ended}  # a later row replaces a worse one
    order = sorted(best.values(), key=lambda row: -row.objective)
    if len(names) < 2 or not order:
        return None
    scores = [row.score or 0.0 for row in order]
    never = [f"{names[model]} ({plural(tried[model], 'trial')})" for model in names if model not in best]
    if len(order) == 1:
        only, were = order[0].model, "was" if len(never) == 1 else "were"
        count = plural(tried[only], "trial")
        text = f"Only {names[only]} was trained to the end ({scores[0]:.4f}, {count}); {listed(never)} {were} not."
    else:
        parts = [f"{names[row.model]} {row.score:.4f} ({plural(tried[row.model], 'trial')})" for row in order]
        rest = f" Never trained to the end: {listed(never)}." if never else ""
        text = f"Best trial of each model: {listed(parts)}.{rest}"
    if min(tried[model] for model in names) < _FEW:
        return f"{text} Fewer than three trials of a model are too few to judge it."
    if len(order) > 1 and scores[0] - scores[1] <= noise(scores[0], scores[1], examples):
        return f"{text} The first two differ by no more than chance."
    return text


def progress(rows: Sequence[Row], won: int | None) -> str | None:
    """The winning recipe came early or late in the search.

    Args:
        rows: trials.
        won: number of the trial that found the winning recipe.
    """
    ended = [row.number for row in rows if row.kind in {DONE, STOPPED}]
    if won is None or len(ended) < 10 or won not in ended:
        return None
    after = sum(number > won for number in ended)
    if after >= len(ended) / 2:
        return f"The winning recipe was trial {won}; the {after} trials after it found nothing better."
    if after <= len(ended) / 10:
        late = f"only {plural(after, 'trial')} came after it" if after else "no trial came after it"
        return f"The winning recipe came late, in trial {won} ({late}): more trials may find a better one."
    return None


def failures(rows: Sequence[Row]) -> str | None:
    """How many trials failed, and why."""
    failed = [row for row in rows if row.kind == FAILING]
    if not failed:
        return None
    reasons = Counter(row.reason or "no reason is recorded" for row in failed).most_common(_FEW)
    why = "; ".join(f"{reason} ({count})" for reason, count in reasons)
    more = len(failed) - sum(count for _, count in reasons)
    return f"{plural(len(failed), 'trial')} failed: {why}{f'; and {more} for other reasons' if more else ''}."


def unfit(rows: Sequence[Row]) -> str | None:
    """How many trials had too little memory for a single example."""
    count = sum(row.kind == UNFIT for row in rows)
    if not count:
        return None
    return f"{plural(count, 'trial')} did not fit the device's memory, even with one example at a time."


def idle(use: SlotUse | None) -> str | None:
    """How long the slots were idle, if it was long."""
    if use is None or use.idle_share <= _IDLE:
        return None
    slots = "slot was" if use.slots == 1 else f"{use.slots} slots were"
    return (
        f"The {slots} idle for {100 * use.idle_share:.0f} % of the time between the first and the last training "
        f"({duration(use.idle)} in all)."
    )
