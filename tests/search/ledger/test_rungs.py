"""What stops a trial at a rung. Numbers of trials and epochs are those of one plan: rungs after 0.5, 1 and 2 of 3."""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frostline.search.ledger import rungs
from frostline.search.ledger.rungs import Rungs
from frostline.search.plan import budget as budgets
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Line, Outcome
from tests.search import runs
from tests.search.altered import altered
from tests.search.made import line, with_budget

TRIALS = 80


def plan_with(**budget: Any) -> Plan:
    plan = with_budget(runs.plan_of(Path("run")), **{"trials": TRIALS, **budget})
    return altered(plan, rungs=budgets.rungs(plan.budget), report_at=budgets.report_points(plan.budget))


def shows(
    number: int, epoch: float, score: float, loss: float = math.nan, train_loss: float = math.nan, **more: Any
) -> Line:
    """A report of a trial."""
    named = {"accuracy": score, "loss": loss, "train_loss": train_loss}
    metrics = {name: value for name, value in named.items() if not math.isnan(value)}
    told = {"epoch": epoch, "samples": int(800 * epoch), "step": int(100 * epoch), "partial": epoch < 1}
    told |= {"seconds": 10.0 * epoch, **more}
    return line(number, Outcome.RUNNING, score, metrics=metrics, **told)


Shown = tuple[float, float, float]
"""Score, validation loss and training loss at the first rung."""
Signal = Callable[[random.Random, float], Shown]
"""What a trial shows there, by its final score."""


def blind(dice: random.Random, good: float) -> Shown:
    return dice.random(), dice.random(), dice.random()


def clear(dice: random.Random, good: float) -> Shown:
    return good / 2, 2 - good, 1 - good


def by_loss(dice: random.Random, good: float) -> Shown:
    return dice.random(), 2 - good, dice.random()


def by_training_loss(dice: random.Random, good: float) -> Shown:
    return dice.random(), dice.random(), 2 - good


def misleading(dice: random.Random, good: float) -> Shown:
    return -good, dice.random(), dice.random()


def after(plan: Plan, count: int, signal: Signal, seed: int = 0) -> Rungs:
    """The rungs when trials 0 to `count` - 1 have been trained whole."""
    made, dice = Rungs(plan), random.Random(seed)
    for number in range(count):
        good = dice.random()
        made.stops(number, {}, shows(number, 0.5, *signal(dice, good)))
        assert made.stops(number, {}, shows(number, 3.0, good))
    return made


def stopped(plan: Plan, known: int, signal: Signal, good: float, tries: int = 20) -> int:
    """How many of `tries` trials that will score `good` stop at the first rung, each in a search of its own."""
    dice = random.Random(1)
    return sum(
        after(plan, known, signal, seed).stops(99, {}, shows(99, 0.5, *signal(dice, good))) for seed in range(tries)
    )


@pytest.mark.parametrize("signal", [clear, by_loss, by_training_loss])
def test_a_signal_that_ranks_stops_the_losers_and_no_winner(signal: Signal) -> None:
    assert stopped(plan_with(), 15, signal, 0.1) == 20
    assert stopped(plan_with(), 15, signal, 0.95) == 0


@pytest.mark.parametrize("signal", [blind, misleading])
@pytest.mark.parametrize("known", [6, 15, 60])
def test_a_signal_that_says_nothing_stops_next_to_nothing(signal: Signal, known: int) -> None:
    assert stopped(plan_with(), known, signal, 0.1) <= 2
    assert stopped(plan_with(), known, signal, 0.95) <= 2


@pytest.mark.parametrize("known", range(8))
def test_nothing_stops_before_six_trials_were_trained_whole(known: int) -> None:
    assert after(plan_with(), known, clear).stops(99, {}, shows(99, 0.5, -1.0, 9.0, 9.0)) == (known >= 6)


@pytest.mark.parametrize(
    ("changes", "params", "report", "stops"),
    [
        ({}, {}, {}, True),
        ({}, {}, {"step": 24}, False),
        ({}, {}, {"step": 25}, True),
        ({}, {"warmup": 0.2}, {}, False),  # to 0.6 epochs
        ({}, {"warmup": 0.1}, {}, True),
        ({"trials": 60}, {}, {}, True),
        ({"trials": None, "seconds": 800.0}, {}, {}, False),  # 2 slots; a whole training takes 30 s
        ({"trials": None, "seconds": 900.0}, {}, {}, True),
        ({"seconds": 800.0}, {}, {}, False),
    ],
)
def test_the_budget_and_the_warm_up_allow_it(
    changes: dict[str, Any], params: dict[str, Any], report: dict[str, Any], stops: bool
) -> None:
    made, loser = Rungs(plan_with(**changes)), shows(99, 0.5, -1.0, 9.0, 9.0, **report)
    for number in range(12):
        made.stops(number, {}, shows(number, 0.5, number / 20, 2 - number / 20))
        made.stops(number, {}, shows(number, 3.0, number / 12, seconds=30.0))
    assert made.stops(99, params, loser) == stops


