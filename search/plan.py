"""Resolve and check everything before the first trial: space + options -> plan. Nothing has started yet."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import spaces
from search import cluster, scheduler
from spaces import ALL, Budget, Data, Depth, Profile, Recipe

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from trainables._data import Corpus
    from trainables._family import ModelInfo

KEPT_CHECKPOINTS = 3
"""Best trials of a search whose weights stay on disk."""

_PROCESS_MEMORY = 1.2 * cluster.GB
"""A trial's process before the model: Python, torch, transformers, Ray (measured: 0.7 GB), activations (0.5 GB)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the command line says. None leaves it to the space or to the machine."""

    space: str
    profile: str = "auto"
    model: str | None = None
    dataset: str | None = None
    columns: tuple[str, str] | None = None
    trials: int | None = None
    epochs: int | None = None
    concurrent: int | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    seed: int = 0
    storage: Path = Path("runs")
    name: str | None = None
    address: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything resolved. `plan.json` is this, and a run directory belongs to one plan."""

    space: str
    profile: str
    profile_reason: str
    metric: str
    base: Recipe
    """What all trials share; a trial's parameters replace its own."""
    distributions: dict[str, BaseDistribution]
    """Optuna distribution by parameter."""
    recipes: dict[str, dict[str, Any]]
    """Recipes tried first, `all` resolved to the model's blocks."""
    blocks: int
    """Blocks of the model that can be frozen."""
    parameters: int
    """Parameters of the model, head included."""
    sizes: dict[str, int]
    """Examples per slice."""
    classes: tuple[str, ...]
    duplicates: int
    """Rows left out because their input stands in the data already."""
    fingerprint: str
    """Hash of all slices."""
    rungs: tuple[float, ...]
    """Epochs at which ASHA may stop a trial."""
    report_at: tuple[float, ...]
    """Epochs at which a trial is measured."""
    need: cluster.Need
    """Resources of a trial."""
    slots: int
    """Trials at once."""
    slots_reason: str
    disk: int
    """Upper bound of what the run directory holds, bytes."""
    seed: int
    run: Path
    address: str | None

    @property
    def device(self) -> str:
        """`cuda` where a trial has a GPU, else `cpu`."""
        return "cuda" if self.need.gpus else "cpu"

    @property
    def threads(self) -> int:
        """CPU threads of a trial."""
        return max(1, int(self.need.cpus))

    def to_json(self) -> str:
        """The plan as an indented JSON object."""
        from optuna.distributions import distribution_to_json

        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["base"] = json.loads(self.base.to_json())
        fields["distributions"] = {k: json.loads(distribution_to_json(v)) for k, v in self.distributions.items()}
        fields["need"] = dataclasses.asdict(self.need)
        fields["run"] = str(self.run)
        fields["versions"] = versions()
        return json.dumps(fields, indent=2)


def resolve(options: Options) -> tuple[Plan, Corpus]:
    """The plan of a search and the data slices it will prepare.

    Raises:
        ValueError: anything a user got wrong, as one line with the value and the choices.
    """
    space = spaces.load(options.space)
    nodes = cluster.nodes(options.address)
    name, reason = choose_profile(options.profile, any(node.gpus for node in nodes))
    profile = adjusted(space.profile(name), options)
    run = run_directory(options, datetime.datetime.now(datetime.UTC))

    # From here on torch is imported; what is wrong above is said without waiting for it.
    from trainables import _data, _family, _sources

    family = _family.load(space.family)
    folder, rows = _sources.fetch(profile.model, profile.data)
    info = family.describe(folder)
    profile = fitted(profile, info)
    distributions = resolve_parameters(space.parameters, info.blocks, profile.model)
    recipes = {label: resolve_recipe(label, recipe, info.blocks) for label, recipe in space.recipes.items()}
    for label, recipe in recipes.items():
        check_recipe(label, recipe, distributions)
    base = Recipe(
        family=space.family,
        model=profile.model,
        data=profile.data,
        budget=profile.budget,
        seed=options.seed,
        **next(iter(recipes.values())),
    )
    corpus = _data.cut_corpus(profile.data, rows, largest(distributions["batch_size"]))
    need = trial_need(options, nodes, info)
    slots = cluster.slots(nodes, need)
    if options.concurrent is not None:
        if options.concurrent < 1:
            raise ValueError(f"--concurrent must be at least 1, got {options.concurrent}")
        slots = min(slots, options.concurrent)
    at_once = min(slots, profile.budget.trials)
    plan = Plan(
        space=space.name,
        profile=name,
        profile_reason=reason,
        metric=space.metric,
        base=base,
        distributions=distributions,
        recipes=recipes,
        blocks=info.blocks,
        parameters=info.parameters,
        sizes=corpus.sizes(),
        classes=corpus.classes,
        duplicates=corpus.duplicates,
        fingerprint=corpus.fingerprint,
        rungs=scheduler.rungs(profile.budget),
        report_at=scheduler.report_points(profile.budget),
        need=need,
        slots=at_once,
        slots_reason=cluster.arithmetic(nodes, need) + (f", at most {at_once}" if at_once < slots else ""),
        disk=disk_bound(info, at_once),
        seed=options.seed,
        run=run,
        address=options.address,
    )
    return plan, corpus


