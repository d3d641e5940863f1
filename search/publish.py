"""The winner: its model is exported to `best/`, and its score on the test set is read."""

from __future__ import annotations

import dataclasses
import gc
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import ray

from frostline.search.cluster.ray_private import cpu_count
from frostline.search.cluster.watch import Watch
from frostline.search.plan.plan import Plan
from frostline.search.records import folder as run_folder
from frostline.search.records.baseline import Array
from frostline.search.records.trials import Trial
from frostline.spaces import Recipe
from frostline.trainables import _atomic, _sizes, _storage, _task
from frostline.trainables._task import Setup
from frostline.trainables.data.model_files import weights_in
from frostline.trainables.slot import winner


def finish(
    plan: Plan, best: Trial, folder: str, setup: Setup, reads_test: bool = True, baseline: Array | None = None
) -> dict[str, Any]:
    """Write the winner's model to `best.part/` and read the test set with it.

    Without a GPU and a cluster it runs in this process, which has imported everything; a new one would need 15 s.
    Otherwise it runs on a node: with a GPU if the trials had one, since the driver may have none, else with as many
    CPUs as all slots of a node had.

    Args:
        plan: plan of the search.
        best: the training whose weights are exported.
        folder: folder of its weights, below the run directory.
        setup: setup of the trials.
        reads_test: False for the export alone, which is done in this process.
        baseline: answers of the trained baseline for the test slice; None if there are none.

    Returns:
        `metrics` on the test slice, the `interval` of the metric that decides, and the `difference` from the baseline
        if there is one; empty if the test set is not read.

    Raises:
        ClusterLostError: Ray has gone.
    """
    aside = plan.place.run / "best.part"
    shutil.rmtree(aside, ignore_errors=True)
    cpus, here = plan.resources.need.cpus, is_done_here(plan)
    if not plan.resources.need.gpus:
        largest = cpu_count() if here else max(node["Resources"].get("CPU", 0.0) for node in ray.nodes())
        cpus = min(cpus * plan.resources.need.workers * max(1, plan.resources.slots), largest)
    setup = dataclasses.replace(setup, threads=max(1, int(cpus)))
    weights = _task.best_path(plan.place.run, folder)
    store, name = (
        (_storage.Store(plan.place.url), weights.relative_to(plan.place.run).as_posix())
        if plan.place.url
        else (None, "")
    )
    if here:
        try:
            if store:
                _storage.patiently(partial(store.get, [name], plan.place.run), plan.place.url)
            setup = dataclasses.replace(setup, url="")
            return winner.finish(setup, recipe_of(plan, best), str(weights), str(aside), reads_test, baseline)
        finally:
            if store:
                run_folder.remove(weights)
            gc.unfreeze()  # `finish` froze all objects, as in a slot; this process has others that may become garbage
    run = ray.remote(num_cpus=cpus, num_gpus=plan.resources.need.gpus, max_retries=2)(winner.finish)
    watch = Watch(plan.place.address is not None)
    running = run.remote(setup, recipe_of(plan, best), str(weights), str(aside), baseline=baseline)
    while not ray.wait([running], timeout=1)[0]:
        watch.poll()
    measured: dict[str, Any] = ray.get(running)
    if store:
        _storage.patiently(partial(fetch, store, plan.place.run), plan.place.url)
    return measured


def is_done_here(plan: Plan) -> bool:
    """Whether `finish` runs in this process, and needs no Ray."""
    return not (plan.resources.need.gpus or plan.place.address)


def fetch(store: _storage.Store, run: Path) -> None:
    """Fetch the `best.part/` that a node has put at the URL. It is uploaded again as `best/`, its recipe last."""
    exported = store.files("best.part")
    store.get(exported, run)
    for name in exported:
        store.remove(name)


def publish(plan: Plan, best: Trial, card: str) -> Path:
    """Add `recipe.json` and the model card, then give the folder its name: `best/` is whole or absent."""
    aside, final = plan.place.run / "best.part", plan.place.run / "best"
    (aside / "recipe.json").write_text(recipe_of(plan, best).to_json() + "\n", encoding="utf-8")
    (aside / "README.md").write_text(card, encoding="utf-8")
    _sizes.write(aside, but={"README.md"})  # people edit the card
    shutil.rmtree(final, ignore_errors=True)
    _atomic.place(aside, final)
    return final


def is_of(plan: Plan, best: Trial) -> bool:
    """True if `best/` is the whole export of this training. An earlier version recorded no hashes of its files."""
    folder = plan.place.run / "best"
    try:
        recipe = Recipe.from_json((folder / "recipe.json").read_text(encoding="utf-8"))
        _sizes.check(folder)
        weights_in(folder)
    except (OSError, ValueError):
        return False
    return recipe_of(plan, best).trains_as(recipe.training())


def recipe_of(plan: Plan, trial: Trial) -> Recipe:
    """Everything that trained this trial."""
    params: dict[str, Any] = trial.params
    return plan.recipe(params, trial.seed)
