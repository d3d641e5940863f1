"""A space, values and a metric of one's own: planned, copied into the run directory, and gone on with."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from frostline import spaces
from frostline.search import api
from frostline.search.plan import new_space, own, settings
from frostline.search.plan import resolve as planning
from frostline.search.plan.describe import plan_lines
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan, Search
from frostline.search.records import remote, working_copy
from frostline.search.report.command import command
from frostline.search.tuner import setup_of
from frostline.trainables._storage import Store
from tests import tiny
from tests.s3 import s3, s3_server, store, url

__all__ = ["s3", "s3_server", "store", "url"]

METRIC = "def cost(labels, predicted):\n    return float((labels != predicted).mean())\n"


def resolved(options: Options, **changes: Any) -> Plan:
    return planning.resolve(dataclasses.replace(options, **changes))[0]


def gone_on(plan: Plan) -> Search:
    return searched(planning.resume(plan.place.run, Options(space=""))[0])


def searched(plan: Plan) -> Search:
    """What is searched, without the reason that belongs to the moment."""
    return dataclasses.replace(plan.search, profile_reason="")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a space of each kind, and a metric."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "reviews.py").write_text(new_space.template("reviews"))
    (folder / "small.yaml").write_text("extends: bert_imdb\nmetric: mcc\nparameters: {warmup: [0.0, 0.1]}\n")
    (folder / "m.py").write_text(METRIC)
    return folder


@pytest.mark.parametrize(
    ("changes", "space", "metric", "copies"),
    [
        ({"space": "reviews.py", "metric": "m.py:cost"}, "reviews", "cost", {"space.py", "metric.py"}),
        ({"space": "small", "space_path": ".", "set": ("warmup=0..0.2",)}, "small", "mcc", {"space.yaml"}),
        ({"set": ("learning_rate=1e-6..1e-4",), "class_weights": "balanced"}, "bert_imdb", "accuracy", set()),
    ],
    ids=["Python", "YAML", "settings"],
)
def test_a_search_of_ones_own_goes_on_without_the_original(
    options: Options,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    space: str,
    metric: str,
    copies: set[str],
) -> None:
    monkeypatch.chdir(files)
    plan = resolved(options, **changes)
    assert (plan.search.space, plan.search.metric.name, plan.search.base.metric) == (space, metric, metric)
    planning.claim(plan)
    assert {path.name for path in plan.place.run.iterdir()} == {"plan.json", *copies}
    for name in copies:
        assert (plan.place.run / name).read_text() == plan.search.files[name]
    for path in files.iterdir():
        path.unlink()
    again, _ = planning.resume(plan.place.run, Options(space=""))
    assert searched(again) == searched(plan)
    assert again.data == plan.data


def test_at_a_url_the_copies_are_there_too(options: Options, files: Path, url: str, store: Store) -> None:
    storage = url.rpartition("/")[0]
    given = {"space": f"{files}/reviews.py", "metric": f"{files}/m.py:cost", "url": storage, "name": "run"}
    plan = resolved(options, **given)
    planning.claim(plan)
    with remote.hold(url, plan.place.run, "", lambda text: None):
        pass
    assert {"plan.json", "space.py", "metric.py"} <= store.files().keys()
    assert store.read("metric.py") == METRIC.encode()
    shutil.rmtree(plan.place.run)
    assert searched(planning.resume(working_copy.fetch(url, print), Options(space="", url=url))[0]) == searched(plan)


def test_a_program_gives_a_space_once(options: Options) -> None:
    """It goes on without the program, as it began."""
    space = dataclasses.replace(spaces.load("bert_imdb"), metric="mcc")
    plan = planning.resolve(options, space)[0]
    planning.claim(plan)
    assert plan.search.own_space
    assert gone_on(plan) == searched(plan)
    assert command(plan).startswith("frostline.search(\n    space,")


def test_settings_are_in_the_plan_and_told(options: Options) -> None:
    plan = resolved(options, set=("learning_rate=1e-6..1e-4", "batch_size=16"), class_weights="balanced")
    found = plan.search.distributions
    assert found["learning_rate"] == FloatDistribution(1e-6, 1e-4, log=True)
    assert (found["batch_size"], found["class_weights"]) == (
        CategoricalDistribution((16,)),
        CategoricalDistribution(("balanced",)),
    )
    assert plan.recipe(plan.search.recipes["default"], 0).class_weights == "balanced"
    lines = [f"{label}: {text}" for label, text in plan_lines(plan)]
    assert "parameter: batch_size: 16, fixed" in lines
    assert "--set learning_rate=1e-6..1e-4: 'linear probe' takes learning_rate 0.0001" in plan.data.remarks


@pytest.mark.parametrize(
    ("searched", "asked", "expected"),
    [
        ((), "none", None),
        ((), None, None),
        ((), "balanced", ("balanced",)),
        (("none", "balanced"), None, ("none", "balanced")),
        (("none", "balanced"), "none", ("none",)),
    ],
)
def test_class_weights_are_a_parameter_where_there_are_any(searched: Any, asked: Any, expected: Any) -> None:
    space = spaces.load("bert_imdb")
    if searched:
        space, _ = settings.applied(space, [f"class_weights={','.join(searched)}"])
    found = own.of_options(Options(space="", class_weights=asked), space).space.parameters.get("class_weights")
    assert (None if found is None else found.choices) == expected


def test_the_slot_is_given_the_function(options: Options, files: Path) -> None:
    plan, corpus = planning.resolve(dataclasses.replace(options, metric=f"{files}/m.py:cost"))
    setup = setup_of(plan, corpus)
    assert (setup.metric, setup.metric_code) == (plan.search.metric, METRIC)


@pytest.mark.parametrize("at_url", [False, True])
def test_the_command_that_repeats_it(options: Options, files: Path, at_url: bool, request: Any) -> None:
    """It names files that are there: options take no URL of a file."""
    given = {"space": f"{files}/small.yaml", "metric": f"{files}/m.py:cost", "set": ("warmup=0.2",)}
    if at_url:
        given |= {"url": request.getfixturevalue("url").rpartition("/")[0], "name": "run"}
    plan = resolved(options, **given)
    planning.claim(plan)
    shutil.rmtree(files)
    run, typed = plan.place.run, " ".join(command(plan).replace("\\\n", " ").split())
    assert bool(plan.place.url) is at_url
    assert f"--space {run}/space.yaml --set warmup=0.2 " in typed
    assert f"--metric {run}/metric.py:cost " in typed
    again = resolved(options, space=f"{run}/space.yaml", metric=f"{run}/metric.py:cost", set=("warmup=0.2",), name="a")
    assert dataclasses.replace(searched(again), space="small") == searched(plan), "a space is named after its file"


def test_the_positive_class_is_named(options: Options) -> None:
    told = "average_precision takes 'pos' as the positive class, the last one by name"
    assert told in resolved(options, metric="average_precision").data.remarks
    assert told not in resolved(options, metric="roc_auc").data.remarks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "acuracy"}, "did you mean 'accuracy'?"),
        ({"metric": "/no/m.py:cost"}, "--metric /no/m.py does not exist"),
        ({"metric": "m.py"}, "m.py: a metric is FILE.py:FUNCTION; its functions: cost"),
        ({"metric": "m.py:costs"}, "m.py: there is no function 'costs' in it; its functions: cost"),
        ({"metric": "bad.py:fails"}, "metric 'fails' fails on the validation labels: ZeroDivisionError: division by"),
        ({"metric": "bad.py:text"}, "metric 'text' fails on the validation labels: bad.py:text must return a number"),
        ({"set": ("learning_rat=1",)}, "did you mean 'learning_rate'?"),
        ({"set": ("dropout=0.1",)}, "dropout cannot be searched: text_classification has none"),
        ({"space": "reviws", "space_path": "."}, "did you mean 'reviews'?"),
        ({"space": "./r.py"}, "--space r.py does not exist; spaces with a name are bert_imdb, "),
    ],
)
def test_a_mistake_is_one_line(
    options: Options, files: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    (files / "bad.py").write_text("def fails(labels): return 1 / 0\ndef text(labels): return 'much'\n")
    monkeypatch.chdir(files)
    with pytest.raises(ValueError) as caught:
        resolved(options, **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_metric_for_two_classes_is_refused_to_three(options: Options, tmp_path: Path) -> None:
    rows = [(f"{text} {i}", ("a", "b", "c")[i % 3]) for i, (text, _) in enumerate(tiny.rows(300))]
    table = tiny.write_csv(tmp_path / "three.csv", rows)
    with pytest.raises(
        ValueError, match="metric 'binary_f1' is for two classes, the data have 3: macro_f1, weighted_f1"
    ):
        resolved(options, dataset=str(table), metric="f1")
    assert resolved(options, dataset=str(table), metric="roc_auc").search.metric.name == "roc_auc"


def test_a_metric_that_validation_leaves_undefined_is_refused(options: Options, tmp_path: Path) -> None:
    slices = {
        name: tiny.write_csv(tmp_path / f"{name}.csv", rows)
        for name, rows in {
            "train": tiny.rows(100),
            "validation": [row for row in tiny.rows(60, seed=5) if row[1] == "pos"],
            "test": tiny.rows(30, seed=7),
        }.items()
    }
    given = {"dataset": str(slices["train"]), "validation": str(slices["validation"]), "test": str(slices["test"])}
    with pytest.raises(ValueError, match="metric 'roc_auc' is undefined: no validation example is of the class 'neg'"):
        resolved(options, **given, metric="roc_auc")
    swapped = {**given, "validation": given["test"], "test": given["validation"]}
    told = resolved(options, **swapped, metric="roc_auc").data.remarks
    assert "roc_auc is undefined on the test slice: none of its examples is of 'neg'" in told


def test_a_recipe_that_is_trained_again_needs_its_function_again(options: Options, files: Path) -> None:
    plan = resolved(options, metric=f"{files}/m.py:cost")
    again = {"space": "", "retrain": plan.search.base, "profile": "auto", "model": None, "dataset": None}
    with pytest.raises(ValueError, match=r"a function of one's own is given again: --metric FILE.py:cost"):
        resolved(options, **again, name="again")
    given = resolved(options, **again, name="again", metric=f"{files}/m.py:cost")
    assert given.search.base.training() == plan.search.base.training()
    with pytest.raises(ValueError, match="--set and --class-weights cannot be combined with --retrain"):
        resolved(options, **again, set=("warmup=0",))


@pytest.mark.parametrize("place", ["", "best", "best/recipe.json", "url"])
def test_a_run_directory_has_the_function_of_its_recipe(
    options: Options, files: Path, place: str, request: Any
) -> None:
    given = {"metric": f"{files}/m.py:cost", "name": "run"}
    if place == "url":
        given["url"] = request.getfixturevalue("url").rpartition("/")[0]
    plan = resolved(options, **given)
    planning.claim(plan)
    run = plan.place.run
    (run / "best").mkdir()
    (run / "best" / "recipe.json").write_text(plan.search.base.to_json())
    if place == "url":
        store = request.getfixturevalue("store")
        for name in ("metric.py", "best/recipe.json"):
            store.write(name, (run / name).read_bytes())
    shutil.rmtree(files)
    where = {"retrain": plan.place.url if place == "url" else run / place, "storage": options.storage}
    again = planning.resolve(api.options_of({**where, "name": "again"}))[0]
    assert (again.search.metric, again.search.files) == (plan.search.metric, {"metric.py": METRIC})
    other = planning.resolve(api.options_of({**where, "name": "other", "metric": "accuracy"}))[0]
    assert (other.search.metric.name, other.search.files) == ("accuracy", {})
    alone = shutil.copy(run / "best" / "recipe.json", options.storage)
    with pytest.raises(ValueError, match=r"is given again: --metric FILE\.py:cost"):
        planning.resolve(api.options_of({**where, "retrain": Path(alone), "name": "alone"}))
