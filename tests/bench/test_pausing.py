"""Searches with pauses: what goes on, and how likely a training is to be one of the best."""

from collections.abc import Hashable

import numpy as np
import pytest

from frostline.search.ledger.rungs import normal_scores
from tests.bench.curves import freeze_thaw, ours, pausing
from tests.bench.curves.__main__ import TABLES
from tests.bench.curves.freeze_thaw import Prior, chance
from tests.bench.curves.replay import Claim, Method, Start, replay, seconds_of
from tests.bench.curves.standin import Point, StandIn, load

_FINALS = normal_scores(np.random.default_rng(1).random(30))
_NOTHING = np.full(30, np.nan)
_PRIOR = Prior(mean=0.3, variance=0.8)


def test_without_a_signal_a_training_has_the_chance_that_its_recipe_has() -> None:
    assert chance(Prior(mean=1.0, variance=4.0), 1.0) == (0.5, 1.0)
    silent = np.column_stack([_NOTHING] * 3)
    assert chance(_PRIOR, 1.0, (np.nan,) * 3, silent, _FINALS) == chance(_PRIOR, 1.0)


def test_signals_count_as_far_as_they_have_foretold_the_finals() -> None:
    def moved(signal: np.ndarray, shown: float) -> float:
        known = np.column_stack([_NOTHING, signal, _NOTHING])
        return chance(_PRIOR, 1.0, (np.nan, shown, np.nan), known, _FINALS)[0] - chance(_PRIOR, 1.0)[0]

    clear, blind = _FINALS, np.random.default_rng(2).permutation(_FINALS)
    assert moved(clear, 3.0) > 0.3
    assert moved(clear, -3.0) < -0.2
    assert abs(moved(blind, 3.0)) < 0.1


class _Watched:
    """A method, with what it began and was told."""

    def __init__(self, method: pausing.Pausing) -> None:
        self.method = method
        self.starts: list[Start] = []
        self.epochs: dict[Hashable, list[float]] = {}

    def ask(self, now: float) -> Start | None:
        if start := self.method.ask(now):
            self.starts.append(start)
        return start

    def report(self, key: Hashable, point: Point, last: bool, now: float) -> bool:
        self.epochs.setdefault(key, []).append(point.epoch)
        return self.method.report(key, point, last, now)

    def claim(self) -> Claim | None:
        return self.method.claim()


@pytest.mark.parametrize("method", [freeze_thaw.FreezeThaw, pausing.Pausing])
def test_a_paused_trial_goes_on_where_it_was_and_few_are_paused_at_once(method: type[pausing.Pausing]) -> None:
    stand_in, watched = load("digits", TABLES), list[_Watched]()

    def making(stand_in: StandIn, workers: int, seconds: float, seed: int) -> Method:
        watched.append(_Watched(method(stand_in, workers, ours.budget_of(stand_in, seconds), seed)))
        return watched[0]

    replay(stand_in, making, 2, seconds_of(stand_in, 2), 0)
    again = {start.key for start in watched[0].starts if start.after}
    assert again, "trials were paused and went on"
    assert any(max(watched[0].epochs[key]) == stand_in.epochs[-1] for key in again), "to their end"
    for epochs in watched[0].epochs.values():
        assert tuple(epochs) == stand_in.epochs[: len(epochs)], "no report is missing, none comes twice"
    assert len(watched[0].method._ledger._paused) <= pausing._LEAST_KEPT