def choose_profile(asked: str, has_gpu: bool) -> tuple[str, str]:
    """The profile and why."""
    if asked != "auto":
        return asked, "as asked"
    return ("full", "the cluster has a GPU") if has_gpu else ("small", "the cluster has no GPU")


def adjusted(profile: Profile, options: Options) -> Profile:
    """The profile with what the command line replaces.

    Raises:
        ValueError: trials or epochs below 1.
    """
    changes: dict[str, Any] = {}
    if options.dataset is not None:
        source = str(Path(options.dataset).resolve()) if Path(options.dataset).exists() else options.dataset
        changes["source"] = source
    if options.columns is not None:
        changes["text"], changes["label"] = options.columns
    budget: Budget = profile.budget
    if options.trials is not None:
        budget = dataclasses.replace(budget, trials=options.trials)
    if options.epochs is not None:
        if options.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {options.epochs}")
        budget = dataclasses.replace(
            budget, epochs=options.epochs, first_rung=min(budget.first_rung, float(options.epochs))
        )
    model = options.model if options.model is not None else profile.model
    if Path(model).exists():
        model = str(Path(model).resolve())
    data: Data = dataclasses.replace(profile.data, **changes)
    return Profile(model=model, data=data, budget=budget)


def fitted(profile: Profile, info: ModelInfo) -> Profile:
    """The profile with its inputs cut to what the model takes."""
    if info.max_length is None or profile.data.max_length <= info.max_length:
        return profile
    return dataclasses.replace(profile, data=dataclasses.replace(profile.data, max_length=info.max_length))


