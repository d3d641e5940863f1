import dataclasses
import math
import warnings
from typing import Any

import pytest

from frostline.search.ledger import confirm, seeds
from frostline.search.ledger.confirm import Confirmed
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import SEEDS
from tests.search.made import METRIC, trial


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


TRIALS = [
    trial(0, Outcome.COMPLETE, 0.7),
    trial(1, Outcome.PRUNED, 0.9, 0.6),
    trial(2, Outcome.COMPLETE, 0.8),
    trial(3, Outcome.FAILED, 0.99),
    trial(4, Outcome.RUNNING, 0.95),
    trial(5, Outcome.INTERRUPTED, 0.94),
    trial(6, Outcome.FAILED),
]


@pytest.mark.parametrize(
    ("count", "running", "numbers"),
    [
        (3, 0, [1, 2, 0]),
        (3, 1, [1, 2]),  # the one that runs can push the third out
        (3, 2, [1]),
        (3, 3, []),
        (3, 9, []),
        (1, 0, [1]),
        (9, 0, [1, 2, 0]),  # failed and open ones never
        (9, 7, [1, 2]),
        (0, 0, []),
    ],
)
def test_who_is_among_the_best_whatever_the_running_ones_will_score(
    count: int, running: int, numbers: list[int]
) -> None:
    assert [trial.number for trial in confirm.certain(TRIALS, count, running)] == numbers


@pytest.mark.parametrize("scores", [(0.1, 0.2), (0.85, 0.95), (0.99, 0.999)])
def test_no_score_of_the_running_ones_unseats_those_that_are_certain(scores: tuple[float, float]) -> None:
    safe = confirm.certain(TRIALS, 3, 2)
    ended = [*TRIALS, *(trial(7 + i, Outcome.COMPLETE, score) for i, score in enumerate(scores))]
    later = confirm.certain(ended, 3, 0)
    assert {one.number for one in safe} <= {one.number for one in later}


# --- the rows ------------------------------------------------------------------------------------


def runs(number: int, *scores: float | None, seconds: float = 10.0) -> list[Trial]:
    """Trainings of a trial with fresh seeds; None for one that failed."""
    return [
        trial(number, Outcome.FAILED, seed=seed, reason="loss is nan")
        if score is None
        else trial(number, Outcome.COMPLETE, score - 0.1, score, seed=seed, seconds=seconds)
        for seed, score in enumerate(scores, start=1)
    ]


def rows(*of: list[Trial]) -> list[Confirmed]:
    return confirm.confirmed(TRIALS, [run for each in of for run in each], METRIC)


def test_a_recipe_is_measured_by_the_mean_of_its_fresh_seeds_not_by_the_score_it_was_found_by() -> None:
    first, second = rows(runs(1, 0.6, 0.7, 0.8, seconds=20), runs(2, 0.8, 0.82, 0.84, seconds=30))
    assert (first.number, second.number) == (2, 1)
    assert (first.found, second.found) == (0.8, 0.9)
    assert first.mean == pytest.approx(0.82)
    assert (second.seeds, second.scores, second.seconds, second.failed) == ((1, 2, 3), (0.6, 0.7, 0.8), 20, 0)
    assert first.params == TRIALS[2].params


def test_a_recipe_that_failed_with_a_seed_comes_after_those_that_never_did() -> None:
    found = rows(runs(0, 0.5, 0.5, 0.5), runs(1, 0.99, None, 0.99), runs(2, None, 0.999, None))
    assert [(row.number, row.failed) for row in found] == [(0, 0), (1, 1), (2, 2)]
    assert found[1].seeds == (1, 3)
    assert found[2].interval is None, "one score has no interval"


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


def test_equal_means_go_by_time() -> None:
    assert [row.number for row in rows(runs(0, 0.7, 0.9, seconds=30), runs(1, 0.8, 0.8, seconds=20))] == [1, 0]


# --- how sure ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "half"),
    [
        # By hand: t(0.975, df) * s / sqrt(n), t = 12.7062, 4.3027, 2.7764.
        ((0.8, 0.9), 12.7062 * math.sqrt(0.005) / math.sqrt(2)),
        ((0.7, 0.8, 0.9), 4.3027 * 0.1 / math.sqrt(3)),
        ((0.6, 0.7, 0.8, 0.9, 1.0), 2.7764 * math.sqrt(0.025) / math.sqrt(5)),
        ((0.8, 0.8, 0.8), 0.0),
    ],
)
def test_the_interval_of_a_mean_is_students(scores: tuple[float, ...], half: float) -> None:
    mean, found = sum(scores) / len(scores), confirm.mean_interval(scores)
    assert found is not None
    assert found == pytest.approx((mean - half, mean + half), abs=1e-5)


@pytest.mark.parametrize("scores", [(), (0.8,)])
def test_one_score_has_no_interval(scores: tuple[float, ...]) -> None:
    assert confirm.mean_interval(scores) is None


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


def row(number: int, *scores: float, **more: Any) -> Confirmed:
    made = Confirmed(
        number=number,
        params={},
        label="",
        found=0.9,
        seeds=(1, 2, 3),
        scores=scores,
        failed=0,
        mean=sum(scores) / len(scores),
        interval=None,
        objective=sum(scores) / len(scores),
        seconds=10.0,
    )
    return dataclasses.replace(made, **more)


BEST, NEAR, FAR = row(0, 0.8, 0.82, 0.84, seconds=30), row(1, 0.79, 0.81, 0.83, seconds=20), row(2, 0.5, 0.51, 0.52)
CHEAP = row(3, 0.78, 0.82, 0.83, seconds=5)


@pytest.mark.parametrize(
    ("of", "numbers"),
    [
        ([], []),
        ([BEST], []),
        ([BEST, FAR], []),
        ([BEST, NEAR], [1, 0]),
        ([BEST, NEAR, FAR], [1, 0]),
        ([BEST, NEAR, CHEAP, FAR], [3, 1, 0]),
        ([BEST, dataclasses.replace(NEAR, failed=1)], []),  # one that failed ties with nobody
        ([row(0, 0.9), row(1, 0.1, seconds=5)], [1, 0]),  # of one seed each nothing can be said
    ],
)
def test_who_cannot_be_told_from_the_winner_is_named_cheapest_first(of: list[Confirmed], numbers: list[int]) -> None:
    assert [row.number for row in confirm.tied(of)] == numbers


@pytest.mark.parametrize(
    ("recipes", "seeds", "slots", "seconds"),
    [
        (1, 1, 1, 2 * 6),  # 12 s for both epochs of trial 1 in made.trial: 6 s an epoch
        (3, 1, 1, 2 * (6 + 12 + 12)),
        (3, 3, 1, 3 * 2 * (6 + 12 + 12)),
        (3, 3, 2, 3 * 2 * (6 + 12 + 12) / 2),
        (0, 3, 1, 0),
        (3, 0, 1, 0),
    ],
)
def test_confirming_takes_as_long_as_the_best_trials_took_an_epoch(
    recipes: int, seeds: int, slots: int, seconds: float
) -> None:
    ended = [one for one in TRIALS if not one.open]
    needed = confirm.seconds_needed(ended, epochs=2, recipes=recipes, seeds=seeds, slots=slots)
    assert needed == pytest.approx(seconds)
    assert confirm.seconds_needed([], epochs=2, recipes=recipes, seeds=seeds, slots=slots) == 0
