"""The process that speaks to W&B for a search: events in, one JSON object a line, on stdin; what came of it on stdout.

It is a process of its own, so that no search waits for W&B: a client that hangs can be ended, its threads and exit
hooks keep nobody, and what it prints goes to `wandb/client.log`. It is started by `search/tracking/tracker.py`:

    python -P -m frostline.search.tracking.client < EVENTS

What it holds of each run is every report so far, so a run that the server misses in part is completed, and none of
its rows is sent twice: a row's step is its place among the reports of its training.
"""

from __future__ import annotations

import collections
import json
import os
import sys
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from frostline.search.records.journal import Journal, read_lines
from frostline.search.tracking import workspace
from frostline.search.tracking.sweep import EPOCH, SAMPLES

BOOK = "frostline.jsonl"
"""In the folder `wandb` of a run directory: the sweep, and how far each run has been taken."""

PROJECT = "frostline"
"""Where nothing else is configured."""

_AT_ONCE = 8
"""Runs whose last data is waited for at once."""

_DRAIN = 3
"""The last uploads get one part in so many of the time there is at the end; the rest is for writing files."""


@dataclass(kw_only=True, slots=True)
class Open:
    """A run that has not ended."""

    begin: dict[str, Any]
    """The event that opened it."""
    rows: list[dict[str, Any]]
    """All reports."""
    run: Any = None
    """W&B's; None where it could not be opened."""
    first: int = 0
    """Place of the first row that is sent by this process."""
    end: dict[str, Any] = field(default_factory=dict)
    """The event that ended it."""


