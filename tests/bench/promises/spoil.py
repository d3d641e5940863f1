"""Spoils JSON values, bytes and words at random."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

_ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1.5, -0.0, 10**6, 2**31, 2**53, 2**64, -(2**70), 1e308, 1e-320, 10**400),
    *(
        float("nan"),
        float("inf"),
        -float("inf"),
        "",
        "x",
        "0",
        "none",
        "a" * 1000,
        "\0",
        "a\nb",
        "\ud800",
        "../x",
        "\u0661",
    ),
    *([], {}, [[]], [None], {"": None}, ["x"] * 50, {"a": {"b": {"c": []}}}),
)


def spoilt_json(right: Any, dice: random.Random) -> str:
    """The text of a JSON value in which one to three parts are replaced, removed, added, or moved."""
    value = copy.deepcopy(right)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        value = _changed(value, dice)
    text = json.dumps(value)
    if dice.random() < 0.1:
        return spoilt_bytes(text.encode(), dice).decode(errors="surrogateescape")
    return text


def _changed(value: Any, dice: random.Random) -> Any:
    places: list[tuple[Any, Any]] = []
    _walk(value, places)
    if not places or dice.random() < 0.02:
        return dice.choice(_ODD)
    holder, key = dice.choice(places)
    what = dice.random()
    if what < 0.6:
        holder[key] = copy.deepcopy(dice.choice(_ODD))
    elif what < 0.75:
        del holder[key]
    elif what < 0.85:
        other, place = dice.choice(places)
        if place in other if isinstance(other, dict) else place < len(other):
            holder[key] = copy.deepcopy(other[place])
    elif isinstance(holder, dict):
        holder[dice.choice(("unknown", "", "__class__", "self", str(key).upper()))] = copy.deepcopy(dice.choice(_ODD))
    else:
        holder.insert(key, copy.deepcopy(dice.choice(_ODD)))
    return value


def _walk(value: Any, places: list[tuple[Any, Any]]) -> None:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        places.append((value, key))
        _walk(inner, places)


def spoilt_bytes(right: bytes, dice: random.Random) -> bytes:
    """Flip, remove, repeat, insert or cut off a few of the bytes."""
    data = bytearray(right)
    for _ in range(dice.choice((1, 1, 2, 5, 20))):
        place, size = dice.randrange(len(data) + 1), dice.choice((1, 1, 1, 2, 8, 64))
        what = dice.randrange(7)
        if what == 0 and place < len(data):
            data[place] ^= 1 << dice.randrange(8)
        elif what == 1:
            del data[place : place + size]
        elif what == 2:
            data[place:place] = data[place : place + size] * dice.choice((1, 2, 50))
        elif what == 3:
            data[place:place] = dice.randbytes(size)
        elif what == 4:
            data[place:place] = dice.choice(
                (b'"', b"\0", b"\n", b"\r", b",", b"{", b"[", b"\\", b"\xff", b"\xef\xbb\xbf")
            )
        elif what == 5:
            data[place:place] = dice.choice(
                (b"null", b"NaN", b"1e999", b"true", b"[" * 2000, b'{"a":' * 500, b"\\u0000")
            )
        elif dice.random() < 0.2:
            del data[place:]
    return bytes(data)


def words(dice: random.Random, letters: str) -> str:
    """A short text of these letters; now and then a long one."""
    size = dice.choice((0, 1, 2, 3, 4, 6, 10)) if dice.random() < 0.97 else 5000
    return "".join(dice.choice(letters) for _ in range(size))
