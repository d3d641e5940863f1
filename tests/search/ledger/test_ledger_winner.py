"""How long a search goes on, what it trains again, and who wins."""

import pytest

from frostline.search.ledger import seeds
from frostline.search.ledger.ledger import Ledger
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.events import LOG, Job, started_jobs
from frostline.search.records.journal import Journal
from frostline.search.records.trials import Outcome
from tests.search.altered import altered
from tests.search.made import FRESH, Clock, confirm_all, session, taken, train, with_budget
from tests.told import said


def all_of(ledger: Ledger, clock: Clock, *scores: float) -> None:
    """Trainings one after another, each with one score at both its epochs."""
    for score in scores:
        train(ledger, clock, taken(ledger), score, score)


# --- the time ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "epoch", "ended", "late"),
    [
        (90, 0.5, True, False),  # a part of an epoch says little
        (100, 0.5, True, True),
        (89, 1, True, False),  # its second epoch takes 10 s, too
        (90, 1, True, False),  # no other training would end in time: it goes on until the time is over
        (90, 1, False, False),  # it would be the first trial with a score of its end
        (100, 1, False, True),
        (100, 2, True, False),  # it is at its end
        (99, 0, True, False),  # nothing is known of its time
        (100, 0, True, True),
    ],
)
def test_a_trial_that_would_not_end_in_time_is_late(
    plan: Plan, clock: Clock, seconds: float, epoch: float, ended: bool, late: bool
) -> None:
    plan = with_budget(plan, trials=None, seconds=100.0, confirm_recipes=2, confirm_seeds=2)
    ledger, began = session(plan, clock), clock.now
    if ended:
        all_of(ledger, clock, 0.6, 0.59)
    clock.now = began + seconds
    assert ledger.late(said(epoch, 0.6, clock.now, seconds=10.0 * epoch) if epoch else None) is late


@pytest.mark.parametrize(("again", "late"), [(2, True), (0, False)])
def test_a_trial_is_late_only_where_another_training_wants_its_slot(
    plan: Plan, clock: Clock, again: int, late: bool
) -> None:
    plan = with_budget(plan, trials=None, seconds=100.0, confirm_recipes=again)
    ledger, began = session(plan, clock), clock.now
    all_of(ledger, clock, 0.6, 0.59)
    clock.now = began + 78
    assert ledger.late(said(1, 0.6, clock.now, seconds=25.0)) is late
    clock.now = began + 100
    assert ledger.late(said(1, 0.6, clock.now, seconds=25.0))


