import dataclasses
import math
import warnings
from typing import Any

import pytest

from frostline.search.ledger import confirm, seeds
from frostline.search.ledger.confirm import Confirmed, Judge
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import SEEDS, Metric
from tests.search import made
from tests.search.made import AXES, METRIC, apart


@pytest.mark.parametrize(
    ("seed", "trial_seeds", "fresh"),
    [
        (0, (0, 1, 2), (1_000_000, 1_000_001)),
        (41, (41, 42, 43), (1_000_041, 1_000_042)),
        (SEEDS - 2, (SEEDS - 2, SEEDS - 1, 0), (999_998, 999_999)),  # the last seeds there are
    ],
)
def test_each_trial_has_its_own_seed_and_a_fresh_seed_had_no_part_in_the_search(
    seed: int, trial_seeds: tuple[int, ...], fresh: tuple[int, ...]
) -> None:
    assert tuple(seeds.of_trial(seed, number) for number in range(3)) == trial_seeds
    assert tuple(seeds.fresh(seed, index) for index in range(2)) == fresh
    of_trials = {seeds.of_trial(seed, number) for number in range(10_000)}
    assert not of_trials & {seeds.fresh(seed, index) for index in range(10_000)}


def trial(number: int, outcome: Outcome, *scores: float, **more: Any) -> Trial:
    """A trial of a recipe of its own."""
    return made.trial(number, outcome, *scores, params=apart(number), **more)


TRIALS = [
    trial(0, Outcome.COMPLETE, 0.7),
    trial(1, Outcome.PRUNED, 0.9, 0.6),
    trial(2, Outcome.COMPLETE, 0.8),
    trial(3, Outcome.FAILED, 0.99),
    trial(4, Outcome.RUNNING, 0.95),
    trial(5, Outcome.RUNNING, 0.94),
    trial(6, Outcome.FAILED),
]


LOSS = Metric(name="loss", better="lower")

# --- the rows ------------------------------------------------------------------------------------


def runs(number: int, *scores: float | None, seconds: float = 10.0) -> list[Trial]:
    """Trainings of a trial with fresh seeds; None for one that failed."""
    return [
        trial(number, Outcome.FAILED, seed=seed, reason="loss is nan")
        if score is None
        else trial(number, Outcome.COMPLETE, score - 0.1, score, seed=seed, seconds=seconds)
        for seed, score in enumerate(scores, start=1)
    ]


JUDGE = Judge(metric=METRIC, examples=400, prefer="best", axes=AXES)


def rows(*trainings: list[Trial], judge: Judge = JUDGE) -> list[Confirmed]:
    return confirm.confirmed(TRIALS, [run for each in trainings for run in each], judge)


def test_a_recipe_is_measured_by_the_mean_of_its_fresh_seeds_not_by_the_score_it_was_found_by() -> None:
    first, second = rows(runs(1, 0.65, 0.7, 0.75, seconds=20), runs(2, 0.8, 0.82, 0.84, seconds=30))
    assert (first.number, second.number) == (2, 1)
    assert (first.found, second.found) == (0.8, 0.9)
    assert first.mean == pytest.approx(0.82)
    assert (second.seeds, second.scores, second.seconds, second.failed) == ((1, 2, 3), (0.65, 0.7, 0.75), 20, 0)
    assert first.params == TRIALS[2].params


def test_a_recipe_that_failed_with_a_seed_comes_after_those_that_never_did() -> None:
    found = rows(runs(0, 0.5, 0.5, 0.5), runs(1, 0.99, None, 0.99), runs(2, None, 0.999, None))
    assert [(row.number, row.failed) for row in found] == [(0, 0), (1, 1), (2, 2)]
    assert found[1].seeds == (1, 3)


def test_a_recipe_without_a_score_has_no_row() -> None:
    assert rows(runs(0, None, None)) == []
    assert rows([trial(0, Outcome.COMPLETE, math.nan, seed=1)]) == []
    assert rows([]) == []
    assert [row.number for row in rows(runs(0, None, None), runs(1, 0.5))] == [1]


def test_a_training_that_has_not_ended_does_not_count_yet() -> None:
    open_ones = [trial(1, Outcome.RUNNING, 0.1, seed=8), trial(1, Outcome.INTERRUPTED, 0.1, seed=9)]
    (row,) = rows(runs(1, 0.7, 0.8), open_ones)
    assert (row.seeds, row.failed) == ((1, 2), 0)
    assert rows(open_ones) == []


# --- how sure ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ((0.8, 0.81, 0.82), (0.5, 0.51, 0.52), True),
        ((0.8, 0.81, 0.82), (0.805, 0.81, 0.83), False),
        ((0.7, 0.8, 0.9), (0.6, 0.7, 0.8), False),  # by hand: t = 0.1 / sqrt(2 * 0.01 / 3) = 1.22, df 4, p = 0.29
        ((0.80, 0.81, 0.82), (0.83, 0.84, 0.85), True),  # t = 3.67, df 4, p = 0.021
        ((0.800, 0.801, 0.802), (0.74, 0.76, 0.78), False),  # t = 3.54, df 2.0, p = 0.071; Student's p would be 0.024
        ((0.9,), (0.1,), False),
        ((0.9,), (0.1, 0.11, 0.12), False),
        ((0.8, 0.8), (0.8, 0.8), False),
        ((0.8, 0.8), (0.7, 0.7), True),
    ],
)
def test_means_are_told_apart_by_welchs_test(one: tuple[float, ...], other: tuple[float, ...], differ: bool) -> None:
    assert confirm.apart(one, other) is differ
    assert confirm.apart(other, one) is differ


