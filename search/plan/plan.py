"""Resolve and check everything before the first trial: space + options -> plan. Nothing has started yet.

A search that goes on (`resume`) is planned again by the same way, from what its `plan.json` says was searched
and what its space says today.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline import spaces
from frostline.search.cluster import capacity, connection
from frostline.search.plan import models as model_plans
from frostline.search.plan import parameters, wandb_mode
from frostline.search.plan import prefix as prefix_plan
from frostline.search.plan.models import ModelPlan
from frostline.search.plan.options import Options, adjusted, changed, size
from frostline.search.records import folder as run_folder
from frostline.search.records import remote
from frostline.search.tune import asha as asha_rungs
from frostline.spaces import Budget, Profile, Recipe, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from frostline.trainables._family import ModelInfo
    from frostline.trainables.data.corpus import Corpus

KEPT_CHECKPOINTS = 3
"""Best trials of a search whose weights stay on disk."""

_RECORDS, _RECORDS_PER_TRAINING = 12_000_000, 3_500
"""Bytes of plan, summary, model card, and of report.html, twice while it is replaced; of a training's lines in all
journals and its share of the report, per report and for its end."""

_WANDB_PER_TRAINING = 150_000
"""Bytes of a run's files that W&B's client keeps (measured: 48 kB), for a run that was opened three times."""

_NAMED, _IMBALANCED = 3, 1.5
"""Inputs that are named of those that cannot be read; times by which the largest class may exceed the smallest before
a user is told."""


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
    models: dict[str, ModelPlan]
    """Every model that can be tried, by name; one where it is not searched."""
    sizes: dict[str, int]
    """Examples per slice."""
    classes: tuple[str, ...]
    duplicates: int
    """Rows left out because their input stands in the data already."""
    remarks: tuple[str, ...]
    """What a user should know of the data, a sentence each."""
    fingerprint: str
    """Hash of all slices."""
    rungs: tuple[float, ...]
    """Epochs at which ASHA may stop a trial."""
    report_at: tuple[float, ...]
    """Epochs at which a trial is measured."""
    validate_on: tuple[int, ...]
    """Validation examples that each of these measurements looks at."""
    need: capacity.Need
    """Resources of a trial."""
    cache_limit: int
    """Bytes that the prefix cache of a node may hold."""
    slots: int
    """Trials at once, on what is there."""
    most: int | None
    """Never more at once; None where only the size of the cluster decides, which changes."""
    slots_reason: str
    disk: int
    """Upper bound of what the run directory holds, bytes."""
    retries: int
    """How often a trial goes on after its process was lost."""
    checkpoint_every: float
    """Seconds between two snapshots of a trial, at least."""
    seed: int
    run: Path
    """Where this process works: the run directory, or its working copy where that is at a URL."""
    address: str | None
    wandb: str
    """`online`, `offline` or `off`."""
    wandb_reason: str
    wandb_artifact: bool
    """Whether the winner's model goes up to W&B."""
    url: str = ""
    """Of the run directory, where it is in no folder."""

    @property
    def place(self) -> str:
        """The run directory, as a user names it."""
        return self.url or str(self.run)

    @property
    def device(self) -> str:
        """`cuda` where a trial has a GPU, else `cpu`."""
        return "cuda" if self.need.gpus else "cpu"

    def recipe(self, params: Mapping[str, Any], seed: int) -> Recipe:
        """Everything that decides the outcome of a training with these parameters."""
        recipe = self.base.with_params(self.complete(params))
        model = self.models[recipe.model]
        start = prefix_plan.start(model.prefix.kept, recipe.frozen_layers) if recipe.deterministic_input else 0
        return dataclasses.replace(recipe, seed=seed, cached_layers=start, cache_dtype=model.cache_dtype)

    def complete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """A trial's parameters with what follows from them: the depth in blocks, where it is searched as a fraction."""
        return parameters.complete(params, {name: model.blocks for name, model in self.models.items()})

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
        fields["models"] = model_plans.to_json(self.models)
        fields["run"] = str(self.run)
        fields["versions"] = versions()
        return json.dumps(fields, indent=2)


