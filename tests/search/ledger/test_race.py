"""Which recipe is trained again next, as tables; and what a simulated search claims of its winner."""

import time

import numpy as np
import pytest

from frostline.search.ledger import belief, race
from frostline.search.ledger.belief import Belief, Entry, standard_normal
from frostline.search.ledger.gaussian.surrogate import Surrogate
from tests.search.ledger import simulated

LUCK = 0.02
"""Standard deviation of a training's score."""


def entry(number: int, fresh: int = 0, running: int = 0) -> Entry:
    return Entry(number=number, fresh=fresh, running=running)


def believed(**recipes: tuple[float, float]) -> Belief:
    """Recipes with their expected score and how uncertain it is."""
    means, deviations = np.array([*recipes.values()]).T
    draws = means + deviations * standard_normal(len(recipes))
    ones = np.ones(len(draws))
    return Belief(recipes=draws, luck=LUCK**2 * ones, center=0.7 * ones, spread=0.01 * ones, means=means)


FAR, NEAR, TWINS = (
    {"a": (0.80, 0.01), "b": (0.70, 0.01), "c": (0.60, 0.01)},
    {"a": (0.80, 0.01), "b": (0.79, 0.02), "c": (0.60, 0.01)},
    {"a": (0.8000, 0.0003), "b": (0.7999, 0.0003)},
)


@pytest.mark.parametrize(
    ("recipes", "entries", "seeds", "number"),
    [
        # First the leader gets its fresh seeds, as many as are asked for and two at most.
        (FAR, [entry(0), entry(1), entry(2)], 2, 0),
        (FAR, [entry(0, 1), entry(1), entry(2)], 2, 0),
        (FAR, [entry(0, 0, 1), entry(1), entry(2)], 2, 0),
        (FAR, [entry(0, 1, 1), entry(1), entry(2)], 2, None),
        (FAR, [entry(0, 2), entry(1), entry(2)], 9, None),
        (FAR, [entry(0), entry(1), entry(2)], 1, 0),
        (FAR, [entry(0, 1), entry(1), entry(2)], 1, None),
        # Then the search trains the recipe whose score is less certain, if that recipe may still win.
        (NEAR, [entry(0, 2), entry(1), entry(2)], 2, 1),
        (NEAR, [entry(0, 2), entry(1, 1), entry(2)], 2, 1),
        # Two that differ by next to nothing are left alone.
        (TWINS, [entry(0, 2), entry(1, 2)], 2, None),
        # A recipe without a rival gets all seeds.
        ({"a": (0.8, 0.01)}, [entry(0, 2)], 3, 0),
        ({"a": (0.8, 0.01)}, [entry(0, 2, 1)], 3, None),
    ],
)
def test_the_recipe_that_is_trained_next(
    recipes: dict[str, tuple[float, float]], entries: list[Entry], seeds: int, number: int | None
) -> None:
    chosen = race.next_training(believed(**recipes), entries, seeds=seeds, small=0.0005)
    assert (chosen and chosen.number) == number


def test_trainings_that_run_are_counted_so_that_slots_do_not_all_take_the_same() -> None:
    now, entries, given = believed(a=(0.80, 0.02), b=(0.79, 0.02)), [entry(0, 2), entry(1, 2)], list[int]()
    for _ in range(40):
        chosen = race.next_training(now, entries, seeds=2, small=0.0005)
        if chosen is None:
            break
        given.append(chosen.number)
        entries = [Entry(number=e.number, fresh=2, running=e.running + (e.number == chosen.number)) for e in entries]
    assert {*given} == {0, 1}
    assert len(given) < 40, "some time it waits for them"


def test_a_gain_is_larger_where_less_is_known_and_where_the_rival_is_near() -> None:
    now = believed(a=(0.79, 0.01), b=(0.78, 0.02), c=(0.65, 0.02))
    gains = race.gains(now, [entry(0), entry(1), entry(2)])
    assert gains[1] > gains[0] > gains[2] >= 0