def test_equal_scores_are_no_reason_for_a_warning() -> None:
    with warnings.catch_warnings():  # SciPy's would be printed into the closing report
        warnings.simplefilter("error")
        assert confirm.apart((0.8, 0.8, 0.8), (0.7, 0.71, 0.72))
        assert not confirm.apart((0.8, 0.8, 0.8), (0.79, 0.8, 0.81))


@pytest.mark.parametrize("prefer", ["best", ""])
def test_a_claim_lies_between_the_mean_and_the_other_recipes_and_its_interval_around_it(prefer: str) -> None:
    (first, second) = rows(runs(1, 0.93, 0.95), runs(2, 0.8, 0.82), judge=dataclasses.replace(JUDGE, prefer=prefer))
    assert first.number == 1
    for row in (first, second):
        low, high = row.interval
        assert low < row.estimate < high
        assert 0 < row.within < 0.2
    assert second.estimate < first.estimate < first.mean
    assert first.chance + second.chance == pytest.approx(1)
    assert first.chance > 0.8


def test_the_interval_is_wider_with_fewer_validation_examples() -> None:
    widths = []
    for examples in (100, 400, 10_000):
        (row,) = rows(runs(1, 0.9, 0.9, 0.9), judge=dataclasses.replace(JUDGE, examples=examples))
        widths.append(row.interval[1] - row.interval[0])
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * 1.9 * math.sqrt(0.9 * 0.1 / 100), "never narrower than that of a binomial share"


def test_a_search_of_an_earlier_version_is_won_by_the_best_mean_of_its_fresh_seeds() -> None:
    """It was found by 0.8 and is expected to score less than trial 1, which was found by 0.9."""
    trainings = runs(1, 0.84, 0.86, 0.84), runs(2, 0.84, 0.86, 0.85)
    assert [row.number for row in rows(*trainings)] == [1, 2]
    assert [row.number for row in rows(*trainings, judge=dataclasses.replace(JUDGE, prefer=""))] == [2, 1]


# --- ties ----------------------------------------------------------------------------------------

NEAR = {1: (0.850, 0.851), 2: (0.851, 0.850), 0: (0.5, 0.51)}
"""Scores of two recipes that are as good as each other, and of a worse one."""


@pytest.mark.parametrize(
    ("scores", "seconds", "prefer", "order", "tied"),
    [
        (NEAR, {1: 30, 2: 10, 0: 1}, "cheapest", [2, 1, 0], [2, 1]),
        (NEAR, {1: 30, 2: 10, 0: 1}, "best", [1, 2, 0], [2, 1]),
        (NEAR, {1: 10, 2: 30, 0: 1}, "cheapest", [1, 2, 0], [1, 2]),
        (NEAR, {1: 30, 2: 27, 0: 1}, "cheapest", [1, 2, 0], [2, 1]),  # 10 % less time may be chance
        ({1: (0.95, 0.95), 2: (0.7, 0.7)}, {1: 30, 2: 1}, "cheapest", [1, 2], []),
        ({1: (0.9, 0.9)}, {1: 30}, "cheapest", [1], []),
        # They cannot be told apart, but the cheaper one is expected to be some points worse.
        ({1: (0.9,), 2: (0.82,)}, {1: 30, 2: 1}, "cheapest", [1, 2], []),
    ],
)
def test_the_cheapest_of_tied_recipes_is_offered_unless_the_best_is_asked_for(
    scores: dict[int, tuple[float, ...]], seconds: dict[int, float], prefer: str, order: list[int], tied: list[int]
) -> None:
    found = {0: 0.505, 1: 0.852, 2: 0.85}
    trials = [trial(number, Outcome.COMPLETE, found[number]) for number in range(3)]
    trainings = [run for number, each in scores.items() for run in runs(number, *each, seconds=seconds[number])]
    judge = dataclasses.replace(JUDGE, prefer=prefer)
    rows = confirm.confirmed(trials, trainings, judge)
    assert [row.number for row in rows] == order
    assert [row.number for row in confirm.tied(rows)] == tied
    won = confirm.winner(trials, trainings, rows)
    assert won is not None
    assert won.number == order[0]


def test_a_recipe_that_failed_with_a_seed_ties_with_none() -> None:
    found = rows(runs(1, 0.85, 0.85), runs(2, 0.85, None))
    assert [row.number for row in found] == [1, 2]
    assert confirm.tied(found) == []


@pytest.mark.parametrize(
    ("metric", "found", "small"),
    [
        (METRIC, [0.5, 0.8, 0.9], 0.005),
        (METRIC, [1.0], 0.005),
        (LOSS, [-0.9, -0.7, -0.3], 0.02),  # 0.4 from the median to the best
        (LOSS, [-0.7], 0.05 * 1.7e-6),
    ],
)
def test_a_difference_that_hardly_matters(metric: Metric, found: list[float], small: float) -> None:
    judge = Judge(metric=metric, examples=400, prefer="best", axes=AXES)
    assert judge.small(found) == pytest.approx(small)
