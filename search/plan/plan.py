"""The plan of a search: everything that is resolved before the first trial starts, in typed groups.

`plan.json` is a plan as one flat JSON object. `resolve.py` makes plans.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.search.cluster.capacity import Need
from frostline.search.plan import models as model_plans
from frostline.search.plan import parameters
from frostline.search.plan.models import ModelPlan
from frostline.search.plan.wandb_mode import WandbMode
from frostline.search.records.checks import check_params
from frostline.search.records.folder import METRIC
from frostline.spaces import Budget, Metric, Recipe
from frostline.spaces._typed import printable, typed

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """What is searched."""

    space: str
    """Name of the space."""
    profile: str
    """`full` or `small`."""
    profile_reason: str
    """Why it is this profile."""
    metric: Metric
    """Validation metric that decides."""
    seed: int
    """Seed of the sampler and of the first trial. Those of the other trainings are derived from it."""
    base: Recipe
    """What all trials share. A trial's parameters replace its own."""
    distributions: dict[str, BaseDistribution]
    """Optuna distribution by parameter."""
    recipes: dict[str, dict[str, Any]]
    """Recipes tried first, by label; `all` is resolved to the model's number of blocks."""
    models: dict[str, ModelPlan]
    """Every model that can be tried, by name; one where the model is not searched."""
    prefer: str = ""
    """The one of the tied recipes that is offered: `cheapest` or `best`. Empty in searches of earlier versions, whose
    winner is the recipe with the best mean of its fresh seeds."""
    own_space: bool = False
    """Whether the space is no file in `spaces/`, or was changed by `settings`. A search that goes on then takes the
    parameters and recipes of this plan."""
    settings: tuple[str, ...] = ()
    """What `--set` and `--class-weights` changed of the space, `NAME=VALUES` each."""
    files: dict[str, str] = field(default_factory=dict)
    """Texts of a user's own files by their names in the run directory: the space is in `space.py` or `space.yaml`, the
    metric that decides is a function of `metric.py`."""
    baseline: str = field(default="", compare=False)
    """Name of the simple model that is trained beside the trials; empty if there is none, or the plan is older."""

    @property
    def metric_code(self) -> str:
        """The text of the file in which the metric is a function; empty if the family has it."""
        return self.files.get(METRIC, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Slices:
    """The data of a search, without the data itself."""

    sizes: dict[str, int]
    """Examples per slice."""
    classes: tuple[str, ...]
    duplicates: int
    """Rows left out because their input occurs in the data already."""
    remarks: tuple[str, ...]
    """What a user should know of the data, a sentence each."""
    fingerprint: str
    """Hash of all slices."""
    # The next four follow from the rows. A plan that was written before they were told equals one that tells them.
    rows_read: int = field(default=0, compare=False)
    """Rows of the source, each in a slice, left out or unused; 0 where the plan does not tell."""
    rows_left_out: dict[str, int] = field(default_factory=dict, compare=False)
    """Rows that are in no slice, by reason."""
    rows_unused: int = field(default=0, compare=False)
    """Rows that the sizes of the slices leave over."""
    imbalance: float = field(default=1.0, compare=False)
    """Training examples of the largest class for each one of the smallest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When a trial is measured and may be stopped."""

    rungs: tuple[float, ...]
    """Epochs at which a trial may be stopped."""
    report_at: tuple[float, ...]
    """Epochs at which a trial is measured."""
    validate_on: tuple[int, ...]
    """Validation examples of each of these measurements."""
    expected: int | None = None
    """Trainings that the time budget is expected to hold; None where there is none, or where it is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What trials run on, and what protects them."""

    need: Need
    """Resources of one trial."""
    slots: int
    """Trials at once, on the machines that are there now."""
    most: int | None
    """Limit of trials at once; None where only the size of the cluster decides, which changes."""
    slots_reason: str
    """The sum behind `slots`, in words."""
    cache_limit: int
    """Bytes that the prefix cache of a node may hold."""
    disk: int
    """Upper bound of the run directory's size, bytes."""
    retries: int
    """How often a trial goes on after it lost its process."""
    checkpoint_every: float
    """Seconds between two snapshots of a trial, at least."""
    concurrent: int | None = None
    """`--concurrent`; None where it was not given."""
    price_per_hour: float | None = None
    """Of a GPU where trials have GPUs, else of all machines together; None where it was not given."""

    @property
    def device(self) -> str:
        """`cuda` where a trial has a GPU, else `cpu`."""
        return "cuda" if self.need.gpus else "cpu"

    @property
    def threads(self) -> int:
        """CPU threads of a trial."""
        return max(1, int(self.need.cpus))


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a search works. As text it is the run directory as a user names it."""

    run: Path
    """The run directory on this machine; the working copy where the run directory is at a URL."""
    url: str = ""
    """URL of the run directory; empty where it is a folder."""
    address: str | None = None
    """Ray cluster; None for a private Ray on this machine."""

    def __str__(self) -> str:
        return self.url or str(self.run)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything resolved. A run directory belongs to one plan."""

    search: Search
    data: Slices
    schedule: Schedule
    resources: Resources
    place: Place
    wandb: WandbMode

    @property
    def budget(self) -> Budget:
        """Trials, epochs, rungs and confirmation."""
        return self.search.base.budget

    def recipe(self, params: Mapping[str, Any], seed: int) -> Recipe:
        """Everything that decides the outcome of a training with these parameters."""
        recipe = self.search.base.with_params(self.complete(params))
        model = self.search.models[recipe.model]
        start = model.prefix.start(recipe.frozen_layers, recipe.pooling, model.blocks)
        start = start if recipe.deterministic_input else 0
        return dataclasses.replace(recipe, seed=seed, cached_layers=start, cache_dtype=model.cache_dtype)

    def complete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's parameters and what follows from them: the depth in blocks where a fraction is searched."""
        return parameters.complete(params, {name: model.blocks for name, model in self.search.models.items()})

    def check(self) -> None:
        """Refuse groups that do not fit together.

        Raises:
            ValueError: names the parts that do not.
        """
        if self.search.profile not in {"full", "small"}:
            raise ValueError(f"profile is full or small, got {self.search.profile!r}")
        if self.search.prefer not in {"", "cheapest", "best"}:
            raise ValueError(f"prefer is cheapest or best, got {self.search.prefer!r}")
        if self.search.base.model not in self.search.models:
            raise ValueError(f"it has no model {self.search.base.model!r}")
        if missing := set(getattr(self.search.distributions.get("model"), "choices", ())) - set(self.search.models):
            raise ValueError(f"it has no model {missing.pop()!r}")
        if lacking := {"train", "validation", "test"} - set(self.data.sizes):
            raise ValueError(f"sizes has no slice {min(lacking)!r}")
        for label, params in self.search.recipes.items():
            parameters.check_recipe(repr(label), params, self.search.distributions)
            self.recipe(params, self.search.seed)

    def to_json(self) -> str:
        """The plan as one flat, indented JSON object."""
        from optuna.distributions import distribution_to_json

        groups = (self.search, self.data, self.schedule, self.resources, self.place)
        fields = {f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)}
        fields["base"] = json.loads(self.search.base.to_json())
        fields["distributions"] = {
            name: json.loads(distribution_to_json(distribution))
            for name, distribution in self.search.distributions.items()
        }
        fields["metric"], fields["better"] = self.search.metric.name, self.search.metric.better
        fields["unit"], fields["is_share"] = self.search.metric.unit, self.search.metric.is_share
        fields["may_be_undefined"] = self.search.metric.may_be_undefined
        fields["need"] = dataclasses.asdict(self.resources.need)
        fields["models"] = model_plans.to_json(self.search.models)
        fields["run"] = str(self.place.run)
        fields |= {
            "wandb": self.wandb.mode,
            "wandb_reason": self.wandb.reason,
            "wandb_artifact": self.wandb.artifact,
            "versions": versions(),
        }
        return json.dumps(fields, indent=2)


