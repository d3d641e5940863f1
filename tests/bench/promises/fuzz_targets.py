"""What is fuzzed: an input that is right, how it is spoilt, and what must hold where it is taken."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import math
import random
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.search import cli
from frostline.search.plan import options
from frostline.search.plan.plan import of_json
from frostline.search.records import trials as trial_records
from frostline.search.records.events import started_jobs
from frostline.search.records.folder import read_plan, recipe_of
from frostline.spaces import Budget, Data, Recipe
from tests import tiny
from tests.bench.promises import books
from tests.bench.promises.spoil import spoilt_bytes, spoilt_json, words

_OPTIONS = (
    *("--space", "--profile", "--model", "--dataset", "--columns", "--resume", "--retrain", "--trials", "--epochs"),
    *("--time-budget", "--confirm", "--confirm-seeds", "--seed", "--concurrent", "--workers-per-trial", "--name"),
    *("--cpus-per-trial", "--gpus-per-trial", "--retries", "--checkpoint-every", "--prefix-cache", "--cache-size"),
    *("--storage", "--wandb", "--wandb-artifact", "--dry-run", "--json", "--quiet"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One kind of input."""

    name: str
    attempt: Callable[[random.Random], None]
    """Makes one input and gives it to the program; `AssertionError` where it is taken although it is wrong."""
    share: int
    """Its part of all inputs, beside the shares of the others."""


def made(folder: Path) -> list[Target]:
    """All of them, with what they need in a folder."""
    written = books.written()
    base = json.loads(written.plan.search.base.to_json())
    return [
        Target(name="recipe.json", attempt=lambda dice: _recipe(base, dice), share=20),
        Target(name="plan.json", attempt=_of_plan(written.files["plan.json"], folder / "plan"), share=15),
        Target(name="trials.jsonl", attempt=_of_lines(written.files["trials.jsonl"], folder / "trials"), share=10),
        Target(name="log.jsonl", attempt=_of_log(written.files["log.jsonl"], folder / "log"), share=10),
        Target(name="durations and sizes", attempt=_durations, share=15),
        Target(name="command lines", attempt=_command_line, share=15),
        Target(name="CSV", attempt=_of_table(folder / "csv", "t.csv", _csv()), share=7),
        Target(name="JSONL", attempt=_of_table(folder / "jsonl", "t.jsonl", _jsonl()), share=7),
        Target(name="Parquet", attempt=_of_table(folder / "parquet", "t.parquet", _parquet()), share=7),
        Target(name="config.json", attempt=_of_model(folder / "model"), share=1),
    ]


# --- recipes and plans ------------------------------------------------------------------------------


def _recipe(base: dict[str, Any], dice: random.Random) -> None:
    recipe = recipe_of(spoilt_json(base, dice), "recipe.json")
    check_types(recipe)
    assert Recipe.from_json(recipe.to_json()) == recipe, "another recipe after JSON"


def check_types(value: Any) -> None:
    """Check that every field of a dataclass has a value of its type.

    Raises:
        AssertionError: names the field.
    """
    for name, kind in typing.get_type_hints(type(value)).items():
        found = getattr(value, name)
        if dataclasses.is_dataclass(found):
            check_types(found)
        assert _fits(found, kind), f"{name} is {found!r}"


def _fits(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) in {types.UnionType, typing.Union}:
        return any(_fits(value, one) for one in typing.get_args(kind))
    kind = typing.get_origin(kind) or kind
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return type(value) is int
    return isinstance(value, kind)


