"""Trains recipes in this process, without Ray, and keeps each of their reports.

A training is a file, written when it has ended: what was broken off is trained again, and what is there is not. Several
processes share the work by a lock for each training. A recorded table is unpacked into such files first, so that a
recording goes on from the tables that are checked in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import json
import math
import platform
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from frostline.search.plan.plan import Plan
from frostline.search.tuner import setup_of
from frostline.trainables import _atomic
from frostline.trainables._family import First
from frostline.trainables._task import Setup
from frostline.trainables.slot.process import Slot
from frostline.trainables.slot.worker import _examples
from frostline.trainables.training.evaluation import evaluate
from frostline.trainables.training.loop import Reports, fit
from frostline.trainables.training.machine import Machine
from frostline.trainables.training.training import NonFiniteLossError, Report
from tests.bench.curves import recipes
from tests.bench.curves.recipes import Params
from tests.bench.curves.tasks import Task

_FIRST = 100
"""Validation examples of the second, smaller measurement at each report."""

_SEEDS, _MORE_SEEDS = (0, 1), (2, 3, 4, 5)
"""Seeds of all recipes, and further ones of the best and of as many others."""
_MANY = 20
"""Recipes that get them: this many of the best, and as many others."""
_BLOCK = 10
"""Recipes that are trained with one seed before the next seed: an unfinished recording has several seeds, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training to record."""

    origin: str
    """`literature`, `sobol` or `around`."""
    number: int
    """Of the recipe, among those of its origin."""
    params: Params
    seed: int

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        return f"{self.origin}-{self.number:03d}-{self.seed}"


def report_points(epochs: int) -> tuple[float, ...]:
    """Epochs at which a training is measured: 1/16, 1/8, 1/4, 1/2, then each half."""
    return (1 / 16, 1 / 8, 1 / 4, *(half / 2 for half in range(1, 2 * epochs + 1)))


def wanted(task: Task, plan: Plan, scores: Mapping[str, float]) -> list[Training]:
    """What can be trained now, in order: all recipes, then those around the best, then more seeds.

    Args:
        task: the task.
        plan: its plan.
        scores: the last objective of each training that is recorded, by its name; minus infinity if it failed.
    """
    space = plan.search.distributions
    first = [("literature", params) for params in plan.search.recipes.values()]
    first += [("sobol", params) for params in recipes.sobol(space, task.sobol)]
    trainings = _of(first, _SEEDS)
    if not all(training.name in scores for training in trainings):
        return trainings
    best = _ranked(trainings, scores)
    trainings += _of([("around", params) for params in recipes.around(space, best[:5], task.around)], _SEEDS)
    if not all(training.name in scores for training in trainings):
        return trainings
    ranked = _ranked(trainings, scores)
    others = ranked[_MANY:]
    chosen = [*ranked[:_MANY], *others[:: max(1, len(others) // _MANY)][:_MANY]]
    more = [
        dataclasses.replace(training, seed=seed)
        for seed in _MORE_SEEDS
        for training in trainings
        if training.seed == _SEEDS[0] and training.params in chosen
    ]
    return trainings + more


def _of(origins: Sequence[tuple[str, Params]], seeds: Sequence[int]) -> list[Training]:
    numbered, counts = [], dict[str, int]()
    for origin, params in origins:
        numbered.append((origin, counts.get(origin, 0), params))
        counts[origin] = counts.get(origin, 0) + 1
    return [
        Training(origin=origin, number=number, params=params, seed=seed)
        for begin in range(0, len(numbered), _BLOCK)
        for seed in seeds
        for origin, number, params in numbered[begin : begin + _BLOCK]
    ]


def _ranked(trainings: Sequence[Training], scores: Mapping[str, float]) -> list[Params]:
    """The recipes of these trainings, best mean score first."""
    by_recipe: dict[tuple[str, int], list[Training]] = {}
    for training in trainings:
        by_recipe.setdefault((training.origin, training.number), []).append(training)
    return [
        own[0].params
        for own in sorted(by_recipe.values(), key=lambda own: -statistics.fmean(scores[t.name] for t in own))
    ]


class Recorder:
    """Records the trainings of one task in a folder."""

    def __init__(self, task: Task, folder: Path, recorded: Path | None = None) -> None:
        """Plan the task, and unpack what is recorded of it.

        Args:
            task: the task.
            folder: of its trainings.
            recorded: its table, whose trainings are not trained again; it need not exist.

        Raises:
            ValueError: see `unpack`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._task = folder, task
        self.plan, corpus = task.plan(folder)
        if recorded is not None:
            unpack(recorded, self.plan, folder)
        # `run` is empty, since there is no run directory that a slot could look for.
        self._setup = dataclasses.replace(setup_of(self.plan, corpus), run="", threads=1)
        self._slot, self._where = Slot(), where()

    def work(self, most: float = math.inf) -> int:
        """Train until nothing is left that no other process is training, or until `most` seconds are over."""
        done, until = 0, time.monotonic() + most
        while time.monotonic() < until:
            free = [t for t in wanted(self._task, self.plan, self._scores()) if not self._file(t).exists()]
            if not free:
                break
            for training in free:
                with self._claimed(training) as mine:
                    if mine and not self._file(training).exists():
                        _atomic.write(self._file(training), json.dumps(self._train(training)))
                        done += 1
                        break
            else:
                time.sleep(1.0)  # others train what is left; then more may follow
        return done

    def _file(self, training: Training) -> Path:
        return self._folder / f"{training.name}.json"

    def _scores(self) -> dict[str, float]:
        scores = {}
        for path in self._folder.glob("*-*-*.json"):
            last = json.loads(path.read_text())[-1]
            value = last[self.plan.search.metric.name]
            failed = last["failed"] or not math.isfinite(value)
            scores[path.stem] = -math.inf if failed else self.plan.search.metric.objective(value)
        return scores

    @contextlib.contextmanager
    def _claimed(self, training: Training) -> Iterator[bool]:
        with (self._folder / f".{training.name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _train(self, training: Training) -> list[dict[str, Any]]:
        """The rows of one training: one for each report; a training that fails ends with a row of NaN.

        `cpu_seconds` are those of this process since the last report, with the load of the model before the first one.
        Unlike the seconds by kind they do not depend on what else the machine does.
        """
        recipe = self.plan.recipe(training.params, training.seed)
        setup: Setup = self._setup
        rows: list[dict[str, Any]] = []
        same = {
            "task": self._task.name,
            "origin": training.origin,
            "number": training.number,
            "seed": training.seed,
            "params": json.dumps(training.params),
            **self._where,
        }

        def note(report: Report) -> None:
            nonlocal cpu
            used = time.process_time() - cpu
            some = evaluate(model, started, First(splits["validation"], _FIRST), device)
            tested = {}
            if float(report.epoch).is_integer():
                with _all_blocks_run(model):
                    tested = evaluate(model, family, examples, device)
            rows.append(
                {
                    **same,
                    "epoch": report.epoch,
                    "samples": report.samples,
                    "step": report.step,
                    **{name: report.metrics[name] for name in ("accuracy", "macro_f1", "loss", "train_loss")},
                    **{f"first_{name}": some[name] for name in ("accuracy", "loss")},
                    **{f"test_{name}": tested.get(name) for name in ("accuracy", "loss")},
                    **{f"{kind}_seconds": report.spent.get(kind, 0.0) for kind in ("training", "evaluation", "data")},
                    "cpu_seconds": used,
                    "cached": cached,
                    "failed": "",
                }
            )
            cpu = time.process_time()  # what the recorder measures besides is not the training's

        entry, cpu = Path(setup.models[recipe.model].entry), time.process_time()
        with self._slot.trial(setup, recipe) as (family, model, device):
            examples = family.open(entry, "test")
            with _examples(setup, recipe, family, model, entry) as (started, splits, cached):
                reports = Reports(at=report_points(self.plan.budget.epochs), to=note)
                try:
                    fit(model, started, recipe, splits, reports=reports, machine=Machine(device=device))
                except NonFiniteLossError as error:
                    last = rows[-1] if rows else {**same, "epoch": 0.0, "samples": 0, "step": 0, "cached": cached}
                    nothing = dict.fromkeys(("accuracy", "macro_f1", "loss", "train_loss"), math.nan)
                    rows.append({**last, **nothing, "failed": str(error)})
        return rows


@contextlib.contextmanager
def _all_blocks_run(model: nn.Module) -> Iterator[None]:
    """Within the `with`, blocks run that the prefix cache stands in for (see `prefix.boundary.starting_at`)."""
    stand_ins = {
        module: vars(module).pop("forward")
        for module in model.modules()
        if isinstance(vars(module).get("forward"), functools.partial)
    }
    try:
        yield
    finally:
        for module, forward in stand_ins.items():
            module.forward = forward


def where() -> dict[str, str]:
    """The machine and the commit, for the record."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())
    return {"machine": f"{model}, torch {torch.__version__}, one thread", "commit": commit or "unknown"}


def table(task: Task, folder: Path, recorded: Path | None = None) -> Any:
    """All recorded trainings of a task as a `pyarrow.Table`, a row for each report; its metadata describe the task.

    Args:
        task: the task.
        folder: of its trainings.
        recorded: an earlier table, whose trainings are unpacked into the folder first; it need not exist.

    Raises:
        ValueError: see `unpack`.
    """
    import pyarrow

    folder.mkdir(parents=True, exist_ok=True)
    plan, _ = task.plan(folder)
    if recorded is not None:
        unpack(recorded, plan, folder)
    rows = [row for path in sorted(folder.glob("*-*-*.json")) for row in json.loads(path.read_text())]
    names = dict.fromkeys(name for row in rows for name in row)  # one that failed at once has few
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pyarrow.table(columns).replace_schema_metadata({"task": json.dumps(_about(plan))})


def unpack(recorded: Path, plan: Plan, folder: Path) -> int:
    """Write the trainings of a table as files, without those that the folder has already.

    Args:
        recorded: the table as Parquet; without such a file nothing is written.
        plan: the task's plan.
        folder: of the trainings.

    Returns:
        How many were written.

    Raises:
        ValueError: the table's data, reports or parameters are not those of the task.
    """
    from pyarrow import parquet

    if not recorded.is_file():
        return 0
    rows = parquet.read_table(recorded)
    told, now = json.loads(rows.schema.metadata[b"task"]), json.loads(json.dumps(_about(plan)))
    # The literature's recipes may change: each training says what it was trained with.
    if other := [name for name in now if name != "literature" and told[name] != now[name]]:
        raise ValueError(
            f"{recorded} was recorded with another {' and '.join(other)}. Delete it to record the task again."
        )
    trainings: dict[str, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        training = Training(
            origin=row["origin"], number=row["number"], params=json.loads(row["params"]), seed=row["seed"]
        )
        trainings.setdefault(training.name, []).append(row)
    lacking = [name for name in trainings if not (folder / f"{name}.json").exists()]
    for name in lacking:
        _atomic.write(folder / f"{name}.json", json.dumps(trainings[name]))
    return len(lacking)


def _about(plan: Plan) -> dict[str, Any]:
    """What a table says of its task."""
    return {
        "epochs": report_points(plan.budget.epochs),
        "train": plan.data.sizes["train"],
        "validation": plan.data.sizes["validation"],
        "space": recipes.space_to_json(plan.search.distributions),
        "literature": plan.search.recipes,
    }
