"""The command that repeats a search."""

from __future__ import annotations

import shlex

from frostline import spaces
from frostline.search.plan.options import typed_as
from frostline.search.plan.plan import Plan
from frostline.search.records.folder import METRIC
from frostline.spaces import RETRAIN

_WIDTH = 76
"""Characters of a line, without the backslash at its end."""


def command(plan: Plan) -> str:
    """The command that makes the same search in a new run directory, with every choice spelled out.

    A user's own files are the copies on this machine, also where the run directory is at a URL: options take no URL.
    For a `Space` object that is in no file, it is the call in Python.
    """
    search = plan.search
    base, budget, data = plan.search.base, plan.budget, plan.search.base.data
    if plan.search.space == RETRAIN:
        return f"frostline --retrain {shlex.quote(str(plan.place))} --seed {plan.search.seed}"
    beside = {"validation": data.validation_source, "test": data.test_source, "group": data.group}
    keeps_prefix = any(model.prefix.kept for model in plan.search.models.values())
    options: dict[str, str | float] = {
        "profile": plan.search.profile,
        "metric": f"{plan.place.run}/{METRIC}:{search.metric.name}" if search.metric_code else search.metric.name,
        "seed": plan.search.seed,
        **({} if "model" in plan.search.distributions else {"model": base.model}),
        **({} if data.most is None else {"dataset": data.source, "columns": f"{data.text},{data.label}"}),
        **({} if data.train is None else {"train_rows": data.train}),
        **{name: value for name, value in beside.items() if value is not None},
        **({} if budget.trials is None else {"trials": budget.trials}),
        **({} if budget.seconds is None else {"time_budget": f"{budget.seconds:g}s"}),
        "epochs": budget.epochs,
        "confirm_recipes": budget.confirm_recipes,
        "confirm_seeds": budget.confirm_seeds,
        "prefer": plan.search.prefer or "best",
        "prefix_cache": base.cache_dtype if keeps_prefix else "off",
    }
    copy = next((name for name in search.files if name.startswith("space.")), None)
    if copy is None and (search.space not in spaces.names() or (search.own_space and not search.settings)):
        given = {**options, "set": list(search.settings)} if search.settings else options
        call = ["frostline.search(", "space,", *(f"{name}={value!r}," for name, value in given.items())]
        return "\n    ".join(call) + "\n)"
    space = f"{plan.place.run}/{copy}" if copy else search.space
    lines, line = [], "frostline"
    for name, value in (("space", space), *(("set", setting) for setting in search.settings), *options.items()):
        part = f"{typed_as(name)} {shlex.quote(str(value))}"
        if len(line) + len(part) > _WIDTH:
            lines.append(f"{line} \\")
            line = f"    {part}"
        else:
            line += f" {part}"
    return "\n".join([*lines, line])
