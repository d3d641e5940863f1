"""optuna-dashboard on the study of a run directory, on this machine only; it reads, and nothing can be written by it.

The journal is put into the reader's words on the way in: parameters and the metric with their units. It is followed as
it grows; when a search that goes on has replaced it, the pages that are open are loaded anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna_dashboard
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from frostline import spaces
from frostline.search.dashboard import pages
from frostline.search.records import folder as run_folder

PORT = 8080
"""Taken where it is free, else any other."""

_CREATE_STUDY, _SET_STUDY_ATTR, _CREATE_TRIAL, _SET_PARAM = 0, 3, 4, 5  # Optuna's JournalOperation
_FOLLOW = b"""let opened;
setInterval(async () => {
  const now = await fetch("/journal").then((answer) => answer.text()).catch(() => opened);
  if (opened !== undefined && now !== opened) location.reload();
  opened = now;
}, 2000);
"""
"""Loads the page anew when another journal has been opened: it never asks again for trials that had ended."""

Environ = dict[str, Any]
Respond = Callable[..., Any]


class Journal(BaseJournalBackend):
    """The journal of one study as it was when it was opened and has grown since, in the dashboard's words."""

    def __init__(self, path: Path, metric: str, better: str) -> None:
        """Open the journal.

        Args:
            path: the file.
            metric: name of the metric of the study's values.
            better: direction of the metric, `higher` or `lower`.
        """
        self._path, self._file, self._metric, self._better = path, path.open("rb"), metric, better
        self._rest = b""
        self._logs: list[dict[str, Any]] = []

    @property
    def replaced(self) -> bool:
        """Whether another file has taken its place."""
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return False

    def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
        """What has been written from this line on; a line that is being written is none yet, a damaged one never."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._logs += self._told(json.loads(line))
        return self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Refused: the study is the search's.

        Raises:
            PermissionError: always.
        """
        raise PermissionError("the dashboard only reads")

    def _told(self, log: dict[str, Any]) -> list[dict[str, Any]]:
        if log["op_code"] == _CREATE_STUDY:
            common = {"op_code": _SET_STUDY_ATTR, "worker_id": log["worker_id"], "study_id": 0}
            attrs = {
                "study:metric_names": [spaces.with_unit(self._metric)],
                "dashboard:note_ver": 1,  # optuna-dashboard's own names for the note of a study
                "dashboard:note_str:0": self._legend(),
            }
            return [log, *({**common, "system_attr": {key: value}} for key, value in attrs.items())]
        if log["op_code"] == _CREATE_TRIAL:
            renamed: dict[str, Any] = {key: _renamed(log[key]) for key in ("params", "distributions") if key in log}
            fixed = log.get("system_attrs", {})
            if "fixed_params" in fixed:
                renamed["system_attrs"] = {**fixed, "fixed_params": _renamed(fixed["fixed_params"])}
            return [{**log, **renamed}]
        if log["op_code"] == _SET_PARAM:
            return [{**log, "param_name": spaces.with_unit(log["param_name"])}]
        return [log]

    def _legend(self) -> str:
        """Markdown; what stands on the axes."""
        return (
            f"**Objective value**: validation {spaces.with_unit(self._metric)}, {self._better} is better.\n\n"
            "**Step** of an intermediate value: training examples seen (samples). At early rungs it is measured on "
            "a part of the validation examples only.\n\n"
            "[All files of the search](/files). This dashboard only reads: what is changed here is refused."
        )


def _renamed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {spaces.with_unit(name): value for name, value in params.items()}


