"""Assemble and run: plan -> Tune -> records -> winner. The only place that knows all the parts."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray.tune
from ray.tune import Callback
from rich.console import Console

from search import cluster, export, report, results, scheduler, study
from search.plan import KEPT_CHECKPOINTS, Plan
from search.progress import Progress
from search.results import Journal, Line
from search.trial import run_trial
from trainables import _worker
from trainables._data import Corpus
from trainables._family import load
from trainables._sources import model_folder


def run(plan: Plan, corpus: Corpus, console: Console) -> dict[str, Any]:
    """Run a planned search in its claimed run directory, to the end or to Ctrl-C.

    Returns:
        The summary, as written to `summary.json`.
    """
    started = time.monotonic()
    family = load(plan.base.family)
    entry = family.prepare(model_folder(plan.base.model), plan.base.data, corpus)
    setup = _worker.Setup(
        entry=str(entry),
        classes=plan.classes,
        run=str(plan.run),
        report_at=plan.report_at,
        metric=plan.metric,
        device=plan.device,
        threads=plan.threads,
    )
    records, test, interrupted = plan.run / "trials.jsonl", None, False
    with cluster.connect(plan.address):
        try:
            _search(plan, setup, console)
            best = results.winner(results.read(records), plan.metric)
            if best:
                console.print(f"Reading the test set ({plan.sizes['test']} examples) with trial {best.number}.")
                test = export.finish(plan, best, setup)
        except KeyboardInterrupt:
            interrupted = True
    shutil.rmtree(plan.run / "tune", ignore_errors=True)  # Tune's own records repeat ours
    trials = results.read(records)
    best = results.winner(trials, plan.metric)
    validation, held_out = (results.majority(corpus.labels[split].tolist()) for split in ("validation", "test"))
    rows = results.references(trials, plan.metric, validation, held_out)
    found = report.summary(plan, trials, rows, test, time.monotonic() - started, interrupted)
    if best and test:
        usage = family.usage().replace("MODEL_FOLDER", str(plan.run / "best"))
        export.publish(plan, best, report.model_card(found, plan, usage))
    aside = plan.run / "summary.json.part"
    aside.write_text(report.dump(found) + "\n", encoding="utf-8")
    aside.replace(plan.run / "summary.json")
    return found


def _search(plan: Plan, setup: _worker.Setup, console: Console) -> None:
    """All trials, through Tune.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; every trial has an end in the study and in `trials.jsonl`.
    """
    budget = plan.base.budget
    searcher = study.StudySearch(
        study.create(plan.run / "study.journal", plan.space, plan.seed, budget.trials, plan.recipes),
        plan.distributions,
    )
    with Progress(plan, console) as progress, _stop_requests() as stop:
        recorder = Recorder(plan, progress, stop)
        tuner = ray.tune.Tuner(
            ray.tune.with_resources(run_trial, {"cpu": plan.need.cpus, "gpu": plan.need.gpus}),
            param_space={"base": plan.base.to_json(), "setup": dataclasses.asdict(setup)},
            tune_config=ray.tune.TuneConfig(
                search_alg=searcher,
                scheduler=scheduler.asha(budget),
                num_samples=budget.trials,
                max_concurrent_trials=plan.slots,
                reuse_actors=True,
            ),
            run_config=ray.tune.RunConfig(name="tune", storage_path=str(plan.run), callbacks=[recorder], verbose=0),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            searcher.abandon()
            recorder.abandon()
            raise
        finally:
            recorder.close()


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM fill; a second signal ends the process at once.

    The signal only leaves a note: the recorder raises between two of Tune's steps, where no record is
    half written.
    """
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        if asked:
            raise SystemExit(128 + number)
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Recorder(Callback):
    """Writes `trials.jsonl`, moves the progress, and drops the checkpoints of losers."""

    def __init__(self, plan: Plan, progress: Progress, stop: list[int]) -> None:
        self._plan = plan
        self._progress = progress
        self._stop = stop
        self._journal = Journal(plan.run / "trials.jsonl")
        self._lines: list[Line] = []
        self._last: dict[str, Line] = {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the search here if someone asked for it."""
        if self._stop:
            raise KeyboardInterrupt

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A slot has taken the trial."""
        line = self._last_of(trial)
        self._progress.begin(line.number, line.params, line.label)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """One line per report."""
        line = dataclasses.replace(
            self._last_of(trial),
            **{key: result[key] for key in ("epoch", "samples", "step", "seconds", "pid", "time")},
            metrics=result.get("metrics", {}),
            reason=result.get("failed", ""),
        )
        self._last[trial.trial_id] = line
        if not line.reason:
            self._append(line)
            self._progress.report(line)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial finished, was stopped, or reported its own failure."""
        self._end(trial.trial_id, study.end_state(trial.last_result, error=False).name)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial raised, or its process died."""
        error = trial.get_pickled_error() or trial.get_error() or "its process died"
        number = self._last_of(trial).number  # it may have died before it started
        path = _worker.checkpoint_path(self._plan.run, number).with_name("error.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{error}\n", encoding="utf-8")
        cause = str(getattr(error, "cause", None) or error).strip().splitlines()
        self._end(trial.trial_id, results.FAIL, cause[-1] if cause else type(error).__name__)

    def abandon(self) -> None:
        """End what still runs when the search is interrupted."""
        for trial_id, line in list(self._last.items()):
            state = results.PRUNED if line.metrics else results.FAIL
            self._end(trial_id, state, "interrupted")

    def close(self) -> None:
        """Nothing is written after this."""
        self._journal.close()

    def _last_of(self, trial: Any) -> Line:
        """The trial's last line; before its first report one that says so."""
        config = trial.config
        blank = Line(
            number=config["number"],
            state=results.RUNNING,
            params=config["params"],
            label=config["label"],
            epoch=0.0,
            samples=0,
            step=0,
            metrics={},
            seconds=0.0,
            pid=0,
            time=time.time(),
        )
        return self._last.setdefault(trial.trial_id, blank)

    def _end(self, trial_id: str, state: str, reason: str = "") -> None:
        last = self._last.pop(trial_id)
        seconds = last.seconds + max(0.0, time.time() - last.time)
        line = dataclasses.replace(last, state=state, seconds=seconds, time=time.time(), reason=reason or last.reason)
        self._append(line)
        self._progress.end(line)
        self._drop_losers()

    def _append(self, line: Line) -> None:
        self._journal.append(line)
        self._lines.append(line)

    def _drop_losers(self) -> None:
        trials = results.collect(self._lines)
        keep = {trial.number for trial in results.top(trials, self._plan.metric, KEPT_CHECKPOINTS)}
        for trial in trials:
            path = _worker.checkpoint_path(self._plan.run, trial.number)
            if trial.state != results.RUNNING and trial.number not in keep:
                path.unlink(missing_ok=True)
                if path.parent.is_dir() and not any(path.parent.iterdir()):
                    path.parent.rmdir()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks, and the records are on disk already."""
        return {}
