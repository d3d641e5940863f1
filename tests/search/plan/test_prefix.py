"""Which boundaries are kept is a pure function: figures in, decision out."""

import dataclasses
import json
from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.plan import prefix as prefix_plan
from frostline.search.plan import resolve as planning
from frostline.search.plan.describe import plan_lines
from frostline.search.plan.options import Options
from frostline.search.plan.parameters import Searched
from frostline.search.plan.plan import of_json
from frostline.search.plan.prefix import MACHINES, NOTHING, Decision, Machine, Work
from frostline.search.tuner import setup_of
from frostline.spaces import Budget, Space, bert_imdb
from frostline.trainables._errors import reason
from frostline.trainables._task import Boundary
from tests import tiny
from tests.trainables import tiny_models

GIGA = 1e9

# Seven blocks, the first of them embeddings, which cost nothing; behind the last only the first token is read.
BOUNDARIES = [
    Boundary(depth=depth, flops=(depth - 1) * GIGA, values=384.0 if depth == 7 else 100_000.0, first_only=depth == 7)
    for depth in range(1, 8)
]
EVENLY = dict.fromkeys(range(8), 4.0)


def work(**changes: object) -> Work:
    return dataclasses.replace(Work(trainings=EVENLY, passes=4000.0, examples=1500), **changes)  # type: ignore[arg-type]


def decide(**changes: object) -> Decision:
    given = {
        "boundaries": BOUNDARIES,
        "dtype": "float32",
        "work": work(),
        "machine": MACHINES["cpu"],
        "limit": 1e12,
    }
    return prefix_plan.decide(**{**given, **changes})  # type: ignore[arg-type]


def test_on_a_cpu_every_boundary_is_worth_it_but_the_one_that_nothing_lies_before() -> None:
    found = decide()
    assert found.kept == (2, 3, 4, 5, 6, 7)
    assert found.first_only == (7,)
    assert found.bytes == (5 * 100_000 + 384) * 4 * 1500
    assert found.saved > 20 * found.spent > 0


def test_half_the_bytes_in_float16() -> None:
    assert decide(dtype="float16").bytes == decide().bytes / 2


def test_the_account_is_that_of_the_figures() -> None:
    """One boundary, one depth: 3 trainings of 4,000 examples, 2 GFLOP each at 10 GFLOP/s, against 0.4 MB read."""
    machine = Machine(flops=10e9, read=1e9, write=0.5e9)
    found = decide(boundaries=BOUNDARIES[2:3], work=work(trainings={2: 99.0, 3: 3.0}), machine=machine)
    assert found.kept == (3,)
    assert found.saved == pytest.approx(3 * 4000 * (0.2 - 0.0004))
    assert found.spent == pytest.approx(1500 * 0.2 + 1500 * 400_000 / 0.5e9)


def test_a_pass_that_no_trial_earns_back_is_not_made() -> None:
    assert decide(work=work(trainings={0: 50.0})) == NOTHING, "nothing is frozen"
    assert decide(work=work(trainings={7: 1.0}, passes=1500.0)) == NOTHING, "one epoch costs what the pass costs"
    assert decide(work=work(trainings={7: 1.0}, passes=3500.0)).kept == (7,), "two epochs and an evaluation do not"
    slow_disk = Machine(flops=100e12, read=1e6, write=1e6)
    assert decide(machine=slow_disk).kept in {(), (7,)}, "reading costs more than computing"
    assert decide(boundaries=[]) == NOTHING


def test_more_trials_to_come_make_more_boundaries_worth_it() -> None:
    kept = [
        decide(work=work(trainings=dict.fromkeys(range(8), count), passes=2500.0)).kept for count in (0.01, 0.5, 5.0)
    ]
    assert len(kept[0]) < len(kept[1]) <= len(kept[2])


