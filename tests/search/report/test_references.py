"""The baselines and recipes that the winner is compared with."""

import pytest

from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome
from frostline.search.report.references import baseline_row, references
from frostline.spaces import Metric
from frostline.trainables._family import Baseline
from tests.search.made import METRIC, line, trial

LOSS = Metric(name="loss", better="lower")


@pytest.mark.parametrize(("metric", "sign"), [(METRIC, 1), (LOSS, -1)])
def test_the_spaces_own_recipes_come_in_the_order_in_which_they_were_tried(metric: Metric, sign: int) -> None:
    rows = references(
        [
            trial(0, Outcome.PRUNED, 0.6 * sign, 0.7 * sign, label="default"),
            trial(1, Outcome.FAILED, label="linear probe"),
            trial(2, Outcome.COMPLETE, 0.9 * sign),
        ],
        metric,
    )
    best, epoch = (0.7, 2.0) if sign == 1 else (0.6, 1.0)
    assert [(row.name, row.validation, row.first_rung, row.epoch, row.test) for row in rows] == [
        ("default", best, 0.6, epoch, None),
        ("linear probe", None, None, None, None),
    ]


def test_a_score_on_part_of_the_examples_counts_as_the_first_rung_only() -> None:
    early = line(1, Outcome.RUNNING, 0.9, epoch=0.125, samples=40, partial=True, label="default")
    (row,) = references(trial_records.collect([early]), METRIC)
    assert (row.validation, row.first_rung) == (None, 0.9)


@pytest.mark.parametrize(("metric", "validation", "test"), [(METRIC, 0.5, 0.52), (LOSS, 0.69, 0.68)])
def test_a_baseline_has_a_row_in_the_metric_that_decides(metric: Metric, validation: float, test: float) -> None:
    scores = {"validation": {"accuracy": 0.5, "loss": 0.69}, "test": {"accuracy": 0.52, "loss": 0.68}}
    row = baseline_row(Baseline(name="majority class", scores=scores), metric)
    assert (row.name, row.validation, row.test, row.first_rung) == ("majority class", validation, test, None)
