import dataclasses
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.plan import resolve as planning
from frostline.search.plan import resources
from frostline.search.plan.describe import plan_lines
from frostline.search.plan.disk import disk_bound
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.plan.remarks import remarks
from frostline.search.records.events import Job
from frostline.search.records.log import Log
from frostline.spaces import Recipe, bert_imdb
from frostline.trainables import _family
from frostline.trainables._family import ModelInfo
from tests import tiny
from tests.search.altered import altered
from tests.search.made import Clock, session, taken


def test_auto_is_full_where_there_is_a_gpu() -> None:
    assert planning.choose_profile("auto", True) == ("full", "a machine has a GPU")
    assert planning.choose_profile("auto", False) == ("small", "no machine has a GPU")
    assert planning.choose_profile("full", False)[0] == "full"


def test_the_plan_resolves_everything(options: Options) -> None:
    made, corpus = planning.resolve(options)
    assert made.search.models[made.search.base.model].blocks == 3
    assert made.search.distributions["frozen_layers"] == IntDistribution(0, 3)
    assert made.search.recipes["linear probe"]["frozen_layers"] == 3
    assert made.search.base.data.max_length == 24
    assert made.data.sizes == corpus.sizes() == {"train": 700, "validation": 200, "test": 200}
    assert (made.resources.device, made.resources.threads) == ("cpu", 1)
    assert not made.place.run.exists(), "nothing has started"
    assert json.loads(made.to_json())["base"]["model"] == options.model
    text = "\n".join(f"{label} {line}" for label, line in plan_lines(made))
    assert (made.resources.retries, made.resources.checkpoint_every) == (2, 30.0)
    for part in ("learning_rate: 1e-05 to 0.001, log", "frozen_layers: 0 to 3", "rungs", "at worst 24", "MB in", "CPU"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "bert_imbd"}, "did you mean 'bert_imdb'"),
        ({"trials": 0}, "trials must be at least 1, got 0"),
        ({"epochs": -1}, "--epochs must be above 0, got -1"),
        ({"concurrent": 0}, "--concurrent must be at least 1"),
        ({"cpus_per_trial": 0.0}, "--cpus-per-trial must be above 0"),
        ({"gpus_per_trial": -1.0}, "--gpus-per-trial must not be negative"),
        ({"gpus_per_trial": 64.0}, r"no node can hold one trial: it needs .* 64 GPU, .*; there is"),
        ({"cpus_per_trial": 10_000.0}, "no node can hold one trial"),
        ({"dataset": "/no/such.csv"}, "neither an existing folder or file nor a hub name"),
        ({"model": "/no/such"}, "neither an existing folder or file nor a hub name"),
        ({"columns": ("review", "label")}, "has no column 'review'"),
        ({"name": "../elsewhere"}, "--name is a folder name"),
        ({"trials": "x"}, "--trials is a number, or .*, got 'x'"),
        ({"trials": "+3"}, r"--trials \+3 needs --resume: it adds to a search"),
        ({"time_budget": "5"}, "--time-budget must be a time such as 90m, 2h, 1h30m or 45s, got '5'"),
        ({"confirm_seeds": -1}, "--confirm-seeds must not be negative, got -1"),
        ({"retries": -1}, "--retries must not be negative, got -1"),
        ({"checkpoint_every": -0.5}, "--checkpoint-every must not be negative, got -0.5"),
        ({"checkpoint_every": float("nan")}, "--checkpoint-every must .*, got nan"),
        ({"cpus_per_trial": float("nan")}, "--cpus-per-trial must .*, got nan"),
        ({"gpus_per_trial": float("nan")}, "--gpus-per-trial must .*, got nan"),
        ({"workers_per_trial": 0}, "--workers-per-trial must be at least 1, got 0"),
        ({"workers_per_trial": 2, "gpus_per_trial": 0.5}, "each has a GPU of its own: --gpus-per-trial 0.5"),
        ({"workers_per_trial": 1000}, r"the nodes cannot hold one trial: it needs 1000 × \(1 CPU, .* GB\); there is"),
    ],
)
def test_a_mistake_is_one_line(options: Options, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        planning.resolve(dataclasses.replace(options, **changes))
    assert "\n" not in str(caught.value)


def _copy(model: Path, to: Path, **files: str) -> Path:
    shutil.copytree(model, to)
    for name, text in files.items():
        (to / name.replace("_", ".")).write_text(text)
    return to


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"config_json": "{}"}, "is not a model that transformers knows"),
        ({"config_json": "not json"}, "is not a model that transformers knows"),
        ({"model_safetensors": "x"}, "does not load as a text classifier"),
        ({"tokenizer_json": "{}"}, "has no tokenizer"),
    ],
)
def test_a_folder_with_a_broken_model_is_one_line(
    options: Options, tiny_model: Path, tmp_path: Path, files: dict[str, str], message: str
) -> None:
    folder = _copy(tiny_model, tmp_path / "broken", **files)
    with pytest.raises(ValueError, match=message) as caught:
        planning.resolve(dataclasses.replace(options, model=str(folder)))
    assert "\n" not in str(caught.value)


