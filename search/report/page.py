"""report.html: one file that says what a search found, made from its run directory alone.

It opens from a disk without a network: style, scripts and plotly's own are inside, and a content security policy
keeps everything else out. Everything that a user has named is escaped, here by Jinja, in figures by `figures.py`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from frostline.search.ledger import confirm
from frostline.search.plan.describe import plan_lines
from frostline.search.plan.plan import Plan
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome, Trial
from frostline.search.report import figures, findings, importance, landscape, timeline, view
from frostline.search.report import summary as summaries
from frostline.search.report.importance import Importance
from frostline.search.report.references import Reference, references
from frostline.search.report.timeline import Stretch, Use
from frostline.search.report.view import Row, View
from frostline.search.words import duration, plural, score, short_models, value
from frostline.spaces import RETRAIN
from frostline.trainables import _atomic

NAME = "report.html"
_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A figure of the page, or the reason that there is none."""

    name: str
    """Of its element."""
    about: str
    """What it shows, for who cannot see it."""
    figure: go.Figure | None
    absent: str = ""
    width: int = 0
    """Pixels below which it would not be readable, so that it scrolls in its box; 0 where it always is."""

    @property
    def height(self) -> int:
        """In pixels, kept free for it until it is drawn."""
        return int(self.figure.layout.height) if self.figure is not None else 0

    @property
    def json(self) -> str:
        """Data and layout for plotly's script, safe inside of a script element."""
        assert self.figure is not None
        fields = self.figure.to_plotly_json()
        fields["layout"].pop("template", None)
        text = json.dumps(_plain(fields), allow_nan=False, separators=(",", ":"))
        return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _plain(of: Any) -> Any:
    """Without what is None or no number, which JSON has no place for; in data a gap."""
    if isinstance(of, Mapping):
        return {key: _plain(item) for key, item in of.items() if item is not None}
    if isinstance(of, list | tuple):
        return [_plain(item) for item in of]
    if isinstance(of, float) and of != of:
        return None
    return of


def write(run: Path) -> Path:
    """Make the report of a run directory, as it stands now; returns its path.

    Raises:
        ValueError: no search is there.
        OSError: the disk is full; an older report stays.
    """
    seen = view.read(run)
    path = seen.run / NAME
    _atomic.write(path, page(seen))
    return path


def page(seen: View) -> str:
    """The whole file."""
    script, style = (_HERE / "page.js").read_text(encoding="utf-8"), (_HERE / "page.css").read_text(encoding="utf-8")
    scripts = (get_plotlyjs(), script)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "value": value, "score": score}
    return environment.get_template("page.html").render(
        **contents(seen),
        scripts=scripts,
        style=style,
        hashes=[base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts],
    )


def contents(seen: View) -> dict[str, Any]:
    """All that the page shows, by its name in page.html."""
    rows, plan, won = seen.rows, seen.plan, seen.won
    slots = slots_of(seen)
    sessions = [event["time"] for event in seen.sessions]
    ends = [event["time"] for event in seen.events] + [stretch.stop for slot in slots for stretch in slot]
    use = timeline.used(slots, sessions, plan.resources.slots, max(ends, default=0.0)) if any(slots) else None
    matters = importance.importance(seen.trials, plan.search.distributions)
    references = references_of(seen)
    sampled = [name for name, space in plan.search.distributions.items() if not space.single()]
    return {
        "seen": seen,
        "plan": plan,
        "rows": rows,
        "won": won,
        "winning": next((row for row in rows if won is not None and row.number == won.number), None),
        "confirmed": seen.confirmed,
        "interval": lambda of: figures.clipped(of, seen),
        "references": references,
        "test": seen.test,
        "status": status_line(seen, rows),
        "sentences": sentences(seen, rows, references, matters, use),
        "charts": {chart.name: chart for chart in charts(seen, rows, slots, matters, references)},
        "slices": slices(seen),
        "most": landscape.MOST,
        "best": landscape.BEST,
        "matters": matters,
        "judged": len(importance.judged(seen.trials)),
        "fewest": importance.FEWEST,
        "use": use,
        "sampled": sampled,
        "models": short_models(plan.search.models),
        "folders": {row.number: folder_of(seen, row.trial) for row in rows},
        "lines": plan_lines(plan),
        "command": command(plan),
        "commands": [(_when(event["time"]), str(event.get("command", ""))) for event in seen.sessions],
        "made": _when(seen.now),
        "trainings": len(seen.trials) + len(seen.confirmations),
    }


