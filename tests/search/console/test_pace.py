import dataclasses

import pytest

from frostline.search import words
from frostline.search.console import pace
from frostline.search.console.pace import Measured, Rates, Rung
from frostline.search.records.trials import Outcome
from tests.search.made import trial


def test_a_rung_counts_the_trials_that_reach_it() -> None:
    trials = [
        trial(0, Outcome.COMPLETE, 0.5, 0.6, 0.7, 0.8),
        trial(1, Outcome.PRUNED, 0.5),
        trial(2, Outcome.PRUNED, 0.5, 0.5, 0.5),  # stopped after the second rung
        trial(3, Outcome.FAILED, 0.5, reason="loss is nan"),
        trial(4, Outcome.RUNNING, 0.5),
        dataclasses.replace(trial(5, Outcome.RUNNING, 0.5), reports=()),
        trial(6, Outcome.OUT_OF_TIME, 0.5, 0.6),
        trial(7, Outcome.INTERRUPTED, 0.5, 0.6),  # goes on
    ]
    assert pace.rung_counts(trials, (1.0, 2.0)) == [
        Rung(epoch=1.0, reached=7, stopped=1, passed=5),
        Rung(epoch=2.0, reached=4, stopped=1, passed=2),
    ]
    assert pace.rung_counts(trials, ()) == []


def test_all_trials_are_expected_to_pass_until_others_are_counted() -> None:
    empty = Rung(epoch=0.5, reached=0, stopped=0, passed=0)
    full = Rung(epoch=1.0, reached=999, stopped=250, passed=749)
    assert pace.passing([empty, full]) == {0.5: 1.0, 1.0: 0.75}


@pytest.mark.parametrize(
    ("done", "ahead"),
    [(0.0, 0.5 + 0.5 * 0.5 + 0.1 * 1), (0.5, 0.5 + 0.2 * 1), (0.75, 0.25 + 0.2), (1.0, 1.0), (2.0, 0.0)],
)
def test_each_rung_ahead_lowers_the_expected_epochs_of_a_trial(done: float, ahead: float) -> None:
    assert pace.epochs_ahead(done, 2.0, {0.5: 0.5, 1.0: 0.2}) == pytest.approx(ahead)
    assert pace.epochs_ahead(done, 2.0, {}) == 2.0 - done


def measured(depth: int, epochs: float, seconds: float, model: str = "m") -> Measured:
    return Measured(model=model, depth=depth, epochs=epochs, seconds=seconds)


@pytest.mark.parametrize(
    ("depth", "seconds"), [(0, 20.0), (2, 20.0), (3, 15.0), (4, 10.0), (5, 7.0), (7, 1.0), (9, 1.0)]
)
def test_the_rate_of_a_depth_is_interpolated_from_its_neighbours(depth: int, seconds: float) -> None:
    rates = Rates([measured(2, 1, 10), measured(2, 2, 50), measured(4, 0.5, 5), measured(7, 2, 2), measured(1, 0, 9)])
    assert rates.at("m", depth) == pytest.approx(seconds)


def test_a_model_without_measurements_has_the_mean_rate_of_the_others() -> None:
    rates = Rates([measured(0, 1, 10), measured(4, 1, 2), measured(0, 1, 30, "large")])
    assert rates.at("other", 4) == pytest.approx(14.0)
    assert rates.mean([("m", 0), ("large", 0)]) == pytest.approx(20.0)
    assert rates.mean([]) is None


def test_without_measurements_there_is_no_rate() -> None:
    assert Rates([]).at("m", 0) is None
    assert Rates([measured(0, 0, 3)]).mean([("m", 0)]) is None


@pytest.mark.parametrize(
    ("running", "upcoming", "confirming", "limit", "left"),
    [
        ([], [], [], None, 0.0),
        ([10.0], [10.0] * 3, [], None, 20.0),
        ([90.0], [10.0], [], None, 90.0),  # the longest has to end
        ([10.0], [10.0], [30.0] * 4, None, 70.0),
        ([10.0], [float("inf")], [30.0] * 4, 100.0, 100.0),  # of an open number of trials, as many as fit
        ([10.0], [10.0], [30.0] * 4, 1000.0, 70.0),
        ([10.0], [float("inf")], [30.0] * 4, 0.0, 60.0),  # the time for trials is over; the confirmation still runs
    ],
)
def test_the_slots_share_the_remaining_work(
    running: list[float], upcoming: list[float], confirming: list[float], limit: float | None, left: float
) -> None:
    seconds = pace.seconds_left(running=running, upcoming=upcoming, confirming=confirming, slots=2, limit=limit)
    assert seconds == pytest.approx(left)


def test_the_shares_of_the_slots_time_add_up() -> None:
    spent = {"training": 50.0, "evaluation": 10.0, "data": 20.0}
    assert pace.shares(spent, 100.0) == {"training": 0.5, "evaluation": 0.1, "data": 0.2, "idle": 0.2}
    assert pace.shares(spent, 40.0)["idle"] == 0, "the clocks of two machines may differ"
    assert pace.shares({}, 100.0) == {}
    for seconds in (100.0, 81.0, 333.3):
        assert sum(pace.percents(pace.shares(spent, seconds)).values()) == 100
    assert pace.percents({}) == {}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "10 s"), (44, "40 s"), (91, "2 min"), (5000, "83 min"), (9000, "2 h 30 min"), (40000, "11 h"), (7190, "2 h")],
)
def test_an_estimate_is_rounded(seconds: float, text: str) -> None:
    assert words.estimate(seconds) == text
