"""A real search whose driver, trial processes and raylet are killed at random moments; then what is left is checked.

    python -m tests.bench.chaos --kills 12 --seed 1

The moments and victims come from the seed. Each time the driver is gone the search goes on by `--resume`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from frostline.search.ledger import confirm
from frostline.search.ledger.study import optuna_state
from frostline.search.plan.plan import metric_of
from frostline.search.records import trials as trial_records
from frostline.search.records.journal import read_lines
from tests import tiny

ROOT = Path(__file__).resolve().parent.parent.parent
VICTIMS = ("driver", "trial", "raylet")
_MORE = 20


@dataclass
class Outcome:
    """What a chaos run did and left."""

    run: Path
    trials: int
    """Asked for in the end."""
    kills: list[tuple[str, float]] = field(default_factory=list)
    """Victim, and seconds until a new process had reported."""
    sessions: int = 0
    largest: int = 0
    """Bytes of the run directory, the most that was seen."""


def launch(arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start the search as a user does. Its output goes to a file, not to a pipe: nobody reads while it runs."""
    command = [sys.executable, str(ROOT / "search" / "run.py"), *arguments]
    with log.open("a") as output:
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


class Chaos:
    """One search under fire."""

    def __init__(
        self, folder: Path, seed: int, trials: int, epochs: int, launch: Callable[[Sequence[str], Path], Any] = launch
    ) -> None:
        self._rng, self._launch = random.Random(seed), launch
        model, table = tiny.make_model(folder / "model", layers=4), tiny.write_csv(folder / "t.csv", tiny.rows(1100))
        self.outcome = Outcome(run=folder / "runs" / "chaos", trials=trials)
        self._first = [
            *("--space", "bert_imdb", "--profile", "small", "--model", str(model), "--dataset", str(table)),
            *("--storage", str(folder / "runs"), "--name", "chaos", "--trials", str(trials), "--epochs", str(epochs)),
            *("--checkpoint-every", "0.2"),
        ]
        self._process: Any = None
        self._more: list[str] = []
        self.log = folder / "output.log"

    def run(self, kills: int) -> Outcome:
        """Kill so many times, then let it finish."""
        while len(self.outcome.kills) < kills:
            self._start()
            if self._wait_for_work() and self._wait(self._rng.uniform(0.0, 6.0)):
                self._kill(self._rng.choice(VICTIMS))
            if self._process and self._process.poll() == 0:
                self.outcome.trials += _MORE  # it was faster than its killer: a finished search goes on, too
                self._more = ["--trials", f"+{_MORE}"]
        self._start()
        assert self._process
        while self._process.poll() is None:
            self._measure()
            time.sleep(0.1)
        assert self._process.poll() == 0, self.log.read_text()[-3000:]
        return self.outcome

    def _start(self) -> None:
        if self._process and self._process.poll() is None:
            return
        made = (self.outcome.run / "plan.json").exists()
        arguments = ["--resume", str(self.outcome.run), *self._more] if made else self._first
        self._more = []
        with self.log.open("a") as log:
            log.write(f"--- session {self.outcome.sessions}\n")
        self._process = self._launch(arguments, self.log)
        self.outcome.sessions += 1
        self._marks = self._mark()

    def _mark(self) -> int:
        """Bytes of what is recorded of trainings: grows when one begins or reports."""
        names = ("trials.jsonl", "confirm.jsonl")
        return sum((self.outcome.run / n).stat().st_size for n in names if (self.outcome.run / n).exists())

    def _pids(self) -> set[int]:
        """Every process that has recorded a report."""
        found = set()
        for name in ("trials.jsonl", "confirm.jsonl"):
            found |= {fields["pid"] for fields in read_lines(self.outcome.run / name)}
        return found

    def _wait_for_work(self) -> bool:
        """Until this session has recorded something; now and then it is shot earlier."""
        limit = self._rng.uniform(1.0, 20.0) if self._rng.random() < 0.2 else 120.0
        until = time.monotonic() + limit
        while time.monotonic() < until and self._process and self._process.poll() is None:
            if self._mark() > self._marks:
                return True
            time.sleep(0.02)
        return bool(self._process and self._process.poll() is None)

    def _wait(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._process and self._process.poll() is None:
            self._measure()
            time.sleep(0.02)
        return bool(self._process and self._process.poll() is None)

    def _measure(self) -> None:
        total = 0
        for folder, _, names in os.walk(self.outcome.run):  # unlike `rglob`, not stopped by a folder that goes
            for name in names:
                with suppress(FileNotFoundError):
                    total += Path(folder, name).lstat().st_size
        self.outcome.largest = max(self.outcome.largest, total)

    def _kill(self, kind: str) -> None:
        assert self._process
        victim = self._find(kind)
        if victim is None:
            return
        before, began = self._pids(), time.monotonic()
        with self.log.open("a") as log:
            log.write(f"--- kill -9 {kind}\n")
        victim.send_signal(signal.SIGKILL)
        if kind == "driver":
            self._process.wait(timeout=30)
            self._start()  # of the others' death the driver takes care itself
        # Training has gone on when a process that is new since the kill has reported.
        while self._pids() <= before and self._process.poll() is None and time.monotonic() - began < 120:
            time.sleep(0.05)
        self.outcome.kills.append((kind, time.monotonic() - began))

    def _find(self, kind: str) -> psutil.Process | None:
        assert self._process
        driver = psutil.Process(self._process.pid)
        if kind == "driver":
            return driver
        found = []
        for child in driver.children(recursive=True):
            try:
                title = " ".join(child.cmdline())
            except psutil.Error:
                continue
            if (kind == "raylet" and child.name() == "raylet") or (
                kind == "trial" and title.startswith("ray::ImplicitFunc")
            ):
                found.append(child)
        return self._rng.choice(found) if found else None


def check(outcome: Outcome) -> dict[str, Any]:
    """What must hold after any number of kills; returns what was found, for the table."""
    import optuna

    run = outcome.run
    summary = json.loads((run / "summary.json").read_text())
    plan = json.loads((run / "plan.json").read_text())
    lines = [json.loads(text) for text in (run / "trials.jsonl").read_text().splitlines()]
    ends = Counter(line["number"] for line in lines if line["outcome"] != "running")
    assert ends == dict.fromkeys(range(outcome.trials), 1), f"every trial ends once: {ends}"
    said = Counter((line["number"], line["samples"]) for line in lines if line["outcome"] == "running")
    assert set(said.values()) == {1}, "every report is there once"
    backend = optuna.storages.journal.JournalFileBackend(str(run / "study.journal"))
    study = optuna.load_study(study_name=plan["space"], storage=optuna.storages.JournalStorage(backend))
    records = trial_records.read(run / "trials.jsonl")
    assert [trial.state for trial in study.trials] == [optuna_state(record) for record in records]
    assert [trial.params for trial in study.trials] == [record.params for record in records]
    assert summary["counts"]["running"] == 0 and not summary["interrupted"]
    rows = confirm.confirmed(records, trial_records.read(run / "confirm.jsonl"), metric_of(plan))
    budget = plan["base"]["budget"]
    assert len(rows) >= budget["confirm_recipes"] and all(len(r.scores) == budget["confirm_seeds"] for r in rows)
    assert summary["best"]["number"] == rows[0].number, "the best is the recomputed best"
    reads = [fields["folder"] for fields in read_lines(run / "log.jsonl") if fields["event"] == "test"]
    assert summary["test_reads"] == len(reads) == len(set(reads)), "the test set is read once for each winner"
    assert outcome.largest <= plan["disk"], f"{outcome.largest} bytes, the bound is {plan['disk']}"
    assert not list(run.rglob("*.part")) and not list(run.rglob(".*"))
    return summary


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=90)
    parser.add_argument("--epochs", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chaos, began = Chaos(Path(folder), arguments.seed, arguments.trials, arguments.epochs), time.monotonic()
        try:
            outcome = chaos.run(arguments.kills)
        finally:
            print(chaos.log.read_text())
        summary = check(outcome)
        for kind in VICTIMS:
            seconds = [f"{s:.1f}" for k, s in outcome.kills if k == kind]
            print(f"{kind}: {len(seconds)} kills; seconds until training went on: {', '.join(seconds)}")
        states = ", ".join(f"{count} {state}" for state, count in summary["counts"].items())
        print(f"{len(outcome.kills)} kills, {outcome.sessions} sessions, {time.monotonic() - began:.0f} s; {states}")
        print(f"largest run directory {outcome.largest / 1e6:.2f} MB of at most {json_disk(outcome) / 1e6:.2f} MB")


def json_disk(outcome: Outcome) -> int:
    """The bound that the plan states, bytes."""
    return int(json.loads((outcome.run / "plan.json").read_text())["disk"])


if __name__ == "__main__":
    main()