def of_json(run: Path, fields: Mapping[str, Any]) -> Plan:
    """The plan of a `plan.json`, without a look at data or models.

    Args:
        run: the run directory it was read from.
        fields: the JSON object.

    Raises:
        ValueError: the fields are those of another version.
    """
    from optuna.distributions import BaseDistribution

    given = dict(fields) | {"run": run}
    try:
        given |= {"distributions": _distributions(fields["distributions"]), "metric": metric_of(fields)}
        wandb = {
            "mode": fields["wandb"],
            "reason": fields["wandb_reason"],
            "artifact": fields.get("wandb_artifact", False),
        }
        plan = Plan(
            search=typed(Search, given, more=True, names={"BaseDistribution": BaseDistribution}),
            data=typed(Slices, given, more=True),
            schedule=typed(Schedule, given, more=True),
            resources=typed(Resources, given, more=True),
            place=typed(Place, given, more=True),
            wandb=typed(WandbMode, {**wandb, "artifact": fields.get("wandb_artifact", False)}),
        )
        plan.check()
    except KeyError as error:
        raise ValueError(f"{run / 'plan.json'} is not a plan of this version: it lacks {error}") from error
    except ValueError as error:
        raise ValueError(f"{run / 'plan.json'} is not a plan of this version: {printable(error)}") from error
    return plan


def _distributions(given: Any) -> dict[str, BaseDistribution]:
    """The distributions of a `plan.json`, by parameter.

    Raises:
        ValueError: they are none.
    """
    from optuna.distributions import CategoricalDistribution, json_to_distribution

    distributions = {}
    for name, distribution in given.items() if isinstance(given, dict) else [("distributions", given)]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Optuna corrects some values, with a warning
                distributions[name] = json_to_distribution(json.dumps(distribution))
        except Exception as error:  # Optuna does not say which errors it raises
            raise ValueError(f"{name} has no distribution that Optuna knows: {error}") from error
        made = distributions[name]
        values = made.choices if isinstance(made, CategoricalDistribution) else (made.low, made.high)  # type: ignore[attr-defined]
        check_params(dict(enumerate(values)))
    return distributions


def metric_of(fields: Mapping[str, Any]) -> Metric:
    """The deciding metric of a `plan.json`; in one of version 0.1.0 or before, larger is better.

    Raises:
        KeyError, ValueError: it names none.
    """
    names = ("better", "unit", "is_share", "may_be_undefined")
    given = {name: fields[name] for name in names if name in fields}
    return typed(Metric, {"name": fields["metric"], "is_share": fields["metric"] == "accuracy", **given})


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    packages = ("frostline", "ray", "torch", "torchvision", "timm", "transformers", "datasets", "optuna")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
