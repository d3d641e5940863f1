"""The books of a search without Ray and without training: a clock, a real study, real files."""

import dataclasses
import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.events import LOG, started_jobs
from frostline.search.records.log import Log
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import Recipe
from frostline.trainables import _task
from tests.search.altered import altered
from tests.search.made import Clock, full_disk, session, taken, train, with_budget
from tests.told import said


def recorded(plan: Plan, name: str = "trials.jsonl") -> list[Trial]:
    return trial_records.read(plan.place.run / name)


def studied(plan: Plan) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(plan.place.run / "study.journal")))
    return optuna.load_study(study_name=plan.search.space, storage=storage).trials


# --- asked, reported, ended ----------------------------------------------------------------------


def test_the_recipes_are_tried_first_and_every_start_is_on_disk(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    jobs = [taken(ledger) for _ in range(3)]
    assert [(job.number, job.label, job.seed, job.confirms) for job in jobs] == [
        (0, "default", 0, False),
        (1, "linear probe", 1, False),
        (2, "", 2, False),
    ]
    assert [job.params for job in jobs[:2]] == list(plan.search.recipes.values())
    assert started_jobs(plan.place.run) == jobs
    assert ledger.running == 3


def test_a_report_is_recorded_once_though_it_may_come_twice(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    job = taken(ledger)
    line = ledger.report(job, said(1, 0.6, clock.now, micro_batch=8, device="A100", spent={"training": 9.0}))
    assert line is not None
    assert (line.outcome, line.samples, line.micro_batch, line.device) == (Outcome.RUNNING, 320, 8, "A100")
    assert line.spent == {"training": 9.0}
    assert ledger.report(job, said(1, 0.7, clock.now)) is None
    assert ledger.report(job, said(0.5, 0.7, clock.now)) is None, "nor one that is older"
    (trial,) = recorded(plan)
    assert trial.reports == (line,)
    assert studied(plan)[0].intermediate_values == {320: 0.6}


@pytest.mark.parametrize(
    ("scores", "outcome", "reason", "state", "value"),
    [
        ((0.9, 0.8), Outcome.COMPLETE, "", TrialState.COMPLETE, 0.9),
        ((0.6,), Outcome.PRUNED, "", TrialState.PRUNED, None),
        ((), Outcome.FAILED, "loss is nan", TrialState.FAIL, None),
        ((0.6,), Outcome.FAILED, "loss is nan", TrialState.FAIL, None),
        ((), Outcome.INFEASIBLE, "out of memory", TrialState.PRUNED, None),
        ((0.6,), Outcome.OUT_OF_TIME, "", TrialState.PRUNED, None),
        ((), Outcome.OUT_OF_TIME, "", TrialState.FAIL, None),
    ],
)
def test_an_end_is_the_same_in_the_records_and_in_the_study(
    plan: Plan,
    clock: Clock,
    scores: tuple[float, ...],
    outcome: Outcome,
    reason: str,
    state: TrialState,
    value: float | None,
) -> None:
    ledger = session(plan, clock)
    train(ledger, clock, taken(ledger), *scores, outcome=outcome, reason=reason)
    (trial,), told = recorded(plan), studied(plan)[0]
    assert (trial.outcome, trial.reason, told.state) == (outcome, reason, state)
    assert [line.metrics["accuracy"] for line in trial.reports] == list(scores)
    assert list(told.intermediate_values.values()) == list(scores)
    if outcome == Outcome.COMPLETE:
        assert told.value == value
    assert bool(told.constraints) is (outcome == Outcome.INFEASIBLE)
    assert ledger.running == 0


@pytest.mark.parametrize(
    ("scores", "outcome", "value"),
    [
        ((math.nan, 0.6), Outcome.COMPLETE, 0.6),
        ((0.6, math.nan), Outcome.COMPLETE, 0.6),
        ((math.nan,), Outcome.PRUNED, None),
        ((math.nan, math.nan), Outcome.FAILED, None),  # nothing says how good it is
    ],
)
def test_a_score_that_is_undefined_is_no_failure_while_another_is(
    plan: Plan, clock: Clock, scores: tuple[float, ...], outcome: Outcome, value: float | None
) -> None:
    ledger = session(plan, clock)
    train(ledger, clock, taken(ledger), *scores)
    (trial,), told = recorded(plan), studied(plan)[0]
    assert trial.outcome == outcome
    assert trial.reason == ("accuracy is undefined at each of its reports" if outcome == Outcome.FAILED else "")
    assert list(told.intermediate_values.values()) == [score for score in scores if math.isfinite(score)]
    if outcome == Outcome.COMPLETE:
        assert told.value == value
    train(ledger, clock, taken(ledger), 0.7, 0.8)
    ledger.close()
    again = session(plan, clock)
    assert [one.outcome for one in again.trials] == [outcome, Outcome.COMPLETE]
    assert taken(again).number == 2


def test_the_seconds_of_a_training_are_those_on_a_slot(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    silent, heard = taken(ledger), taken(ledger)
    clock.now += 7
    assert ledger.end(silent, Outcome.FAILED, "loss is nan").seconds == 7
    ledger.report(heard, said(1, 0.6, clock.now))  # says 10 s
    clock.now += 3
    assert ledger.end(heard, Outcome.PRUNED).seconds == 13
    ahead = taken(ledger)
    ledger.report(ahead, said(1, 0.6, clock.now + 60))
    assert ledger.end(ahead, Outcome.PRUNED).seconds == 10, "by a slot whose clock is ahead of ours"
    broken = taken(ledger)
    ledger.report(broken, said(1, 0.6, clock.now))
    clock.now += 1000  # nobody is there
    again = session(plan, clock)
    assert taken(again) == broken
    clock.now += 4
    assert again.end(broken, Outcome.PRUNED).seconds == 14


def test_what_a_slot_is_told(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    job = taken(ledger)
    fresh = ledger.task(job)
    assert (fresh.folder, fresh.samples, fresh.best, fresh.micro_batches) == ("trials/00000", 0, None, {})
    recipe = Recipe.from_json(fresh.recipe)
    assert {name: getattr(recipe, name) for name in job.params} == job.params
    assert (recipe.seed, recipe.model, recipe.budget) == (
        plan.search.seed,
        plan.search.base.model,
        plan.budget,
    )
    ledger.report(job, said(1, 0.6, clock.now, micro_batch=4, device="T4"))
    ledger.report(job, said(2, 0.5, clock.now, micro_batch=4, device="T4"))
    task = session(plan, clock).task(job)
    assert (task.samples, task.best, task.micro_batches) == (640, 0.6, {"T4": 4})
    confirming = dataclasses.replace(job, seed=7, confirms=True)
    task = ledger.task(confirming)
    assert (task.folder, task.samples, task.best) == ("confirm/00000-7", 0, None)
    assert Recipe.from_json(task.recipe).seed == 7
    assert task.micro_batches == {"T4": 4}, "what fitted once is not found out again"


def test_a_full_disk_changes_nothing(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    job = taken(ledger)
    ledger.report(job, said(1, 0.6, clock.now))
    before = (plan.place.run / "trials.jsonl").read_bytes()
    with full_disk(len(before) + 20):
        with pytest.raises(OSError):
            ledger.report(job, said(2, 0.7, clock.now))
        with pytest.raises(OSError):
            ledger.end(job, Outcome.COMPLETE)
    assert (plan.place.run / "trials.jsonl").read_bytes() == before
    again = session(plan, clock)
    assert taken(again) == job
    assert again.report(job, said(2, 0.7, clock.now)) is not None
    again.end(job, Outcome.COMPLETE)
    assert (recorded(plan)[0].outcome, studied(plan)[0].value) == (Outcome.COMPLETE, 0.7)


def test_a_start_that_does_not_fit_on_the_disk_never_was(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    with full_disk((plan.place.run / LOG).stat().st_size + 10), pytest.raises(OSError):
        ledger.next()
    assert started_jobs(plan.place.run) == []
    assert taken(session(plan, clock)).number == 0


def test_after_five_fast_failures_nothing_is_begun_any_more(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    for _ in range(5):
        assert ledger.failure is None
        train(ledger, clock, taken(ledger), reason="no such file")
    assert ledger.failure == "no such file"
    assert ledger.next() is None
    assert not ledger.finished, "it is given up, not done"
    again = session(plan, clock)
    assert again.failure is None, "the cause may be gone"
    assert taken(again).number == 5


# --- lost, interrupted, settled ------------------------------------------------------------------


def test_a_training_whose_process_died_goes_on_next_and_fails_after_its_retries(plan: Plan, clock: Clock) -> None:
    ledger = session(altered(plan, retries=2), clock)
    job, other = taken(ledger), taken(ledger)
    ledger.report(job, said(1, 0.6, clock.now))
    for _ in range(2):
        assert ledger.lose(job, "its process died") is None
        assert ledger.unfinished == [job]
        assert taken(ledger) == job, "the same number, before any new one"
    assert [event["number"] for event in Log(plan.place.run).events("lost")] == [0, 0]
    line = ledger.lose(job, "its process died")
    assert line is not None
    assert (line.outcome, line.reason) == (Outcome.FAILED, "its process died (3 times)")
    assert ledger.lose(other, "its process died") is None, "each has its own retries"
    assert [trial.outcome for trial in recorded(plan)] == [Outcome.FAILED]
    assert studied(plan)[0].state == TrialState.FAIL


def test_a_training_whose_process_died_goes_on_before_those_that_wait_since_a_crash(plan: Plan, clock: Clock) -> None:
    jobs = [taken(ledger) for ledger in [session(plan, clock)] for _ in range(3)]
    again = session(plan, clock)
    assert taken(again) == jobs[0]
    again.lose(jobs[0], "its process died")
    assert again.unfinished == jobs


def test_without_retries_the_first_death_is_the_end(plan: Plan, clock: Clock) -> None:
    ledger = session(altered(plan, retries=0), clock)
    line = ledger.lose(taken(ledger), "its process died")
    assert line is not None
    assert (line.outcome, line.reason) == (Outcome.FAILED, "its process died")
    assert ledger.unfinished == []


def test_what_a_crash_broke_off_comes_first_under_its_own_number(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    done, heard, silent = (taken(ledger) for _ in range(3))
    train(ledger, clock, done, 0.6)
    ledger.report(heard, said(1, 0.7, clock.now))
    again = session(plan, clock)
    assert again.unfinished == [heard, silent]
    assert [taken(again), taken(again)] == [heard, silent]
    assert taken(again).number == 3
    assert [(trial.number, trial.outcome) for trial in again.trials] == [(0, Outcome.PRUNED), (1, Outcome.RUNNING)]
    assert [trial.state for trial in studied(plan)] == [TrialState.PRUNED, *[TrialState.RUNNING] * 3]


def test_an_interrupted_search_leaves_an_end_for_everything_and_goes_on_all_the_same(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    heard, silent, lost = (taken(ledger) for _ in range(3))
    ledger.report(heard, said(1, 0.6, clock.now))
    ledger.lose(lost, "its process died")
    snapshot = _task.last_path(plan.place.run, heard.folder)
    snapshot.parent.mkdir(parents=True)
    snapshot.write_text("x")
    ended = {line.number: (line.outcome, line.reason) for line in ledger.abandon()}
    assert ended == dict.fromkeys((0, 1, 2), (Outcome.INTERRUPTED, ""))
    assert (ledger.running, ledger.unfinished) == (0, [])
    assert [trial.state for trial in studied(plan)][:3] == [TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert snapshot.exists()
    again = session(plan, clock)
    assert again.unfinished == [heard, silent, lost]
    assert [trial.state for trial in studied(plan)][:3] == [TrialState.RUNNING] * 3
    train(again, clock, taken(again), 0.6, 0.7)
    assert (recorded(plan)[0].outcome, recorded(plan)[0].objective) == (Outcome.COMPLETE, 0.7)
    assert not snapshot.exists()


@pytest.mark.parametrize(
    ("epochs", "stopped", "late", "outcome", "state"),
    [
        (0, False, False, None, TrialState.RUNNING),
        (1, False, False, None, TrialState.RUNNING),
        (2, False, False, Outcome.COMPLETE, TrialState.COMPLETE),
        (2, True, True, Outcome.COMPLETE, TrialState.COMPLETE),  # it had come to its end
        (1, True, False, Outcome.PRUNED, TrialState.PRUNED),
        (1, True, True, Outcome.PRUNED, TrialState.PRUNED),
        (1, False, True, Outcome.OUT_OF_TIME, TrialState.PRUNED),
        (0, False, True, Outcome.OUT_OF_TIME, TrialState.FAIL),
    ],
)
@pytest.mark.parametrize("interrupted", [False, True])
def test_what_lacked_only_the_record_of_its_end_gets_it(
    plan: Plan,
    clock: Clock,
    epochs: int,
    stopped: bool,
    late: bool,
    outcome: Outcome | None,
    state: TrialState,
    interrupted: bool,
) -> None:
    plan = with_budget(plan, seconds=100.0, confirm_recipes=0)
    ledger = session(plan, clock)
    job = taken(ledger)
    other = taken(ledger) if late else None
    for epoch in range(1, epochs + 1):
        ledger.report(job, said(epoch, 0.6, clock.now))
    clock.now += 200 if late else 10
    if other:  # what was recorded last says how long the session lasted
        ledger.end(other, Outcome.FAILED, "loss is nan")
    if interrupted:
        ledger.abandon()
    clock.now += 1
    again = session(plan, clock)
    lines = again.settle({job.number} if stopped else set())
    assert [(line.number, line.outcome, line.reason) for line in lines] == (
        [] if outcome is None else [(0, outcome, "")]
    )
    assert again.unfinished == ([job] if outcome is None else [])
    assert studied(plan)[0].state == state
    if outcome is not None:
        assert recorded(plan)[0].outcome == outcome


def test_a_training_that_confirms_is_settled_by_its_epochs_alone(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=1, seconds=100.0, confirm_recipes=1, confirm_seeds=2)
    ledger = session(plan, clock)
    train(ledger, clock, taken(ledger), 0.6, 0.7)
    over, half = taken(ledger), taken(ledger)
    for epoch in (1, 2):
        ledger.report(over, said(epoch, 0.6, clock.now))
    ledger.report(half, said(1, 0.6, clock.now))
    clock.now += 500
    ledger.abandon()
    clock.now += 1
    again = session(plan, clock)
    assert again.late(None)
    (line,) = again.settle({0})
    assert ((line.number, line.seed), line.outcome) == (over.key, Outcome.COMPLETE)
    assert again.unfinished == []
    assert session(with_budget(plan, seconds=1000.0), clock).unfinished == [half], "with more time it goes on"


def test_there_is_a_model_however_short_the_time_is(plan: Plan, clock: Clock) -> None:
    ledger = session(with_budget(plan, seconds=100.0), clock)
    clock.now += 200
    job = taken(ledger)
    assert ledger.task(job).until == clock.now - 100.0
    assert ledger.next() is None
    ledger.report(job, said(0.1, 0.6, clock.now))
    ledger.end(job, Outcome.OUT_OF_TIME)
    assert ledger.finished
    won = ledger.conclusions.winner()
    assert won and won[0].number == job.number


def test_a_parameter_that_the_space_has_had_since_was_that_of_the_base(plan: Plan, clock: Clock) -> None:
    older = {name: d for name, d in plan.search.distributions.items() if name != "weight_decay"}
    recipes = {k: {n: v for n, v in r.items() if n != "weight_decay"} for k, r in plan.search.recipes.items()}
    before = session(altered(plan, distributions=older, recipes=recipes), clock)
    train(before, clock, taken(before), 0.6, 0.7)
    assert "weight_decay" not in studied(plan)[0].params
    session(plan, clock)
    assert studied(plan)[0].params["weight_decay"] == plan.search.base.weight_decay
