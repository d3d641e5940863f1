"""The driver's side of W&B: the search becomes events for the process that speaks to W&B (client.py).

Only the end of the search waits for W&B, for `Limits.end` at most.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from frostline.search.plan.plan import Plan
from frostline.search.records import baseline as baselines
from frostline.search.records import trials as trial_records
from frostline.search.records.events import LOG, Job, job_of
from frostline.search.records.journal import read_lines
from frostline.search.records.trials import Line, Trial
from frostline.search.tracking import sweep
from frostline.trainables._imports import search_path

_BEHIND = 1.0
"""Extra seconds at the end for each run of an earlier session that W&B lacks (measured: 0.2 to 0.3)."""

_UPLOAD = 1e6
"""Bytes per second of the slowest upload of a model that the end still waits for."""

_NOT_INHERITED = (
    *("WANDB_MODE", "WANDB_RUN_ID", "WANDB_NAME", "WANDB_NOTES", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE", "WANDB_TAGS"),
    *("WANDB_RESUME", "WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH", "WANDB_SERVICE", "WANDB_DISABLED", "WANDB_DIR"),
)
"""Variables about a single run. The client has many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Seconds that a search gives W&B. `end` is more than the others together."""

    answer: float = 10.0
    """To create the sweep, and to open each run. If it is over, the rest of the search is kept in files."""
    finish: float = 10.0
    """To send the last data of a run."""
    end: float = 30.0
    """To do all the remaining work after the end of the search."""


class Tracker:
    """Follows the trials of one search into W&B. Use as a context manager around all of it."""

    def __init__(self, plan: Plan, console: Console, limits: Limits | None = None) -> None:
        """Nothing is started yet."""
        self._plan, self._console, self._limits = plan, console, limits or Limits()
        self.link: str | None = None
        """Address of the sweep's page; None before W&B has answered."""
        self._client: subprocess.Popen[str] | None = None
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._reports: dict[tuple[int, int], Trial] = {}
        self._begun: set[tuple[int, int]] = set()
        self._uploaded: str | None = None
        self._concluded: str | None = None
        self._prefix = ""
        self._warned = False
        self._patience = self._limits.end

    # --- its life ------------------------------------------------------------------------------

    def __enter__(self) -> Tracker:
        if self._plan.wandb.mode == "off":
            return self
        run = self._plan.place.run
        lines = list(read_lines(run / "wandb" / sweep.BOOK))
        self._uploaded = next((book["artifact"] for book in reversed(lines) if "artifact" in book), None)
        concluded = [book["result"] for book in lines if "result" in book and (book["online"] or self._stays_offline)]
        self._concluded = next(reversed(concluded), None)
        self.link = next((book["url"] for book in lines if "url" in book), None)
        first = next((event for event in read_lines(run / LOG) if event.get("event") == "session"), {})
        self._prefix = sweep.run_prefix(run.name, first)
        kept = {book.get("id") for book in lines if book.get("ended") and (book.get("online") or self._stays_offline)}
        known = [*trial_records.read(run / "trials.jsonl"), *trial_records.read(run / "confirm.jsonl")]
        self._reports = {trial.key: trial for trial in known if trial.open}
        missing = [trial for trial in known if not trial.open and self._id(job_of(trial)) not in kept]
        self._patience += _BEHIND * len(missing)
        for trial in missing:  # W&B was off or did not answer then
            self._begin(job_of(trial), trial)
            self._end(trial)
        return self

    def start(self) -> None:
        """Start the client, unless W&B is off or the client has been started."""
        if self._plan.wandb.mode == "off" or self._client is not None:
            return
        run = self._plan.place.run
        (run / "wandb").mkdir(exist_ok=True)
        self._client = subprocess.Popen(
            [sys.executable, "-P", "-m", "frostline.search.tracking.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=_environment(),
            # W&B reads wandb/settings in the working directory. In a run directory somebody else may have written it.
            cwd=run.parent if Path.cwd().is_relative_to(run) else None,
            start_new_session=True,  # Ctrl-C reaches the search alone, and the client's whole group can be ended
        )
        for work in (self._send, self._listen):
            self._threads.append(threading.Thread(target=work, args=(self._client, self._facts()), daemon=True))
            self._threads[-1].start()

    def _facts(self) -> dict[str, Any]:
        """The first event: the facts about the search that do not change."""
        plan = self._plan
        depth = next((name for name in ("frozen_layers", "frozen_fraction") if name in plan.search.distributions), None)
        return {
            "mode": plan.wandb.mode,
            "asked": plan.wandb.asked,
            "run": str(plan.place.run),
            "group": plan.place.run.name,
            "sweep": sweep.config(plan),
            "view": {
                "name": f"Frostline: {plan.place.run.name}",
                "group": plan.place.run.name,
                "metric": plan.search.metric.name,
                "parameters": {name: sweep.is_log(space) for name, space in plan.search.distributions.items()},
                "depth": depth,
            },
            "answer_in": self._limits.answer,
            "finish_in": self._limits.finish,
            "end_in": self._patience,
        }

    def __exit__(self, *exception: object) -> None:
        """Wait for the last uploads, no longer than the limit."""
        client = self._client
        if client is None:
            return
        self._events.put(None)
        try:
            if client.wait(timeout=self._patience):
                self._warn("its client failed (see client.log)")
        except subprocess.TimeoutExpired:
            self._warn(f"it was not finished {self._patience:.0f} s after the end")
        except KeyboardInterrupt:
            self._warn("Ctrl-C ended the wait for it")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(client.pid, signal.SIGKILL)  # with the processes that W&B started
            client.wait()
        self._threads[-1].join(timeout=1)
        if self._plan.wandb.mode == "offline" and not self._warned:
            self._print(f"W&B: the data is in {self._plan.place.run / 'wandb'}. {self._later}")

    # --- the search ----------------------------------------------------------------------------

    def begin(self, job: Job) -> None:
        """A training got a slot."""
        self._begin(job, self._reports.get(job.key))

    def report(self, line: Line) -> None:
        """A running training has reported."""
        key = (line.number, line.seed)
        self._reports[key] = trial_records.extended(self._reports.get(key), line)
        self._put("report", job_of(self._reports[key]), row=sweep.row(line))

    def lose(self, job: Job, reason: str) -> None:
        """A training has lost its process and will go on. Its run stays open."""

    def note(self, text: str) -> None:
        """A problem that belongs to no training has no run to be shown in."""

    def end(self, line: Line) -> None:
        """A training has ended."""
        key = (line.number, line.seed)
        trial = trial_records.extended(self._reports.pop(key, None), line)
        if key not in self._begun:  # it began in an earlier session that did not record its end
            self._begin(job_of(trial), trial)
        self._end(trial)

    def conclude(self, best: Trial, test: Mapping[str, float], comparison: str) -> None:
        """The result is known: it goes into the summary of the winner's run, unless that has been done.

        Args:
            best: the training that won.
            test: its metrics on the test examples.
            comparison: whether it is better than the trained baseline, in words; empty if that is not known.
        """
        job = job_of(best)
        if self._plan.wandb.mode == "off" or self._id(job) == self._concluded:
            return
        self._patience += _BEHIND
        baseline = baselines.read(self._plan.place.run)
        result = sweep.result(self._plan.search.metric, test, baseline, comparison)
        described = self._described(job)
        self._put(
            *("result", job),
            **{**described, "tags": [*described["tags"], *sweep.state_tags(best)]},
            summary={**self._ending(best), **result},
        )

    def publish(self, best: Trial, folder: Path) -> None:
        """Upload the folder of the winner's model as an artifact, unless that has been done."""
        job = job_of(best)
        if self._plan.wandb.mode == "off" or self._id(job) == self._uploaded:
            return
        metric = self._plan.search.metric
        self._patience += (upload := sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _UPLOAD)
        self._put(
            *("artifact", job),
            **self._described(job),
            folder=str(folder),
            artifact=self._plan.search.space,
            aliases=["best", self._plan.search.space],
            metadata={"metric": metric.name, "validation": metric.value(best.objective)},
            finish_in=self._limits.finish + upload,
        )

    def _begin(self, job: Job, known: Trial | None) -> None:
        self._begun.add(job.key)
        rows = [sweep.row(line) for line in known.reports] if known else []
        self._put("begin", job, **self._described(job), rows=rows)

    def _described(self, job: Job) -> dict[str, Any]:
        config = sweep.run_config(self._plan, job)
        return {
            "name": sweep.run_name(job),
            "job_type": "confirm" if job.confirms else "trial",
            "tags": sweep.tags(self._plan, config["model"]),
            "config": config,
        }

    def _end(self, trial: Trial) -> None:
        self._begun.discard(trial.key)
        self._put(
            *("end", job_of(trial)),
            summary=self._ending(trial),
            tags=sweep.state_tags(trial),
            exit_code=sweep.exit_code(trial),
            goes_on=trial.open,
        )

    def _ending(self, trial: Trial) -> dict[str, Any]:
        plan = self._plan
        return sweep.ending(trial, plan.search.metric, plan.schedule.rungs, baselines.read(plan.place.run))

    def _put(self, do: str, job: Job, **fields: Any) -> None:
        if self._plan.wandb.mode != "off":
            self.start()
            self._events.put({"do": do, "id": self._id(job), **fields})

    @property
    def _stays_offline(self) -> bool:
        """Whether W&B is to have nothing but files, as asked."""
        return self._plan.wandb.mode == "offline"

    def _id(self, job: Job) -> str:
        return sweep.run_id(self._prefix, job)

    # --- the client ----------------------------------------------------------------------------

    def _send(self, client: subprocess.Popen[str], facts: dict[str, Any]) -> None:
        """Write the events to the client. If it reads slowly, only this thread waits."""
        assert client.stdin
        with contextlib.suppress(OSError):  # the client has ended; `__exit__` warns
            event: dict[str, Any] | None = facts
            while event is not None:
                client.stdin.write(json.dumps(event) + "\n")
                client.stdin.flush()
                event = self._events.get()
            client.stdin.close()

    def _listen(self, client: subprocess.Popen[str], facts: dict[str, Any]) -> None:
        assert client.stdout
        for text in client.stdout:
            answer = json.loads(text)
            if "sweep" in answer:
                self.link = answer["url"]
                self._print(f"W&B sweep: {self.link}")
            elif "view" in answer:
                self._print(f"W&B view: {answer['view']}")
            else:
                self._warn(answer["warning"])

    def _warn(self, why: str) -> None:
        """Print once what is wrong with W&B, and how to send the missing data later."""
        if not self._warned:
            self._warned = True
            folder = self._plan.place.run / "wandb"
            self._print(f"W&B: {why}. The search goes on; {folder} keeps the data that W&B lacks.")
            self._print(self._later)

    @property
    def _later(self) -> str:
        place, run = self._plan.place, self._plan.place.run
        return f"Send it later: frostline --resume {place} --wandb online; or wandb sync {run}/wandb/offline-run-*"

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)


def _environment() -> dict[str, str]:
    """The environment of the client, which finds `frostline` also if a checkout is not installed."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**environment, **search_path()}
