"""The winner on disk: `best/`, what the field's loader reads, and its score on the test set."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import ray

from search.plan import Plan
from search.results import Trial
from spaces import Recipe
from trainables import _worker


def finish(plan: Plan, best: Trial, setup: _worker.Setup) -> dict[str, float]:
    """Write the winner's model to `best.part/` and read the test set with it, once.

    It runs on a node with a GPU where the trials did, since the driver may have none; else with the CPUs
    that all slots of a node had.

    Returns:
        Metrics on the test slice.
    """
    aside = plan.run / "best.part"
    shutil.rmtree(aside, ignore_errors=True)
    cpus = plan.need.cpus
    if not plan.need.gpus:
        cpus = min(cpus * plan.slots, max(node["Resources"].get("CPU", 0.0) for node in ray.nodes()))
    run = ray.remote(num_cpus=cpus, num_gpus=plan.need.gpus, max_retries=0)(_worker.finish)
    checkpoint = str(_worker.checkpoint_path(plan.run, best.number))
    setup = dataclasses.replace(setup, threads=max(1, int(cpus)))
    metrics: dict[str, float] = ray.get(run.remote(setup, recipe_of(plan, best), checkpoint, str(aside)))
    return metrics


def publish(plan: Plan, best: Trial, card: str) -> Path:
    """Add `recipe.json` and the model card, and give the folder its name: `best/` is whole or absent."""
    aside, final = plan.run / "best.part", plan.run / "best"
    (aside / "recipe.json").write_text(recipe_of(plan, best).to_json() + "\n", encoding="utf-8")
    (aside / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    return final


def recipe_of(plan: Plan, trial: Trial) -> Recipe:
    """Everything that trained this trial."""
    params: dict[str, Any] = trial.params
    return plan.base.with_params(params)
