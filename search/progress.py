"""What a search shows while it runs: a live table on a terminal, one line an event elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search import results
from search.plan import Plan
from search.report import recipe_line
from search.results import Line, Trial

_BEST_SHOWN = 5


class Progress:
    """Follows the trials of one search. Use as a context manager around the search."""

    def __init__(self, plan: Plan, console: Console, known: Iterable[Trial] = ()) -> None:
        """`known`: trials of earlier sessions, and trainings that confirm them."""
        self._plan = plan
        self._console = console
        self._started = time.monotonic()
        self._running: dict[tuple[int, int], _Running] = {}
        known = list(known)
        ended = [trial for trial in known if not trial.open]
        searched = [trial for trial in ended if trial.seed == plan.seed]
        self._best = results.top(searched, plan.metric, _BEST_SHOWN)
        self._done, self._confirmed = len(searched), len(ended) - len(searched)
        self._reports = {trial.key: trial for trial in known if trial.open}
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def begin(self, number: int, params: Mapping[str, Any], label: str, seed: int | None = None) -> None:
        """A training has been given a slot; `seed` where it is not the search's own."""
        key = (number, self._plan.seed if seed is None else seed)
        known = self._reports.get(key)
        last = known.reports[-1] if known and known.reports else None
        self._running[key] = _Running(time.monotonic(), params, label, last)
        verb = f"goes on after epoch {last.epoch:.2f}" if last else "starts"
        self._say(f"{self._name(*key)} {verb}: {_recipe(params, label)}")

    def report(self, line: Line) -> None:
        """A running training has reported."""
        key = (line.number, line.seed)
        self._reports[key] = results.extended(self._reports.get(key), line)
        if key in self._running:
            self._running[key] = self._running[key]._replace(last=line)
        score = line.metrics[self._plan.metric]
        self._say(
            f"{self._name(*key)} epoch {line.epoch:.2f}: {self._plan.metric} {score:.4f}, "
            f"loss {line.metrics['loss']:.4f}, {line.seconds:.0f} s"
        )

    def lose(self, number: int, seed: int, reason: str) -> None:
        """A training has lost its process and will go on."""
        self._running.pop((number, seed), None)
        self._say(f"{self._name(number, seed)}: {reason}; it goes on from its last checkpoint")

    def end(self, line: Line) -> None:
        """A training has ended."""
        key = (line.number, line.seed)
        trial = results.extended(self._reports.pop(key, None), line)
        self._running.pop(key, None)
        why = f" ({line.reason})" if line.reason else ""
        if line.seed != self._plan.seed:
            self._confirmed += 1
            self._say(f"{self._name(*key)} {line.state}{why}: {trial.score(self._plan.metric):.4f}")
            return
        self._done += 1
        self._best = results.top([*self._best, trial], self._plan.metric, _BEST_SHOWN)
        best = self._best[0] if self._best else None
        so_far = f"best {best.score(self._plan.metric):.4f} by trial {best.number}" if best else "none has reported"
        self._say(f"{self._name(*key)} {line.state}{why}: {self._done}{self._planned(' of ')} done, {so_far}")

    def _name(self, number: int, seed: int) -> str:
        return f"trial {number}" + ("" if seed == self._plan.seed else f" seed {seed}")

    def _planned(self, before: str) -> str:
        planned = self._plan.base.budget.trials
        return "" if planned is None else f"{before}{planned}"

    def _say(self, text: str) -> None:
        if not self._live.is_started:
            self._console.print(f"[{_clock(time.monotonic() - self._started)}] {text}", markup=False, highlight=False)

    def _render(self) -> RenderableType:
        plan = self._plan
        table = Table(expand=False, title_justify="left", show_edge=False)
        for column in ("trial", "state", "epoch", "rungs", plan.metric, "seconds", "recipe"):
            # Only the recipe gives way on a narrow terminal: it wraps.
            text = column in {"state", "recipe"}
            table.add_column(column, justify="left" if text else "right", no_wrap=column != "recipe")
        for (number, seed), run in sorted(self._running.items()):
            state = "running" if seed == plan.seed else f"seed {seed}"
            seconds = time.monotonic() - run.since
            self._row(table, number, state, run.last, seconds, _recipe(run.params, run.label), "cyan")
        table.add_section()
        for place, trial in enumerate(self._best):
            style, line = ("bold green" if place == 0 else ""), trial.best(plan.metric)
            recipe = _recipe(trial.params, trial.label)
            self._row(table, trial.number, trial.state.lower(), line, trial.seconds, recipe, style)
        running = sum(seed == plan.seed for _, seed in self._running)
        planned, clock = plan.base.budget.trials, _clock(time.monotonic() - self._started)
        left = "" if planned is None else f", {max(0, planned - self._done - running)} to come"
        head = f"{plan.space} ({plan.profile})  {clock}  {self._done}{self._planned(' of ')} trials done, "
        head += f"{running} running{left}"
        confirming = len(self._running) - running
        if confirming or self._confirmed:
            head += f"; confirming the best: {self._confirmed} done, {confirming} running"
        return Group(Text(head, style="bold"), table)

    def _row(
        self, table: Table, number: int, state: str, line: Line | None, seconds: float, recipe: str, style: str
    ) -> None:
        epoch = line.epoch if line else 0.0
        passed = sum(rung <= epoch for rung in self._plan.rungs)
        score = f"{line.metrics[self._plan.metric]:.4f}" if line else "-"
        cells = (str(number), state, f"{epoch:.2f}", f"{passed}/{len(self._plan.rungs)}", score, f"{seconds:.0f}")
        table.add_row(*cells, recipe, style=style)


class _Running(NamedTuple):
    since: float
    params: Mapping[str, Any]
    label: str
    last: Line | None


def _recipe(params: Mapping[str, Any], label: str) -> str:
    return f"{label}: {recipe_line(params)}" if label else recipe_line(params)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
