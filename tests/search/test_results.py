import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from search import results
from search.results import COMPLETE, FAIL, PRUNED, RUNNING, Line


def line(number: int, state: str, score: float | None = None, **more: Any) -> Line:
    fields: dict[str, Any] = {
        "number": number,
        "state": state,
        "params": {"learning_rate": 1e-4},
        "label": "",
        "epoch": 1.0,
        "samples": 100,
        "step": 10,
        "metrics": {} if score is None else {"accuracy": score, "loss": 1 - score},
        "seconds": 1.0,
        "pid": 1,
        "time": 0.0,
    }
    return Line(**{**fields, **more})


def trial(number: int, state: str, *scores: float, **more: Any) -> results.Trial:
    reports = [line(number, RUNNING, score, epoch=float(i + 1), **more) for i, score in enumerate(scores)]
    return results.collect([*reports, line(number, state, scores[-1] if scores else None, **more)])[0]


def winner(*trials: results.Trial) -> int | None:
    best = results.winner(trials, "accuracy")
    return best.number if best else None


def test_best_is_the_best_epoch_not_the_last() -> None:
    made = trial(0, COMPLETE, 0.7, 0.9, 0.8)
    best = made.best("accuracy")
    assert best is not None
    assert (best.epoch, made.score("accuracy")) == (2.0, 0.9)
    assert winner(trial(1, COMPLETE, 0.85, 0.85), made) == 0


def test_a_stopped_trial_may_win_and_a_failed_one_may_not() -> None:
    assert winner(trial(0, COMPLETE, 0.7), trial(1, PRUNED, 0.9, 0.5)) == 1
    assert winner(trial(0, COMPLETE, 0.7), trial(1, FAIL, 0.9)) == 0


def test_equals_go_by_loss_then_by_number() -> None:
    low, high = ({"metrics": {"accuracy": 0.9, "loss": loss}} for loss in (0.2, 0.3))
    one, two, three = (
        results.collect([line(n, RUNNING, 0.9, **m), line(n, COMPLETE, 0.9, **m)])[0]
        for n, m in ((0, high), (1, low), (2, low))
    )
    assert winner(three, two, one) == 1
    assert [t.number for t in results.top([one, two, three], "accuracy", 9)] == [1, 2, 0]


def test_without_a_finite_report_nobody_wins() -> None:
    assert winner() is None
    assert winner(trial(0, FAIL), trial(1, COMPLETE, math.nan)) is None
    assert trial(1, COMPLETE, math.nan).score("accuracy") == -math.inf


def test_the_journal_reads_back_and_survives_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    journal = results.Journal(path)
    for each in (line(1, RUNNING, 0.5), line(0, FAIL, reason="loss is nan"), line(1, PRUNED, 0.5)):
        journal.append(each)
    journal.close()
    with path.open("a") as file:
        file.write(json.dumps(asdict(line(2, RUNNING, 0.5)))[:40])
    read = results.read(path)
    assert [(t.number, t.state, len(t.reports)) for t in read] == [(0, FAIL, 0), (1, PRUNED, 1)]
    assert read[0].reason == "loss is nan"
    assert results.counts(read) == {COMPLETE: 0, PRUNED: 1, FAIL: 1, RUNNING: 0}


def test_references() -> None:
    rows = results.references(
        [trial(0, PRUNED, 0.6, 0.7, label="default"), trial(1, FAIL, label="linear probe"), trial(2, COMPLETE, 0.9)],
        "accuracy",
        majority_validation=0.5,
        majority_test=0.52,
    )
    assert [(r.name, r.validation, r.first_rung, r.test) for r in rows] == [
        ("majority class", 0.5, None, 0.52),
        ("default", 0.7, 0.6, None),
        ("linear probe", None, None, None),
    ]


@pytest.mark.parametrize(("labels", "share"), [([0, 1], 0.5), ([1, 1, 0, 2], 0.5), ([0, 0, 0, 1], 0.75)])
def test_majority(labels: list[int], share: float) -> None:
    assert results.majority(labels) == share
