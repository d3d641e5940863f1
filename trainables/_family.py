"""The contract of a family: everything that the search, the loop and the export use of a kind of task."""

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from frostline.spaces import OWN_POOLING, Data, Metric, Recipe
from frostline.spaces._catalog import names_in
from frostline.trainables import _freezing, _metrics
from frostline.trainables._baseline import TrainedBaseline
from frostline.trainables._freezing import Block
from frostline.trainables._imports import quick_imports
from frostline.trainables._modules import check_finite, is_batch_norm
from frostline.trainables.data import model_files, tables
from frostline.trainables.data.corpus import SPLITS, Array, Corpus
from frostline.trainables.data.rows import Rows

Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelInfo:
    """Facts of a pretrained model that the plan uses."""

    blocks: int
    """Units that can be frozen; the head is not one."""
    parameters: int
    """Parameters, with the new head."""
    trainable_at: tuple[int, ...]
    """Parameters that train with 0, 1, ... `blocks` blocks frozen."""
    max_length: int | None
    """Longest input that it takes, in tokens; None if there is no limit."""
    batch_norm: bool = False
    """True if it has batch norm, so that in training the output for an example depends on the rest of its batch."""
    remarks: tuple[str, ...] = ()
    """What a user should know of it, a sentence each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """An answer that needs no training, scored in every metric of the family."""

    name: str
    scores: dict[str, dict[str, float]]
    """Split (`validation`, `test`) -> metric -> value."""


class Examples(ABC):
    """One split, ready to train on, memory-mapped from the cache."""

    labels: Array
    """int64, shape [examples]."""
    lengths: Array
    """Cost of each example (its tokens), int, shape [examples]; batches of equal lengths waste no padding."""
    are_vectors: bool = False
    """Whether each example is one vector. A CPU then takes a whole batch at once."""

    @property
    def longest(self) -> int:
        """Tokens of the longest example in a batch; 1 if an example is a single vector or a picture."""
        return int(self.lengths.max())

    @abstractmethod
    def batch(self, indices: Array) -> Batch:
        """Inputs and `labels` of these examples as CPU tensors, first dimension len(indices)."""


class First(Examples):
    """The first `count` examples of a split. They have its class shares, since slices are in a stratified order."""

    def __init__(self, examples: Examples, count: int) -> None:
        self.labels, self.lengths = examples.labels[:count], examples.lengths[:count]
        self.partial = len(self.labels) < len(examples.labels)
        self._examples = examples

    @property
    def longest(self) -> int:
        return self._examples.longest

    def batch(self, indices: Array) -> Batch:
        return self._examples.batch(indices)


class Family(ABC):
    """A kind of task. A file in `trainables/` holds one, as `FAMILY`."""

    code: tuple[Callable[..., Any], ...] = ()
    """Functions outside of the class that decide the outputs of blocks. Editing one retires its old prefix cache."""

    metrics: tuple[Metric, ...] = _metrics.METRICS
    """The metrics that `score` knows. The first one is the default of a space."""

    in_every_report: tuple[str, ...] = _metrics.IN_EVERY_REPORT
    """Names of those that every report has, beside the one that decides."""

    knobs: frozenset[str] = frozenset()
    """Fields of a recipe that only some families have (`spaces.FAMILY_KNOBS`): those that this one has."""

    own_metrics: Mapping[str, _metrics.Scorer] = MappingProxyType({})
    """A user's own metrics, by name."""

    baseline_name: str = ""
    """Name of the simple model that `trained_baseline` gives; empty if there is none."""

    library_name = "transformers"
    """The hub's name of the library that loads an export."""

    def model_folder(self, source: str) -> Path:
        """The folder of a pretrained model. A model is downloaded once.

        Raises:
            ValueError: no such model.
        """
        return model_files.model_folder(source)

    def read_rows(self, data: Data) -> dict[str, Rows]:
        """All labelled rows of `data.source` by split: `train`, and `validation` and `test` if it has them.

        Raises:
            ValueError: no such source, or one that cannot be read.
        """
        return tables.read_rows(data)

    def inputs(self, folder: Path, data: Data) -> str:
        """The input that the model in `folder` takes, in words.

        Raises:
            ValueError: it does not take such inputs.
        """
        return f"at most {data.max_length} tokens"

    def describe(self, folder: Path) -> ModelInfo:
        """Facts of the model in `folder`, found by loading it.

        Raises:
            ValueError: the family cannot train this model.
        """
        model = self.build(folder, 2)
        check_finite(folder, model)
        remarks = self.try_out(folder, model)
        blocks, trainable = self.blocks(model), []
        for depth in range(len(blocks) + 1):
            _freezing.freeze(model, blocks, depth)
            trainable.append(_freezing.count_trainable(model))
        return ModelInfo(
            blocks=len(blocks),
            parameters=trainable[0],
            trainable_at=tuple(trainable),
            max_length=self.max_length(folder, model),
            batch_norm=any(map(is_batch_norm, model.modules())),
            remarks=remarks,
        )

    def try_out(self, folder: Path, model: nn.Module) -> tuple[str, ...]:
        """Check a newly built model in ways that take too long for every trial: some build and do not run.

        Returns:
            What a user should know of it, a sentence each.

        Raises:
            ValueError: it is not usable.
        """
        return ()

    def max_length(self, folder: Path, model: nn.Module) -> int | None:
        """Longest input that the model in `folder` takes, in tokens; None if there is no limit."""
        return None

    def lengths(self, folder: Path, inputs: Sequence[Any]) -> Array | None:
        """Tokens of each input before it is cut, int [inputs]; None if inputs are never cut."""
        return None

    def remarks(self, folder: Path, data: Data, corpus: Corpus) -> list[str]:
        """Sentences for the user about how these inputs are stored and read."""
        return []

    @abstractmethod
    def prepare(self, folder: Path, data: Data, corpus: Corpus) -> Path:
        """The cache entry with all three splits; made if there is none."""

    @abstractmethod
    def open(self, entry: Path, split: str) -> Examples:
        """One split of a prepared entry."""

    @abstractmethod
    def build(self, folder: Path, classes: int) -> nn.Module:
        """The pretrained model with a new head for `classes` classes, in float32 on the CPU.

        Raises:
            ValueError: weights other than the head's are missing from `folder`.
        """

    @abstractmethod
    def reset_head(self, model: nn.Module) -> None:
        """Draw the new part of the head again, from torch's global random state."""

    @abstractmethod
    def blocks(self, model: nn.Module) -> list[Block]:
        """The model's blocks from the input on, without the head.

        Raises:
            ValueError: the blocks of this model cannot be told.
        """

    def configure(self, model: nn.Module, recipe: Recipe) -> None:
        """Set up the model itself after the recipe, before it is trained or evaluated.

        Raises:
            ValueError: the recipe asks for something that this family does not have.
        """
        if recipe.dropout is not None:
            raise ValueError(f"dropout cannot be set for {recipe.family}")

    def poolings(self, model: nn.Module) -> tuple[str, ...]:
        """The recipe's `pooling` values that a newly built model can have. Each is tried, not assumed."""
        return (OWN_POOLING,)

    def set_pooling(self, model: nn.Module, pooling: str) -> None:
        """Let the head read what `pooling` says; one that is not the model's own is new, and `reset_head` draws it.

        Raises:
            ValueError: this family has no such pooling.
        """
        if pooling != OWN_POOLING:
            raise ValueError(f"this family has no pooling {pooling!r}, only {OWN_POOLING!r}")

    def pooled(self, hidden: Tensor, batch: Batch, pooling: str) -> Tensor | None:
        """All that the head reads of `hidden`, the last block's outputs for a batch: one vector an example, [examples,
        width]; None if it reads more. Where no block trains the prefix cache stores it, and `logits` finds it in its
        batch as `pooled`.
        """
        return None

    def augmented(self, examples: Examples, recipe: Recipe) -> Examples:
        """The training examples with the recipe's augmentation, which draws from torch's global generator at each read.

        Raises:
            ValueError: an augmentation that this family does not have.
        """
        if recipe.augmentation != "none":
            raise ValueError(f"{recipe.family} has no augmentation {recipe.augmentation!r}")
        return examples

    @abstractmethod
    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Class scores, shape [examples, classes]."""

    def mask(self, batch: Batch) -> Tensor | None:
        """True at positions that are not padding, bool [examples, length]; None if inputs are never padded."""
        return None

    def first_token(self, batch: Batch) -> Batch | None:
        """The batch cut to the first position of each input; None if inputs have no positions."""
        return None

    @abstractmethod
    def export(self, model: nn.Module, folder: Path, data: Data, classes: tuple[str, ...], out: Path) -> None:
        """Write the files that the field's own loader reads: weights, configuration and preprocessing."""

    def complete_export(self, entry: Path, out: Path) -> None:  # noqa: B027 - nothing to add by default
        """Add to the export in `out` what the prepared data in `entry` decide of the preprocessing."""

    @abstractmethod
    def usage(self, recipe: Recipe) -> str:
        """Python that loads an export from `MODEL_FOLDER` and predicts an example; `recipe` trained it."""

    @abstractmethod
    def load_export(self, folder: Path) -> Callable[..., Any]:
        """The model of an export, ready to be called with an example; `load_line` loads the same.

        Raises:
            ValueError: the folder holds no export.
        """

    @abstractmethod
    def load_line(self, recipe: Recipe) -> str:
        """One line of Python that loads an export from `MODEL_FOLDER`."""

    def loss(self, logits: Tensor, labels: Tensor, smoothing: float = 0.0, weights: Tensor | None = None) -> Tensor:
        """Sum (not mean) of the loss over the batch, so that micro-batches add up.

        Args:
            logits: float, shape [examples, classes].
            labels: int64, shape [examples].
            smoothing: label smoothing, 0 to 1.
            weights: of the classes, shape [classes]; None weighs all alike.
        """
        return nn.functional.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=smoothing)

    def metric(self, name: str) -> Metric:
        """The metric called `name`, here or in scikit-learn.

        Raises:
            ValueError: the family reports no such metric.
        """
        return _metrics.named(name, self.metrics, type(self).__module__.rpartition(".")[2])

    def with_metric(self, metric: Metric, text: str, origin: str = "metric.py") -> "Family":
        """This family with one more metric, a function of a user's file.

        Args:
            metric: the metric; its name is that of the function.
            text: of the file.
            origin: the file, for messages.

        Raises:
            ValueError: the file does not run, or the family has a metric of this name.
        """
        if any(known.name == metric.name for known in self.metrics):
            raise ValueError(f"{origin}:{metric.name} has the name of a metric that is there already; rename it")
        family = copy.copy(self)
        family.metrics = (*self.metrics, metric)
        family.own_metrics = {**self.own_metrics, metric.name: _metrics.scorer(text, metric.name, origin)}
        return family

    def baselines(self, corpus: Corpus) -> tuple[Baseline, ...]:
        """Answers that need no training, scored on the validation and the test slice.

        The majority class answers every example with the most frequent class of that slice. A constant hard answer
        has an infinite loss, so its loss is that of the slice's class shares given as probabilities.
        """
        labels = {split: torch.from_numpy(corpus.labels[split]) for split in SPLITS[1:]}
        scores = {split: self.score(_metrics.shares(own, len(corpus.classes)), own) for split, own in labels.items()}
        return (Baseline(name="majority class", scores=scores),)

    def trained_baseline(self, folder: Path, data: Data, corpus: Corpus) -> TrainedBaseline | None:
        """A simple model on the same training slice, which a user would hold against the winner; None if there is none.

        It is fitted beside the start of the search, in a process of its own, for `_baseline.SECONDS` at most.
        """
        return None

    def score(self, logits: Tensor, labels: Tensor, names: Collection[str] = ()) -> dict[str, float]:
        """Value of each metric on a whole split; NaN where it is undefined.

        Args:
            logits: float32, shape [examples, classes].
            labels: int64, shape [examples].
            names: the metrics; empty for all that a task with this number of classes has.
        """
        wanted = [metric.name for metric in self.metrics if metric.name in (names or self.names(logits.shape[1]))]
        values = _metrics.basics(logits, labels)
        values["loss"] = self.loss(logits.double(), labels).item() / len(labels)
        if more := [name for name in wanted if name not in values]:
            answers = _metrics.Answers.of(logits, labels)
            for name in more:
                values[name] = (
                    self.own_metrics[name](answers) if name in self.own_metrics else _metrics.scored(name, answers)
                )
        return {name: values[name] for name in wanted}

    def names(self, classes: int) -> list[str]:
        """Names of the metrics that a task with this number of classes has."""
        return [m.name for m in self.metrics if classes == 2 or m.name not in _metrics.OF_TWO_CLASSES]


def load(name: str) -> Family:
    """The family in `trainables/<name>.py`.

    Raises:
        ValueError: no such file, or it defines no `FAMILY`.
    """
    if name not in names():
        raise ValueError(f"unknown family {name!r}; families are {', '.join(names())}")
    with quick_imports():
        family = getattr(importlib.import_module(f"frostline.trainables.{name}"), "FAMILY", None)
    if not isinstance(family, Family):
        raise ValueError(f"trainables/{name}.py defines no FAMILY")
    return family


def names() -> list[str]:
    """Names of all families: the files of this folder whose names do not start with `_`."""
    return names_in(Path(__file__).parent)