def _when(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"


def status_line(seen: View, rows: Sequence[Row]) -> str:
    """One sentence: how far the search is."""
    ended = sum(row.kind != view.OPEN for row in rows)
    planned = seen.plan.budget.trials
    of = f"{ended} of {plural(planned, 'trial')}" if planned is not None else plural(ended, "trial")
    again = sum(not trial.open for trial in seen.confirmations)
    done = f"{of} done" + (f" and {plural(again, 'training')} with fresh seeds" if again else "")
    return {
        view.FINISHED: f"Finished: {done}.",
        view.RUNNING: f"Still running: {done} when this page was made.",
        view.INTERRUPTED: f"Interrupted: {done}. It goes on with --resume.",
        view.FAILED: f"Stopped, since trials only failed: {done}.",
        view.BROKEN_OFF: f"Broken off: {done}; its process is gone. It goes on with --resume.",
    }[seen.status]


def references_of(seen: View) -> list[Reference]:
    """The scores to hold the winner against; baselines as the last session has computed them in this metric."""
    summary = seen.summary or {}
    counted = [row for row in summary.get("references", []) if isinstance(row, dict) and not row.get("params")]
    # Before a summary named its direction, the majority class had its accuracy here whatever the metric was.
    known = "better" in summary or seen.metric.name == "accuracy"
    baselines = [
        Reference(name=row["name"], validation=row.get("validation"), test=row.get("test"))
        for row in counted
        if known and row.get("name")
    ]
    return [*baselines, *references(seen.trials, seen.metric)]


def slots_of(seen: View) -> list[list[Stretch]]:
    """What ran in each slot."""
    begun = timeline.starts(seen.events)
    sessions = [event["time"] for event in seen.sessions]
    lost: dict[tuple[Any, Any], list[float]] = {}
    for event in seen.events:
        if event.get("event") == "lost":
            lost.setdefault((event.get("number"), event.get("seed")), []).append(event["time"])
    ran: list[Stretch] = []
    for again, trials in ((False, seen.trials), (True, seen.confirmations)):
        for trial in trials:
            running = seen.status == view.RUNNING and trial.outcome == Outcome.RUNNING
            breaks = sorted([*sessions, *lost.get(trial.key, ())])
            ran += timeline.stretches(trial, begun.get((again, *trial.key)), breaks, running, seen.now)
    return timeline.placed(ran)


def sentences(
    seen: View, rows: Sequence[Row], references: Sequence[Reference], matters: Importance | None, use: Use | None
) -> list[str]:
    """All that the records bear, what matters most first."""
    confirmed, won, plan = seen.confirmed, seen.won, seen.plan
    score = confirmed[0].mean if confirmed else seen.metric.value(won.objective) if won else None
    examples = plan.data.sizes["validation"]
    share = seen.metric.is_share
    took = {
        row.number: [t.seconds for t in seen.confirmations if t.number == row.number and t.seed in row.seeds]
        for row in confirmed
    }
    summary: dict[str, Any] = {
        "best": None,
        "better": seen.metric.better,
        "confirmed": [
            {"number": row.number, "failed": row.failed, "seconds": row.seconds, "scores": row.scores}
            for row in confirmed
        ],
        "tied": [row.number for row in confirm.tied(confirmed)],
        "optimism": None,
        "test_reads": len(seen.tests),
        "counts": trial_records.counts(seen.trials),
    }
    if won is not None and seen.test:
        summary["best"] = {"number": won.number}
        summary["optimism"] = summaries.optimism(seen.metric, seen.metric.value(won.objective), seen.test["metrics"])
    found = [
        findings.against(references, score, examples) if share and score is not None else None,
        findings.explained(matters),
        findings.freezing(confirmed, rows, took, examples) if share and rows else None,
        findings.of_models(rows, short_models(plan.search.models), examples) if share else None,
        *summaries.verdict(summary),
        findings.seeds_matter(confirmed, seen.metric),
        findings.saved(rows, plan.budget.epochs),
        findings.longer(rows, plan.budget.epochs),
        *findings.at_the_edge(rows, plan.search.distributions),
        findings.progress(rows, won.number if won else None),
        findings.failures(rows),
        findings.unfit(rows),
        findings.idle(use),
    ]
    return [sentence for sentence in found if sentence]


def charts(
    seen: View,
    rows: Sequence[Row],
    slots: Sequence[Sequence[Stretch]],
    matters: Importance | None,
    references: Sequence[Reference],
) -> Iterable[Chart]:
    """Every figure but the slices."""
    metric, nothing = seen.metric.name, "No trial has reported yet."
    ended = {row.trial.label for row in rows if row.kind == view.DONE}
    ended |= {reference.name for reference in references if not reference.params}
    scores = [(row.name, row.first_rung if row.validation is None else row.validation) for row in references]
    held = [(name, score, name in ended) for name, score in scores if score is not None]
    yield Chart(
        name="answer", about="Scores of the winner and of what it is held against", figure=figures.answer(seen, held)
    )
    yield Chart(
        name="curves",
        about=f"Validation {metric} of every trial against epochs",
        figure=figures.curves(seen),
        absent=nothing,
    )
    axes = sum(not space.single() for space in seen.plan.search.distributions.values())
    yield Chart(
        name="parallel",
        about=f"Parameters and validation {metric} of every trial, a line each",
        figure=landscape.parallel(seen),
        absent="Too few trials have reported: there is no pattern to see.",
        width=96 * (axes + 1),
    )
    yield Chart(
        name="importance",
        about="Importance of each parameter",
        figure=figures.importance(seen, matters) if matters else None,
    )
    yield Chart(
        name="depth",
        about=f"Validation {metric} against frozen depth, area by seconds per epoch",
        figure=landscape.depth(seen),
        absent="All trials that have reported froze the same part of the model.",
    )
    seconds = {row.number: row.best.seconds for row in rows if row.best is not None}
    yield Chart(
        name="pareto-seconds",
        about=f"Validation {metric} against the seconds it took, with the Pareto front",
        figure=landscape.pareto(seen, seconds, "seconds of training until that score", "s"),
        absent="Fewer than two trials have a score on all validation examples.",
    )
    sizes = {row.number: row.parameters / 1e6 for row in rows if row.score is not None}
    one = next(iter(seen.plan.search.models.values()))
    yield Chart(
        name="pareto-size",
        about=f"Validation {metric} against the number of the model's parameters, with the Pareto front",
        figure=landscape.pareto(seen, sizes, "parameters of the model (millions)", "M parameters"),
        absent=(
            f"Every trial trains the same model, of {one.parameters / 1e6:.1f} million parameters: no size to trade."
            if len(seen.plan.search.models) == 1
            else "Only models of one size have a score on all validation examples yet."
        ),
    )
    yield Chart(
        name="timeline",
        about="What ran in which slot, and when",
        figure=figures.timeline(seen, slots),
        absent="Nothing has run yet.",
    )


def slices(seen: View) -> list[Chart]:
    """A small figure a parameter."""
    found = []
    for place, (name, space) in enumerate(seen.plan.search.distributions.items()):
        shown = landscape.slice_of(seen, name, space)
        if shown is not None:
            found.append(
                Chart(name=f"slice-{place}", about=f"Validation {seen.metric.name} against {name}", figure=shown)
            )
    return found


def folder_of(seen: View, trial: Trial) -> str:
    """The trial's own folder, or the record of its error, below the run directory; empty where nothing was kept."""
    folder = run_folder.folder(trial.number)
    if (seen.run / folder / "error.txt").is_file():
        return f"{folder}/error.txt"
    return f"{folder}/" if (seen.run / folder).is_dir() else ""


def command(plan: Plan) -> str:
    """What to type to search the same again, in a new run directory: every choice is spelled out."""
    import shlex

    base, budget, data = plan.search.base, plan.budget, plan.search.base.data
    if plan.search.space == RETRAIN:
        return f"frostline --retrain {shlex.quote(str(plan.place))} --seed {plan.search.seed}"
    words = [
        "frostline",
        "--space",
        plan.search.space,
        "--profile",
        plan.search.profile,
        "--seed",
        str(plan.search.seed),
    ]
    if "model" not in plan.search.distributions:
        words += ["--model", base.model]
    words += ["--dataset", data.source, "--columns", f"{data.text},{data.label}"]
    words += [] if budget.trials is None else ["--trials", str(budget.trials)]
    words += [] if budget.seconds is None else ["--time-budget", f"{budget.seconds:g}s"]
    words += ["--epochs", str(budget.epochs)]
    words += ["--confirm", str(budget.confirm_recipes), "--confirm-seeds", str(budget.confirm_seeds)]
    kept = any(model.prefix.kept for model in plan.search.models.values())
    words += ["--prefix-cache", base.cache_dtype if kept else "off"]
    lines, line = [], words[0]
    for option, given in zip(words[1::2], words[2::2], strict=True):
        part = f"{option} {shlex.quote(given)}"
        if len(line) + len(part) > 76:
            lines.append(f"{line} \\")
            line = f"    {part}"
        else:
            line += f" {part}"
    return "\n".join([*lines, line])
