"""The Optuna study of a search: ask, report, tell, on durable storage.

Ray's own `OptunaSearch` tells a trial that a rung stopped as COMPLETE, drops its last intermediate value,
leaves a non-finite one RUNNING for ever, and after a restart enqueues its first points again and repeats
its random ones (Ray 2.60). This study keeps Optuna's states true.

`trials.jsonl` is the truth. A search makes its study again from these records whenever it opens it. So a crash
between two writes, a torn line or a changed choice of a categorical parameter is no special case.
"""

from __future__ import annotations

import datetime
import json
import math
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from frostline.search.ledger.knowledge import Knowledge
from frostline.search.records.trials import Line, Outcome, Trial
from frostline.spaces import Metric
from frostline.trainables import _atomic

MODELLED = 100
"""Trials that a Gaussian process proposes, at most. After them TPE does: it has enough to learn from, and it stays
quick."""


class Study:
    """The study of one search. Trials go by the number that Optuna gave them, from 0."""

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        seed: int,
        planned: int | None,
        recipes: Mapping[str, Mapping[str, Any]],
        distributions: Mapping[str, BaseDistribution],
        metric: Metric,
        knowledge: Knowledge,
        known: Sequence[Trial] = (),
    ) -> None:
        """Make the study from the records of its trials. Recipes that were not tried come next, then random points.

        Args:
            path: the journal file; it is replaced as a whole, then appended by every ask, report and tell.
            name: name of the study.
            seed: seed of the sampler.
            planned: number of trials; the number of random points at the start depends on it.
            recipes: label -> parameters.
            distributions: what is searched.
            metric: metric of the values; the study has its direction.
            knowledge: what all trainings of the search say; its owner keeps it up to date.
            known: every trial asked for so far, numbered without a gap.

        Raises:
            OSError: the disk is full; the old file is as it was.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._seed, self._distributions, self._metric = seed, dict(distributions), metric
        self._knowledge = knowledge
        self._startup = startup_trials(planned, len(recipes))
        tried = [trial.params for trial in known]
        first = [
            *((params, label) for label, params in recipes.items() if label not in {trial.label for trial in known}),
            *((params, "") for params in self._start(self._startup - len(recipes)) if params not in tried),
        ]
        self._enqueued = deque(params for params, _ in first)
        _rewrite(path, name, first, self._distributions, metric, known)
        self._asked = len(known)
        storage = _Storage(JournalFileBackend(str(path)))
        self._study = optuna.load_study(
            study_name=name,
            storage=storage,
            pruner=optuna.pruners.NopPruner(),  # the rungs decide; Optuna is told
        )
        study_id = storage.get_study_id_from_name(name)
        self._open = {
            trial.number: optuna.trial.Trial(
                self._study, storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
            )
            for trial in self._study.get_trials(deepcopy=False, states=[TrialState.RUNNING])
        }

    def _start(self, count: int) -> list[dict[str, Any]]:
        """Random points, as drawn. Cheapest first was no better (tests/bench/README.md)."""
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=self._seed))
        return [study.ask(self._distributions).params for _ in range(count)]

    def upcoming(self) -> Mapping[str, Any]:
        """Parameters of the next trial if they are known before it is asked for; else empty."""
        return self._enqueued[0] if self._enqueued else {}

    def ask(self, seconds: float = math.inf, worth: float = 0.0) -> tuple[int, dict[str, Any], str] | None:
        """The next trial: its number, parameters, and label (empty unless it is one of the recipes).

        None if no recipe is expected to end in time and to be worth it. As long as nothing is known of the times, any
        is.

        The sampled values depend on the seed, the number and the results so far, not on how often the search was
        restarted.

        Args:
            seconds: what a training may take.
            worth: improvement that a trial has to promise, in units of the objective.
        """
        seed = int(np.random.SeedSequence([self._seed, self._asked]).generate_state(1)[0])
        modelled = not self._enqueued and self._asked < MODELLED and self._knowledge.surrogate is not None
        if modelled:
            running = [trial.params for _, trial in sorted(self._open.items())]
            proposed = self._knowledge.propose(running, np.random.default_rng(seed), seconds)
            if proposed is None or proposed[1] < worth:
                return None
            self._study.sampler = _Given(proposed[0])
        else:
            self._study.sampler = _TPE(self._distributions, seed=seed, n_startup_trials=self._startup)
        trial = self._study.ask(self._distributions)
        self._asked += 1
        self._open[trial.number] = trial
        if self._enqueued:
            self._enqueued.popleft()
        return trial.number, trial.params, trial.user_attrs.get("recipe", "")

    def report(self, line: Line) -> None:
        """Record a report's value at the number of examples seen."""
        if line.objective is not None and math.isfinite(line.objective):
            self._open[line.number].report(self._metric.value(line.objective), line.samples)

    def tell(self, ended: Trial) -> None:
        """Record how a trial ended."""
        trial, state = self._open.pop(ended.number), optuna_state(ended)
        if ended.outcome == Outcome.INFEASIBLE:
            trial.set_constraint("memory", 1.0)
        value = self._metric.value(ended.objective) if state == TrialState.COMPLETE else None
        self._study.tell(trial, value, state=state)