def test_no_trial_is_late_without_a_time_budget(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    clock.now += 1e9
    assert not ledger.late(said(1, 0.6, clock.now))


@pytest.mark.parametrize(
    ("recipes", "seeds", "slots", "begins"),
    [
        # A training takes 20 s. It takes 2 s more at times, and on one slot another training may run before it.
        (2, 2, 1, 400 - 2 * 22 - 2 * 20),
        (2, 1, 1, 400 - 22 - 2 * 20),
        (2, 2, 2, 400 - 22 - 2 * 20 / 2),
        (0, 2, 1, None),
        (2, 0, 1, None),
    ],
)
def test_the_leader_gets_its_fresh_seeds_before_the_time_is_over(
    plan: Plan, clock: Clock, recipes: int, seeds: int, slots: int, begins: float | None
) -> None:
    plan = with_budget(plan, trials=None, seconds=400.0, confirm_recipes=recipes, confirm_seeds=seeds, slots=slots)
    ledger, began, first = session(plan, clock), clock.now, None
    while (job := ledger.next()) is not None and first is None:
        if job.confirms:
            first = clock.now - began
        score = 0.9 if job.number == 3 else 0.6 + job.number / 1000
        train(ledger, clock, job, score, score)
    if begins is None:
        assert (first, len(ledger.confirmations)) == (None, 0)
    else:
        assert first is not None
        assert begins <= first < begins + 20


def test_a_search_without_a_number_of_trials_goes_on_until_no_trial_ends_in_time(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=None, seconds=110.0, confirm_recipes=0)
    ledger, began = session(plan, clock), clock.now
    while (job := ledger.next()) is not None:
        train(ledger, clock, job, 0.6 + job.number / 100, 0.6)
    assert ledger.finished
    assert clock.now - began == 100, "each takes 20 s, and 10 are left"


@pytest.mark.parametrize("outcome", [Outcome.OUT_OF_TIME, Outcome.INTERRUPTED])
def test_where_no_trial_came_to_its_end_the_best_one_wins_without_a_fresh_seed(
    plan: Plan, clock: Clock, outcome: Outcome
) -> None:
    ledger = session(with_budget(plan, trials=None, seconds=100.0, slots=2), clock)
    jobs = [taken(ledger), taken(ledger)]
    clock.now += 100
    for job, score in zip(jobs, (0.6, 0.7), strict=True):
        ledger.report(job, said(1, score, clock.now))
        ledger.end(job, outcome)
    assert (ledger.next(), ledger.finished) == (None, True)
    won = ledger.conclusions.winner()
    assert won is not None
    (row,) = ledger.conclusions.confirmed()
    assert (won[0].number, row.number, row.scores) == (1, 1, ())


def test_the_number_of_trials_and_the_time_both_end_a_search(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=2, seconds=1000.0, confirm_recipes=0)
    ledger = session(plan, clock)
    all_of(ledger, clock, 0.6)
    assert not ledger.finished
    all_of(ledger, clock, 0.7)
    assert (ledger.next(), ledger.finished) == (None, True)


def test_time_counts_over_all_sessions_and_only_while_one_works(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    all_of(ledger, clock, 0.6)  # 20 s
    clock.now += 5  # not recorded: lost with the crash
    assert ledger.seconds == 25
    clock.now += 10_000
    second = session(plan, clock)
    assert second.seconds == 20
    train(second, clock, taken(second), 0.6)  # 10 s
    assert second.seconds == 30
    clock.now += 10_000
    third = session(plan, clock)
    assert third.seconds == 30
    clock.now += 3
    assert third.seconds == 33


def test_a_session_that_only_tells_again_what_was_found_adds_no_time(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    all_of(ledger, clock, 0.6)  # 20 s
    clock.now += 4
    journal = Journal(plan.place.run / LOG)
    journal.append({"event": "test", "time": clock(), "folder": "trials/00000"})
    journal.close()
    assert ledger.took == 24
    clock.now += 10_000
    again = session(plan, clock)
    clock.now += 7
    assert (again.took, again.seconds) == (24, 31)
    all_of(again, clock, 0.6)
    assert again.took == 51


def test_a_ledger_opened_again_in_the_same_session_counts_its_time_once(plan: Plan, clock: Clock) -> None:
    """As when a private Ray has died and is started again."""
    all_of(session(plan, clock), clock, 0.6)  # 20 s
    clock.now += 10_000
    second = session(plan, clock)
    all_of(second, clock, 0.7)
    assert second.seconds == 40
    again = Ledger(plan, second._log, clock)
    assert again.seconds == 40


# --- trained again -------------------------------------------------------------------------------


def test_the_leader_gets_two_fresh_seeds_and_then_those_that_may_win(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=4, confirm_recipes=2, confirm_seeds=2)
    plan = altered(plan, seed=40)
    ledger = session(plan, clock)
    all_of(ledger, clock, 0.6, 0.9, 0.7, 0.8)
    assert not ledger.finished
    jobs = [taken(ledger) for _ in range(2)]
    assert [(job.number, job.seed - FRESH) for job in jobs] == [(1, 40), (1, 41)]
    assert {job.confirms for job in jobs} == {True}
    assert [job.params for job in jobs] == [ledger.trials.get(job.number, 40 + job.number).params for job in jobs]  # type: ignore[union-attr]
    assert jobs[0].label == "linear probe"
    assert not ledger.finished, "they run"
    for job in jobs:
        train(ledger, clock, job, 0.7, 0.7)
    rival = taken(ledger)
    assert rival.key == (3, FRESH + 40), "the scores leave it open"
    train(ledger, clock, rival, 0.6, 0.6)
    if (last := ledger.next()) is not None:
        train(ledger, clock, last, 0.6, 0.6)
    assert (ledger.next(), ledger.finished) == (None, True), "at most two for each of two recipes"
    assert 3 <= len(trial_records.read(plan.place.run / "confirm.jsonl")) <= 4
    assert len(trial_records.read(plan.place.run / "trials.jsonl")) == 4, "the trials stay as they were"


@pytest.mark.parametrize("off", [{"confirm_recipes": 0}, {"confirm_seeds": 0}])
def test_confirming_can_be_turned_off(plan: Plan, clock: Clock, off: dict[str, int]) -> None:
    ledger = session(with_budget(plan, trials=2, **off), clock)
    all_of(ledger, clock, 0.6, 0.9)
    assert (ledger.next(), ledger.finished) == (None, True)
    assert ledger.conclusions.confirmed() == []
    won = ledger.conclusions.winner()
    assert won is not None
    assert (won[0].number, won[1]) == (1, "trials/00001")


def test_a_confirmation_does_not_wait_for_the_last_trials(plan: Plan, clock: Clock) -> None:
    ledger = session(with_budget(plan, trials=4, confirm_recipes=2, confirm_seeds=1), clock)
    all_of(ledger, clock, 0.6, 0.9)
    third, fourth = taken(ledger), taken(ledger)
    assert ledger.next() is None, "two that run are as likely to lead as two that have ended"
    assert not ledger.finished
    train(ledger, clock, third, 0.7, 0.7)
    first = taken(ledger)
    assert (first.number, first.confirms) == (1, True)
    train(ledger, clock, fourth, 0.8, 0.8)


def test_a_confirmation_that_failed_is_not_tried_again_and_one_that_died_goes_on(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=1, confirm_recipes=1, confirm_seeds=2)
    ledger = session(plan, clock)
    all_of(ledger, clock, 0.9)
    first, second = taken(ledger), taken(ledger)
    train(ledger, clock, first, 0.5, outcome=Outcome.FAILED, reason="loss is nan")
    assert ledger.lose(second, "its process died") is None
    assert taken(ledger) == second
    again = session(plan, clock)
    assert taken(again) == second
    train(again, clock, second, 0.5, 0.6)
    assert again.finished
    (row,) = again.conclusions.confirmed()
    assert (row.seeds, row.failed) == ((FRESH + 1,), 1)


def test_more_trials_than_before_are_tried_and_only_new_ones_of_the_best_are_confirmed(
    plan: Plan, clock: Clock
) -> None:
    plan = with_budget(plan, trials=2, confirm_recipes=1, confirm_seeds=1)
    ledger = session(plan, clock)
    all_of(ledger, clock, 0.6, 0.9, 0.85)  # the third confirms trial 1
    assert ledger.finished
    more = session(with_budget(plan, trials=4), clock)
    assert not more.finished
    all_of(more, clock, 0.7, 0.95)
    job = taken(more)
    assert (job.number, job.confirms) == (3, True)
    train(more, clock, job, 0.2, 0.2)
    assert more.finished
    won = more.conclusions.winner()
    assert won is not None
    assert won[0].key == (1, FRESH), "what was confirmed before stays in the comparison"


def test_a_search_of_an_earlier_version_keeps_its_seeds_and_what_they_showed(
    plan: Plan, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trials share one seed, and its fresh seeds follow that one."""
    plan = with_budget(plan, trials=3, confirm_recipes=2, confirm_seeds=2)
    with monkeypatch.context() as patch:
        patch.setattr(seeds, "of_trial", lambda seed, number: seed)
        patch.setattr(seeds, "fresh", lambda seed, index: seed + 1 + index)
        first = session(plan, clock)
        all_of(first, clock, 0.8, 0.9, 0.85)
        jobs = confirm_all(first, clock, {1: (0.75, 0.85, 0.8), 2: (0.85, 0.78, 0.82)})
    again = session(plan, clock)
    assert again.finished, "nothing is trained once more"
    assert {trial.seed for trial in again.trials} == {0}
    assert {run.seed for run in again.confirmations} == {job.seed for job in jobs} <= {1, 2, 3}
    assert again.conclusions.winner() == first.conclusions.winner()
    assert again.conclusions.confirmed() == first.conclusions.confirmed()
    more = session(with_budget(plan, trials=4), clock)
    fourth = taken(more)
    assert fourth.key == (3, 3), "a new trial has its own"
    train(more, clock, fourth, 0.99, 0.99)
    assert taken(more).key == (3, FRESH)


def test_the_time_that_a_decided_race_leaves_goes_back_to_the_search(plan: Plan, clock: Clock) -> None:
    """Trainings take 20 s, and one recipe is far better than the others."""
    plan = with_budget(plan, trials=None, seconds=400.0, confirm_recipes=3, confirm_seeds=3, slots=1)
    ledger, began, kinds = session(plan, clock), clock.now, ""
    while (job := ledger.next()) is not None:
        score = 0.9 if job.number == 3 else 0.6 + job.number / 1000
        train(ledger, clock, job, score, score)
        kinds += "c" if job.confirms else "t"
        if kinds.endswith("cc"):
            ledger = session(plan, clock)  # a crash
    assert ledger.finished
    assert kinds == "t" * 16 + "cc" + "tt"
    assert clock.now - began == 400
    assert ledger.conclusions.confirmed()[0].number == 3


def test_a_race_ends_with_the_time_of_the_budget(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=None, seconds=200.0, confirm_recipes=3, confirm_seeds=3, slots=1)
    ledger, began = session(plan, clock), clock.now
    while (job := ledger.next()) is not None:
        luck = (job.seed * 37 + job.number * 11) % 17 / 100
        train(ledger, clock, job, 0.6 + luck, 0.6 + luck)
    assert ledger.finished
    assert clock.now - began <= 200
    assert len(ledger.confirmations) >= 2


# --- the winner ----------------------------------------------------------------------------------


def test_the_winner_is_the_best_by_all_its_scores_not_the_luckiest_one(plan: Plan, clock: Clock) -> None:
    ledger = session(with_budget(plan, trials=3, confirm_recipes=2, confirm_seeds=2), clock)
    all_of(ledger, clock, 0.8, 0.9, 0.85)
    confirm_all(ledger, clock, {0: (0.7,), 1: (0.65, 0.60), 2: (0.80, 0.82, 0.81)})
    assert [(row.number, row.found) for row in ledger.conclusions.confirmed()][:2] == [(2, 0.85), (1, 0.9)]
    won = ledger.conclusions.winner()
    assert won is not None
    best, folder = won
    assert (best.number, best.seed, best.outcome, best.objective) == (2, FRESH + 1, Outcome.COMPLETE, 0.82)
    assert folder == "confirm/00002-1000001"


def test_before_anything_is_confirmed_the_best_trial_wins(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    assert ledger.conclusions.winner() is None
    train(ledger, clock, taken(ledger), reason="loss is nan")
    assert ledger.conclusions.winner() is None
    all_of(ledger, clock, 0.6, 0.9)
    won = ledger.conclusions.winner()
    assert won is not None
    assert (won[0].number, won[1]) == (2, "trials/00002")


def test_where_every_confirmation_failed_the_best_trial_wins(plan: Plan, clock: Clock) -> None:
    ledger = session(with_budget(plan, trials=2, confirm_recipes=1, confirm_seeds=2), clock)
    all_of(ledger, clock, 0.6, 0.9)
    for _ in range(2):
        train(ledger, clock, taken(ledger), reason="loss is nan")
    won = ledger.conclusions.winner()
    assert won is not None
    assert (won[0].number, won[1]) == (1, "trials/00001")
    assert ledger.finished


def test_the_test_set_is_read_once_for_a_winner_and_every_read_is_counted(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    all_of(ledger, clock, 0.6)
    won = ledger.conclusions.winner()
    assert won is not None
    assert (ledger.conclusions.test_of(won[1]), ledger.conclusions.test_reads()) == (None, 0)
    ledger.conclusions.add_test(*won, {"metrics": {"accuracy": 0.55}, "interval": (0.5, 0.6)})
    again = session(plan, clock)
    found = again.conclusions.test_of(won[1])
    assert found is not None
    assert (found["metrics"], found["interval"]) == ({"accuracy": 0.55}, [0.5, 0.6])
    all_of(again, clock, 0.7)
    later = again.conclusions.winner()
    assert later is not None
    assert again.conclusions.test_of(later[1]) is None, "another winner has not read it"
    again.conclusions.add_test(*later, {"metrics": {"accuracy": 0.65}, "interval": (0.6, 0.7)})
    assert again.conclusions.test_reads() == 2


def test_a_training_and_the_one_that_confirms_it_are_told_apart(plan: Plan, clock: Clock) -> None:
    ledger = session(with_budget(plan, trials=1, confirm_recipes=1, confirm_seeds=1), clock)
    all_of(ledger, clock, 0.9, 0.8)
    started = started_jobs(ledger.plan.place.run)
    assert [job.folder for job in started] == ["trials/00000", "confirm/00000-1000000"]
    assert isinstance(started[0], Job)
    assert [trial.key for trial in ledger.trials] == [(0, 0)]
    assert [trial.key for trial in ledger.confirmations] == [(0, FRESH)]
