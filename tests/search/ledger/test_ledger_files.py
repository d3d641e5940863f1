"""Which files of trainings stay, while they run, when they end, and over a restart."""

from pathlib import Path

from frostline.search.ledger.ledger import Ledger
from frostline.search.plan.disk import KEPT_CHECKPOINTS
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.events import Job
from frostline.search.records.log import Log
from frostline.search.records.trials import Outcome
from frostline.trainables import _task
from tests.search.made import Clock, session, taken, train, with_budget
from tests.told import said


def weights(ledger: Ledger, clock: Clock, job: Job, *scores: float) -> Path:
    """A training that keeps weights and snapshots as the worker does; the path of its best weights."""
    best, last = (path(ledger.plan.place.run, job.folder) for path in (_task.best_path, _task.last_path))
    best.parent.mkdir(parents=True, exist_ok=True)
    best.write_text("x")
    last.write_text("x")
    train(ledger, clock, job, *scores)
    assert not last.exists(), "nobody goes on from it"
    return best


def numbers_kept(plan: Plan) -> list[int]:
    return sorted(int(path.parent.name) for path in (plan.place.run / "trials").glob("*/best.safetensors"))


def test_the_weights_of_the_best_trials_stay_and_those_of_the_others_go(plan: Plan, clock: Clock) -> None:
    assert KEPT_CHECKPOINTS == 3
    ledger, kept = session(plan, clock), []
    for score in (0.5, 0.7, 0.6, 0.9, 0.4, 0.65):
        weights(ledger, clock, taken(ledger), score)
        kept.append(numbers_kept(plan))
    assert kept == [[0], [0, 1], [0, 1, 2], [1, 2, 3], [1, 2, 3], [1, 3, 5]]
    assert not (plan.place.run / "trials" / "00000").exists(), "an empty folder says nothing"


def test_a_ledger_that_tidies_later_removes_files_when_told_and_at_the_close(plan: Plan, clock: Clock) -> None:
    session(plan, clock).close()
    ledger = Ledger(plan, Log(plan.place.run), clock, tidies_later=True)
    for close in (False, True):
        job = taken(ledger)
        files = [path(plan.place.run, job.folder) for path in (_task.best_path, _task.last_path)]
        files[0].parent.mkdir(parents=True)
        for path in files:
            path.write_text("x")
        train(ledger, clock, job, outcome=Outcome.FAILED, reason="loss is nan")
        assert [path.exists() for path in files] == [True, True]
        (ledger.close if close else ledger.tidy)()
        assert not files[0].parent.exists()


def test_the_weights_of_a_failed_trial_go_and_its_traceback_stays(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    job = taken(ledger)
    best = _task.best_path(plan.place.run, job.folder)
    best.parent.mkdir(parents=True)
    for path in (best, best.with_name("error.txt")):
        path.write_text("x")
    train(ledger, clock, job, 0.9, outcome=Outcome.FAILED, reason="loss is nan")
    assert [path.name for path in best.parent.iterdir()] == ["error.txt"]


def test_the_best_weights_stay_over_a_restart(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    for score in (0.8, 0.7, 0.6):
        weights(ledger, clock, taken(ledger), score)
    again = session(plan, clock)
    weights(again, clock, taken(again), 0.75)
    assert numbers_kept(plan) == [0, 1, 3]


def test_a_trial_that_goes_on_after_a_restart_takes_one_place_among_the_best(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    for score in (0.8, 0.7):
        weights(ledger, clock, taken(ledger), score)
    broken = taken(ledger)
    ledger.report(broken, said(1, 0.85, clock.now))
    again = session(plan, clock)
    weights(again, clock, taken(again), 0.85, 0.9)
    assert numbers_kept(plan) == [0, 1, 2], "three trials have ended, and three are kept"


def test_the_weights_of_trials_that_go_on_stay(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    jobs = [taken(ledger) for _ in range(4)]
    for job, score in zip(jobs, (0.9, 0.89, 0.88, 0.87), strict=True):
        ledger.report(job, said(1, score, clock.now))
        best = _task.best_path(plan.place.run, job.folder)
        best.parent.mkdir(parents=True)
        best.write_text("x")
    again = session(plan, clock)
    first = taken(again)
    again.end(first, Outcome.PRUNED)
    assert numbers_kept(plan) == [0, 1, 2, 3], "of four, three go on: their best reports need their weights"
    for _ in range(2):
        assert again.end(taken(again), Outcome.FAILED, "loss is nan").outcome == Outcome.FAILED
    again.end(taken(again), Outcome.PRUNED)
    assert numbers_kept(plan) == [0, 3], "those that failed are gone, and the winner's are there"


def test_of_each_confirmed_recipe_the_best_weights_stay(plan: Plan, clock: Clock) -> None:
    plan = with_budget(plan, trials=2, confirm_recipes=2, confirm_seeds=3)
    ledger = session(plan, clock)
    for score in (0.8, 0.7):
        weights(ledger, clock, taken(ledger), score, score)
    scores = {0: [0.75, 0.76, 0.70, 0.74, 0.75], 1: [0.75, 0.74, 0.77, 0.75, 0.75]}
    while (job := ledger.next()) is not None:
        score = scores[job.number].pop(0)
        weights(ledger, clock, job, score, score)
    assert any(len(left) < 4 for left in scores.values()), "one was trained several times"
    best = [trial_records.winner(run for run in ledger.confirmations if run.number == number) for number in (0, 1)]
    kept = sorted(str(path.parent.relative_to(plan.place.run)) for path in plan.place.run.glob("*/*/best.safetensors"))
    assert kept == [*(f"confirm/{run.number:05d}-{run.seed}" for run in best if run), "trials/00000", "trials/00001"]
    assert ledger.conclusions.winner() is not None


def test_what_a_crash_left_between_an_end_and_its_clearing_goes_at_the_next_start(plan: Plan, clock: Clock) -> None:
    ledger = session(plan, clock)
    for score in (0.9, 0.8, 0.7):
        weights(ledger, clock, taken(ledger), score)
    loser = taken(ledger)
    train(ledger, clock, loser, 0.6)
    left = [path(plan.place.run, loser.folder) for path in (_task.best_path, _task.last_path)]
    left[0].parent.mkdir(parents=True)
    for path in left:
        path.write_text("x")
    session(plan, clock)
    assert numbers_kept(plan) == [0, 1, 2], "the plan has promised how much the directory holds at most"
    assert not left[1].exists()
