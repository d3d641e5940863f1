"""What a search that goes on keeps, and whether it is still there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frostline.search.plan.models import ModelPlan
from frostline.search.plan.plan import Plan
from frostline.spaces import Recipe

SOURCES = {"source": "--dataset", "validation_source": "--validation", "test_source": "--test"}
"""Field of `Data` that names a place -> the option that gives it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Began:
    """The recipe, models and data of a search when it began, whatever its space says today."""

    base: Recipe
    models: dict[str, ModelPlan]
    fingerprint: str
    """Hash of the data."""

    def moved(self, model: str | None, sources: Mapping[str, str]) -> Began:
        """The same with the model or the data at another place of this machine.

        Args:
            model: folder or name of the model now; None if it is where it was.
            sources: folder, file or name of the data now, by field of `Data`; those that have not moved are missing.

        Raises:
            ValueError: the search has no such data.
        """
        base, models = self.base, self.models
        for field, option in SOURCES.items():
            if field in sources and getattr(base.data, field) is None:
                raise ValueError(f"{option} cannot be changed with --resume: the search began without it")
        base = dataclasses.replace(base, data=dataclasses.replace(base.data, **dict[str, Any](sources)))
        if model is not None:
            models = {model: models[base.model]}
            base = dataclasses.replace(base, model=model)
        return Began(base=base, models=models, fingerprint=self.fingerprint)

    def check_places(self) -> None:
        """Say which option tells where the model and the data are now, if they are not where they were.

        Raises:
            ValueError: a folder or a file is missing.
        """
        for what, place, option in (
            *(("data", getattr(self.base.data, field), option) for field, option in SOURCES.items()),
            *(("model", model, "--model") for model in self.models),
        ):
            if place is not None and Path(place).is_absolute() and not Path(place).exists():
                again = f"give it with {option}" if what == "data" or len(self.models) == 1 else "put it there again"
                raise ValueError(f"the {what} of the search is no longer at {place}: {again}")

    def check(self, plan: Plan) -> None:
        """Refuse data or a model that has changed.

        Raises:
            ValueError: names what has changed.
        """
        models = {name: self.models[name].weights for name in (self.base.model, *self.models)}
        for what, before, now in (
            (f"the data {self.base.data.source}", self.fingerprint, plan.data.fingerprint),
            *((f"the model {name}", weights, plan.search.models[name].weights) for name, weights in models.items()),
        ):
            if before != now:
                run = plan.place.run
                raise ValueError(f"{what} has changed since the search in {run} began: its scores would not compare")
