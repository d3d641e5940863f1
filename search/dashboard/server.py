"""optuna-dashboard on the study of a run directory. It is read-only and serves this machine alone.

It follows the journal as it grows (study_journal.py). If a resumed search has replaced the journal, open pages reload.
"""

from __future__ import annotations

import json
import signal
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna_dashboard
from optuna.storages import JournalStorage

from frostline.search.dashboard import files
from frostline.search.dashboard.study_journal import StudyJournal
from frostline.search.records import folder as run_folder
from frostline.spaces import Metric
from frostline.spaces._typed import typed

PORT = 8080
"""The port, unless it is taken."""

_FOLLOW = b"""let opened;
setInterval(async () => {
  const now = await fetch("/journal").then((answer) => answer.text()).catch(() => opened);
  if (opened !== undefined && now !== opened) location.reload();
  opened = now;
}, 2000);
"""
"""Reloads the page when another journal was opened: optuna-dashboard never asks again for trials that had ended."""

Environ = dict[str, Any]
Respond = Callable[..., Any]


class Dashboard:
    """The WSGI application: optuna-dashboard and the files of the run directory."""

    def __init__(self, run: Path) -> None:
        """Open the study of a run directory.

        Raises:
            ValueError: it is no run directory, or has no study yet.
        """
        plan = run_folder.read_plan(run)
        if "metric" not in plan:
            raise ValueError(f"{run / 'plan.json'} is not a plan of this version: it names no metric")
        try:
            self._metric = typed(
                Metric, {"name": plan["metric"], "better": plan.get("better", "higher"), "unit": plan.get("unit", "")}
            )
        except ValueError as error:
            raise ValueError(f"{run / 'plan.json'} is not a plan of this version: {error}") from error
        self._run = run.resolve()
        self._path = self._run / "study.journal"
        if not self._path.is_file():
            raise ValueError(f"{run} has no study.journal yet: the first trial creates it")
        self._opened, self._lock = 0, threading.Lock()
        try:
            storage = self._open()
            studies = storage.get_all_studies()
            for study in studies:
                storage.get_all_trials(study._study_id)
        except Exception as error:  # Optuna does not say which errors a damaged journal raises
            name = type(error).__name__
            raise ValueError(f"{self._path} is damaged ({name}): --resume makes it again from the records") from error
        if not studies:
            raise ValueError(f"{self._path} holds no study")
        self._files = files.application(self._run, self._metric)

    def _open(self) -> JournalStorage:
        self._journal = StudyJournal(self._path, self._metric)
        storage = JournalStorage(self._journal)
        self._app = optuna_dashboard.wsgi(storage)
        self._opened += 1
        return storage

    def __call__(self, environ: Environ, start_response: Respond) -> Iterable[bytes]:
        """Answer one request, unless it would change something or uses another host name than this machine's."""
        if reason := refused(environ):
            start_response("403 Forbidden", [("Content-Type", "application/json")])
            return [json.dumps({"reason": reason}).encode()]
        path = environ.get("PATH_INFO", "")
        with self._lock:  # each request has its own thread
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
        app = self._files if path.startswith(("/files", "/trials")) else self._app
        answer: Iterable[bytes] = app(environ, start_response)
        return answer


def refused(environ: Mapping[str, Any]) -> str:
    """The reason to refuse a request; empty if it is answered.

    The host name is checked, since a foreign page can make its own name point at this machine (DNS rebinding).
    """
    host = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
    if host not in {"127.0.0.1", "localhost"}:
        return "this dashboard answers to 127.0.0.1 and localhost only"
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return "this dashboard is read-only: only the search writes its study"
    return ""


def _changed(app: Any, environ: Environ, start_response: Respond, change: Callable[[bytes], bytes]) -> list[bytes]:
    """The answer of an application, with its body changed."""
    answer: list[Any] = []
    environ = {key: value for key, value in environ.items() if not key.startswith("HTTP_IF_")}
    parts = app(environ, lambda status, headers, *_: answer.extend([status, headers]))
    page = change(b"".join(parts))
    headers = [(name, value) for name, value in answer[1] if name.lower() != "content-length"]
    start_response(answer[0], [*headers, ("Content-Length", str(len(page)))])
    return [page]


def _with_script(page: bytes) -> bytes:
    """The page of optuna-dashboard with the script that reloads it when the journal was replaced."""
    return page.replace(b"</head>", b'<script defer src="/follow.js"></script></head>')


def _with_links(study: bytes) -> bytes:
    """The study with a note for each trial that links to its records and files.

    The notes are not in the study's own attributes: there optuna-dashboard searches all notes for every trial, which
    took 7 s with 2,000 of them.
    """
    fields = json.loads(study)
    for trial in [*fields.get("trials", ()), *fields.get("best_trials", ())]:
        number = trial["number"]
        trial["note"] = {"version": 1, "body": f"[Records and files of trial {number}](/trials/{number})"}
    return json.dumps(fields).encode()


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True  # a browser keeps connections open; Ctrl-C does not wait for them


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *values: Any) -> None:
        """Print nothing, since an open page asks every few seconds."""


def server(run: Path, port: int = PORT) -> WSGIServer:
    """A server of the dashboard on 127.0.0.1, at `port` or at any other port if that one is taken.

    Raises:
        ValueError: `run` is no run directory, or has no study yet.
    """
    app = Dashboard(run)
    try:
        http = _Server(("127.0.0.1", port), _Quiet)
    except OSError:
        http = _Server(("127.0.0.1", 0), _Quiet)
    http.set_app(app)
    return http


def serve(run: Path, name: str = "") -> None:
    """Serve the dashboard of a run directory until Ctrl-C.

    Args:
        run: the run directory.
        name: the run as the user named it, to be printed.

    Raises:
        ValueError: `run` is no run directory, or has no study yet.
    """
    with server(run) as http:
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores SIGINT
            signal.signal(number, signal.default_int_handler)
        print(f"Dashboard of {name or run}: http://127.0.0.1:{http.server_port} (Ctrl-C ends it)", flush=True)
        try:
            http.serve_forever()
        except KeyboardInterrupt:
            print()
