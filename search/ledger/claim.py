"""What may be said of a recipe that was trained again: its expected score, how sure that is, and which ones are tied.

Two things make a score uncertain: the seeds of the trainings, and the validation examples, which are a sample too. The
luck of a seed is estimated from all recipes of the search together. Measured in simulated searches
(`tests/search/ledger/simulated.py`), the interval of the winner holds in 94 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from frostline.search.ledger.belief import Belief, standard_normal
from frostline.search.ledger.gaussian.surrogate import Array

LEVEL = 0.95
"""Probability of an interval. A recipe is tied with the best one if its chance to be better is above the rest."""
_OWN_SHARE = 0.3
"""Part of the variance by validation examples that is a recipe's own: where it is right and the others are wrong. Good
recipes of one model agree on most examples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What may be said of one recipe, in objectives."""

    estimate: float
    """Expected score over all seeds, on examples that no training has seen."""
    interval: tuple[float, float]
    """95 % interval of that score."""
    within: float
    """Another seed scores within this distance of the estimate on the same examples, with a probability of 95 %."""
    chance: float
    """Probability of being the best of the recipes that were trained again."""
    tied: bool
    """True if it cannot be told apart from the one with the best estimate, and is no more than a little worse."""


def claims(belief: Belief, examples: int | None, small: float) -> list[Claim]:
    """A claim for each recipe of a belief.

    Args:
        belief: what the scores say.
        examples: validation examples, if the score is the share of right answers among them; else None.
        small: difference between two recipes, in units of the objective, that hardly matters.
    """
    means, chances = belief.means, belief.chances
    best = int(np.argmax(means))
    rows = []
    for place, scores in enumerate(belief.recipes.T):
        unseen = scores if examples is None else _on_unseen(belief, scores, examples)
        low, high = np.quantile(unseen, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        estimate, another = float(unseen.mean()), scores + np.sqrt(belief.luck) * standard_normal(3)[:, 0]
        better = float((scores >= belief.recipes[:, best]).mean())
        rows.append(
            Claim(
                estimate=estimate,
                interval=(float(low), float(high)),
                within=float(np.quantile(np.abs(another - estimate), LEVEL)),
                chance=float(chances[place]),
                tied=bool(place == best or (better > 1 - LEVEL and means[best] - means[place] <= small)),
            )
        )
    return rows


def _on_unseen(belief: Belief, scores: Array, examples: int) -> Array:
    """Draws of a recipe's share of right answers on all examples there could be, from those on the validation slice.

    The best recipe is also one that this slice suits, so it is moved towards the center by as much as that explains.
    """
    share = (float(np.clip(scores.mean(), 0, 1)) * examples + 2) / (examples + 4)  # Agresti and Coull 1998
    variance = share * (1 - share) / examples
    own = np.minimum(_OWN_SHARE * variance, belief.spread)
    kept = 1 - own / belief.spread
    noise = np.sqrt(own * kept + (1 - _OWN_SHARE) * variance) * standard_normal(2)[:, 0]
    return np.clip(belief.center + kept * (scores - belief.center) + noise, 0.0, 1.0)
