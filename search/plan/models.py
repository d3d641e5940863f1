"""What the plan knows of each model that can be tried: its size, its weights, which outputs of its blocks are kept."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frostline.search.plan import prefix as prefix_plan
from frostline.search.plan.parameters import Searched
from frostline.search.plan.prefix import Caching
from frostline.spaces import OWN_POOLING, Budget, Data, Recipe
from frostline.trainables._task import Speed

if TYPE_CHECKING:
    from frostline.trainables._family import Family, ModelInfo
    from frostline.trainables._task import Boundary
    from frostline.trainables.data.corpus import Array, Corpus
    from frostline.trainables.data.rows import Rows

COVERED = 0.95
"""Share of a user's own texts that are read whole."""
_LOOKED_AT = 1000
"""Texts whose lengths are looked at. They come in a random order."""
_STEP = 8
"""Lengths are multiples of this many tokens, as batches are."""

_TIMED = 128
"""Examples from which the batches are taken that a model is timed with."""
_SURVEYED = 32
"""Examples that a model is tried with; their lengths stand for those of all."""


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
    """What the model takes as an input, in words."""
    cache_dtype: str
    """Number format in which the prefix cache keeps the outputs of its frozen blocks."""
    prefix: prefix_plan.Decision
    """Which of these outputs are kept."""
    speed: Speed | None = field(default=None, compare=False)
    """How fast it trains, measured on this machine; None where trials run elsewhere, or it was not measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """The models and the data of a search, as they were read."""

    family: Family
    data: Data
    folders: Mapping[str, Path]
    """Folder of each model, by name."""
    infos: Mapping[str, ModelInfo]
    """Facts of each model, by name."""
    corpus: Corpus
    lengths: Mapping[str, Array]
    """Tokens of the first training texts for each model, by name; of no model whose inputs are never cut."""

    @property
    def largest(self) -> int:
        """Parameters of the largest model."""
        return max(info.parameters for info in self.infos.values())

    @property
    def other_bytes(self) -> int:
        """Bytes of a model's files beside its weights, of the model where they are the most."""
        from frostline.trainables.data.model_files import other_bytes

        return max(other_bytes(folder) for folder in self.folders.values())

    def remarks(self, plans: Mapping[str, ModelPlan], name_models: bool) -> list[str]:
        """What a user should know of the models and how they read the data, a sentence each.

        Args:
            plans: of the models, by name.
            name_models: whether each sentence begins with its model.
        """
        sentences = {
            model: [
                *self.infos[model].remarks,
                plans[model].prefix.note,
                cut(self.lengths[model], self.data) if model in self.lengths else "",
                *self.family.remarks(folder, self.data, self.corpus),
            ]
            for model, folder in self.folders.items()
        }
        return [
            f"{model}: {sentence}" if name_models else sentence
            for model, own in sentences.items()
            for sentence in filter(None, own)
        ]

    def survey(self, model: str, poolings: Sequence[str]) -> tuple[list[Boundary], bool]:
        """Where a model can be cut in two, and whether its outputs fit float16, tried with a few examples.

        Args:
            model: its name.
            poolings: those that its trials may have.

        Raises:
            NotSurveyedError: the try itself fails.
        """
        from frostline.trainables._errors import reason
        from frostline.trainables._task import NotSurveyedError
        from frostline.trainables.prefix import boundary

        folder = self.folders[model]
        entry = self.family.prepare(folder, self.data, self.corpus.head(_SURVEYED))
        network = self.family.build(folder, len(self.corpus.classes))
        examples = self.family.open(entry, "train")
        try:
            return boundary.survey(network, self.family, examples, poolings)
        except Exception as error:  # models of other people fail in their own ways
            raise NotSurveyedError(reason(error)) from error

    def speeds(self, recipe: Recipe, threads: int) -> dict[str, Speed]:
        """How fast each model trains in this process, by name. One whose try fails is left out.

        Args:
            recipe: of a trial.
            threads: CPU threads of a trial.
        """
        found = {name: self._speed(dataclasses.replace(recipe, model=name), threads) for name in self.folders}
        return {name: speed for name, speed in found.items() if speed is not None}

    def _speed(self, recipe: Recipe, threads: int) -> Speed | None:
        import torch

        from frostline.trainables.training import speed

        folder, before = self.folders[recipe.model], torch.get_num_threads()
        entry = self.family.prepare(folder, self.data, self.corpus.head(_TIMED))
        network = self.family.build(folder, len(self.corpus.classes))
        examples = self.family.augmented(self.family.open(entry, "train"), recipe)
        try:
            torch.set_num_threads(threads)
            with torch.random.fork_rng(devices=[]):
                return speed.measured(network, self.family, recipe, examples, torch.device("cpu"))
        except Exception:  # it is an estimate that is lacking, no search
            return None
        finally:
            torch.set_num_threads(before)


