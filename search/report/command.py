"""The command that repeats a search."""

from __future__ import annotations

import shlex

from frostline.search.plan.plan import Plan
from frostline.spaces import RETRAIN

_WIDTH = 76
"""Characters of a line, without the backslash at its end."""


def command(plan: Plan) -> str:
    """The command that makes the same search in a new run directory, with every choice spelled out."""
    base, budget, data = plan.search.base, plan.budget, plan.search.base.data
    if plan.search.space == RETRAIN:
        return f"frostline --retrain {shlex.quote(str(plan.place))} --seed {plan.search.seed}"
    keeps_prefix = any(model.prefix.kept for model in plan.search.models.values())
    options = {
        "--space": plan.search.space,
        "--profile": plan.search.profile,
        "--seed": str(plan.search.seed),
        **({} if "model" in plan.search.distributions else {"--model": base.model}),
        "--dataset": data.source,
        "--columns": f"{data.text},{data.label}",
        **({} if budget.trials is None else {"--trials": str(budget.trials)}),
        **({} if budget.seconds is None else {"--time-budget": f"{budget.seconds:g}s"}),
        "--epochs": str(budget.epochs),
        "--confirm": str(budget.confirm_recipes),
        "--confirm-seeds": str(budget.confirm_seeds),
        "--prefix-cache": base.cache_dtype if keeps_prefix else "off",
    }
    lines, line = [], "frostline"
    for option, value in options.items():
        part = f"{option} {shlex.quote(value)}"
        if len(line) + len(part) > _WIDTH:
            lines.append(f"{line} \\")
            line = f"    {part}"
        else:
            line += f" {part}"
    return "\n".join([*lines, line])