@pytest.mark.parametrize("room", [0, 1, 2, 4])
def test_a_limit_keeps_the_boundaries_that_save_most(room: int) -> None:
    one = 100_000 * 4 * 1500
    found = decide(limit=room * one + 384 * 4 * 1500)
    assert found.bytes <= room * one + 384 * 4 * 1500
    assert len(found.kept) == room + 1
    assert 7 in found.kept, "the smallest and the deepest"
    if room == 1:  # depths 4, 5 and 6 start at one of 3, 4: the middle saves most over all depths above it
        assert found.kept[0] in {4, 5}


def test_a_trial_starts_at_the_deepest_boundary_that_it_freezes() -> None:
    kept = dataclasses.replace(NOTHING, kept=(3, 5, 7), poolings=("model", "mean"))
    for pooling in kept.poolings:
        assert [kept.start(depth, pooling, 7) for depth in range(8)] == [0, 0, 0, 3, 3, 5, 5, 7]
    assert [kept.start(depth, "both", 7) for depth in range(8)] == [0, 0, 0, 3, 3, 5, 5, 5], "not tried at the last"
    assert NOTHING.start(7, "model", 7) == 0


def test_expected_trainings_are_the_recipes_and_the_rest_evenly() -> None:
    evenly = prefix_plan.depth_shares({"frozen_layers": IntDistribution(0, 3)}, 3)
    assert prefix_plan.trainings_by_depth(evenly, [0, 3], 8) == {0: 3.0, 1: 2.0, 2: 2.0, 3: 3.0}
    ends = prefix_plan.depth_shares({"frozen_layers": CategoricalDistribution((0, 3))}, 3)
    assert prefix_plan.trainings_by_depth(ends, [0, 3], 4) == {0: 3.0, 3: 3.0}
    assert prefix_plan.trainings_by_depth(prefix_plan.depth_shares({}, 3), [0], 4) == {0: 5.0}, "not searched"


def test_a_fraction_is_spread_over_the_blocks_as_it_is_rounded() -> None:
    shares = prefix_plan.depth_shares({"frozen_fraction": FloatDistribution(0.0, 1.0)}, 4)
    assert shares == pytest.approx({0: 0.125, 1: 0.25, 2: 0.25, 3: 0.25, 4: 0.125}, abs=0.002)
    assert prefix_plan.depth_shares({"frozen_fraction": FloatDistribution(0.5, 0.5)}, 4) == {2: 1.0}
    assert prefix_plan.depth_shares({"frozen_fraction": CategoricalDistribution((1.0,))}, 4) == {4: 1.0}


def test_the_trials_are_spread_evenly_over_the_models() -> None:
    budget = Budget(trials=10, epochs=2, first_rung=1, confirm_recipes=0)
    distributions = {
        "model": CategoricalDistribution(("a", "b")),
        "frozen_fraction": CategoricalDistribution((0.0, 1.0)),
    }
    recipes = {"default": {"model": "a", "frozen_fraction": 0.0}, "probe": {"model": "a", "frozen_fraction": 1.0}}
    searched = Searched(distributions=distributions, recipes=recipes)
    sizes = {"train": 300, "validation": 100}
    one, other = (prefix_plan.expected_work(budget, sizes, searched, *model) for model in (("a", 3), ("b", 7)))
    assert one.trainings == {0: 1 + 2.0, 3: 1 + 2.0}, "two recipes, and half of the eight others"
    assert other.trainings == {0: 2.0, 7: 2.0}


def test_work_counts_whole_trainings_and_those_that_confirm() -> None:
    budget = Budget(trials=6, epochs=2, first_rung=1, confirm_recipes=1, confirm_seeds=2)
    searched = Searched(distributions={"frozen_layers": IntDistribution(0, 1)}, recipes={})
    found = prefix_plan.expected_work(budget, {"train": 300, "validation": 100}, searched, "m", 1)
    assert found == Work(trainings={0: 4.0, 1: 4.0}, passes=2 * 300 + 2 * 100, examples=400)


