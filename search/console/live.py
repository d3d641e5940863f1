"""The live view of a search, laid out for the width and height of the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from frostline.search.console import pace
from frostline.search.console.pace import Rung
from frostline.search.words import clock, value

_BAR, _BESIDE_BAR = 20, 48
"""Characters of a rung's bar, and of the text beside it."""
_LEADING, _ROWS = 2, 4
"""Rows that running trials leave to the best ones; rows for which the rungs shrink to one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableRow:
    """A training in the table."""

    number: int
    state: str
    epoch: float
    score: float | None
    seconds: float
    label: str
    params: Mapping[str, Any]
    style: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Screen:
    """The state of a search. Rich draws it, never higher than the terminal. Only sentences wrap."""

    sentences: Sequence[str]
    """Sentences on how far it is; the first one is the headline."""
    metric: str
    rungs: Sequence[Rung]
    ended: int
    """Trials that have used their whole budget."""
    epochs: float
    """Epochs of a trial that is never stopped."""
    planned: int | None
    """Number of trials; None if the budget does not set it."""
    shares: Mapping[str, float]
    """Shares of the slots' time by activity; they add up to 1."""
    running: Sequence[TableRow]
    leading: Sequence[TableRow]
    """The best trials that have ended, best first."""
    problems: Sequence[str]
    """The last problems, newest last."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sentences = [
            line
            for number, text in enumerate([*self.sentences, *self._time()])
            for line in Text(text, style="" if number else "bold").wrap(console, options.max_width)
        ]
        problems, rows = [_one_line(text, "red") for text in self.problems], len(self.running) + len(self.leading)
        table = self._table(len(self.running), len(self.leading), options.max_width)
        head = len(console.render_lines(table, options, pad=False)) - rows
        room = max(1, options.size.height - 1)  # the cursor takes the last line
        left, rungs = 0, list[Text]()
        for rungs in (self._rungs(options), self._rungs_in_short(), []):
            left = room - len(sentences) - len(problems) - len(rungs)
            if left >= head + min(rows, _ROWS):
                break
        while problems and left <= head:
            left += len([problems.pop(0)])
        yield from [*sentences, *rungs, *problems][:room]
        if left > head:
            running = min(len(self.running), max(1, left - head - min(_LEADING, len(self.leading))))
            yield self._table(running, min(len(self.leading), left - head - running), options.max_width)

    def _time(self) -> list[str]:
        parts = pace.percents(self.shares)
        return ["time: " + ", ".join(f"{name} {part} %" for name, part in parts.items())] if parts else []

    def _rungs(self, options: ConsoleOptions) -> list[Text]:
        """One line for each rung: `rung 0.5   ██████████▒▒▒▒▒····· 9 reached, 3 stopped, 6 passed`."""
        passed, stopped, open_ = "#-." if options.ascii_only else "█▒·"
        size = max(0, min(_BAR, options.max_width - _BESIDE_BAR))
        whole = max([self.planned or 0, *(rung.reached for rung in self.rungs)]) or 1
        lines = []
        for rung in self.rungs:
            full, some = (round(size * count / whole) for count in (rung.passed, rung.passed + rung.stopped))
            bar = passed * full + stopped * (some - full) + open_ * (size - some)
            counts = f"{rung.reached} reached, {rung.stopped} stopped, {rung.passed} passed"
            lines.append(_one_line(f"rung {rung.epoch:<5g} {bar} {counts}"))
        full = round(size * self.ended / whole)
        bar = passed * full + open_ * (size - full)
        return [*lines, _one_line(f"end  {self.epochs:<5g} {bar} {self.ended} reached")]

    def _rungs_in_short(self) -> list[Text]:
        counts = ", ".join(f"{rung.epoch:g}: {rung.passed} of {rung.reached}" for rung in self.rungs)
        return [_one_line(f"passed rung {counts}")] if counts else []

    def _table(self, running: int, leading: int, width: int) -> Table:
        """The first `running` and `leading` rows, with the columns that fit into `width` characters."""
        rows = [*self.running, *self.leading]
        names = dict.fromkeys(name for row in rows for name in row.params)
        columns = [
            _Column(name="trial", cells=[str(row.number) for row in rows]),
            _Column(name="state", cells=[row.state for row in rows], justify="left"),
            _Column(name="epoch", cells=[f"{row.epoch:.2f}" for row in rows]),
            _Column(name=self.metric, cells=["-" if row.score is None else f"{row.score:.4f}" for row in rows]),
            _Column(name="time", cells=[clock(row.seconds) for row in rows]),
            *(_Column(name=name, cells=[value(row.params.get(name, "")) for row in rows]) for name in names),
            *[_Column(name="recipe", cells=[row.label for row in rows], justify="left")]
            * any(row.label for row in rows),
        ]
        kept, gap = fitting([column.width for column in columns], always=5, width=width)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
        shown = [*range(running), *range(len(self.running), len(self.running) + leading)]
        for column in (columns[place] for place in kept):
            table.add_column(column.name.replace("_", "\n"), justify=column.justify, no_wrap=True, vertical="bottom")
        for number in shown:
            table.add_row(*(_one_line(columns[place].cells[number]) for place in kept), style=rows[number].style)
        return table


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    name: str
    cells: Sequence[str]
    justify: Literal["left", "right"] = "right"

    @property
    def width(self) -> int:
        """Width of the widest cell, in characters. The name is broken at its underscores."""
        return max(map(cell_len, [*self.name.split("_"), *self.cells]))


_LONG = 16
"""A column wider than this is left out first."""


def fitting(widths: Sequence[int], always: int, width: int) -> tuple[list[int], int]:
    """The indices of the columns that fit, and the gap between two columns: 2 characters, or 1 if space is short.

    Args:
        widths: widths of the columns in characters. If not all fit, columns of up to 16 characters go first.
        always: number of first columns that stay, however wide they are.
        width: width of the terminal.
    """
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= width else 1
    kept, used = list(range(always)), sum(widths[:always]) + gap * (always - 1)
    for place in sorted(range(always, len(widths)), key=lambda place: widths[place] > _LONG):
        if used + gap + widths[place] <= width:
            kept.append(place)
            used += gap + widths[place]
    return sorted(kept), gap


def _one_line(text: str, style: str = "") -> Text:
    return Text(text.replace("\n", " "), style=style, no_wrap=True, overflow="ellipsis")
