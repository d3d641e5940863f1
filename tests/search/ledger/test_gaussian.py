"""Places of recipes, what a few trainings say of others, and the recipe that is tried next."""

import math
import statistics
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.ledger import knowledge
from frostline.search.ledger.gaussian import proposal
from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.knowledge import Seen

SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
    "frozen_layers": IntDistribution(0, 7),
}
AXES = Axes(SPACE)


def seen(score: float, learning_rate: float, frozen_layers: int = 3, **more: Any) -> Seen:
    params = {"learning_rate": learning_rate, "frozen_layers": frozen_layers}
    return Seen(params=params, **{"score": score, "loss": math.nan, "whole": True, **more})


def proposed(known: list[Seen], running: list[dict[str, Any]], draw: np.random.Generator) -> dict[str, Any]:
    found = proposal.propose(
        AXES, knowledge.surrogate_of(AXES, known, None), [one.params for one in known], running, draw
    )
    assert found is not None
    return found[0]


def expected(known: list[Seen], *recipes: Seen) -> list[float]:
    model = knowledge.surrogate_of(AXES, known, None)
    return [float(each) for each in model.scores(model.expect(AXES.places([one.params for one in recipes])).mean)]


# --- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "places"),
    [
        (FloatDistribution(0.0, 0.5), {0.0: 0.0, 0.25: 0.5, 0.5: 1.0}),
        (FloatDistribution(1e-5, 1e-3, log=True), {1e-5: 0.0, 1e-4: 0.5, 1e-3: 1.0}),
        (FloatDistribution(0.0, 1.0, step=0.25), {0.0: 0.0, 0.25: 0.25, 1.0: 1.0}),
        (IntDistribution(0, 4), {0: 0.0, 1: 0.25, 4: 1.0}),
        (IntDistribution(2, 10, step=4), {2: 0.0, 6: 0.5, 10: 1.0}),
        (IntDistribution(1, 16, log=True), {1: 0.0, 4: 0.5, 16: 1.0}),
        (CategoricalDistribution((32, 8, 16)), {8: 0.0, 16: 0.5, 32: 1.0}),
    ],
    ids=str,
)
def test_a_value_has_a_place_and_comes_back_from_its_share(distribution: BaseDistribution, places: Any) -> None:
    axes = Axes({"x": distribution})
    for value, place in places.items():
        assert axes.places([{"x": value}]) == pytest.approx(np.array([[place]]))
        assert axes.at(axes.shares({"x": value})) == {"x": pytest.approx(value)}


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(0.0, 0.5),
        FloatDistribution(1e-5, 1e-3, log=True),
        FloatDistribution(0.0, 1.0, step=0.25),
        IntDistribution(0, 3),
        IntDistribution(2, 10, step=4),
        IntDistribution(1, 16, log=True),
        CategoricalDistribution(("none", "light")),
        CategoricalDistribution((True, False)),
    ],
    ids=str,
)
def test_every_share_gives_a_value_of_the_space(distribution: BaseDistribution) -> None:
    axes, values = Axes({"x": distribution}), set()
    for share in (0.0, 1.0, *np.random.default_rng(0).random(400)):
        value = axes.at(np.array([share]))["x"]
        assert distribution._contains(distribution.to_internal_repr(value))
        values.add(value)
    if not isinstance(distribution, FloatDistribution) or distribution.step:
        width = {"none", "light"} | {True, False} if isinstance(distribution, CategoricalDistribution) else values
        assert 2 <= len(values) <= max(16, len(width)), "each choice is drawn"


def test_words_are_equally_far_apart_and_a_single_value_has_no_axis() -> None:
    space = {"x": CategoricalDistribution(("a", "b", "c")), "y": FloatDistribution(0.1, 0.1)}
    places = Axes(space).places([{"x": word, "y": 0.1} for word in "abc"])
    away = [np.linalg.norm(places[one] - places[other]) for one, other in ((0, 1), (0, 2), (1, 2))]
    assert away == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize("value", [9, 1e9])
def test_a_value_that_the_space_had_once_has_a_place_too(value: float) -> None:
    for distribution in (CategoricalDistribution((8, 16)), IntDistribution(10, 20), FloatDistribution(10.0, 20.0)):
        axes = Axes({"x": distribution})
        assert 0 <= float(axes.places([{"x": value}])[0, 0]) <= 1
        assert np.all((axes.shares({"x": value}) >= 0) & (axes.shares({"x": value}) <= 1))


# --- what is expected ------------------------------------------------------------------------------


def test_neighbours_of_a_good_recipe_are_expected_to_be_better_than_those_of_a_bad_one() -> None:
    known = [seen(0.6, 1e-5), seen(0.7, 3e-5), seen(0.9, 2e-4), seen(0.89, 3e-4), seen(0.65, 1e-3)]
    good, bad, middle = expected(known, seen(0, 2.5e-4), seen(0, 1.1e-5), seen(0, 8e-5))
    assert bad < middle < good
    assert good < 0.9, "the best score is a lucky one too"


def test_a_recipe_that_scored_the_same_twice_is_believed_more() -> None:
    once = [seen(0.9, 2e-4), seen(0.6, 1e-5), seen(0.62, 2e-5), seen(0.61, 9e-4), seen(0.63, 5e-5)]
    assert expected(once, once[0])[0] < expected([*once, seen(0.9, 2e-4)], once[0])[0]


