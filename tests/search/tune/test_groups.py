"""Trainings of heads only, given to a slot together: what the ledger hands out, and how Tune's hooks take them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from ray.tune.experiment import Trial

from frostline.search.ledger.rungs import Rungs
from frostline.search.plan.plan import Plan
from frostline.search.plan.prefix import Decision
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Line, Outcome
from frostline.trainables._task import Measured, Message, Task, TimeOver, Told
from tests.search.altered import altered
from tests.search.made import FRESH, Clock, session, with_budget
from tests.search.tune.test_hooks import Tune
from tests.told import NOTHING_YET, failed, said


@pytest.fixture
def cached(plan: Plan) -> Plan:
    """A plan that caches the whole body; three of its recipes, the second to the fourth, freeze all of it."""
    blocks = plan.search.models[plan.search.base.model].blocks
    kept = Decision(kept=(2, blocks), first_only=(blocks,), bytes=1.0, spent=1.0, saved=2.0)
    probe = plan.search.recipes["linear probe"]
    assert list(plan.search.recipes)[1:] == ["linear probe"]
    more = {f"probe at {rate}": probe | {"learning_rate": rate} for rate in (2e-4, 3e-4)}
    return keeping(altered(with_budget(plan, trials=30), recipes=plan.search.recipes | more), kept)


def keeping(plan: Plan, kept: Decision) -> Plan:
    """The plan with this prefix cache for each of its models."""
    models = {name: dataclasses.replace(model, prefix=kept) for name, model in plan.search.models.items()}
    return altered(plan, models=models)


def test_heads_that_wait_go_to_one_slot_and_nothing_else_does(cached: Plan, clock: Clock) -> None:
    ledger, blocks = session(cached, clock), cached.search.models[cached.search.base.model].blocks
    groups = [ledger.next_group() for _ in range(3)]
    depths = [[job.params["frozen_layers"] for job in group] for group in groups]
    assert depths[:2] == [[0], [blocks] * 3]
    assert groups[1][0].label == "linear probe"
    assert len(groups[2]) == 1
    assert depths[2][0] < blocks, "the first random point"
    numbers = [job.number for group in groups for job in group]
    assert numbers == list(range(len(numbers)))
    assert [{ledger.task(job).alone for job in group} for group in groups] == [{False}, {True}, {False}]


def test_without_the_cache_each_has_a_slot_of_its_own(cached: Plan, clock: Clock) -> None:
    kept = cached.search.models[cached.search.base.model].prefix
    ledger = session(keeping(cached, dataclasses.replace(kept, kept=(2,))), clock)
    assert [len(ledger.next_group()) for _ in range(6)] == [1] * 6


def test_a_group_is_never_larger_than_the_search(cached: Plan, clock: Clock) -> None:
    ledger = session(with_budget(cached, trials=3), clock)
    assert sum(len(ledger.next_group()) for _ in range(5)) == 3


def test_heads_that_confirm_are_a_group_too(cached: Plan, clock: Clock) -> None:
    ledger = session(with_budget(cached, trials=2, confirm_recipes=1, confirm_seeds=3), clock)
    (first,), (probe,) = ledger.next_group(), ledger.next_group()
    ledger.end(first, Outcome.FAILED, "loss is nan")
    for epoch in (1, 2):
        ledger.report(probe, said(epoch, 0.6, clock.now))
    ledger.end(probe, Outcome.COMPLETE)
    assert [(job.number, job.seed) for job in ledger.next_group()] == [(1, FRESH), (1, FRESH + 1), (1, FRESH + 2)]


def group(tune: Tune) -> Trial:
    tune.start()
    return tune.start()


def told(tune: Tune, trial: Trial, place: int, *scores: float, reason: str = "") -> bool:
    """All messages of one training of a group, in one report; with a reason the last one says that it failed."""
    messages: list[Message] = [
        said(epoch, score, tune.clock.now, final=epoch == len(scores)) for epoch, score in enumerate(scores, start=1)
    ]
    if reason:
        messages.append(failed(reason))
    return tune.result(trial, Told(messages=tuple(messages), task=place, whole=True).to_tune())


def test_each_ends_when_it_has_said_all_and_the_slot_is_free_after_the_last(cached: Plan, clock: Clock) -> None:
    tune = Tune(cached, clock)
    trial = group(tune)
    count = len(trial.config["tasks"])
    assert count > 1
    assert [Task(**task).folder for task in trial.config["tasks"]] == [f"trials/{n:05d}" for n in range(1, count + 1)]
    for place in range(count):
        stopped = told(tune, trial, place, 0.5 + place / 100, 0.6 + place / 100)
        assert stopped == (place == count - 1)
        done = [t for t in trial_records.read(cached.place.run / "trials.jsonl") if t.outcome == Outcome.COMPLETE]
        assert len(done) == place + 1
        assert [line.epoch for line in done[-1].reports] == [1.0, 2.0]
    assert len(tune.board.jobs) == 1, "the first trial still runs"


def test_those_that_the_time_leaves_out_have_no_score(cached: Plan, clock: Clock) -> None:
    tune = Tune(with_budget(cached, seconds=1000.0), clock)
    trial = group(tune)
    told(tune, trial, 0, 0.5, 0.6)
    for place in (1, 2):
        tune.result(trial, Told(messages=(TimeOver(**NOTHING_YET),), task=place, whole=True).to_tune())
    tune.over(trial)
    ends = [(t.number, t.outcome) for t in trial_records.read(cached.place.run / "trials.jsonl") if not t.open]
    assert ends == [(1, Outcome.COMPLETE), (2, Outcome.OUT_OF_TIME), (3, Outcome.OUT_OF_TIME)]


class _StopsAll(Rungs):
    """Rungs that stop every trial."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.heard: list[tuple[int, float]] = []

    def stops(self, number: int, params: Mapping[str, Any], report: Line | Measured) -> bool:
        self.heard.append((number, report.epoch))
        return True


