"""Which recipe is trained again next, as tables; and what a simulated search claims of its winner."""

import time

import numpy as np
import pytest

from frostline.search.ledger import belief, race
from frostline.search.ledger.belief import Entry
from tests.search.ledger import simulated

FOUND = {number: 0.60 + number / 100 for number in range(20)}
"""Scores of 20 trials. The later a trial, the better its score."""
LUCK = 0.02**2


def entry(number: int, *fresh: float, running: int = 0, found: float | None = None) -> Entry:
    return Entry(number=number, found=FOUND[number] if found is None else found, fresh=fresh, running=running)


def chosen(*entries: Entry, seeds: int = 2) -> int | None:
    known = {**FOUND, **{each.number: each.found for each in entries}}
    now = belief.believe(known, entries, LUCK)
    training = race.next_training(now, entries, seeds=seeds, small=0.0005)
    return training.number if training else None


@pytest.mark.parametrize(
    ("entries", "number"),
    [
        # One fresh seed each, the best first.
        ([entry(19), entry(18), entry(17)], 19),
        ([entry(19, running=1), entry(18), entry(17)], 18),
        ([entry(19, 0.79), entry(18, running=1), entry(17)], 17),
        # A recipe that is far behind gets none.
        ([entry(19, 0.90, 0.91, found=0.92), entry(2)], None),
        # The leader and its rival go on, the one of them that has fewer.
        ([entry(19, 0.78), entry(18, 0.78, 0.79, 0.77), entry(2, 0.62)], 19),
        ([entry(19, 0.78, 0.78, 0.79), entry(18, 0.79), entry(2, 0.62)], 18),
        # It is decided.
        ([entry(19, 0.80, 0.79), entry(18, 0.60, 0.61), entry(2, 0.62)], None),
        # One fresh seed alone wins nothing, unless there is no more.
        ([entry(19, 0.90)], 19),
        ([entry(19, 0.90, running=1)], None),
        ([entry(19, 0.90, 0.89)], None),  # there is no rival
    ],
)
def test_the_recipe_that_is_trained_next(entries: list[Entry], number: int | None) -> None:
    assert chosen(*entries) == number


def test_one_seed_is_enough_where_no_more_are_asked_for() -> None:
    assert chosen(entry(19, 0.90), seeds=1) is None
    assert chosen(entry(19), seeds=1) == 19


def test_trainings_that_run_are_counted_so_that_slots_do_not_all_take_the_same() -> None:
    entries, given = [entry(19, 0.70), entry(18, 0.75), entry(17, 0.80)], list[int]()
    for _ in range(12):
        if (number := chosen(*entries)) is None:
            break
        given.append(number)
        entries = [
            Entry(number=e.number, found=e.found, fresh=e.fresh, running=e.running + (e.number == number))
            for e in entries
        ]
    assert len({*given}) > 1
    assert len(given) < 12, "some time it waits for them"


def test_a_gain_is_larger_where_less_is_known_and_where_the_rival_is_near() -> None:
    entries = [entry(19, 0.79, 0.79), entry(18, 0.78), entry(5, 0.65)]
    gains = race.gains(belief.believe(FOUND, entries, LUCK), entries)
    assert gains[1] > gains[0] > gains[2] >= 0


@pytest.mark.parametrize(
    ("recipes", "seeds", "trainings"), [(5, 2, 8), (3, 2, 6), (1, 9, 9), (2, 1, 2), (0, 2, 0), (3, 0, 0)]
)
def test_trainings_that_a_race_takes_by_experience(recipes: int, seeds: int, trainings: int) -> None:
    assert race.expected_trainings(recipes, seeds) == trainings


# --- what is believed ------------------------------------------------------------------------------


def test_the_best_score_of_many_is_believed_less_the_more_luck_a_training_has() -> None:
    """Its recipe is trained again with scores near to its own, then with others."""
    alike = belief.believe(FOUND, [entry(19, 0.79), entry(18, 0.78), entry(17, 0.77)], LUCK)
    mixed = belief.believe(FOUND, [entry(19, 0.69), entry(18, 0.83), entry(17, 0.72)], LUCK)
    assert FOUND[19] - 0.02 < alike.means[0] < FOUND[19]
    assert np.sqrt(alike.luck.mean()) < 0.03 < np.sqrt(mixed.luck.mean())
    assert mixed.recipes.std(axis=0)[0] > 2 * alike.recipes.std(axis=0)[0]


@pytest.mark.parametrize("moved", [0.0, -3.0, 100.0])
@pytest.mark.parametrize("scale", [1.0, 0.01, 50.0])
def test_a_belief_does_not_depend_on_the_unit(moved: float, scale: float) -> None:
    def in_unit(score: float) -> float:
        return moved + scale * score

    entries = [entry(19, 0.79), entry(18, 0.75, 0.76)]
    plain = belief.believe(FOUND, entries, LUCK)
    turned = belief.believe(
        {number: in_unit(score) for number, score in FOUND.items()},
        [Entry(number=e.number, found=in_unit(e.found), fresh=tuple(map(in_unit, e.fresh))) for e in entries],
        LUCK * scale**2,
    )
    assert turned.means == pytest.approx(in_unit(plain.means), rel=1e-6, abs=1e-3 * scale)  # type: ignore[arg-type]
    assert turned.chances == pytest.approx(plain.chances, abs=0.01)


@pytest.mark.parametrize("scores", [[0.9], [0.9, 0.9], [0.9] * 40, [-3.0, 5.0], [0.0] * 3])
def test_odd_scores_are_believed_too(scores: list[float]) -> None:
    now = belief.believe(dict(enumerate(scores)), [Entry(number=0, found=scores[0], fresh=(scores[0],))], LUCK)
    assert np.isfinite(now.recipes).all()
    assert now.chances == pytest.approx([1.0])


def test_a_recipe_that_was_stopped_early_may_take_part() -> None:
    now = belief.believe({}, [Entry(number=3, found=0.8, fresh=(0.7,)), Entry(number=4, found=0.6)], LUCK)
    assert now.means[0] > now.means[1]


# --- simulated searches ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ended() -> list[simulated.Ended]:
    """14 searches of each kind; search/README.md has the figures of more."""
    return [each for row in simulated.table(14, (0.0, 0.02, 0.04, 0.08)).values() for each in row]


def share(ended: list[simulated.Ended], field: str) -> float:
    return float(np.mean([getattr(each, field) for each in ended]))


def test_the_interval_of_the_winner_holds_though_it_was_chosen(ended: list[simulated.Ended]) -> None:
    assert len(ended) == 14 * 4 * 4 * 3
    assert 0.93 <= share(ended, "holds") <= 0.97
    lucky = [each for each in ended if each.sd]
    assert 0.93 <= share(lucky, "another_within") <= 0.97
    assert share(ended, "optimism") > 1, "its fresh seeds alone would promise more than it holds"


def test_the_race_finds_better_recipes_with_fewer_trainings_than_three_times_three(
    ended: list[simulated.Ended],
) -> None:
    assert share(ended, "trainings") < 8
    assert share(ended, "regret") < share(ended, "regret_of_three")


def test_a_decision_takes_milliseconds() -> None:
    """A limit of the work, not of the clock: long searches are as quick as short ones."""
    many = {number: 0.5 + (number % 97) / 300 for number in range(20_000)}
    entries = [Entry(number=number, found=many[number], fresh=(0.8,)) for number in range(5)]
    began = time.process_time()
    belief.believe(many, entries, LUCK)
    assert time.process_time() - began < 1