# --- in a plan -----------------------------------------------------------------------------------


@pytest.fixture
def cached(options: Options) -> Options:
    return dataclasses.replace(options, prefix_cache=None)


def test_a_plan_decides_and_says_so(cached: Options) -> None:
    plan, _ = planning.resolve(cached)
    model = plan.search.models[plan.search.base.model]
    assert model.prefix.kept
    assert plan.search.base.cache_dtype == "float32"
    lines = dict(plan_lines(plan))
    assert "blocks are kept, float32" in lines["cache"]
    assert "(first token)" in lines["cache"]
    deep = plan.recipe({"frozen_layers": model.blocks}, 0)
    assert (deep.cached_layers, plan.recipe({"frozen_layers": 0}, 0).cached_layers) == (model.blocks, 0)
    off, _ = planning.resolve(dataclasses.replace(cached, prefix_cache="off"))
    assert off.search.models[off.search.base.model].prefix == NOTHING
    assert dict(plan_lines(off))["cache"].startswith("no outputs of frozen blocks are kept")
    half, _ = planning.resolve(dataclasses.replace(cached, prefix_cache="float16", cache_size="1MB"))
    assert (half.search.base.cache_dtype, half.resources.cache_limit) == ("float16", 1_000_000)


def pooling_space(*poolings: str) -> Space:
    """`bert_imdb` with these poolings; its own recipes take the first of them."""
    space = bert_imdb.SPACE
    return dataclasses.replace(
        space,
        parameters={**space.parameters, "pooling": CategoricalDistribution(poolings)},
        recipes={label: {**recipe, "pooling": poolings[0]} for label, recipe in space.recipes.items()},
    )


@pytest.mark.parametrize(
    ("poolings", "pooled", "first_only", "shown"),
    [
        (("model",), (), (3,), "3 (first token) blocks are kept"),
        (("mean",), ("mean",), (), "3 (mean) blocks are kept"),
        (("model", "mean", "both"), ("mean", "both"), (3,), "3 (first token, mean, both) blocks are kept"),
    ],
)
def test_a_plan_keeps_one_vector_an_example_for_each_pooling(
    cached: Options, poolings: tuple[str, ...], pooled: tuple[str, ...], first_only: tuple[int, ...], shown: str
) -> None:
    plan, corpus = planning.resolve(cached, pooling_space(*poolings))
    [model] = plan.search.models.values()
    assert (model.prefix.pooled, model.prefix.first_only) == (pooled, first_only)
    assert (plan.search.base.pooling, plan.recipe({"pooling": poolings[-1]}, 0).pooling) == (poolings[0], poolings[-1])
    lines = plan_lines(plan)
    several = f"one of {', '.join(poolings)}" if len(poolings) > 1 else f"{poolings[0]}, fixed"
    assert ("parameter", f"pooling: {several}") in lines
    assert shown in dict(lines)["cache"]
    assert of_json(plan.place.run, json.loads(plan.to_json())) == plan
    [setup] = setup_of(plan, corpus).models.values()
    assert setup.pooled == pooled


