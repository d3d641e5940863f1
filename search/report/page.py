"""report.html: one file that shows the results of a search, made from its run directory alone.

It opens from a disk without a network: style, scripts and plotly are inside, and a content security policy keeps
everything else out. All text from a user is escaped: in the page by Jinja, in figures by the function that draws them.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from frostline.search.plan.describe import plan_lines
from frostline.search.plan.plan import Plan
from frostline.search.plan.remarks import beside
from frostline.search.records import folder as run_folder
from frostline.search.records.trials import Trial
from frostline.search.report import importance, parallel, style
from frostline.search.report import view as views
from frostline.search.report.analysis import analyse
from frostline.search.report.charts import charts, slices
from frostline.search.report.command import command
from frostline.search.report.compared import caution
from frostline.search.report.sentences import sentences
from frostline.search.report.view import View
from frostline.search.words import duration, plural, score, short_models, shown, value
from frostline.trainables import _atomic

NAME = "report.html"
_HERE = Path(__file__).parent


def write(run: Path, folder: Path | None = None) -> Path:
    """Write the report of a run directory as it stands now; returns its path.

    Args:
        run: the run directory.
        folder: where to write it, made if there is none; by default the run directory.

    Raises:
        ValueError: the folder holds no search.
        OSError: the disk is full; an older report stays.
    """
    view = views.read(run)
    text, folder = page(view), folder or view.run
    folder.mkdir(parents=True, exist_ok=True)
    _atomic.write(folder / NAME, text)
    return folder / NAME


def page(view: View) -> str:
    """The text of report.html."""
    script, css = (_HERE / "page.js").read_text(encoding="utf-8"), (_HERE / "page.css").read_text(encoding="utf-8")
    scripts = (get_plotlyjs(), script)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "value": value, "score": score, "plural": plural}
    return environment.get_template("page.html").render(
        **contents(view),
        scripts=scripts,
        style=css,
        hashes=[base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts],
    )


def contents(view: View) -> dict[str, Any]:
    """The variables of page.html."""
    rows, plan, won = view.rows, view.plan, view.won
    analysis = analyse(view)
    return {
        "view": view,
        "plan": plan,
        "rows": rows,
        "won": won,
        "winner": next((row for row in rows if won is not None and row.number == won.number), None),
        "confirmed": view.confirmed,
        "clipped": lambda interval: style.clipped(interval, view),
        "references": analysis.references,
        "test": view.test,
        "beside": beside(view.metric.name, plan.data.imbalance),
        "caution": caution(view.compared),
        "status": status_line(view),
        "sentences": sentences(analysis),
        "charts": {chart.name: chart for chart in charts(analysis)},
        "slices": slices(view),
        "most_lines": parallel.MOST,
        "best_lines": parallel.BEST,
        "importance": analysis.importance,
        "judged": len(importance.judged(view.trials)),
        "fewest_judged": importance.FEWEST,
        "use": analysis.use,
        "sampled": [name for name, space in plan.search.distributions.items() if not space.single()],
        "models": short_models(plan.search.models),
        "folders": {row.number: folder_of(view, row.trial) for row in rows},
        "plan_lines": [(label, _without_folders(text, plan)) for label, text in plan_lines(plan)],
        "command": command(plan),
        "commands": [(_minute(event["time"]), str(event.get("command", ""))) for event in view.sessions],
        "made": _minute(view.now),
        "trainings": len(view.trials) + len(view.confirmations),
    }


def _without_folders(text: str, plan: Plan) -> str:
    """A line of the plan without the folders of the machine where the search began: the page may go to another one."""
    data = plan.search.base.data
    for place in (
        data.source,
        data.validation_source or "",
        data.test_source or "",
        *plan.search.models,
        str(plan.place),
    ):
        text = text.replace(place, shown(place)) if place else text
    return text


def _minute(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def status_line(view: View) -> str:
    """One sentence on how far the search is."""
    ended = sum(row.kind != views.OPEN for row in view.rows)
    planned = view.plan.budget.trials
    trials = f"{ended} of {plural(planned, 'trial')}" if planned is not None else plural(ended, "trial")
    confirmed = sum(not trial.open for trial in view.confirmations)
    done = f"{trials} done" + (f" and {plural(confirmed, 'training')} with fresh seeds" if confirmed else "")
    return {
        views.FINISHED: f"Finished: {done}.",
        views.RUNNING: f"Still running: {done} when this page was made.",
        views.INTERRUPTED: f"Interrupted: {done}. --resume continues it.",
        views.FAILED: f"Stopped: {done}. The reason: {(view.summary or {}).get('failure', '')}",
        views.BROKEN_OFF: f"Broken off: {done}. Its process is gone; --resume continues it.",
    }[view.status]


def folder_of(view: View, trial: Trial) -> str:
    """The trial's own folder, or the record of its error, relative to the run directory; empty if nothing was kept."""
    folder = run_folder.folder(trial.number)
    if (view.run / folder / "error.txt").is_file():
        return f"{folder}/error.txt"
    return f"{folder}/" if (view.run / folder).is_dir() else ""