def test_a_search_of_few_trials_has_no_rungs() -> None:
    assert not after(plan_with(trials=59), 15, clear).stops(99, {}, shows(99, 0.5, -1.0, 9.0, 9.0))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_says_nothing(value: float) -> None:
    made = after(plan_with(), 15, clear)
    assert not made.stops(99, {}, shows(99, 0.5, value, value, value))
    assert made.stops(98, {}, shows(98, 0.5, value, 2.0, value)), "the loss says it all"
    assert not made.stops(97, {}, shows(97, 0.5, value, 0.9, value))
    made.stops(96, {}, shows(96, 3.0, value))
    assert made.stops(95, {}, shows(95, 0.5, 0.0, 2.0, 1.0)), "it had no score in the end, and is no companion"


def test_a_trial_that_showed_nothing_there_is_ranked_last() -> None:
    made = Rungs(plan_with())
    for number in range(12):
        loss = {} if number < 3 else {"loss": 2 - number / 20}
        made.stops(number, {}, shows(number, 0.5, 0.5, **loss))
        made.stops(number, {}, shows(number, 3.0, number / 12))
    assert made.stops(99, {}, shows(99, 0.5, 0.5, 1.9))
    assert not made.stops(98, {}, shows(98, 0.5, 0.5, 1.4))


@pytest.mark.parametrize(("epoch", "stops"), [(0.5, True), (0.51, True), (1.0, False), (2.0, False)])
def test_a_report_is_compared_with_those_that_were_made_for_the_same_rung(epoch: float, stops: bool) -> None:
    assert after(plan_with(), 15, clear).stops(99, {}, shows(99, epoch, -1.0, 9.0, 9.0)) == stops


def test_at_whole_epochs_between_the_rungs_nothing_stops() -> None:
    plan = plan_with(epochs=4, first_rung=0.5, reduction_factor=3)
    assert (plan.schedule.rungs, plan.schedule.report_at) == ((0.5, 1.5), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0))
    made = Rungs(plan)
    for number in range(15):
        for epoch in plan.schedule.report_at:
            made.stops(number, {}, shows(number, epoch, number / 20, 2 - number / 20))
    decided = {epoch: made.stops(99, {}, shows(99, epoch, -1.0, 9.0)) for epoch in plan.schedule.report_at}
    assert decided == {0.5: True, 1.0: False, 1.5: True, 2.0: False, 3.0: False, 4.0: True}


def test_the_best_report_on_all_examples_is_the_final_score() -> None:
    """A trial that gets worse counts with its best epoch, and a part of the examples does not count."""
    made = Rungs(plan_with())
    for number in range(12):
        made.stops(number, {}, shows(number, 0.5, 9.0, 2 - number / 20))
        made.stops(number, {}, shows(number, 1.0, number / 12))
        made.stops(number, {}, shows(number, 3.0, 0.0))
    assert made.stops(99, {}, shows(99, 0.5, 9.0, 2.0))
    assert not made.stops(98, {}, shows(98, 0.5, 9.0, 1.4))


def test_a_report_seen_twice_counts_once() -> None:
    once, twice, dice = Rungs(plan_with()), Rungs(plan_with()), random.Random(0)
    for number in range(30):
        good = dice.random()
        for report in (shows(number, 0.5, good / 2, 2 - good), shows(number, 3.0, good)):
            decided = once.stops(number, {}, report)
            assert [twice.stops(number, {}, report) for _ in range(3)] == [decided] * 3


# --- the probability -----------------------------------------------------------------------------


def drawn(correlation: float, count: int, seed: int) -> tuple[Any, Any]:
    """[count, 1] signals and [count] final objectives, normal, with this correlation."""
    dice = np.random.default_rng(seed)
    ends = dice.normal(size=count)
    return (correlation * ends + math.sqrt(1 - correlation**2) * dice.normal(size=count))[:, None], ends


