"""The conclusions of a search: its confirmed recipes, its winner, and the readings of the test set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frostline.search.ledger import confirm
from frostline.search.ledger.confirm import Judge
from frostline.search.ledger.gaussian.axes import Axes
from frostline.search.ledger.knowledge import Knowledge
from frostline.search.plan.plan import Plan
from frostline.search.records import folder as run_folder
from frostline.search.records.log import Log
from frostline.search.records.trials import Records, Trial


def judge_of(plan: Plan) -> Judge:
    """The rules by which recipes of this search are compared."""
    search = plan.search
    base = {name: getattr(search.base, name) for name in search.distributions}
    axes = Axes(search.distributions, base)
    return Judge(metric=search.metric, examples=plan.data.sizes["validation"], prefer=search.prefer, axes=axes)


class Conclusions:
    """What follows from the records of a search as they stand."""

    def __init__(self, plan: Plan, log: Log, trials: Records, confirmations: Records, knowledge: Knowledge) -> None:
        self._plan, self._log, self._trials, self._confirmations = plan, log, trials, confirmations
        self._knowledge = knowledge
        self.read_test_set = False
        """True once this process has recorded a reading of the test set."""

    def confirmed(self) -> list[confirm.Confirmed]:
        """The recipes that were trained again, the one that is offered first; empty if confirmation is off."""
        budget = self._plan.budget
        if not (budget.confirm_recipes and budget.confirm_seeds):
            return []
        return confirm.confirmed(self._trials, self._confirmations, judge_of(self._plan), self._knowledge)

    def winner(self) -> tuple[Trial, str] | None:
        """The training whose weights are exported, and its folder; None if no training has a score.

        With confirmation it is the best training of the recipe that is offered, else the best trial.
        """
        best = confirm.winner(self._trials, self._confirmations, self.confirmed())
        if best is None:
            return None
        return best, run_folder.folder(best.number, best.seed if best.confirms else None)

    def test_of(self, folder: str) -> dict[str, Any] | None:
        """`metrics` and `interval` of this training on the test set; None if it has not been read with it."""
        readings = [event for event in self._log.events("test") if event["folder"] == folder]
        return readings[-1] if readings else None

    def add_test(self, best: Trial, folder: str, measured: Mapping[str, Any]) -> None:
        """Record that the test set was read with this training.

        Raises:
            OSError: the disk is full.
        """
        self._log.append("test", number=best.number, seed=best.seed, folder=folder, **measured)
        self.read_test_set = True

    def test_reads(self) -> int:
        """How often the test set has been read in this search."""
        return len(self._log.events("test"))
