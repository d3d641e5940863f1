"""What the trainings of a search say of its recipes: trials and trainings with fresh seeds, together. No Ray, no torch.

The ledger's decisions ask here: which recipe is tried next, which ones are trained again, which one is offered.
Everything follows from the records, whatever their order.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from frostline.search.ledger import belief
from frostline.search.ledger.belief import Belief
from frostline.search.ledger.gaussian import proposal
from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.gaussian.surrogate import Array, Surrogate
from frostline.search.records.trials import Outcome, Trial

T = TypeVar("T")

MOST = 60
"""Trainings that are looked at, at most: time grows with the cube of their number (60 take 0.05 s)."""
_BEST = 40
"""Of these, the best ones. The others are spread over the rest."""
_BROKEN_OFF = {Outcome.OUT_OF_TIME, Outcome.INTERRUPTED}
"""Ends that have nothing to do with the recipe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a training showed of its recipe."""

    params: Mapping[str, Any]
    score: float
    """Its objective; minus infinity if it has none."""
    loss: float
    """Its last validation loss; NaN if there is none."""
    whole: bool
    """False if it was stopped or failed."""
    confirms: bool = False
    """True if it trained a recipe again."""
    seconds: float = math.nan
    """What it took; NaN unless it is whole."""


class Knowledge:
    """The trainings of one search."""

    def __init__(self, axes: Axes, examples: int | None) -> None:
        """Nothing is known.

        Args:
            axes: of the space.
            examples: size of the validation slice if the objective is the share of right answers on it; else None.
        """
        self.axes, self._examples = axes, examples
        self._seen: dict[tuple[int, int], Seen] = {}
        self._order: list[tuple[tuple[bool, bool, float], tuple[int, int]]] = []
        """What was seen, the most informative first."""
        self._made: Surrogate | None = None
        """Of what is looked at; None if it has to be made again."""

    def put(self, trial: Trial) -> None:
        """Take in a training if it has ended and says something of its recipe."""
        if not trial.open:
            self._put(trial)

    def also(self, interrupted: Iterable[Trial]) -> Knowledge:
        """The same with trials that Ctrl-C has interrupted, with the scores that they had.

        The search itself must not know them: when it goes on, it goes on as if it had never been interrupted.
        """
        more = Knowledge(self.axes, self._examples)
        more._seen, more._order = dict(self._seen), list(self._order)
        for trial in interrupted:
            more._put(trial)
        return more

    def _put(self, trial: Trial) -> None:
        before, seen = self._seen.get(trial.key), seen_of(trial)
        if seen is None or seen == before:
            return
        if before is not None:
            self._order.remove((_rank(before), trial.key))
        bisect.insort(self._order, (_rank(seen), trial.key))
        self._seen[trial.key], self._made = seen, None

    @property
    def surrogate(self) -> Surrogate | None:
        """What is expected of every recipe; None as long as no training has come to its end."""
        if self._made is None:
            seen = self._looked_at()
            self._made = surrogate_of(self.axes, seen, self._examples) if any(one.whole for one in seen) else None
        return self._made

    def expected(self, trials: Sequence[Trial]) -> Array:
        """[trials]: expected objectives of their recipes.

        Raises:
            ValueError: no training has come to its end.
        """
        known = self._known()
        return known.scores(known.expect(self.axes.places([trial.params for trial in trials])).mean)

    def belief(self, trials: Sequence[Trial]) -> Belief:
        """Draws of the mean scores of their recipes.

        Raises:
            ValueError: no training has come to its end.
        """
        return belief.believe(self._known(), self.axes.places([trial.params for trial in trials]))

    def propose(
        self, running: Sequence[Mapping[str, Any]], draw: np.random.Generator, seconds: float = math.inf
    ) -> tuple[dict[str, Any], float] | None:
        """The recipe that is tried next, and by how much it is expected to improve on the best objective so far.

        None if no recipe would end in time.

        Args:
            running: recipes of trials that run.
            draw: random numbers.
            seconds: what a training may take.

        Raises:
            ValueError: no training has come to its end.
        """
        known, tried = self._known(), self._looked_at()
        ends = proposal.ends_within(self.axes, tried, seconds) if math.isfinite(seconds) else None
        return proposal.propose(self.axes, known, [one.params for one in tried], running, draw, ends)

    def _looked_at(self) -> list[Seen]:
        return [self._seen[key] for key in sorted(key for _, key in informative(self._order))]

    def _known(self) -> Surrogate:
        known = self.surrogate
        if known is None:
            raise ValueError("no training has come to its end")
        return known


def seen_of(trial: Trial) -> Seen | None:
    """What a training showed; None if it runs, or if it ended for a reason that says nothing of its recipe.

    A trial that the time or Ctrl-C has ended counts with the score that it had: its weights can win.
    """
    broken_off = trial.outcome in _BROKEN_OFF
    if trial.outcome == Outcome.RUNNING or (broken_off and (trial.best is None or trial.confirms)):
        return None
    last = trial.reports[-1] if trial.reports else None
    failed = trial.outcome in {Outcome.FAILED, Outcome.INFEASIBLE}
    ended = trial.confirms or broken_off or trial.outcome == Outcome.COMPLETE
    whole = not failed and trial.best is not None and ended
    score = -math.inf if failed else trial.objective
    if not failed and trial.best is None and last is not None and last.objective is not None:
        score = last.objective  # on a part of the validation examples
    return Seen(
        params=trial.params,
        score=score if math.isfinite(score) else -math.inf,
        loss=math.nan if last is None else last.metrics.get("loss", math.nan),
        whole=whole,
        confirms=trial.confirms,
        seconds=trial.seconds if whole and not broken_off else math.nan,
    )


def _rank(seen: Seen) -> tuple[bool, bool, float]:
    """Sort key: trainings that confirm, then whole ones, then the best."""
    return not seen.confirms, not seen.whole, -seen.score


def informative(order: Sequence[T]) -> list[T]:
    """At most `MOST` of a sequence: the first ones, and some from among the rest, evenly."""
    rest = max(0, len(order) - _BEST)
    return [*order[:_BEST], *order[_BEST :: max(1, math.ceil(rest / (MOST - _BEST)))]]


def surrogate_of(axes: Axes, seen: Sequence[Seen], examples: int | None) -> Surrogate:
    """What these trainings say of all recipes.

    Args:
        axes: of the space.
        seen: trainings, at least one of them whole.
        examples: see `Knowledge`.
    """
    # A stopped training would not have been one of the best, whatever it showed. One without a score is a bad one.
    scores = [one.score for one in seen if one.whole]
    middle, worst = float(np.median(scores)), min(scores)
    return Surrogate(
        axes.places([one.params for one in seen]),
        [one.score if one.whole else min(max(one.score, worst), middle) for one in seen],
        [one.loss if one.whole else math.nan for one in seen],
        [one.whole for one in seen],
        least_luck(scores, examples),
    )


def least_luck(scores: Iterable[float], examples: int | None) -> float:
    """Standard deviation of a score through the validation examples alone.

    Args:
        scores: objectives, at least one.
        examples: see `Knowledge`.
    """
    if examples is None:
        return 0.0
    share = (min(1.0, max(0.0, max(scores))) * examples + 1) / (examples + 2)
    return math.sqrt(share * (1 - share) / examples)
