"""A space as YAML: it extends another one, and says what differs.

    extends: bert_imdb
    parameters:
      learning_rate: {low: 1e-6, high: 1e-4, log: true}     # the arguments of Optuna's distributions
      batch_size: {choices: [16, 32]}
      weight_decay: 0.01                                    # fixed
    metric: macro_f1
    data: {source: reviews.csv, text: body, label: stars}
    budget: {trials: 20}

`model`, `models`, `data` and `budget` hold for both profiles, below `full` or `small` for one.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.search.plan import settings
from frostline.search.plan.options import metric_file
from frostline.spaces import ALL, OWN_DATA, Depth, Profile, Space
from frostline.spaces._typed import typed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_OF_PROFILE = ("model", "models", "data", "budget")
_KEYS = ("extends", "summary", "metric", "parameters", "recipes", *_OF_PROFILE, "full", "small")
_TERMS = ("low", "high", "step", "log", "choices")
_PLACES = ("source", "validation_source", "test_source")


def read(text: str, path: Path, find: Callable[[str], Space]) -> Space:
    """The space of a YAML file. It has the file's name.

    Args:
        text: of the file.
        path: the file. Models and data that it names may lie beside it.
        find: gives the space that it extends, by name.

    Raises:
        ValueError: one line, which begins with the path.
    """
    import yaml

    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}, line {mark.line + 1}" if mark else path
        raise ValueError(f"{place}: {getattr(error, 'problem', None) or error}") from error
    try:
        return _space(_mapping(given, "the file"), path, find)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _space(given: Mapping[str, Any], path: Path, find: Callable[[str], Space]) -> Space:
    _check_keys(given, _KEYS, "the file")
    if not isinstance(given.get("extends"), str):
        raise ValueError("extends is missing: it names the space whose values hold where this file gives none")
    base = find(_place(given["extends"], path.parent))
    parameters = {
        name: _values(name, values, base) for name, values in _mapping(given.get("parameters"), "parameters").items()
    }
    profiles = {}
    for name in ("full", "small"):
        own = _mapping(given.get(name), name)
        _check_keys(own, _OF_PROFILE, name)
        profiles[name] = _profile(base.profile(name), [given, own], path.parent)
    texts = {name: _text(given[name], name) for name in ("summary", "metric") if name in given}
    if named := metric_file(texts.get("metric", "")):
        texts["metric"] = f"{_place(str(named[0]), path.parent)}:{named[1]}"
    changes: dict[str, Any] = {
        "name": path.stem,
        **texts,
        **profiles,
        "parameters": {**base.parameters, **parameters},
        "recipes": _recipes(base, parameters, _mapping(given.get("recipes"), "recipes")),
    }
    return dataclasses.replace(base, **changes)


def _values(name: str, given: Any, base: Space) -> BaseDistribution | Depth:
    """The distribution of a parameter: Optuna's arguments, a list of choices, or one value.

    Raises:
        ValueError: names the parameter.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    settings.check_name(name, base)
    try:
        if not isinstance(given, Mapping):
            given = {"choices": given if isinstance(given, list) else [given]}
        _check_keys(given, _TERMS, "it")
        kind = settings.kind_of(name)
        if "choices" in given:
            if len(given) > 1 or not isinstance(given["choices"], list) or not given["choices"]:
                raise ValueError("choices is a list, and stands alone")
            values: BaseDistribution | Depth = CategoricalDistribution(
                tuple(_value(name, one) for one in given["choices"])
            )
        elif not {"low", "high"} <= given.keys():
            raise ValueError("it has low and high, or choices")
        elif name == "frozen_layers":
            low, high = (_value(name, given[end]) for end in ("low", "high"))
            values = Depth(low=low, high=None if high == ALL else high)
        elif kind is str:
            raise ValueError("it has choices")
        else:
            ends = {end: _value(name, given[end]) for end in ("low", "high", "step") if given.get(end) is not None}
            log = given.get("log", False)
            if not isinstance(log, bool):
                raise ValueError(f"log is true or false, got {log!r}")
            values = (IntDistribution if kind is int else FloatDistribution)(**ends, log=log)
        settings.check(name, values)
    except ValueError as error:
        raise ValueError(f"parameters.{name}: {error}") from error
    return values


def _value(name: str, given: Any) -> Any:
    """One value. YAML reads `1e-6` as a text, so a text may be a number."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise ValueError(f"a value is a number or a text, got {given!r}")
    return settings.value_of(name, repr(given) if not isinstance(given, str) else given)


def _recipes(
    base: Space, parameters: Mapping[str, BaseDistribution | Depth], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The recipes tried first: those of the base, with the nearest values that are left, and those of the file.

    A recipe of the file has the values of the base's recipe of that name, or of its first one, where it gives none.
    """
    recipes = {
        label: {**recipe, **{name: settings.kept(recipe, name, values) for name, values in parameters.items()}}
        for label, recipe in base.recipes.items()
    }
    first = next(iter(recipes.values()), {})
    for label, values in given.items():
        if values is None:  # a recipe of the base that is not wanted
            recipes.pop(label, None)
            continue
        own = _mapping(values, f"recipes.{label}")
        try:
            for name in own:
                settings.check_name(name, base)
            recipes[label] = {**recipes.get(label, first), **{name: _value(name, one) for name, one in own.items()}}
        except ValueError as error:
            raise ValueError(f"recipes.{label}: {error}") from error
    return recipes


def _profile(profile: Profile, given: list[Mapping[str, Any]], folder: Path) -> Profile:
    """A profile after the file has replaced parts of it."""
    for one in given:
        fields: dict[str, Any] = {}
        for name, kind in (("data", profile.data), ("budget", profile.budget)):
            if name in one:
                changes = dict(_mapping(one[name], name))
                for place in {*_PLACES} & changes.keys():
                    changes[place] = _place(changes[place], folder)
                if "source" in changes:  # the base's slices and length belong to its own data
                    changes = {**OWN_DATA, **changes}
                try:
                    fields[name] = typed(type(kind), {**dataclasses.asdict(kind), **changes})
                except ValueError as error:
                    raise ValueError(f"{name}: {error}") from error
        if "model" in one:
            fields["model"] = _place(_text(one["model"], "model"), folder)
            fields["models"] = (fields["model"],) if profile.models else ()
        if "models" in one:
            models = one["models"] if isinstance(one["models"], list) else []
            fields["models"] = tuple(_place(_text(name, "a model"), folder) for name in models)
            fields.setdefault("model", next(iter(fields["models"]), profile.model))
        profile = dataclasses.replace(profile, **fields)
    return profile


def _place(name: Any, folder: Path) -> Any:
    """The path of what lies beside the file; any other name unchanged."""
    return str((folder / name).resolve()) if isinstance(name, str) and (folder / name).exists() else name


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{what} has names with values, got {given!r}")
    return given


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{what} is a text, got {given!r}")
    return given


def _check_keys(given: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"{what} has no {name!r}: {hint}there are {', '.join(known)}")
