"""`--set NAME=VALUES`: other values for a parameter of a space, or for one that it does not search. No torch, no Ray.

`LOW..HIGH` is a range, on a logarithmic scale if the space has one; `A,B` are choices; one value is fixed.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from frostline.search.plan.options import OPTION_NAMES, typed_as
from frostline.spaces import ALL, NOT_SEARCHED, Budget, Data, Depth, Recipe, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_SEARCHABLE = {field.name: field for field in dataclasses.fields(Recipe) if field.name not in NOT_SEARCHED}
"""Fields of a recipe that can be parameters, by name."""

_ANY = Recipe(
    family="any",
    model="any",
    data=Data(source="any"),
    budget=Budget(trials=1, epochs=1, first_rung=1.0),
    learning_rate=1e-3,
    batch_size=1,
    frozen_layers=0,
    weight_decay=0.0,
)
"""A recipe whose other fields are tried out, to find values that none can have."""


def applied(space: Space, settings: Iterable[str]) -> tuple[Space, list[str]]:
    """The space with other values, and a sentence for each of its recipes that takes another value therefore.

    A recipe keeps a value that is left. Else it takes the nearest one.

    Args:
        space: the space.
        settings: `NAME=VALUES` each.

    Raises:
        ValueError: as one line: no such parameter (the nearest name is suggested), or values that it cannot have.
    """
    sentences: list[str] = []
    for setting in settings:
        name, values = parsed(setting, space)
        recipes, moved = {}, list[str]()
        for label, recipe in space.recipes.items():
            recipes[label] = {**recipe, name: kept(recipe, name, values)}
            if name in recipe and recipes[label][name] != recipe[name]:
                moved.append(f"{label!r} takes {name} {recipes[label][name]}")
        if moved:
            sentences.append(f"--set {setting}: {', '.join(moved)}")
        space = dataclasses.replace(space, parameters={**space.parameters, name: values}, recipes=recipes)
    return space, sentences


def parsed(setting: str, space: Space) -> tuple[str, BaseDistribution | Depth]:
    """The parameter of a setting and its values.

    Raises:
        ValueError: as `applied`.
    """
    name, equals, text = (part.strip() for part in setting.partition("="))
    if not equals or not text:
        raise ValueError(f"--set is NAME=LOW..HIGH, NAME=A,B or NAME=VALUE, got {setting!r}")
    try:
        check_name(name, space)
        values = _values(name, text, space.parameters.get(name))
        check(name, values)
    except ValueError as error:
        raise ValueError(f"--set {setting}: {error}") from None
    return name, values


def check_name(name: str, space: Space) -> None:
    """Refuse a name that is no parameter; the nearest one is suggested.

    Raises:
        ValueError: it is none, or the other one of the two ways to search the depth.
    """
    other_depth = "frozen_layers" if "frozen_fraction" in space.parameters else "frozen_fraction"
    names = [known for known in _SEARCHABLE if known != other_depth]
    if name in names:
        return
    if name == other_depth:
        searched = "frozen_fraction" if name == "frozen_layers" else "frozen_layers"
        raise ValueError(f"{name}: the frozen depth of {space.name} is searched as {searched}")
    option = name.replace("-", "_")
    near = difflib.get_close_matches(option, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    if option in OPTION_NAMES:
        hint = f"it is an option of its own, {typed_as(option)}; "
    raise ValueError(f"there is no parameter {name!r}: {hint}parameters are {', '.join(names)}")


def _values(name: str, text: str, before: BaseDistribution | Depth | None) -> BaseDistribution | Depth:
    """The distribution that a text means.

    Raises:
        ValueError: it means none.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kind = kind_of(name)
    low, dots, high = (part.strip() for part in text.partition(".."))
    if not dots:
        choices = tuple(value_of(name, part.strip()) for part in text.split(","))
        if len({*choices}) < len(choices):
            raise ValueError("a value is given twice")
        return CategoricalDistribution(choices)
    if kind is str:
        raise ValueError(f"{name} is one of some names, such as {name}=A,B, and has no range")
    ends = value_of(name, low), value_of(name, high)
    if name == "frozen_layers":
        if ends[0] == ALL:
            raise ValueError(f"a range ends at {ALL!r}; {name}={ALL} freezes all blocks")
        return Depth(low=ends[0], high=None if ends[1] == ALL else ends[1])
    if ends[0] > ends[1]:
        raise ValueError(f"a range is LOW..HIGH, and {low} is more than {high}")
    log = bool(getattr(before, "log", False))
    if log and ends[0] <= 0:
        raise ValueError(f"{name} has a logarithmic scale, so the range begins above 0")
    return IntDistribution(*ends, log=log) if kind is int else FloatDistribution(*ends, log=log)