def resolve(options: Options, space: Space | None = None) -> tuple[Plan, Corpus]:
    """The plan of a new search and the data slices it will prepare.

    Args:
        options: what was asked for.
        space: what is searched, where it is no file in `spaces/`; by default the one that `options` names.

    Raises:
        ValueError: anything a user got wrong, as one line with the value and the choices.
    """
    if options.url:
        remote.check(options.url)
    offer = connection.offer(options.address, options.storage.expanduser(), options.url)
    if options.retrain is None:
        space = space or spaces.load(options.space)
        name, reason = choose_profile(options.profile, any(node.gpus for node in (*offer.nodes, *offer.more)))
    else:
        space, name, reason = spaces.of_recipe(options.retrain), "full", "the recipe's own model and data"
        options = dataclasses.replace(options, seed=options.retrain.seed if options.seed is None else options.seed)
    profile = adjusted(space.profile(name), options)
    now = datetime.datetime.now(datetime.UTC)
    called = options.name or run_folder.default_name(space.name, now)
    url = remote.locate(options.url, called) if options.url else ""
    run = remote.copy_of(url) if url else run_folder.locate(options.storage, called)
    wandb = wandb_mode.resolve(options.wandb, None)
    if options.wandb_artifact and wandb[0] == "off":
        raise ValueError(f"--wandb-artifact: W&B is off: {wandb[1]}")
    options = dataclasses.replace(options, url=url)
    return _plan(space, name, reason, profile, run, options, offer, options.seed or 0, wandb)


def resume(run: Path, options: Options) -> tuple[Plan, Corpus]:
    """The plan by which the search in `run` goes on: its models, data, epochs and seed; the space as it is now.

    Where the run directory is at a URL, that stands in the options, and `run` is its working copy.

    Raises:
        ValueError: no search is there, its data or model has changed, or the space no longer holds a
            value that was tried.
    """
    run = run.expanduser().resolve()
    fields = run_folder.read_plan(run)
    try:
        base = Recipe.from_json(json.dumps(fields["base"]))
        name, profile_name, seed = str(fields["space"]), str(fields["profile"]), int(fields["seed"])
        fingerprint = str(fields["fingerprint"])
        tried = {model: ModelPlan.of(found) for model, found in fields["models"].items()}
        weights = {model: tried[model].weights for model in (base.model, *tried)}
        searched = tuple(tried) if "model" in fields["distributions"] else ()
        saved: dict[str, Any] = {
            "cpus_per_trial": float(fields["need"]["cpus"]),  # threads decide the last bits of a result
            "gpus_per_trial": float(fields["need"]["gpus"]),
            "workers_per_trial": int(fields["need"].get("workers", 1)),
            "retries": int(fields["retries"]),
            "checkpoint_every": float(fields["checkpoint_every"]),
            "cache_size": str(int(fields["cache_limit"])),
        }
        wandb = wandb_mode.resolve(options.wandb, str(fields.get("wandb", "off")))
        artifact = options.wandb_artifact or bool(fields.get("wandb_artifact", False))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{run / 'plan.json'} is not a plan of this version: {error}") from error
    options = dataclasses.replace(options, **{k: v for k, v in saved.items() if getattr(options, k) is None})
    options = dataclasses.replace(options, wandb_artifact=artifact)
    space = spaces.of_recipe(base) if name == spaces.RETRAIN else spaces.load(name)
    offer = connection.offer(options.address, run, options.url)
    budget = changed(base.budget, options, of_old=True)
    profile = Profile(model=base.model, data=base.data, budget=budget, models=searched)
    space = dataclasses.replace(space, full=profile, small=profile)  # refused where it has another kind of depth now
    reason = "as the search began"
    plan, corpus = _plan(space, profile_name, reason, profile, run, options, offer, seed, wandb, (base, tried))
    for what, old, new in (
        (f"the data {base.data.source}", fingerprint, plan.fingerprint),
        *((f"the model {model}", old, plan.models[model].weights) for model, old in weights.items()),
    ):
        if old != new:
            raise ValueError(f"{what} has changed since the search in {run} began: its scores would not compare")
    base = plan.base
    for job in run_folder.started(run):
        values = {**{name: getattr(base, name) for name in plan.distributions}, **parameters.sampled(job.params)}
        parameters.check_recipe(f"of trial {job.number}", values, plan.distributions)
    return plan, corpus


