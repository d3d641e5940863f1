"""Resolve and check everything before the first trial: space + options -> plan. Nothing has started yet.

A search that goes on (`resume`) is planned again in the same way, from what its `plan.json` says was searched and
from its space as it is today.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.search.cluster import capacity, machines
from frostline.search.plan import budget as budgets
from frostline.search.plan import models as model_plans
from frostline.search.plan import own as own_plans
from frostline.search.plan import parameters, shape, wandb_mode
from frostline.search.plan import rows as row_plans
from frostline.search.plan.began import SOURCES, Began
from frostline.search.plan.models import ModelPlan, Sources
from frostline.search.plan.options import Options, adjusted, changed, place_of
from frostline.search.plan.own import Own
from frostline.search.plan.parameters import Searched
from frostline.search.plan.plan import Place, Plan, Resources, Schedule, Search, of_json
from frostline.search.plan.prefix import Caching
from frostline.search.plan.remarks import advice
from frostline.search.plan.resources import check_numbers, resources
from frostline.search.plan.shape import Shape
from frostline.search.plan.wandb_mode import WandbMode
from frostline.search.records import audit, remote, storage
from frostline.search.records import folder as run_folder
from frostline.search.records.working_copy import copy_of
from frostline.spaces import SEEDS, Budget, Metric, Profile, Recipe, Space
from frostline.trainables import _atomic
from frostline.trainables._task import Speed

if TYPE_CHECKING:
    from frostline.trainables._family import ModelInfo
    from frostline.trainables.data.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What is known of a search before its models and data are looked at."""

    space: Space
    profile: Profile
    profile_name: str
    profile_reason: str
    seed: int
    place: Place
    offer: capacity.Offer
    wandb: WandbMode
    options: Options
    own: Own
    began: Began | None = None
    """None for a new search."""
    before: Plan | None = None
    """The plan of the search that goes on; None for a new search."""


def resolve(options: Options, space: Space | None = None) -> tuple[Plan, Corpus]:
    """The plan of a new search and the data slices it will prepare.

    Args:
        options: what was asked for.
        space: what is searched, where it is no file in `spaces/`; by default the one that `options` names.

    Raises:
        ValueError: anything a user got wrong, as one line with the value and the choices.
    """
    if options.url:
        storage.check(options.url)
    own = own_plans.of_options(options, space)
    offer = machines.offer(options.address, options.storage.expanduser(), options.url)
    space = own.space
    if options.retrain is None:
        has_gpu = any(node.gpus for node in (*offer.nodes, *offer.more))
        name, reason = choose_profile(options.profile, has_gpu)
        if options.dataset is not None and not has_gpu and (options.trials, options.time_budget) == (None, None):
            options = dataclasses.replace(options, time_budget=_OWN_DATA)
    else:
        name, reason = "full", "the recipe's own model and data"
        options = dataclasses.replace(options, seed=options.retrain.seed if options.seed is None else options.seed)
    profile = adjusted(space.profile(name), options)
    run_name = options.name
    if run_name is None:
        run_name = run_folder.default_name(space.name, datetime.datetime.now(datetime.UTC))
    url = remote.locate(options.url, run_name) if options.url else ""
    run = copy_of(url) if url else run_folder.locate(options.storage, run_name)
    wandb = wandb_mode.resolve(options.wandb, None, options.wandb_artifact)
    if wandb.artifact and wandb.mode == "off":
        raise ValueError(f"--wandb-artifact: W&B is off: {wandb.reason}")
    return _plan(
        _Request(
            space=space,
            profile=profile,
            profile_name=name,
            profile_reason=reason,
            seed=options.seed or 0,
            place=Place(run=run, url=url, address=options.address),
            offer=offer,
            wandb=wandb,
            options=options,
            own=own,
        )
    )


