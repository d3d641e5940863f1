"""What the plan knows of each model that can be tried: its size, its weights, what is kept of its frozen blocks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.search.plan import prefix as prefix_plan
from frostline.search.plan.options import Options
from frostline.spaces import Budget, Data

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from frostline.trainables._family import Family, ModelInfo
    from frostline.trainables.data.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelPlan:
    """One model that can be tried."""

    blocks: int
    """Blocks that can be frozen."""
    parameters: int
    """Parameters, head included."""
    weights: str
    """SHA-256 of the pretrained files."""
    inputs: str
    """What it takes of an example, in words."""
    cache_dtype: str
    """How the prefix cache stores what its frozen blocks put out."""
    prefix: prefix_plan.Decision
    """What is kept of that."""

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ModelPlan:
        """Inverse of `dataclasses.asdict`, also after JSON.

        Raises:
            KeyError, TypeError, ValueError: fields of another version.
        """
        was = fields["prefix"]
        kept = prefix_plan.Decision(**{**was, **{name: tuple(map(int, was[name])) for name in ("kept", "first_only")}})
        return cls(**{**fields, "prefix": kept})


def planned(
    options: Options,
    family: Family,
    folders: Mapping[str, Path],
    infos: Mapping[str, ModelInfo],
    data: Data,
    corpus: Corpus,
    budget: Budget,
    distributions: Mapping[str, BaseDistribution],
    recipes: Mapping[str, Mapping[str, Any]],
    device: str,
    limit: float,
) -> dict[str, ModelPlan]:
    """All models of a new search, by name.

    Raises:
        ValueError: a model that does not take such inputs.
    """
    found, sizes = {}, corpus.sizes()
    for name, folder in folders.items():
        work = prefix_plan.expected_work(
            budget, sizes["train"], sizes["validation"], distributions, recipes, name, infos[name].blocks
        )
        # They share the room: each is as likely as any other to be the one that a trial takes.
        room = limit / len(folders)
        inputs = family.inputs(folder, data)  # before a look at the model with inputs that it may not take
        kept, dtype = prefix_plan.planned(options, family, folder, data, corpus, device, work, room)
        found[name] = _now(folder, infos[name], inputs, kept, dtype)
    return found


def again(
    family: Family,
    folders: Mapping[str, Path],
    infos: Mapping[str, ModelInfo],
    data: Data,
    began: Mapping[str, ModelPlan],
) -> dict[str, ModelPlan]:
    """All models of a search that goes on, as they are now, started from where its trials did when it began."""
    return {
        name: _now(folder, infos[name], family.inputs(folder, data), began[name].prefix, began[name].cache_dtype)
        for name, folder in folders.items()
    }


def _now(folder: Path, info: ModelInfo, inputs: str, kept: prefix_plan.Decision, dtype: str) -> ModelPlan:
    from frostline.trainables.data import sources

    return ModelPlan(
        blocks=info.blocks,
        parameters=info.parameters,
        weights=sources.digest(folder),
        inputs=inputs,
        cache_dtype=dtype,
        prefix=kept,
    )


def to_json(models: Mapping[str, ModelPlan]) -> dict[str, Any]:
    """By name, as plain values."""
    return {name: dataclasses.asdict(model) for name, model in models.items()}
