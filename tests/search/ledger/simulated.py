"""Simulated searches, for figures of the race and of its claim: true scores, luck, a validation slice. numpy alone.

PYTHONPATH=. python -m tests.search.ledger.simulated 200
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from frostline.search.ledger import belief, claim, race
from frostline.search.ledger.belief import Entry
from frostline.search.ledger.confirm import Judge
from tests.search.made import METRIC

RECIPES = 40
_OWN = 0.2
"""Part of the variance by validation examples that is a recipe's own."""

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
"""True scores of the recipes of a search, over all seeds and all examples there could be."""


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
    truth = np.clip(KINDS[kind](rng), 0.3, 0.98)
    slice_luck = math.sqrt(1 - _OWN) * rng.standard_normal() + math.sqrt(_OWN) * rng.standard_normal(RECIPES)
    on_slice = truth + np.sqrt(truth * (1 - truth) / examples) * slice_luck

    def score(number: int) -> float:
        exact = float(np.clip(on_slice[number] + sd * rng.standard_normal(), 0, 1))
        return round(exact * examples) / examples

    judge = Judge(metric=METRIC, examples=examples, prefer="best")
    found = {number: score(number) for number in range(RECIPES)}
    leading = sorted(found, key=lambda number: -found[number])
    entries = [Entry(number=number, found=found[number]) for number in leading[:recipes]]
    luck, small = judge.luck(found.values()), judge.small(found.values())
    while sum(len(entry.fresh) for entry in entries) < recipes * seeds:
        now = belief.believe(found, entries, luck)
        chosen = race.next_training(now, entries, seeds=seeds, small=small / 10)
        if chosen is None:
            break
        more = Entry(number=chosen.number, found=chosen.found, fresh=(*chosen.fresh, score(chosen.number)))
        entries = [more if entry.number == more.number else entry for entry in entries]
    again = [entry for entry in entries if entry.fresh]
    claims = claim.claims(belief.believe(found, again, luck), examples, small)
    winner, said = max(zip(again, claims, strict=True), key=lambda pair: pair[1].estimate)
    means = {number: np.mean([score(number) for _ in range(3)]) for number in leading[:3]}
    of_three = max(means, key=lambda number: means[number])
    low, high = said.interval
    return Ended(
        sd=sd,
        holds=bool(low <= truth[winner.number] <= high),
        another_within=bool(abs(score(winner.number) - said.estimate) <= said.within),
        regret=100 * float(truth.max() - truth[winner.number]),
        trainings=sum(len(entry.fresh) for entry in entries),
        regret_of_three=100 * float(truth.max() - truth[of_three]),
        optimism=100 * float(np.mean(winner.fresh) - truth[winner.number]),
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