def planned(
    sources: Sources, searched: Searched, budget: Budget, caching: Caching, expected: int | None = None
) -> dict[str, ModelPlan]:
    """All models of a new search, by name.

    Args:
        sources: models and data.
        searched: parameters, and recipes tried first.
        budget: of the search.
        caching: what a user and the machine allow.
        expected: trainings that its time budget is expected to hold, if that is known.

    Raises:
        ValueError: a model that does not take such inputs.
    """
    models = {}
    # The models share the room: each is as likely as any other to be the one that a trial takes.
    caching = dataclasses.replace(caching, limit=caching.limit / len(sources.folders))
    for name, folder in sources.folders.items():
        inputs = sources.family.inputs(
            folder, sources.data
        )  # first: the survey below needs inputs that the model takes
        work = prefix_plan.expected_work(
            budget, sources.corpus.sizes(), searched, name, sources.infos[name].blocks, expected
        )
        decision, dtype = prefix_plan.planned(caching, work, partial(sources.survey, name, searched.poolings))
        decision = dataclasses.replace(decision, poolings=searched.poolings)
        models[name] = _model(sources, name, inputs, decision, dtype)
    return models


def check_poolings(family: Family, folders: Mapping[str, Path], searched: Searched) -> None:
    """Refuse a pooling that one of the models cannot have.

    Raises:
        ValueError: names the model and what it can have.
    """
    if searched.poolings == (OWN_POOLING,):
        return
    for name, folder in folders.items():
        possible = family.poolings(family.build(folder, 2))
        for pooling in searched.poolings:
            if pooling not in possible:
                raise ValueError(f"pooling {pooling!r} is none that {name} can have: {', '.join(possible)}")


def again(sources: Sources, began: Mapping[str, ModelPlan]) -> dict[str, ModelPlan]:
    """All models of a search that goes on, as they are now; their trials start at the boundaries chosen before."""
    return {
        name: dataclasses.replace(
            _model(
                sources, name, sources.family.inputs(folder, sources.data), began[name].prefix, began[name].cache_dtype
            ),
            speed=began[name].speed,
        )
        for name, folder in sources.folders.items()
    }


def _model(sources: Sources, name: str, inputs: str, decision: prefix_plan.Decision, dtype: str) -> ModelPlan:
    from frostline.trainables.data.model_files import digest

    return ModelPlan(
        blocks=sources.infos[name].blocks,
        parameters=sources.infos[name].parameters,
        weights=digest(sources.folders[name]),
        inputs=inputs,
        cache_dtype=dtype,
        prefix=decision,
    )


def fetch(family: Family, models: Iterable[str], data: Data) -> tuple[dict[str, Path], dict[str, Rows]]:
    """The folders of the models and the rows of the data. One error names all that is missing without a network.

    Raises:
        ValueError: as `family.model_folder` and `family.read_rows`.
    """
    from frostline.trainables.data.beside import read_all
    from frostline.trainables.data.sources import NotCachedError

    missing: list[str] = []
    folders, rows = dict[str, Path](), dict[str, "Rows"]()
    for model in models:
        try:
            folders[model] = family.model_folder(model)
        except NotCachedError as error:
            missing += error.what
    try:
        rows = read_all(family.read_rows, data)
    except NotCachedError as error:
        missing += error.what
    if missing:
        raise NotCachedError(*missing)
    return folders, rows


def lengths(family: Family, folders: Mapping[str, Path], corpus: Corpus) -> dict[str, Array]:
    """Tokens of the first training texts for each model, by name; of none whose inputs are never cut.

    Args:
        family: of the models.
        folders: of the models, by name.
        corpus: the slices.
    """
    looked_at = corpus.inputs["train"][:_LOOKED_AT]
    counts = {name: family.lengths(folder, looked_at) for name, folder in folders.items()}
    return {name: tokens for name, tokens in counts.items() if tokens is not None}


def covering(data: Data, lengths: Mapping[str, Array]) -> Data:
    """The data with the length that covers `COVERED` of the training texts with each of the models.

    Args:
        data: the data; its length is the longest that the models take.
        lengths: of training texts for each model; empty if inputs are never cut.
    """
    if not lengths:
        return data
    longest = max(float(np.quantile(tokens, COVERED, method="higher")) for tokens in lengths.values())
    return dataclasses.replace(data, max_length=min(data.max_length, math.ceil(longest / _STEP) * _STEP))


def cut(lengths: Array, data: Data) -> str:
    """How many of the texts are read whole; empty if all are.

    Args:
        lengths: of training texts.
        data: says where a text is cut.
    """
    if (whole := (lengths <= data.max_length).mean()) == 1:
        return ""
    end = "first" if data.truncation_side == "right" else "last"
    return (
        f"{whole:.0%} of the texts fit into {data.max_length} tokens; the model reads the {end} {data.max_length} of "
        "longer ones"
    )


def to_json(models: Mapping[str, ModelPlan]) -> dict[str, Any]:
    """The models by name, as plain values."""
    return {name: dataclasses.asdict(model) for name, model in models.items()}
