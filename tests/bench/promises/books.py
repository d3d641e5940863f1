"""The records of a whole search without Ray and without training, and what a ledger reads from them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frostline.search.ledger.ledger import Ledger
from frostline.search.plan import budget as budgets
from frostline.search.plan.plan import Plan
from frostline.search.records import trials as trial_records
from frostline.search.records.journal import Journal
from frostline.search.records.log import hold
from tests.search import runs
from tests.search.altered import altered
from tests.search.ledger.test_ledger_crash import Driver
from tests.search.made import Clock, with_budget

JOURNALS = ("log.jsonl", "trials.jsonl", "confirm.jsonl")
"""Files that a search appends to. Everything else follows from them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """What a search has written."""

    plan: Plan
    files: dict[str, bytes]
    """Content of each file of the run directory at its end, by name."""
    appended: Sequence[tuple[str, int, int]]
    """Every line of the journals in the order in which they were written: file, first byte, byte after the last."""
    _read: dict[int, Read] = field(default_factory=dict)

    def after(self, lines: int, more: int = 0) -> dict[str, bytes]:
        """The journals after `lines` lines, and `more` bytes of the next one."""
        sizes = dict.fromkeys(JOURNALS, 0) | {file: end for file, _, end in self.appended[:lines]}
        if more:
            file, start, _ = self.appended[lines]
            sizes[file] = start + more
        return {name: self.files[name][:size] for name, size in sizes.items()}

    def at(self, folder: Path, lines: int, more: int = 0) -> Plan:
        """Write the files as they were after `lines` lines and `more` bytes of the next one; returns the plan there."""
        run = folder / "run"
        run.mkdir()
        whole = lines == len(self.appended)  # the study is made again if it is not there
        for name, data in ((self.files if whole else {}) | self.after(lines, more)).items():
            (run / name).write_bytes(data)
        (run / "plan.json").write_bytes(self.files["plan.json"])
        return altered(self.plan, run=run)

    def read_after(self, lines: int) -> Read:
        """The knowledge of a ledger after `lines` lines."""
        if lines not in self._read:
            with folder() as place:
                self._read[lines] = Read.of(self.at(place, lines))
        return self._read[lines]


def written(seed: int = 0, trials: int = 8) -> Books:
    """The books of a search that was not disturbed.

    Args:
        seed: seed of the sampler.
        trials: recipes tried.
    """
    with folder() as place:
        run = place / "run"
        plan = altered(plan_of(run, trials), seed=seed)
        run.mkdir()
        (run / "plan.json").write_text(plan.to_json(), encoding="utf-8")
        appended: list[tuple[str, int, int]] = []
        with _recorded(appended):
            Driver(plan, Clock(), lambda _: False).search().close()
        files = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
        return Books(plan=plan, files=files, appended=appended)


def plan_of(run: Path, trials: int = 8) -> Plan:
    """The plan of a small search in a folder."""
    plan = with_budget(
        runs.plan_of(run),
        trials=trials,
        epochs=3,
        first_rung=1,
        reduction_factor=2.0,
        confirm_recipes=2,
        confirm_seeds=2,
        slots=3,
    )
    return altered(plan, rungs=budgets.rungs(plan.budget), report_at=budgets.report_points(plan.budget))


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder in memory, if the machine has one: thousands of small run directories are written."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as text:
        yield Path(text)


@contextlib.contextmanager
def _recorded(appended: list[tuple[str, int, int]]) -> Iterator[None]:
    append = Journal.append

    def noted(self: Journal, fields: Any) -> None:
        path = Path(self._file.name)
        start = path.stat().st_size
        append(self, fields)
        appended.append((path.name, start, path.stat().st_size))

    Journal.append = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Journal.append = append  # type: ignore[method-assign]


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """What a ledger knows after it has been opened."""

    trainings: dict[tuple[int, int], dict[str, Any]]
    """What is recorded of each training, by number and seed."""
    upcoming: int | None
    """Number of the next new trial; None if there is none."""

    @classmethod
    def of(cls, plan: Plan) -> Read:
        """Open the books of a run directory as a driver does.

        Raises:
            ValueError: they are refused.
        """
        with hold(plan.place.run) as log:
            ledger = Ledger(plan, log, Clock())
            try:
                known = {trial.key: _told(trial) for trial in (*ledger.trials, *ledger.confirmations)}
                return cls(trainings=known, upcoming=_upcoming(ledger))
            finally:
                ledger.close()


def _told(trial: trial_records.Trial) -> dict[str, Any]:
    return {
        "outcome": trial.outcome,
        "params": trial.params,
        "label": trial.label,
        "reason": trial.reason,
        "reports": [dataclasses.asdict(line) for line in trial.reports],
    }


def ended(plan: Plan) -> dict[tuple[int, int], Any]:
    """How each training of a run directory ended, and its scores, without the times."""
    run = plan.place.run
    return {
        trial.key: (trial.outcome, trial.params, [(line.epoch, line.objective) for line in trial.reports])
        for name in ("trials.jsonl", "confirm.jsonl")
        for trial in trial_records.read(run / name)
    }


def _upcoming(ledger: Ledger) -> int | None:
    """The number of the next new recipe, once everything that waits has a slot."""
    waiting = {job.key for job in ledger.unfinished}
    while (job := ledger.next()) and (job.confirms or job.key in waiting):
        pass
    return job.number if job else None
