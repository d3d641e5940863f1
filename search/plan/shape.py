"""What a time budget makes of a search: the epochs of a training, and how many examples measure it. Pure, no Ray.

The square root shares the time: four times as much of it means twice as many recipes, trained twice as long.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from frostline.search.plan import budget as budgets
from frostline.search.plan import parameters
from frostline.search.plan.parameters import Searched
from frostline.search.plan.prefix import depth_shares
from frostline.spaces import Budget, Data

if TYPE_CHECKING:
    from frostline.trainables._task import Speed

_FEWEST = 4
"""Trainings that a search should have time for, however short each of them gets."""
_RECIPES = 3.0
"""A search gets this many trainings for each square root of the epochs that fit into its time."""
LONGEST = 10
"""Epochs of a training of a user's own data at most, where the space does not ask for more."""
_MEASURED = 0.1
"""Part of a training that its measurement may take."""
_TESTED = 0.05
"""Part of the time that the winner's test score may take."""
_FEWEST_EXAMPLES, _STEP = 200, 100
"""Examples of a validation or test slice that is cut for want of time, at least; sizes are multiples of the second, so
that the same search on the same machine has the same slices."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Seconds on one slot, of a model and a depth on average."""

    trained: float
    """A step, for each example of its batch."""
    evaluated: float
    """An evaluation, for each example."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What the time allows."""

    budget: Budget
    """With the epochs of a training."""
    data: Data
    """With the sizes of the slices that are measured on."""
    trainings: int
    """Trainings that the time is expected to hold, those with fresh seeds included."""
    remarks: tuple[str, ...] = ()
    """What a user should know of it, a sentence each."""


def costs(speeds: Mapping[str, Speed], searched: Searched) -> Costs:
    """What examples cost on average.

    Args:
        speeds: of each model, by name.
        searched: parameters, and recipes tried first.
    """
    trained, evaluated = [], []
    for model, speed in speeds.items():
        blocks = speed.depths[-1]
        first = parameters.complete(next(iter(searched.recipes.values())), {model: blocks})
        shares = depth_shares(searched.distributions, blocks) or {int(first.get("frozen_layers", 0)): 1.0}
        trained.append(sum(share * np.interp(depth, speed.depths, speed.trained) for depth, share in shares.items()))
        evaluated.append(speed.evaluated)
    return Costs(trained=float(np.mean(trained)), evaluated=float(np.mean(evaluated)))


def shaped(
    budget: Budget,
    data: Data,
    sizes: Mapping[str, int],
    cost: Costs,
    slots: int,
    *,
    most: float,
    epochs: float | None = None,
) -> Shape:
    """The budget and the slices of a search that has a time budget.

    Args:
        budget: as the profile has it, with `seconds`.
        data: as the profile has it.
        sizes: examples of each slice.
        cost: of an example.
        slots: trials at once.
        most: epochs of a training at most.
        epochs: of a training, where they are given.
    """
    seconds = budget.seconds or 0.0
    test = _fewer(sizes["test"], _TESTED * seconds * slots / cost.evaluated)
    worked = max(0.0, seconds - budgets.AROUND) * slots - test * cost.evaluated
    epoch = sizes["train"] * cost.trained + sizes["validation"] * cost.evaluated
    fit = max(0.0, worked / epoch)
    trainings = max(_FEWEST, round(_RECIPES * math.sqrt(fit)))
    if budget.trials is not None:
        trainings = min(trainings, budget.trials + budget.confirm_recipes * budget.confirm_seeds)
    epochs = epochs or _rounded(min(fit / trainings, most), sizes["train"])
    measured = _MEASURED * epochs * sizes["train"] * cost.trained / cost.evaluated
    validation = _fewer(sizes["validation"], measured)
    takes = epochs * sizes["train"] * cost.trained + validation * cost.evaluated * max(1, epochs)
    expected = max(1, int(worked / takes))
    rung = budget.first_rung / budget.epochs * epochs if expected >= budgets.FEWEST else epochs
    return Shape(
        budget=dataclasses.replace(budget, epochs=epochs, first_rung=float(rung)),
        data=dataclasses.replace(
            data,
            validation=data.validation if validation == sizes["validation"] else validation,
            test=data.test if test == sizes["test"] else test,
        ),
        trainings=expected,
        remarks=tuple(
            f"the {split} slice has {size:,} examples instead of {sizes[split]:,}: more would take too much of the time"
            for split, size in (("validation", validation), ("test", test))
            if size < sizes[split]
        ),
    )


def _fewer(size: int, examples: float) -> int:
    """The size of a slice that may cost no more than `examples` do."""
    return min(size, max(_FEWEST_EXAMPLES, int(examples) // _STEP * _STEP))


def _rounded(epochs: float, examples: int) -> float:
    """Whole epochs, or a part of one with two digits, which holds one example at least."""
    if epochs >= 1:
        return round(epochs)
    digits = 1 - math.floor(math.log10(max(epochs, 1e-6)))
    return max(round(epochs, digits), math.ceil(1e6 / examples) / 1e6)
