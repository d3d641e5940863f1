"""Which of the best recipes is trained again next, until the winner is decided. Pure functions.

First the leader gets fresh seeds: the recipe that is expected to be the best. If they are bad, another one leads, which
then gets them. After that each training goes to the recipe from which most is expected to be gained. The race is over
when the leader is the best with a probability of 95 %, or when no training is expected to gain a noticeable amount.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from frostline.search.ledger.belief import Belief, Entry
from frostline.search.ledger.gaussian.surrogate import Array

_SURE = 0.95
"""Probability that decides the race."""
LEAST = 2
"""Fresh seeds of a winner, at least: with one alone little is known of the luck of its trainings."""
_EXTRA = 1
"""Trainings that a race takes beside one for each recipe, by experience."""


def expected_trainings(recipes: int, seeds: int) -> int:
    """Trainings that a race between this number of recipes takes; `recipes * seeds` at most."""
    return min(recipes * seeds, recipes + _EXTRA) if recipes > 1 else recipes * seeds


def next_training(belief: Belief, entries: Sequence[Entry], *, seeds: int, small: float) -> Entry | None:
    """The recipe that is trained again next; None if the race is decided, or waits for the trainings that run.

    Args:
        belief: what the scores say of these recipes.
        entries: the recipes.
        seeds: fresh seeds of each recipe on average, at most; those of a recipe without a rival.
        small: gain of a training, in units of the objective, that is not worth it.
    """
    leader = int(np.argmax(belief.means))
    alone = len(entries) == 1
    if entries[leader].fresh + entries[leader].running < (seeds if alone else min(LEAST, seeds)):
        return entries[leader]
    gain = gains(belief, entries)
    if alone or belief.chances[leader] >= _SURE or gain.max() < small:
        return None
    return entries[int(np.argmax(gain))]


def gains(belief: Belief, entries: Sequence[Entry]) -> Array:
    """Expected gain of one more training of each recipe: by how much the best expected score rises through it.

    This is the knowledge gradient (Frazier, Powell, Dayanik 2008, doi:10.1137/070693424). Trainings that run count as
    if they had ended and had changed no mean.
    """
    from scipy.special import ndtr

    means, luck = belief.means, float(belief.luck.mean())
    if len(entries) < 2:
        return np.zeros(len(entries))
    running = np.array([entry.running for entry in entries])
    variance = 1 / (1 / belief.recipes.var(axis=0) + running / luck)
    change = variance / np.sqrt(variance + luck)
    """Standard deviation of the change of a mean by one more score."""
    first, second = np.sort(means)[[-1, -2]]
    behind = np.where(means == first, first - second, first - means) / change
    density = np.exp(-0.5 * behind**2) / math.sqrt(2 * math.pi)
    return np.asarray(change * (density - behind * ndtr(-behind)))
