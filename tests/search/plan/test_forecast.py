"""How long a search will take: arithmetic on measured speeds, and the line that says it."""

import dataclasses
from typing import Any

import pytest

from frostline.search.plan import forecast as forecasts
from frostline.search.plan.describe import time_line
from frostline.search.plan.plan import Plan
from frostline.search.plan.prefix import Decision
from frostline.trainables._task import Speed
from tests.search.altered import altered
from tests.search.made import with_budget

SPEED = Speed(depths=(0, 1, 3), trained=(0.3, 0.25, 0.11), evaluated=0.1)
"""Of a model of 3 blocks, seconds of an example."""


def known(plan: Plan, kept: tuple[int, ...] = (), **changes: Any) -> Plan:
    """The plan with this speed, 100 examples in each slice, and one measurement on 50 of them."""
    (name, model), *_ = plan.search.models.items()
    prefix = Decision(kept=kept, first_only=(), bytes=0.0, spent=0.0, saved=0.0)
    model = dataclasses.replace(model, speed=SPEED, prefix=prefix)
    sizes = dict.fromkeys(("train", "validation", "test"), 100)
    made = altered(plan, models={name: model}, sizes=sizes, validate_on=(50,), report_at=(2.0,))
    return with_budget(made, **{"slots": 2, "confirm_recipes": 0, **changes})


@pytest.mark.parametrize(
    ("kept", "changes", "shortest", "longest", "mean", "search"),
    [
        # Depths 0 to 3: 65, 55, 41 and 27 s; the first two recipes have depths 0 and 3.
        ((), {"trials": 2}, 27, 65, 47, 20 + (65 + 27 + 10) / 2),
        ((), {"trials": 6}, 27, 65, 47, 20 + (65 + 27 + 4 * 47 + 10) / 2),
        ((), {"trials": 6, "confirm_recipes": 1, "confirm_seeds": 2}, 27, 65, 47, 20 + (65 + 27 + 6 * 47 + 10) / 2),
        ((), {"trials": 6, "seconds": 60.0}, 27, 65, 47, 60),
        ((), {"trials": None, "seconds": 600.0}, 27, 65, 47, 600),
        # With the outputs of all blocks in the cache a head costs next to nothing, after one pass.
        ((3,), {"trials": 2}, 2, 65, 40.75, 20 + (65 + 2 + 20 + 10) / 2),
    ],
)
def test_it_is_a_sum_of_what_was_measured(
    plan: Plan,
    kept: tuple[int, ...],
    changes: dict[str, Any],
    shortest: float,
    longest: float,
    mean: float,
    search: float,
) -> None:
    found = forecasts.forecast(known(plan, kept, **changes))
    assert found is not None
    expected = (shortest, longest, mean, search)
    assert (found.shortest, found.longest, found.training, found.search) == pytest.approx(expected)


def test_nothing_is_said_where_no_speed_is_known(plan: Plan) -> None:
    (name, model), *_ = plan.search.models.items()
    assert model.speed is not None, "it is measured with the plan"
    assert 0 < model.speed.trained[-1] < model.speed.trained[0] < 1
    without = altered(plan, models={name: dataclasses.replace(model, speed=None)})
    assert forecasts.forecast(without) is None
    assert time_line(without) == ""


@pytest.mark.parametrize(
    ("changes", "resources", "line"),
    [
        ({"trials": 6}, {}, "about 2 min 45 s in all; a trial that is trained whole takes about 27 s to 1 min 5 s"),
        (
            {"trials": None, "seconds": 7200.0},
            {"price_per_hour": 0.5},
            "2 h in all; a trial that is trained whole takes about 27 s to 1 min 5 s; --time-budget gives more or "
            "less; it costs 1.00 at 0.5 an hour",
        ),
    ],
)
def test_the_line_says_time_and_price(
    plan: Plan, changes: dict[str, Any], resources: dict[str, Any], line: str
) -> None:
    assert time_line(altered(known(plan, **changes), **resources)) == line


def test_of_gpus_each_one_counts(plan: Plan) -> None:
    made = known(plan, trials=None, seconds=7200.0)
    need = dataclasses.replace(made.resources.need, gpus=1.0)
    assert time_line(altered(made, need=need, price_per_hour=2.5)).endswith(
        "; 4 GPU hours; it costs 10.00 at 2.5 an hour"
    )
