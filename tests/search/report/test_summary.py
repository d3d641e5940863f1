"""The summary of a search, its table, the model card, and the sentences on how far the scores can be trusted."""

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frostline.search.plan.describe import limit, plan_lines
from frostline.search.plan.plan import Plan
from frostline.search.report import summary as summaries
from frostline.search.report.card import model_card
from frostline.search.report.references import Reference, references
from frostline.search.report.verdict import Evidence, verdict
from frostline.spaces import Budget, Metric
from frostline.trainables import _family
from tests.search.altered import altered
from tests.search.made import FRESH, NOTHING, Clock, confirm_all, session, summary, taken, train, with_budget


def test_the_winner_is_shown_with_the_intervals_of_its_scores() -> None:
    assert summaries.score_rows(summary()) == [
        ("winner: trial 5, seed 3", "0.8600", "0.8175"),
        ("  95 % interval", "", "0.780 to 0.855"),
        ("  expected of its recipe", "0.8350", ""),
        ("  95 % interval", "0.790 to 0.880", ""),
        ("  mean of 3 fresh seeds", "0.8400", ""),
        ("  as first found", "0.8800", ""),
    ]


@pytest.mark.parametrize(
    ("metric", "imbalance", "shown"), [("accuracy", 49.0, True), ("accuracy", 4.0, False), ("macro_f1", 49.0, False)]
)
def test_macro_f1_stands_beside_an_accuracy_of_classes_far_out_of_balance(
    metric: str, imbalance: float, shown: bool
) -> None:
    metrics = {"accuracy": 0.98, "macro_f1": 0.495}
    best = {**summary()["best"], "metrics": metrics}
    rows = summaries.score_rows(summary(metric=metric, best=best, test=metrics, data={"imbalance": imbalance}))
    assert (("  its macro_f1", "0.4950", "0.4950") in rows) is shown
    assert rows[0][0].startswith("winner"), "the model card takes the first row"
    untested = summaries.score_rows(summary(best=best, test=None, data={"imbalance": 49.0}, test_interval=None))
    assert ("  its macro_f1", "0.4950", "") in untested


def test_without_confirmation_the_winner_is_a_trial() -> None:
    rows = summaries.score_rows(summary(confirmed=[], tied=[]))
    assert rows == [("winner: trial 5", "0.8600", "0.8175"), ("  95 % interval", "", "0.780 to 0.855")]


def test_a_test_score_may_be_undefined_and_the_json_stays_json() -> None:
    nan = math.nan
    metric = Metric(name="roc_auc", may_be_undefined=True)
    assert summaries.optimism(metric, 0.9, {"roc_auc": nan}) is None
    found = summary(metric="roc_auc", test={"roc_auc": nan}, test_interval=None, optimism=None, confirmed=[], tied=[])
    assert summaries.score_rows(found) == [("winner: trial 5", "0.8600", "undefined")]
    assert verdict(Evidence.of_summary(found)) == []
    read = json.loads(summaries.dump(found), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert read["test"] == {"roc_auc": None}
    assert summaries.score_rows(read) == [("winner: trial 5", "0.8600", "")]


def test_without_a_test_score_its_cell_is_empty() -> None:
    rows = summaries.score_rows(summary(confirmed=[], tied=[], test=None, test_interval=None, optimism=None))
    assert rows == [("winner: trial 5", "0.8600", "")]
    assert summaries.score_rows(summary(**NOTHING)) == []


TWO = summary()["confirmed"]
FAILED = {**TWO[1], "failed": 1, "scores": (0.9, 0.91), "mean": 0.905}
TIED = (
    "Tied, cheapest training first: trial 2 (13 s), trial 5 (31 s). Their scores differ by no more than chance, and by "
    "little if they do."
)
ANOTHER = (
    "Another seed of trial 5 scores within 0.031 of the 0.8350 that its recipe is expected to score, with a "
    "probability of 95 %."
)
CHANCE = (
    "Validation minus test: +0.0425. Two things cause it: chance, and optimism, since validation chose the best of {} "
    "trainings."
)


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {},
            [
                f"{TIED} Trial 5 is exported: it is expected to score best.",
                ANOTHER,
                CHANCE.format(12 + 6),
            ],
        ),
        (
            {"confirmed": TWO[::-1]},
            [
                f"{TIED} Trial 2 is exported: it trains fastest (--prefer best takes trial 5).",
                ANOTHER.replace("5", "2", 1).replace("0.8350", "0.8320"),
                CHANCE.format(12 + 6),
            ],
        ),
        (
            {"tied": []},
            [
                "Trial 5 is the best of 2 recipes trained again, with a probability of 62 %.",
                ANOTHER,
                CHANCE.format(12 + 6),
            ],
        ),
        ({"tied": [], "confirmed": TWO[:1]}, [ANOTHER, CHANCE.format(12 + 3)]),  # there is no other recipe
        ({"tied": [], "confirmed": []}, [CHANCE.format(12)]),
        (
            {"tied": [], "confirmed": [TWO[0], FAILED]},  # its failure makes it second, not a test
            [ANOTHER, "Trial 2 failed with 1 of its fresh seeds.", CHANCE.format(12 + 6)],
        ),
        (
            {"tied": [], "confirmed": [], "test_reads": 2},
            [CHANCE.format(12), "The test set was read 2 times: the search went on after its first winner."],
        ),
        ({"tied": [], "confirmed": [], "optimism": None}, []),
        (NOTHING, []),
    ],
)
def test_how_far_the_scores_can_be_trusted(changes: dict[str, Any], sentences: list[str]) -> None:
    assert verdict(Evidence.of_summary(summary(**changes))) == sentences