def test_the_rungs_learn_from_them_and_stop_none_of_them(cached: Plan, clock: Clock) -> None:
    """A head costs less than the message that would stop it."""
    tune = Tune(cached, clock)
    rungs = tune.board.rungs = _StopsAll(cached)
    trial = group(tune)
    count = len(trial.config["tasks"])
    for place in range(count):
        told(tune, trial, place, 0.9 - place / 50, 0.9)
    assert rungs.heard == [(number, epoch) for number in range(1, count + 1) for epoch in (1.0, 2.0)]
    assert {t.outcome for t in trial_records.read(cached.place.run / "trials.jsonl")} == {Outcome.COMPLETE}


def test_one_that_fails_is_followed_by_the_others(cached: Plan, clock: Clock) -> None:
    tune = Tune(cached, clock)
    trial = group(tune)
    last = len(trial.config["tasks"]) - 1
    assert not told(tune, trial, 0, reason="loss is nan at step 3")
    for place in range(1, last):
        told(tune, trial, place, 0.5, 0.6)
    assert not told(tune, trial, last, reason="loss is nan at step 5")
    tune.over(trial)
    states = {t.number: (t.outcome, t.reason) for t in trial_records.read(cached.place.run / "trials.jsonl")}
    assert states[1] == (Outcome.FAILED, "loss is nan at step 3")
    assert states[last + 1] == (Outcome.FAILED, "loss is nan at step 5")
    assert {states[place + 1] for place in range(1, last)} <= {(Outcome.COMPLETE, "")}


def test_when_the_process_dies_those_that_have_not_ended_go_on_in_their_order(cached: Plan, clock: Clock) -> None:
    tune = Tune(cached, clock)
    trial = group(tune)
    before = [Task(**task).folder for task in trial.config["tasks"]]
    told(tune, trial, 0, 0.5, 0.6)
    tune.die(trial)
    again = tune.start()
    assert [Task(**task).folder for task in again.config["tasks"]] == before[1:]