def _plan(
    space: Space,
    name: str,
    reason: str,
    profile: Profile,
    run: Path,
    options: Options,
    offer: capacity.Offer,
    seed: int,
    wandb: tuple[str, str],
    began: tuple[Recipe, dict[str, ModelPlan]] | None = None,
) -> tuple[Plan, Corpus]:
    """`began`: what the trials of a search that goes on share, and its models, whatever the space says today."""
    retries = 2 if options.retries is None else options.retries
    checkpoint_every = 30.0 if options.checkpoint_every is None else options.checkpoint_every
    for label, value in (("--retries", retries), ("--checkpoint-every", checkpoint_every)):
        if not value >= 0:
            raise ValueError(f"{label} must not be negative, got {value:g}")
    # From here on torch is imported; what is wrong above is said without waiting for it.
    from frostline.trainables import _family
    from frostline.trainables.data import corpus as corpora
    from frostline.trainables.data import sources
    from frostline.trainables.prefix import store

    family = _family.load(space.family)
    folders, rows = sources.fetch(family, profile.models or (profile.model,), profile.data)
    infos = {model: family.describe(folder) for model, folder in folders.items()}
    profile, largest = fitted(profile, infos.values()), max(info.parameters for info in infos.values())
    blocks = {model: info.blocks for model, info in infos.items()}
    distributions, recipes = parameters.searched(space, profile, blocks)
    corpus = corpora.cut_corpus(profile.data, rows, parameters.largest(distributions["batch_size"]))
    workers = 1 if options.workers_per_trial is None else options.workers_per_trial
    need = capacity.trial_need(offer, options.cpus_per_trial, options.gpus_per_trial, largest, workers)
    _check_batch_norm(infos, workers)
    cache_limit = int(store.limit() if options.cache_size is None else size(options.cache_size))
    if began is None:
        device = "cuda" if need.gpus else "cpu"
        tried = model_plans.planned(
            *(options, family, folders, infos, profile.data, corpus, profile.budget, distributions, recipes),
            device,
            cache_limit,
        )
        hyperparameters = {"model": profile.model, **parameters.complete(next(iter(recipes.values())), blocks)}
        base = Recipe(
            family=space.family,
            data=profile.data,
            budget=profile.budget,
            seed=seed,
            metric=space.metric,
            cache_dtype=tried[profile.model].cache_dtype,
            **hyperparameters,
        )
    else:
        base, kept = began
        tried = model_plans.again(family, folders, infos, profile.data, kept)
    base = dataclasses.replace(base, data=profile.data, budget=profile.budget)
    places = capacity.places(offer, need, options.concurrent, profile.budget.trials)
    plan = Plan(
        space=space.name,
        profile=name,
        profile_reason=reason,
        metric=base.metric,
        base=base,
        distributions=distributions,
        recipes=recipes,
        models=tried,
        sizes=corpus.sizes(),
        classes=corpus.classes,
        duplicates=corpus.duplicates,
        remarks=remarks(
            corpus,
            [
                f"{model}: {said}" if profile.models else said
                for model, folder in folders.items()
                for said in family.remarks(folder, profile.data, corpus)
            ],
        ),
        fingerprint=corpus.fingerprint,
        rungs=asha_rungs.rungs(profile.budget),
        report_at=asha_rungs.report_points(profile.budget),
        validate_on=asha_rungs.looks(profile.budget, len(corpus.labels["train"]), len(corpus.labels["validation"])),
        need=need,
        cache_limit=cache_limit,
        slots=places.now,
        most=places.most,
        slots_reason=places.reason,
        disk=disk_bound(
            largest,
            max(places.grown if places.most is None else min(places.grown, places.most), run_folder.snapshots(run)),
            profile.budget,
            max(sources.other_bytes(folder) for folder in folders.values()),
        )
        + (0 if wandb[0] == "off" else _trainings(profile.budget) * _WANDB_PER_TRAINING),
        retries=retries,
        checkpoint_every=checkpoint_every,
        seed=seed,
        run=run,
        address=options.address,
        wandb=wandb[0],
        wandb_reason=wandb[1],
        wandb_artifact=options.wandb_artifact,
        url=options.url,
    )
    return plan, corpus


