"""Inputs spoilt at random: a `ValueError` with words, or a value of the right kind.

Never another error, a crash, more than 5 s of CPU time or 1 GB. The caller puts the words on one line.
Each input follows from the seed, its kind and its number alone.
"""

from __future__ import annotations

import functools
import itertools
import json
import mmap
import os
import random
import resource
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from frostline.search.mistakes import one_line
from tests.bench.promises import fuzz_targets
from tests.bench.promises.fuzz_targets import Target
from tests.bench.promises.rows import Failure, Row

_MOST_SECONDS, _MOST_MEMORY = 5, int(1e9)


def tried(count: int, seed: int, match: Sequence[str] = (), kinds: Sequence[str] = ()) -> Row:
    """Try `count` inputs of all kinds together.

    Args:
        count: inputs.
        seed: seed of all of them.
        match: parts of the names of those that are tried; all if empty.
        kinds: names of the kinds that are tried; all if empty.
    """
    began, failures, total = time.monotonic(), list[Failure](), 0
    with tempfile.TemporaryDirectory() as folder:
        targets = [one for one in fuzz_targets.made(Path(folder)) if not kinds or one.name in kinds]
        ends = [0, *itertools.accumulate(target.share for target in targets)]
        for target, begin, end in zip(targets, ends, ends[1:], strict=False):
            numbers = [
                number
                for number in range(max(1, count * end // ends[-1] - count * begin // ends[-1]))
                if not match or any(words in f"fuzz: {target.name} {number}" for words in match)
            ]
            failures += _tried(target, seed, numbers)
            total += len(numbers)
    return Row(kind="fuzz", tried=total, seconds=time.monotonic() - began, failures=failures)


def _tried(target: Target, seed: int, numbers: list[int]) -> list[Failure]:
    """Try the inputs of one kind in a process of their own; another one goes on where it dies."""
    failures, place = list[Failure](), mmap.mmap(-1, 8)
    while numbers:
        problems, status = _in_process(functools.partial(_all, target, seed, numbers, place))
        failures += [Failure(name=f"fuzz: {target.name} {number}", problem=text) for number, text in problems]
        if status == 0:
            break
        died = int.from_bytes(place[:8], "little")
        problem = f"the process ends with {os.waitstatus_to_exitcode(status)}"
        failures.append(Failure(name=f"fuzz: {target.name} {died}", problem=problem))
        numbers = [number for number in numbers if number > died]
    return failures


def _in_process(work: Callable[[Callable[[int, str], None]], None]) -> tuple[list[tuple[int, str]], int]:
    """What `work` reports from a forked process, and the status with which that ends."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            work(lambda number, text: _write(writing, number, text))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        reported = [tuple(json.loads(line)) for line in pipe]
    return reported, os.waitpid(pid, 0)[1]


def _write(pipe: int, number: int, text: str) -> None:
    os.write(pipe, json.dumps([number, text[:500]]).encode() + b"\n")


def _all(target: Target, seed: int, numbers: list[int], place: mmap.mmap, report: Callable[[int, str], None]) -> None:
    import torch  # not before: books need none. It takes more room than the limit leaves

    torch.set_num_threads(1)  # the threads of the process that was forked are not here, and OpenMP would wait for them
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _MOST_MEMORY,) * 2)
    warnings.simplefilter("ignore")
    for number in numbers:
        place[:8] = number.to_bytes(8, "little")
        signal.setitimer(signal.ITIMER_PROF, _MOST_SECONDS)
        if problem := _problem(target.attempt, random.Random(f"{seed} {target.name} {number}")):
            report(number, problem)
    signal.setitimer(signal.ITIMER_PROF, 0)


def _problem(attempt: Callable[[random.Random], Any], dice: random.Random) -> str:
    try:
        attempt(dice)
    except AssertionError as error:
        return f"accepted: {error}"
    except ValueError as error:
        text = str(error)
        known = type(error) is ValueError or type(error).__module__.startswith("frostline.")
        if not known:
            return f"{type(error).__name__}: {text!r}"
        return "" if one_line(text).strip() else "a message without words"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)!r}"
    return ""
