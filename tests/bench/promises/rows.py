"""The table of all promises: what was tried of each kind, and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """One try that did not hold."""

    name: str
    """What was tried; with it `--only` and `--seed` try it again."""
    problem: str
    """What was wrong, on one line."""

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """All tries of one kind."""

    kind: str
    tried: int
    seconds: float
    """Wall-clock time."""
    failures: Sequence[Failure] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if not self.tried:
            raise ValueError(f"{self.kind}: nothing was tried")


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| kind | tried | failed | seconds | first failure |", "|---|---|---|---|---|"]
    for row in rows:
        first = str(row.failures[0]) if row.failures else ""
        first = first if len(first) <= 160 else first[:157] + "..."
        escaped = first.replace("|", "\\|")
        lines.append(f"| {row.kind} | {row.tried:,} | {len(row.failures):,} | {row.seconds:.0f} | {escaped} |")
    return "\n".join(lines)
