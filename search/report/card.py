"""The model card, `best/README.md`: what the model is, how well it does, how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from frostline.search.plan.plan import Plan
from frostline.search.report.summary import score_rows, verdict
from frostline.search.words import score

if TYPE_CHECKING:
    from frostline.trainables._family import Family

_TEMPLATE = Path(__file__).with_name("card.md")


def model_card(found: Mapping[str, Any], plan: Plan, family: Family) -> str:
    """The card of the winner.

    Args:
        found: the summary of the search.
        plan: its plan.
        family: its family.
    """
    recipe = plan.recipe(found["best"]["params"], found["best"]["seed"])
    (_, validation, test), *chosen_by = score_rows(found)
    rows = [("this model", validation, test), *((name.strip(), *scores) for name, *scores in chosen_by)]
    rows += [(row["name"], score(row["validation"]), score(row["test"])) for row in found["references"]]
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        found=found,
        plan=plan,
        recipe=recipe,
        library=family.library_name,
        model=plan.search.models[recipe.model],
        rows=rows,
        sentences=verdict(found),
        sizes=", ".join(f"{size} {split}" for split, size in plan.data.sizes.items()),
        trials=sum(found["counts"].values()),
        usage=family.usage().replace("MODEL_FOLDER", str(plan.place.run / "best")),
    )
