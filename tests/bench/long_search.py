"""The cost of a trial besides its training, which should not grow with the number of trials.

    python -m tests.bench.long_search --trials 10000 --slots 16
    python -m tests.bench.long_search --trials 1000 --slots 16 --ray

A trivial trainable (a score that is made up) goes through everything else: the hooks that Tune calls, the
ledger, the Optuna study on its journal, the rungs, the records with an fsync a line, the progress. Parameters
are drawn at random, and TPE is measured apart, on studies of growing size. With `--ray` Tune itself calls the
hooks, and the trainable runs in reused processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import io
import os
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from rich.console import Console

from frostline.search import tuner
from frostline.search.cluster import capacity, connection
from frostline.search.cluster.environment import prepare_environment
from frostline.search.console.progress import Progress
from frostline.search.ledger import study
from frostline.search.ledger.ledger import Ledger
from frostline.search.ledger.rungs import Rungs
from frostline.search.ledger.study import Study
from frostline.search.plan import budget as budgets
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.log import hold
from frostline.search.records.trials import Records
from frostline.search.tracking.tracker import Tracker
from frostline.search.tune.hooks import Asker, Recorder, Stopper
from frostline.search.tune.switchboard import Switchboard
from frostline.spaces import Recipe
from frostline.trainables._task import Measured, Setup, Told
from tests import tiny
from tests.search.altered import altered

PARTS: dict[str, list[tuple[Any, str]]] = {
    "hooks": [(Asker, "suggest"), (Stopper, "on_trial_result")]
    + [(Recorder, f"on_{event}") for event in ("step_begin", "trial_start", "trial_result", "trial_complete")],
    "ledger": [(Ledger, name) for name in ("next_group", "task", "report", "end", "late", "finished", "tidy")],
    "ask": [(Study, "ask")],
    "sampler": [
        (optuna.samplers.RandomSampler, name)
        for name in ("infer_relative_search_space", "sample_relative", "sample_independent")
    ],
    "report, tell": [(Study, "report"), (Study, "tell")],
    "records": [(Records, "append")],
    "rungs": [(Rungs, "stops")],
    "progress": [(Progress, name) for name in ("begin", "report", "end")],
    "fsync": [(os, "fsync")],
}
"""The measured functions. The time of one does not include the others that it calls."""

EPOCHS = 4
TPE = study._TPE


class Stopwatch:
    """Seconds by part."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inner: list[float] = []

    def attach(self) -> None:
        """Time every function of `PARTS` from now on."""
        for part, functions in PARTS.items():
            for owner, name in functions:
                found = owner.__dict__.get(name)
                if isinstance(found, property):
                    setattr(owner, name, property(self._timed(part, found.fget)))
                elif found:
                    setattr(owner, name, self._timed(part, found))

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] += took - self._inner.pop()
                if self._inner:
                    self._inner[-1] += took

        return timed


class Table:
    """Milliseconds per trial, a row for every `every` trials."""

    def __init__(self, watch: Stopwatch, every: int, columns: Sequence[str]) -> None:
        self._watch, self._every, self._columns = watch, every, columns
        self._done, self._before, self._clocks = 0, Counter[str](), self._read()
        self._last = time.perf_counter()
        print(f"{'trials':>7}", *(f"{name:>12}" for name in ("all", *columns)))

    def _read(self) -> dict[str, float]:
        return {"all": time.perf_counter(), "driver's CPU": time.process_time()}

    @property
    def idle(self) -> float:
        """Seconds since the last trial ended."""
        return time.perf_counter() - self._last

    def count(self) -> None:
        """A trial has ended."""
        self._done, self._last = self._done + 1, time.perf_counter()
        if self._done % self._every:
            return
        now, seconds = self._read(), self._watch.seconds.copy()
        spent: dict[str, float] = {part: seconds[part] - self._before[part] for part in PARTS}
        spent["ours"] = sum(spent.values())
        spent |= {name: now[name] - self._clocks[name] for name in now}
        cells = (f"{1000 * spent[name] / self._every:12.2f}" for name in ("all", *self._columns))
        print(f"{self._done:7}", *cells, flush=True)
        self._before, self._clocks = seconds, self._read()


