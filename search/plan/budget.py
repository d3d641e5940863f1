"""Arithmetic of a budget: rungs, reports, and how many trainings it is. Pure, no Ray."""

from __future__ import annotations

import math

from frostline.spaces import Budget

FEWEST = 60
"""Whole trainings that a budget must have room for, before a trial may stop early. With fewer, what a rung says would
be known when it is of no use any more."""
COMPANIONS = 6
"""Trials that were trained whole and had passed a rung, before a trial may stop there."""
_LATE, _LATE_PART = 20.0, 0.05
"""By how much a search may be late: seconds, or part of its time budget if that is more."""
_EXPORT = 6.0
"""Seconds of an export and the report, on two cores."""
STEPS = 25
"""Optimizer steps before a trial may stop."""
AROUND = 20.0
"""Seconds of the plan, until the first trial trains, and from the end of the last one to the end of the search."""


def rungs(budget: Budget) -> tuple[float, ...]:
    """Epochs at which a trial may be stopped: `first_rung`, times `reduction_factor` each, below `epochs`.

    None if there are too few trials. Whether a time is too short shows when the first trials have ended.
    """
    points, epoch = [], budget.first_rung
    if budget.trials is not None and budget.trials < FEWEST:
        return ()
    while epoch < budget.epochs:
        points.append(float(epoch))
        epoch *= budget.reduction_factor
    return tuple(points)


def report_points(budget: Budget) -> tuple[float, ...]:
    """Epochs at which a trial is measured: every rung, every whole epoch and the end."""
    whole = map(float, range(1, math.floor(budget.epochs) + 1))
    return tuple(sorted({*rungs(budget), *whole, float(budget.epochs)}))


def validation_sizes(budget: Budget, train: int, validation: int) -> tuple[int, ...]:
    """Validation examples that each report is measured on: fewer before the first whole epoch, all from there on and
    at the end.

    A forward pass is about a third of a training step. Half as many examples as have been trained on therefore take
    a seventh of the time. Below 100 examples a score says little.

    Args:
        budget: of the search.
        train: training examples.
        validation: validation examples.
    """
    return tuple(
        validation if point >= min(1, budget.epochs) else min(validation, max(100, math.ceil(point * train / 2)))
        for point in report_points(budget)
    )


def worst_case_epochs(trials: int, budget: Budget) -> float:
    """Epochs of training if no trial is stopped."""
    return float(trials * budget.epochs)


def whole_trainings(budget: Budget, slots: int, seconds: float) -> float:
    """Whole trainings of trials that the budget has room for.

    Args:
        budget: of the search.
        slots: trials at once.
        seconds: of a whole training; 0 if none has ended, when only the number of trials counts.
    """
    in_time = math.inf if budget.seconds is None or not seconds else budget.seconds * slots / seconds
    return min(in_time, math.inf if budget.trials is None else budget.trials)


def closing(seconds: float, test: float) -> float:
    """Seconds of a time budget that are kept for its end: the winner's export, its test score, the report.

    A search may last a twentieth longer than its budget, 20 s at least. Half of that is left for what varies.

    Args:
        seconds: the time budget.
        test: seconds that the test score takes.
    """
    return max(0.0, _EXPORT + test - max(_LATE, _LATE_PART * seconds) / 2)


def trainings(budget: Budget) -> int:
    """Trainings of a search at most, confirmation included; a search without a number of trials counts as 1,000."""
    return (budget.trials or 1000) + budget.confirm_recipes * budget.confirm_seeds
