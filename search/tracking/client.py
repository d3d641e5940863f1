"""The process that speaks to W&B for a search. It reads events from stdin and answers on stdout, both as JSON lines.

A search never waits for W&B, since this process is separate: the search can end a client that hangs, W&B's threads
and exit hooks delay nobody, and W&B's own output goes to `wandb/client.log`. `search/tracking/tracker.py` starts it:

    python -P -m frostline.search.tracking.client < EVENTS

It keeps every report of a run. So it completes a run that the server has only in part, and sends no row twice: the
step of a row is its place among the reports of its training.
"""

from __future__ import annotations

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
from frostline.search.tracking.inbox import Inbox
from frostline.search.tracking.sweep import BOOK, EPOCH, SAMPLES
from frostline.trainables._errors import first_line

PROJECT = "frostline"
"""The project, unless W&B is configured with another."""

_AT_ONCE = 8
"""Runs that finish at the same time."""

_DRAIN = 3
"""At the end the last uploads get this fraction (1 / `_DRAIN`) of the time. The rest is for writing files."""


@dataclass(kw_only=True, slots=True)
class OpenRun:
    """A run that has not ended."""

    begin: dict[str, Any]
    """The event that opened it."""
    rows: list[dict[str, Any]]
    """All reports, as rows of the run's history."""
    run: Any = None
    """W&B's own run; None if it could not be opened."""
    first: int = 0
    """Place of the first row that this process sends."""
    end: dict[str, Any] = field(default_factory=dict)
    """The event that ended it."""


