"""Plans with other values, by the names of their fields."""

import dataclasses
from typing import Any

from frostline.search.plan.plan import Plan


def altered(plan: Plan, **changes: Any) -> Plan:
    """The plan with these fields of its groups replaced; `wandb` is W&B's mode."""
    if "wandb" in changes:
        plan = dataclasses.replace(plan, wandb=dataclasses.replace(plan.wandb, mode=changes.pop("wandb")))
    for group in ("search", "data", "schedule", "resources", "place"):
        values = getattr(plan, group)
        fields = {field.name for field in dataclasses.fields(values)} & changes.keys()
        replaced = dataclasses.replace(values, **{name: changes.pop(name) for name in fields})
        plan = dataclasses.replace(plan, **{group: replaced})
    assert not changes, f"no group of a plan has {sorted(changes)}"
    return plan
