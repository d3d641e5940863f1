"""A search over two tiny models: its plan, its books, how it goes on."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import timm
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from frostline.search.plan import resolve as planning
from frostline.search.plan.describe import plan_lines
from frostline.search.plan.models import covering, cut, fetch
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.plan.prefix import Decision
from frostline.search.report import summary as summaries
from frostline.search.report.card import model_card
from frostline.spaces import Data, Recipe, Space, bert_imdb, load
from frostline.trainables import _family
from frostline.trainables.data.rows import Rows
from frostline.trainables.data.sources import NotCachedError
from tests import tiny
from tests.search.altered import altered
from tests.search.made import Clock, session, taken, train, with_budget
from tests.told import said


def space_of(*models: Path) -> Space:
    """`bert_imdb` over these models."""
    old, names = bert_imdb.SPACE, tuple(map(str, models))
    changed = {
        label: {**{name: value for name, value in recipe.items() if name != "frozen_layers"}, "frozen_fraction": part}
        for (label, recipe), part in zip(old.recipes.items(), (0.0, 1.0), strict=True)
    }
    searched = {name: d for name, d in old.parameters.items() if name != "frozen_layers"}
    profile = dataclasses.replace(old.small, model=names[0], models=names)
    parameters = {**searched, "frozen_fraction": FloatDistribution(0.0, 1.0)}
    return dataclasses.replace(old, parameters=parameters, recipes=changed, full=profile, small=profile)


@pytest.fixture
def models(tmp_path: Path) -> tuple[Path, Path]:
    """Two models, with three and with five blocks."""
    return tiny.make_model(tmp_path / "small"), tiny.make_model(tmp_path / "large", layers=4)


@pytest.fixture
def both(models: tuple[Path, Path], options: Options, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """The plan of a search over them; the space is found by its name when it goes on."""
    space = space_of(*models)
    monkeypatch.setattr(bert_imdb, "SPACE", space)
    return planning.resolve(dataclasses.replace(options, model=None), space)[0]


@pytest.mark.parametrize(
    ("lengths", "most", "covered", "told"),
    [
        ({}, 64, 64, ""),
        ({"a": [5] * 100}, 64, 8, ""),
        ({"a": [5] * 96 + [50] * 4}, 64, 8, "96% of the texts fit into 8 tokens; the model reads the first 8 of lon"),
        ({"a": [5] * 90 + [50] * 10}, 64, 56, ""),
        ({"a": [5] * 90 + [50] * 10}, 32, 32, "90% of the texts fit into 32 tokens"),
        ({"a": [5] * 100, "b": [17] * 100}, 64, 24, ""),
    ],
    ids=["never cut", "all", "nearly all", "a tenth is long", "the model's limit", "the model that needs most"],
)
def test_the_length_covers_the_texts_and_says_how_many(
    lengths: dict[str, list[int]], most: int, covered: int, told: str
) -> None:
    arrays = {name: np.array(tokens) for name, tokens in lengths.items()}
    data = covering(Data(source="x.csv", max_length=most), arrays)
    assert data.max_length == covered
    said = cut(arrays["a"], data) if arrays else ""
    assert said.startswith(told)
    assert bool(said) is bool(told)


@pytest.mark.parametrize("own", [True, False], ids=["own data", "a profile's"])
def test_lengths_are_found_once_for_each_model(
    models: tuple[Path, Path], options: Options, monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    family, looked_at = type(_family.load("text_classification")), list[Path]()
    count = family.lengths

    def counted(self: _family.Family, folder: Path, inputs: Sequence[Any]) -> Any:
        looked_at.append(folder)
        return count(self, folder, inputs)

    monkeypatch.setattr(family, "lengths", counted)
    given = {} if own else {"dataset": None}
    planning.resolve(dataclasses.replace(options, model=None, **given), space_of(*models))
    assert looked_at == list(models)


def test_a_size_that_the_model_does_not_take_is_one_line(tmp_path: Path) -> None:
    """The check comes before the blocks are run, where timm would raise an error of its own."""
    vit = timm.create_model("vit_tiny_patch16_224", depth=2)
    timm.models.save_for_hf(vit, tmp_path / "vit", safe_serialization=True, model_args={"depth": 2})
    options = Options(space="efficientnet_digits", model=str(tmp_path / "vit"), storage=tmp_path / "runs")
    with pytest.raises(ValueError, match=r"does not take pictures of 64 pixels .* own size is 224"):
        planning.resolve(options, load("efficientnet_digits"))


def test_the_plan_has_the_facts_of_each(both: Plan, models: tuple[Path, Path]) -> None:
    small, large = (both.search.models[str(path)] for path in models)
    assert (small.blocks, large.blocks) == (3, 5)
    assert small.parameters < large.parameters
    assert small.weights != large.weights
    assert both.search.distributions["model"] == CategoricalDistribution(tuple(map(str, models)))
    assert both.search.recipes["linear probe"]["model"] == both.search.base.model == str(models[0])
    assert "frozen_layers" not in both.search.recipes["linear probe"], "the sampler is told what it samples"
    for path, depth in zip(models, (2, 3), strict=True):
        recipe = both.recipe({**both.search.recipes["default"], "model": str(path), "frozen_fraction": 0.6}, 1)
        assert (recipe.model, recipe.frozen_layers) == (str(path), depth)
    lines = [text for label, text in plan_lines(both) if label == "model"]
    assert ["3 blocks" in lines[0], "5 blocks" in lines[1]] == [True, True]
    assert all("at most 24 tokens" in line for line in lines)


def test_one_model_on_the_command_line_is_the_only_one(both: Plan, models: tuple[Path, Path], options: Options) -> None:
    alone, _ = planning.resolve(dataclasses.replace(options, model=str(models[1])), space_of(*models))
    assert list(alone.search.models) == [str(models[1])]
    assert alone.search.distributions["model"] == CategoricalDistribution((str(models[1]),))
    assert both.resources.disk > alone.resources.disk - 1, "the bound is of the largest"
    assert both.resources.need.memory == alone.resources.need.memory


def test_the_records_say_both_and_the_study_what_was_sampled(both: Plan, clock: Clock) -> None:
    both = with_budget(both, trials=2, confirm_recipes=1, confirm_seeds=1)
    ledger = session(both, clock)
    for score in (0.6, 0.8):
        train(ledger, clock, taken(ledger), score, score)
    again = session(both, clock)
    found = [trial.params for trial in again.trials]
    assert [(params["frozen_fraction"], params["frozen_layers"]) for params in found] == [(0.0, 0), (1.0, 3)]
    backend = JournalStorage(JournalFileBackend(str(both.place.run / "study.journal")))
    study = optuna.load_study(study_name=both.search.space, storage=backend)
    assert all(set(trial.params) == set(both.search.distributions) for trial in study.trials)
    confirming = taken(again)
    assert confirming.params == found[1]
    assert Recipe.from_json(again.task(confirming).recipe).frozen_layers == 3


def test_heads_of_one_model_are_a_group(both: Plan, clock: Clock) -> None:
    kept = {
        name: dataclasses.replace(
            model, prefix=Decision(kept=(model.blocks,), first_only=(), bytes=1.0, spent=1.0, saved=2.0)
        )
        for name, model in both.search.models.items()
    }
    ledger = session(altered(with_budget(both, trials=60), models=kept), clock)
    groups = [ledger.next_group() for _ in range(8)]
    assert all(len({job.params["model"] for job in group}) == 1 for group in groups)
    heads = [group for group in groups if len(group) > 1]
    assert all(
        job.params["frozen_layers"] == both.search.models[job.params["model"]].blocks for g in heads for job in g
    )


def test_what_fits_is_known_by_model_and_depth(both: Plan, clock: Clock) -> None:
    ledger = session(both, clock)
    job = taken(ledger)
    ledger.report(job, said(1, 0.6, clock.now, micro_batch=4, device="T4"))
    assert ledger.task(job).micro_batches == {"T4": 4}
    (other,) = set(both.search.models) - {job.params["model"]}
    elsewhere = dataclasses.replace(job, params={**job.params, "model": other})
    assert ledger.task(elsewhere).micro_batches == {}


def test_it_goes_on_with_the_models_it_began_with(both: Plan, models: tuple[Path, Path], clock: Clock) -> None:
    planning.claim(both)
    ledger = session(both, clock)
    train(ledger, clock, taken(ledger), 0.6, 0.7)
    again, _ = planning.resume(both.place.run, Options(space=""))
    assert (again.search.models, again.search.base) == (both.search.models, both.search.base)
    assert again.search.distributions == both.search.distributions
    assert session(again, clock).trials.get(0, both.search.seed) is not None
    path = models[1] / "config.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(ValueError, match=f"the model {models[1]} has changed since the search in"):
        planning.resume(both.place.run, Options(space=""))


def test_the_winner_is_named_with_its_own_model(both: Plan, models: tuple[Path, Path], clock: Clock) -> None:
    both, large = with_budget(both, trials=1, confirm_recipes=0), str(models[1])
    both = altered(both, recipes={"deep": {**both.search.recipes["linear probe"], "model": large}})
    ledger, family = session(both, clock), _family.load(both.search.base.family)
    train(ledger, clock, taken(ledger), 0.6, 0.7)
    found = summaries.summary(both, family, ledger, [])
    assert (found["model"], found["best"]["params"]["frozen_layers"]) == (large, 5)
    card = model_card(found, both, family)
    assert f"base_model: {models[1].name}" in card
    assert "frozen blocks: 5 of 5" in card


def test_a_winner_of_it_is_trained_again(both: Plan, models: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = both.recipe({**both.search.recipes["default"], "model": str(models[1]), "frozen_fraction": 0.5}, 4)
    made, _ = planning.resolve(Options(space="", retrain=recipe, storage=tmp_path, name="again"))
    assert made.search.base.training() == recipe.training()
    assert (made.search.base.frozen_layers, list(made.search.models)) == (3, [str(models[1])])
    planning.claim(made)
    assert planning.resume(made.place.run, Options(space=""))[0].search.base == made.search.base


def test_one_error_names_every_model_and_the_data_that_cannot_be_had() -> None:
    """Whatever the family does to get them."""

    class Offline(type(_family.load("text_classification"))):  # type: ignore[misc]
        def model_folder(self, source: str) -> Path:
            if source == "here":
                return Path("here")
            raise NotCachedError(f"model {source!r}")

        def read_rows(self, data: Data) -> dict[str, Rows]:
            raise NotCachedError(f"data set {data.source!r}")

    with pytest.raises(NotCachedError, match=r"^model 'a', model 'b' and data set 'd' are not cached here"):
        fetch(Offline(), ["a", "here", "b"], Data(source="d"))