class Client:
    """All that is done with W&B in one session of a search."""

    def __init__(self, told: dict[str, Any], answers: TextIO) -> None:
        """`told`: the first event, all about the search that does not change."""
        import wandb

        self._wandb, self._told, self._answers = wandb, told, answers
        self._folder = Path(told["run"]) / "wandb"
        known = list(read_lines(self._folder / BOOK))
        self._sweep: dict[str, Any] | None = next((fields for fields in known if "sweep" in fields), None)
        self._kept = {fields["id"]: int(fields["rows"]) for fields in known if "id" in fields and "rows" in fields}
        self._book, self._writing = Journal(self._folder / BOOK), threading.Lock()
        self.online = told["mode"] == "online"
        self._open: dict[str, Open] = {}
        self._missed: list[Open] = []
        self._view: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._ending: dict[str, Future[None]] = {}
        settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
        self._project, self._entity = settings.project or PROJECT, settings.entity

    # --- the search ----------------------------------------------------------------------------

    def start(self) -> None:
        """Create the sweep, or go on in it, and save the view; offline where the server does not answer."""
        if self.online and self._sweep is None:
            try:
                self._sweep = self._within(self._create_sweep, self._told["answer_in"])
                self._note(self._sweep)
            except Exception as error:
                self._go_offline(error)
        if self._sweep:
            self._say(sweep=self._sweep["sweep"], url=self._sweep["url"])
            if self.online:
                self._view = threading.Thread(target=self._save_view, daemon=True)
                self._view.start()

    def _create_sweep(self) -> dict[str, Any]:
        # Where the entity is not configured, the server says whose the key is.
        api = self._wandb.Api(timeout=int(self._told["answer_in"]) or 1)
        entity = self._entity or api.default_entity
        sweep = self._wandb.sweep(self._told["sweep"], entity=entity, project=self._project)
        page = f"{self._wandb.setup().settings.app_url}/{entity}/{self._project}"
        return {"sweep": sweep, "entity": entity, "project": self._project, "url": f"{page}/sweeps/{sweep}"}

    def _save_view(self) -> None:
        sweep = self._sweep
        if sweep is None or any("view" in fields for fields in read_lines(self._folder / BOOK)):
            return
        try:
            url = workspace.save(sweep["entity"], sweep["project"], **self._told["view"])
        except Exception as error:  # a view is a convenience
            print(f"no view was saved: {error}", file=sys.stderr)
            return
        self._note({"view": url})
        self._say(view=url)

    def _within(self, do: Any, seconds: float) -> Any:
        """What `do` returns.

        Raises:
            TimeoutError: it has not returned in time; it goes on by itself.
        """
        done: Future[Any] = Future()

        def work() -> None:
            try:
                done.set_result(do())
            except BaseException as error:
                done.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            return done.result(timeout=seconds)
        except TimeoutError:
            raise TimeoutError(f"no answer within {seconds:g} s") from None

    def _go_offline(self, error: Exception) -> None:
        traceback.print_exception(error)
        if self.online:
            self.online = False
            self._say(warning=(str(error).splitlines() or [type(error).__name__])[0].rstrip("."))

    def handle(self, event: dict[str, Any]) -> None:
        """Do what one event asks for; what goes wrong is said once, and the search hears of it as a warning."""
        do = {"begin": self.begin, "report": self.report, "end": self.end, "artifact": self.artifact}[event["do"]]
        try:
            do(event)
        except Exception as error:
            self._go_offline(error)

    def hurry(self, seconds: float) -> None:
        """The search has ended and this is behind by so much: the rest is only written to files."""
        if self.online:
            self._go_offline(TimeoutError(f"it was {seconds:.0f} s behind at the end"))

    # --- runs ----------------------------------------------------------------------------------

    def begin(self, event: dict[str, Any]) -> None:
        """A training has begun, or goes on."""
        if event["id"] in self._open:
            return  # its process was lost, and it goes on
        if before := self._ending.pop(event["id"], None):
            before.result()
        found = self._open[event["id"]] = Open(begin=event, rows=list(event["rows"]))
        try:
            self._start_run(found)
        except Exception as error:
            self._go_offline(error)

    def _start_run(self, found: Open, finish_in: float | None = None) -> None:
        event, told, sweep = found.begin, self._told, self._sweep or {}
        run = self._wandb.init(
            entity=sweep.get("entity", self._entity),
            project=sweep.get("project", self._project),
            dir=told["run"],
            id=event["id"],
            name=event["name"],
            group=told["group"],
            job_type=event["job_type"],
            tags=event["tags"],
            config=event["config"],
            mode="online" if self.online else "offline",
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(
                sweep_id=sweep.get("sweep"),
                init_timeout=told["answer_in"],
                finish_timeout=told["finish_in"] if finish_in is None else finish_in,
                finish_timeout_raises=True,
                silent=True,
                console="off",
                allow_val_change=True,  # a trial may go on with another cache
                # This process trains nothing: neither its machine nor its code says anything of the run.
                x_disable_stats=True,
                x_disable_meta=True,
                x_disable_machine_info=True,
                x_save_requirements=False,
                disable_git=True,
                disable_code=True,
                disable_job_creation=True,
                symlink=False,
            ),
        )
        found.first = run.starting_step if self.online else self._kept.get(event["id"], 0)
        run.define_metric(EPOCH)
        run.define_metric(SAMPLES)
        run.define_metric("*", step_metric=EPOCH)
        for place, row in enumerate(found.rows):
            if place >= found.first:
                run.log(row, step=place, commit=True)  # else it waits for the next one
        found.run = run

    def report(self, event: dict[str, Any]) -> None:
        """A running training has one row more."""
        found = self._open[event["id"]]
        found.rows.append(event["row"])
        if found.run and len(found.rows) > found.first:
            found.run.log(event["row"], step=len(found.rows) - 1, commit=True)

    def end(self, event: dict[str, Any]) -> None:
        """A training has ended; its last data is waited for beside whatever comes next."""
        found = self._open.pop(event["id"])
        found.end = event
        if found.run is None:
            self._missed.append(found)
        else:
            self._ending[event["id"]] = self._pool.submit(self._finish, found)

    def _finish(self, found: Open) -> None:
        run, event = found.run, found.end
        try:
            run.summary.update(event["summary"])
            run.tags = (*run.tags, *event["tags"])
            if event["goes_on"]:
                run.mark_preempting()
            run.finish(exit_code=event["exit_code"])
        except Exception as error:
            self._go_offline(error)
            if not run.offline:
                self._missed.append(found)
                return
        self._note(
            {"id": event["id"], "rows": len(found.rows), "ended": not event["goes_on"], "online": not run.offline}
        )

    def artifact(self, event: dict[str, Any]) -> None:
        """Upload the winner's model from the run of its training."""
        if before := self._ending.pop(event["id"], None):
            before.result()
        found = Open(begin=event, rows=[])
        self._start_run(found, event["finish_in"])
        model = self._wandb.Artifact(event["artifact"], type="model", metadata=event["metadata"])
        model.add_dir(event["folder"], policy="immutable", skip_cache=True)
        found.run.log_artifact(model, aliases=event["aliases"])
        if self.online:
            model.wait(timeout=int(event["finish_in"]))  # raises where the server did not take it
        found.run.finish()
        if self.online:
            self._note({"artifact": event["id"]})

    # --- the end -------------------------------------------------------------------------------

    def close(self, deadline: float) -> None:
        """Wait for what is on its way, and write down what is not; `deadline` by `time.monotonic`."""
        for event in [found.begin for found in self._open.values()]:  # the search has gone without a word
            self.end({"id": event["id"], "summary": {}, "tags": [], "exit_code": 1, "goes_on": True})
        for ending in self._ending.values():
            ending.result(timeout=max(0.0, deadline - time.monotonic()))
        if self._view:
            self._view.join(timeout=self._told["answer_in"])
        if self._missed:
            self._wandb.teardown()  # it holds on to the names of these runs
            self.online = False
            for found in self._missed:
                self._start_run(found)
                self._finish(found)
        self._wandb.teardown()

    def _note(self, fields: dict[str, Any]) -> None:
        with self._writing:
            self._book.append(fields)

    def _say(self, **fields: Any) -> None:
        print(json.dumps(fields), file=self._answers, flush=True)


class Inbox:
    """Events as they come, read by a thread so that the sender never waits; knows when the last one is there."""

    def __init__(self, source: TextIO) -> None:
        self._events: collections.deque[dict[str, Any]] = collections.deque()
        self._there = threading.Condition()
        self.closed_at: float | None = None
        """When the last event came, by `time.monotonic`."""
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source: TextIO) -> None:
        for line in source:
            with self._there:
                self._events.append(json.loads(line))
                self._there.notify()
        with self._there:
            self.closed_at = time.monotonic()
            self._there.notify()

    def take(self) -> dict[str, Any] | None:
        """The next event; None after the last."""
        with self._there:
            self._there.wait_for(lambda: self._events or self.closed_at is not None)
            return self._events.popleft() if self._events else None


def main() -> None:
    """Work through the events of one session."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    inbox = Inbox(sys.stdin)
    told = inbox.take()
    assert told is not None
    with (Path(told["run"]) / "wandb" / "client.log").open("ab", buffering=0) as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        client = Client(told, answers)
        client.start()
        while event := inbox.take():
            behind = time.monotonic() - inbox.closed_at if inbox.closed_at else 0.0
            if behind > told["end_in"] / _DRAIN and event["do"] != "artifact":
                client.hurry(behind)
            client.handle(event)
        client.close((inbox.closed_at or time.monotonic()) + told["end_in"])
        answers.close()
        os._exit(0)  # what is still waiting for an answer is not waited for


if __name__ == "__main__":
    main()
