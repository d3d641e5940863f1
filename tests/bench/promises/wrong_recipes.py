"""Recipe files that are no recipes, given to `--retrain`."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.bench.promises.case import Case, Place

_NAN, _INFINITE = float("nan"), float("inf")
_NO_TEXT: tuple[Any, ...] = (None, 5, 1.5, True, [], {}, ["x"])
_NO_NUMBER: tuple[Any, ...] = (None, "x", "0.1", True, [], {}, [1])
_NO_COUNT: tuple[Any, ...] = (*_NO_NUMBER, 1.5, -1, _NAN)

_FIELDS: dict[str, tuple[Any, ...]] = {
    "family": (*_NO_TEXT, "", "none", "../x", "_family", "text_classification.py", "x" * 300),
    "model": (*_NO_TEXT, "", "none"),
    "data": (None, "x", 5, [], {}, [1], True),
    "budget": (None, "x", 5, [], {}, [1], True),
    "learning_rate": (*_NO_NUMBER, 0, -1, _NAN, _INFINITE, 10**400),
    "batch_size": (*_NO_COUNT, 0, 2**70),
    "frozen_layers": (*_NO_COUNT, 99, 2**70),
    "weight_decay": (*_NO_NUMBER, -1, _NAN, _INFINITE, 10**400),
    "augmentation": (*_NO_TEXT, "", "x", "randaugment-31", "randaugment-", "light\n"),
    "label_smoothing": (*_NO_NUMBER, -0.1, 1, _NAN),
    "dropout": (*_NO_NUMBER[1:], -0.1, 1, _NAN),
    "warmup": (*_NO_NUMBER, -0.1, 1, _NAN),
    "clip_norm": (*_NO_NUMBER, -1, _NAN, _INFINITE),
    "seed": (*_NO_COUNT, 2**70),
    "metric": (*_NO_TEXT, "none", "accuracy ", "x" * 300),
    "cached_layers": (*_NO_COUNT, 99),
    "cache_dtype": (*_NO_TEXT, "", "int8"),
    "frozen_fraction": (*_NO_NUMBER[1:], -0.1, 1.1, _NAN),
}
_OF_DATA: dict[str, tuple[Any, ...]] = {
    "source": (*_NO_TEXT, "", "none.csv"),
    "text": (*_NO_TEXT, "", "none"),
    "label": (*_NO_TEXT, "", "none"),
    "train": (*_NO_COUNT[1:], 0, 10**6),
    "validation": (*_NO_COUNT[1:], 0, 10**6),
    "test": (*_NO_COUNT[1:], 0, 10**6),
    "max_length": (*_NO_COUNT, 0, 7),
    "truncation_side": (*_NO_TEXT, "", "middle"),
    "image_size": (*_NO_COUNT[1:], 0),
    "seed": _NO_COUNT,
    "validation_source": (*_NO_TEXT[1:], "", "none.csv"),
    "test_source": (*_NO_TEXT[1:], "", "none.csv"),
    "group": (*_NO_TEXT[1:], "", "none", "text"),
}
_OF_BUDGET: dict[str, tuple[Any, ...]] = {
    "trials": (*_NO_COUNT[1:], 0),
    "epochs": (*_NO_COUNT, 0, 10**9, 2**70),
    "first_rung": (*_NO_NUMBER, 0, -1, _NAN, 10**9),
    "reduction_factor": (*_NO_NUMBER, 0, 1, _NAN),
    "seconds": (*_NO_NUMBER[1:], 0, -1, _NAN),
    "confirm_recipes": (*_NO_COUNT,),
    "confirm_seeds": (*_NO_COUNT,),
}

_TEXTS: dict[str, str | bytes] = {
    "empty": "",
    "a space": " ",
    "torn": '{"family": "text_cl',
    "null": "null",
    "a list": "[]",
    "an object": "{}",
    "a number": "5",
    "a text": '"x"',
    "NaN": "NaN",
    "binary": bytes(range(256)),
    "NULs": b"\0" * 512,
    "not UTF-8": b'{"family": "\xff"}',
    "UTF-16": '{"family": "x"}'.encode("utf-16"),
    "100,000 brackets": "[" * 100_000,
    "100,000 objects": '{"a":' * 100_000,
    "a number of 10,000 digits": '{"seed": ' + "9" * 10_000 + "}",
    "two objects": "{}{}",
    "single quotes": "{'family': 'x'}",
    "YAML": "family: text_classification\n",
    "a pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
}


def cases() -> list[Case]:
    """All of them."""
    return [*_fields(), *_texts()]


def _fields() -> Iterator[Case]:
    for group, table in (("", _FIELDS), ("data", _OF_DATA), ("budget", _OF_BUDGET)):
        for name, values in table.items():
            for value in values:
                yield Case(name=f"recipe: {_dotted(group, name)} = {_short(value)}", make=_replaced(group, name, value))
    for group, name in (
        *(("", name) for name in ("family", "model", "data", "budget", "learning_rate", "batch_size", "weight_decay")),
        *(("data", "source"), ("budget", "trials"), ("budget", "epochs"), ("budget", "first_rung")),
    ):
        yield Case(name=f"recipe: without {_dotted(group, name)}", make=_without(group, name))
    for group in ("", "data", "budget"):
        for name in ("unknown", "__class__", "", "self"):
            yield Case(name=f"recipe: with {_dotted(group, name)!r}", make=_replaced(group, name, 1))


def _texts() -> Iterator[Case]:
    for name, text in _TEXTS.items():
        yield Case(name=f"recipe file: {name}", make=lambda p, t=text: ["--retrain", str(p.file("recipe.json", t))])
        yield Case(
            name=f"recipe file: best/recipe.json, {name}",
            make=lambda p, t=text: ["--retrain", str(p.file("run/best/recipe.json", t).parent.parent)],
        )
    yield Case(name="recipe file: best/recipe.json, a FIFO", make=_fifo)
    yield Case(name="recipe file: best/recipe.json, a link to itself", make=_loop)
    yield Case(name="recipe file: best/recipe.json, a folder", make=_folder)


def _dotted(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:12]}... ({len(text)} characters)"


def _changed(change: Callable[[dict[str, Any]], None]) -> Callable[[Place], Sequence[str]]:
    def make(place: Place) -> Sequence[str]:
        fields = copy.deepcopy(place.materials.recipe)
        change(fields)
        path = place.file("recipe.json", json.dumps(fields))
        return ["--retrain", str(path), "--storage", str(place.folder / "storage"), "--name", "n"]

    return make


def _replaced(group: str, name: str, value: Any) -> Callable[[Place], Sequence[str]]:
    return _changed(lambda fields: (fields[group] if group else fields).update({name: value}))


def _without(group: str, name: str) -> Callable[[Place], Sequence[str]]:
    return _changed(lambda fields: (fields[group] if group else fields).pop(name))


def _best(place: Place) -> Any:
    best = place.folder / "run" / "best"
    best.mkdir(parents=True)
    return best / "recipe.json"


def _fifo(place: Place) -> Sequence[str]:
    path = _best(place)
    os.mkfifo(path)
    return ["--retrain", str(path.parent.parent)]


def _loop(place: Place) -> Sequence[str]:
    path = _best(place)
    path.symlink_to(path)
    return ["--retrain", str(path.parent.parent)]


def _folder(place: Place) -> Sequence[str]:
    path = _best(place)
    path.mkdir()
    return ["--retrain", str(path.parent.parent)]
