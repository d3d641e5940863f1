"""A recipe: one point of a space, bound to everything that training needs."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from frostline.spaces import _typed
from frostline.spaces._space import SEEDS, Budget, Data

CACHE_DTYPES = ("float32", "float16")

CLASS_WEIGHTS = ("none", "balanced")
OWN_POOLING = "model"
POOLINGS = (OWN_POOLING, "first", "mean", "both")
"""What the head of a text model may read; the first leaves the model its own head."""

_LATER = ("validation_source", "test_source", "group", "most")
"""Fields of the data that came after version 0.1.0."""

_LATER_KNOBS = {"class_weights": "none", "pooling": OWN_POOLING}
"""Fields of a recipe that came after version 0.1.0, and the value that says what it did."""

_AUGMENTATION = re.compile(r"none|light|randaugment-([0-9]|[12][0-9]|30)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides the outcome of one trial. JSON both ways."""

    family: str
    """File in `trainables/`."""
    model: str
    """Source of the pretrained weights, as in `Profile.model`."""
    data: Data
    budget: Budget
    learning_rate: float
    """Peak learning rate of AdamW."""
    batch_size: int = field(metadata={"unit": "examples"})
    """Examples per optimizer step."""
    frozen_layers: int = field(metadata={"unit": "blocks"})
    """Blocks, counted from the input, that stay fixed."""
    weight_decay: float
    """Decoupled weight decay of AdamW. Biases and norms are not decayed."""
    augmentation: str = "none"
    """Random changes to training inputs: `none`, `light` (pictures: a random resized crop and a flip), or
    `randaugment-<magnitude>` (two random operations more; Cubuk et al. 2019, arXiv:1909.13719)."""
    label_smoothing: float = field(default=0.0, metadata={"unit": "0 to 1"})
    """Share of the target that is spread evenly over all classes (Szegedy et al. 2015, arXiv:1512.00567)."""
    dropout: float | None = field(default=None, metadata={"unit": "0 to 1"})
    """Dropout probability of the head's input; None keeps the pretrained model's own."""
    class_weights: str = "none"
    """Weights of the classes in the training loss: `none`, or `balanced`, inversely proportional to the training
    examples of a class and 1 for the mean example, as scikit-learn's `class_weight="balanced"`. Scores have none."""
    warmup: float = field(default=0.1, metadata={"unit": "0 to 1 of the steps"})
    """Fraction of all steps over which the learning rate rises linearly. After them it falls linearly."""
    clip_norm: float = 1.0
    """Largest 2-norm of the gradient."""
    seed: int = 0
    """Seed of the new head, dropout and the order of the examples."""
    metric: str = "accuracy"
    """Validation metric that says which report of the trial is its best."""
    cached_layers: int = 0
    """Number of frozen blocks that do not run: their outputs are computed once for all trials and read from the prefix
    cache. It changes a score by rounding at most."""
    cache_dtype: str = "float32"
    """Type in which these outputs are stored."""
    pooling: str = OWN_POOLING
    """What the head reads of a text: `model` leaves the model its own head; `first` is the first token's output,
    without a pooler; `mean` is the mean over all tokens; `both` is first and mean, one after the other."""
    frozen_fraction: float | None = field(default=None, metadata={"unit": "0 to 1 of the blocks"})
    """The share of the model's blocks from which `frozen_layers` was computed; None if the model is not searched."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "weight_decay", "clip_norm", "warmup"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        if self.learning_rate == 0:
            raise ValueError("learning_rate must be above 0")
        for name in ("label_smoothing", "dropout"):
            if not 0 <= (getattr(self, name) or 0.0) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed must be 0 to {SEEDS - 1}, got {self.seed}")
        if not _AUGMENTATION.fullmatch(self.augmentation):
            raise ValueError(f"augmentation is none, light or randaugment-<0 to 30>, got {self.augmentation!r}")
        if self.class_weights not in CLASS_WEIGHTS:
            raise ValueError(f"class_weights is one of {', '.join(CLASS_WEIGHTS)}, got {self.class_weights!r}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}, got {self.pooling!r}")
        if self.warmup >= 1:
            raise ValueError(f"warmup is a fraction of all steps below 1, got {self.warmup}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.frozen_layers < 0:
            raise ValueError(f"frozen_layers must not be negative, got {self.frozen_layers}")
        if self.frozen_fraction is not None and not 0 <= self.frozen_fraction <= 1:
            raise ValueError(f"frozen_fraction must be 0 to 1, got {self.frozen_fraction}")
        if not 0 <= self.cached_layers <= self.frozen_layers:
            raise ValueError(
                f"cached_layers must be 0 to frozen_layers ({self.frozen_layers}), got {self.cached_layers}"
            )
        if self.cached_layers and not self.deterministic_input:
            raise ValueError(f"cached_layers needs the same input in every epoch, not augmentation {self.augmentation}")
        if self.cache_dtype not in CACHE_DTYPES:
            raise ValueError(f"cache_dtype is one of {', '.join(CACHE_DTYPES)}, got {self.cache_dtype!r}")

    @property
    def deterministic_input(self) -> bool:
        """True if an example is the same input in every epoch, so that the outputs of frozen blocks can be cached."""
        return self.augmentation == "none"

    def to_json(self) -> str:
        """One JSON object, keys sorted, numbers exact."""
        return json.dumps(self._fields(), sort_keys=True)

    def training(self) -> str:
        """JSON of everything that decides its training: all fields but the parts of the budget for other recipes."""
        fields = self._fields()
        fields["budget"] = {"epochs": self.budget.epochs}
        return json.dumps(fields, sort_keys=True)

    def _fields(self) -> dict[str, Any]:
        """All fields. Those that version 0.1.0 does not have are left out where they have no value: its JSON stays."""
        fields = dataclasses.asdict(self)
        fields["data"] = {k: v for k, v in fields["data"].items() if v is not None or k not in _LATER}
        return {name: value for name, value in fields.items() if _LATER_KNOBS.get(name, ...) != value}

    def trains_as(self, other: str) -> bool:
        """Whether `other`, a JSON of `training`, is the same training. Files of model and data may have moved."""
        try:
            return _without_places(self.training()) == _without_places(other)
        except (ValueError, TypeError, KeyError):
            return False

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Inverse of `to_json`.

        Raises:
            ValueError: not JSON; a field is unknown, missing, of another type or out of range.
        """
        try:
            fields = json.loads(text)
        except RecursionError:
            raise ValueError("too many brackets") from None
        return _typed.typed(cls, fields)

    def with_params(self, params: Mapping[str, object]) -> Recipe:
        """This recipe at another point of the space.

        Raises:
            ValueError: a parameter is not a field of a recipe, or of another type.
        """
        unknown = set(params) - {f.name for f in dataclasses.fields(self)}
        if unknown:
            raise ValueError(f"a recipe has no field {', '.join(sorted(unknown))}")
        for name, value in params.items():
            _typed.check(Recipe, name, value)
        return dataclasses.replace(self, **params)  # type: ignore[arg-type]


def _without_places(training: str) -> dict[str, object]:
    fields: dict[str, Any] = json.loads(training)
    data = fields["data"]
    for group, name in ((fields, "model"), *((data, name) for name in ("source", "validation_source", "test_source"))):
        if name in group and PurePath(group[name]).is_absolute():
            group[name] = "files of this machine"
    return fields


FAMILY_KNOBS: dict[str, str | None] = {"augmentation": "none", "dropout": None}
"""Fields of a recipe that only some families have, and their value where a family has none."""

NOT_SEARCHED = frozenset(("family", "model", "data", "budget", "seed", "metric", "cached_layers", "cache_dtype"))
"""Fields of a recipe that are no parameters of a space."""

_UNITS = {f.name: f.metadata["unit"] for f in dataclasses.fields(Recipe) if "unit" in f.metadata}
"""Units of the fields of a recipe. Others are bare numbers or names."""


def with_unit(name: str) -> str:
    """The name of a parameter, with its unit if it has one: `batch_size (examples)`."""
    return f"{name} ({_UNITS[name]})" if name in _UNITS else name
