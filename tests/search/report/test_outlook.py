"""What a longer time budget would do: sentences from what the trainings of a search did in theirs."""

import dataclasses
from typing import Any

import pytest

from frostline.search.plan.plan import Plan
from frostline.search.records.trials import Outcome, Trial
from frostline.search.report.outlook import in_words, outlook, seconds_an_epoch
from tests.search.altered import altered
from tests.search.made import trial, with_budget

OPEN = "; whether that turns it round is open."


@pytest.mark.parametrize(
    ("had", "trained", "epochs", "epoch", "slots", "text"),
    [
        (
            1200,
            [0.1, 0.3199, 0.0],
            3,
            2000.0,
            2,
            "In 20 min no training saw all training rows once (the longest saw 31 % of them). "
            "About 10 whole trainings of 3 epochs need about 9 h here (--time-budget 9h)" + OPEN,
        ),
        (
            1200,
            [0.005],
            1,
            400.0,
            1,
            "In 20 min no training saw all training rows once (the longest saw less than 1 % of them). "
            "About 10 whole trainings of 1 epoch need about 1 h 10 min here (--time-budget 1h10m)" + OPEN,
        ),
        (
            600,
            [1.0, 2.96],
            3,
            100.0,
            2,
            "In 10 min no training saw all training rows 3 times (the longest did 2.9 times). "
            "About 10 whole trainings of 3 epochs need about 25 min here (--time-budget 25m)" + OPEN,
        ),
        (
            600,
            [3.0, 3.0, 1.0],
            3.0,
            100.0,
            1,
            "In 10 min only 2 trainings saw all training rows 3 times. "
            "About 10 whole trainings of 3 epochs need about 50 min here (--time-budget 50m)" + OPEN,
        ),
        (
            600,
            [1.0],
            1,
            3600.0,
            1,
            "In 10 min only 1 training saw all training rows once. "
            "About 10 whole trainings of 1 epoch need about 10 h here (--time-budget 10h)" + OPEN,
        ),
        (
            600,
            [0.5],
            0.5,
            3600.0,
            1,
            "In 10 min only 1 training saw 50 % of the training rows. "
            "About 10 whole trainings of 0.5 epochs need about 5 h here (--time-budget 5h)" + OPEN,
        ),
        (1200, [0.0], 1, None, 1, ""),
        (1200, [], 1, 400.0, 1, ""),
        (1200, [3.0] * 10, 3, 400.0, 1, ""),
        (7200, [0.5], 3, 200.0, 1, ""),
    ],
    ids=[
        "not once",
        "next to nothing",
        "once",
        "a few whole ones",
        "one whole one",
        "a part of an epoch",
        "no speed",
        "no training",
        "enough whole ones",
        "the time was not what was short",
    ],
)
def test_it_says_how_far_the_trainings_got_and_what_a_fair_try_takes(
    had: float, trained: list[float], epochs: float, epoch: float | None, slots: int, text: str
) -> None:
    assert in_words(had, trained, epochs, epoch, slots) == text


def unmeasured(plan: Plan, **changes: Any) -> Plan:
    """A plan of a search on a cluster, or on GPUs: the speed of its model is not known."""
    models = {name: dataclasses.replace(model, speed=None) for name, model in plan.search.models.items()}
    return with_budget(altered(plan, models=models), **changes)


LATE = (trial(0, Outcome.OUT_OF_TIME, 0.5, 0.6, seconds=30.0), trial(1, Outcome.OUT_OF_TIME, 0.5, seconds=15.0))
"""Trials that took 15 s an epoch."""


@pytest.mark.parametrize(
    ("changes", "trainings", "begins"),
    [
        ({"trials": None, "seconds": 45.0}, LATE, "In 45 s no training saw all training rows 40 times"),
        ({"trials": 5, "seconds": 45.0}, LATE, "In 45 s no training"),
        ({"trials": None, "seconds": 45.0}, [trial(0, Outcome.OUT_OF_TIME)], ""),
        ({"trials": 5, "seconds": 45.0}, [trial(0, Outcome.COMPLETE, 0.5, 0.6)], ""),
        ({"trials": 5, "seconds": None}, LATE, ""),
    ],
    ids=["a time", "a time that was over first", "no report", "trials that ended first", "no time"],
)
def test_it_is_said_where_the_time_ended_the_search(
    plan: Plan, changes: dict[str, Any], trainings: list[Trial], begins: str
) -> None:
    text = outlook(unmeasured(plan, **changes), trainings, 40)
    assert text.startswith(begins)
    assert bool(text) is bool(begins)


def test_an_epoch_takes_what_was_measured(plan: Plan) -> None:
    assert seconds_an_epoch(unmeasured(plan), LATE) == 15.0
    assert seconds_an_epoch(unmeasured(plan), []) is None
    short, long = (seconds_an_epoch(with_budget(plan, epochs=epochs), LATE) for epochs in (2, 4))
    assert short is not None
    assert 0 < short < 15, "the speed of the model is measured with the plan"
    assert long == pytest.approx(short, rel=0.5), "of an epoch, not of a training"