@pytest.mark.parametrize(
    ("recipes", "seeds", "trainings"), [(5, 2, 6), (3, 2, 4), (1, 9, 9), (2, 1, 2), (0, 2, 0), (3, 0, 0)]
)
def test_trainings_that_a_race_takes_by_experience(recipes: int, seeds: int, trainings: int) -> None:
    assert race.expected_trainings(recipes, seeds) == trainings


# --- what is believed ------------------------------------------------------------------------------

PLACES = np.random.default_rng(5).random((20, 2))
SMOOTH = 0.8 - 0.3 * np.square(PLACES - 0.4).sum(axis=1)
"""Scores of 20 recipes."""


def surrogate(*more: tuple[int, float], moved: float = 0.0, scale: float = 1.0) -> Surrogate:
    """What 20 trainings say, and more of some recipes: the number of each, and its score."""
    scores = [*SMOOTH, *(score for _, score in more)]
    places = PLACES[[*range(20), *(number for number, _ in more)]]
    none, whole = [float("nan")] * len(scores), [True] * len(scores)
    return Surrogate(places, [moved + scale * score for score in scores], none, whole, 0.02 * scale)


BEST = int(SMOOTH.argmax())


def test_the_best_score_is_believed_less_if_its_recipe_did_worse_again() -> None:
    alike, worse = (
        belief.believe(surrogate((BEST, score), (BEST, score)), PLACES[[BEST]]) for score in (SMOOTH[BEST], 0.6)
    )
    assert worse.means[0] < alike.means[0] - 0.02
    assert worse.luck.mean() > 2 * alike.luck.mean()
    assert alike.means[0] == pytest.approx(SMOOTH[BEST], abs=0.02)


@pytest.mark.parametrize("moved", [0.0, -3.0, 100.0])
@pytest.mark.parametrize("scale", [1.0, 0.01, 50.0])
def test_a_belief_does_not_depend_on_the_unit(moved: float, scale: float) -> None:
    plain = belief.believe(surrogate((BEST, 0.7)), PLACES[:4])
    turned = belief.believe(surrogate((BEST, 0.7), moved=moved, scale=scale), PLACES[:4])
    assert turned.means == pytest.approx(moved + scale * plain.means, rel=1e-6, abs=1e-3 * scale)
    assert turned.chances == pytest.approx(plain.chances, abs=0.01)


def test_draws_of_the_same_recipe_are_the_same() -> None:
    now = belief.believe(surrogate(), PLACES[[3, 3, 4]])
    assert now.recipes[:, 0] == pytest.approx(now.recipes[:, 1], abs=0.01)
    assert now.recipes.std(axis=0).min() > 0.001


# --- simulated searches ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ended() -> list[simulated.Ended]:
    """Three searches of each kind; search/README.md has the figures of more."""
    return [each for row in simulated.table(3, (0.0, 0.02, 0.04, 0.08)).values() for each in row]


def share(ended: list[simulated.Ended], field: str) -> float:
    return float(np.mean([getattr(each, field) for each in ended]))


def test_the_interval_of_the_winner_holds_though_it_was_chosen(ended: list[simulated.Ended]) -> None:
    assert len(ended) == 3 * 4 * 4 * 3
    assert 0.9 <= share(ended, "holds") <= 0.99
    assert share(ended, "another_within") >= 0.9
    assert share(ended, "optimism") > 1, "its fresh seeds alone would promise more than it holds"


def test_the_race_finds_better_recipes_with_fewer_trainings_than_three_times_three(
    ended: list[simulated.Ended],
) -> None:
    assert share(ended, "trainings") < 8
    assert share(ended, "regret") < share(ended, "regret_of_three")


def test_a_decision_takes_milliseconds() -> None:
    known, began = surrogate(), time.process_time()
    belief.believe(known, PLACES[:5])
    assert time.process_time() - began < 0.5
