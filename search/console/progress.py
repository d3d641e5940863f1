"""The progress of a search: a live view on a terminal, elsewhere one line for each event."""

from __future__ import annotations

import datetime
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from rich.console import Console
from rich.live import Live

from frostline.search.console import pace
from frostline.search.console.live import Screen, TableRow
from frostline.search.ledger import race
from frostline.search.plan import prefix as prefix_plan
from frostline.search.plan.plan import Plan
from frostline.search.plan.remarks import beside
from frostline.search.records import trials as trial_records
from frostline.search.records.events import Job
from frostline.search.records.trials import Line, Outcome, Trial
from frostline.search.words import clock, estimate, outcome, recipe_line, score

_BEST_SHOWN = 5
_PROBLEMS_SHOWN = 3

_Key = tuple[int, int]
"""Key of a training: number of the trial, seed."""


class Progress:
    """Follows the trials of one search. Use as a context manager around the search."""

    def __init__(self, plan: Plan, console: Console, known: Iterable[Trial] = (), used: float = 0.0) -> None:
        """Nothing is shown yet.

        Args:
            plan: plan of the search.
            console: where to print. If it is quiet, only problems are printed.
            known: trials of earlier sessions, and trainings that confirm them.
            used: seconds of the earlier sessions.
        """
        self._plan, self._console, self._used = plan, console, used
        self._started = time.monotonic()
        self._running: dict[_Key, _Running] = {}
        self._trainings = {trial.key: trial for trial in known}
        ended = [trial for trial in self._trainings.values() if not trial.open]
        searched = [trial for trial in ended if not trial.confirms]
        self._kept = max(_BEST_SHOWN, plan.budget.confirm_recipes)
        self._best = trial_records.top(searched, self._kept)
        self._done, self._confirmed = len(searched), len(ended) - len(searched)
        self._measured: dict[_Key, pace.Measured] = {}
        for trial in self._trainings.values():
            self._measure(trial)
        self._slots = max(1, plan.resources.slots)  # a cluster may have none at the start
        self._spent: Counter[str] = Counter()
        self._problems: list[str] = []
        self._uncached: set[str] = set()
        """Nodes on which a training found no room in the prefix cache."""
        self._space = [
            (name, depth)
            for name, model in plan.search.models.items()
            for depth in prefix_plan.depth_shares(plan.search.distributions, model.blocks)
            or [plan.search.base.frozen_layers]
        ]
        """Model and frozen depth of every recipe in the space."""
        # Once a second, since it shows the clock. Rich writes each frame at once, over the one before.
        self._live = Live(get_renderable=self._screen, console=console, refresh_per_second=1, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal and not self._console.quiet:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live.is_started:
            self._live.stop()
            for text in self._problems:  # they vanished with the live view
                say(self._console, text)

    def begin(self, job: Job) -> None:
        """A training got a slot."""
        known = self._trainings.get(job.key)
        last = known.reports[-1] if known and known.open and known.reports else None
        now = time.monotonic()
        self._running[job.key] = _Running(job, now, now, last)
        verb = f"goes on after epoch {last.epoch:.2f}" if last else "starts"
        label = f"{job.label}: " if job.label else ""
        self._say(f"{_name(job)} {verb}: {label}{recipe_line(job.params)}")

    def report(self, line: Line) -> None:
        """A running training has reported."""
        key = (line.number, line.seed)
        self._take(line)
        self._spent.update(line.spent)
        if key in self._running:
            self._running[key] = self._running[key]._replace(last=line, heard=time.monotonic())
        metric, imbalance = self._plan.search.metric.name, self._plan.data.imbalance
        shown = dict.fromkeys(name for name in (metric, beside(metric, imbalance), "loss") if name in line.metrics)
        values = ", ".join(f"{name} {score(line.metrics[name])}" for name in shown)
        self._say(f"{_name(line)} epoch {line.epoch:.2f}: {values}, {line.seconds:.0f} s")
        planned = self._plan.recipe(line.params, line.seed).cached_layers
        if line.cached_layers < planned and line.node not in self._uncached:
            self._uncached.add(line.node)
            self.note(
                f"{line.node or 'this machine'} keeps no outputs of frozen blocks: its cache folder has reached its "
                "limit or cannot be written. Every trial computes these outputs again"
            )

    def lose(self, job: Job, reason: str) -> None:
        """A training has lost its process and will go on."""
        self._running.pop(job.key, None)
        self._say(f"{_name(job)}: {reason}; it goes on from its last snapshot", problem=True)

    def note(self, text: str) -> None:
        """Show a problem that belongs to no training."""
        self._say(text, problem=True)

    def end(self, line: Line) -> None:
        """A training has ended."""
        key = (line.number, line.seed)
        trial = self._take(line)
        self._running.pop(key, None)
        why = f" ({line.reason})" if line.reason else ""
        problem = line.outcome in {Outcome.FAILED, Outcome.INFEASIBLE}
        if line.confirms:
            self._confirmed += 1
            score = "" if trial.best is None else f": {self._score(trial)}"
            self._say(f"{_name(line)} {outcome(line.outcome)}{why}{score}", problem)
            return
        self._done += 1
        self._best = trial_records.top([*self._best, trial], self._kept)
        best = self._best[0] if self._best else None
        so_far = f"best {self._score(best)} by trial {best.number}" if best else "no score yet"
        done = f"{self._done}{self._planned(' of ')} done"
        self._say(f"{_name(line)} {outcome(line.outcome)}{why}: {done}, {so_far}", problem)

    def _score(self, trial: Trial) -> str:
        return f"{self._plan.search.metric.value(trial.objective):.4f}"

    def _take(self, line: Line) -> Trial:
        key = (line.number, line.seed)
        known = self._trainings.get(key)
        # A training that was interrupted goes on under its number.
        self._trainings[key] = trial_records.extended(known if known and known.open else None, line)
        self._measure(self._trainings[key])
        return self._trainings[key]

    def _measure(self, trial: Trial) -> None:
        if trial.reports:
            recipe, last = self._plan.recipe(trial.params, trial.seed), trial.reports[-1]
            self._measured[trial.key] = pace.Measured(
                model=recipe.model, depth=recipe.frozen_layers, epochs=last.epoch, seconds=last.seconds
            )

    def _planned(self, before: str) -> str:
        planned = self._plan.budget.trials
        return "" if planned is None else f"{before}{planned}"

    def _say(self, text: str, problem: bool = False) -> None:
        text = f"[{clock(time.monotonic() - self._started)}] {text}"
        if problem:
            self._problems.append(text)
        if not self._live.is_started and (problem or not self._console.quiet):
            say(self._console, text)

    # --- the live view -------------------------------------------------------------------------

    def _screen(self) -> Screen:
        plan, now = self._plan, time.monotonic()
        searched = [trial for trial in self._trainings.values() if not trial.confirms]
        rungs = pace.rung_counts(searched, plan.schedule.rungs)
        running = [self._row(run, now) for _, run in sorted(self._running.items())]
        return Screen(
            sentences=[*self._how_far(now), *self._best_so_far(), *self._to_go(rungs, now)],
            metric=plan.search.metric.name,
            rungs=rungs,
            ended=sum(trial.outcome == Outcome.COMPLETE for trial in searched),
            epochs=plan.budget.epochs,
            planned=plan.budget.trials,
            shares=pace.shares(self._spent, self._slots * (now - self._started) - self._unheard(now)),
            running=running,
            leading=[self._row_of(trial, place) for place, trial in enumerate(self._best[:_BEST_SHOWN])],
            problems=self._problems[-_PROBLEMS_SHOWN:],
        )

    def _row(self, run: _Running, now: float) -> TableRow:
        objective = run.last.objective if run.last else None
        return TableRow(
            number=run.job.number,
            state=f"seed {run.job.seed}" if run.job.confirms else "running",
            epoch=run.last.epoch if run.last else 0.0,
            score=None if objective is None else self._plan.search.metric.value(objective),
            seconds=now - run.since,
            label=run.job.label,
            params=run.job.params,
            style="cyan",
        )

    def _row_of(self, trial: Trial, place: int) -> TableRow:
        best = trial.best
        return TableRow(
            number=trial.number,
            state=outcome(trial.outcome),
            epoch=best.epoch if best else 0.0,
            score=self._plan.search.metric.value(trial.objective) if best else None,
            seconds=trial.seconds,
            label=trial.label,
            params=trial.params,
            style="" if place else "bold green",
        )

    def _how_far(self, now: float) -> list[str]:
        plan = self._plan
        running = sum(not run.job.confirms for run in self._running.values())
        planned = plan.budget.trials
        left = "" if planned is None else f", {max(0, planned - self._done - running)} to come"
        search = f"{plan.search.space} ({plan.search.profile})  {clock(now - self._started)}"
        sentences = [f"{search}  {self._done}{self._planned(' of ')} trials done, {running} running{left}"]
        confirming = len(self._running) - running
        if confirming or self._confirmed:
            sentences.append(f"confirming the best: {self._confirmed} done, {confirming} running")
        return sentences

    def _best_so_far(self) -> list[str]:
        if not self._best:
            return []
        best, metric = self._best[0], self._plan.search.metric.name
        return [f"best {metric} {self._score(best)} by trial {best.number}: {recipe_line(best.params)}"]

    def _to_go(self, rungs: list[pace.Rung], now: float) -> list[str]:
        left = self._seconds_left(rungs, now)
        if left is None:
            return []
        end = datetime.datetime.now() + datetime.timedelta(seconds=left)
        return [f"about {estimate(left)} to go, until {end:%H:%M}"]

    def _seconds_left(self, rungs: list[pace.Rung], now: float) -> float | None:
        """Estimated seconds until the search ends; None before a training has reported."""
        budget, rates = self._plan.budget, pace.Rates(self._measured.values())
        anywhere = rates.mean(
            [*((training.model, training.depth) for training in self._measured.values()), *self._space]
        )
        if anywhere is None:
            return None
        shares = pace.passing(rungs)
        running: dict[_Key, float] = {}
        for key, run in self._running.items():
            recipe = self._plan.recipe(run.job.params, run.job.seed)
            ahead = pace.epochs_ahead(
                run.last.epoch if run.last else 0.0, budget.epochs, {} if run.job.confirms else shares
            )
            rate = rates.at(recipe.model, recipe.frozen_layers)
            running[key] = max(0.0, ahead * (anywhere if rate is None else rate) - (now - run.heard))
        searching = [seconds for key, seconds in running.items() if not self._running[key].job.confirms]
        each, limit = pace.epochs_ahead(0.0, budget.epochs, shares) * anywhere, None
        to_come = [each] * max(0, (budget.trials or 0) - self._done - len(searching))
        if budget.seconds is not None:
            limit = max(0.0, budget.seconds - self._used - (now - self._started))
            to_come = to_come if budget.trials is not None else [math.inf]  # trials until the time is over
        return pace.seconds_left(
            running=searching,
            upcoming=to_come,
            confirming=self._confirmation(rates, anywhere, running),
            slots=self._slots,
            limit=limit,
        )

    def _confirmation(self, rates: pace.Rates, anywhere: float, running: Mapping[_Key, float]) -> list[float]:
        """Expected seconds of each training that confirms one of the best recipes: those that run and those to come."""
        budget = self._plan.budget
        recipes = min(budget.confirm_recipes, budget.trials or budget.confirm_recipes)
        expected = [seconds for key, seconds in running.items() if self._running[key].job.confirms]
        to_come = race.expected_trainings(recipes, budget.confirm_seeds) - self._confirmed - len(expected)
        best = [self._plan.recipe(trial.params, trial.seed) for trial in self._best[:recipes]]
        rate = rates.mean((recipe.model, recipe.frozen_layers) for recipe in best)
        return expected + [budget.epochs * (anywhere if rate is None else rate)] * max(0, to_come)

    def _unheard(self, now: float) -> float:
        """Seconds since each slot's last report. No report has said yet which activities they went into.

        Heads that train together all begin at once on one slot, so no more trainings than slots count.
        """
        since = sorted(now - run.heard for run in self._running.values())
        return sum(since[: self._slots])


class _Running(NamedTuple):
    job: Job
    since: float
    heard: float
    """When it last reported or began."""
    last: Line | None


def _name(training: Job | Line) -> str:
    return f"trial {training.number}" + (f" seed {training.seed}" if training.confirms else "")


def say(console: Console, text: str) -> None:
    """Print a problem, also if the console is quiet."""
    quiet, console.quiet = console.quiet, False
    console.print(text, markup=False, highlight=False)
    console.quiet = quiet
