"""Real searches whose processes are killed at random moments, one kind after the other; then what is left is checked.

The moments come from the seed. Each time the driver is gone the search goes on by `--resume`.
"""

from __future__ import annotations

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
from frostline.search.ledger.conclusions import judge_of
from frostline.search.ledger.study import optuna_state
from frostline.search.plan.plan import of_json
from frostline.search.records import trials as trial_records
from frostline.search.records.journal import read_lines
from tests import tiny
from tests.bench.promises.rows import Failure, Row
from tests.bench.promises.warm import ROOT

KINDS = (
    "driver",
    "trial",
    "raylet",
    "gcs_server",
    "agent",
    "runtime env agent",
    "log monitor",
    "monitor",
    "dashboard",
    "idle worker",
)
"""Processes of a search and its private Ray. The monitor runs only with an autoscaler; not every moment has an idle
worker."""

_TRAINS_NO_MORE = {"driver", "trial", "raylet", "gcs_server"}
"""Kinds whose death ends the trainings, so that new processes go on."""

_LIMIT = 120.0
"""Seconds after a kill within which training has to go on."""

_MORE = 20


@dataclass
class Outcome:
    """The kills of a chaos run, and the run directory that it left."""

    run: Path
    trials: int
    """Asked for in the end."""
    kills: list[tuple[str, float, str]] = field(default_factory=list)
    """Victim, seconds until training went on, and what was wrong after it, on one line."""
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

    def run(self, victims: Sequence[str]) -> Outcome:
        """Kill a process of each of these kinds in turn, then let the search finish. A kind may be named again."""
        left, tries = list(victims), 0
        while left:
            self._start()
            if self._wait_for_work() and self._wait(self._rng.uniform(0.0, 6.0)):
                killed, tries = self._kill(left[0]), tries + 1
                if killed or tries == _TRIES:
                    left, tries = left[1:], 0
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

    def _kill(self, kind: str) -> bool:
        """Kill a process of a kind, and wait until training has gone on; False if there is none now."""
        assert self._process
        victim = self._find(kind)
        if victim is None:
            return False
        before, mark, said, began = self._pids(), self._mark(), self.log.stat().st_size, time.monotonic()
        with self.log.open("a") as log:
            log.write(f"--- kill -9 {kind}\n")
        victim.send_signal(signal.SIGKILL)
        problem = ""
        if kind == "driver":
            self._process.wait(timeout=30)
            self._start()  # of the others' death the driver takes care itself
        while not self._goes_on(kind, before, mark):
            if (code := self._process.poll()) is not None:
                problem = "" if code == 0 else self._problem_of_end(code, said)
                break
            if time.monotonic() - began > _LIMIT:
                problem = f"no training within {_LIMIT:.0f} s"
                break
            time.sleep(0.05)
        self.outcome.kills.append((kind, time.monotonic() - began, problem))
        return True

    def _goes_on(self, kind: str, before: set[int], mark: int) -> bool:
        return bool(self._pids() - before) if kind in _TRAINS_NO_MORE else self._mark() > mark

    def _problem_of_end(self, code: int, said: int) -> str:
        """The fault of an end of the driver; empty if it is right. It may say on one line how the search goes on."""
        text = self.log.read_bytes()[said:].decode(errors="replace")
        last = text.strip().splitlines()[-1]
        right = code == 1 and last.startswith("frostline: ") and "--resume" in last and "Traceback" not in text
        return "" if right else f"exit {code}: {last}"

    def _find(self, kind: str) -> psutil.Process | None:
        assert self._process
        driver = psutil.Process(self._process.pid)
        if kind == "driver":
            return driver
        with suppress(psutil.Error):
            victims = [child for child in driver.children(recursive=True) if _kind_of(child) == kind]
            return self._rng.choice(victims) if victims else None
        return None


_TRIES = 5
"""How often a process of a kind is looked for. Some kinds are not there in every search."""

_BY_COMMAND = {
    "ray::ImplicitFunc": "trial",
    "ray::IDLE": "idle worker",
    "log_monitor.py": "log monitor",
    "ray::RuntimeEnvAgent": "runtime env agent",
    "ray::DashboardAgent": "agent",
    "dashboard/dashboard.py": "dashboard",
    "autoscaler/_private/monitor.py": "monitor",
    "autoscaler/v2/monitor.py": "monitor",
}
"""Part of a command line -> kind of the process."""


def _kind_of(process: psutil.Process) -> str:
    """The kind of a process; empty if it is none of `KINDS` or has just ended."""
    try:
        if process.name() in {"raylet", "gcs_server"}:
            return str(process.name())
        command = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    return next((kind for part, kind in _BY_COMMAND.items() if part in command), "")


def tried(each: int, seed: int) -> Row:
    """Kill processes of every kind `each` times, in one long search."""
    began = time.monotonic()
    victims = [kind for kind in KINDS for _ in range(each)]
    random.Random(seed).shuffle(victims)
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(Path(folder), seed, trials=90, epochs=9)
        failures = []
        try:
            chaos.run(victims)
            check(chaos.outcome)
        except AssertionError as error:
            failures.append(Failure(name="kill: the search in the end", problem=str(error).replace("\n", " / ")))
        outcome = chaos.outcome
    for kind in KINDS:
        seconds = [took for killed, took, _ in outcome.kills if killed == kind]
        print(f"{kind}: {len(seconds)} kills; seconds until training went on: {', '.join(f'{s:.1f}' for s in seconds)}")
    print(f"{outcome.sessions} sessions; largest run directory {outcome.largest / 1e6:.2f} MB")
    failures += [
        Failure(name=f"kill: {number}, {kind}", problem=problem)
        for number, (kind, _, problem) in enumerate(outcome.kills)
        if problem
    ]
    return Row(kind="kills", tried=len(outcome.kills), seconds=time.monotonic() - began, failures=failures)


def check(outcome: Outcome) -> dict[str, Any]:
    """Check what must hold after any number of kills; returns a row for the table."""
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
    runs = trial_records.read(run / "confirm.jsonl")
    rows = confirm.confirmed(records, runs, judge_of(of_json(run, plan)))
    budget = plan["base"]["budget"]
    assert 2 <= len(runs) <= budget["confirm_recipes"] * budget["confirm_seeds"], "the race has its trainings"
    assert summary["best"]["number"] == rows[0].number, "the best is the recomputed best"
    reads = [fields["folder"] for fields in read_lines(run / "log.jsonl") if fields["event"] == "test"]
    assert summary["test_reads"] == len(reads) == len(set(reads)), "the test set is read once for each winner"
    assert outcome.largest <= plan["disk"], f"{outcome.largest} bytes, the bound is {plan['disk']}"
    assert not list(run.rglob("*.part")) and not list(run.rglob(".*"))
    return summary
