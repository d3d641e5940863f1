"""A search in W&B's terms: a sweep, whose runs are trainings, whose rows are reports. Pure functions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from frostline.search.plan.plan import Plan
from frostline.search.records.baseline import BaselineRecord
from frostline.search.records.events import Job
from frostline.search.records.trials import Line, Outcome, Trial
from frostline.spaces import Metric

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

BOOK = "frostline.jsonl"
"""File in the folder `wandb` of a run directory: the sweep, and how many rows of each run were sent."""

EPOCH, SAMPLES = "epoch", "samples"
"""Axes of a run's curves."""

_TAG = 64
"""Characters that W&B allows in a tag."""


def config(plan: Plan) -> dict[str, Any]:
    """The configuration of the sweep. Its controller is local, since Optuna proposes the trials.

    W&B's sweep page draws its panels from `metric` and `parameters`, so these are the keys that runs log and have
    in their configuration.
    """
    metric = plan.search.metric
    return {
        "name": plan.place.run.name,
        "description": f"{plan.search.space}, profile {plan.search.profile}: a Frostline search",
        "method": "bayes",  # the nearest to TPE of the three that W&B knows
        "controller": {"type": "local"},
        "metric": {"name": metric.name, "goal": metric.goal},
        "parameters": {name: parameter(space) for name, space in plan.search.distributions.items()},
    }


def parameter(distribution: BaseDistribution) -> dict[str, Any]:
    """An Optuna distribution as a sweep's parameter."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        choices = list(distribution.choices)
        return {"value": choices[0]} if len(choices) == 1 else {"distribution": "categorical", "values": choices}
    assert isinstance(distribution, FloatDistribution | IntDistribution)  # Optuna has no others
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.single():
        return {"value": low}
    bounds = {"min": low, "max": high}
    if isinstance(distribution, IntDistribution):
        if distribution.log:
            return {"distribution": "q_log_uniform_values", **bounds, "q": 1}
        return (
            {"distribution": "int_uniform", **bounds}
            if step == 1
            else {"distribution": "q_uniform", **bounds, "q": step}
        )
    if distribution.log:
        return {"distribution": "log_uniform_values", **bounds}
    return {"distribution": "uniform", **bounds} if step is None else {"distribution": "q_uniform", **bounds, "q": step}


def is_log(distribution: BaseDistribution) -> bool:
    """True if the parameter belongs on a logarithmic axis."""
    return bool(getattr(distribution, "log", False))


def run_prefix(name: str, first_session: Mapping[str, Any]) -> str:
    """The start of the ids of all runs of a search: the same after `--resume`, different in any other search.

    Args:
        name: name of the run directory.
        first_session: the event in its log that marks the first session.
    """
    text = json.dumps([name, *(first_session.get(key) for key in ("time", "pid", "host"))])
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40]  # an id has 64 characters at most, and no slashes
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def run_id(prefix: str, job: Job) -> str:
    """Id of the run of a training."""
    return f"{prefix}-{job.number}-{job.seed}" if job.confirms else f"{prefix}-{job.number}"


def run_name(job: Job) -> str:
    """Name of the run of a training in W&B's tables."""
    return (
        f"trial {job.number}" + (f" seed {job.seed}" if job.confirms else "") + (f" ({job.label})" if job.label else "")
    )


def run_config(plan: Plan, job: Job) -> dict[str, Any]:
    """The whole recipe, with every searched parameter under its own name at the top level."""
    recipe = dataclasses.asdict(plan.recipe(job.params, job.seed))
    search = {"space": plan.search.space, "profile": plan.search.profile}
    return {**recipe, **job.params, "trial": job.number, "label": job.label, **search}


def tags(plan: Plan, model: str) -> list[str]:
    """Space, profile and model, without duplicates."""
    return list(dict.fromkeys(text[-_TAG:] for text in (plan.search.space, plan.search.profile, model)))


def row(line: Line) -> dict[str, Any]:
    """A report as one row of the run's history."""
    return {
        **line.metrics,
        EPOCH: line.epoch,
        SAMPLES: line.samples,
        "step": line.step,
        "seconds": line.seconds,
        "partial": int(line.partial),
        "_timestamp": line.time,
    }


def ending(
    trial: Trial, metric: Metric, rungs: Iterable[float], baseline: BaselineRecord | None = None
) -> dict[str, Any]:
    """The summary of the run of an ended training. W&B compares runs by it.

    Its metric comes from the best report, by which the search decides, not from the last one. The validation score of
    the trained baseline, once there is one, stands beside it.
    """
    last, best = (trial.reports[-1] if trial.reports else None), trial.best
    summary: dict[str, Any] = {"outcome": trial.outcome.value, "seconds": trial.seconds}
    if trial.reason:
        summary["reason"] = trial.reason
    if best:
        summary |= {metric.name: metric.value(trial.objective), "best_epoch": best.epoch}
    if baseline and metric.name in baseline.validation:
        summary |= {"baseline": baseline.name, f"baseline_{metric.name}": baseline.validation[metric.name]}
    if trial.outcome == Outcome.PRUNED and last:
        summary["stopped_at_rung"] = max((rung for rung in rungs if rung <= last.epoch), default=last.epoch)
    return summary


def result(
    metric: Metric, test: Mapping[str, float], baseline: BaselineRecord | None, comparison: str
) -> dict[str, Any]:
    """What the end of a search adds to the summary of the winner's run: its test scores, and the baseline's.

    Args:
        metric: metric that decides.
        test: the winner's metrics on the test examples.
        baseline: the trained baseline; None if there is none.
        comparison: whether the winner is better, in words; empty if that is not known.
    """
    summary: dict[str, Any] = {f"test_{name}": value for name, value in test.items()}
    if baseline and baseline.test and metric.name in baseline.test:
        summary[f"baseline_test_{metric.name}"] = baseline.test[metric.name]
    if comparison:
        summary["comparison"] = comparison
    return summary


def exit_code(trial: Trial) -> int:
    """Exit code of the run: 0 shows as finished, also if it was pruned; 1 as failed, or as preempted if it goes on."""
    return int(trial.outcome == Outcome.FAILED or trial.open)


def state_tags(trial: Trial) -> list[str]:
    """A tag for an outcome that W&B has no state for: a pruned trial shows as finished."""
    without_state = {Outcome.PRUNED, Outcome.OUT_OF_TIME, Outcome.INFEASIBLE}
    return [trial.outcome.value] if trial.outcome in without_state else []
