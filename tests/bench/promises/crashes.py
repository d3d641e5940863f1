"""Crashes at any byte that a search appends: every line but the last is whole, and the books open with these lines."""

from __future__ import annotations

import random
import time

from tests.bench.promises import books
from tests.bench.promises.books import Books, Read
from tests.bench.promises.rows import Failure, Row


def tried(count: int | None, seed: int) -> Row:
    """Cut the books at `count` random bytes, or at every byte, as a crash does."""
    began, written, dice = time.monotonic(), books.written(), random.Random(seed)
    every = [(line, byte) for line, (_, start, end) in enumerate(written.appended) for byte in range(end - start)]
    chosen = every if count is None else dice.sample(every, min(count, len(every)))
    failures = [
        Failure(name=f"crash: byte {byte} of line {line}", problem=problem)
        for line, byte in sorted(chosen)
        if (problem := _problem(written, line, byte))
    ]
    return Row(kind="cuts, as crashes leave", tried=len(chosen), seconds=time.monotonic() - began, failures=failures)


def _problem(written: Books, line: int, byte: int) -> str:
    with books.folder() as place:
        try:
            found = Read.of(written.at(place, line, byte))
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return "" if found == written.read_after(line) else "it does not open as if the last line had never been begun"
