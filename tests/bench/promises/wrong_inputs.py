"""Wrong inputs: each gives one line on stderr and exit code 2, within 5 s and 2 GB, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.promises import wrong_data, wrong_models, wrong_options, wrong_recipes, wrong_runs
from tests.bench.promises.case import Case, Materials, Place
from tests.bench.promises.rows import Failure, Row
from tests.bench.promises.warm import ACCEPTED, Answer, Run, answers

_Listing = dict[str, tuple[int, int]]


def cases() -> list[Case]:
    """All of them. Names differ."""
    every = [
        *wrong_options.cases(),
        *wrong_recipes.cases(),
        *wrong_runs.cases(),
        *wrong_models.cases(),
        *wrong_data.cases(),
    ]
    names = [case.name for case in every]
    assert len({*names}) == len(names), sorted(name for name in names if names.count(name) > 1)
    return every


_RIGHT = (
    Case(name="a text search", make=lambda place: place.text_search()),
    Case(name="a picture search", make=lambda place: place.picture_search()),
    Case(name="--resume", make=lambda place: ["--resume", str(place.run())]),
    Case(name="--report", make=lambda place: ["--report", str(place.run())]),
    Case(name="--dashboard", make=lambda place: ["--dashboard", str(place.run())]),
    Case(name="--retrain", make=lambda p: ["--retrain", str(p.file("r.json", json.dumps(p.materials.recipe)))]),
)
"""Command lines that are right. What the wrong ones are made from has to be taken."""


def tried(chosen: Sequence[Case]) -> Row:
    """Try these cases."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="w", dir="/tmp") as text:
        root = Path(text)
        materials = Materials.made(root / "right")
        chosen = [*_RIGHT, *chosen]
        folders = [root / f"{number}" for number in range(len(chosen))]
        try:
            runs = [_run(case, folder, materials) for case, folder in zip(chosen, folders, strict=True)]
            before = [_listing(folder) for folder in folders]
            given = answers(runs)
            for case, answer in zip(_RIGHT, given, strict=False):  # else every case could be refused for another reason
                assert answer.code in {ACCEPTED, 0}, f"{case.name} is refused: {answer.err}"
            failures = [
                Failure(name=case.name, problem=problem)
                for case, folder, old, answer in list(zip(chosen, folders, before, given, strict=True))[len(_RIGHT) :]
                if (problem := problem_of(case, answer, _left(old, _listing(folder))))
            ]
        finally:
            _make_removable(root)
    return Row(
        kind="wrong inputs", tried=len(chosen) - len(_RIGHT), seconds=time.monotonic() - began, failures=failures
    )


def _run(case: Case, folder: Path, materials: Materials) -> Run:
    for name in ("cwd", "tmp", "cache"):
        (folder / name).mkdir(parents=True)
    arguments = case.make(Place(materials=materials, folder=folder))
    return Run(arguments=arguments, folder=str(folder), powerless=case.powerless)


def problem_of(case: Case, answer: Answer, left: Sequence[str]) -> str:
    """What is wrong with an answer, on one line; empty if it is right.

    Args:
        case: what was tried.
        answer: what `frostline` did.
        left: files that it made, changed or removed.
    """
    lines = answer.err.splitlines()
    last = lines[-1] if lines else ""
    if answer.stopped:
        return answer.stopped
    if "Traceback" in answer.err or answer.code < 0:
        return f"exit {answer.code}, traceback: {last}"
    if any(name.endswith("pwned!") for name in left):
        return "a pickle was opened"
    if answer.code in {ACCEPTED, 0} and case.may_pass:
        return ""
    if answer.code in {ACCEPTED, 0}:
        return "accepted"
    if answer.code != 2:
        return f"exit {answer.code}: {last}"
    if len(lines) != 1 or not answer.err.endswith("\n") or not lines[0].startswith("frostline: "):
        return f"{len(lines)} lines: {' / '.join(lines)[:300]}"
    if not last.isprintable():
        return f"control characters: {last!r}"
    if answer.out:
        return f"{answer.out.splitlines()[0]!r} on stdout"
    if left:
        return f"left behind: {', '.join(left[:3])}"
    return ""


def _listing(folder: Path) -> _Listing:
    """Size and time of every file of a case, by its name; 0 for a folder. Whole prepared data may stay in the cache."""
    listing = {}
    for place, folders, names in os.walk(folder):
        inner = Path(place).relative_to(folder)
        if inner.parts[:2] == ("cache", "data"):
            folders[:] = [name for name in folders if name.startswith(".")]
        listing |= {str(inner / name): (0, 0) for name in folders if inner / name != Path("cache", "data")}
        for name in names:
            if inner / name not in {Path("out"), Path("err")}:
                status = Path(place, name).lstat()
                listing[str(inner / name)] = status.st_size, status.st_mtime_ns
    return listing


def _left(before: _Listing, after: _Listing) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _make_removable(root: Path) -> None:
    """Give all folders their permissions back, and remove those whose paths are too long for a removal in one call."""
    for place, folders, _ in os.walk(root):
        for name in folders:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(root, ignore_errors=True)
