"""The recipes that were trained again with fresh seeds, and which of them is offered. Pure functions of records.

The best score of many trials is also the luckiest. So the trials only say which recipes deserve to be trained again
(`race.py`), and the winner is chosen by all scores of the search together (`knowledge.py`).
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frostline.search.ledger import claim
from frostline.search.ledger.claim import LEVEL, Claim
from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.knowledge import Knowledge
from frostline.search.plan.disk import KEPT_CHECKPOINTS
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome, Trial
from frostline.spaces import Metric

_SMALL = 0.005
"""Difference between two shares of right answers that hardly matters: half a point."""
_SMALL_PART = 0.05
"""The same for other metrics, as a part of the distance from the median to the best score of the search."""
_CANDIDATES = {Outcome.COMPLETE, Outcome.OUT_OF_TIME, Outcome.INTERRUPTED}
"""Ends of a trial that can win without a fresh seed: with a score of its own, and not stopped at a rung."""
_CHEAPER = 0.8
"""A tied recipe is offered for its price if it takes at most this part of the best one's time. Times vary too."""


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
    """Mean of the scores; without any, the score of the trial."""
    estimate: float
    """Expected score over all seeds, on examples that no training has seen. It is below the mean where that is luck."""
    interval: tuple[float, float]
    """95 % interval of the estimate: seeds and validation examples."""
    within: float
    """Another seed scores within this distance of the estimate on the same examples, with a probability of 95 %."""
    chance: float
    """Probability of being the best of the confirmed recipes."""
    tied: bool
    """True if it cannot be told apart from the best one, and is no more than a little worse. So is the best one."""
    seconds: float
    """Mean training time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """The rules by which recipes of one search are compared."""

    metric: Metric
    """Metric that decides."""
    examples: int
    """Size of the validation slice."""
    prefer: str
    """The tied recipe that is offered: the `cheapest`, or the `best` by its estimate. Empty: the one with the best mean
    of its fresh seeds, as in searches of earlier versions."""
    axes: Axes
    """Axes of the space."""

    def knowledge(self, trainings: Iterable[Trial] = ()) -> Knowledge:
        """What these trainings say of the search's recipes."""
        knowledge = Knowledge(self.axes, self.examples if self.metric.is_share else None)
        for training in trainings:
            knowledge.put(training)
        return knowledge

    def small(self, found: Iterable[float]) -> float:
        """Difference between two objectives that hardly matters.

        Args:
            found: objectives of the trials.
        """
        return _SMALL if self.metric.is_share else _SMALL_PART * _distance(found)


def _distance(found: Iterable[float]) -> float:
    """From the median to the best objective; never 0."""
    scores = sorted(found)
    median = statistics.median(scores)
    return max(scores[-1] - median, 1e-6 * (1 + abs(median)))


def completed(trials: Iterable[Trial]) -> dict[int, float]:
    """Objective of each trial that was trained to its end, by number."""
    return {trial.number: trial.objective for trial in trials if trial.outcome == Outcome.COMPLETE and trial.best}


def by_number(runs: Iterable[Trial]) -> dict[int, list[Trial]]:
    """Trainings with fresh seeds that have ended, by the trial that they confirm."""
    ended: dict[int, list[Trial]] = {}
    for run in runs:
        if not run.open:
            ended.setdefault(run.number, []).append(run)
    return ended


