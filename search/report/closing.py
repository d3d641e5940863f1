"""The lines that a search prints when it ends."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from frostline.search.report import summary as summaries
from frostline.search.report.compared import caution, of_summary
from frostline.search.report.verdict import Evidence, verdict
from frostline.search.words import duration, outcome, plural, recipe_line


def tell(summary: Mapping[str, Any], console: Console) -> None:
    """Print the table of scores, the winner, and where everything is.

    A warning about files that did not reach the run directory's URL goes to stderr, also if the console is quiet.
    """
    for line in _lines(summary):
        console.print(line, markup=False)
    if summary.get("unsent"):
        print(f"frostline: {summary['unsent']}", file=sys.stderr)


def _lines(summary: Mapping[str, Any]) -> list[Any]:
    """All that is printed, in order: text, and one table."""
    run, best = summary["run"], summary["best"]
    first = caution(of_summary(summary))
    lines: list[Any] = ["", *([first, ""] if first else []), summaries.table(summary)]
    if best:
        lines.append(f"\nBest recipe (epoch {best['epoch']:g}): {recipe_line(best['params'])}")
    lines += verdict(Evidence.of_summary(summary))
    lines.append(f"{_counts(summary['counts'])}. {duration(summary['seconds'])}. Records: {run}")
    if summary.get("wandb"):
        lines.append(f"W&B sweep: {summary['wandb']}")
    report = Path(summary.get("copy", run)) / "report.html"
    if report.is_file():
        lines.append(f"Report: {report}")
    if summary["interrupted"]:
        if summary["test_reads"]:
            without = ""
        elif best and (Path(summary.get("copy", run)) / "best").is_dir():
            without = f" No test set was read.\nBest model so far: {run}/best"
        else:
            without = " No model was exported, and no test set was read."
        lines.append(f"Interrupted: these are the results so far.{without}")
        lines.append(f"Go on: frostline --resume {run}")
    elif summary["failure"]:
        lines.append(f"Stopped: {summary['failure']}")
        lines.append(f"When the cause is gone: frostline --resume {run}")
    elif best is None:
        lines.append("No trial succeeded. trials.jsonl gives the reasons.")
    else:
        lines.append(f"Model: {run}/best\nLoad it: {summary['load']}")
    return lines


def _counts(counts: Mapping[str, int]) -> str:
    """`12 trials: 4 complete, 8 stopped early`."""
    parts = [f"{count} {outcome(recorded)}" for recorded, count in counts.items() if count]
    return f"{plural(sum(counts.values()), 'trial')}: {', '.join(parts)}" if parts else "No trial"