class Client:
    """W&B during one session of a search."""

    def __init__(self, search: dict[str, Any], answers: TextIO) -> None:
        """Open the book of the run directory.

        Args:
            search: the first event: the facts about the search that do not change.
            answers: where to write answers.
        """
        import wandb

        self._wandb, self._search, self._answers = wandb, search, answers
        self._folder = Path(search["run"]) / "wandb"
        known = list(read_lines(self._folder / BOOK))
        self._sweep: dict[str, Any] | None = next((fields for fields in known if "sweep" in fields), None)
        self._kept = {fields["id"]: int(fields["rows"]) for fields in known if "id" in fields and "rows" in fields}
        self._book, self._writing = Journal(self._folder / BOOK), threading.Lock()
        self.online = search["mode"] == "online"
        self._open: dict[str, OpenRun] = {}
        self._missed: list[OpenRun] = []
        self._view: threading.Thread | None = None
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._ending: dict[str, Future[None]] = {}
        settings = wandb.setup(settings=wandb.Settings(silent=True)).settings
        self._project, self._entity = settings.project or PROJECT, settings.entity

    # --- the search ----------------------------------------------------------------------------

    def start(self) -> None:
        """Create the sweep, or go on in an earlier one, and save the view. Go offline if the server does not answer."""
        if self.online and self._sweep is not None and not self._search["asked"]:
            self._check_owner(self._sweep)
        if self.online and self._sweep is None:
            try:
                self._sweep = self._within(self._create_sweep, self._search["answer_in"])
                self._note(self._sweep)
            except Exception as error:
                self._go_offline(error)
        if self._sweep:
            self._say(sweep=self._sweep["sweep"], url=self._sweep["url"])
            if self.online:
                self._view = threading.Thread(target=self._save_view, daemon=True)
                self._view.start()

    def _check_owner(self, sweep: dict[str, Any]) -> None:
        """Go offline if the run directory names a sweep that is not this user's: somebody else's search was copied."""
        try:
            own = self._within(self._own_entity, self._search["answer_in"])
        except Exception as error:
            self._go_offline(error)
            return
        if sweep.get("entity") != own:
            self._sweep = None
            where = f"{sweep.get('entity')}/{sweep.get('project')}"
            self._go_offline(ValueError(f"the search is in {where}, and you are {own}"))

    def _own_entity(self) -> Any:
        """The configured entity; if there is none, the server knows the owner of the key."""
        return self._entity or self._wandb.Api(timeout=int(self._search["answer_in"]) or 1).default_entity

    def _create_sweep(self) -> dict[str, Any]:
        entity = self._own_entity()
        sweep = self._wandb.sweep(self._search["sweep"], entity=entity, project=self._project)
        page = f"{self._wandb.setup().settings.app_url}/{entity}/{self._project}"
        return {"sweep": sweep, "entity": entity, "project": self._project, "url": f"{page}/sweeps/{sweep}"}

    def _save_view(self) -> None:
        sweep = self._sweep
        if sweep is None or any("view" in fields for fields in read_lines(self._folder / BOOK)):
            return
        try:
            url = workspace.save(sweep["entity"], sweep["project"], **self._search["view"])
        except Exception as error:  # a view is a convenience
            print(f"no view was saved: {error}", file=sys.stderr)
            return
        self._note({"view": url})
        self._say(view=url)

    def _within(self, do: Any, seconds: float) -> Any:
        """Run `do` and return its result.

        Raises:
            TimeoutError: it has not returned in time. It keeps running.
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
            self._say(warning=first_line(error).rstrip("."))

    def handle(self, event: dict[str, Any]) -> None:
        """Handle one event. The first error becomes a warning for the search, and W&B goes offline."""
        kinds = {"result": self.result, "artifact": self.artifact}
        do = {"begin": self.begin, "report": self.report, "end": self.end, **kinds}[event["do"]]
        try:
            do(event)
        except Exception as error:
            self._go_offline(error)

    def hurry(self, seconds: float) -> None:
        """Go offline, since the search ended `seconds` ago: the rest is only written to files."""
        if self.online:
            self._go_offline(TimeoutError(f"it was {seconds:.0f} s behind at the end"))

    # --- runs ----------------------------------------------------------------------------------

    def begin(self, event: dict[str, Any]) -> None:
        """Open the run of a training that begins or goes on."""
        if event["id"] in self._open:
            return  # the training lost its process and goes on
        if before := self._ending.pop(event["id"], None):
            before.result()
        opened = self._open[event["id"]] = OpenRun(begin=event, rows=list(event["rows"]))
        try:
            self._start_run(opened)
        except Exception as error:
            self._go_offline(error)

    def _start_run(self, opened: OpenRun, finish_in: float | None = None) -> None:
        event, search, sweep = opened.begin, self._search, self._sweep or {}
        run = self._wandb.init(
            entity=sweep.get("entity", self._entity),
            project=sweep.get("project", self._project),
            dir=search["run"],
            id=event["id"],
            name=event["name"],
            group=search["group"],
            job_type=event["job_type"],
            tags=event["tags"],
            config=event["config"],
            mode="online" if self.online else "offline",
            resume="allow",
            reinit="create_new",
            settings=self._wandb.Settings(
                sweep_id=sweep.get("sweep"),
                init_timeout=search["answer_in"],
                finish_timeout=search["finish_in"] if finish_in is None else finish_in,
                finish_timeout_raises=True,
                silent=True,
                console="off",
                allow_val_change=True,  # a trial may go on with a different cache
                # This process does not train: its machine and its code have nothing to do with the run.
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
        opened.first = run.starting_step if self.online else self._kept.get(event["id"], 0)
        run.define_metric(EPOCH)
        run.define_metric(SAMPLES)
        run.define_metric("*", step_metric=EPOCH)
        for place, row in enumerate(opened.rows):
            if place >= opened.first:
                run.log(row, step=place, commit=True)  # without it W&B holds the row back
        opened.run = run

    def report(self, event: dict[str, Any]) -> None:
        """Log the next row of a running training."""
        opened = self._open[event["id"]]
        opened.rows.append(event["row"])
        if opened.run and len(opened.rows) > opened.first:
            opened.run.log(event["row"], step=len(opened.rows) - 1, commit=True)

    def end(self, event: dict[str, Any]) -> None:
        """Finish the run of a training that has ended. Its last upload runs in the background."""
        ended = self._open.pop(event["id"])
        ended.end = event
        if ended.run is None:
            self._missed.append(ended)
        else:
            self._ending[event["id"]] = self._pool.submit(self._finish, ended)

    def _finish(self, ended: OpenRun) -> None:
        run, event = ended.run, ended.end
        try:
            run.summary.update(event["summary"])
            run.tags = (*run.tags, *event["tags"])
            if event["goes_on"]:
                run.mark_preempting()
            run.finish(exit_code=event["exit_code"])
        except Exception as error:
            self._go_offline(error)
            if not run.offline:
                self._missed.append(ended)
                return
        self._note(
            {"id": event["id"], "rows": len(ended.rows), "ended": not event["goes_on"], "online": not run.offline}
        )

    def result(self, event: dict[str, Any]) -> None:
        """Add the result of the search to the summary of the winner's run."""
        opened = self._again(event)
        opened.run.summary.update(event["summary"])
        opened.run.finish()
        self._note({"result": event["id"], "online": self.online and not opened.run.offline})

    def _again(self, event: dict[str, Any], finish_in: float | None = None) -> OpenRun:
        """The run of a training that has ended, open again."""
        if before := self._ending.pop(event["id"], None):
            before.result()
        opened = OpenRun(begin=event, rows=[])
        self._start_run(opened, finish_in)
        return opened

    def artifact(self, event: dict[str, Any]) -> None:
        """Upload the winner's model from the run of its training."""
        opened = self._again(event, event["finish_in"])
        model = self._wandb.Artifact(event["artifact"], type="model", metadata=event["metadata"])
        model.add_dir(event["folder"], policy="immutable", skip_cache=True)
        opened.run.log_artifact(model, aliases=event["aliases"])
        if self.online:
            model.wait(timeout=int(event["finish_in"]))  # raises if the server did not accept it
        opened.run.finish()
        if self.online:
            self._note({"artifact": event["id"]})

    # --- the end -------------------------------------------------------------------------------

    def close(self, deadline: float) -> None:
        """Wait for the uploads, then write what is missing to files; `deadline` is by `time.monotonic`."""
        for event in [opened.begin for opened in self._open.values()]:  # the search died
            self.end({"id": event["id"], "summary": {}, "tags": [], "exit_code": 1, "goes_on": True})
        for ending in self._ending.values():
            ending.result(timeout=max(0.0, deadline - time.monotonic()))
        if self._view:
            self._view.join(timeout=self._search["answer_in"])
        if self._missed:
            self._wandb.teardown()  # else it keeps the ids of these runs
            self.online = False
            for missed in self._missed:
                self._start_run(missed)
                self._finish(missed)
        self._wandb.teardown()

    def _note(self, fields: dict[str, Any]) -> None:
        with self._writing:
            self._book.append(fields)

    def _say(self, **fields: Any) -> None:
        print(json.dumps(fields), file=self._answers, flush=True)


def main() -> None:
    """Work through the events of one session."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    inbox = Inbox(sys.stdin)
    search = inbox.take()
    assert search is not None
    with (Path(search["run"]) / "wandb" / "client.log").open("ab", buffering=0) as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
        client = Client(search, answers)
        client.start()
        while event := inbox.take():
            behind = time.monotonic() - inbox.closed_at if inbox.closed_at else 0.0
            if behind > search["end_in"] / _DRAIN and event["do"] != "artifact":
                client.hurry(behind)
            client.handle(event)
        client.close((inbox.closed_at or time.monotonic()) + search["end_in"])
        answers.close()
        os._exit(0)  # threads that still wait for the server do not delay the end


if __name__ == "__main__":
    main()
