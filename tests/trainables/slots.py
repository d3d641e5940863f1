"""A slot without Tune, for the tests of `slot.worker.train`.

There is no Tune session in this process, so Tune's `report` is one of our own. That the real one takes the same
reports, and ends a trial as ours does, is seen in tests/integration.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray.tune
import torch

from frostline.spaces import Recipe
from frostline.trainables._task import ModelSetup, Setup, Task, Told, best_path, last_path
from frostline.trainables.slot import worker
from frostline.trainables.slot.process import THIS
from frostline.trainables.training import training

FAMILY = "text_classification"
STEPS = 16
"""Two epochs of 60 examples at batch 8."""
NEVER = 1e9
"""Seconds between two snapshots of a trial that writes none."""

Messages = list[Any]
"""`Measured`, `Failed` and `DiskFull`; a test reads the fields of the one that it expects."""


class Slot:
    """A run directory, and the reports to Tune."""

    def __init__(self, setup: Setup, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
        self.setup, self.recipe = setup, recipe
        self.reports: list[Told] = []
        """Reports to Tune, in order."""
        self.steps: list[int] = []
        """Numbers of the steps that were trained, from 0."""
        self.on_report: Callable[[Told], None] = lambda told: None
        """Called at each report; an error that it raises ends the trial."""
        monkeypatch.setattr(ray.tune, "report", self._report)
        step_on = training.Training.step_on
        monkeypatch.setattr(
            training.Training,
            "step_on",
            lambda run, *given, **named: self.steps.append(run.step) or step_on(run, *given, **named),
        )

    def _report(self, result: dict[str, Any]) -> None:
        assert json.loads(json.dumps(result)) == result, "plain values"
        told = Told.of_tune(result)
        assert told
        assert told.to_tune() == result
        self.reports.append(told)
        self.on_report(told)

    @property
    def told(self) -> Messages:
        """All messages, one after the other."""
        return [message for told in self.reports for message in told.messages]

    def train(
        self, folder: str = "trials/00000", *, run: Path | None = None, every: float = NEVER, **task: Any
    ) -> Messages:
        """Run one stay of a trial in a process like a new one; returns its messages."""
        THIS.forget()
        torch.seed()
        self.reports, self.steps = [], []
        changes = {"checkpoint_every": every, **({"run": str(run)} if run else {})}
        (at := run or Path(self.setup.run)).mkdir(parents=True, exist_ok=True)
        (at / "plan.json").touch()  # the driver has claimed it
        recipe = task.pop("recipe", self.recipe).to_json()
        config = {
            "setup": dataclasses.asdict(dataclasses.replace(self.setup, **changes)),
            "tasks": [dataclasses.asdict(Task(folder=folder, recipe=recipe, **task))],
        }
        try:
            worker.train(json.loads(json.dumps(config)))
        finally:
            self.on_report = lambda told: None
        return self.told

    def train_until(self, reports: int, **options: Any) -> Messages:
        """Run one stay, and end it at report number `reports` in the way that Tune ends a trial."""

        def stop(_: Told) -> None:
            if len(self.told) == reports:
                raise SystemExit(0)

        self.on_report = stop
        with pytest.raises(SystemExit):
            self.train(**options)
        return self.told

    @property
    def own(self) -> ModelSetup:
        """The part of the setup that belongs to the recipe's model."""
        return self.setup.models[self.recipe.model]

    def change(self, **changes: Any) -> None:
        """Change fields of `own`."""
        models = {**self.setup.models, self.recipe.model: dataclasses.replace(self.own, **changes)}
        self.setup = dataclasses.replace(self.setup, models=models)

    def best(self, folder: str = "trials/00000") -> Path:
        return best_path(self.setup.run, folder)

    def last(self, folder: str = "trials/00000") -> Path:
        return last_path(self.setup.run, folder)


def core(told: Messages) -> list[dict[str, Any]]:
    """The fields of reports that do not depend on the machine or its speed."""
    machine = {"seconds", "pid", "node", "time", "spent"}
    return [
        {key: value for key, value in dataclasses.asdict(message).items() if key not in machine}
        | {"metrics": {name: value for name, value in message.metrics.items() if name != "peak_memory_mb"}}
        for message in told
    ]


def recorded(told: Messages) -> dict[str, Any]:
    """Fields of the task that the ledger makes for a trial with these reports."""
    return {"samples": told[-1].samples, "best": max(message.objective for message in told)}