def planned(folder: Path, trials: int, slots: int) -> Plan:
    """A search of `trials` trials, `slots` at once, with a time budget that it cannot use up."""
    table = tiny.write_csv(folder / "t.csv", tiny.rows(1100))
    options = Options(space="bert_imdb", profile="small", wandb="off", model=str(tiny.make_model(folder / "model")))
    options = dataclasses.replace(options, dataset=str(table), storage=folder, name="run", prefix_cache="off")
    made = planning.resolve(options)[0]
    budget = dataclasses.replace(made.search.base.budget, trials=trials, epochs=EPOCHS, first_rung=1, seconds=1e9)
    return altered(
        made,
        base=dataclasses.replace(made.search.base, budget=budget),
        rungs=budgets.rungs(budget),
        report_at=budgets.report_points(budget),
        need=capacity.Need(cpus=2 / slots, gpus=0, memory=1),
        slots=slots,
    )


def said(recipe: str, epoch: int, pid: int = 0) -> dict[str, Any]:
    """The report of the trivial trainable: a score made of its learning rate."""
    score = 1 - 0.5 ** (random.Random(str(Recipe.from_json(recipe).learning_rate)).random() + epoch / 4)
    measured = Measured(
        objective=score,
        metrics={"accuracy": score, "loss": 1 - score},
        epoch=float(epoch),
        samples=320 * epoch,
        step=40 * epoch,
        partial=False,
        final=epoch == EPOCHS,
        micro_batch=8,
        device="cpu",
        cached_layers=0,
        spent={},
        seconds=float(epoch),
        time=time.time(),
        pid=pid,
        node="",
    )
    return Told(messages=(measured,)).to_tune()


# --- without Ray ---------------------------------------------------------------------------------


def drive(board: Switchboard) -> Iterator[None]:
    """Call the hooks as Tune does, with all slots taken; yields at the end of each training."""
    asker, stopper, recorder = Asker(board), Stopper(board), Recorder(board)
    rng, started, slots = random.Random(0), 0, list[Any]()
    while True:
        recorder.on_step_begin(iteration=1, trials=[])
        if len(slots) < board.ledger.plan.resources.slots:
            config = asker.suggest(f"{started:08x}")
            if isinstance(config, dict):
                trial = SimpleNamespace(
                    trial_id=f"{started:08x}",
                    config=config,
                    epoch=0,
                    last_result={},
                    temporary_state=SimpleNamespace(ray_actor=None),
                )
                slots.append(trial)
                started += 1
                recorder.on_trial_start(iteration=1, trials=[], trial=trial)
                continue
            if not slots and config is not None:
                return
        trial = rng.choice(slots)
        trial.epoch += 1
        trial.last_result = said(trial.config["tasks"][0]["recipe"], trial.epoch)
        action = stopper.on_trial_result(None, trial, trial.last_result)
        recorder.on_trial_result(iteration=1, trials=[], trial=trial, result=trial.last_result)
        if action == stopper.STOP:
            recorder.on_trial_complete(iteration=1, trials=[], trial=trial)
            slots.remove(trial)
            yield


class Calm:
    """Ray is there: here is none to ask."""

    offer = None

    def node_of(self, actor: Any) -> None:
        """One machine, so that is no question."""

    def poll(self) -> None:
        pass


