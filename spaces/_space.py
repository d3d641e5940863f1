"""A space: family, profiles (model, data, budget), what is searched, and the recipes tried first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # optuna takes a second to import; `--help` and error messages do without it
    from optuna.distributions import BaseDistribution

ALL = "all"
"""Value of `frozen_layers` that means every block of the model, so that only the head trains."""

SEEDS = 2**32
"""Number of seeds, from 0: numpy's random state takes no other."""

MOST_EPOCHS = 10_000
"""Most epochs of a trial."""

Value = float | int | str | bool

_ALWAYS_SEARCHED = ("learning_rate", "batch_size", "weight_decay")
"""Parameters that a recipe has no default for. The frozen depth is another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """A range of `frozen_layers`. `high=None` becomes the number of blocks that the model has."""

    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        if self.low < 0 or (self.high is not None and self.high < self.low):
            raise ValueError(f"depth needs 0 <= low <= high, got low={self.low}, high={self.high}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The examples of a profile, and how they are cut into three disjoint slices."""

    source: str
    """`package:<module>`, a hub name (`NAME` or `NAME:CONFIG`), a folder, a CSV, JSON, Parquet, Arrow or Excel file."""
    text: str = "text"
    """Name of the column with the input. A tree of image folders has no columns."""
    label: str = "label"
    """Name of the column with the class. A tree of image folders has no columns."""
    train: int | None = None
    """Training examples; None takes all that are not in another slice."""
    validation: int | None = None
    """Validation examples; None takes the source's own split, or a tenth of the training rows."""
    test: int | None = None
    """Test examples; None takes the source's own split, or a tenth of the rows."""
    most: int | None = None
    """Examples at most of a validation or test slice whose size is left open. A slice cut from the training rows then
    has at least 200 examples, or a fifth of the rows where that is less. None sets neither bound."""
    max_length: int = 512
    """Largest number of tokens of a text, special tokens included; a longer text is cut. 0 takes the length that holds
    95 % of the training texts whole, if the model takes it."""
    truncation_side: str = "right"
    """The end of a longer text that is cut off, in transformers' words: `left` keeps the last tokens."""
    image_size: int | None = None
    """Pixels of each side of a picture as the model sees it; None takes the size that its weights were trained with."""
    seed: int = 0
    """Seed of the shuffle before the cut; not the seed of the search."""
    validation_source: str | None = None
    """A file or folder with the validation rows; None takes those of `source`, or cuts them from its rows."""
    test_source: str | None = None
    """A file or folder with the test rows; None takes those of `source`, or cuts them from its rows."""
    group: str | None = None
    """Name of a column; rows with one value in it (a user, a document, a patient) are in one slice."""

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            size = getattr(self, name)
            if size is not None and size < 1:
                raise ValueError(f"{name} slice must have at least 1 example, got {size}")
        if self.most is not None and self.most < 1:
            raise ValueError(f"most is at least 1 example, got {self.most}")
        if self.max_length and self.max_length < 8:
            raise ValueError(f"max_length must be at least 8 tokens, or 0, got {self.max_length}")
        if self.image_size is not None and self.image_size < 8:
            raise ValueError(f"image_size must be at least 8 pixels, got {self.image_size}")
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"the seed of the data must be 0 to {SEEDS - 1}, got {self.seed}")
        if "" in (self.validation_source, self.test_source, self.group):
            raise ValueError("validation_source, test_source and group are not empty; None leaves them away")
        if self.group in (self.text, self.label):
            raise ValueError(f"rows are grouped by another column than {self.text!r} and {self.label!r}")
        if self.truncation_side not in {"left", "right"}:
            raise ValueError(f"truncation_side is 'left' or 'right', got {self.truncation_side!r}")


