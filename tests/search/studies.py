"""A run directory whose search has gone through every state of a trial, by the study and the records of the project."""

import json
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.ledger.study import Study
from frostline.search.records.trials import COMPLETE, FAIL, PRUNED, RUNNING, Line, Records, read
from tests.search.made import line

DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-3, log=True),
    "batch_size": CategoricalDistribution((8, 16)),
    "frozen_layers": IntDistribution(0, 7),
}
RECIPES: dict[str, dict[str, Any]] = {
    "default": {"learning_rate": 2e-5, "batch_size": 16, "frozen_layers": 0},
    "linear probe": {"learning_rate": 1e-3, "batch_size": 8, "frozen_layers": 7},
}
STATES = (*(COMPLETE,) * 6, PRUNED, PRUNED, FAIL, RUNNING)
"""Of the trials; two more wait in a study that was opened again."""


class Search:
    """What a ledger does with study and records, without one."""

    def __init__(self, run: Path) -> None:
        run.mkdir(exist_ok=True)
        (run / "plan.json").write_text(json.dumps({"space": "test", "metric": "accuracy"}))
        self.run, self.records = run, Records(run / "trials.jsonl")
        self.study = self._open()

    def _open(self) -> Study:
        known = read(self.run / "trials.jsonl")
        given: dict[str, Any] = {"recipes": RECIPES, "distributions": DISTRIBUTIONS, "metric": "accuracy"}
        return Study(self.run / "study.journal", "test", seed=0, planned=12, known=known, **given)

    def resume(self) -> None:
        """Open the study again: its journal is replaced as a whole."""
        self.study = self._open()

    def trial(self, state: str, reason: str = "") -> int:
        """One more trial, through two reports to its end."""
        number, params, label = self.study.ask()
        if state != FAIL:
            score = 0.5 + params["frozen_layers"] / 100 + params["batch_size"] / 100
            for epoch in (1, 2):
                self._line(number, RUNNING, params, label, epoch=float(epoch), samples=320 * epoch, score=score)
                self.study.report(number, 320 * epoch, score)
        if state != RUNNING:
            self._line(number, state, params, label, reason=reason)
            self.study.tell(number, state, 0.5 + params["frozen_layers"] / 100 if state == COMPLETE else None)
        return number

    def _line(
        self, number: int, state: str, params: dict[str, Any], label: str, score: float | None = None, **more: Any
    ) -> Line:
        now = 1_800_000_000.0 + 60 * number + more.get("epoch", 3.0)
        made = line(number, state, score, params=params, label=label, time=now, **more)
        self.records.append(made)
        return made


def searched(run: Path) -> Search:
    """Trials of all `STATES`."""
    search = Search(run)
    for state in STATES:
        search.trial(state, "loss is nan at step 3" if state == FAIL else "")
    (run / "trials" / "00008").mkdir(parents=True)
    (run / "trials" / "00008" / "error.txt").write_text("Traceback: here\n")
    return search
