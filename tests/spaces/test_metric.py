"""A metric turns its values so that larger is better, and back."""

from typing import Any

import pytest

from frostline.spaces import Metric


@pytest.mark.parametrize(("better", "worse", "good"), [("higher", 0.2, 0.9), ("lower", 0.9, 0.2)])
def test_the_better_value_has_the_larger_objective(better: Any, worse: float, good: float) -> None:
    metric = Metric(name="m", better=better)
    assert metric.objective(good) > metric.objective(worse)
    assert [metric.value(metric.objective(value)) for value in (worse, good)] == [worse, good]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "a metric needs a name"),
        ({"name": "m", "better": "larger"}, "metric 'm': better is 'higher' or 'lower', got 'larger'"),
        ({"name": "m", "better": "lower", "is_share": True}, "'m' is a share of right answers, so higher must be"),
    ],
)
def test_a_metric_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Metric(**fields)