def resume(run: Path, options: Options, space: Space | None = None) -> tuple[Plan, Corpus]:
    """The plan by which the search in `run` goes on: its models, data, epochs and seed; the space as it is now.

    Args:
        run: the run directory; its working copy where it is at a URL, which the options name.
        options: what was asked for.
        space: what is searched, where it is no file in `spaces/`; by default the one that `plan.json` names.

    Raises:
        ValueError: no search is there, its data or model has changed, or the space no longer holds a
            value that was tried.
    """
    run = run.expanduser().resolve()
    before = of_json(run, run_folder.read_plan(run))
    books = audit.read(run, options.url)
    search, resources, base, models = before.search, before.resources, before.search.base, before.search.models
    began = Began(base=base, models=models, fingerprint=before.data.fingerprint)
    searched_models = tuple(models) if "model" in search.distributions else ()
    kept_options: dict[str, Any] = {
        "cpus_per_trial": resources.need.cpus,  # threads decide the last bits of a result
        "gpus_per_trial": resources.need.gpus,
        "workers_per_trial": resources.need.workers,
        "concurrent": resources.concurrent,  # the order of results decides what the sampler proposes
        "retries": resources.retries,
        "checkpoint_every": resources.checkpoint_every,
        "cache_size": str(resources.cache_limit),
        "price_per_hour": resources.price_per_hour,
    }
    name, artifact = search.space, options.wandb_artifact or before.wandb.artifact
    wandb = wandb_mode.resolve(options.wandb, before.wandb.mode, artifact)
    options = dataclasses.replace(options, **{k: v for k, v in kept_options.items() if getattr(options, k) is None})
    if options.model is not None and searched_models:
        raise ValueError(f"--model: the search in {run} is over the models {', '.join(models)}; they cannot change")
    began = began.moved(
        None if options.model is None else place_of(options.model),
        {
            field: place_of(place)
            for field, option in SOURCES.items()
            if (place := getattr(options, option.removeprefix("--"))) is not None
        },
    )
    began.check_places()
    base = began.base
    own = own_plans.of_plan(before, base, space)
    space = own.space
    if space.name != name:
        raise ValueError(f"the search in {run} is of the space {name!r}, got one named {space.name!r}")
    budget = changed(base.budget, options, resumed=True)
    profile = Profile(model=base.model, data=base.data, budget=budget, models=searched_models)
    request = _Request(
        space=dataclasses.replace(space, full=profile, small=profile),  # refused where its kind of depth has changed
        profile=profile,
        profile_name=search.profile,
        profile_reason="as the search began",
        seed=search.seed,
        place=Place(run=run, url=options.url, address=options.address),
        offer=machines.offer(options.address, run, options.url),
        wandb=wandb,
        options=options,
        own=own,
        began=began,
        before=before,
    )
    plan, corpus = _plan(request)
    began.check(plan)
    for job in books.jobs.values():
        base_values = {name: getattr(plan.search.base, name) for name in plan.search.distributions}
        values = {**base_values, **parameters.sampled(job.params)}
        parameters.check_recipe(f"of trial {job.number}", values, plan.search.distributions)
    audit.check_numbers(books)
    return plan, corpus


def _plan(request: _Request) -> tuple[Plan, Corpus]:
    check_numbers(request.options)
    if not 0 <= request.seed < SEEDS:
        raise ValueError(f"--seed is 0 to {SEEDS - 1}, got {request.seed}")
    # From here on torch is imported; the mistakes above are reported without waiting for it.
    from frostline.trainables.data.corpus import cut_corpus

    began, profile = request.began, request.profile
    family, metric = own_plans.family_of(request.own, began.base.metric if began else request.own.metric)
    folders, rows = model_plans.fetch(family, profile.models or (profile.model,), profile.data)
    infos = {model: family.describe(folder) for model, folder in folders.items()}
    covers = not profile.data.max_length
    profile = fitted(profile, infos.values())
    searched = parameters.searched(request.space, profile, {model: info.blocks for model, info in infos.items()})
    parameters.check_knobs(searched, request.space.family, family.knobs)
    model_plans.check_poolings(family, folders, searched)
    smallest = parameters.smallest(searched.distributions["batch_size"])
    corpus = cut_corpus(profile.data, rows, smallest)
    lengths = model_plans.lengths(family, folders, corpus)
    data = model_plans.covering(profile.data, lengths) if covers else profile.data
    own_plans.check_metric(family, metric, corpus)
    searched, too_large = parameters.fitting(searched, len(corpus.labels["train"]))
    profile = dataclasses.replace(profile, data=data)
    sources = Sources(family=family, data=data, folders=folders, infos=infos, corpus=corpus, lengths=lengths)
    machine = resources(
        request.options, profile.budget, request.place, request.offer, sources, wandb=request.wandb.mode != "off"
    )
    base, speeds = _base(request, profile, searched, metric, infos), dict[str, Speed]()
    if began is None and machine.device == "cpu" and request.place.address is None:
        speeds = sources.speeds(base, machine.threads)
    allowed = _allowed(request, profile, corpus, searched, speeds, machine.slots)
    if allowed is not None and allowed.data != data:
        corpus = cut_corpus(allowed.data, rows, smallest)
        sources = dataclasses.replace(sources, data=allowed.data, corpus=corpus)
    if allowed is not None:
        profile = dataclasses.replace(profile, budget=allowed.budget, data=allowed.data)
        base = dataclasses.replace(base, budget=allowed.budget, data=allowed.data)
    expected = allowed.trainings if allowed else request.before.schedule.expected if request.before else None
    models = _models(request, sources, searched, profile.budget, machine, expected)
    models = {name: dataclasses.replace(model, speed=speeds.get(name, model.speed)) for name, model in models.items()}
    base = base if began else dataclasses.replace(base, cache_dtype=models[profile.model].cache_dtype)
    search, sizes = _search(request, base, searched, metric, models, family.baseline_name), corpus.sizes()
    of_own = [*request.own.remarks, *own_plans.remarks(metric, family, corpus), *(allowed.remarks if allowed else ())]
    of_models = sources.remarks(search.models, name_models=bool(profile.models))
    advised = advice(metric.name, weighs="class_weights" in searched.distributions)
    plan = Plan(
        search=search,
        data=row_plans.told(corpus, [*of_own, *too_large, *of_models], advised),
        schedule=Schedule(
            rungs=budgets.rungs(profile.budget),
            report_at=budgets.report_points(profile.budget),
            validate_on=budgets.validation_sizes(profile.budget, sizes["train"], sizes["validation"]),
            expected=expected,
        ),
        resources=machine,
        place=request.place,
        wandb=request.wandb,
    )
    return plan, corpus


