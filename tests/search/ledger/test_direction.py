"""Where a lower metric is better, every decision is that of a search for a higher one."""

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from frostline.search.ledger import confirm
from frostline.search.ledger.confirm import Judge
from frostline.search.ledger.rungs import Rungs
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import Metric
from tests.search import made
from tests.search.altered import altered
from tests.search.ledger.test_study import Told, sequence
from tests.search.made import AXES, FRESH, METRIC, Clock, apart, confirm_all, session, taken, train, with_budget
from tests.search.tune.test_hooks import TAUGHT, Tune, many, taught
from tests.told import said

LOSS, SCORE = Metric(name="loss", better="lower"), Metric(name="score")
LOSSES = (0.75, 0.125, 0.5, 0.25)
"""The trial with the smallest is number 1. The fractions are exact, so that turning them round loses nothing."""


def trial(number: int, outcome: Outcome, *scores: float, **more: Any) -> Trial:
    """A trial of a recipe of its own."""
    return made.trial(number, outcome, *scores, params=apart(number), **more)


def turned(metric: Metric, *scores: float) -> list[float]:
    """Objectives of accuracies, or of the losses that are 1 less the accuracies."""
    return [metric.objective(score if metric.better == "higher" else 1 - score) for score in scores]


def test_the_smallest_loss_ranks_first() -> None:
    trials = [trial(number, Outcome.COMPLETE, LOSS.objective(loss)) for number, loss in enumerate(LOSSES)]
    ranking = trial_records.Ranking()
    for each in trials:
        ranking.put(each)
    assert [each.number for each in ranking] == [1, 3, 2, 0]
    assert trial_records.top(trials, 2) == [trials[1], trials[3]]
    assert trial_records.winner(trials) == trials[1]


def test_the_best_report_is_the_one_with_the_smallest_loss() -> None:
    made = trial(0, Outcome.PRUNED, *map(LOSS.objective, (0.5, 0.25, 0.75)))
    assert made.best is not None
    assert (made.best.epoch, LOSS.value(made.objective)) == (2.0, 0.25)


def runs(metric: Metric, number: int, *scores: float, seconds: float = 10.0) -> list[Trial]:
    return [
        trial(number, Outcome.COMPLETE, objective, seed=seed, seconds=seconds)
        for seed, objective in enumerate(turned(metric, *scores), start=1)
    ]


@pytest.mark.parametrize("metric", [SCORE, LOSS], ids=str)
def test_the_same_recipes_are_confirmed_tied_and_win(metric: Metric) -> None:
    found = turned(metric, 0.625, 0.875, 0.75, 0.5)
    trials = [trial(number, Outcome.COMPLETE, objective) for number, objective in enumerate(found)]
    confirming = [
        *runs(metric, 0, 0.25, 0.2578125, 0.265625),
        *runs(metric, 1, 0.6875, 0.75, 0.8125, seconds=20.0),
        *runs(metric, 2, 0.6875, 0.75, 0.8125, seconds=30.0),
    ]
    rows = confirm.confirmed(trials, confirming, Judge(metric=metric, examples=400, prefer="best", axes=AXES))
    assert [row.number for row in rows] == [1, 2, 0]
    assert [row.mean for row in rows] == [
        metric.value(objective) for objective in turned(metric, 0.75, 0.75, 0.2578125)
    ]
    assert [row.found for row in rows] == [metric.value(found[row.number]) for row in rows]
    for row in rows:
        assert row.interval[0] <= row.estimate <= row.interval[1]
    assert sum(row.chance for row in rows) == pytest.approx(1)
    best = confirm.winner(trials, confirming, rows)
    assert best is not None
    assert best.key == (1, 3)


def test_a_smaller_mean_loss_wins_over_the_luckiest_loss() -> None:
    trials = [trial(number, Outcome.COMPLETE, LOSS.objective(loss)) for number, loss in enumerate((0.125, 0.25))]
    confirming = [
        trial(number, Outcome.COMPLETE, LOSS.objective(loss), seed=seed)
        for number, losses in enumerate(((0.5, 0.75), (0.375, 0.25)))
        for seed, loss in enumerate(losses, start=1)
    ]
    first, second = confirm.confirmed(trials, confirming, Judge(metric=LOSS, examples=400, prefer="best", axes=AXES))
    assert (first.number, first.scores, first.mean, first.found) == (1, (0.375, 0.25), 0.3125, 0.25)
    assert (second.number, second.mean, second.found) == (0, 0.625, 0.125)


