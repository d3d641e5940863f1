"""What a longer time budget would do: how far the trainings got in the one they had, and what a fair try needs.

It stands behind the sentence that the winner is not better than a simple baseline. It promises nothing: whether longer
trainings win, nobody has measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from frostline.search.plan import forecast as forecasts
from frostline.search.plan.plan import Plan
from frostline.search.records.trials import Outcome, Trial
from frostline.search.words import duration, plural

_FAIR = 10
"""Whole trainings that a search needs for a fair try: its recipes, and a few of them again."""
_HOUR, _MINUTES = 3600, 300
"""Suggested times are whole hours, below two of them multiples of five minutes."""


def outlook(plan: Plan, trainings: Sequence[Trial], epochs: float) -> str:
    """How far the trainings of a search got in its time, and the time that a fair try takes on the same slots.

    Args:
        plan: of the search.
        trainings: those of trials, and those that confirm them.
        epochs: of a whole training, more than the plan's where its time was too short for them.

    Returns:
        Two sentences; empty if the time was not what ended the search, was enough, or if no speed is known.
    """
    budget = plan.budget
    timed_out = budget.trials is None or any(trial.outcome == Outcome.OUT_OF_TIME for trial in trainings)
    if budget.seconds is None or not timed_out:
        return ""
    return in_words(
        budget.seconds,
        [trial.reports[-1].epoch if trial.reports else 0.0 for trial in trainings],
        epochs,
        seconds_an_epoch(plan, trainings),
        max(1, plan.resources.slots),
    )


def seconds_an_epoch(plan: Plan, trainings: Sequence[Trial]) -> float | None:
    """What an epoch takes on average: by the measured speed of the models, or else by what the trainings reported.

    None if nothing was measured.
    """
    if (expected := forecasts.forecast(plan)) is not None:
        return expected.training / plan.budget.epochs
    last = [trial.reports[-1] for trial in trainings if trial.reports]
    epochs = sum(line.epoch for line in last)
    return sum(line.seconds for line in last) / epochs if epochs else None


def in_words(had: float, trained: Sequence[float], epochs: float, epoch: float | None, slots: int) -> str:
    """The two sentences of `outlook`; empty if there is nothing to say.

    Args:
        had: seconds of the time budget.
        trained: epochs of each training.
        epochs: of a whole training.
        epoch: seconds that one takes; None if it is not known.
        slots: trainings at once.
    """
    whole = sum(one >= epochs for one in trained)
    if epoch is None or not trained or whole >= _FAIR:
        return ""
    needed = _rounded_up(_FAIR * epochs * epoch / slots)
    if needed <= had:
        return ""
    longest = max(trained)
    if whole:
        came = f"only {plural(whole, 'training')} saw {_seen(epochs)}"
    elif longest < 1:
        came = f"no training saw {_seen(1)} (the longest saw {_percent(longest)} of them)"
    else:
        came = f"no training saw {_seen(epochs)} (the longest did {math.floor(10 * longest) / 10:g} times)"
    return (
        f"In {duration(had)} {came}. About {_FAIR} whole trainings of {epochs:.3g} epoch{'s' * (epochs != 1)} need "
        f"about {duration(needed)} here (--time-budget {_typed(needed)}); whether that turns it round is open."
    )


def _seen(epochs: float) -> str:
    if epochs < 1:
        return f"{_percent(epochs)} of the training rows"
    return "all training rows " + ("once" if epochs == 1 else f"{epochs:.3g} times")


def _percent(share: float) -> str:
    """Rounded down, since what is not whole is not 100 %."""
    return f"{math.floor(100 * share)} %" if share >= 0.01 else "less than 1 %"


def _rounded_up(seconds: float) -> float:
    step = _MINUTES if seconds <= 2 * _HOUR else _HOUR
    return float(math.ceil(seconds / step) * step)


def _typed(seconds: float) -> str:
    """As `--time-budget` takes it: `45m`, `9h`."""
    hours, rest = divmod(round(seconds), _HOUR)
    return "".join([f"{hours}h" * (hours > 0), f"{rest // 60}m" * (rest > 0)])