def kind_of(name: str) -> type:
    """`int`, `float` or `str`: what a field of a recipe holds beside None."""
    hint = typing.get_type_hints(Recipe)[name]
    kinds: list[type] = [one for one in typing.get_args(hint) or (hint,) if one is not type(None)]
    return kinds[0]


def value_of(name: str, text: str) -> Any:
    """A parameter's value as it is written.

    Raises:
        ValueError: it is no number where one is wanted.
    """
    kind = kind_of(name)
    if kind is str or (name == "frozen_layers" and text == ALL):
        return text
    try:
        return kind(text)
    except ValueError:
        word = f"a whole number or {ALL!r}" if name == "frozen_layers" else "a whole number" if kind is int else ""
        raise ValueError(f"{name} is {word or 'a number'}, got {text!r}") from None


def check(name: str, values: BaseDistribution | Depth) -> None:
    """Refuse values that no recipe can have.

    Raises:
        ValueError: names the field and the value.
    """
    for value in _extremes(values):
        if value != ALL or name != "frozen_layers":
            _ANY.with_params({name: value})


def _extremes(values: BaseDistribution | Depth) -> Sequence[Any]:
    choices = getattr(values, "choices", None)
    if choices is not None:
        return list(choices)
    return [end for end in (values.low, values.high) if end is not None]  # type: ignore[union-attr]


def kept(recipe: Mapping[str, Any], name: str, values: BaseDistribution | Depth) -> Any:
    """A recipe's value of a parameter, or a recipe's usual one, if it is among these values; else the nearest one."""
    return nearest(recipe.get(name, _SEARCHABLE[name].default), values)


def nearest(value: Any, values: BaseDistribution | Depth) -> Any:
    """The value if it is among these values, else the nearest one of them."""
    choices = getattr(values, "choices", None)
    if choices is not None:
        if value in choices:
            return value
        numbers = [choice for choice in choices if _is_number(choice)]
        if value == ALL and numbers:
            return max(numbers)
        if not _is_number(value) or not numbers:
            return choices[0]
        return min(numbers, key=lambda choice: _distance(choice, value))
    low, high = values.low, values.high  # type: ignore[union-attr]
    if value == ALL:
        return ALL if high is None else high
    if not _is_number(value):
        return low
    return max(low, value if high is None else min(high, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _distance(one: float, other: float) -> float:
    """How far two values lie apart: by their ratio where there is one."""
    return abs(math.log(one / other)) if one > 0 and other > 0 else abs(one - other)


def written(given: Any) -> tuple[str, ...]:
    """Settings as they are typed. In Python they may be a dict: name -> a text, a number, or a list of choices.

    Raises:
        ValueError: they are neither.
    """
    if isinstance(given, Mapping):
        return tuple(
            f"{name}={','.join(map(str, values)) if isinstance(values, list | tuple) else values}"
            for name, values in given.items()
        )
    settings = (given,) if isinstance(given, str) else given
    if not isinstance(settings, list | tuple) or not all(isinstance(one, str) for one in settings):
        raise ValueError(f"--set is NAME=VALUES, a list of them, or a dict, got {given!r}")
    return tuple(settings)