def run_directory(options: Options, now: datetime.datetime) -> Path:
    """`<storage>/<name>`, by default `<space>-<UTC time>`.

    Raises:
        ValueError: the name leads out of the storage, or the storage cannot be written.
    """
    name = options.name or f"{options.space}-{now:%Y%m%dT%H%M%SZ}"
    if name in {".", ".."} or Path(name).name != name:
        raise ValueError(f"--name is a folder name without slashes, got {name!r}")
    run = options.storage.expanduser().resolve() / name
    there = next(parent for parent in (run, *run.parents) if parent.exists())
    if not there.is_dir():
        raise ValueError(f"cannot write {run}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"cannot write {run}: no permission to write in {there}")
    return run


def claim(plan: Plan) -> None:
    """Make the run directory and write `plan.json` into it.

    Raises:
        ValueError: it holds a search already, or files that are not ours, or cannot be written.
    """
    found, text = plan.run / "plan.json", plan.to_json()
    another = "choose another --name"
    if found.is_file():
        same = _search_of(found.read_text(encoding="utf-8")) == _search_of(text)
        done = "finished" if (plan.run / "summary.json").is_file() else "unfinished"
        what = f"this very search, {done}" if same else "a search with another plan"
        raise ValueError(f"{plan.run} holds {what}: {another}")
    try:
        plan.run.mkdir(parents=True, exist_ok=True)
        if any(plan.run.iterdir()):
            raise ValueError(f"{plan.run} is not empty and holds no search: {another}")
        found.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write {plan.run}: {error.strerror}") from error


_OF_THE_MACHINE = {"profile_reason", "slots", "slots_reason", "need", "disk", "address", "run", "versions"}


def _search_of(text: str) -> dict[str, Any] | None:
    """The part of a plan that says what is searched; None where the text is no plan."""
    try:
        return {key: value for key, value in json.loads(text).items() if key not in _OF_THE_MACHINE}
    except (ValueError, AttributeError):
        return None


def resolve_parameters(
    parameters: Mapping[str, BaseDistribution | Depth], blocks: int, model: str
) -> dict[str, BaseDistribution]:
    """The space's parameters as Optuna distributions, depth bounded by the model.

    Raises:
        ValueError: a depth the model does not have.
    """
    from optuna.distributions import IntDistribution

    resolved: dict[str, BaseDistribution] = {}
    for name, parameter in parameters.items():
        if isinstance(parameter, Depth):
            high = blocks if parameter.high is None else parameter.high
            if high > blocks or parameter.low > blocks:
                raise ValueError(f"frozen_layers up to {max(high, parameter.low)}, but {model} has {blocks} blocks")
            parameter = IntDistribution(parameter.low, high)
        resolved[name] = parameter
    return resolved


def resolve_recipe(label: str, recipe: Mapping[str, Any], blocks: int) -> dict[str, Any]:
    """A space's recipe with `all` blocks as a number.

    Raises:
        ValueError: a depth the model does not have.
    """
    resolved = dict(recipe)
    if resolved.get("frozen_layers") == ALL:
        resolved["frozen_layers"] = blocks
    if resolved.get("frozen_layers", 0) > blocks:
        raise ValueError(f"recipe {label!r} freezes {resolved['frozen_layers']} blocks; the model has {blocks}")
    return resolved


def check_recipe(label: str, recipe: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> None:
    """Refuse a recipe outside the space: the sampler could not learn from it.

    Raises:
        ValueError: names the parameter, its value and its range.
    """
    from optuna.trial import create_trial

    for name, distribution in distributions.items():
        try:  # Optuna's own check
            create_trial(value=0.0, params={name: recipe[name]}, distributions={name: distribution})
        except ValueError as error:
            raise ValueError(f"recipe {label!r}: {name} = {recipe[name]!r} is outside {distribution}") from error


def largest(distribution: BaseDistribution) -> int:
    """Largest value of a numeric or categorical distribution."""
    choices = getattr(distribution, "choices", None)
    return int(max(choices) if choices else distribution.high)  # type: ignore[attr-defined]


def trial_need(options: Options, nodes: list[cluster.Node], info: ModelInfo) -> cluster.Need:
    """Resources of a trial: one core on a CPU; a whole GPU, and its share of the cores, where there is one.

    Raises:
        ValueError: a share that is not positive.
    """
    best = max(nodes, key=lambda node: (node.gpus, node.cpus))
    gpus = float(best.gpus > 0) if options.gpus_per_trial is None else options.gpus_per_trial
    cpus = options.cpus_per_trial
    if cpus is None:
        cpus = max(1.0, min(4.0, best.cpus // max(1.0, best.gpus))) if gpus else 1.0
    if cpus <= 0:
        raise ValueError(f"--cpus-per-trial must be above 0, got {cpus:g}")
    if gpus < 0:
        raise ValueError(f"--gpus-per-trial must not be negative, got {gpus:g}")
    # float32: weights, a pristine copy, gradients, and Adam's two moments.
    memory = _PROCESS_MEMORY + 4 * info.parameters * (2 if gpus else 5)
    return cluster.Need(cpus=cpus, gpus=gpus, memory=memory)


def disk_bound(info: ModelInfo, slots: int) -> int:
    """Bytes the run directory can hold at most, records apart: kept and running checkpoints, and the export.

    A checkpoint holds what trains, in float32, and exists twice while it is replaced.
    """
    whole = 4 * info.parameters
    return (KEPT_CHECKPOINTS + 1 + 2 * slots) * whole + 2 * whole


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    packages = ("frostline", "ray", "torch", "transformers", "datasets", "optuna")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