def test_without_a_signal_a_trial_is_as_good_as_any_other() -> None:
    shown, finals = drawn(0.5, 20, 0)
    assert rungs.chance([math.nan], shown, finals, 5) == pytest.approx(5 / 21)
    assert not rungs.gives_way([math.nan], shown, finals, 0.99)


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.8])
def test_the_probability_is_right_on_average(correlation: float) -> None:
    said, were = [], []
    for seed in range(400):
        shown, finals = drawn(correlation, 21, seed)
        said.append(rungs.chance(shown[-1], shown[:-1], finals[:-1], 5))
        were.append((finals[:-1] > finals[-1]).sum() < 5)
    said_low = np.array(said) <= np.median(said)
    assert np.mean(said) == pytest.approx(np.mean(were), abs=0.05)
    assert np.array(said)[said_low].mean() == pytest.approx(np.array(were)[said_low].mean(), abs=0.06)


def test_only_ranks_count() -> None:
    shown, finals = drawn(0.8, 20, 1)
    found = rungs.chance([0.3], shown, finals, 5)
    assert rungs.chance([math.exp(0.3)], np.exp(shown), 100 + np.exp(finals), 5) == pytest.approx(found)


@pytest.mark.parametrize("finals", [[0.5] * 8, [0.5] * 7 + [0.6]])
def test_equal_scores_stop_nothing(finals: Sequence[float]) -> None:
    shown = np.linspace(0, 1, 8)[:, None]
    assert not rungs.gives_way([-1.0], shown, np.array(finals), 0.5)


# --- decisions that outlive a session ------------------------------------------------------------


def search(plan: Plan, dice: random.Random, slots: int = 3) -> list[tuple[Line, bool]]:
    """The reports of a search in the order they come in, and what was decided."""
    made, points = Rungs(plan), plan.schedule.report_at
    waiting, running, found = list(range(TRIALS)), dict[int, int](), list[tuple[Line, bool]]()
    good = [dice.choice([0.1 * dice.randrange(10), dice.random()]) for _ in range(TRIALS)]  # equals come, too
    while waiting or running:
        while waiting and len(running) < slots:
            running[waiting.pop(0)] = 0
        number = dice.choice(sorted(running))
        epoch = points[running[number]]
        score = good[number] * epoch / 3 + 0.05 * dice.random()
        score = math.nan if number > 4 and dice.random() < 0.05 else score
        report = shows(number, epoch, score, 2 - score, time=float(len(found)), params={"warmup": 0.1})
        decided = made.stops(number, report.params, report)
        found.append((report, decided))
        running[number] += 1
        if decided:
            del running[number]
    return found


@pytest.mark.parametrize("changes", [{}, {"epochs": 9, "reduction_factor": 3.0}, {"seconds": 900.0}], ids=str)
def test_after_a_replay_the_decisions_are_those_of_a_search_that_was_never_interrupted(changes: dict[str, Any]) -> None:
    plan = plan_with(**changes)
    found = search(plan, random.Random(0))
    early = [decided for report, decided in found if report.epoch < plan.budget.epochs]
    assert any(early)
    assert not all(early)
    for cut in range(0, len(found), 7):
        earlier, later = found[:cut], found[cut:]
        again, last = Rungs(plan), {report.number: decided for report, decided in earlier}
        ended = again.replay(trial_records.collect(report for report, _ in earlier))
        assert ended == {number for number, decided in last.items() if decided}
        assert [again.stops(r.number, r.params, r) for r, _ in later] == [decided for _, decided in later]


def test_the_replay_goes_by_the_time_of_the_reports_not_by_the_trials_numbers() -> None:
    known = [
        report
        for number in range(1, 13)
        for report in (
            shows(number, 0.5, number / 20, 2 - number / 20, time=number),
            shows(number, 3.0, number / 12, time=number + 0.5),
        )
    ]
    late, early = (shows(0, 0.5, -1.0, 9.0, time=time) for time in (99.0, 0.0))
    assert 0 in Rungs(plan_with()).replay(trial_records.collect([late, *known]))
    assert 0 not in Rungs(plan_with()).replay(trial_records.collect([early, *known])), "nothing was known yet"


def test_a_trial_that_went_on_after_all_is_not_among_the_stopped() -> None:
    known = [
        report
        for number in range(12)
        for report in (
            shows(number, 0.5, number / 20, 2 - number / 20, time=number),
            shows(number, 3.0, number / 12, time=number + 0.5),
        )
    ]
    lines = [shows(99, 0.5, -1.0, 9.0, time=50.0), shows(99, 1.0, 0.9, 0.1, time=51.0)]
    assert 99 in Rungs(plan_with()).replay(trial_records.collect([*known, lines[0]]))
    assert 99 not in Rungs(plan_with()).replay(trial_records.collect([*known, *lines]))
