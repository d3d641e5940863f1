"""A step of a long search costs what one of a short one does; `tests/bench/long_search.py` has it in seconds."""

import itertools
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from optuna.storages import JournalStorage
from rich.console import Console

from frostline import search
from frostline.search.console.progress import Progress
from frostline.search.ledger import ledger, study
from frostline.search.ledger.conclusions import judge_of
from frostline.search.ledger.rungs import Rungs
from frostline.search.ledger.study import Study
from frostline.search.plan.plan import Plan
from frostline.search.records.trials import Outcome, Records
from frostline.search.tune.switchboard import Switchboard
from tests.bench import long_search
from tests.search.made import PARAMS, Clock, session, trial, with_budget

OURS = str(Path(search.__file__).parent)


def work(act: Callable[[], object]) -> int:
    """Lines of ours that run, each round of a loop counted: unlike seconds, the same on every machine."""
    lines = 0

    def entered(frame: FrameType, event: str, _: object) -> Any:
        return line if frame.f_code.co_filename.startswith(OURS) else None

    def line(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return line

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        act()
    finally:
        sys.settrace(before)
    return lines


class _Numbers:
    """A study that gives numbers and random learning rates: Optuna is not what is counted here."""

    def __init__(self, *_: object, **__: object) -> None:
        self._rng, self._asked = random.Random(0), itertools.count()

    def upcoming(self) -> dict[str, Any]:
        return {}

    def ask(self, *_: float) -> tuple[int, dict[str, Any], str]:
        return next(self._asked), {**PARAMS, "learning_rate": self._rng.uniform(1e-5, 1e-3)}, ""

    def report(self, *_: object) -> None:
        pass

    def tell(self, *_: object, **__: object) -> None:
        pass


def test_the_work_for_a_record_does_not_grow_with_their_number(
    plan: Plan, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(ledger, "Study", _Numbers)
    written, append = list[object](), Records.append
    monkeypatch.setattr(Records, "append", lambda *a: (append(*a), written.append(a))[0])
    plan = with_budget(plan, trials=450, seconds=1e9, epochs=long_search.EPOCHS, slots=16)
    board = Switchboard(session(plan, clock), Rungs(plan), [Progress(plan, Console(quiet=True))], [])
    board.watch = long_search.Calm()  # type: ignore[assignment]
    ends = long_search.drive(board)

    def per_record(trainings: int | None = None) -> float:
        written.clear()
        return work(lambda: list(itertools.islice(ends, trainings))) / len(written)

    def skip(trainings: int) -> None:
        assert len(list(itertools.islice(ends, trainings))) == trainings

    skip(150)  # as many trainings as are looked at, at most, and some more
    early = per_record(25)
    skip(225)
    late = per_record(25)
    assert late < 1.2 * early
    last = per_record()
    assert last < 2 * early, "when no trials are left to begin, and while the best are confirmed"
    assert board.ledger.finished
    assert board.error is None


def test_the_study_walks_through_its_trials_for_its_sampler_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Plan
) -> None:
    monkeypatch.setattr(study, "_TPE", long_search.at_random)
    monkeypatch.setattr(study, "MODELLED", 0)
    walks, walk = list[object](), JournalStorage.get_all_trials
    monkeypatch.setattr(JournalStorage, "get_all_trials", lambda *a, **k: (walk(*a, **k), walks.append(a))[0])
    found = []
    for count in (3, 300):
        known = [trial(number, Outcome.FAILED) for number in range(count)]
        opened = Study(
            tmp_path / str(count),
            "test",
            seed=0,
            planned=1000,
            recipes=plan.search.recipes,
            distributions=plan.search.distributions,
            metric=plan.search.metric,
            knowledge=judge_of(plan).knowledge(known),
            known=known,
        )
        while opened.upcoming():
            opened.ask()
        opened.ask()
        walks.clear()
        found.append(work(lambda opened=opened: opened.tell(trial(opened.ask()[0], Outcome.FAILED))))
        assert walks == []
    assert found[0] == found[1]