# --- the study -------------------------------------------------------------------------------------


def test_the_best_value_of_a_study_of_losses_is_the_smallest(tmp_path: Path) -> None:
    told = Told(tmp_path / "study.journal", metric=LOSS)
    for loss in LOSSES:
        number = told.ask()
        told.report(number, 100, LOSS.objective(loss + 0.125))
        told.report(number, 200, LOSS.objective(loss))
        told.end(number, Outcome.COMPLETE)
    for _ in range(2):
        storage = JournalStorage(JournalFileBackend(str(told.path)))
        stored = optuna.load_study(study_name="test", storage=storage)
        assert stored.direction == optuna.study.StudyDirection.MINIMIZE
        assert (stored.best_value, stored.best_trial.number) == (0.125, 1)
        assert [each.value for each in stored.trials[:4]] == list(LOSSES)
        assert stored.trials[1].intermediate_values == {100: 0.25, 200: 0.125}
        told.open()


@pytest.mark.parametrize("again", [False, True])
def test_suggestions_for_losses_are_those_for_the_scores_that_they_are_the_negative_of(
    tmp_path: Path, again: bool
) -> None:
    scores = sequence(tmp_path / "scores", again=False, metric=SCORE)
    assert sequence(tmp_path / "losses", again=again, metric=LOSS) == scores
    upside_down = sequence(tmp_path / "upside down", again=False, metric=SCORE, sign=-1)
    assert upside_down != scores, "the direction matters"


# --- the rungs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_rung_decides_the_same_for_losses(plan: Plan, seed: int) -> None:
    rng, made = random.Random(seed), many(plan)
    rungs = {metric.name: Rungs(altered(made, metric=metric)) for metric in (METRIC, LOSS)}
    decided = []
    for number in range(30):
        good = rng.randrange(64)
        for epoch in made.schedule.report_at:
            score = (good + rng.randrange(8)) / 64
            stops = [
                rungs[metric.name].stops(number, {}, said(epoch, *turned(metric, score), 0.0, metrics={}))
                for metric in (METRIC, LOSS)
            ]
            assert stops[0] == stops[1]
            decided.append(stops[0])
            if stops[0]:
                break
    assert set(decided) == {True, False}


def test_a_rung_lets_the_smaller_loss_pass(plan: Plan, clock: Clock) -> None:
    tune = Tune(altered(many(plan), metric=LOSS), clock)
    taught(tune)
    good, bad = tune.start(), tune.start()
    assert not tune.report(good, 1, LOSS.objective(0.1))
    assert tune.report(bad, 1, LOSS.objective(0.9))
    assert tune.report(good, 2, LOSS.objective(0.2))
    assert tune.records[-2:] == [(TAUGHT, Outcome.COMPLETE, ""), (TAUGHT + 1, Outcome.PRUNED, "")]


# --- the ledger ------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [SCORE, LOSS], ids=str)
def test_a_whole_search_confirms_and_keeps_the_same_trials(plan: Plan, clock: Clock, metric: Metric) -> None:
    plan = altered(with_budget(plan, trials=3, confirm_recipes=2, confirm_seeds=2), metric=metric)
    ledger, asked = session(plan, clock), list[tuple[int, int]]()
    for objective in turned(metric, 0.5, 0.875, 0.75):
        job = taken(ledger)
        asked.append(job.key)
        train(ledger, clock, job, objective, objective)
        assert ledger.task(job).best == objective
    fresh = {1: (0.625, 0.5625), 2: (0.8125, 0.6875)}
    scores = {number: tuple(turned(metric, *each)) for number, each in fresh.items()}
    asked += [job.key for job in confirm_all(ledger, clock, scores)]
    assert asked[:4] == [(0, 0), (1, 1), (2, 2), (1, FRESH)]
    assert {*asked[4:]} == {(2, FRESH), (2, FRESH + 1), (1, FRESH + 1)}
    won: Any = ledger.conclusions.winner()
    assert (won[0].key, won[1]) == ((2, FRESH), "confirm/00002-1000000")
    assert [(row.number, row.mean) for row in ledger.conclusions.confirmed()] == [
        (number, metric.value(*turned(metric, mean))) for number, mean in ((2, 0.75), (1, 0.59375))
    ]
    storage = JournalStorage(JournalFileBackend(str(plan.place.run / "study.journal")))
    stored = optuna.load_study(study_name=plan.search.space, storage=storage)
    assert stored.best_trial.number == 1
