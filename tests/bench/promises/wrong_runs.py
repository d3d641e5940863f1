"""Run directories that are none, or whose files are spoilt, given to `--resume`, `--report` and `--dashboard`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench.promises.case import Case, Place

_OPTIONS = ("--resume", "--report", "--dashboard")
_ODD: tuple[Any, ...] = (None, "x", -1, 1.5, True, [], {}, [[]])

_PLANS: dict[str, str | bytes] = {
    "empty": "",
    "torn": '{"space": "bert_',
    "null": "null",
    "a list": "[]",
    "an object": "{}",
    "a number": "5",
    "a text": '"x"',
    "NaN": "NaN",
    "binary": bytes(range(256)),
    "NULs": b"\0" * 512,
    "not UTF-8": b'{"space": "\xff"}',
    "100,000 brackets": "[" * 100_000,
    "100,000 objects": '{"a":' * 100_000,
    "a number of 10,000 digits": '{"seed": ' + "9" * 10_000 + "}",
}

_READ_BY_RESUME = ("space", "profile", "seed", "base", "models", "fingerprint", "distributions", "need", "retries")
"""Fields of `plan.json` by which a search goes on. The others follow from these and are made again."""

_JOURNALS = ("log.jsonl", "trials.jsonl", "confirm.jsonl", "study.journal")


def cases() -> list[Case]:
    """All of them."""
    return [*_plans(), *_fields(), *_files()]


def _plans() -> Iterator[Case]:
    for option in _OPTIONS:
        yield Case(name=f"run: {option} an empty folder", make=lambda p, o=option: [o, str(_emptied(p))])
        yield Case(name=f"run: {option} a folder of other files", make=lambda p, o=option: [o, str(_others(p))])
        for name, text in _PLANS.items():
            yield Case(name=f"plan file: {option}, {name}", make=_with_file(option, "plan.json", text))
        for name, spoil in _SPOILERS.items():
            yield Case(name=f"plan file: {option}, {name}", make=_spoilt(option, "plan.json", spoil))


def _fields() -> Iterator[Case]:
    for name in _READ_BY_RESUME:
        values = [value for value in _ODD if not (name == "seed" and value == -1)]
        for value in (*values, ""):
            yield Case(name=f"plan: {name} = {json.dumps(value)}", make=_changed(name, value))
        yield Case(name=f"plan: without {name}", make=_without(name))
    for name in ("metric", "better", "rungs", "report_at", "validate_on", "classes", "slots", "disk", "run", "wandb"):
        for value in _ODD:
            yield Case(name=f"plan: {name} = {json.dumps(value)}", make=_changed(name, value), may_pass=True)
    for name in ("cache_limit", "checkpoint_every", "remarks", "sizes", "duplicates", "url", "address", "recipes"):
        for value in (None, "x", [], {}, -1):
            yield Case(name=f"plan: {name} = {json.dumps(value)}", make=_changed(name, value), may_pass=True)
    for value in (None, "x", -1, [], True, "none"):
        for inner in ("cpus", "gpus", "memory", "workers"):
            yield Case(
                name=f"plan: need.{inner} = {json.dumps(value)}", make=_inner("need", inner, value), may_pass=True
            )
    for seed in (2**64, 2**70, -(2**70)):
        yield Case(name=f"plan: seed = {seed}", make=_changed("seed", seed))
    for option in ("--report", "--dashboard"):
        for name in ("base", "distributions", "models", "metric", "space", "classes"):
            for value in (None, "x", [], {}):
                make = _changed(name, value, option)
                yield Case(name=f"plan: {option}, {name} = {json.dumps(value)}", make=make, may_pass=True)


def _files() -> Iterator[Case]:
    for option in _OPTIONS:
        for file in _JOURNALS:
            for name, spoil in _SPOILERS.items():
                make = _spoilt(option, file, spoil)
                yield Case(name=f"journal: {option}, {file} {name}", make=make, may_pass=True)
            for name, text in (("empty", ""), ("NULs", b"\0" * 512), ("binary", bytes(range(256)) * 4)):
                make = _with_file(option, file, text)
                yield Case(name=f"journal: {option}, {file} {name}", make=make, may_pass=True)
        for file in ("summary.json", "best", "trials", "confirm", "report.html", "frostline.jsonl", "wandb"):
            for name, spoil in _SPOILERS.items():
                make = _spoilt(option, file, spoil)
                yield Case(name=f"run file: {option}, {file} {name}", make=make, may_pass=True)
        for name, stray in _STRAYS.items():
            make = _strayed(option, stray)
            yield Case(name=f"stray: {option}, {name}", make=make, may_pass=True)
    for text in ("", "null", "[]", "{}", '{"counts": 5}', '{"best": []}', "\0"):
        for option in ("--report", "--resume"):
            make = _with_file(option, "summary.json", text)
            yield Case(name=f"summary: {option}, {text!r}", make=make, may_pass=True)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _to_folder(path: Path) -> None:
    _remove(path)
    path.mkdir()


def _to_fifo(path: Path) -> None:
    _remove(path)
    os.mkfifo(path)


def _to_loop(path: Path) -> None:
    _remove(path)
    path.symlink_to(path.name)


def _to_link_out(path: Path) -> None:
    _remove(path)
    path.symlink_to("/etc/hostname")


def _to_dangling(path: Path) -> None:
    _remove(path)
    path.symlink_to("none")


_SPOILERS: dict[str, Callable[[Path], None]] = {
    "a folder": _to_folder,
    "a FIFO": _to_fifo,
    "a link to itself": _to_loop,
    "a link out of the folder": _to_link_out,
    "a link to nothing": _to_dangling,
}

_STRAYS: dict[str, Callable[[Path], None]] = {
    ".ipynb_checkpoints": lambda run: (run / ".ipynb_checkpoints").mkdir(),
    ".ipynb_checkpoints in trials": lambda run: (run / "trials" / ".ipynb_checkpoints").mkdir(parents=True),
    "files in .ipynb_checkpoints in trials": lambda run: _write(run / "trials/.ipynb_checkpoints/a.txt"),
    "a folder in a trial": lambda run: (run / "trials" / "00000" / ".x" / "y").mkdir(parents=True),
    "a folder called x.part": lambda run: (run / "x.part" / "y").mkdir(parents=True),
    "a folder called .x.1": lambda run: (run / ".x.1" / "y").mkdir(parents=True),
    "best.part as a file": lambda run: _write(run / "best.part"),
    "tune as a file": lambda run: _write(run / "tune"),
    "a name that is not UTF-8": lambda run: _write(run / os.fsdecode(b"caf\xe9.txt")),
    "a name with a line break": lambda run: _write(run / "a\nb.txt"),
    "trial folders that are no numbers": lambda run: _write(run / "trials" / "x" / "last.safetensors"),
    "a link to the folder above": lambda run: (run / "up").symlink_to(".."),
    "two links to each other": lambda run: ((run / "a").symlink_to("b"), (run / "b").symlink_to("a"))[0],
}


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")


def _emptied(place: Place) -> Path:
    run = place.folder / "run"
    run.mkdir()
    return run


def _others(place: Place) -> Path:
    return place.file("run/notes.txt", "x").parent


def _with_file(option: str, name: str, text: str | bytes) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        run = place.run()
        place.file(f"run/{name}", text)
        return [option, str(run)]

    return make


def _spoilt(option: str, name: str, spoil: Callable[[Path], None]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        run = place.run()
        spoil(run / name)
        return [option, str(run)]

    return make


def _strayed(option: str, stray: Callable[[Path], None]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        run = place.run()
        stray(run)
        return [option, str(run)]

    return make


def _edited(option: str, edit: Callable[[dict[str, Any]], Any]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        run = place.run()
        fields = json.loads((run / "plan.json").read_text())
        edit(fields)
        (run / "plan.json").write_text(json.dumps(fields))
        return [option, str(run)]

    return make


def _changed(name: str, value: Any, option: str = "--resume") -> Callable[[Place], Sequence[str]]:
    return _edited(option, lambda fields: fields.update({name: value}))


def _without(name: str) -> Callable[[Place], Sequence[str]]:
    return _edited("--resume", lambda fields: fields.pop(name))


def _inner(group: str, name: str, value: Any) -> Callable[[Place], Sequence[str]]:
    return _edited("--resume", lambda fields: fields[group].update({name: value}))