_LONGEST = 512
"""Tokens of a text with a model that has no limit."""
_OWN_DATA = "15m"
"""Time budget of a search of a user's own data without a GPU, where neither a time nor a number of trials is given: how
long a number of trials takes there depends on the rows, and may be days."""


def _base(
    request: _Request, profile: Profile, searched: Searched, metric: Metric, infos: Mapping[str, ModelInfo]
) -> Recipe:
    """What all trials share: that of the search which goes on, or the first recipe."""
    if request.began is not None:
        return dataclasses.replace(request.began.base, data=profile.data, budget=profile.budget)
    blocks = {model: info.blocks for model, info in infos.items()}
    return Recipe(
        family=request.space.family,
        data=profile.data,
        budget=profile.budget,
        seed=request.seed,
        metric=metric.name,
        **{"model": profile.model, **parameters.complete(next(iter(searched.recipes.values())), blocks)},
    )


def _allowed(
    request: _Request, profile: Profile, corpus: Corpus, searched: Searched, speeds: Mapping[str, Speed], slots: int
) -> Shape | None:
    """What the time budget of a new search allows; None where it has none, or the speed is not known."""
    options, budget = request.options, profile.budget
    if request.began or options.retrain or options.time_budget is None or not speeds:
        return None
    most = budget.epochs
    if options.epochs is None and profile.data.most and not request.own.is_own:
        most = max(most, shape.LONGEST)
    cost = shape.costs(speeds, searched)
    return shape.shaped(budget, profile.data, corpus.sizes(), cost, slots, most=most, epochs=options.epochs)


def _models(
    request: _Request, sources: Sources, searched: Searched, budget: Budget, machine: Resources, expected: int | None
) -> dict[str, ModelPlan]:
    """What is planned for each model, by name."""
    if request.began is not None:
        return model_plans.again(sources, request.began.models)
    caching = Caching(
        asked=request.options.prefix_cache,
        as_before=request.options.retrain,
        device=machine.device,
        limit=machine.cache_limit,
    )
    return model_plans.planned(sources, searched, budget, caching, expected)


def _search(
    request: _Request, base: Recipe, searched: Searched, metric: Metric, models: dict[str, ModelPlan], baseline: str
) -> Search:
    return Search(
        space=request.space.name,
        profile=request.profile_name,
        profile_reason=request.profile_reason,
        metric=metric,
        seed=request.seed,
        prefer=_prefer(request),
        base=base,
        distributions=searched.distributions,
        recipes=searched.recipes,
        models=models,
        own_space=request.own.is_own,
        settings=request.own.settings,
        files=dict(request.own.files),
        baseline=baseline,
    )


def _prefer(request: _Request) -> str:
    """The one of the tied recipes that is offered.

    A search of an earlier version keeps its winner, which may be exported already, until it gets a larger budget.
    """
    options, before = request.options, request.before
    if before is None:
        return options.prefer or "cheapest"
    grows = options.trials is not None or options.time_budget is not None
    return options.prefer or before.search.prefer or ("cheapest" if grows else "")


def choose_profile(asked: str, has_gpu: bool) -> tuple[str, str]:
    """The profile and why."""
    if asked != "auto":
        return asked, "as asked"
    return ("full", "a machine has a GPU") if has_gpu else ("small", "no machine has a GPU")


def fitted(profile: Profile, infos: Iterable[ModelInfo]) -> Profile:
    """The profile with its inputs cut to the longest that all its models take, if they are longer or have no limit."""
    given = profile.data.max_length
    longest = min((info.max_length for info in infos if info.max_length is not None), default=given or _LONGEST)
    if given and given <= longest:
        return profile
    return dataclasses.replace(profile, data=dataclasses.replace(profile.data, max_length=longest))


def claim(plan: Plan) -> None:
    """Make the run directory of a new search, with copies of a user's own files.

    Raises:
        ValueError: it holds a search already, or files that are not ours, or cannot be written.
    """
    if plan.place.url:
        remote.claim(plan.place.url, plan.place.run, plan.to_json())
    else:
        run_folder.claim(plan.place.run, plan.to_json())
    for name, text in plan.search.files.items():  # for people: what counts is in plan.json
        _atomic.write(plan.place.run / name, text)
