"""JSON values as typed dataclasses: each field is checked against its type hint before the object is made.

The files of a recipe and of a run directory may come from anywhere. A wrong one is a `ValueError` of one line.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    dict: "a JSON object",
}
_INTEGERS = 2**63
"""Bound of a whole number, as torch, numpy and Parquet hold it."""


def typed(kind: type[_T], fields: Any, *, more: bool = False, names: Mapping[str, Any] | None = None) -> _T:
    """The dataclass with these fields.

    Args:
        kind: a dataclass.
        fields: a JSON object. A field that it lacks has its default.
        more: whether fields that the dataclass does not have are left out; otherwise they are refused.
        names: types that only a type checker sees in the file of the dataclass, by name.

    Raises:
        ValueError: a field is missing, unknown, of another type, or refused by the dataclass itself.
    """
    made: _T = _object(kind, fields, "", more, tuple((names or {}).items()))
    return made


def check(kind: type, name: str, value: Any) -> None:
    """Check one field of a dataclass.

    Raises:
        ValueError: the dataclass has no such field, or the value is of another type.
    """
    hints = _hints(kind, ())
    if name not in hints:
        raise ValueError(f"there is no field {_short(name)}")
    _value(hints[name], value, name, ())


@functools.cache
def _hints(kind: type, names: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, localns=dict(names))
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _object(kind: Any, fields: Any, path: str, more: bool, names: tuple[tuple[str, Any], ...]) -> Any:
    inside = f" in {path}" if path else ""
    if not isinstance(fields, Mapping):
        raise ValueError(f"{path or 'it'} is a JSON object, got {_short(fields)}")
    hints = _hints(kind, names)
    for field in dataclasses.fields(kind):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and field.name not in fields:
            raise ValueError(f"the field {field.name!r}{inside} is missing")
    if not more and (unknown := [name for name in fields if name not in hints]):
        raise ValueError(f"there is no field {_short(unknown[0])}{inside}")
    prefix = f"{path}." if path else ""
    known = [name for name in hints if name in fields]
    return kind(**{name: _value(hints[name], fields[name], prefix + name, names) for name in known})


def _value(kind: Any, value: Any, path: str, names: tuple[tuple[str, Any], ...]) -> Any:
    """The value as the type hint wants it: an object becomes a dataclass, a list becomes a tuple.

    Raises:
        ValueError: it is of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in arguments:
            return None
        kinds = [one for one in arguments if one is not types.NoneType]
        if len(kinds) == 1:
            return _value(kinds[0], value, path, names)
        if not any(_is(one, value) for one in kinds):
            raise ValueError(f"{path} is {' or '.join(map(_word, kinds))}, got {_short(value)}")
        return value
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(arguments[0], one, f"{path}[{place}]", names) for place, one in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        for name in value:
            _value(str, name, f"a name in {path}", names)
        return {name: _value(arguments[1], one, f"{path}.{name}", names) for name, one in value.items()}
    if origin is typing.Literal:
        if isinstance(value, str) and value in arguments:
            return value
        raise ValueError(f"{path} is one of {', '.join(map(repr, arguments))}, got {_short(value)}")
    if dataclasses.is_dataclass(kind) and not isinstance(value, kind):  # type: ignore[arg-type]
        return _object(kind, value, path, False, names)
    if not _is(kind, value):
        raise ValueError(f"{path} is {_word(origin or kind)}, got {_short(value)}")
    return value


def _is(kind: Any, value: Any) -> bool:
    """Whether a plain value is of a type. A whole number is a number, and true and false are neither."""
    if kind is Any:
        return True
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _INTEGERS
    if kind is float:
        return (isinstance(value, float) and math.isfinite(value)) or _is(int, value)
    if kind is str:
        return isinstance(value, str) and "\0" not in value and not any("\ud800" <= one <= "\udfff" for one in value)
    return isinstance(value, typing.get_origin(kind) or kind)


def _word(kind: Any) -> str:
    return str(_WORDS.get(kind) or getattr(kind, "__name__", kind))


def _short(value: Any) -> str:
    """A value in a message of one line."""
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**60 else "a number of many digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def printable(text: object) -> str:
    """A text as one line: characters that no terminal prints are escaped."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in str(text))
