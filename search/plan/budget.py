"""Arithmetic of a budget: rungs, reports, and how many epochs a search trains. Pure, no Ray."""

from __future__ import annotations

import itertools
import math

from frostline.spaces import Budget


def rungs(budget: Budget) -> tuple[float, ...]:
    """Epochs at which ASHA may stop a trial: `first_rung`, times `reduction_factor` each, below `epochs`."""
    points, epoch = [], budget.first_rung
    while epoch < budget.epochs:
        points.append(float(epoch))
        epoch *= budget.reduction_factor
    return tuple(points)


def report_points(budget: Budget) -> tuple[float, ...]:
    """Epochs at which a trial is measured: every rung and every whole epoch."""
    return tuple(sorted({*rungs(budget), *map(float, range(1, budget.epochs + 1))}))


def validation_sizes(budget: Budget, train: int, validation: int) -> tuple[int, ...]:
    """Validation examples that each report is measured on: fewer before the first whole epoch, all from there on.

    A forward pass is about a third of a training step. Half as many examples as have been trained on therefore take
    a seventh of the time. Below 100 examples a score says little.

    Args:
        budget: of the search.
        train: training examples.
        validation: validation examples.
    """
    return tuple(
        validation if point >= 1 else min(validation, max(100, math.ceil(point * train / 2)))
        for point in report_points(budget)
    )


def worst_case_epochs(trials: int, budget: Budget) -> float:
    """Epochs of training if ASHA stops nothing."""
    return float(trials * budget.epochs)


def expected_epochs(trials: int, budget: Budget) -> float:
    """Epochs of training if exactly one trial in `reduction_factor` passes each rung."""
    points, alive, total = (0.0, *rungs(budget), float(budget.epochs)), float(trials), 0.0
    for start, stop in itertools.pairwise(points):
        total += math.ceil(alive) * (stop - start)
        alive /= budget.reduction_factor
    return total


def trainings(budget: Budget) -> int:
    """Trainings of a search at most, confirmation included; a search without a number of trials counts as 1,000."""
    return (budget.trials or 1000) + budget.confirm_recipes * budget.confirm_seeds
