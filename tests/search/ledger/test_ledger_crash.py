"""A whole search whose driver is killed after every single event ends as one that was left alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rungs import Rungs
from frostline.search.plan import budget as budgets
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.events import LOG, Job, started_jobs
from frostline.search.records.journal import read_lines
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import Recipe
from frostline.trainables import _task
from tests.search.altered import altered
from tests.search.made import Clock, session, with_budget
from tests.told import said

BAD = {3: (Outcome.FAILED, "loss is nan at step 3"), 4: (Outcome.INFEASIBLE, "out of memory")}
HOPELESS = 11
"""A trial that a rung stops."""
FILES = ("trials.jsonl", "confirm.jsonl", LOG)
GARBAGE = b'{"number": 0, "outcome": "complete", "par'


def score(job: Job, epoch: float) -> float:
    """What a training scores: learning rate and depth decide, the seed adds its luck."""
    luck = (job.seed * 37 + job.number * 11) % 17 / 400
    fit = 1 - abs(math.log10(job.params["learning_rate"]) + 3.6) / 4 - job.params["frozen_layers"] / 40
    return round(0.9 * fit + luck + epoch / 50 - (0.5 if job.number == HOPELESS else 0.0), 4)


@dataclass
class Driver:
    """Calls a ledger as Tune and its hooks do. Its slots train nothing.

    The slot that has trained least goes next, so that the order of events does not depend on who was on a
    slot before a crash.
    """

    plan: Plan
    clock: Clock
    dies_at: Callable[[int], bool]
    """Whether the driver is killed when so much has been written."""
    interrupted: bool = False
    """By Ctrl-C instead, so that everything that runs is given an end."""
    written: int = 0
    """Lines of the search's journals."""
    sessions: int = 0
    died: set[tuple[int, int]] = field(default_factory=set)
    """Trainings whose process has died; each dies once."""

    def open(self) -> None:
        self.sessions += 1
        self.ledger, self.rungs = session(self.plan, self.clock), Rungs(self.plan)
        stopped = self.rungs.replay(self.ledger.trials)
        self.ledger.settle(stopped)
        self.running: list[Job] = []

    def killed(self) -> bool:
        """Whether the driver is killed here; if so, another one has taken over."""
        before, self.written = self.written, self.lines()
        assert self.written < 1000, "it does not come to an end"
        if self.written == before or not self.dies_at(self.written):
            return False
        if self.interrupted:
            assert {line.number for line in self.ledger.abandon()} >= {job.number for job in self.running}
            self.ledger.close()
            self.written = self.lines()
        else:
            self.leave_behind()
        self.open()
        return True

    def lines(self) -> int:
        found = [fields for name in FILES for fields in read_lines(self.plan.place.run / name)]
        return sum(fields.get("event") != "session" for fields in found)

    def leave_behind(self) -> None:
        """What a process that is killed while it writes leaves."""
        run = self.plan.place.run
        for name in (*FILES, "study.journal"):
            with (run / name).open("ab") as file:
                file.write(GARBAGE)
        (run / "study.journal.lock").symlink_to("study.journal")
        (run / "plan.json.part").write_bytes(GARBAGE)
        torn = run / "trials" / "00000" / ".best.safetensors.x"
        torn.parent.mkdir(parents=True, exist_ok=True)
        torn.write_bytes(GARBAGE)

    def search(self) -> Ledger:
        self.open()
        while not self.ledger.finished:
            if len(self.running) < self.plan.resources.slots and (job := self.ledger.next()):
                self.running.append(job)
            else:
                self.go_on(min(self.running, key=lambda job: (self.ledger.task(job).samples, job.key)))
            self.killed()
        return self.ledger

    def go_on(self, job: Job) -> None:
        """One report of a training, or its death, or its end."""
        task, budget = self.ledger.task(job), self.plan.budget
        assert Recipe.from_json(task.recipe).seed == job.seed
        if job.number in BAD and not job.confirms:
            self.end(job, *BAD[job.number])
            return
        epoch = next(at for at in self.plan.schedule.report_at if int(320 * at) > task.samples)
        if epoch > 1 and job.number % 3 == 0 and job.key not in self.died:
            self.died.add(job.key)
            assert self.ledger.lose(job, "its process died") is None
            self.running.remove(job)
            return
        self.clock.now += 10
        objective = score(job, epoch)
        kept = _task.best_path(self.plan.place.run, job.folder)
        if task.best is None or objective > task.best:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(str(objective))
        measured = said(epoch, objective, self.clock.now)
        assert self.ledger.report(job, measured)
        stops = not job.confirms and self.rungs.stops(job.number, job.params, measured)
        if (stops or epoch >= budget.epochs) and not self.killed():
            self.end(job, Outcome.COMPLETE if epoch >= budget.epochs else Outcome.PRUNED)

    def end(self, job: Job, outcome: Outcome, reason: str = "") -> None:
        self.ledger.end(job, outcome, reason)
        self.running.remove(job)


