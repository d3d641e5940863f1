"""Damaged files: bits flipped, lines swapped, repeated, removed, cut, given to another trial.

A damage is refused in one line that names the file, or it does no harm: nothing that is read differs from what was
written, and no number is given twice.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frostline.search.plan.plan import of_json
from frostline.search.records.folder import read_plan
from frostline.search.records.trials import Outcome
from tests.bench.promises import books
from tests.bench.promises.books import JOURNALS, Books, Read
from tests.bench.promises.rows import Failure, Row


def lines(count: int, seed: int) -> Row:
    """Damage the journals of a search `count` times."""
    began, dice, failures = time.monotonic(), random.Random(seed), []
    written = books.written()
    for number in range(count):
        # Half of them while the search runs, so that new numbers are given.
        until = len(written.appended) if dice.random() < 0.5 else dice.randrange(8, len(written.appended))
        files = written.after(until)
        name = dice.choice([name for name in JOURNALS if files[name].count(b"\n") > 2])
        kind, damage = dice.choice(list(_KINDS.items()))
        problem = problem_of(written, until, {name: damage(files[name].splitlines(keepends=True), dice)})
        if problem:
            failures.append(Failure(name=f"damage {number}: {kind} in {name} after {until} lines", problem=problem))
    return Row(kind="damaged lines", tried=count, seconds=time.monotonic() - began, failures=failures)


def cuts(count: int | None, seed: int) -> Row:
    """Cut one file of a finished run directory at `count` random bytes, or at every byte."""
    began, written, dice = time.monotonic(), books.written(), random.Random(seed)
    every = [(name, byte) for name, data in sorted(written.files.items()) for byte in range(len(data))]
    chosen = every if count is None else dice.sample(every, min(count, len(every)))
    failures = [
        Failure(name=f"cut: {name} at byte {byte}", problem=problem)
        for name, byte in chosen
        if (problem := problem_of(written, len(written.appended), {name: written.files[name][:byte]}))
    ]
    return Row(kind="cuts, of any file", tried=len(chosen), seconds=time.monotonic() - began, failures=failures)


def problem_of(written: Books, until: int, damaged: Mapping[str, bytes]) -> str:
    """What is wrong with how a damage is met, on one line; empty if it is refused or harmless.

    Args:
        written: the books.
        until: lines of them that there are.
        damaged: the files that differ.
    """
    whole = written.read_after(until)
    with books.folder() as place:
        run = written.at(place, until).place.run
        for name, data in damaged.items():
            (run / name).write_bytes(data)
        numbers = _numbers(run)
        try:
            found = Read.of(of_json(run, read_plan(run)))
        except ValueError as error:
            return _problem_of_refusal(str(error), damaged)
        except Exception as error:
            return f"{type(error).__name__}: {error}".replace("\n", " / ")
        return _harm(whole, found, numbers)


def _problem_of_refusal(message: str, damaged: Mapping[str, bytes]) -> str:
    if not any(name in message for name in damaged):
        return f"refused without the name of the file: {message}"
    return "" if message.isprintable() else f"refused in more than one line: {message!r}"


def _harm(whole: Read, found: Read, numbers: set[int]) -> str:
    for key, training in found.trainings.items():
        before = whole.trainings.get(key)
        if before is None:
            return f"a training {key} that never was"
        if training["params"] != before["params"]:
            return f"training {key} has other parameters"
        if extra := [line for line in training["reports"] if line not in before["reports"]]:
            return f"training {key} has a report that it never made: {extra[0]}"
        if len(training["reports"]) > len(before["reports"]):
            return f"training {key} has a report twice"
        if training["outcome"] not in {before["outcome"], Outcome.RUNNING}:
            return f"training {key} is {training['outcome'].value}, was {before['outcome'].value}"
    if found.upcoming in numbers:
        return f"the number {found.upcoming} is given twice"
    return ""


def _numbers(run: Path) -> set[int]:
    """The numbers of all trials that have a line left."""
    numbers = set()
    for name in JOURNALS:
        for line in (run / name).read_bytes().splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict) and isinstance(fields.get("number"), int):
                numbers.add(fields["number"])
    return numbers


_Damage = Callable[[list[bytes], random.Random], bytes]


def _flip(whole: list[bytes], dice: random.Random) -> bytes:
    data = bytearray(b"".join(whole))
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(data)


def _swap(whole: list[bytes], dice: random.Random) -> bytes:
    first, second = dice.sample(range(len(whole)), 2)
    whole[first], whole[second] = whole[second], whole[first]
    return b"".join(whole)


def _repeat(whole: list[bytes], dice: random.Random) -> bytes:
    whole.insert(dice.randrange(len(whole) + 1), dice.choice(whole))
    return b"".join(whole)


def _remove(whole: list[bytes], dice: random.Random) -> bytes:
    first = dice.randrange(len(whole))
    del whole[first : first + dice.randint(1, 3)]
    return b"".join(whole)


def _empty(whole: list[bytes], dice: random.Random) -> bytes:
    return b""


def _join(whole: list[bytes], dice: random.Random) -> bytes:
    """Without one of its line ends."""
    number = dice.randrange(len(whole))
    whole[number] = whole[number].rstrip(b"\n")
    return b"".join(whole)


def _cut_inside(whole: list[bytes], dice: random.Random) -> bytes:
    number = dice.randrange(len(whole))
    whole[number] = whole[number][: dice.randrange(len(whole[number]))] + b"\n"
    return b"".join(whole)


def _zero(whole: list[bytes], dice: random.Random) -> bytes:
    """A block of NULs, as file systems leave them."""
    data = bytearray(b"".join(whole))
    start = dice.randrange(len(data))
    size = min(dice.choice((1, 16, 512, 4096)), len(data) - start)
    data[start : start + size] = bytes(size)
    return bytes(data)


def _renumber(whole: list[bytes], dice: random.Random) -> bytes:
    """A line that belongs to another trial."""
    return _edited(whole, dice, lambda fields: fields.update(number=fields["number"] + dice.choice((-1, 1, 3, 1000))))


def _unknown(whole: list[bytes], dice: random.Random) -> bytes:
    """A line without a checksum, as a person leaves it, of a trial that there cannot be."""
    edit: dict[str, Any] = dice.choice(({"number": 1000}, {"number": -1}, {"seed": -1}, {"seed": 2**70}, {"seed": "x"}))
    return _edited(whole, dice, lambda fields: (fields.update(edit), fields.pop("crc", None)))


def _reseed(whole: list[bytes], dice: random.Random) -> bytes:
    return _edited(whole, dice, lambda fields: fields.update(seed=dice.choice((-1, 1, 2**70, "x"))))


def _reparameter(whole: list[bytes], dice: random.Random) -> bytes:
    return _edited(whole, dice, lambda fields: fields["params"].update(learning_rate=0.005))


def _edited(whole: list[bytes], dice: random.Random, edit: Callable[[dict[str, Any]], Any]) -> bytes:
    """One line of a training with other values. Its checksum stays that of the old ones."""
    places = [place for place, line in enumerate(whole) if b'"params"' in line]
    place = dice.choice(places)
    fields = json.loads(whole[place])
    edit(fields)
    whole[place] = json.dumps(fields).encode() + b"\n"
    return b"".join(whole)


_KINDS: dict[str, _Damage] = {
    "a bit is flipped": _flip,
    "two lines are swapped": _swap,
    "a line is repeated": _repeat,
    "lines are removed": _remove,
    "all is removed": _empty,
    "two lines are one": _join,
    "a line is cut": _cut_inside,
    "bytes are NULs": _zero,
    "another number": _renumber,
    "another seed": _reseed,
    "a trial that cannot be": _unknown,
    "other parameters": _reparameter,
}
