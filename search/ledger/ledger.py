"""The books of a search: what runs next, what came of it, what is kept. No Ray, no torch in here.

Tune asks and tells through `search/tune/hooks.py`; every decision is made here or in the pure functions this calls.
Everything that happens is on disk (`trials.jsonl`, `confirm.jsonl`, `log.jsonl`) before it counts, so that a
ledger opened on the same directory after any crash is the one that was lost.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frostline.search.ledger import confirm
from frostline.search.ledger.rules import fitting_micro_batches, hopeless
from frostline.search.ledger.study import Study
from frostline.search.plan import parameters
from frostline.search.plan.disk import KEPT_CHECKPOINTS
from frostline.search.plan.plan import Plan
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records.folder import Job, Log, unreported
from frostline.search.records.trials import Line, Outcome, Ranking, Records, Trial
from frostline.trainables import _task

_HEADS_AT_ONCE = 16
"""Trainings that a slot takes at once where each only trains a head."""


class Ledger:
    """All trainings of one search: asked for, running, ended."""

    def __init__(
        self, plan: Plan, log: Log, clock: Callable[[], float] = time.time, tidies_later: bool = False
    ) -> None:
        """`tidies_later`: files that nobody needs any more stay until `tidy`, else no longer than the call."""
        self.plan, self._log, self._clock = plan, log, clock
        self._tidies_later = tidies_later
        self._unneeded: list[Path] = []
        run_folder.sweep(plan.place.run)
        self.trials = Records(plan.place.run / "trials.jsonl")
        self.confirmations = Records(plan.place.run / "confirm.jsonl")
        started = run_folder.started(plan.place.run)
        asked = {job.number: job for job in started if not job.confirms}
        self._study = Study(
            plan.place.run / "study.journal",
            plan.search.space,
            seed=plan.search.seed,
            planned=plan.budget.trials,
            recipes=plan.search.recipes,
            distributions=plan.search.distributions,
            metric=plan.search.metric,
            cost=self._cost,
            known=[self._known(asked[number]) for number in sorted(asked)],
        )
        self._asked = len(asked)
        self._started = {job.key for job in started}
        self._waiting = deque(sorted((job for job in started if self._is_open(job)), key=lambda job: job.confirms))
        self._running: dict[tuple[int, int], tuple[Job, float]] = {}
        self._lost: Counter[tuple[int, int]] = Counter()
        self._ended: list[Trial] = []
        self._kept: list[Trial] = []
        # What depends on all trials is kept up with each line, so that a step of a long search costs no more
        # than one of a short one.
        self._ranking = Ranking()
        self._micro_batches: dict[tuple[str, int], dict[str, int]] = {}
        for known in self.trials:
            self._learn(known)
        for job in started:  # what a crash has left between an end and the clearing up after it
            if (ended := self._trial(job)) and not ended.open:
                self._drop_files(job, ended)
        times = [line.time for records in (self.trials, self.confirmations) for t in records for line in t.reports]
        times += [trial.time for records in (self.trials, self.confirmations) for trial in records]
        times += [event["time"] for event in log.events("test")]
        *earlier, self._began = [event["time"] for event in log.events("session")]
        self._used = run_folder.seconds_used(earlier, [at for at in times if at < self._began])
        self._over = self._worked = False
        self.failure: str | None = None
        """Why the search should stop by itself; None while it should not."""

    def _records(self, job: Job) -> Records:
        return self.confirmations if job.confirms else self.trials

    def _trial(self, job: Job) -> Trial | None:
        return self._records(job).get(*job.key)

    def _known(self, job: Job) -> Trial:
        """The trial of a job with all that the sampler chose, also what the space has had since a later day."""
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
        """Wall-clock time that the search has taken, over all its sessions."""
        return float(self._used + self._clock() - self._began)

    @property
    def took(self) -> float:
        """Wall-clock time that the search has taken, without a session that only tells again what was found."""
        return self.seconds if self._worked else float(self._used)

    @property
    def running(self) -> int:
        """Trainings that have a slot."""
        return len(self._running)

    @property
    def unfinished(self) -> list[Job]:
        """Trainings that were interrupted and wait to go on."""
        return list(self._waiting)

    def expired(self) -> bool:
        """Whether the time for trials is over; what is left of the time budget is for confirming the best.

        At most half of the budget is kept back for that.
        """
        budget = self.plan.budget
        if budget.seconds is None or self._over:
            return self._over
        needed = confirm.seconds_needed(
            itertools.islice(self._ranking, budget.confirm_recipes),
            epochs=budget.epochs,
            recipes=budget.confirm_recipes,
            seeds=budget.confirm_seeds,
            slots=max(1, self.plan.resources.slots),
        )
        # Once over it stays so, also if a better and faster trial now promises a shorter confirmation.
        self._over = self.seconds >= budget.seconds - min(needed, budget.seconds / 2)
        return self._over

    def next_group(self) -> list[Job]:
        """The next training, with others behind it where each takes milliseconds; none when there is none now.

        Raises:
            OSError: the disk is full.
        """
        job = self.next()
        group = [job] if job else []
        if job and (model := self._headed(job.params)):
            while len(group) < _HEADS_AT_ONCE and (more := self.next(lambda params: self._headed(params) == model)):
                group.append(more)
        return group

    def _headed(self, params: Mapping[str, Any]) -> str | None:
        """The model of a training that runs no block at all, since the prefix cache has what its head needs."""
        recipe = self.plan.recipe(params, self.plan.search.seed)
        return recipe.model if recipe.cached_layers == self.plan.search.models[recipe.model].blocks else None

    def _cost(self, params: Mapping[str, Any]) -> tuple[float, str]:
        """What the random points of the start are sorted by: the part that trains; heads of one model together."""
        recipe = self.plan.recipe(params, self.plan.search.seed)
        return -recipe.frozen_layers / self.plan.search.models[recipe.model].blocks, recipe.model

    def next(self, only: Callable[[Mapping[str, Any]], bool] = lambda params: True) -> Job | None:
        """The next training, None when there is none now: see `finished`.

        Args:
            only: of its parameters, whether it is wanted; it stays where it is if not.

        Raises:
            OSError: the disk is full.
        """
        job: Job | None = None
        if self.failure:
            return None
        if self._waiting:
            job = self._waiting.popleft() if only(self._waiting[0].params) else None
        elif self._more_trials():
            if only(self._study.upcoming()):
                number, params, label = self._study.ask()
                params = self.plan.complete(params)
                job = Job(number=number, seed=self.plan.search.seed, params=params, label=label, confirms=False)
                self._begin(job)
                self._asked = number + 1
        elif (job := self._next_confirmation()) and only(job.params):
            self._begin(job)
        else:
            job = None
        if job:
            self._running[job.key] = (job, self._clock())
            self._worked = True
        return job

    def _begin(self, job: Job) -> None:
        self._log.append("start", **dataclasses.asdict(job))
        self._started.add(job.key)

    def _more_trials(self) -> bool:
        planned = self.plan.budget.trials
        return (planned is None or self._asked < planned) and not self.expired()

    def _next_confirmation(self) -> Job | None:
        budget = self.plan.budget
        searching = sum(not job.confirms for job, _ in self._running.values())
        leading = itertools.islice((trial for trial in self._ranking if not trial.open), budget.confirm_recipes)
        for trial in confirm.certain(leading, budget.confirm_recipes, searching):
            for seed in confirm.fresh_seeds(self.plan.search.seed, budget.confirm_seeds):
                if (trial.number, seed) not in self._started:
                    return Job(number=trial.number, seed=seed, params=trial.params, label=trial.label, confirms=True)
        return None

    @property
    def finished(self) -> bool:
        """Whether nothing runs and nothing is left to run."""
        return not (self._running or self._waiting or self.failure or self._more_trials() or self._next_confirmation())

    def task(self, job: Job) -> _task.Task:
        """What the slot needs to know of a job."""
        trial = self._trial(job)
        best = trial.best if trial else None
        recipe = self.plan.recipe(job.params, job.seed)
        return _task.Task(
            folder=job.folder,
            recipe=recipe.to_json(),
            samples=trial.reports[-1].samples if trial and trial.reports else 0,
            best=best.objective if best else None,
            micro_batches=self._micro_batches.get((recipe.model, recipe.frozen_layers), {}),
            alone=self._headed(job.params) is not None,
        )

    # --- what came of it ---------------------------------------------------------------------

    def report(self, job: Job, result: Mapping[str, Any]) -> Line | None:
        """Record a report; None for one that is on record already.

        Raises:
            OSError: the disk is full.
        """
        trial = self._trial(job)
        if trial and trial.reports and result["samples"] <= trial.reports[-1].samples:
            return None
        line = Line(
            number=job.number,
            outcome=Outcome.RUNNING,
            confirms=job.confirms,
            params=job.params,
            label=job.label,
            seed=job.seed,
            **{
                key: result[key]
                for key in ("epoch", "samples", "step", "objective", "metrics", "seconds", "pid", "time")
            },
            micro_batch=result.get("micro_batch", 0),
            device=result.get("device", ""),
            node=result.get("node", ""),
            partial=result.get("partial", False),
            cached_layers=result.get("cached_layers", 0),
            spent=result.get("spent", {}),
        )
        trial = self._records(job).append(line)
        if not job.confirms:
            self._learn(trial)
            self._study.report(line)
        return line

    def end(self, job: Job, outcome: Outcome, reason: str = "") -> Line:
        """Record how a training ended, and drop the files that nobody needs any more.

        Raises:
            OSError: the disk is full.
        """
        now, self._worked = self._clock(), True
        _, since = self._running.get(job.key, (job, now))
        trial = self._trial(job)
        last = trial.reports[-1] if trial and trial.reports else None
        line = Line(
            number=job.number,
            outcome=outcome,
            confirms=job.confirms,
            params=job.params,
            label=job.label,
            seed=job.seed,
            epoch=last.epoch if last else 0.0,
            samples=last.samples if last else 0,
            step=last.step if last else 0,
            objective=last.objective if last else None,
            metrics=last.metrics if last else {},
            seconds=(last.seconds if last else 0.0) + now - max(since, min(now, last.time if last else since)),
            pid=last.pid if last else 0,
            time=now,
            reason=reason,
            micro_batch=last.micro_batch if last else 0,
            device=last.device if last else "",
            node=last.node if last else "",
        )
        ended = self._records(job).append(line)
        self._running.pop(job.key, None)
        if not job.confirms:
            self._learn(ended)
            self._study.tell(ended)
        self._ended.append(ended)
        self.failure = self.failure or hopeless(self._ended)
        if not ended.open:
            self._drop_files(job, ended)
        return line

    def lose(self, job: Job, reason: str, counts: bool = True) -> Line | None:
        """The training's process died, which is not the recipe's fault; its end where it does not go on.

        It goes on from its last snapshot, before anything else, as often as the plan's `retries` says. After that it
        has failed.

        Args:
            job: the training.
            reason: what happened, for the log.
            counts: whether this is one of these times; not where its node is gone, which any recipe may meet often.

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
        """End what had come to its end but for the record of it, when the last session broke off.

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
            elif not job.confirms and self.expired():
                outcome = Outcome.OUT_OF_TIME
            else:
                continue
            self._waiting.remove(job)
            lines.append(self.end(job, outcome))
        return lines

    def abandon(self) -> list[Line]:
        """End what runs or waits when the search is interrupted.

        The files stay, and `--resume` goes on with these trainings.
        """
        jobs = [*(job for job, _ in self._running.values()), *self._waiting]
        lines = [self.end(job, Outcome.INTERRUPTED) for job in jobs]
        self._waiting.clear()
        return lines

    def _learn(self, trial: Trial) -> None:
        """A trial of the search has one line more."""
        self._ranking.put(trial)
        recipe = self.plan.recipe(trial.params, trial.seed)
        what = recipe.model, recipe.frozen_layers
        self._micro_batches[what] = fitting_micro_batches([trial], self._micro_batches.get(what))

    def _drop_files(self, job: Job, ended: Trial) -> None:
        run = self.plan.place.run
        self._unneeded.append(_task.last_path(run, job.folder))
        losers: list[Trial]
        if job.confirms:  # of each recipe the best training
            same = [run_ for run_ in self.confirmations if run_.number == job.number and not run_.open]
            best = trial_records.winner(same)
            losers = [other for other in same if best is None or other.key != best.key]
        else:
            before = [*self._kept, ended]
            self._kept = trial_records.top(before, KEPT_CHECKPOINTS)
            keys = {trial.key for trial in self._kept}
            losers = [trial for trial in before if trial.key not in keys]
        for loser in losers:
            folder = run_folder.folder(loser.number, loser.seed if job.confirms else None)
            self._unneeded.append(_task.best_path(run, folder))
        if not self._tidies_later:
            self.tidy()

    def tidy(self) -> None:
        """Remove the files that nobody needs any more; what a crash leaves of them goes at the next start.

        Raises:
            OSError: the disk can only be read.
        """
        while self._unneeded:
            self._log.remove(self._unneeded[0])
            self._unneeded.pop(0)

    # --- the winner ----------------------------------------------------------------------------

    def confirmed(self) -> list[confirm.Confirmed]:
        """The recipes that were trained again, best first; none where confirming is off."""
        budget = self.plan.budget
        if not (budget.confirm_recipes and budget.confirm_seeds):
            return []
        return confirm.confirmed(self.trials, self.confirmations, self.plan.search.metric)

    def winner(self) -> tuple[Trial, str] | None:
        """The training whose weights are exported, and its folder; None where nothing has a score.

        With confirmation it is the best training of the recipe with the best mean, else the best trial.
        """
        best = confirm.winner(self.trials, self.confirmations, self.confirmed())
        if best is None:
            return None
        return best, run_folder.folder(best.number, best.seed if best.confirms else None)

    def test_of(self, folder: str) -> dict[str, Any] | None:
        """What reading the test set with this training gave, if that has been done."""
        reads = [event for event in self._log.events("test") if event["folder"] == folder]
        return reads[-1] if reads else None

    def add_test(self, best: Trial, folder: str, found: Mapping[str, Any]) -> None:
        """Record that the test set was read with this training."""
        self._log.append("test", number=best.number, seed=best.seed, folder=folder, **found)
        self._worked = True

    def news(self) -> list[str]:
        """What a user should know of where the run directory is kept.

        Raises:
            TakenOverError: it was lost to another process.
        """
        return self._log.news()

    def test_reads(self) -> int:
        """How many times the test set has been read for this search."""
        return len(self._log.events("test"))

    def close(self) -> None:
        """Nothing is written after this."""
        self.trials.close()
        self.confirmations.close()
        self.tidy()
