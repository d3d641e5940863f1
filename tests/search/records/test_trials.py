import dataclasses
import json
import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from frostline.search.records import trials as trial_records
from frostline.search.records.trials import Outcome, Records
from tests.search.made import full_disk, line, trial


def winner(*trials: trial_records.Trial) -> int | None:
    best = trial_records.winner(trials)
    return best.number if best else None


def test_best_is_the_best_epoch_not_the_last() -> None:
    made = trial(0, Outcome.COMPLETE, 0.7, 0.9, 0.8)
    best = made.best
    assert best is not None
    assert (best.epoch, made.objective) == (2.0, 0.9)
    assert winner(trial(1, Outcome.COMPLETE, 0.85, 0.85), made) == 0


def test_a_stopped_trial_may_win_and_a_failed_one_may_not() -> None:
    assert winner(trial(0, Outcome.COMPLETE, 0.7), trial(1, Outcome.PRUNED, 0.9, 0.5)) == 1
    assert winner(trial(0, Outcome.COMPLETE, 0.7), trial(1, Outcome.FAILED, 0.9)) == 0


def test_equals_go_by_loss_then_by_number() -> None:
    low, high = ({"metrics": {"accuracy": 0.9, "loss": loss}} for loss in (0.2, 0.3))
    one, two, three = (trial(n, Outcome.COMPLETE, 0.9, **m) for n, m in ((0, high), (1, low), (2, low)))
    assert winner(three, two, one) == 1
    assert [t.number for t in trial_records.top([one, two, three], 9)] == [1, 2, 0]
    assert [t.number for t in trial_records.top([one, two, three], 2)] == [1, 2]


def test_without_a_finite_report_nobody_wins() -> None:
    assert winner() is None
    assert winner(trial(0, Outcome.FAILED), trial(1, Outcome.COMPLETE, math.nan)) is None
    assert trial(1, Outcome.COMPLETE, math.nan).objective == -math.inf


@pytest.mark.parametrize(
    ("made", "goes_on"),
    [
        (trial(0, Outcome.RUNNING, 0.5), True),
        (trial(0, Outcome.INTERRUPTED, 0.5), True),
        (trial(0, Outcome.INTERRUPTED), True),
        (trial(0, Outcome.PRUNED, 0.5), False),
        (trial(0, Outcome.OUT_OF_TIME, 0.5), False),
        (trial(0, Outcome.OUT_OF_TIME), False),
        (trial(0, Outcome.INFEASIBLE, reason="out of memory"), False),
        (trial(0, Outcome.FAILED, 0.5, reason="its process died (3 times)"), False),
        (trial(0, Outcome.COMPLETE, 0.5), False),
    ],
)
def test_a_trial_is_open_until_it_has_an_end_that_is_not_an_interruption(
    made: trial_records.Trial, goes_on: bool
) -> None:
    assert made.open is goes_on


def test_a_trial_that_goes_on_keeps_its_earlier_reports() -> None:
    lines = [
        line(0, Outcome.RUNNING, 0.5),
        line(0, Outcome.INTERRUPTED, 0.5),
        line(0, Outcome.RUNNING, 0.7, samples=640),
    ]
    (again,) = trial_records.collect(lines)
    assert (again.outcome, again.reason, again.open) == (Outcome.RUNNING, "", True)
    assert [report.samples for report in again.reports] == [320, 640]


def test_a_ranking_kept_up_line_by_line_is_the_one_made_of_all_trials() -> None:
    rng, ranking, known = random.Random(0), trial_records.Ranking(), dict[int, trial_records.Trial]()
    for step in range(400):
        number = rng.randrange(40)
        outcome = rng.choice([Outcome.RUNNING] * 6 + [Outcome.COMPLETE, Outcome.PRUNED, Outcome.FAILED])
        score = rng.choice([math.nan, *(i / 10 for i in range(10))])  # equals come, too
        loss = rng.choice([math.nan, 0.1, 0.2])
        made = line(number, outcome, score, samples=step, metrics={"accuracy": score, "loss": loss})
        known[number] = trial_records.extended(known.get(number), made)
        ranking.put(known[number])
        best = trial_records.top(known.values(), 40)
        assert list(ranking) == best
        assert (best[0] if best else None) == trial_records.winner(known.values())
        assert {trial.number for trial in best} == {
            trial.number for trial in known.values() if trial.outcome != Outcome.FAILED and trial.best
        }


# --- on disk -------------------------------------------------------------------------------------


def test_the_records_read_back_and_survive_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    records = Records(path)
    for each in (
        line(1, Outcome.RUNNING, 0.5),
        line(0, Outcome.FAILED, reason="loss is nan"),
        line(1, Outcome.PRUNED, 0.5),
    ):
        written = records.append(each)
        assert written == records.get(each.number, each.seed)
    records.close()
    with path.open("a") as file:
        file.write(json.dumps(asdict(line(2, Outcome.RUNNING, 0.5)))[:40])
    read = trial_records.read(path)
    assert read == list(records), "what is kept in memory is what is on disk"
    assert [(t.number, t.outcome, len(t.reports)) for t in read] == [(0, Outcome.FAILED, 0), (1, Outcome.PRUNED, 1)]
    assert read[0].reason == "loss is nan"
    assert trial_records.counts(read) == {
        "complete": 0,
        "pruned": 1,
        "infeasible": 0,
        "out of time": 0,
        "interrupted": 0,
        "failed": 1,
        "running": 0,
    }


