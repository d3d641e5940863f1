"""Optuna's ask and tell as a Tune searcher, on durable storage.

Ray's own `OptunaSearch` tells a trial that ASHA stopped as COMPLETE, drops its last intermediate value
and leaves a non-finite one RUNNING for ever (Ray 2.60); this one keeps Optuna's states true.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher


def create(path: Path, name: str, seed: int, trials: int, recipes: Mapping[str, Mapping[str, Any]]) -> optuna.Study:
    """A new study in the journal file `path`, with the recipes queued as its first trials.

    Args:
        path: appended by every ask, report and tell; survives the process.
        name: of the study.
        seed: of the sampler.
        trials: planned number; the share that is sampled at random first depends on it.
        recipes: label -> parameters.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        direction="maximize",
        storage=JournalStorage(JournalFileBackend(str(path))),
        sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup_trials(trials, len(recipes))),
        pruner=optuna.pruners.NopPruner(),  # ASHA decides; Optuna is told
    )
    for label, params in recipes.items():
        study.enqueue_trial(dict(params), user_attrs={"recipe": label})
    return study


def startup_trials(trials: int, recipes: int) -> int:
    """Trials before TPE models anything: a third of the search, 10 (Optuna's default) at most, the recipes at least."""
    return max(recipes, min(10, trials // 3))


def end_state(report: Mapping[str, Any] | None, error: bool) -> TrialState:
    """How a trial ended, from its last report.

    FAIL: it raised, never reported, or reported a failure or a non-finite objective. COMPLETE: its last
    report was the last of its budget. PRUNED: it was stopped before.
    """
    if error or not report or report.get("failed") or not math.isfinite(report.get("objective", math.nan)):
        return TrialState.FAIL
    return TrialState.COMPLETE if report.get("final") else TrialState.PRUNED


class StudySearch(Searcher):
    """Wires an Optuna study to Tune: `suggest` asks; reports and ends are told."""

    def __init__(self, study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> None:
        super().__init__(metric="objective", mode="max")
        self._study = study
        self._distributions = dict(distributions)
        self._open: dict[str, optuna.Trial] = {}
        self._best: dict[str, float] = {}
        self._step: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next recipe's parameters and the number the study gave it."""
        trial = self._study.ask(self._distributions)
        self._open[trial_id] = trial
        return {"number": trial.number, "params": trial.params, "label": trial.user_attrs.get("recipe", "")}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record an intermediate value at the number of samples seen."""
        trial, value = self._open.get(trial_id), result.get("objective", math.nan)
        if trial is None or not math.isfinite(value) or result["samples"] <= self._step.get(trial_id, 0):
            return
        self._step[trial_id] = int(result["samples"])
        trial.report(value, self._step[trial_id])
        self._best[trial_id] = max(value, self._best.get(trial_id, -math.inf))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell how the trial ended; a complete one counts with its best report, not its last."""
        if trial_id not in self._open:
            return
        if result:  # Tune keeps the report at which it stops a trial from on_trial_result
            self.on_trial_result(trial_id, result)
        trial, state = self._open.pop(trial_id), end_state(result, error)
        best = self._best.pop(trial_id, None)
        self._step.pop(trial_id, None)
        self._study.tell(trial, best if state == TrialState.COMPLETE else None, state=state)

    def abandon(self) -> None:
        """End what still runs when a search is interrupted: PRUNED with what it reported, FAIL without."""
        for trial_id in list(self._open):
            trial = self._open.pop(trial_id)
            state = TrialState.PRUNED if trial_id in self._best else TrialState.FAIL
            self._study.tell(trial, state=state)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its searcher, and the study is on disk already."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save, for the same reason."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, for the same reason."""
