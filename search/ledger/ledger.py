"""The ledger of a search: which training runs next, and what came of each. No Ray, no torch.

Ray Tune asks and tells through `search/tune/hooks.py`. Every decision is made here or in pure functions called here.
Every event is on disk (`trials.jsonl`, `confirm.jsonl`, `log.jsonl`) before it counts. So a ledger opened on the same
directory after a crash equals the one that was lost.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from frostline.search.ledger import rules, seeds, study
from frostline.search.ledger.conclusions import Conclusions, judge_of
from frostline.search.ledger.contest import Contest
from frostline.search.ledger.lines import end_line, report_line
from frostline.search.ledger.study import Study
from frostline.search.ledger.weights import Weights
from frostline.search.plan import budget as budgets
from frostline.search.plan import parameters
from frostline.search.plan.plan import Plan
from frostline.search.records import folder as run_folder
from frostline.search.records.elapsed import seconds_worked
from frostline.search.records.events import Job, started_jobs, unreported
from frostline.search.records.log import Log
from frostline.search.records.trials import Line, Outcome, Ranking, Records, Trial
from frostline.trainables import _task

_HEADS_AT_ONCE = 16
"""Trainings that a slot takes at once if each trains only a head."""


class Ledger:
    """All trainings of one search: asked for, running, ended."""

    def __init__(
        self, plan: Plan, log: Log, clock: Callable[[], float] = time.time, tidies_later: bool = False
    ) -> None:
        """Open the records of a run directory.

        Args:
            plan: plan of the search.
            log: its log, held by this process.
            clock: gives seconds since 1970.
            tidies_later: whether files that are not needed any more stay until `tidy` is called.
        """
        self.plan, self._log, self._clock = plan, log, clock
        run_folder.delete_leftovers(plan.place.run)
        self.trials = Records(plan.place.run / "trials.jsonl")
        self.confirmations = Records(plan.place.run / "confirm.jsonl")
        judge = judge_of(plan)
        self._knowledge = judge.knowledge([*self.trials, *self.confirmations])
        self.conclusions = Conclusions(plan, log, self.trials, self.confirmations, self._knowledge)
        self._weights = Weights(plan.place.run, log, self.confirmations, removes_later=tidies_later)
        started = started_jobs(plan.place.run)
        asked = {job.number: job for job in started if not job.confirms}
        self._study = Study(
            plan.place.run / "study.journal",
            plan.search.space,
            seed=plan.search.seed,
            planned=plan.budget.trials if plan.schedule.expected is None else plan.schedule.expected,
            recipes=plan.search.recipes,
            distributions=plan.search.distributions,
            metric=plan.search.metric,
            known=[self._known(asked[number]) for number in sorted(asked)],
            knowledge=self._knowledge,
        )
        self._asked = len(asked)
        self._started = {job.key for job in started}
        self._again = sum(1 for _ in itertools.takewhile(lambda job: job.confirms, reversed(started)))
        """Trainings with fresh seeds that have begun since the last trial did."""
        self._waiting = deque(sorted((job for job in started if self._is_open(job)), key=lambda job: job.confirms))
        self._running: dict[tuple[int, int], tuple[Job, float]] = {}
        """Each training on a slot, and the session's seconds when it was given to the slot or last reported."""
        self._lost: Counter[tuple[int, int]] = Counter()
        self._ended: list[Trial] = []
        # Updated with each line instead of computed from all trials, so that a step costs the same in a long search.
        self._ranking = Ranking()
        self._contest = Contest(plan, judge, self._knowledge, self._ranking, self.confirmations, self._started)
        self._micro_batches: dict[tuple[str, int], dict[str, int]] = {}
        speeds = [model.speed.evaluated for model in plan.search.models.values() if model.speed]
        self._closing = max(speeds, default=0.0) * plan.data.sizes["test"] / max(1, plan.resources.slots)
        """Seconds that the winner's test score takes: all slots' cores work on it."""
        for known in self.trials:
            self._learn(known)
        for job in started:  # a crash may have come between an end and the removal of its files
            if (ended := self._trial(job)) and not ended.open:
                self._weights.ended(job, ended)
        times = [line.time for records in (self.trials, self.confirmations) for t in records for line in t.reports]
        times += [trial.time for records in (self.trials, self.confirmations) for trial in records]
        self._used = sum(seconds_worked(log.events(), times)[:-1])
        self._worked = False
        self._no_trial_pays = False
        """True if no recipe was expected to end in time and to be worth it, until something ends."""
        self.failure: str | None = None
        """Why the search should stop by itself; None as long as it should go on."""

    def _records(self, job: Job) -> Records:
        return self.confirmations if job.confirms else self.trials

    def _trial(self, job: Job) -> Trial | None:
        return self._records(job).get(*job.key)

    def _known(self, job: Job) -> Trial:
        """The trial of a job with a value of every searched parameter, also of those added to the space later."""
        base = {name: getattr(self.plan.search.base, name) for name in self.plan.search.distributions}
        params = {**base, **parameters.sampled(job.params)}
        trial = self._trial(job) or unreported(job, self._clock())
        return dataclasses.replace(trial, params=params)

    def _is_open(self, job: Job) -> bool:
        trial = self._trial(job)
        return trial is None or trial.open

    # --- what comes next ---------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the search, over all its sessions."""
        return self._used + self._log.seconds

    @property
    def took(self) -> float:
        """Wall-clock seconds of the search, without a session that only shows the result again."""
        return self.seconds if self._worked or self.conclusions.read_test_set else self._used

    @property
    def running(self) -> int:
        """Number of trainings that have a slot."""
        return len(self._running)

    @property
    def unfinished(self) -> list[Job]:
        """Trainings that were interrupted and wait to go on."""
        return list(self._waiting)

    def late(self, report: _task.Measured | Line | None) -> bool:
        """True if a trial would not end within the time budget, and another training has a use for its slot.

        Without another one it goes on until the time is over, and counts with what it has by then. So it does as long
        as no trial has come to its end.

        Args:
            report: its last one, whose seconds per epoch count; None before the first. A part of an epoch says little:
                the first steps are slow, and what is done once is in its seconds.
        """
        budget, left = self.plan.budget, 0.0
        if report and report.epoch >= budget.epochs:
            return False
        if report and report.epoch >= 1 and self._contest.seconds_of_trial():
            left = report.seconds * (budget.epochs / report.epoch - 1)
        if (rest := self._seconds_left) <= 0:
            return True
        return rest <= left and self._next_confirmation() is not None

    def next_group(self) -> list[Job]:
        """The next training; several if each takes milliseconds, none if there is none now.

        Raises:
            OSError: the disk is full.
        """
        job = self.next()
        group = [job] if job else []
        if job and (model := rules.headed(self.plan, job.params)):
            while len(group) < _HEADS_AT_ONCE:
                more = self.next(lambda params: rules.headed(self.plan, params) == model)
                if more is None:
                    break
                group.append(more)
        return group

    def next(self, only: Callable[[Mapping[str, Any]], bool] = lambda params: True) -> Job | None:
        """The next training; None if there is none now (see `finished`).

        Args:
            only: tells by its parameters whether the training is wanted; otherwise it stays in the queue.

        Raises:
            OSError: the disk is full.
        """
        job: Job | None = None
        if self.failure:
            return None
        if self._waiting:
            job = self._waiting.popleft() if only(self._waiting[0].params) else None
        elif job := self._contest.urgent(self._jobs, self.seconds):
            job = self._take(job, only)
        elif self._more_trials() and not only(self._study.upcoming()):
            return None
        elif self._more_trials() and (job := self._new_trial()):
            self._begin(job)
        elif job := self._contest.next(self._jobs, self.seconds, self._again):
            job = self._take(job, only)
        if job:
            self._running[job.key] = (job, self._log.seconds)
            self._worked = True
        return job

    def _new_trial(self) -> Job | None:
        worth = self._contest.worth(self._jobs, self.seconds) if self._chooses else 0.0
        asked = self._study.ask(self._seconds_left, worth)
        self._no_trial_pays = asked is None
        if asked is None:
            return None
        number, params, label = asked
        self._asked = number + 1
        seed = seeds.of_trial(self.plan.search.seed, number)
        return Job(number=number, seed=seed, params=self.plan.complete(params), label=label, confirms=False)

    def _begin(self, job: Job) -> None:
        self._log.append("start", **dataclasses.asdict(job))
        self._started.add(job.key)
        self._again = self._again + 1 if job.confirms else 0

    def _take(self, job: Job, only: Callable[[Mapping[str, Any]], bool]) -> Job | None:
        if not only(job.params):
            return None
        self._begin(job)
        return job

    @property
    def _jobs(self) -> list[Job]:
        return [job for job, _ in self._running.values()]

    @property
    def _seconds_left(self) -> float:
        """Seconds that trainings may still take."""
        budget = self.plan.budget.seconds
        return math.inf if budget is None else budget - budgets.closing(budget, self._closing) - self.seconds

    def _more_trials(self) -> bool:
        """Whether a trial may begin."""
        budget = self.plan.budget
        if self._no_trial_pays or (budget.trials is not None and self._asked >= budget.trials):
            return False
        if budget.seconds is None or not self._asked:  # there is always a model in the end
            return True
        left = self._seconds_left
        return left > 0 and (self._chooses or left >= self._contest.seconds_of_trial())

    @property
    def _chooses(self) -> bool:
        """Whether the next trial is chosen by what is known, also of the time that it takes."""
        return not self._study.upcoming() and self._asked < study.MODELLED

    def _next_confirmation(self) -> Job | None:
        now = self._jobs, self.seconds
        return self._contest.urgent(*now) or self._contest.next(*now, self._again)

    @property
    def finished(self) -> bool:
        """True if nothing runs and nothing is left to run."""
        return not (self._running or self._waiting or self.failure or self._more_trials() or self._next_confirmation())

    def task(self, job: Job) -> _task.Task:
        """The job as the slot is told it."""
        trial = self._trial(job)
        best = trial.best if trial else None
        recipe = self.plan.recipe(job.params, job.seed)
        return _task.Task(
            folder=job.folder,
            recipe=recipe.to_json(),
            samples=trial.reports[-1].samples if trial and trial.reports else 0,
            best=best.objective if best else None,
            micro_batches=self._micro_batches.get((recipe.model, recipe.frozen_layers), {}),
            until=self._clock() + self._seconds_left,
            alone=rules.headed(self.plan, job.params) is not None,
        )

    # --- what came of it ---------------------------------------------------------------------

    def report(self, job: Job, measured: _task.Measured) -> Line | None:
        """Record a report; returns None if it is on record already.

        Raises:
            OSError: the disk is full.
        """
        trial = self._trial(job)
        if trial and trial.reports and measured.samples <= trial.reports[-1].samples:
            return None
        self._log.mark()
        line = report_line(job, measured)
        trial = self._records(job).append(line)
        if job.key in self._running:
            self._running[job.key] = (job, self._log.seconds)
        if not job.confirms:
            self._learn(trial)
            self._study.report(line)
        return line

    def end(self, job: Job, outcome: Outcome, reason: str = "") -> Line:
        """Record how a training ended, and give up the files that are not needed any more.

        Raises:
            OSError: the disk is full.
        """
        self._log.mark()  # first: if the disk is full, nothing of this end is recorded
        now, self._worked = self._log.seconds, True
        _, since = self._running.get(job.key, (job, now))
        trial = self._trial(job)
        last = trial.reports[-1] if trial and trial.reports else None
        if outcome == Outcome.COMPLETE and (trial is None or trial.best is None):
            outcome, reason = Outcome.FAILED, f"{self.plan.search.metric.name} is undefined at each of its reports"
        line = end_line(job, outcome, reason, last, silent=now - since, now=self._clock())
        ended = self._records(job).append(line)
        self._running.pop(job.key, None)
        self._knowledge.put(ended)
        self._no_trial_pays = False
        if not job.confirms:
            self._learn(ended)
            self._study.tell(ended)
        self._ended.append(ended)
        self.failure = self.failure or rules.hopeless(self._ended)
        if not ended.open:
            self._weights.ended(job, ended)
        return line

    def lose(self, job: Job, reason: str, counts: bool = True) -> Line | None:
        """Record that a training's process died, which is not the recipe's fault; returns its end if it does not go on.

        It goes on from its last snapshot, before anything else, as often as the plan's `retries` says. After that it
        has failed.

        Args:
            job: the training.
            reason: what happened, for the log.
            counts: whether it counts as a retry; False if the node is gone, which any recipe may meet often.

        Raises:
            OSError: the disk is full.
        """
        self._lost[job.key] += counts
        if self._lost[job.key] > self.plan.resources.retries:
            times = f" ({self._lost[job.key]} times)" if self._lost[job.key] > 1 else ""
            return self.end(job, Outcome.FAILED, f"{reason}{times}")
        self._log.append("lost", number=job.number, seed=job.seed, reason=reason)
        self._running.pop(job.key)
        self._waiting.appendleft(job)
        return None

    def settle(self, stopped: set[int]) -> list[Line]:
        """Record the ends of trainings that were over when the last session broke off before it could record them.

        Args:
            stopped: trials that the scheduler stopped at their last report.
        """
        lines = []
        for job in list(self._waiting):
            trial = self._trial(job)
            if trial and trial.reports and trial.reports[-1].epoch >= self.plan.budget.epochs:
                outcome = Outcome.COMPLETE
            elif not job.confirms and job.number in stopped:
                outcome = Outcome.PRUNED
            elif not self.late(trial.reports[-1] if trial and trial.reports else None):
                continue
            elif job.confirms:
                self._waiting.remove(job)  # with more time it goes on
                continue
            else:
                outcome = Outcome.OUT_OF_TIME
            self._waiting.remove(job)
            lines.append(self.end(job, outcome))
        return lines

    def abandon(self) -> list[Line]:
        """End all trainings that run or wait, because the search is interrupted.

        The files stay, and `--resume` goes on with these trainings.
        """
        jobs = [*(job for job, _ in self._running.values()), *self._waiting]
        lines = [self.end(job, Outcome.INTERRUPTED) for job in jobs]
        self._waiting.clear()
        return lines

    def _learn(self, trial: Trial) -> None:
        """Take in a trial of the search that has one line more."""
        self._ranking.put(trial)
        self._contest.learn(trial)
        if trial.reports and not (last := trial.reports[-1]).partial:
            sizes, slots = self.plan.data.sizes, max(1, self.plan.resources.slots)
            each = last.spent.get("evaluation", 0.0) / sizes["validation"]
            self._closing = max(self._closing, each * sizes["test"] / slots)
        recipe = self.plan.recipe(trial.params, trial.seed)
        key = recipe.model, recipe.frozen_layers
        self._micro_batches[key] = rules.fitting_micro_batches([trial], self._micro_batches.get(key))

    def tidy(self) -> None:
        """Remove files that no later step needs.

        Raises:
            OSError: the disk can only be read.
        """
        self._weights.tidy()

    def news(self) -> list[str]:
        """What a user should know about the storage of the run directory.

        Raises:
            TakenOverError: it was lost to another process.
        """
        return self._log.news()

    def close(self) -> None:
        """Close the records. Nothing can be written afterwards."""
        if self._worked:
            with suppress(OSError):  # a full disk, which has been told
                self._log.mark(every=1.0)
        self.trials.close()
        self.confirmations.close()
        self.tidy()