def confirmed(
    trials: Iterable[Trial], runs: Iterable[Trial], judge: Judge, knowledge: Knowledge | None = None
) -> list[Confirmed]:
    """The recipes that have been trained again, the one that is offered first, then the best.

    A trial that no fresh seed has confirmed yet is among them if its recipe is expected to be better than all others:
    for some there is no time. Recipes that never failed come before the others.

    Args:
        trials: trials of the search.
        runs: trainings with fresh seeds; their `number` is that of the search's trial.
        judge: how recipes are compared.
        knowledge: what all of them say, if it is there already.
    """
    trials, runs_of = list(trials), by_number(runs)
    knowledge = knowledge or judge.knowledge([*trials, *(run for each in runs_of.values() for run in each)])
    again = [trial for trial in trials if trial.best and any(map(has_score, runs_of.get(trial.number, ())))]
    # Of the others, those whose weights are kept.
    kept = [trial for trial in trial_records.top(trials, KEPT_CHECKPOINTS) if trial.outcome in _CANDIDATES]
    kept = [trial for trial in kept if trial.number not in runs_of]
    if interrupted := [trial for trial in kept if trial.open]:
        knowledge = knowledge.also(interrupted)
    sound = [trial for trial in again if all(map(has_score, runs_of[trial.number]))]
    if kept:
        expected = knowledge.expected([*kept, *sound])
        best = int(expected.argmax())
        sound += kept[best : best + 1]
    if not (again or sound):
        return []
    small = judge.small([*completed(trials).values(), *(trial.objective for trial in [*again, *sound])])
    rows = _rows(sound, runs_of, judge, knowledge, small)
    failing = [trial for trial in again if trial not in sound]
    rest = _rows(failing, runs_of, judge, knowledge, small)
    return [*rows, *sorted(rest, key=lambda row: row.failed)]


def _rows(
    again: Sequence[Trial],
    runs_of: Mapping[int, Sequence[Trial]],
    judge: Judge,
    knowledge: Knowledge,
    small: float,
) -> list[Confirmed]:
    if not again:
        return []
    belief = knowledge.belief(again)
    claims = claim.claims(belief, judge.examples if judge.metric.is_share else None, small)
    order = sorted(range(len(again)), key=lambda place: -belief.means[place])
    rows = [_row(again[place], runs_of.get(again[place].number, ()), claims[place], judge.metric) for place in order]
    if not judge.prefer:
        return sorted(rows, key=lambda row: (-judge.metric.objective(row.mean), row.seconds))
    if judge.prefer == "cheapest":
        cheapest = min((row for row in rows if row.tied), key=lambda row: row.seconds)
        if cheapest.seconds <= _CHEAPER * rows[0].seconds:
            rows.remove(cheapest)
            rows.insert(0, cheapest)
    return rows


def winner(trials: Iterable[Trial], runs: Iterable[Trial], rows: Sequence[Confirmed]) -> Trial | None:
    """The training that wins: the best one with a fresh seed of the first of these recipes, or the trial that found it.

    Args:
        trials: trials of the search.
        runs: trainings with fresh seeds.
        rows: result of `confirmed` for both; empty if confirmation is off, when the best trial wins.
    """
    if not rows:
        return trial_records.winner(trials)
    same = [run for run in runs if run.number == rows[0].number and not run.open]
    return trial_records.winner(same) or next(trial for trial in trials if trial.number == rows[0].number)


def has_score(run: Trial) -> bool:
    """True if a training has a score that counts."""
    return run.outcome != Outcome.FAILED and run.best is not None


def _row(trial: Trial, runs: Sequence[Trial], said: Claim, metric: Metric) -> Confirmed:
    good = [run for run in runs if has_score(run)]
    scores = tuple(metric.value(run.objective) for run in good)
    low, high = sorted(map(metric.value, said.interval))
    return Confirmed(
        number=trial.number,
        params=trial.params,
        label=trial.label,
        found=metric.value(trial.objective),
        seeds=tuple(run.seed for run in good),
        scores=scores,
        failed=len(runs) - len(good),
        mean=statistics.fmean(scores) if scores else metric.value(trial.objective),
        estimate=metric.value(said.estimate),
        interval=(low, high),
        within=said.within,
        chance=said.chance,
        tied=said.tied,
        seconds=statistics.fmean(run.seconds for run in good or [trial]),
    )


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
    """The recipes that cannot be told apart from the best one, with it, cheapest first; empty if it is the only one."""
    same = [row for row in rows if row.tied and not row.failed]
    return sorted(same, key=lambda row: row.seconds) if len(same) > 1 else []


def seconds_of(trial: Trial, epochs: float) -> float:
    """Estimated seconds of a training of its recipe; 0 before its first report."""
    return trial.reports[-1].seconds / trial.reports[-1].epoch * epochs if trial.reports else 0.0
