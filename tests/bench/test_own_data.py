"""A user's own data: the held-out rows, the model at a budget, intervals, and what is read from the systems."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests import tiny
from tests.bench import settings
from tests.bench.job import Job
from tests.bench.own_data import answers, report, results, rows, systems
from tests.bench.own_data.results import Point, Result
from tests.bench.peers import scikit

NAMES = {letter: settings.SYSTEMS[letter] for letter in settings.WORKLOADS["own-data"]}


def point(seconds: float, right: str = "1110") -> Point:
    return Point(seconds=seconds, validation=0.5, right=right)


def result(system: str = "OL", points: tuple[Point, ...] = (), **more: Any) -> Result:
    fields: dict[str, Any] = {
        "seed": 0,
        "budget": None,
        "allowed": 600.0,
        "finished": False,
        "wall": 600.0,
        "cpu": 1000.0,
        "memory": 1e9,
        "told": None,
        "fingerprint": "x",
        "where": ("Machine: one, load 1.5 at the start; today",),
        **more,
    }
    return Result(system=system, points=points, **fields)


# The rows


def test_held_out_rows_are_the_same_for_all_and_nobody_has_seen_them() -> None:
    table = [(f"text {number}", str(number % 2)) for number in range(100)]
    own, held_out = rows.cut(table, 30)
    assert (own, held_out) == rows.cut(table, 30)
    assert (len(own), len(held_out)) == (70, 30)
    assert {*own, *held_out} == {*table}
    assert held_out != table[:30], "a file may be sorted by its labels"
    assert rows.cut(table, 30, seed=1)[1] != held_out


def test_a_text_that_is_there_twice_is_not_on_both_sides() -> None:
    table = [(f"text {number % 40}", "a") for number in range(80)]
    own, held_out = rows.cut(table, 20)
    assert (len(own), len(held_out)) == (20, 20)
    assert not {text for text, _ in own} & {text for text, _ in held_out}


@pytest.mark.parametrize("test", [0, 81, 100])
def test_a_user_has_some_rows(test: int) -> None:
    with pytest.raises(ValueError, match=f"--test {test}: there are 100 different rows"):
        rows.cut([(str(number), "a") for number in range(100)], test)


def test_the_peers_validate_on_a_tenth() -> None:
    table = [(str(number), "a") for number in range(50)]
    train, validation = rows.validated(table)
    assert (len(train), len(validation)) == (45, 5)
    assert [*train, *validation] == table


def test_the_length_leaves_95_of_100_texts_whole() -> None:
    lengths = [*range(1, 101)]
    assert rows.covering(lengths, 512) == 95
    assert rows.covering(lengths, 64) == 64
    assert rows.covering([7], 512) == 7


# The model at a budget


def test_a_system_is_asked_for_the_model_that_it_has_when_the_time_is_over() -> None:
    run = result(points=(point(70), point(120), point(400)))
    assert [run.at(minutes) for minutes in (1, 2, 5, 7)] == [None, run.points[1], run.points[1], run.points[2]]
    assert result().at(5) is None


def test_frostline_is_asked_at_its_own_budget_though_it_be_late() -> None:
    run = result("F", (point(306),), budget=5.0, wall=306.0)
    assert (run.at(5), run.at(10)) == (run.points[0], None)


@pytest.mark.parametrize(
    ("minutes", "wall", "kept"),
    [(5, 299, True), (5, 320, True), (5, 321, False), (20, 1260, True), (20, 1261, False)],
)
def test_a_time_is_kept_to_a_twentieth_or_20_seconds(minutes: float, wall: float, kept: bool) -> None:
    assert result("F", budget=minutes, wall=float(wall)).kept_its_time is kept


def test_a_run_that_was_broken_off_earlier_has_to_be_done_again() -> None:
    assert result(allowed=600.0).covers([5, 10])
    assert not result(allowed=600.0).covers([5, 20])
    assert result(allowed=600.0, finished=True).covers([20])
    assert result("F", budget=5.0).covers([20]), "each of its budgets has a run"


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = result(points=(point(70), point(120)), told=0.5)
    assert results.load(tmp_path) is None
    run.save(tmp_path)
    assert results.load(tmp_path) == run


# Which runs


def test_frostline_has_a_run_for_each_budget_and_scikit_learn_one_in_all() -> None:
    plans = systems.planned(settings.order(("F", "T", "OL"), 2), (5.0, 10.0))
    assert [plan.name for plan in plans] == ["F-0-5m", "F-0-10m", "T-0", "OL-0", "OL-1", "F-1-5m", "F-1-10m"]


def test_the_command_line() -> None:
    full = settings.parse(["--workload", "own-data"])
    assert (full.budgets, full.datasets, full.repeat) == ((5.0, 10.0, 20.0), ("sentences", "reviews"), 3)
    assert (full.test, full.epochs) == (1000, 3)
    some = settings.parse(["--workload", "own-data", "--budgets", "10,5", "--datasets", "reviews", "--repeat", "1"])
    assert (some.budgets, some.datasets, some.repeat) == ((5.0, 10.0), ("reviews",), 1)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--budgets", "5,soon", "minutes with commas between"),
        ("--budgets", "0", "minutes are above 0"),
        ("--datasets", "poems", "there are sentences,reviews"),
    ],
)
def test_a_wrong_option_is_one_line(option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse(["--workload", "own-data", option, value])
    last = capsys.readouterr().err.splitlines()[-1]
    assert value in last
    assert message in last


# Intervals


def test_one_seed_has_the_interval_of_its_examples() -> None:
    right = np.random.default_rng(0).random(200) < 0.8
    expected = stats.ttest_1samp(right, 0).confidence_interval(0.95)
    for values in ([right], [right, right, right]):
        found = report.estimate(values)
        assert (found.mean - found.half, found.mean + found.half) == pytest.approx((expected.low, expected.high))


def test_where_only_seeds_differ_they_make_the_interval() -> None:
    of_seeds = [0.80, 0.84, 0.79]
    expected = stats.ttest_1samp(of_seeds, 0).confidence_interval(0.95)
    found = report.estimate([[score] * 50 for score in of_seeds])
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("spread", [(0.0, 0.35, 0.2), (0.01, 0.35, 0.2), (0.03, 0.35, 0.2)])
def test_the_interval_holds_the_truth_where_seeds_and_examples_are_drawn(spread: tuple[float, float, float]) -> None:
    """Three seeds on 200 rows; standard deviations of seeds, rows, and what is left."""
    rng, holds, tables = np.random.default_rng(0), 0, 400
    for _ in range(tables):
        seeds, examples, left = (
            rng.normal(scale=scale, size=size) for scale, size in zip(spread, ((3, 1), (1, 200), (3, 200)), strict=True)
        )
        found = report.estimate(seeds + examples + left)
        holds += abs(found.mean) <= found.half
    assert 0.92 <= holds / tables <= 0.99


def test_the_difference_pairs_rows_and_seeds() -> None:
    ours = {0: point(300, "1100"), 1: point(300, "1110"), 2: None}
    theirs = {0: point(20, "1000"), 1: None, 2: point(20)}
    found = report.difference(ours, theirs, once=False)
    assert found == report.estimate([[0, -1, 0, 0]])
    once = report.difference(ours, {0: point(20, "1111")}, once=True)
    assert once == report.estimate([[0, 0, 1, 1], [0, 0, 0, 1]])
    assert report.difference(ours, {}, once=False) is None


# The table


def cells(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return {line[0].split()[0]: line[1:] for line in lines[2:]}


def test_the_table_says_who_had_a_model_when() -> None:
    runs = [
        result("F", (point(299),), budget=5.0, wall=299.0, finished=True),
        result("F", (point(630, "1111"),), budget=10.0, wall=630.0, finished=True),
        result("T", (point(4.0, "1010"),), wall=5.0, finished=True),
        result("E", (point(400.0, "1010"),), wall=410.0, finished=True),
        result("OL", (point(200, "1000"), point(500, "1100"))),
        result("OL", seed=1),
    ]
    found = cells(report.table(runs, NAMES, (5.0, 10.0, 20.0)))
    assert [cell[:6] for cell in found["F"]] == ["0.7500", "", "1.0000", "", "not ru", "", "2", "299.0 "]
    assert found["F"][-1] == "299.0 / 630.0"
    assert (found["T"][0][:6], found["T"][-2:]) == ("0.5000", ["1", "4.0"])
    assert (found["E"][0], found["E"][2][:6]) == ("not done in time", "0.5000")
    assert [found["OL"][place][:6] for place in (0, 2)] == ["0.2500", "0.5000"]
    assert found["OL"][0].endswith("(1 of 2)")
    assert found["OL"][4] == "not run", "it was broken off after ten minutes"
    assert found["OL"][-1] == "600.0, broken off"
    assert "Y" not in found
    assert report.kept_time(runs) == [
        "F, 5 min: the time was kept in 1 of 1 runs; the last one ended 1.0 s early.",
        "F, 10 min: the time was kept in 1 of 1 runs; the last one ended 30.0 s late.",
    ]


def test_no_model_yet() -> None:
    assert cells(report.table([result("Y")], NAMES, (5.0,)))["Y"][0] == "no model yet"


# What is asked of the systems


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> rows.OwnData:
    folder = tmp_path_factory.mktemp("own")
    chosen = settings.parse(["--workload", "own-data", "--quick", "--out", str(folder)])
    made = rows.prepare(chosen, "sentences", folder / "data")
    assert rows.prepare(chosen, "sentences", folder / "data") == made, "it is not done again"
    return made


def job(data: rows.OwnData, system: str, folder: Path) -> Job:
    plan = systems.Planned(system=system, seed=1, budget=None)
    return systems.job_of(plan, data, settings.parse(["--workload", "own-data"]), folder, 2)


def test_the_peers_read_the_rows_that_are_in_the_files(data: rows.OwnData) -> None:
    (texts, labels), (asked, wanted) = rows.read(data.train), rows.read(data.test)
    assert data.sizes == (450, 50, 100) == (len(texts) - 50, 50, len(asked))
    tokens = Path(data.tokens)
    of_peers = [
        np.load(tokens / f"{split}-labels.npy", allow_pickle=False) for split in ("train", "validation", "test")
    ]
    classes = sorted({*labels})
    assert [classes[number] for number in np.concatenate(of_peers)] == [*labels, *wanted]
    assert np.diff(np.load(tokens / "train-offsets.npy", allow_pickle=False)).max() <= data.length


def test_other_test_rows_do_not_come_beside_runs_that_are_there(data: rows.OwnData) -> None:
    folder = Path(data.train).parent
    chosen = settings.parse(["--workload", "own-data", "--quick", "--test", "50", "--out", str(folder.parent)])
    with pytest.raises(SystemExit, match="holds runs of other test rows"):
        rows.prepare(chosen, "sentences", folder)


def test_kept_weights_answer_as_transformers_own_pipeline(data: rows.OwnData, tmp_path: Path) -> None:
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        data.model, num_labels=2, trust_remote_code=False
    )
    kept = job(data, "OL", tmp_path).kept(systems.DEFAULT, 1.0)
    model.save_pretrained(kept)
    texts, labels = rows.read(data.test)
    tokenizer = transformers.AutoTokenizer.from_pretrained(data.model, trust_remote_code=False)
    classify = transformers.pipeline(
        "text-classification", model=model, tokenizer=tokenizer, trust_remote_code=False, truncation=True
    )
    tokenizer.model_max_length = data.length
    classes = sorted({*labels})
    expected = [classes[int(answer["label"].removeprefix("LABEL_"))] for answer in classify(texts)]
    assert answers.of_weights(kept, data) == answers.digits(expected, labels)
    assert {*answers.of_weights(kept, data)} == {"0", "1"}


def test_each_recipe_and_epoch_has_its_own_folder(data: rows.OwnData, tmp_path: Path) -> None:
    own = job(data, "R", tmp_path)
    recipes = [systems.DEFAULT, {**systems.DEFAULT, "learning_rate": 2.1e-5}]
    assert len({own.kept(recipe, epoch) for recipe in recipes for epoch in (1.0, 2.0)}) == 4


def test_scikit_learns_script_says_when_it_was_done(
    data: rows.OwnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = job(data, "T", tmp_path)
    assert answers.of_script(tmp_path, data) is None
    monkeypatch.setattr(sys, "argv", ["scikit", str(own.save())])
    scikit.main()
    found = answers.of_script(tmp_path, data)
    assert found is not None
    assert found[0] == json.loads((tmp_path / answers.FITTED).read_text())
    assert found[1].count("1") / len(found[1]) > 0.9


def test_embeddings_do_not_depend_on_the_batch(data: rows.OwnData, tmp_path: Path) -> None:
    own = job(data, "E", tmp_path)
    texts = [text for text, _ in tiny.rows(40)]
    alone = np.concatenate([scikit.embed([text], own) for text in texts])
    assert scikit.embed(texts, own) == pytest.approx(alone, abs=1e-5)


def test_frostline_gets_the_files_and_the_time(data: rows.OwnData, tmp_path: Path) -> None:
    words = systems.command(systems.Planned(system="F", seed=2, budget=5.0), data, tmp_path)
    given = dict(zip(words[2::2], words[3::2], strict=True))
    assert [given[option] for option in ("--dataset", "--test", "--time-budget", "--seed")] == [
        data.train,
        data.test,
        "5m",
        "2",
    ]