def test_an_input_is_cut_to_what_the_model_takes(options: Options, tiny_model: Path) -> None:
    info = _family.load("text_classification").describe(tiny_model)
    assert planning.fitted(bert_imdb.SPACE.full, [info]).data.max_length == 64
    assert planning.fitted(bert_imdb.SPACE.small, [info]) == bert_imdb.SPACE.small


def test_a_model_that_lacks_weights_of_its_body_is_refused(options: Options, tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _copy(tiny_model, tmp_path / "holey")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of the model's body, first .*layer.1.output.dense.weight"):
        planning.resolve(dataclasses.replace(options, model=str(folder)))


def test_the_run_directory_is_named_by_space_and_time(options: Options) -> None:
    made, _ = planning.resolve(dataclasses.replace(options, name=None))
    assert made.place.run.parent == options.storage
    assert re.fullmatch(r"bert_imdb-\d{8}T\d{6}Z", made.place.run.name)


def test_a_run_directory_belongs_to_one_search(options: Options) -> None:
    made, _ = planning.resolve(options)
    planning.claim(made)
    assert json.loads((made.place.run / "plan.json").read_text())["space"] == "bert_imdb"
    with pytest.raises(ValueError, match="holds this very search, unfinished: choose another --name"):
        planning.claim(made)
    with pytest.raises(ValueError, match="holds this very search, unfinished"):
        planning.claim(altered(made, slots_reason="another machine", slots=9, disk=1))
    with pytest.raises(ValueError, match="holds a search with another plan"):
        planning.claim(altered(made, seed=1))


def test_the_disk_bound_grows_with_what_is_kept_at_once(options: Options) -> None:
    made, _ = planning.resolve(options)
    budget = made.search.base.budget
    whole = 4e6

    def bound(slots: int = 2, beside: int = 0, **changes: Any) -> int:
        return disk_bound(1_000_000, slots, dataclasses.replace(budget, **changes), beside, wandb=False)

    assert bound(slots=3) - bound() == 2 * 4 * whole, "best weights and snapshot, twice while they are replaced"
    grown = bound(confirm_recipes=4) - bound()
    assert whole < grown < 1.1 * whole, "the best weights of one recipe more, and its lines"
    off = bound() - bound(confirm_seeds=0)
    assert 3 * whole < off < 3.1 * whole, "without confirmation no recipe is trained again"
    assert bound(beside=1000) - bound() == 2000
    assert 0 < bound(trials=100) - bound(trials=50) < whole, "a trial more costs its lines only"
    timed = bound(trials=None, seconds=60.0) - bound(trials=1000)
    assert timed == budget.confirm_recipes * whole, "time that is left may lead to a second race"


# --- a search that goes on -----------------------------------------------------------------------


@pytest.fixture
def begun(options: Options, tiny_model: Path, tmp_path: Path) -> Plan:
    """A search that has begun, on a model and a table of its own."""
    table = tiny.write_csv(tmp_path / "own.csv", tiny.rows(1100))
    own = dataclasses.replace(options, model=str(_copy(tiny_model, tmp_path / "own")), dataset=str(table))
    made, _ = planning.resolve(dataclasses.replace(own, seed=3, epochs=3, retries=5, checkpoint_every=7.0))
    planning.claim(made)
    return made


def start(made: Plan, params: dict[str, Any], number: int = 0) -> None:
    """A trial that an earlier session began."""
    job = Job(number=number, seed=made.search.seed, params=params, label="", confirms=False)
    Log(made.place.run).append("start", **dataclasses.asdict(job))


def same(one: Plan, other: Plan) -> bool:
    """Whether two plans are equal but for the reasons that belong to the moment."""
    one, other = (altered(plan, profile_reason="", slots_reason="") for plan in (one, other))
    return dataclasses.replace(one, wandb=other.wandb) == other and one.wandb.mode == other.wandb.mode


def test_a_search_goes_on_by_the_plan_it_began_with(begun: Plan) -> None:
    start(begun, begun.search.recipes["default"])
    again, corpus = planning.resume(begun.place.run, Options(space=""))
    assert same(again, begun)
    assert (
        again.search.seed,
        again.search.base.budget.epochs,
        again.resources.retries,
        again.resources.checkpoint_every,
    ) == (3, 3, 5, 7.0)
    assert corpus.fingerprint == begun.data.fingerprint
    assert same(planning.resume(Path(str(begun.place.run / ".." / begun.place.run.name)), Options(space=""))[0], begun)


def test_what_a_search_that_goes_on_may_change(begun: Plan) -> None:
    more = Options(space="", trials="+5", concurrent=1, retries=0, checkpoint_every=1.0, confirm_recipes=1)
    again, _ = planning.resume(begun.place.run, more)
    assert (again.search.base.budget.trials, again.search.base.budget.confirm_recipes) == (17, 1)
    assert (again.resources.slots, again.resources.retries, again.resources.checkpoint_every) == (1, 0, 1.0)
    assert again.search.seed == begun.search.seed
    kept = {name: getattr(again.search.base, name) for name in ("model", "data", "seed", "learning_rate")}
    assert kept == {name: getattr(begun.search.base, name) for name in kept}
    timed, _ = planning.resume(begun.place.run, Options(space="", time_budget="10m"))
    assert (timed.search.base.budget.trials, timed.search.base.budget.seconds) == (12, 600)
    with pytest.raises(ValueError, match=r"--time-budget \+10m: the search has no time limit yet"):
        planning.resume(begun.place.run, Options(space="", time_budget="+10m"))


def test_which_tied_recipe_is_offered_may_change_and_an_earlier_search_keeps_its_winner_until_it_grows(
    begun: Plan,
) -> None:
    assert begun.search.prefer == "cheapest"
    best, _ = planning.resume(begun.place.run, Options(space="", prefer="best"))
    assert best.search.prefer == "best"
    (begun.place.run / "plan.json").write_text(best.to_json())
    assert planning.resume(begun.place.run, Options(space="", trials="+1"))[0].search.prefer == "best"
    earlier = json.loads(best.to_json())
    del earlier["prefer"]
    (begun.place.run / "plan.json").write_text(json.dumps(earlier))
    assert planning.resume(begun.place.run, Options(space=""))[0].search.prefer == ""
    for grown in ({"trials": "+1"}, {"time_budget": "9m"}):
        assert planning.resume(begun.place.run, Options(space="", **grown))[0].search.prefer == "cheapest"


def test_a_search_goes_on_with_as_many_workers_a_trial_or_as_one_says(begun: Plan) -> None:
    room = {"cpus_per_trial": 0.25}
    two, _ = planning.resume(begun.place.run, Options(space="", workers_per_trial=2, **room))
    assert two.resources.need.workers == 2
    assert same(dataclasses.replace(two, resources=begun.resources), begun)
    (begun.place.run / "plan.json").write_text(two.to_json())
    assert planning.resume(begun.place.run, Options(space=""))[0].resources.need == two.resources.need
    one, _ = planning.resume(begun.place.run, Options(space="", workers_per_trial=1, **room))
    assert one.resources.need.workers == 1


def test_a_model_with_batch_norm_is_refused_to_several_workers() -> None:
    def info(batch_norm: bool) -> ModelInfo:
        return ModelInfo(blocks=1, parameters=1, trainable_at=(1, 1), max_length=None, batch_norm=batch_norm)

    resources.check_batch_norm({"resnet": info(True)}, workers=1)
    resources.check_batch_norm({"convnext": info(False)}, workers=2)
    with pytest.raises(ValueError, match="--workers-per-trial 2: resnet has batch norm, which looks at a whole batch"):
        resources.check_batch_norm({"convnext": info(False), "resnet": info(True)}, workers=2)


def test_snapshots_that_wait_to_be_gone_on_with_take_room_too(begun: Plan) -> None:
    again, _ = planning.resume(begun.place.run, Options(space="", concurrent=1))
    for number in range(3):
        path = begun.place.run / "trials" / f"{number:05d}" / "last.safetensors"
        path.parent.mkdir(parents=True)
        path.write_text("x")
    more, _ = planning.resume(begun.place.run, Options(space="", concurrent=1))
    assert more.resources.slots == again.resources.slots == 1
    assert (
        more.resources.disk - again.resources.disk
        == 2 * 2 * 4 * 4 * begun.search.models[begun.search.base.model].parameters
    ), "of two trainings that have no slot"


def test_data_that_has_changed_is_refused(begun: Plan) -> None:
    tiny.write_csv(Path(begun.search.base.data.source), tiny.rows(1100, seed=1))
    with pytest.raises(ValueError) as caught:
        planning.resume(begun.place.run, Options(space=""))
    assert str(caught.value) == (
        f"the data {begun.search.base.data.source} has changed since the search in {begun.place.run} began: "
        "its scores would not compare"
    )


def test_weights_that_have_changed_are_refused(begun: Plan) -> None:
    from safetensors.torch import load_file, save_file

    path = Path(begun.search.base.model) / "model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] += 1e-6
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"the model {begun.search.base.model} has changed since the search in"):
        planning.resume(begun.place.run, Options(space=""))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 1.0}, "recipe of trial 4: learning_rate = 1.0 is outside FloatDistribution"),
        ({"batch_size": 24}, "recipe of trial 4: batch_size = 24 is outside CategoricalDistribution"),
        ({"frozen_layers": 4}, "recipe of trial 4: frozen_layers = 4 is outside IntDistribution"),
        ({"warmup": 0.2}, "recipe of trial 4: warmup = 0.2 is not a parameter of the space"),
    ],
)
def test_a_space_that_no_longer_holds_what_was_tried_is_refused(
    begun: Plan, changes: dict[str, Any], message: str
) -> None:
    start(begun, {**begun.search.recipes["default"], **changes}, number=4)
    with pytest.raises(ValueError, match=message) as caught:
        planning.resume(begun.place.run, Options(space=""))
    assert "\n" not in str(caught.value)