def _of_plan(right: bytes, run: Path) -> Callable[[random.Random], None]:
    run.mkdir()
    fields = json.loads(right)

    def attempt(dice: random.Random) -> None:
        text: str | bytes = spoilt_json(fields, dice) if dice.random() < 0.7 else spoilt_bytes(right, dice)
        (run / "plan.json").write_bytes(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
        plan = of_json(run, read_plan(run))
        check_types(plan.search.base)
        plan.to_json()

    return attempt


# --- records ----------------------------------------------------------------------------------------


def _of_lines(right: bytes, run: Path) -> Callable[[random.Random], None]:
    run.mkdir()
    lines = right.splitlines(keepends=True)

    def attempt(dice: random.Random) -> None:
        (run / "trials.jsonl").write_bytes(_with_spoilt_line(lines, dice))
        for trial in trial_records.read(run / "trials.jsonl"):
            for line in trial.reports:
                assert type(line.number) is int and line.number >= 0, f"number {line.number!r}"
                assert isinstance(line.params, dict), f"params {line.params!r}"
                assert _fits(line.seconds, float), f"seconds {line.seconds!r}"

    return attempt


def _of_log(right: bytes, run: Path) -> Callable[[random.Random], None]:
    run.mkdir()
    lines = right.splitlines(keepends=True)

    def attempt(dice: random.Random) -> None:
        (run / "log.jsonl").write_bytes(_with_spoilt_line(lines, dice))
        for job in started_jobs(run):
            assert type(job.number) is int and job.number >= 0, f"number {job.number!r}"
            assert isinstance(job.label, str), f"label {job.label!r}"

    return attempt


def _with_spoilt_line(lines: list[bytes], dice: random.Random) -> bytes:
    some, place = lines[:6], dice.randrange(6)
    if dice.random() < 0.7:
        some[place] = spoilt_json(json.loads(some[place]), dice).encode(errors="surrogatepass") + b"\n"
    else:
        some[place] = spoilt_bytes(some[place], dice)
    return b"".join(some)


# --- options ----------------------------------------------------------------------------------------


def _durations(dice: random.Random) -> None:
    text = words(dice, "0123456789.hmsGMTkB+-e ")
    reader = dice.choice((options.seconds, options.size))
    value = reader(text)
    assert math.isfinite(value) and value >= 0, f"{text!r} is {value}"
    budget = Budget(trials=8, epochs=3, first_rung=1.0)
    options.changed(budget, options.Options(space="", time_budget=text), resumed=dice.random() < 0.5)


def _command_line(dice: random.Random) -> None:
    """Options in any number and order before a space that there is not: one line, whatever comes first."""
    given: list[str] = []
    for _ in range(dice.randrange(6)):
        given.append(dice.choice(_OPTIONS) if dice.random() < 0.8 else words(dice, "-=abc xyz/.\n\0\u00e9"))
        if dice.random() < 0.7:
            given.append(words(dice, "0123456789.+-x/:,hms \n\t\u00e9\udcff"))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code: Any = cli.main([*given, "--space", "no such space"])
        except SystemExit as end:
            code = end.code
    said = err.getvalue()
    if code == 0 and "-h" in given and out.getvalue().startswith("usage: "):
        return  # asked for help
    assert code == 2, f"{given} ends with {code}"
    one_line = said.startswith("frostline: ") and said.count("\n") == 1 and said[:-1].isprintable()
    assert one_line, f"{given} says {said!r}"


# --- data and models --------------------------------------------------------------------------------


def _csv() -> bytes:
    return "".join(f"{text},{label}\n" for text, label in [("text", "label"), *tiny.rows(30)]).encode()


def _jsonl() -> bytes:
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in tiny.rows(30)).encode()


def _parquet() -> bytes:
    import pyarrow
    from pyarrow import parquet

    made, rows = io.BytesIO(), tiny.rows(30)
    parquet.write_table(
        pyarrow.table({"text": [text for text, _ in rows], "label": [label for _, label in rows]}), made
    )
    return made.getvalue()


def _of_table(folder: Path, name: str, right: bytes) -> Callable[[random.Random], None]:
    folder.mkdir()

    def attempt(dice: random.Random) -> None:
        from frostline.trainables.data.tables import read_rows

        (folder / name).write_bytes(spoilt_bytes(right, dice))
        source = folder if dice.random() < 0.2 else folder / name
        try:
            splits = read_rows(Data(source=str(source)))
        except ValueError as error:
            assert len(str(error).splitlines()) == 1, f"several lines: {str(error)!r}"
            raise
        for rows in splits.values():
            assert len(rows.inputs) == len(rows.labels), "other rows than labels"
            assert all(text is None or isinstance(text, str) for text in rows.inputs), "an input that is no text"
            assert all(label is None or isinstance(label, str) for label in rows.labels), "a label that is no text"

    return attempt


def _of_model(folder: Path) -> Callable[[random.Random], None]:
    tiny.make_model(folder)
    right = json.loads((folder / "config.json").read_text())

    def attempt(dice: random.Random) -> None:
        from frostline.trainables.text_classification import FAMILY

        (folder / "config.json").write_bytes(spoilt_json(right, dice).encode(errors="surrogatepass"))
        FAMILY.describe(FAMILY.model_folder(str(folder)))

    return attempt
