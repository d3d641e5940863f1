"""Searches with `bert_imdb` on the tiny model, run in this process."""

import contextlib
import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from frostline.search.ledger import rungs
from frostline.search.plan import budget as budgets
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from frostline.spaces import Space

ROOT = Path(__file__).resolve().parent.parent.parent


@contextlib.contextmanager
def stopping_early() -> Iterator[None]:
    """In here trials of a short search stop early: those that score below the median of the ones trained whole."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("FEWEST", "COMPANIONS", "STEPS"):
            patch.setattr(budgets, name, 1)
        patch.setattr(rungs, "gives_way", lambda shown, known, *_: bool(shown[0] < np.median(known[:, 0])))
        yield


class Searches:
    """Starts and resumes searches of one storage folder in this process. Some of their trials stop early."""

    def __init__(self, storage: Path, model: Path, table: Path) -> None:
        self.storage = storage
        self._given: dict[str, Any] = {"model": str(model), "dataset": str(table), "profile": "small"}

    def start(
        self,
        name: str,
        *,
        space: Space | None = None,
        change: Callable[[Plan], Plan] = lambda plan: plan,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a new search. The result is the summary, and the text on the terminal as `printed`.

        Args:
            name: the run directory's name.
            space: what is searched instead of `bert_imdb`.
            change: changes the plan before the search starts.
            options: fields of `Options`.
        """
        given = {**self._given, "storage": self.storage, "confirm_recipes": 0, **options}
        with stopping_early():
            plan, corpus = planning.resolve(Options(space="bert_imdb", name=name, **given), space)
        plan = change(plan)
        planning.claim(plan)
        return self._run(plan, corpus)

    def resume(self, name: str, **options: Any) -> dict[str, Any]:
        """Go on with a search."""
        with stopping_early():
            plan, corpus = planning.resume(self.storage / name, Options(space="", **options))
        return self._run(plan, corpus)

    def _run(self, plan: Plan, corpus: Any) -> dict[str, Any]:
        from frostline.search import tuner

        text = io.StringIO()
        with stopping_early():
            found = tuner.run(plan, corpus, Console(file=text, width=200))
        return {**found, "printed": text.getvalue()}

    def lines(self, name: str) -> list[dict[str, Any]]:
        """All lines of its `trials.jsonl`."""
        return [json.loads(text) for text in (self.storage / name / "trials.jsonl").read_text().splitlines()]

    @contextlib.contextmanager
    def interrupted_after(self, name: str, reports: int) -> Iterator[None]:
        """Send this process Ctrl-C after the given number of new reports, a moment after the last one."""
        path, over = self.storage / name / "trials.jsonl", threading.Event()

        def size() -> int:
            return path.read_text().count('"outcome": "running"') if path.exists() else 0

        def watch() -> None:
            before = size()
            while not over.wait(0.005):
                if size() >= before + reports:
                    time.sleep(0.03)
                    os.kill(os.getpid(), signal.SIGINT)
                    return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
