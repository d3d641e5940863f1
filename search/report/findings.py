"""What a search found out, in sentences: each is computed from the records, and left out where they do not bear it.

Every function takes records and gives a sentence or None. A difference between single trainings is called one only
where the validation slice is large enough to see it; seeds are compared by Welch's test, as for the winner.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from frostline.search.ledger import confirm
from frostline.search.ledger.confirm import Confirmed
from frostline.search.report.importance import Importance
from frostline.search.report.references import Reference
from frostline.search.report.timeline import Use
from frostline.search.report.view import DONE, FAILING, STOPPED, UNFIT, Row
from frostline.search.words import duration, listed, plural, value
from frostline.spaces import Metric

_Z = 1.96
"""Standard errors that 95 % of a normal distribution lie within."""
_IDLE, _EDGE, _FEW, _TIMES = 0.15, 0.1, 3, 1.25
"""Share of idle time that is worth a word; of a parameter's range that is its edge; trials that say something; how
many times as long as another a single training must take, on a machine that does other things, to be called slower."""


def points(difference: float) -> str:
    """A difference of two shares, in points."""
    size = 100 * abs(difference)
    return f"{size:.1f} {'point' if f'{size:.1f}' == '1.0' else 'points'}"


def noise(one: float, other: float, examples: int) -> float:
    """What the scores of two equally good models may differ by on so many validation examples, 95 times of 100.

    As if they were measured on different examples, which is more than on the same: what exceeds it is certain.
    """
    middle = min(1.0, max(0.0, (one + other) / 2))
    return _Z * math.sqrt(2 * middle * (1 - middle) / examples)


def explained(found: Importance | None) -> str | None:
    """Which parameters matter: only those that are above the level of chance."""
    if found is None or not found.clear:
        return None
    first, *others = found.clear
    share = found.shares[first]
    what = "explains most of" if share > 0.5 else "matters most for"
    rest = f"; {listed(others)} {'matters' if len(others) == 1 else 'matter'}, too" if others else ""
    return (
        f"{first} {what} which trials are among the best {found.best} of {found.trials} "
        f"({100 * share:.0f} % of the importance by PED-ANOVA){rest}."
    )


def at_the_edge(rows: Sequence[Row], spaces: Mapping[str, Any]) -> list[str]:
    """Parameters whose best values crowd at an end of their range, so that better ones may lie outside.

    Asked of those that trained to the end, the best quarter of them and three at least, the winner included.
    """
    ended = sorted((row for row in rows if row.kind == DONE and row.score is not None), key=lambda row: -row.objective)
    count = max(_FEW, len(ended) // 4)
    if len(ended) < 2 * count:
        return []
    sentences = []
    for name, space in spaces.items():
        given = [row.trial.params.get(name) for row in ended[:count]]
        values = [float(of) for of in given if isinstance(of, int | float)]
        if (
            getattr(space, "choices", None) is not None
            or space.single()
            or name in {"frozen_layers", "frozen_fraction"}
        ):
            continue
        if len(values) < count:
            continue
        scale = math.log if getattr(space, "log", False) else float
        low, high = scale(space.low), scale(space.high)
        at = [(scale(of) - low) / (high - low) for of in values]
        if space.low == 0 and all(place < _EDGE for place in at):
            continue  # there is nothing below none
        for end, near in (
            (f"upper end of its range ({value(space.high)})", all(place > 1 - _EDGE for place in at)),
            (f"lower end of its range ({value(space.low)})", all(place < _EDGE for place in at)),
        ):
            if near:
                sentences.append(f"The best {count} trials have {name} at the {end}: better values may lie beyond.")
    return sentences


def against(references: Sequence[Reference], winner: float, examples: int) -> str | None:
    """What the search has gained over the recipes that were there before it."""
    said = []
    for row in references:
        if row.validation is None or not row.params:
            continue
        gain = winner - row.validation
        if abs(gain) <= noise(winner, row.validation, examples):
            sign = "+" if gain >= 0 else "−"
            said.append(f"no more than chance from the {row.name} ({row.validation:.4f}; {sign}{points(gain)})")
        else:
            said.append(f"{points(gain)} {'above' if gain > 0 else 'below'} the {row.name} ({row.validation:.4f})")
    return f"The winner is {listed(said)} on {plural(examples, 'validation example')}." if said else None


def freezing(
    confirmed: Sequence[Confirmed], rows: Sequence[Row], took: Mapping[int, Sequence[float]], examples: int
) -> str | None:
    """What freezing more blocks costs and saves: of two confirmed recipes, else of the two best trials of their kind.

    Args:
        confirmed: recipes, best first.
        rows: trials.
        took: seconds of each training with a fresh seed, by trial.
        examples: of the validation slice.
    """
    by_number = {row.number: row for row in rows if row.epoch > 0}
    sound = [row for row in confirmed if not row.failed and row.number in by_number]
    pair = _deeper([by_number[row.number] for row in sound])
    if pair:
        less, more = pair
        one, other = (next(row for row in sound if row.number == of.number) for of in pair)
        apart, difference = confirm.apart(one.scores, other.scores), other.mean - one.mean
        how = f"the means of {min(len(one.scores), len(other.scores))} fresh seeds"
        times, sure = other.seconds / one.seconds, confirm.apart(took[one.number], took[other.number])
    else:
        ended = [row for row in rows if row.kind == DONE and row.score is not None and row.model == rows[0].model]
        best = max(ended, key=lambda row: row.objective, default=None)
        others = [
            row for row in ended if best and abs(row.frozen - best.frozen) >= 0.25 * row.blocks and row.seconds > 0
        ]
        rival = max(others, key=lambda row: row.objective, default=None)
        if best is None or rival is None or not best.seconds > 0:
            return None
        less, more = sorted((best, rival), key=lambda row: row.frozen)
        assert less.score is not None
        assert more.score is not None
        difference = more.score - less.score
        apart = abs(difference) > noise(less.score, more.score, examples)
        how = f"one training each, {plural(examples, 'validation example')}"
        times, sure = more.seconds / less.seconds, abs(math.log(more.seconds / less.seconds)) > math.log(_TIMES)
    of = f"{more.frozen} of {more.blocks} blocks" + (f" instead of {less.frozen}" if less.frozen else "")
    cost = f"{'costs' if difference < 0 else 'gains'} {points(difference)}"
    if not apart:
        sign = "+" if difference >= 0 else "−"
        cost = f"makes no difference to the score that is more than chance ({sign}{points(difference)})"
    time = (
        f"{'saves' if times < 1 else 'adds'} {100 * abs(1 - times):.0f} % of the time"
        if sure
        else "takes about as long"
    )
    same = all(
        less.trial.params.get(name) == of for name, of in more.trial.params.items() if not name.startswith("frozen")
    )
    beside = "" if same else "; their other parameters differ, too"
    return f"Freezing {of} {cost} and {time} (trials {more.number} and {less.number}; {how}{beside})."


def _deeper(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """The best row and the best of those with another depth of the same model: the one that freezes less first."""
    other = next((row for row in rows[1:] if row.frozen != rows[0].frozen and row.model == rows[0].model), None)
    if other is None:
        return None
    return (rows[0], other) if rows[0].frozen < other.frozen else (other, rows[0])


def saved(rows: Sequence[Row], epochs: int) -> str | None:
    """What stopping early has saved."""
    ended = [row for row in rows if row.kind in {DONE, STOPPED}]
    stopped = [row for row in ended if row.kind == STOPPED]
    if not stopped:
        return None
    trained, whole = sum(row.epoch for row in ended), float(epochs * len(ended))
    were, digits = "was" if len(stopped) == 1 else "were", 0 if trained > 100 else 1
    return (
        f"{len(stopped)} of {plural(len(ended), 'trial')} {were} stopped early: {trained:,.{digits}f} epochs were "
        f"trained instead of {whole:,.0f}, {100 * (1 - trained / whole):.0f} % less."
    )


def seeds_matter(confirmed: Sequence[Confirmed], metric: Metric) -> str | None:
    """How much the seed alone moves a score, over all recipes trained again."""
    groups = [row.scores for row in confirmed if len(row.scores) > 1]
    freedom = sum(len(scores) - 1 for scores in groups)
    if freedom < _FEW:
        return None
    spread = math.sqrt(sum(statistics.variance(scores) * (len(scores) - 1) for scores in groups) / freedom)
    if spread == 0:
        return None
    amount = points(spread) if metric.is_share else f"{spread:.4f} {metric.unit}".strip()
    return (
        f"The seed alone moves a score by {amount} (standard deviation over "
        f"{sum(map(len, groups))} trainings of {plural(len(groups), 'recipe')}): smaller differences between single "
        "trials say little."
    )


def longer(rows: Sequence[Row], epochs: int) -> str | None:
    """Whether more epochs may help, or fewer would have done: where most of those trained to the end agree."""
    ended = [row for row in rows if row.kind == DONE and row.best is not None and len(row.trial.reports) > 1]
    late = sum(row.best.epoch >= epochs for row in ended if row.best)
    if len(ended) < 5:
        return None
    if late >= 0.8 * len(ended):
        return f"{late} of {len(ended)} trials trained to the end were best there: more than {epochs} epochs may help."
    if late <= 0.2 * len(ended):
        return f"{len(ended) - late} of {len(ended)} trials trained to the end were best before it: fewer epochs do."
    return None


def of_models(rows: Sequence[Row], names: Mapping[str, str], examples: int) -> str | None:
    """How the models compare, each by its best trial that was trained to the end."""
    tried = Counter(row.model for row in rows)
    if len(names) < 2:
        return None
    ended = sorted((row for row in rows if row.kind == DONE and row.score is not None), key=lambda row: row.objective)
    best = {row.model: row for row in ended}  # the last of each is its best
    order = sorted(best.values(), key=lambda row: -row.objective)
    if not order:
        return None
    first = order[0]
    parts = [f"{names[row.model]} {row.score:.4f} ({plural(tried[row.model], 'trial')})" for row in order]
    never = [f"{names[name]} ({plural(tried[name], 'trial')})" for name in names if name not in best]
    if len(order) == 1:
        count = plural(tried[first.model], "trial")
        said = (
            f"Only {names[first.model]} was ever trained to the end ({first.score:.4f}, {count}), not {listed(never)}"
        )
    else:
        said = f"Best trial of each model: {listed(parts)}" + (f"; {listed(never)} never to the end" if never else "")
    if min(tried[name] for name in names) < _FEW:
        said += "; a model tried fewer than three times has not had its chance"
    elif len(order) > 1 and (first.score or 0) - (order[1].score or 0) <= noise(
        first.score or 0, order[1].score or 0, examples
    ):
        said += "; the first two differ by no more than chance"
    return said + "."


def progress(rows: Sequence[Row], won: int | None) -> str | None:
    """Where in the search its winning recipe was found."""
    ended = [row.number for row in rows if row.kind in {DONE, STOPPED}]
    if won is None or len(ended) < 10 or won not in ended:
        return None
    after = sum(number > won for number in ended)
    if after >= len(ended) / 2:
        return f"The winning recipe was trial {won}; the {after} trials after it found nothing better."
    if after <= len(ended) / 10:
        return f"The winning recipe came late, as trial {won} of {len(ended)}: more trials may find a better one."
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
    """How many trials had not enough memory for a single example."""
    count = sum(row.kind == UNFIT for row in rows)
    if not count:
        return None
    return f"{plural(count, 'trial')} did not fit the device's memory, even with one example at a time."


def idle(use: Use | None) -> str | None:
    """Whether the slots had nothing to do for long."""
    if use is None or use.idle_share <= _IDLE:
        return None
    return (
        f"The {plural(use.slots, 'slot')} had nothing to do for {100 * use.idle_share:.0f} % of the time between the "
        f"first and the last training ({duration(use.idle)} in all)."
    )