def test_a_pooling_that_a_resumed_search_adds_starts_where_it_must_hold(
    cached: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last block was tried with the model's own head alone, which reads the first token's output."""
    plan, _ = planning.resolve(cached)
    planning.claim(plan)
    monkeypatch.setattr(bert_imdb, "SPACE", pooling_space("model", "mean"))
    again, _ = planning.resume(plan.place.run, Options(space=""))
    starts = {
        (depth, pooling): again.recipe({"frozen_layers": depth, "pooling": pooling}, 0).cached_layers
        for depth in (0, 2, 3)
        for pooling in ("model", "mean")
    }
    assert starts == {(d, p): d - (d == 3 and p == "mean") for d, p in starts}


def test_a_pooling_that_the_model_or_its_family_lacks_is_one_line(cached: Options, tmp_path: Path) -> None:
    gpt2 = str(tiny_models.make("gpt2", tmp_path / "gpt2"))
    with pytest.raises(ValueError, match=f"^pooling 'both' is none that {gpt2} can have: model, mean$"):
        planning.resolve(dataclasses.replace(cached, model=gpt2), pooling_space("mean", "both"))
    folder, data = tiny.make_image_classification(tmp_path)
    pictures = dataclasses.replace(pooling_space("model", "mean"), family="image_classification")
    options = dataclasses.replace(cached, model=str(folder), dataset=data.source)
    with pytest.raises(ValueError, match=f"^pooling 'mean' is none that {folder} can have: model$"):
        planning.resolve(options, pictures)


def test_a_search_goes_on_with_the_boundaries_it_began_with(cached: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine, another decision: but the last bits of a score depend on where its trial started."""
    plan, _ = planning.resolve(cached)
    planning.claim(plan)
    monkeypatch.setitem(MACHINES, "cpu", Machine(flops=1e20, read=1.0, write=1.0))
    (other,) = planning.resolve(dataclasses.replace(cached, name="other"))[0].search.models.values()
    assert other.prefix == NOTHING
    again, _ = planning.resume(plan.place.run, Options(space=""))
    assert (again.search.models, again.search.base, again.resources.cache_limit) == (
        plan.search.models,
        plan.search.base,
        plan.resources.cache_limit,
    )


@pytest.mark.parametrize("error", [AssertionError("not a multiple of 8"), IndexError("x"), KeyError(), MemoryError()])
def test_a_model_that_cannot_be_tried_trains_from_its_input(
    cached: Options, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def survey(*_: object) -> None:
        raise error

    monkeypatch.setattr("frostline.trainables.prefix.boundary.survey", survey)
    plan, _ = planning.resolve(cached)
    [model] = plan.search.models.values()
    note = "the outputs of its frozen blocks are not kept, it trains from its input: " + reason(error)
    assert model.prefix == dataclasses.replace(NOTHING, note=note)
    assert note in plan.data.remarks
    planning.claim(plan)
    assert planning.resume(plan.place.run, Options(space=""))[0].data.remarks == plan.data.remarks


@pytest.mark.parametrize(
    ("depth", "start", "pooling"), [(2, 0, "model"), (2, 2, "model"), (3, 3, "mean"), (3, 0, "both")]
)
def test_a_recipe_is_trained_again_from_where_it_started(
    cached: Options, depth: int, start: int, pooling: str, tmp_path: Path
) -> None:
    recipe = planning.resolve(cached)[0].recipe({"frozen_layers": depth}, 5)
    recipe = dataclasses.replace(recipe, cached_layers=start, cache_dtype="float16", pooling=pooling)
    plan, _ = planning.resolve(Options(space="", retrain=recipe, storage=tmp_path, name="again"))
    (params,) = plan.search.recipes.values()
    assert plan.recipe(params, plan.search.seed).training() == recipe.training()


def test_trials_that_augment_their_input_are_not_reckoned_with() -> None:
    budget = Budget(trials=18, epochs=1, first_rung=1.0, confirm_recipes=0)
    depth = {"frozen_layers": IntDistribution(0, 1)}
    recipes = {"default": {"frozen_layers": 0}, "other": {"frozen_layers": 1, "augmentation": "light"}}
    augmented = {**depth, "augmentation": CategoricalDistribution(("none", "light", "randaugment-5", "randaugment-9"))}
    sizes = {"train": 100, "validation": 50}
    searched = Searched(distributions=augmented, recipes=recipes)
    found = prefix_plan.expected_work(budget, sizes, searched, "m", 1)
    assert found.trainings == {0: 1 + 16 / 4 / 2, 1: 16 / 4 / 2}
    searched = Searched(distributions=depth, recipes={})
    assert prefix_plan.expected_work(budget, sizes, searched, "m", 1).trainings == {0: 9, 1: 9}
