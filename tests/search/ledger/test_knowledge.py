"""What counts of a search's trainings, which of many are looked at, and that their order does not matter."""

import math
import random

import numpy as np
import pytest

from frostline.search.ledger import knowledge
from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.knowledge import Knowledge, Seen
from frostline.search.records.trials import Outcome, Trial
from tests.search import made
from tests.search.made import AXES, apart


def trial(number: int, outcome: Outcome, *scores: float, **more: object) -> Trial:
    return made.trial(number, outcome, *scores, params=apart(number), **more)


@pytest.mark.parametrize(
    ("training", "score", "whole"),
    [
        (trial(0, Outcome.COMPLETE, 0.7, 0.8), 0.8, True),
        (trial(0, Outcome.COMPLETE, 0.8, 0.7), 0.8, True),
        (trial(0, Outcome.PRUNED, 0.6), 0.6, False),
        (trial(0, Outcome.PRUNED, 0.6, partial=True), 0.6, False),
        (trial(0, Outcome.FAILED, 0.6), -math.inf, False),
        (trial(0, Outcome.FAILED), -math.inf, False),
        (trial(0, Outcome.INFEASIBLE), -math.inf, False),
        (trial(0, Outcome.COMPLETE, 0.9, seed=7), 0.9, True),
        (trial(0, Outcome.FAILED, seed=7), -math.inf, False),
    ],
)
def test_what_a_training_shows_of_its_recipe(training: Trial, score: float, whole: bool) -> None:
    seen = knowledge.seen_of(training)
    assert seen is not None
    assert (seen.score, seen.whole, seen.confirms) == (score, whole, training.seed != 0)
    assert math.isnan(seen.seconds) is not whole


@pytest.mark.parametrize("outcome", [Outcome.INTERRUPTED, Outcome.OUT_OF_TIME])
def test_a_trial_that_was_broken_off_counts_with_the_score_that_it_had(outcome: Outcome) -> None:
    seen = knowledge.seen_of(trial(0, outcome, 0.9))
    assert seen is not None
    assert (seen.score, seen.whole) == (0.9, True)
    assert math.isnan(seen.seconds), "a whole training takes longer"
    assert knowledge.seen_of(trial(0, outcome)) is None
    assert knowledge.seen_of(trial(0, outcome, 0.9, seed=7)) is None, "a fresh seed is compared when it has ended"


def test_a_training_that_runs_says_nothing_yet() -> None:
    assert knowledge.seen_of(trial(0, Outcome.RUNNING, 0.9)) is None


def of(trainings: list[Trial]) -> Knowledge:
    found = Knowledge(AXES, 400)
    for training in trainings:
        found.put(training)
    return found


MANY = [trial(number, Outcome.COMPLETE, 0.5 + number * 7 % 50 / 100) for number in range(100)]
AGAIN = [trial(3, Outcome.COMPLETE, 0.55, seed=seed) for seed in (7, 8)]


def test_what_is_known_does_not_depend_on_the_order_of_the_records() -> None:
    mixed = [*MANY, *AGAIN]
    random.Random(1).shuffle(mixed)
    one, other = of([*MANY, *AGAIN]), of(mixed)
    assert one.expected(MANY) == pytest.approx(other.expected(MANY), abs=0)
    assert len(one._seen) == 102


def test_a_search_that_goes_on_does_not_know_what_was_interrupted() -> None:
    ended, interrupted = [trial(n, Outcome.COMPLETE, 0.5) for n in range(6)], trial(6, Outcome.INTERRUPTED, 0.9)
    known = of([*ended, interrupted])
    assert known.expected(ended) == pytest.approx(of(ended).expected(ended), abs=0)
    (before,), (after,) = known.expected([interrupted]), known.also([interrupted]).expected([interrupted])
    assert after > before
    assert known.expected([interrupted]) == before


def test_a_training_that_is_told_again_counts_once_and_as_it_ended_last() -> None:
    first, later = trial(5, Outcome.PRUNED, 0.6), trial(5, Outcome.COMPLETE, 0.6, 0.8)
    found = of([*MANY[:5], first, first, later])
    assert len(found._seen) == 6
    assert found.expected(MANY[:3]) == pytest.approx(of([*MANY[:5], later]).expected(MANY[:3]), abs=0)


def test_of_many_trainings_those_that_confirm_and_the_best_are_looked_at_and_some_others() -> None:
    found = of([*MANY, *AGAIN])._looked_at()
    assert len(found) <= knowledge.MOST
    assert sum(seen.confirms for seen in found) == 2
    scores = sorted((seen.score for seen in found if not seen.confirms), reverse=True)
    best = sorted((training.objective for training in MANY), reverse=True)
    assert scores[:38] == best[:38]
    assert min(scores) < 0.55, "bad ones, too"
    assert [*map(knowledge.informative, ([], [1], range(60)))] == [[], [1], [*range(60)]]


def test_nothing_is_known_before_a_training_has_come_to_its_end() -> None:
    found = of([trial(0, Outcome.FAILED), trial(1, Outcome.PRUNED, 0.7)])
    assert found.surrogate is None
    with pytest.raises(ValueError, match="no training has come to its end"):
        found.expected([MANY[0]])


def test_a_recipe_that_failed_is_expected_to_be_bad() -> None:
    around = [trial(number, Outcome.COMPLETE, 0.8) for number in range(6)]
    fails = [trial(6, Outcome.FAILED)]
    assert of([*around, *fails]).expected(fails)[0] <= of([*around, *fails]).expected(around).min()
    assert isinstance(knowledge.seen_of(fails[0]), Seen)


def test_a_space_without_parameters_has_one_recipe() -> None:
    found = Knowledge(Axes({}), 400)
    for training in MANY[:5]:
        found.put(training)
    assert len({*found.expected(MANY[:5])}) == 1
    assert found.belief(MANY[:2]).means[0] == pytest.approx(0.6, abs=0.1)
    assert found.propose([], np.random.default_rng(0)) == ({}, pytest.approx(0, abs=0.5))
    assert found.propose([{}], np.random.default_rng(0), seconds=1e9) is not None