OWN_DATA: Mapping[str, int | str | None] = {
    **dict.fromkeys(("train", "validation", "test", "validation_source", "test_source")),
    "most": 5000,
    "max_length": 0,
    "truncation_side": "right",
    "image_size": None,
}
"""Fields of `Data` for a user's own rows. All rows are used, in the length or size that the model was made for: a
profile's slices, length and size of pictures fit only its demonstration.
`most` is 5,000, since a share of 5,000 examples is known to within 1.4 points (95 %)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """The cost of a search at most, where a trial may stop early, and how the winner is confirmed."""

    trials: int | None
    """Number of recipes tried; None leaves it to `seconds`."""
    epochs: float
    """Epochs of a trial that is never stopped: a whole number, or a part of the first one."""
    first_rung: float
    """Epochs before a trial may be stopped; with fewer than 60 trials none is."""
    reduction_factor: float = 2.0
    """Each rung is at this many times the epochs of the one before."""
    seconds: float | None = None
    """Wall-clock time of the trials and their confirmation, over all sessions of the search; None is no limit."""
    confirm_recipes: int = 5
    """Best recipes that are trained again before one of them wins; 0 takes the best trial as the winner."""
    confirm_seeds: int = 2
    """Fresh seeds for each of these recipes on average, at most: those that may still win get more of them."""

    def __post_init__(self) -> None:
        if self.trials is None and self.seconds is None:
            raise ValueError("a budget needs trials or seconds")
        if self.trials is not None and self.trials < 1:
            raise ValueError(f"trials must be at least 1, got {self.trials}")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"a time budget must be above 0, got {self.seconds:g} s")
        for name in ("confirm_recipes", "confirm_seeds"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.epochs <= MOST_EPOCHS:  # the plan lists the reports of every epoch
            raise ValueError(f"epochs must be at most {MOST_EPOCHS}, got {self.epochs}")
        if self.epochs <= 0 or (self.epochs > 1 and self.epochs != int(self.epochs)):
            raise ValueError(f"epochs must be a whole number, or between 0 and 1, got {self.epochs:g}")
        if not 0 < self.first_rung <= self.epochs:
            raise ValueError(f"first_rung must be in (0, {self.epochs}] epochs, got {self.first_rung}")
        if not self.reduction_factor > 1:
            raise ValueError(f"reduction_factor must be above 1, got {self.reduction_factor}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One scale at which a space can run: `full` (published model and data) or `small` (offline)."""

    model: str
    """`package:<module>`, a hub name, or a folder that `from_pretrained` loads. If the model is searched, the recipes
    tried first use this one."""
    data: Data
    budget: Budget
    models: tuple[str, ...] = ()
    """All models of a search over models, written as `model` is; empty if the model is not searched."""

    def __post_init__(self) -> None:
        if self.models and (self.model not in self.models or len({*self.models}) < len(self.models)):
            raise ValueError(
                f"models must differ, and {self.model!r} must be one of them, got {', '.join(self.models)}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """The recipes that a search may try. A file in `spaces/` holds one, as `SPACE`."""

    name: str
    """Name of the file, and of the space on the command line."""
    summary: str
    """One line for `--list`."""
    family: str
    """Name of the file in `trainables/` that trains it."""
    parameters: Mapping[str, BaseDistribution | Depth]
    """Distribution of each parameter that is searched; the names are fields of `Recipe`. The frozen depth is
    `frozen_layers`, or, if the profiles have models to search, `frozen_fraction`, a share of a model's blocks."""
    recipes: Mapping[str, Mapping[str, Value]]
    """Recipes of the literature, tried first and in this order. Each gives a value for every parameter."""
    full: Profile
    small: Profile
    metric: str = ""
    """Name of the validation metric that decides, one that the family reports, or a function as `FILE.py:FUNCTION`;
    empty for the family's first."""

    def __post_init__(self) -> None:
        if "model" in self.parameters:
            raise ValueError(f"the models that {self.name} searches belong in its profiles, not in its parameters")
        for profile in (self.full, self.small):
            depth = "frozen_fraction" if profile.models else "frozen_layers"
            if {"frozen_fraction", "frozen_layers"} & set(self.parameters) - {depth}:
                models = ", ".join(profile.models or (profile.model,))
                raise ValueError(f"with the models {models} the frozen depth of {self.name} is searched as {depth}")
        missing = [name for name in _ALWAYS_SEARCHED if name not in self.parameters]
        if not {"frozen_layers", "frozen_fraction"} & set(self.parameters):
            missing.append("frozen_fraction" if self.full.models else "frozen_layers")
        if missing:
            raise ValueError(
                f"the parameters of {self.name} lack {', '.join(missing)}; a range of one value keeps one fixed"
            )
        for label, recipe in self.recipes.items():
            if set(recipe) != set(self.parameters):
                raise ValueError(
                    f"recipe {label!r} of {self.name} must give {sorted(self.parameters)}, gives {sorted(recipe)}"
                )
            layers = recipe.get("frozen_layers", 0)
            if isinstance(layers, str) and layers != ALL:
                raise ValueError(f"recipe {label!r}: frozen_layers is a number of blocks or {ALL!r}, got {layers!r}")

    def profile(self, name: str) -> Profile:
        """The profile called `name`, `full` or `small`."""
        return {"full": self.full, "small": self.small}[name]
