"""A run directory in the browser: its files, and a page for each trial. Nothing outside it is served."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bottle

from frostline.search.dashboard.study_journal import with_units
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Trial
from frostline.search.words import duration, outcome, recipe_line
from frostline.spaces import Metric

_PAGE = bottle.SimpleTemplate("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; padding: 0 1em; max-width: 60em;
  color-scheme: light dark }
table { border-collapse: collapse } td, th { padding: .1em .8em .1em 0; text-align: right } a { color: LinkText }
</style></head><body><p><a href="/">Dashboard</a> · <a href="/files">All files</a></p><h1>{{title}}</h1>
% for line in lines:
<p>{{line}}</p>
% end
% for name, head, rows in tables:
<h2>{{name}}</h2><table><tr>
% for cell in head:
<th>{{cell}}</th>
% end
</tr>
% for row in rows:
<tr>
% for cell in row:
<td>{{cell}}</td>
% end
</tr>
% end
</table>
% end
<h2>Files</h2><ul>
% for name, size in files:
<li><a href="/files/{{quote(name)}}">{{name}}</a> {{size}}</li>
% end
</ul></body></html>""")


def application(run: Path, metric: Metric) -> bottle.Bottle:
    """An application that serves the files of a run directory below `/files` and a page at `/trials/<number>`.

    Args:
        run: the run directory.
        metric: metric of its search.
    """
    app = bottle.Bottle()

    @app.get("/trials/<name:re:[0-9]{1,9}>")
    def trial(name: str) -> str:
        number = int(name)
        records = [*trial_records.read(run / "trials.jsonl"), *trial_records.read(run / "confirm.jsonl")]
        trainings = [training for training in records if training.number == number]
        folders = [run / run_folder.folder(number), *sorted(run.glob(f"confirm/{number:05d}-*"))]
        named = [path for folder in folders for path in run_folder.matching(folder, "*")]
        files = _listed(run, [*named, run / "trials.jsonl", run / "confirm.jsonl"])
        lines = [_sentence(training) for training in trainings] or ["It has not reported yet."]
        tables = [_reports(training, metric) for training in trainings if training.reports]
        return _page(f"Trial {number}", lines, tables, files)

    @app.get("/files")
    @app.get("/files/<path:path>")
    def file(path: str = ".") -> Any:
        place = inside(run, path)
        if place is None:
            return bottle.HTTPError(404, "no such file in the run directory")
        if place.is_dir():
            name = "Files of the search" if place == run else str(place.relative_to(run))
            return _page(name, [], [], _listed(run, run_folder.matching(place, "*")))
        # A page among the files may run its own scripts, but they cannot reach the dashboard.
        headers = {"Content-Security-Policy": "sandbox allow-scripts", "X-Content-Type-Options": "nosniff"}
        text = {".json", ".jsonl", ".md", ".txt", ".journal", ".yaml"}
        kind = "text/plain; charset=utf-8" if place.suffix in text else True
        return bottle.static_file(str(place.relative_to(run)), root=str(run), mimetype=kind, headers=headers)

    return app


def inside(run: Path, path: str) -> Path | None:
    """The file or folder at `path` below `run`; None if it does not exist or lies outside, also through a link."""
    try:
        place = (run / path).resolve(strict=True)
    except (ValueError, OSError, RuntimeError):  # missing, an impossible name, or links in a circle
        return None
    return place if place.is_relative_to(run) else None


def _page(
    title: str,
    lines: Sequence[str],
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]],
    files: Sequence[tuple[str, str]],
) -> str:
    return str(_PAGE.render(title=title, lines=lines, tables=tables, files=files, quote=quote))


def _listed(run: Path, paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Name relative to the run directory, and size, of each path that exists."""
    listed = []
    for path in paths:
        with suppress(FileNotFoundError):
            if inside(run, str(path)):
                size = "" if path.is_dir() else f"({path.stat().st_size / 1e3:,.1f} kB)"
                listed.append((str(path.relative_to(run)), size))
    return listed


def _name(trial: Trial) -> str:
    return f"seed {trial.seed}"


def _sentence(trial: Trial) -> str:
    params = recipe_line(with_units(trial.params))
    label = f"{trial.label}: " if trial.label else ""
    why = f" ({trial.reason})" if trial.reason else ""
    return f"{_name(trial)}: {outcome(trial.outcome)}{why} after {duration(trial.seconds)}. {label}{params}."


def _reports(trial: Trial, metric: Metric) -> tuple[str, list[str], list[list[str]]]:
    names = list(trial.reports[0].metrics)
    titles = [metric.name_with_unit if name == metric.name else name for name in names]
    head = ["epoch", "samples", *titles, "seconds", ""]
    rows = [
        [
            *(f"{line.epoch:.2f}", str(line.samples)),
            *(f"{line.metrics.get(name, math.nan):.4g}" for name in names),
            *(f"{line.seconds:.1f}", "on a part of the validation examples" if line.partial else ""),
        ]
        for line in trial.reports
    ]
    return f"Reports, {_name(trial)}", head, rows