def startup_trials(planned: int | None, recipes: int) -> int:
    """Trials before the first one that is proposed: a third of the search, at most 10, at least the recipes.

    With 6 of 25 the search soon looked nowhere but around its first good recipes (tests/bench/README.md).
    """
    return max(recipes, 10 if planned is None else min(10, planned // 3))


def optuna_state(trial: Trial) -> TrialState:
    """The state that Optuna has for an outcome.

    A trial that does not fit is PRUNED with a violated constraint, since TPE does not learn from FAIL. A trial that
    the time budget or Ctrl-C ended is PRUNED if it has reported, else FAIL.
    """
    if trial.outcome in {Outcome.OUT_OF_TIME, Outcome.INTERRUPTED}:
        return TrialState.PRUNED if trial.reports else TrialState.FAIL
    return {
        Outcome.RUNNING: TrialState.RUNNING,
        Outcome.COMPLETE: TrialState.COMPLETE,
        Outcome.PRUNED: TrialState.PRUNED,
        Outcome.INFEASIBLE: TrialState.PRUNED,
        Outcome.FAILED: TrialState.FAIL,
    }[trial.outcome]


def _rewrite(
    path: Path,
    name: str,
    first: Iterable[tuple[Mapping[str, Any], str]],
    distributions: dict[str, BaseDistribution],
    metric: Metric,
    known: Iterable[Trial],
) -> None:
    """Replace the journal file by one made from the records."""
    backend = _Lines()
    study = optuna.create_study(study_name=name, direction=metric.goal, storage=JournalStorage(backend))
    for trial in known:
        study.add_trial(_frozen(trial, distributions, metric))
    for params, label in first:
        study.enqueue_trial(dict(params), user_attrs={"recipe": label} if label else None)
    _atomic.write(path, "".join(json.dumps(line) + "\n" for line in backend.lines))
    # A process that was killed while it appended has left its lock; Optuna would wait 30 s for it.
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


def _frozen(trial: Trial, distributions: dict[str, BaseDistribution], metric: Metric) -> FrozenTrial:
    state = TrialState.RUNNING if trial.open else optuna_state(trial)
    values = {
        line.samples: metric.value(line.objective)
        for line in trial.reports
        if line.objective is not None and math.isfinite(line.objective)
    }
    value = metric.value(trial.objective) if state == TrialState.COMPLETE else None
    if state == TrialState.PRUNED and values:
        value = values[max(values)]  # as Optuna does when it is told
    frozen = optuna.trial.create_trial(
        state=state,
        value=value,
        params=trial.params,
        distributions=distributions,
        user_attrs={"recipe": trial.label} if trial.label else {},
        intermediate_values=values,
        constraints={"memory": 1.0} if trial.outcome == Outcome.INFEASIBLE else None,
    )
    frozen.datetime_start = datetime.datetime.fromtimestamp(trial.time - trial.seconds)
    if state.is_finished():
        frozen.datetime_complete = datetime.datetime.fromtimestamp(trial.time)
    return frozen


class _Given(optuna.samplers.RandomSampler):
    """Gives the parameters that were chosen already."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        super().__init__(seed=0)
        self._params = dict(params)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._params[param_name]


class _TPE(optuna.samplers.TPESampler):
    """TPE with a given space. Every trial here has the same one; TPE would intersect those of all trials."""

    def __init__(self, space: Mapping[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space


class _Storage(JournalStorage):
    """Searches for a waiting trial only while there may be one: every ask does, and it walks through all trials."""

    _none_waits = False

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is not None:
            self._none_waits = False
        return super().create_new_trial(study_id, template_trial)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        waiting = [] if self._none_waits else super().get_all_trials(study_id, deepcopy, states)
        self._none_waits = not waiting
        return waiting


class _Lines(BaseJournalBackend):
    """A journal in memory, written to disk in one go: every append to a file would wait for the disk."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        return self.lines[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self.lines += logs