class Dashboard:
    """The WSGI application: optuna-dashboard, and beside it the files of the run directory."""

    def __init__(self, run: Path) -> None:
        """Open the study of a run directory.

        Raises:
            ValueError: no run directory, or one without a study yet.
        """
        plan = run_folder.read_plan(run)
        try:
            self._metric, self._better = str(plan["metric"]), str(plan.get("better", "higher"))
        except KeyError:
            raise ValueError(f"{run / 'plan.json'} is not a plan of this version: it names no metric") from None
        self._run = run.resolve()
        self._path = self._run / "study.journal"
        if not self._path.is_file():
            raise ValueError(f"{run} has no study.journal yet: it is there when the first trial starts")
        self._opened, self._lock = 0, threading.Lock()
        storage = self._open()
        if not storage.get_all_studies():
            raise ValueError(f"{self._path} holds no study")
        self._pages = pages.application(self._run)

    def _open(self) -> JournalStorage:
        self._journal = Journal(self._path, self._metric, self._better)
        storage = JournalStorage(self._journal)
        self._app = optuna_dashboard.wsgi(storage)
        self._opened += 1
        return storage

    def __call__(self, environ: Environ, start_response: Respond) -> Iterable[bytes]:
        """Answer one request; none that would change something, and none by another name than this machine's."""
        if reason := refused(environ):
            start_response("403 Forbidden", [("Content-Type", "application/json")])
            return [json.dumps({"reason": reason}).encode()]
        path = environ.get("PATH_INFO", "")
        with self._lock:  # requests come in threads
            if self._journal.replaced:
                self._open()
        own = {"/follow.js": (_FOLLOW, "text/javascript"), "/journal": (b"%d" % self._opened, "text/plain")}
        if path in own:
            text, kind = own[path]
            start_response("200 OK", [("Content-Type", kind)])
            return [text]
        if path in {"", "/"}:
            start_response("302 Found", [("Location", "/dashboard/studies/0")])
            return [b""]
        if path.startswith("/dashboard"):
            return _changed(self._app, environ, start_response, _with_script)
        if path.rstrip("/") == "/api/studies/0":
            return _changed(self._app, environ, start_response, _with_links)
        app = self._pages if path.startswith(("/files", "/trials")) else self._app
        answer: Iterable[bytes] = app(environ, start_response)
        return answer


def refused(environ: Mapping[str, Any]) -> str:
    """Why a request is not answered; empty where it is.

    A page from elsewhere whose name was made to point at this machine (DNS rebinding) sends its own name as host.
    """
    host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
    if host not in {"127.0.0.1", "localhost"}:
        return "this dashboard answers to 127.0.0.1 and localhost only"
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return "this dashboard only reads: the study is the search's"
    return ""


def _changed(app: Any, environ: Environ, start_response: Respond, change: Callable[[bytes], bytes]) -> list[bytes]:
    """What the application answers, changed."""
    answer: list[Any] = []
    environ = {key: value for key, value in environ.items() if not key.startswith("HTTP_IF_")}
    parts = app(environ, lambda status, headers, *_: answer.extend([status, headers]))
    page = change(b"".join(parts))
    headers = [(name, value) for name, value in answer[1] if name.lower() != "content-length"]
    start_response(answer[0], [*headers, ("Content-Length", str(len(page)))])
    return [page]


def _with_script(page: bytes) -> bytes:
    """The page of optuna-dashboard with the script that loads it anew when the journal was replaced."""
    return page.replace(b"</head>", b'<script defer src="/follow.js"></script></head>')


def _with_links(study: bytes) -> bytes:
    """The study with a note of each trial that leads to its records and files.

    In the study itself, where optuna-dashboard looks for notes, it would search all notes for every trial: 2,000 of
    them took 7 s.
    """
    found = json.loads(study)
    for trial in [*found.get("trials", ()), *found.get("best_trials", ())]:
        number = trial["number"]
        trial["note"] = {"version": 1, "body": f"[Records and files of trial {number}](/trials/{number})"}
    return json.dumps(found).encode()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser keeps connections open; Ctrl-C does not wait for them


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *values: Any) -> None:
        """Nothing: a page that is open asks every few seconds."""


def server(run: Path, port: int = PORT) -> WSGIServer:
    """A server of the dashboard on 127.0.0.1, at `port` or, where that is taken, at any other.

    Raises:
        ValueError: `run` is no run directory, or has no study.
    """
    app = Dashboard(run)
    try:
        made = _Server(("127.0.0.1", port), _Quiet)
    except OSError:
        made = _Server(("127.0.0.1", 0), _Quiet)
    made.set_app(app)
    return made


def serve(run: Path, name: str = "") -> None:
    """Serve the dashboard of a run directory until Ctrl-C; `name` is what a user calls it.

    Raises:
        ValueError: as `server`.
    """
    with server(run) as made:
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job would ignore the first
            signal.signal(number, signal.default_int_handler)
        print(f"Dashboard of {name or run}: http://127.0.0.1:{made.server_port} (Ctrl-C ends it)", flush=True)
        try:
            made.serve_forever()
        except KeyboardInterrupt:
            print()
