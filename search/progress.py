"""What a search shows while it runs: a live table on a terminal, one line an event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search import results
from search.plan import Plan
from search.report import recipe_line
from search.results import Line

_BEST_SHOWN = 5


class Progress:
    """Follows the trials of one search. Use as a context manager around the search."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._started = time.monotonic()
        self._lines: list[Line] = []
        self._running: dict[int, tuple[float, Mapping[str, Any], str]] = {}
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def begin(self, number: int, params: Mapping[str, Any], label: str) -> None:
        """A trial has been given a slot."""
        self._running[number] = (time.monotonic(), params, label)
        self._say(f"trial {number} starts: {_recipe(params, label)}")

    def report(self, line: Line) -> None:
        """A running trial has reported."""
        self._lines.append(line)
        score = line.metrics[self._plan.metric]
        self._say(
            f"trial {line.number} epoch {line.epoch:.2f}: {self._plan.metric} {score:.4f}, "
            f"loss {line.metrics['loss']:.4f}, {line.seconds:.0f} s"
        )

    def end(self, line: Line) -> None:
        """A trial has ended."""
        self._lines.append(line)
        self._running.pop(line.number, None)
        why = f" ({line.reason})" if line.reason else ""
        done, best = self._ended(), results.winner(results.collect(self._lines), self._plan.metric)
        so_far = f"best {best.score(self._plan.metric):.4f} by trial {best.number}" if best else "none has reported"
        self._say(f"trial {line.number} {line.state}{why}: {done} of {self._plan.base.budget.trials} done, {so_far}")

    def _ended(self) -> int:
        return sum(line.state != results.RUNNING for line in self._lines)

    def _say(self, text: str) -> None:
        if not self._live.is_started:
            self._console.print(f"[{_clock(time.monotonic() - self._started)}] {text}", markup=False, highlight=False)

    def _render(self) -> RenderableType:
        plan, trials = self._plan, results.collect(self._lines)
        table = Table(expand=False, title_justify="left", show_edge=False)
        for column in ("trial", "state", "epoch", "rungs", plan.metric, "seconds", "recipe"):
            # Only the recipe gives way on a narrow terminal: it wraps.
            text = column in {"state", "recipe"}
            table.add_column(column, justify="left" if text else "right", no_wrap=column != "recipe")
        for number, (since, params, label) in sorted(self._running.items()):
            last = next((line for line in reversed(self._lines) if line.number == number), None)
            self._row(table, number, "running", last, time.monotonic() - since, _recipe(params, label), "cyan")
        table.add_section()
        ended = [trial for trial in trials if trial.number not in self._running]
        for place, trial in enumerate(results.top(ended, plan.metric, _BEST_SHOWN)):
            style, line = ("bold green" if place == 0 else ""), trial.best(plan.metric)
            recipe = _recipe(trial.params, trial.label)
            self._row(table, trial.number, trial.state.lower(), line, trial.seconds, recipe, style)
        done, total = self._ended(), plan.base.budget.trials
        left = max(0, total - done - len(self._running))
        head = Text(
            f"{plan.space} ({plan.profile})  {_clock(time.monotonic() - self._started)}  "
            f"{done} of {total} trials done, {len(self._running)} running, {left} to come",
            style="bold",
        )
        return Group(head, table)

    def _row(
        self, table: Table, number: int, state: str, line: Line | None, seconds: float, recipe: str, style: str
    ) -> None:
        epoch = line.epoch if line else 0.0
        passed = sum(rung <= epoch for rung in self._plan.rungs)
        score = f"{line.metrics[self._plan.metric]:.4f}" if line else "-"
        cells = (str(number), state, f"{epoch:.2f}", f"{passed}/{len(self._plan.rungs)}", score, f"{seconds:.0f}")
        table.add_row(*cells, recipe, style=style)


def _recipe(params: Mapping[str, Any], label: str) -> str:
    return f"{label}: {recipe_line(params)}" if label else recipe_line(params)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