def edited(monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], recipe: dict[str, Any] | None = None) -> None:
    """The file of the space says something else today; `recipe` is what its recipes have besides."""
    old = bert_imdb.SPACE
    recipes = {label: {**values, **(recipe or {})} for label, values in old.recipes.items()}
    new = dataclasses.replace(old, parameters={**old.parameters, **parameters}, recipes=recipes)
    monkeypatch.setattr(bert_imdb, "SPACE", new)


def test_a_search_goes_on_in_a_space_that_has_grown(begun: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    start(begun, begun.search.recipes["default"])
    edited(monkeypatch, {"batch_size": CategoricalDistribution((8, 16, 32, 64))})
    again, _ = planning.resume(begun.place.run, Options(space=""))
    assert again.search.distributions["batch_size"] == CategoricalDistribution((8, 16, 32, 64))
    assert again.data.fingerprint == begun.data.fingerprint


def test_a_search_does_not_go_on_in_a_space_that_has_lost_what_was_tried(
    begun: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(begun, {**begun.search.recipes["default"], "learning_rate": 9e-4})
    start(begun, {**begun.search.recipes["default"], "learning_rate": 9e-5}, number=1)
    edited(monkeypatch, {"learning_rate": FloatDistribution(1e-5, 1e-3, log=True)})
    assert same(planning.resume(begun.place.run, Options(space=""))[0], begun)
    edited(monkeypatch, {"learning_rate": FloatDistribution(1e-4, 1e-3, log=True)}, {"learning_rate": 5e-4})
    with pytest.raises(ValueError, match="recipe of trial 1: learning_rate = 9e-05 is outside"):
        planning.resume(begun.place.run, Options(space=""))


def test_what_was_tried_keeps_its_value_of_a_parameter_that_the_space_has_had_since(
    begun: Plan, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    start(begun, begun.search.recipes["default"])
    edited(monkeypatch, {"warmup": FloatDistribution(0.0, 0.5)}, {"warmup": 0.2})
    again, _ = planning.resume(begun.place.run, Options(space=""))
    ledger = session(again, clock)
    task = ledger.task(taken(ledger))
    assert Recipe.from_json(task.recipe).warmup == begun.search.base.warmup == 0.1, "it goes on as it began"
    edited(monkeypatch, {"warmup": FloatDistribution(0.2, 0.5)}, {"warmup": 0.2})
    with pytest.raises(ValueError, match=r"recipe of trial 0: warmup = 0\.1 is outside"):
        planning.resume(begun.place.run, Options(space=""))


@pytest.mark.parametrize("lost", ["base", "space", "seed", "models", "fingerprint", "need", "retries"])
def test_a_plan_of_another_version_is_one_line(begun: Plan, lost: str) -> None:
    fields = json.loads((begun.place.run / "plan.json").read_text())
    for broken in ({name: value for name, value in fields.items() if name != lost}, {**fields, lost: {}}):
        (begun.place.run / "plan.json").write_text(json.dumps(broken))
        with pytest.raises(ValueError) as caught:
            planning.resume(begun.place.run, Options(space=""))
        assert "\n" not in str(caught.value)


def test_a_search_is_not_where_none_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a run directory: it does not exist"):
        planning.resume(tmp_path / "nowhere", Options(space=""))
    with pytest.raises(ValueError, match=r"is not a run directory: it has no plan.json"):
        planning.resume(tmp_path, Options(space=""))


def test_one_recipe_is_trained_again_to_its_end_and_goes_on_as_such(begun: Plan, tmp_path: Path) -> None:
    recipe = dataclasses.replace(begun.search.base.with_params({"learning_rate": 3e-4, "batch_size": 24}), seed=9)
    made, _ = planning.resolve(Options(space="", retrain=recipe, storage=tmp_path, name="again"))
    assert (made.search.space, made.search.seed, made.search.recipes["retrained"]["batch_size"]) == ("retrain", 9, 24)
    assert (made.search.base.budget.trials, made.search.base.budget.confirm_recipes, made.schedule.rungs) == (1, 0, ())
    assert made.search.base.training() == recipe.training()
    planning.claim(made)
    start(made, made.search.recipes["retrained"])
    assert same(planning.resume(made.place.run, Options(space=""))[0], made)
    other = tiny.write_csv(tmp_path / "other.csv", tiny.rows(60, seed=2))
    elsewhere, corpus = planning.resolve(Options(space="", retrain=recipe, dataset=str(other), storage=tmp_path))
    assert sum(corpus.sizes().values()) == 60, "of the new data, all of it"
    assert elsewhere.search.base.learning_rate == 3e-4


def test_a_recipe_that_augments_starts_from_the_input(options: Options) -> None:
    made, _ = planning.resolve(options)
    model = made.search.models[made.search.base.model]
    model = dataclasses.replace(model, prefix=dataclasses.replace(model.prefix, kept=(1, 2)))
    made = altered(made, models={made.search.base.model: model})
    assert made.recipe({"frozen_layers": 2}, 0).cached_layers == 2
    assert made.recipe({"frozen_layers": 2, "augmentation": "light"}, 0).cached_layers == 0


def _corpus(labels: list[int], skipped: tuple[str, ...] = ()) -> Any:
    arrays = {split: np.array(labels) for split in ("train", "validation", "test")}
    return SimpleNamespace(labels=arrays, classes=("cat", "dog"), skipped=skipped)


def test_remarks_tell_of_what_is_left_out_and_of_classes_out_of_balance() -> None:
    assert remarks(_corpus([0, 1, 0, 1, 0]), ()) == ()
    assert remarks(_corpus([0, 0, 0, 0, 1]), ["kept", "kept"]) == (
        "the classes are out of balance: 'cat' has 4.0 times as many training examples as 'dog'",
        "kept",
    )
    assert "'cat' has training examples, none has 'dog'" in remarks(_corpus([0, 0]), ())[0]
    skipped = remarks(_corpus([0, 1], ("a", "b", "c", "d")), ())
    assert skipped == ("4 inputs cannot be read: a, b, c, ...",)
