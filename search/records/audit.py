"""Whether the records of a run directory fit together, before a search goes on from them.

A search that went on from damaged records would give a number twice, or export another winner. So what does not fit is
refused with its file and line, and a person decides. Readers leave damaged lines out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from frostline.search.records.events import LOG, Job, fault_of, job_in, job_of
from frostline.search.records.journal import entries
from frostline.search.records.trials import FILES, Outcome, collect, numbered
from frostline.spaces._typed import printable

_Key = tuple[bool, int, int]
"""True for a confirmation, number, seed."""


@dataclass(kw_only=True, slots=True)
class Books:
    """All that a run directory records of its trainings."""

    jobs: dict[_Key, Job] = field(default_factory=dict)
    """Each training that has a start in the log, or a line in a record file."""
    unlogged: list[Job] = field(default_factory=list)
    """Those without a start, in the order of their first lines."""
    places: dict[_Key, str] = field(default_factory=dict)
    """File and line where each of them begins."""
    trials: dict[int, _Key] = field(default_factory=dict)
    """The trials by number, without confirmations."""
    recorded: set[tuple[bool, int]] = field(default_factory=set)
    """Trainings with a line in a record file: True for a confirmation, number."""
    needed: dict[tuple[bool, int], str] = field(default_factory=dict)
    """Trainings that must have one, and the file and line that shows it."""

    def add(self, job: Job, place: str) -> None:
        """Take in a start, or a line of a record.

        Raises:
            ValueError: the number belongs to another training.
        """
        key = job.confirms, *job.key
        if not job.confirms:
            first = self.trials.setdefault(job.number, key)
            if first != key:
                raise ValueError(f"{place}: {self.places[first]} has trial {job.number} with another seed")
        if self.jobs.setdefault(key, job) != job:
            raise ValueError(f"{place}: {_name(job)} has other parameters in {self.places[key]}")
        self.places.setdefault(key, place)


def read(run: Path, shown: str = "") -> Books:
    """The books of a run directory.

    Args:
        run: the run directory.
        shown: how a message names it, if not by its path.

    Raises:
        ValueError: a line is damaged, or does not fit another one; the message names its file and number.
    """
    books, shown = Books(), shown or str(run)
    for entry in entries(run / LOG):
        place = f"{shown}/{LOG}, line {entry.line}"
        if damage := entry.damage or fault_of(entry.fields):
            raise _damaged(place, damage)
        if entry.fields["event"] == "start":
            job = job_in(entry.fields)
            if first := books.places.get((job.confirms, *job.key)):
                raise ValueError(f"{place}: {_name(job)} was started already in {first}")
            books.add(job, place)
            if job.confirms:
                books.needed.setdefault((False, job.number), place)
        elif entry.fields["event"] == "test" and isinstance(entry.fields.get("number"), int):
            confirms = entry.fields["folder"].startswith("confirm/")
            books.needed.setdefault((confirms, entry.fields["number"]), place)
    for name in FILES:
        _read_records(run / name, f"{shown}/{name}", books)
    return books


def _read_records(path: Path, shown: str, books: Books) -> None:
    ended, seen = dict[tuple[int, int], str](), dict[tuple[int, int], int]()
    for number, line in numbered(path):
        place = f"{shown}, line {number}"
        if isinstance(line, str):
            raise _damaged(place, line)
        (trial,) = collect([line])
        job = job_of(trial)
        if line.confirms != (path.name == FILES[True]):
            raise ValueError(f"{place}: {_name(job)} belongs in {FILES[line.confirms]}")
        if job.key in ended:
            raise ValueError(f"{place}: {_name(job)} had ended already in {ended[job.key]}")
        if line.outcome == Outcome.RUNNING and line.samples <= seen.get(job.key, -1):
            raise ValueError(f"{place}: {_name(job)} had reported at {line.samples} samples already, or at more")
        seen[job.key] = line.samples
        if (line.confirms, *job.key) not in books.jobs:
            books.unlogged.append(job)
        books.add(job, place)
        books.recorded.add((line.confirms, line.number))
        if not trial.open:
            ended[job.key] = place


def check_numbers(books: Books) -> None:
    """Refuse books that have lost a trial.

    Raises:
        ValueError: names the trial, and the file and line that shows it.
    """
    for number, trial in enumerate(sorted(books.trials)):
        if number != trial:
            place = books.places[books.trials[trial]]
            raise ValueError(f"{place}: trial {trial} comes after trial {number}, and no line tells of trial {number}")
    for (confirms, number, _), place in books.places.items():
        if confirms and number not in books.trials:
            raise ValueError(f"{place}: it confirms trial {number}, and no line tells of that trial")
    for (confirms, number), place in books.needed.items():
        if (confirms, number) not in books.recorded:
            raise ValueError(f"{place}: {FILES[confirms]} has lost the lines of trial {number}; put the file back")


def _damaged(place: str, damage: str) -> ValueError:
    return ValueError(
        f"{place} is damaged: {printable(damage)}; put the file back, or remove the line to go on without it"
    )


def _name(job: Job) -> str:
    return f"trial {job.number}" + (f" with seed {job.seed}" if job.confirms else "")
