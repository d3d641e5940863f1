"""The model card, `best/README.md`: what the model is, how good it is, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from frostline.search.plan.plan import Plan
from frostline.search.report.compared import caution, of_summary
from frostline.search.report.summary import score_rows
from frostline.search.report.verdict import Evidence, verdict
from frostline.search.words import score, shown

if TYPE_CHECKING:
    from frostline.trainables._family import Family

_TEMPLATE = Path(__file__).with_name("card.md")


def model_card(summary: Mapping[str, Any], plan: Plan, family: Family) -> str:
    """The model card of the winner, in Markdown.

    Args:
        summary: summary of a search that has a winner.
        plan: plan of the search.
        family: family of the winner.
    """
    recipe = plan.recipe(summary["best"]["params"], summary["best"]["seed"])
    metric = summary["metric"]
    (_, validation, test), *chosen_by = score_rows(summary)
    rows = [("this model", validation, test), *((name.strip(), *scores) for name, *scores in chosen_by)]
    rows += [(row["name"], score(row["validation"]), score(row["test"])) for row in summary["references"]]
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        summary=summary,
        plan=plan,
        recipe=recipe,
        library=family.library_name,
        name=shown(recipe.model),
        source=shown(plan.search.base.data.source),
        model=plan.search.models[recipe.model],
        rows=rows,
        caution=caution(of_summary(summary)),
        others=", ".join(f"{name} {score(value)}" for name, value in (summary["test"] or {}).items() if name != metric),
        sentences=verdict(Evidence.of_summary(summary)),
        sizes=", ".join(f"{size} {split}" for split, size in plan.data.sizes.items()),
        trials=sum(summary["counts"].values()),
        usage=family.usage(recipe).replace("MODEL_FOLDER", f"{plan.place.run.name}/best"),
    )
