"""A run directory whose search has gone through every state that Optuna has for a trial."""

import dataclasses
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.plan import resolve as planning
from frostline.search.records.trials import Outcome
from frostline.spaces import Metric
from tests.search.altered import altered
from tests.search.made import METRIC, Clock, session, taken, with_budget
from tests.search.runs import plan_of
from tests.told import said

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
    "batch_size": CategoricalDistribution((8, 16)),
    "frozen_layers": IntDistribution(0, 7),
}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 0},
    "linear probe": {"learning_rate": 1e-3, "batch_size": 8, "frozen_layers": 7},
}
OUTCOMES = (*(Outcome.COMPLETE,) * 6, Outcome.PRUNED, Outcome.PRUNED, Outcome.FAILED, Outcome.RUNNING)
"""Outcomes of the trials, in their order."""


class Search:
    """A search of 12 trials of 2 epochs through the ledger, without training anything."""

    def __init__(self, run: Path, metric: Metric = METRIC) -> None:
        plan = altered(plan_of(run), distributions=DISTRIBUTIONS, recipes=RECIPES, metric=metric)
        self.run, self._clock = run, Clock()
        self._plan = with_budget(plan, epochs=2)
        planning.claim(self._plan)
        self.ledger = session(self._plan, self._clock)

    def resume(self) -> None:
        """Go on in a session of its own: the study's journal is replaced as a whole."""
        self.ledger.close()
        self.ledger = session(self._plan, self._clock)
        for _ in self.ledger.unfinished:
            taken(self.ledger)  # it runs again

    def trial(self, outcome: Outcome, reason: str = "") -> int:
        """Take one more trial through two reports to its end; one that fails has no report."""
        job = taken(self.ledger)
        score = 0.5 + job.params["frozen_layers"] / 100 + job.params["batch_size"] / 100
        for epoch in () if outcome == Outcome.FAILED else (1.0, 2.0):
            self._clock.now += 10
            measured, metric = said(epoch, score, self._clock.now), self._plan.search.metric
            objective = metric.objective(measured.metrics[metric.name])
            self.ledger.report(job, dataclasses.replace(measured, objective=objective))
        if outcome != Outcome.RUNNING:
            self._clock.now += 1
            self.ledger.end(job, outcome, reason)
        return job.number


def searched(run: Path, metric: Metric = METRIC) -> Search:
    """Trials of all `OUTCOMES`."""
    search = Search(run, metric)
    for outcome in OUTCOMES:
        search.trial(outcome, "loss is nan at step 3" if outcome == Outcome.FAILED else "")
    (run / "trials" / "00008").mkdir(parents=True)
    (run / "trials" / "00008" / "error.txt").write_text("Traceback: here\n")
    return search
