"""Which of the best recipes wins: each is trained again with fresh seeds, and its mean is compared.

The best score of many trials is also the luckiest. So the trials only say which recipes deserve confirmation. The
winner is chosen by scores with seeds that had no part in choosing these recipes. All functions are pure: trials in,
decision out.
"""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from frostline.search.ledger import seeds
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import Metric

LEVEL = 0.95
"""Confidence level of the intervals, and of the test whether two recipes differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Confirmed:
    """Scores of one recipe with fresh seeds. A score is a value of the deciding metric."""

    number: int
    """Number of the trial that found the recipe."""
    params: dict[str, Any]
    label: str
    found: float
    """Score of that trial: the one that the recipe was picked for."""
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    """Score per seed, at the best report of each training."""
    failed: int
    """Trainings that ended without a score."""
    mean: float
    """Mean of the scores."""
    interval: tuple[float, float] | None
    """95 % confidence interval of the mean (Student's t); None with one seed."""
    objective: float
    """The mean, turned so that larger is better."""
    seconds: float
    """Mean training time."""


def fresh_seeds(seed: int, count: int) -> tuple[int, ...]:
    """The seeds of the confirmation of a search with `seed`."""
    return tuple(seeds.fresh(seed, index) for index in range(count))


def certain(trials: Iterable[Trial], count: int, running: int) -> list[Trial]:
    """The trials that are among the best `count` whatever `running` others will score, best first.

    Each trial still running can push the rest down by one place, so the first `count - running` of those
    that have ended are safe. Their confirmation need not wait.
    """
    ended = [trial for trial in trials if not trial.open]
    return trial_records.top(ended, max(0, count - running))


def confirmed(trials: Iterable[Trial], runs: Iterable[Trial], metric: Metric) -> list[Confirmed]:
    """The recipes that have been trained again, best first: those that never failed, by their mean.

    Args:
        trials: trials of the search.
        runs: trainings with fresh seeds; their `number` is that of the search's trial.
        metric: metric that decides.
    """
    runs_of: dict[int, list[Trial]] = {}
    for run in runs:
        if not run.open:
            runs_of.setdefault(run.number, []).append(run)
    rows = [
        _row(trial, runs_of[trial.number], metric)
        for trial in trials
        if any(map(_has_score, runs_of.get(trial.number, ())))
    ]
    return sorted(rows, key=lambda row: (row.failed, -row.objective, row.seconds))


def winner(trials: Iterable[Trial], runs: Iterable[Trial], rows: Sequence[Confirmed]) -> Trial | None:
    """The training that wins: the best one of the first of the confirmed recipes, else the best trial.

    Args:
        trials: trials of the search.
        runs: trainings with fresh seeds.
        rows: result of `confirmed` for both; empty if confirmation is off.
    """
    same = [run for run in runs if rows and run.number == rows[0].number and not run.open]
    return trial_records.winner(same) or trial_records.winner(trials)


def _has_score(run: Trial) -> bool:
    return run.outcome != Outcome.FAILED and run.best is not None


def _row(trial: Trial, runs: Sequence[Trial], metric: Metric) -> Confirmed:
    good = [run for run in runs if _has_score(run)]
    scores = tuple(metric.value(run.objective) for run in good)
    mean = statistics.fmean(scores)
    return Confirmed(
        number=trial.number,
        params=trial.params,
        label=trial.label,
        found=metric.value(trial.objective),
        seeds=tuple(run.seed for run in good),
        scores=scores,
        failed=len(runs) - len(good),
        mean=mean,
        interval=mean_interval(scores),
        objective=metric.objective(mean),
        seconds=statistics.fmean(run.seconds for run in good),
    )


def mean_interval(scores: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % confidence interval of the mean of independent scores, by Student's t; None for a single one."""
    from scipy import stats

    if len(scores) < 2:
        return None
    mean, error = statistics.fmean(scores), statistics.stdev(scores) / math.sqrt(len(scores))
    if error == 0:
        return mean, mean
    low, high = stats.t.interval(LEVEL, len(scores) - 1, loc=mean, scale=error)
    return float(low), float(high)


def apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """True if the means of two samples differ by more than chance: Welch's t-test at 5 %.

    A single score says nothing about chance, so with one score on a side the answer is False.
    """
    from scipy import stats

    if min(len(one), len(other)) < 2:
        return False
    if statistics.variance(one) == statistics.variance(other) == 0:
        return statistics.fmean(one) != statistics.fmean(other)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side has no variance; that of the other side is enough
        return bool(stats.ttest_ind(one, other, equal_var=False).pvalue < 1 - LEVEL)


def tied(rows: Sequence[Confirmed]) -> list[Confirmed]:
    """The recipes that do not differ from the first one by the test, with the first one, cheapest first; empty if it
    is the only one."""
    if not rows:
        return []
    same = [row for row in rows if row is rows[0] or (not row.failed and not apart(rows[0].scores, row.scores))]
    return sorted(same, key=lambda row: row.seconds) if len(same) > 1 else []


def seconds_needed(trials: Iterable[Trial], *, epochs: int, recipes: int, seeds: int, slots: int) -> float:
    """Estimated seconds that the confirmation of the best trials takes, by their own seconds per epoch."""
    total = 0.0
    for trial in trial_records.top(trials, recipes):
        last = trial.reports[-1]
        total += last.seconds / last.epoch * epochs * seeds
    return total / slots
