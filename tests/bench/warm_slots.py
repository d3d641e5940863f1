"""How long a slot waits for its next trial: Frostline's, and the pattern that Ray documents, in one run.

    python -m tests.bench.warm_slots --trials 8
    python -m tests.bench.warm_slots --trials 14 --rounds 1 --slots 2

Both train the packaged MiniLM on the same reviews, one trial at a time, in turns. Ray's pattern is a Tune function
that builds a `TorchTrainer` with one worker and a `TuneReportCallback`. A hand-over begins when a trial's last report
is sent, and ends twice: when the next trial's first optimizer step begins, and when that step has been made. Of the
time before, the driver's part (records, the next recipe, Ray's messages) ends when the process has the trial. With two
slots or more Frostline is measured alone: Ray's pattern would need a machine with more cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from frostline.search.cluster import capacity, connection
from frostline.search.cluster.environment import prepare_environment
from tests.search.altered import altered

prepare_environment()  # before Ray is imported

import optuna  # noqa: E402
import ray.tune  # noqa: E402
from rich.console import Console  # noqa: E402

from frostline.search import tuner  # noqa: E402
from frostline.search.plan import resolve as planning  # noqa: E402
from frostline.search.plan.options import Options  # noqa: E402
from frostline.search.plan.plan import Plan  # noqa: E402
from frostline.search.tune import trial as tune_trial  # noqa: E402

_STAMPS = "stamps.jsonl"
SENT, GIVEN, BEGUN, MADE = "sent", "given", "begun", "made"


class HandOver(NamedTuple):
    """Seconds from a slot falling free to the next trial's first optimizer step."""

    to_trial: float
    """Until the process has the next trial; where nobody has looked at that, until its first step begins."""
    to_start: float
    to_end: float


def hand_overs(stamps: Sequence[tuple[float, str]]) -> list[HandOver]:
    """The hand-overs between trials that ran one after the other, by their stamps.

    Args:
        stamps: time and event in one process: a report was `SENT`, a trial was `GIVEN`, its first step has
            `BEGUN`, or has been `MADE`.
    """
    found, free, given, begun = [], None, None, None
    for at, what in sorted(stamps):
        if what == SENT:
            free, given = at, None
        elif what == GIVEN:
            given = at
        elif what == BEGUN:
            begun = at
        elif free is not None and begun is not None:
            found.append(HandOver((given or begun) - free, begun - free, at - free))
    return found


def stamp(folder: str, what: str) -> None:
    """Write down that it happens now."""
    with Path(folder, _STAMPS).open("a", encoding="utf-8") as file:
        file.write(json.dumps([os.getpid(), time.time(), what]) + "\n")


def _found(folder: Path, same_process: bool) -> list[HandOver]:
    """Hand-overs by the stamps in a folder, each within one process or from one to the next."""
    processes: dict[int, list[tuple[float, str]]] = {}
    for line in (folder / _STAMPS).read_text(encoding="utf-8").splitlines():
        pid, at, what = json.loads(line)
        processes.setdefault(pid if same_process else 0, []).append((at, what))
    return [found for stamps in processes.values() for found in hand_overs(stamps)]


# --- Frostline: a whole search, with stamps


def run_trial(config: dict[str, Any]) -> None:
    """`search.trial.run_trial`, in a process that writes stamps."""
    _write_stamps(config["setup"]["run"])
    stamp(config["setup"]["run"], GIVEN)
    tune_trial.run_trial(config)


def _write_stamps(folder: str) -> None:
    from frostline.trainables.training import loop, training

    if hasattr(loop, "stamped"):  # a warm process
        return
    loop.stamped = True
    step_on, report = training.Training.step_on, ray.tune.report

    def timed_step(run: Any, *given: Any, **named: Any) -> Any:
        first = run.step == 0
        if first:
            stamp(folder, BEGUN)
        made = step_on(run, *given, **named)
        if first:
            stamp(folder, MADE)
        return made

    def timed_report(*given: Any, **named: Any) -> None:
        stamp(folder, SENT)
        report(*given, **named)

    training.Training.step_on, ray.tune.report = timed_step, timed_report


def ours(planned: Plan, corpus: Any, trials: int) -> list[HandOver]:
    """Hand-overs of a search of `trials` trials, all of one recipe."""
    with tempfile.TemporaryDirectory() as folder:
        budget = dataclasses.replace(planned.budget, trials=trials)
        plan = altered(planned, run=Path(folder, "run"), base=dataclasses.replace(planned.search.base, budget=budget))
        planning.claim(plan)
        tuner.run_trial = run_trial
        tuner.run(plan, corpus, Console(file=io.StringIO()))
        return _found(plan.place.run, same_process=True)


# --- Ray's documented pattern