def told(trial: Trial) -> dict[str, Any]:
    """All fields of a trial. Without a report it has no time, since a crash starts its clock again."""
    fields = {name: getattr(trial, name) for name in ("key", "outcome", "params", "label", "reason", "reports")}
    return fields | ({"seconds": trial.seconds} if trial.reports else {})


def left(plan: Plan) -> dict[str, Any]:
    """What a search leaves on disk."""
    storage = JournalStorage(JournalFileBackend(str(plan.place.run / "study.journal")))
    study = optuna.load_study(study_name=plan.search.space, storage=storage)
    return {
        "trials": [told(trial) for trial in trial_records.read(plan.place.run / "trials.jsonl")],
        "confirmations": [told(trial) for trial in trial_records.read(plan.place.run / "confirm.jsonl")],
        "study": [(t.number, t.state.name, t.params, t.intermediate_values, t.constraints) for t in study.trials],
        "jobs": started_jobs(plan.place.run),
        "files": {
            str(path.relative_to(plan.place.run)): path.read_text()
            for path in plan.place.run.glob("*/*/*")
            if path.is_file()
        },
    }


@pytest.mark.parametrize("slots", [1, 3])
def test_killed_after_every_event_a_search_ends_as_if_nothing_had_happened(
    plan: Plan, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, slots: int
) -> None:
    monkeypatch.setattr(budgets, "COMPANIONS", 4)  # a small search must do
    monkeypatch.setattr(budgets, "FEWEST", 1)
    plan = with_budget(plan, trials=14, epochs=3, first_rung=1, confirm_recipes=2, confirm_seeds=2, slots=slots)
    plan = altered(plan, rungs=budgets.rungs(plan.budget), report_at=budgets.report_points(plan.budget))
    always, now_and_then = (lambda _: True), (lambda written: written % 7 == 0)
    found = []
    for dies_at, interrupted in ((lambda _: False, False), (always, False), (now_and_then, False), (always, True)):
        here = altered(plan, run=tmp_path_factory.mktemp("run"))
        driver = Driver(here, Clock(), dies_at, interrupted)
        ledger = driver.search()
        won = ledger.conclusions.winner()
        assert won is not None
        weights = _task.best_path(here.place.run, won[1])
        assert weights.read_text() == str(won[0].objective), "the winner's weights are those of its best report"
        found.append(
            {"sessions": driver.sessions, "winner": won, "confirmed": ledger.conclusions.confirmed(), **left(here)}
        )
        ledger.close()
    alone, *others = found
    sessions = [each.pop("sessions") for each in found]
    assert sessions[0] == 1 < 5 < sessions[2] < 40 < min(sessions[1], sessions[3])
    outcomes = {trial["outcome"] for trial in alone["trials"]}
    assert outcomes == {Outcome.COMPLETE, Outcome.INFEASIBLE, Outcome.FAILED, Outcome.PRUNED}
    assert len(alone["trials"]) == 14
    assert 2 <= len(alone["confirmations"]) <= 4
    for other in others:
        for name, value in alone.items():
            assert other[name] == value, name