def without_ray(made: Plan, every: int) -> None:
    """The search, how long it takes to open it again, and TPE apart."""
    watch = Stopwatch()
    watch.attach()
    study._TPE = at_random  # type: ignore[misc, assignment]
    made.place.run.mkdir()
    with hold(made.place.run) as log:
        ledger = Ledger(made, log)
        progress = Progress(made, Console(file=io.StringIO(), width=120))
        board = Switchboard(ledger, Rungs(made), [progress], [])
        board.watch = Calm()  # type: ignore[assignment]
        table = Table(watch, every, [*PARTS])
        for _ in drive(board):
            table.count()
        print(f"resident memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")
        ledger.close()
    began = time.perf_counter()
    with hold(made.place.run) as log:
        again = Ledger(made, log)
        opened = time.perf_counter()
        Rungs(made).replay(again.trials)
        states = ", ".join(f"{count} {state}" for state, count in trial_records.counts(again.trials).items())
    print(f"opened again in {opened - began:.1f} s, rungs in {time.perf_counter() - opened:.1f} s: {states}")
    assert again.finished


def at_random(space: Mapping[str, BaseDistribution], seed: int, **_: Any) -> optuna.samplers.RandomSampler:
    """A sampler whose own time does not grow, in the place of TPE."""
    return optuna.samplers.RandomSampler(seed)


def tpe(made: Plan, every: int, trials: int) -> None:
    """TPE on the first trials of the search, more and more of them."""
    of_all = optuna.create_study(direction="maximize", sampler=TPE(made.search.distributions, seed=0))
    records = trial_records.read(made.place.run / "trials.jsonl")[:trials]
    print("TPE apart, ms a suggestion:", end="")
    for start in range(0, len(records), every):
        for trial in records[start : start + every]:
            of_all.add_trial(study._frozen(trial, made.search.distributions, made.search.metric))
        took = []
        for _ in range(5):
            began = time.perf_counter()
            of_all.ask(made.search.distributions)
            took.append(time.perf_counter() - began)
        print(f" {start + every}: {1000 * sorted(took)[2]:.1f}", end="", flush=True)
    print()


# --- with Ray ------------------------------------------------------------------------------------


def trivial(config: dict[str, Any]) -> None:
    """The trivial trainable as Tune runs it."""
    import ray.tune

    for epoch in range(1, EPOCHS + 1):
        ray.tune.report(said(config["tasks"][0]["recipe"], epoch, os.getpid()))


def with_ray(made: Plan, every: int) -> None:
    """The search through Tune's own controller."""
    watch = Stopwatch()
    watch.attach()
    study._TPE = at_random  # type: ignore[misc, assignment]
    tuner.run_trial = trivial
    setup = Setup(
        models={},
        classes=made.data.classes,
        run=str(made.place.run),
        report_at=made.schedule.report_at,
        validate_on=made.schedule.validate_on,
        metric=made.search.metric,
        device=made.resources.device,
        threads=made.resources.threads,
        gpu_share=made.resources.need.gpus,
        checkpoint_every=made.resources.checkpoint_every,
    )
    table = Table(watch, every, ["ours", "driver's CPU"])
    ended = Recorder.on_trial_complete

    @functools.wraps(ended)
    def counted(*args: Any, **kwargs: Any) -> None:
        ended(*args, **kwargs)
        table.count()

    Recorder.on_trial_complete = counted  # type: ignore[method-assign]
    made.place.run.mkdir()
    console = Console(file=io.StringIO(), width=120)
    with hold(made.place.run) as log, connection.connect(None, capacity.Node(cpus=2, gpus=0, memory=1e12)):
        tuner._search(made, setup, Ledger(made, log), console, Tracker(made, console))
        print(f"{table.idle:.1f} s from the last end of a trial to Tune's own")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--every", type=int, help="trials a row (default: a tenth of them)")
    parser.add_argument("--ray", action="store_true", help="through Tune, in processes")
    arguments = parser.parse_args()
    prepare_environment()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    every = arguments.every or max(1, arguments.trials // 10)
    with tempfile.TemporaryDirectory() as folder:
        made = planned(Path(folder), arguments.trials, arguments.slots)
        if arguments.ray:
            with_ray(made, every)
        else:
            without_ray(made, every)
            tpe(made, every, arguments.trials)


if __name__ == "__main__":
    main()