def test_trainings_of_one_trial_are_told_apart_by_their_seeds(tmp_path: Path) -> None:
    records = Records(tmp_path / "confirm.jsonl")
    for seed in (2, 1):
        records.append(line(7, Outcome.RUNNING, 0.5 + seed / 10, seed=seed))
    assert [(t.key, t.objective) for t in records] == [((7, 1), 0.6), ((7, 2), 0.7)]
    assert (len(records), records.get(7, 3)) == (2, None)


@pytest.mark.parametrize("torn", [b"{", b'{"number": 1, "outcome": "run', b"\x00\x00\x00", b"\xff\xfe", b"{}"])
def test_a_torn_line_is_cut_off_before_the_next_one_is_written(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "trials.jsonl"
    first = Records(path)
    first.append(line(0, Outcome.RUNNING, 0.5))
    first.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    second = Records(path)
    assert path.read_bytes() == whole
    second.append(line(1, Outcome.RUNNING, 0.6))
    assert [t.number for t in trial_records.read(path)] == [0, 1]


@pytest.mark.parametrize("room", [0, 1, 40])
def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, room: int) -> None:
    path = tmp_path / "trials.jsonl"
    records = Records(path)
    records.append(line(0, Outcome.RUNNING, 0.5))
    before, known = path.read_bytes(), list(records)
    with full_disk(len(before) + room), pytest.raises(OSError):
        records.append(line(0, Outcome.PRUNED, 0.5))
    assert path.read_bytes() == before
    assert list(records) == known, "what is not on disk does not count"
    records.append(line(0, Outcome.PRUNED, 0.5))
    assert [t.outcome for t in trial_records.read(path)] == [Outcome.PRUNED]


@pytest.mark.parametrize(
    "change",
    [
        {"number": "../../x"},
        {"number": "0"},
        {"number": -1},
        {"number": 1.0},
        {"number": True},
        {"number": None},
        {"seed": "../x"},
        {"seed": 0.5},
        {"unknown": 1},
    ],
    ids=str,
)
def test_a_line_that_cannot_be_ours_is_left_out(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "trials.jsonl"
    good = asdict(line(3, Outcome.FAILED))
    path.write_text("".join(f"{json.dumps(fields)}\n" for fields in ({**good, **change}, [good], "x", 1, good)))
    assert [t.number for t in trial_records.read(path)] == [3]


def test_a_line_that_lacks_a_field_is_left_out(tmp_path: Path) -> None:
    for name in ("outcome", "number", "params", "objective", "metrics", "confirms"):
        fields = asdict(line(0, Outcome.FAILED))
        del fields[name]
        (tmp_path / "trials.jsonl").write_text(json.dumps(fields) + "\n")
        assert trial_records.read(tmp_path / "trials.jsonl") == [], name
    assert trial_records.read(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    "damage",
    [
        {"outcome": "X"},
        {"outcome": "COMPLETE"},
        {"outcome": 1},
        {"outcome": None},
        {"outcome": ["complete"]},
        {"outcome": {"complete": 1}},
        {"objective": "high"},
        {"objective": [0.5]},
        {"objective": {"accuracy": 0.5}},
        {"confirms": "no"},
        {"confirms": 1},
        {"confirms": None},
        {"metrics": 5},
        {"metrics": {"accuracy": "high"}},
        {"params": []},
        {"epoch": None},
        {"reason": 3},
        {"spent": {"data": ""}},
    ],
)
def test_a_damaged_line_is_left_out(tmp_path: Path, damage: dict[str, Any]) -> None:
    path = tmp_path / "trials.jsonl"
    good = asdict(line(0, Outcome.RUNNING, 0.5))
    path.write_text(json.dumps(good) + "\n" + json.dumps({**good, "number": 1, **damage}) + "\n")
    assert [trial.number for trial in trial_records.read(path)] == [0]


def test_a_record_of_an_earlier_version_says_nothing_of_where_its_seconds_went(tmp_path: Path) -> None:
    fields = asdict(line(0, Outcome.RUNNING, 0.5, spent={"training": 3.5}))
    old = {key: value for key, value in fields.items() if key != "spent"}
    (tmp_path / "trials.jsonl").write_text(json.dumps(fields) + "\n" + json.dumps({**old, "number": 1}) + "\n")
    new, before = trial_records.read(tmp_path / "trials.jsonl")
    assert new.reports[0].spent == {"training": 3.5}
    assert before.reports[0].spent == {}


def test_a_score_on_some_of_the_examples_does_not_compare() -> None:
    """It neither is the best of its trial nor lets it win; the trial's reports keep it."""
    early = line(0, Outcome.RUNNING, 0.9, epoch=0.125, samples=40, partial=True)
    whole = line(0, Outcome.RUNNING, 0.7, epoch=1.0, samples=320)
    (both,) = trial_records.collect([early, whole])
    assert both.best == whole
    assert both.objective == 0.7
    (only,) = trial_records.collect(
        [dataclasses.replace(early, number=1), line(1, Outcome.PRUNED, 0.9, epoch=0.125, partial=True)]
    )
    assert only.best is None
    assert trial_records.winner([only]) is None
    assert trial_records.top([only, both], 2) == [both]
