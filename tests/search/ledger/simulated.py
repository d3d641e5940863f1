"""Simulated searches, for figures of the race and of its claim: true scores, luck, a validation slice. numpy alone.

PYTHONPATH=. python -m tests.search.ledger.simulated 200
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from frostline.search.ledger import belief, claim, knowledge, race
from frostline.search.ledger.belief import Entry
from frostline.search.ledger.confirm import Judge
from frostline.search.ledger.gaussian.surrogate import Surrogate
from tests.search.made import AXES, METRIC

RECIPES = 40
_OWN = 0.2
"""Part of the variance by validation examples that is a recipe's own."""

_AXES = 3
"""Parameters of a recipe."""

Rng = np.random.Generator
KINDS: dict[str, Callable[[Rng], np.ndarray]] = {
    "normal": lambda rng: 0.80 + 0.05 * rng.standard_normal(RECIPES),
    "a long tail below": lambda rng: 0.88 - 0.05 * rng.gamma(1.5, 1.0, RECIPES),
    "many equals at the top": lambda rng: np.where(
        rng.random(RECIPES) < 0.4,
        0.85 + 0.005 * rng.standard_normal(RECIPES),
        0.70 + 0.08 * rng.standard_normal(RECIPES),
    ),
    "all close": lambda rng: 0.85 + 0.01 * rng.standard_normal(RECIPES),
}
"""True scores of the recipes of a search, over all seeds and all examples there could be. Which recipe has which is a
smooth function of its parameters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What came of a simulated search."""

    sd: float
    """Standard deviation of a training's score."""
    holds: bool
    """Whether the interval of the winner holds its true score."""
    another_within: bool
    """Whether another training of the winner scores as close as is claimed."""
    regret: float
    """By how much the winner is worse than the best recipe, in points."""
    trainings: int
    """Trainings with fresh seeds."""
    regret_of_three: float
    """The same if the best three recipes had been trained three times each, and the best mean had won."""
    optimism: float
    """By how much the mean of the winner's fresh seeds is above its true score, in points."""
    half: float
    """Half of the interval's width, in points."""


def _smooth(places: np.ndarray, rng: Rng) -> np.ndarray:
    """[recipes]: a smooth function of their places (random Fourier features, Rahimi and Recht 2007)."""
    waves = rng.standard_normal((_AXES, 64)) / 0.5
    return np.asarray(np.cos(places @ waves + rng.uniform(0, 2 * np.pi, 64)).sum(axis=1))


def searched(kind: str, sd: float, examples: int, rng: Rng, recipes: int = 5, seeds: int = 2) -> Ended:
    """A search of `RECIPES` trials that all train to their end, then the race.

    Args:
        kind: key of `KINDS`.
        sd: standard deviation of a training's score on the validation slice.
        examples: size of that slice.
        rng: decides the rest.
        recipes: recipes in the race.
        seeds: fresh seeds for each of them on average, at most.
    """
    places = rng.random((RECIPES, _AXES))
    truth = np.empty(RECIPES)
    truth[np.argsort(_smooth(places, rng))] = np.sort(np.clip(KINDS[kind](rng), 0.3, 0.98))
    slice_luck = math.sqrt(1 - _OWN) * rng.standard_normal() + math.sqrt(_OWN) * rng.standard_normal(RECIPES)
    on_slice = truth + np.sqrt(truth * (1 - truth) / examples) * slice_luck
    trained, scores = [*range(RECIPES)], list[float]()

    def score(number: int) -> float:
        exact = float(np.clip(on_slice[number] + sd * rng.standard_normal(), 0, 1))
        return round(exact * examples) / examples

    def surrogate() -> Surrogate:
        none, all_whole = [math.nan] * len(scores), [True] * len(scores)
        return Surrogate(places[trained], scores, none, all_whole, knowledge.least_luck(scores, examples))

    judge = Judge(metric=METRIC, examples=examples, prefer="best", axes=AXES)
    scores += [score(number) for number in range(RECIPES)]
    found = [*scores]
    leading = sorted(range(RECIPES), key=lambda number: -found[number])
    small = judge.small(found)
    while len(trained) < RECIPES + recipes * seeds:
        known, again = surrogate(), trained[RECIPES:]
        best = [int(number) for number in np.argsort(-known.expect(places).mean)[:recipes]]
        entries = [Entry(number=number, fresh=again.count(number)) for number in best]
        chosen = race.next_training(belief.believe(known, places[best]), entries, seeds=seeds, small=small / 10)
        if chosen is None:
            break
        trained.append(chosen.number)
        scores.append(score(chosen.number))
    known, fresh = surrogate(), sorted({*trained[RECIPES:]})
    winner = max(fresh, key=lambda number: float(known.expect(places[[number]]).mean[0]))
    (said,) = claim.claims(belief.believe(known, places[[winner]]), examples, small)
    own = [one for number, one in zip(trained[RECIPES:], scores[RECIPES:], strict=True) if number == winner]
    means = {number: np.mean([score(number) for _ in range(3)]) for number in leading[:3]}
    of_three = max(means, key=lambda number: means[number])
    low, high = said.interval
    return Ended(
        sd=sd,
        holds=bool(low <= truth[winner] <= high),
        another_within=bool(abs(score(winner) - said.estimate) <= said.within),
        regret=100 * float(truth.max() - truth[winner]),
        trainings=len(trained) - RECIPES,
        regret_of_three=100 * float(truth.max() - truth[of_three]),
        optimism=100 * float(np.mean(own) - truth[winner]),
        half=50 * (high - low),
    )


def table(each: int, sds: tuple[float, ...] = (0, 0.01, 0.02, 0.04, 0.08)) -> dict[tuple[str, float, int], list[Ended]]:
    """Searches by kind, standard deviation of a training's score, and validation examples."""
    return {
        (kind, sd, examples): [searched(kind, sd, examples, np.random.default_rng([7, i])) for i in range(each)]
        for kind in KINDS
        for sd in sds
        for examples in (100, 400, 1000)
    }


def _line(name: str, ended: list[Ended]) -> str:
    def mean(field: str) -> float:
        return float(np.mean([getattr(each, field) for each in ended]))

    return (
        f"{name:44} holds {100 * mean('holds'):5.1f} %  another {100 * mean('another_within'):5.1f} %  "
        f"regret {mean('regret'):.2f} ({mean('trainings'):.1f} trainings), "
        f"three by three {mean('regret_of_three'):.2f}  "
        f"half {mean('half'):.1f}  optimism {mean('optimism'):.2f}"
    )


if __name__ == "__main__":
    rows = table(int(sys.argv[1]))
    for (kind, sd, examples), ended in rows.items():
        print(_line(f"{kind}, seeds {100 * sd:.0f} points, {examples} examples", ended))
    for sd in sorted({sd for _, sd, _ in rows}):
        print(_line(f"seeds {100 * sd:.0f} points", [e for key, each in rows.items() if key[1] == sd for e in each]))
    for count in sorted({examples for _, _, examples in rows}):
        print(_line(f"{count} examples", [e for key, each in rows.items() if key[2] == count for e in each]))
    for kind in KINDS:
        print(_line(kind, [e for key, each in rows.items() if key[0] == kind for e in each]))
    print(_line("all", [e for each in rows.values() for e in each]))
