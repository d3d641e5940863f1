"""What a user has of their own: a space in a file, other values for its parameters, a metric. No torch at import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from frostline import spaces
from frostline.search.plan import settings, space_files
from frostline.search.plan.options import Options, metric_file
from frostline.search.plan.plan import Plan
from frostline.search.records.folder import METRIC
from frostline.spaces import Metric, Recipe, Space

if TYPE_CHECKING:
    from frostline.trainables._family import Family
    from frostline.trainables.data.corpus import Corpus


@dataclass(frozen=True, kw_only=True, slots=True)
class Own:
    """The space and the metric of a search, and what of them is the user's own."""

    space: Space
    """With the settings."""
    metric: str
    """Name of the metric that decides; empty for the family's first."""
    is_own: bool = False
    """Whether the space is another one than a file of `spaces/` has."""
    settings: tuple[str, ...] = ()
    """What was changed of it, `NAME=VALUES` each."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Texts of the user's own files by their names in the run directory."""
    origin: str = METRIC
    """The file in which the metric is a function, for messages."""
    remarks: tuple[str, ...] = ()
    """What a user should know of it, a sentence each."""


def of_options(options: Options, space: Space | None = None) -> Own:
    """What a new search begins with.

    Args:
        options: what was asked for.
        space: what is searched, where the options name none.

    Raises:
        ValueError: as one line: no such space or file, or values that a parameter cannot have.
    """
    if options.retrain is not None:
        if options.set or options.class_weights:
            raise ValueError("--set and --class-weights cannot be combined with --retrain: it keeps the recipe")
        found = space_files.Found(space=spaces.of_recipe(options.retrain))
    elif space is not None:
        found = space_files.Found(space=space)
    else:
        folder = None if options.space_path is None else Path(options.space_path)
        found = space_files.find(options.space, folder)
    given = list(options.set or ())
    if options.class_weights and (options.class_weights != "none" or "class_weights" in found.space.parameters):
        given.append(f"class_weights={options.class_weights}")
    changed, remarks = settings.applied(found.space, given)
    metric, files, origin = options.metric or changed.metric, dict(found.copy), METRIC
    if (named := metric_file(metric)) is not None:
        path, metric = named
        files[METRIC], origin = _text(path), str(path)
    return Own(
        space=changed,
        metric=metric,
        is_own=bool(space is not None or found.file or given),
        settings=tuple(given),
        files=files,
        origin=origin,
        remarks=tuple(remarks),
    )


def _text(path: Path) -> str:
    """The text of a metric's file.

    Raises:
        ValueError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"--metric {path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"--metric {path} is not UTF-8") from None


def of_plan(plan: Plan, base: Recipe, space: Space | None = None) -> Own:
    """What a search goes on with: a space of `spaces/` as it is now, any other one as the search began.

    Args:
        plan: of the search.
        base: its recipe, with model and data where they are now.
        space: what is searched, where a program gives it.
    """
    search = plan.search
    if space is None and search.space == spaces.RETRAIN:
        space = spaces.of_recipe(base)
    elif space is None and (search.own_space or search.space not in spaces.names()):
        space = _space_of(plan, base)
    return Own(
        space=space or spaces.load(search.space),
        metric=base.metric,
        is_own=search.own_space,
        settings=search.settings,
        files=search.files,
        origin=str(plan.place.run / METRIC),
        remarks=tuple(remark for remark in plan.data.remarks if remark.startswith("--set ")),
    )


def _space_of(plan: Plan, base: Recipe) -> Space:
    """The space of a search as its plan has it. Its profiles are the search's own model and data."""
    search = plan.search
    models = tuple(search.models) if "model" in search.distributions else ()
    profile = spaces.Profile(model=base.model, data=base.data, budget=base.budget, models=models)
    return Space(
        name=search.space,
        summary="as the search began",
        family=base.family,
        parameters={name: values for name, values in search.distributions.items() if name != "model"},
        recipes={
            label: {name: value for name, value in recipe.items() if name != "model"}
            for label, recipe in search.recipes.items()
        },
        full=profile,
        small=profile,
    )


def family_of(own: Own, name: str) -> tuple[Family, Metric]:
    """The family of a search, with the metric that decides.

    Args:
        own: the space, and the file of the metric if it is a function.
        name: of the metric; empty for the family's first.

    Raises:
        ValueError: no such family or metric, or a file that does not run.
    """
    from frostline.trainables import _family, _metrics

    family = _family.load(own.space.family)
    if code := own.files.get(METRIC):
        metric = _metrics.declared(code, name, own.origin)
        return family.with_metric(metric, code, own.origin), metric
    try:
        return family, family.metric(name or family.metrics[0].name)
    except ValueError as error:
        if own.space.name != spaces.RETRAIN:
            raise
        raise ValueError(f"{error}; a function of one's own is given again: --metric FILE.py:{name}") from error


def family_in(plan: Plan) -> Family:
    """The family of a planned search, with the metric of a user's file if that decides."""
    from frostline.trainables import _family

    family, search = _family.load(plan.search.base.family), plan.search
    return family.with_metric(search.metric, search.metric_code) if search.metric_code else family


def check_metric(family: Family, metric: Metric, corpus: Corpus) -> None:
    """Refuse a metric that these slices do not have, and a function that does not run on them.

    Raises:
        ValueError: names the metric and the reason.
    """
    import torch

    from frostline.trainables import _metrics
    from frostline.trainables.data.corpus import SPLITS

    count = len(corpus.classes)
    if metric.name not in family.names(count):
        choices = ", ".join(name for name in family.names(count) if name.endswith("f1"))
        raise ValueError(f"metric {metric.name!r} is for two classes, the data have {count}: {choices} take any number")
    for split in SPLITS[1:]:  # as the baselines are scored
        labels = torch.from_numpy(corpus.labels[split])
        try:
            family.score(_metrics.shares(labels, count), labels, [metric.name])
        except Exception as error:  # a user's function fails in its own way
            if metric.name not in family.own_metrics:
                raise
            why = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            raise ValueError(f"metric {metric.name!r} fails on the {split} labels: {why}") from error
    if (missing := _missing(corpus, "validation")) and _needs_all(metric, family):
        raise ValueError(
            f"metric {metric.name!r} is undefined: no validation example is of the class {missing[0]!r}; "
            "take another metric, or more validation rows"
        )


def remarks(metric: Metric, family: Family, corpus: Corpus) -> list[str]:
    """What a user should know of the metric on these data, a sentence each."""
    from frostline.trainables import _metrics

    sentences = []
    if metric.name in _metrics.WITH_POSITIVE and len(corpus.classes) == 2:
        sentences.append(f"{metric.name} takes {corpus.classes[1]!r} as the positive class, the last one by name")
    if (missing := _missing(corpus, "test")) and _needs_all(metric, family):
        sentences.append(f"{metric.name} is undefined on the test slice: none of its examples is of {missing[0]!r}")
    return sentences


def _needs_all(metric: Metric, family: Family) -> bool:
    """Whether the metric is undefined on a slice that lacks a class."""
    return metric.may_be_undefined and metric.name not in family.own_metrics


def _missing(corpus: Corpus, split: str) -> list[str]:
    """The classes without an example in a slice."""
    present = {*corpus.labels[split].tolist()}
    return [name for number, name in enumerate(corpus.classes) if number not in present]