def test_the_loss_tells_two_equal_scores_apart_where_it_goes_with_the_score() -> None:
    rates = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 4e-4, 7e-4, 1e-3]
    scores = [0.60, 0.62, 0.66, 0.70, 0.80, 0.80, 0.70, 0.62]
    losses = [0.69, 0.68, 0.65, 0.60, 0.52, 0.45, 0.60, 0.68]
    known = [seen(*each, loss=loss) for each, loss in zip(zip(scores, rates, strict=True), losses, strict=True)]
    worse, better = expected(known, known[4], known[5])
    assert better > worse


@pytest.mark.parametrize(
    "known",
    [
        [seen(0.5, 1e-4)],
        [seen(0.5, 1e-4), seen(0.5, 1e-4)],
        [seen(0.5, 1e-4, loss=0.7), seen(0.5, 2e-4, loss=0.7), seen(0.5, 3e-4)],
        [seen(0.5, 1e-4, loss=math.inf), seen(0.9, 2e-4, loss=0.0), seen(-1e9, 3e-4, loss=1e30)],
        [seen(0.5, 1e-4), seen(-math.inf, 2e-4, whole=False), seen(0.7, 3e-4, whole=False)],
    ],
)
def test_odd_trainings_give_finite_expectations_and_a_recipe_of_the_space(known: list[Seen]) -> None:
    assert np.all(np.isfinite(expected(known, *known)))
    recipe = proposed(known, [dict(known[0].params)], np.random.default_rng(0))
    assert 1e-5 <= recipe["learning_rate"] <= 1e-3
    assert 0 <= recipe["frozen_layers"] <= 7


@pytest.mark.parametrize(("examples", "least"), [(None, 0.0), (100, 0.0397), (10_000, 0.004)])
def test_the_luck_of_the_validation_examples(examples: int | None, least: float) -> None:
    assert knowledge.least_luck([0.8], examples) == pytest.approx(least, abs=1e-3)


# --- what is tried next ----------------------------------------------------------------------------


def truth(params: Any) -> float:
    """At most 0.9, at a learning rate of 2e-4 with 2 frozen layers."""
    rate = math.log10(params["learning_rate"] / 2e-4)
    return 0.9 - 0.1 * rate**2 - 0.01 * abs(params["frozen_layers"] - 2)


def searched(seed: int, proposes: bool) -> float:
    """True score of the best recipe by its expected score after 20 noisy trainings, the first five of them random."""
    draw, known = np.random.default_rng(seed), list[Seen]()
    for number in range(20):
        modelled = proposes and number >= 5
        params = proposed(known, [], draw) if modelled else AXES.at(draw.random(2))
        score = truth(params) + draw.normal(0, 0.03)
        known.append(Seen(params=params, score=score, loss=math.nan, whole=True))
    model = knowledge.surrogate_of(AXES, known, None)
    means = model.expect(AXES.places([one.params for one in known])).mean
    return truth(known[int(np.argmax(means))].params)


def test_proposed_recipes_end_nearer_to_the_best_than_random_ones() -> None:
    modelled, drawn = ([searched(seed, proposes) for seed in range(12)] for proposes in (True, False))
    assert 0.9 - statistics.fmean(modelled) < 0.8 * (0.9 - statistics.fmean(drawn))


def test_recipes_that_run_are_not_proposed_again() -> None:
    known = [seen(truth(recipe), **recipe) for recipe in map(AXES.at, np.random.default_rng(1).random((8, 2)))]
    running: list[dict[str, Any]] = []
    for number in range(4):
        running.append(proposed(known, running, np.random.default_rng(number)))
    assert len({tuple(recipe.values()) for recipe in running}) == 4


def test_a_small_space_is_tried_out_before_a_recipe_comes_again() -> None:
    space = {"batch_size": CategoricalDistribution((8, 16)), "frozen_layers": IntDistribution(0, 2)}
    axes = Axes(space)
    known = [Seen(params=axes.at(np.zeros(2)), score=0.9, loss=math.nan, whole=True)]
    for number in range(7):
        found = proposal.propose(
            axes,
            knowledge.surrogate_of(axes, known, 100),
            [one.params for one in known],
            [],
            np.random.default_rng(number),
        )
        assert found is not None
        known.append(Seen(params=found[0], score=0.5, loss=math.nan, whole=True))
    assert len({tuple(one.params.values()) for one in known[:6]}) == 6
    assert len({tuple(one.params.values()) for one in known}) == 6


@pytest.mark.parametrize("seconds", [5.0, 20.0, 60.0, 1e9])
def test_only_recipes_that_end_in_time_are_proposed(seconds: float) -> None:
    """A training takes 10 s for each block that trains."""
    known = [
        Seen(
            params=params, score=truth(params), loss=math.nan, whole=True, seconds=10.0 * (8 - params["frozen_layers"])
        )
        for params in map(AXES.at, np.random.default_rng(1).random((12, 2)))
    ]
    ends = proposal.ends_within(AXES, known, seconds)
    for number in range(6):
        found = proposal.propose(
            AXES,
            knowledge.surrogate_of(AXES, known, None),
            [one.params for one in known],
            [],
            np.random.default_rng(number),
            ends,
        )
        if seconds == 5:
            assert found is None
        else:
            assert found is not None
            assert 10.0 * (8 - found[0]["frozen_layers"]) <= 1.3 * seconds


def test_a_proposal_follows_from_what_was_seen_and_the_seed() -> None:
    known = [seen(0.6, 1e-5), seen(0.7, 3e-5), seen(0.9, 2e-4)]
    same, again, other = (proposed(known, [], np.random.default_rng(s)) for s in (0, 0, 1))
    assert same == again != other