def test_where_less_is_better_the_difference_is_turned_round() -> None:
    evidence = Evidence.of_summary(summary(better="lower", tied=[], confirmed=[]))
    assert verdict(evidence)[0].startswith("Test minus validation: +0.0425.")
    earlier = summary(tied=[], confirmed=[])
    del earlier["better"]  # a summary of an earlier version: larger was always better
    assert verdict(Evidence.of_summary(earlier))[0].startswith("Validation minus test: +0.0425.")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "12"),
        ({"seconds": 1800.0}, "12, or as many as fit into 30 min"),
        ({"trials": None, "seconds": 5400.0}, "as many as fit into 1 h 30 min"),
        ({"trials": None, "seconds": 100.0}, "as many as fit into 1 min 40 s"),
    ],
)
def test_the_number_of_trials_in_words(changes: dict[str, Any], text: str) -> None:
    assert limit(dataclasses.replace(Budget(trials=12, epochs=2, first_rung=1), **changes)) == text


def test_the_plan_describes_checkpoints_and_confirmation(plan: Plan) -> None:
    lines = dict(plan_lines(plan))
    assert lines["confirm"] == (
        "the best recipes again with fresh seeds, 3 at most, until one of them wins, or 6 times: at most 12 epochs; "
        "the cheapest of tied recipes is exported"
    )
    one = dict(plan_lines(altered(with_budget(plan, confirm_recipes=1), prefer="best")))
    assert lines["baseline"] == (
        "TF-IDF with logistic regression, trained on the same rows beside the trials, in 30 s at most; the result "
        "compares the winner"
    )
    assert "baseline" not in dict(plan_lines(altered(plan, baseline=""))), "a family without one, or an older plan"
    assert one["confirm"] == "the best recipe again, with 2 fresh seeds: at most 4 epochs"
    assert "every 30 s" in lines["safety"]
    assert "up to 2 times" in lines["safety"]
    timed = dict(plan_lines(with_budget(plan, trials=None, seconds=60.0, confirm_seeds=0)))
    assert timed["confirm"] == "off: the best trial wins without being trained again"
    assert "epochs" not in timed, "their number is not known"
    assert timed["trials"].startswith("as many as fit into 1 min, of up to 2 epochs")
    none = "none: every trial trains to its end"
    assert lines["rungs"].startswith(f"{none} (there are fewer than 60); measured after")
    assert lines["epochs"] == "at worst 24"
    at_the_end = with_budget(plan, first_rung=2)
    assert dict(plan_lines(at_the_end))["rungs"].startswith(f"{none}; measured after")
    stopping = dict(plan_lines(altered(plan, rungs=(1.0,))))
    assert stopping["rungs"].startswith("after 1 epoch a trial stops if a new one promises twice as much a second")
    assert "not before 6 of them, 25 steps and its warm-up; measured after" in stopping["rungs"]
    assert stopping["epochs"] == "at worst 24; fewer where trials are stopped at a rung"


def test_the_summary_holds_the_results_of_a_search(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=3, confirm_recipes=2, confirm_seeds=2)
    ledger = session(plan, clock)
    for score in (0.7, 0.9, 0.8):
        train(ledger, clock, taken(ledger), score - 0.05, score)
    confirm_all(ledger, clock, {1: (0.6, 0.7), 2: (0.82, 0.84, 0.83)})
    won = ledger.conclusions.winner()
    assert won is not None
    ledger.conclusions.add_test(*won, {"metrics": {"accuracy": 0.8, "loss": 0.2}, "interval": (0.75, 0.85)})
    rows = [Reference(name="majority class", validation=0.5, test=0.5)]
    rows += references(ledger.trials, plan.search.metric)
    result = summaries.summary(plan, _family.load(plan.search.base.family), ledger, rows)
    assert result["best"]["number"] == 2
    assert (result["best"]["seed"], result["best"]["validation"], result["best"]["found"]) == (FRESH + 1, 0.84, 0.8)
    assert {row["number"]: pytest.approx(row["mean"]) for row in result["confirmed"]} == {2: 0.83, 1: 0.65}
    assert result["tied"] == []
    assert result["optimism"] == pytest.approx(0.04)
    assert (result["test_reads"], result["test_interval"]) == (1, [0.75, 0.85])
    assert {outcome: count for outcome, count in result["counts"].items() if count} == {"complete": 3}
    assert json.loads(summaries.dump(result))["best"] == result["best"]
    typed = summary()  # the one that other tests use
    assert typed.keys() <= result.keys()
    assert typed["best"].keys() <= result["best"].keys()
    assert typed["confirmed"][0].keys() <= result["confirmed"][0].keys()
    assert typed["counts"].keys() == result["counts"].keys()
    text = io.StringIO()
    Console(file=text, width=120).print(summaries.table(result))
    for part in (f"winner: trial 2, seed {FRESH + 1}", "0.8400", "majority class", "linear probe", "default"):
        assert part in text.getvalue()
    card = model_card(result, plan, _family.load(plan.search.base.family))
    assert "| this model | 0.8400 | 0.8000" in card
    others = ", ".join(f"{name} {value:.4f}" for name, value in result["test"].items() if name != "accuracy")
    assert others
    assert f"Other scores of this model on the test set: {others}." in card
    assert f"base_model: {Path(plan.search.base.model).name}\nlibrary_name: transformers\n" in card
    assert f'model="{plan.place.run.name}/best"' in card
    for place in (plan.search.base.model, plan.search.base.data.source, str(plan.place.run)):
        assert Path(place).is_absolute()
        assert place not in card, "the card goes with the model to other machines"
    assert "of 3, counted from the input" in card
    assert "- at most 24 tokens" in card
    assert result["load"] == f'transformers.pipeline("text-classification", "{plan.place.run}/best", truncation=True)'
    assert all(line in card for line in verdict(Evidence.of_summary(result)))