def remarks(corpus: Corpus, of_family: Iterable[str]) -> tuple[str, ...]:
    """What a user should know of the data: what could not be read, classes of very different size, how it is kept."""
    said = []
    if corpus.skipped:
        more = ", ..." if len(corpus.skipped) > _NAMED else ""
        inputs = "input" if len(corpus.skipped) == 1 else "inputs"
        said.append(f"{len(corpus.skipped)} {inputs} cannot be read: {', '.join(corpus.skipped[:_NAMED])}{more}")
    labels = corpus.labels["train"].tolist()
    counts = sorted((labels.count(number), name) for number, name in enumerate(corpus.classes))
    (fewest, rare), (most, common) = counts[0], counts[-1]
    if most > _IMBALANCED * fewest:
        ratio = f"{most / fewest:.1f} times as many training examples as" if fewest else "training examples, none has"
        said.append(f"the classes are out of balance: {common!r} has {ratio} {rare!r}")
    return tuple(dict.fromkeys([*said, *of_family]))


def _check_batch_norm(infos: Mapping[str, ModelInfo], workers: int) -> None:
    """Refuse several workers where each would take its own share of a batch for all of it.

    Raises:
        ValueError: names the model.
    """
    for model, info in infos.items():
        if workers > 1 and info.batch_norm:
            raise ValueError(
                f"--workers-per-trial {workers}: {model} has batch norm, which looks at a whole batch; each worker "
                "would count its share of it alone. Take a model without (a transformer, ConvNeXt), or one worker"
            )


def choose_profile(asked: str, has_gpu: bool) -> tuple[str, str]:
    """The profile and why."""
    if asked != "auto":
        return asked, "as asked"
    return ("full", "the cluster has a GPU") if has_gpu else ("small", "the cluster has no GPU")


def fitted(profile: Profile, infos: Iterable[ModelInfo]) -> Profile:
    """The profile with its inputs cut to what all its models take."""
    taken = min((info.max_length for info in infos if info.max_length is not None), default=profile.data.max_length)
    if profile.data.max_length <= taken:
        return profile
    return dataclasses.replace(profile, data=dataclasses.replace(profile.data, max_length=taken))


def claim(plan: Plan) -> None:
    """Make the run directory of a new search.

    Raises:
        ValueError: it holds a search already, or files that are not ours, or cannot be written.
    """
    if plan.url:
        remote.claim(plan.url, plan.run, plan.to_json())
    else:
        run_folder.claim(plan.run, plan.to_json())


def disk_bound(largest: int, slots: int, budget: Budget, beside: int) -> int:
    """Bytes the run directory can hold at most.

    In float32: the kept trials' and the confirmed recipes' best weights; of each running training its best
    weights and its snapshot (weights and Adam's two moments), both twice while they are replaced; the export,
    twice while it is replaced. And the records, for a search without a number of trials those of 1,000.

    Args:
        largest: parameters of the largest model.
        slots: trainings at once, or broken off and waiting to go on.
        budget: trials and confirmation.
        beside: bytes of a model's other files, which the export has too.
    """
    whole = 4 * largest
    kept = KEPT_CHECKPOINTS + (budget.confirm_recipes if budget.confirm_seeds else 0)
    records = _RECORDS + _trainings(budget) * _RECORDS_PER_TRAINING * (1 + len(asha_rungs.report_points(budget)))
    return (kept + 1) * whole + slots * 2 * (1 + 3) * whole + 2 * (whole + beside) + records


def _trainings(budget: Budget) -> int:
    """At most; of a search without a number of trials, a guess."""
    return (budget.trials or 1000) + budget.confirm_recipes * budget.confirm_seeds


def versions() -> dict[str, str]:
    """Versions of what decides a result."""
    packages = ("frostline", "ray", "torch", "torchvision", "timm", "transformers", "datasets", "optuna")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