def their_worker(config: dict[str, Any]) -> None:
    """One optimizer step, as Frostline makes it, and a report."""
    import ray.train
    import torch

    from frostline.spaces import Recipe
    from frostline.trainables import _family, _freezing
    from frostline.trainables.data.model_files import model_folder
    from frostline.trainables.training import optim

    torch.set_num_threads(1)
    recipe = Recipe.from_json(config["recipe"])
    family = _family.load(recipe.family)
    model = family.build(model_folder(recipe.model), config["classes"])
    torch.manual_seed(recipe.seed)
    family.reset_head(model)
    _freezing.training_mode(model, family.blocks(model), recipe.frozen_layers)
    optimizer, _ = optim.build(model, recipe, 100)
    train = family.open(Path(config["entry"]), "train")
    stamp(config["folder"], BEGUN)
    for start in range(0, recipe.batch_size, 8):
        batch = train.batch(config["first"][start : start + 8])
        (family.loss(family.logits(model, batch), batch["labels"]) / recipe.batch_size).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
    optimizer.step()
    stamp(config["folder"], MADE)
    stamp(config["folder"], SENT)
    ray.train.report({"objective": 0.5})


def their_trial(config: dict[str, Any]) -> None:
    """A `TorchTrainer` built inside a Tune function."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    TorchTrainer(
        their_worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=1),
        run_config=RunConfig(storage_path=config["folder"], callbacks=[TuneReportCallback()]),
    ).fit()


def theirs(planned: Plan, corpus: Any, trials: int) -> list[HandOver]:
    """Hand-overs of `trials` trials of one recipe."""
    import numpy as np

    from frostline.trainables import _family
    from frostline.trainables.data.batches import batches
    from frostline.trainables.data.model_files import model_folder

    recipe = planned.search.base
    family = _family.load(recipe.family)
    entry = family.prepare(model_folder(recipe.model), recipe.data, corpus)
    lengths = family.open(entry, "train").lengths
    first = batches(lengths, recipe.batch_size, np.random.default_rng([recipe.seed, 0]))[0]
    with tempfile.TemporaryDirectory() as folder:
        told = {"folder": folder, "entry": str(entry), "recipe": recipe.to_json(), "classes": len(planned.data.classes)}
        ray.tune.Tuner(
            their_trial,
            param_space={**told, "first": first},
            tune_config=ray.tune.TuneConfig(num_samples=trials, max_concurrent_trials=1),
            run_config=ray.tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        return _found(Path(folder), same_process=False)


# --- the run


def of_one_recipe(plan: Plan) -> Plan:
    """Trials that do not differ: nothing frozen, batch 16."""
    fixed = {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 0, "weight_decay": 0.01}
    choices = {name: optuna.distributions.CategoricalDistribution((value,)) for name, value in fixed.items()}
    return altered(plan, recipes={}, distributions=choices, base=plan.search.base.with_params(fixed))


def main() -> None:
    """Run both in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=8, help="of each kind, in all")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each; a turn's first trial starts cold")
    parser.add_argument("--slots", type=int, default=1, help="trials at once; with more than 1 Frostline alone")
    given = parser.parse_args()
    each = given.trials // given.rounds
    if each < 2 * given.slots:
        parser.error(
            f"--trials {given.trials} in --rounds {given.rounds} leaves no hand-over: 2 a round and slot at least"
        )
    options = Options(
        space="bert_imdb", profile="small", concurrent=given.slots, wandb="off", confirm_recipes=0, epochs=1
    )
    planned, corpus = planning.resolve(options)
    planned = of_one_recipe(planned)
    measures = {"Frostline": ours, **({"Ray's documented pattern": theirs} if given.slots == 1 else {})}
    found: dict[str, list[HandOver]] = {name: [] for name in measures}
    with connection.connect(None, capacity.Node(cpus=2, gpus=0, memory=8e9)):
        for number in range(given.rounds):
            for name, measure in measures.items():
                new = measure(planned, corpus, each)
                found[name] += new
                print(f"round {number + 1}, {name}: {' '.join(f'{h.to_start:.3f}' for h in new)} s", flush=True)
    print(f"\n{'':26}{'hand-overs':>10}  {'driver':>24}  {'to the first step':>24}  {'to its end':>24}")
    for name, rows in found.items():
        print(f"{name:26}{len(rows):>10}  {'  '.join(_row(list(column)) for column in zip(*rows, strict=True))}")
    medians = [statistics.median(h.to_start for h in rows) for rows in found.values()]
    if len(medians) > 1:
        print(f"Frostline's slot waits {medians[1] / medians[0]:.0f} times shorter.")


def _row(values: list[float]) -> str:
    spread = f"{statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})"
    return f"{spread:>24}"


if __name__ == "__main__":
    main()
