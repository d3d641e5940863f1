"""Records that do not fit together are refused with file and line; what the log has lost, the records still tell."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from frostline.search.records import audit
from frostline.search.records.events import LOG, started_jobs
from frostline.search.records.log import hold
from tests.search import made, runs
from tests.search.made import Clock, session, taken, train, with_budget

Lines = list[dict[str, Any]]
FILES = (LOG, "trials.jsonl", "confirm.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search: three trials, the best one confirmed with two seeds, the test set read."""
    plan, clock = runs.plan_of(tmp_path_factory.mktemp("made") / "run"), Clock()
    ledger = session(with_budget(plan, trials=3, epochs=2, confirm_recipes=1, confirm_seeds=2), clock)
    for scores in ((0.6, 0.7), (0.8, 0.9), (0.5,), (0.8, 0.9), (0.7, 0.8)):
        train(ledger, clock, taken(ledger), *scores)
    won = ledger.conclusions.winner()
    assert ledger.finished
    assert won is not None
    ledger.conclusions.add_test(*won, {"metrics": {"accuracy": 0.8}, "interval": [0.7, 0.9]})
    ledger.close()
    return plan.place.run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def checked(run: Path) -> None:
    audit.check_numbers(audit.read(run))


def rewrite(path: Path, change: Callable[[Lines], Lines]) -> None:
    """Change the lines of a file as a person does, who removes the checksums."""
    made.edit(path, "", "")
    lines = change([json.loads(text) for text in path.read_text().splitlines()])
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def without(number: int) -> Callable[[Lines], Lines]:
    return lambda lines: [line for line in lines if line.get("number") != number]


def doubled(place: int) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines, lines[place]]


def changed(place: int, **fields: Any) -> Callable[[Lines], Lines]:
    return lambda lines: [{**line, **fields} if at == place % len(lines) else line for at, line in enumerate(lines)]


def test_records_that_a_search_wrote_fit_together(run: Path) -> None:
    checked(run)
    assert len(audit.read(run).jobs) == 5
    for name in FILES:
        text = (run / name).read_bytes()
        (run / name).write_bytes(text + text.splitlines()[0][:20])  # a torn line
    checked(run)


@pytest.mark.parametrize(
    "left", ["deleted", "emptied", "first line", "one start", "not the first lines", "the last start"]
)
def test_starts_that_the_log_has_lost_are_known_from_the_records(run: Path, left: str) -> None:
    before, log = started_jobs(run), run / LOG
    lines = log.read_bytes().splitlines(keepends=True)
    kept = {
        "emptied": [],
        "first line": lines[:1],
        "one start": [line for line in lines if b'"number": 1' not in line or b'"start"' not in line],
        "not the first lines": lines[2:],
        "the last start": [line for line in lines if b'"seed": 2' not in line],
    }
    log.write_bytes(b"".join(kept.get(left, [])))
    if left == "deleted":
        log.unlink()
    checked(run)
    with hold(run):
        assert {job.key: job for job in started_jobs(run)} == {job.key: job for job in before}
    checked(run)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (LOG, doubled(1), r"log.jsonl, line \d+: trial 0 was started already in .*log.jsonl, line 2"),
        (LOG, changed(2, number=0, seed=0), "log.jsonl, line 3: trial 0 was started already in .*log.jsonl, line 2"),
        (LOG, changed(2, seed=4), "trials.jsonl, line 4: .*log.jsonl, line 3 has trial 1 with another seed"),
        (
            LOG,
            changed(2, params=made.PARAMS),
            "trials.jsonl, line 4: trial 1 has other parameters in .*log.*line 3",
        ),
        (LOG, changed(2, label="x"), "trials.jsonl, line 4: trial 1 has other parameters in .*log.*line 3"),
        (LOG, changed(1, number=-1), "log.jsonl, line 2 is damaged: there is no trial -1"),
        (LOG, changed(1, number="0"), "log.jsonl, line 2 is damaged: number is a whole number, got '0'"),
        (LOG, changed(1, seed=2**70), "log.jsonl, line 2 is damaged: seed is a whole number"),
        (LOG, changed(1, params=[]), "log.jsonl, line 2 is damaged: params is a JSON object"),
        (LOG, changed(1, params={"learning_rate": [1]}), "log.jsonl, line 2 is damaged: a parameter is no number"),
        (LOG, changed(0, time="now"), "log.jsonl, line 1 is damaged: time is a number, got 'now'"),
        (LOG, changed(0, time=1e300), "log.jsonl, line 1 is damaged: a time is no number of seconds"),
        (LOG, changed(0, worked=-1), "log.jsonl, line 1 is damaged: a time is no number of seconds"),
        (LOG, changed(0, pid="1"), "log.jsonl, line 1 is damaged: pid is a whole number, got '1'"),
        (LOG, changed(0, event=["session"]), "log.jsonl, line 1 is damaged: event is text"),
        (LOG, changed(-1, event=None), "is damaged: event is text, got None"),
        (LOG, changed(-1, difference=[0.1]), "is damaged: a difference is no interval"),
        (LOG, changed(-1, difference=["a", 0.1]), "is damaged: a measurement is no number"),
        ("trials.jsonl", doubled(2), r"trials.jsonl, line 9: trial 0 had ended already in .*trials.jsonl, line 3"),
        ("trials.jsonl", doubled(0), r"trials.jsonl, line 9: trial 0 had ended already in .*trials.jsonl, line 3"),
        ("trials.jsonl", lambda lines: [lines[0], *lines], "trials.jsonl, line 2: trial 0 had reported at 320 samples"),
        ("trials.jsonl", changed(1, samples=320), "trials.jsonl, line 2: trial 0 had reported at 320 samples already"),
        ("trials.jsonl", changed(2, params=made.PARAMS), "trials.jsonl, line 3: trial 0 has other parameters in .*log"),
        ("trials.jsonl", changed(2, confirms=True), "trials.jsonl, line 3: trial 0 .* belongs in confirm.jsonl"),
        ("trials.jsonl", changed(2, outcome="won"), "trials.jsonl, line 3 is damaged: .*'won' is not a valid Outcome"),
        ("trials.jsonl", changed(2, time=-5), "trials.jsonl, line 3 is damaged: .*a time is no number of seconds"),
        ("trials.jsonl", changed(2, seconds=float("nan")), "trials.jsonl, line 3 is damaged: .*a time is no number"),
        ("trials.jsonl", changed(2, seconds=1e11), "trials.jsonl, line 3 is damaged: .*a time is no number"),
        ("trials.jsonl", changed(2, pid=[1]), "trials.jsonl, line 3 is damaged: .*a count is no whole number"),
        ("trials.jsonl", changed(2, more=1), "trials.jsonl, line 3 is damaged: .*'more'"),
        ("trials.jsonl", lambda lines: [], "log.jsonl, line .: trials.jsonl has lost the lines of trial 1"),
        ("trials.jsonl", without(1), "log.jsonl, line .: trials.jsonl has lost the lines of trial 1"),
        ("confirm.jsonl", lambda lines: [], "log.jsonl, line .: confirm.jsonl has lost the lines of trial 1"),
        (
            "confirm.jsonl",
            lambda lines: [*lines, {**lines[0], "number": 9}],
            "confirm.jsonl, line .: it confirms trial 9, and no line tells of that trial",
        ),
        ("confirm.jsonl", changed(0, seed=-1), "confirm.jsonl, line 1 is damaged: .*is no trial"),
        ("confirm.jsonl", changed(0, seed=2**32), "confirm.jsonl, line 1 is damaged: .*is no trial"),
        (
            "confirm.jsonl",
            changed(0, params=made.PARAMS),
            "confirm.jsonl, line 1: trial 1 with seed 1000000 has other param",
        ),
    ],
)
def test_lines_that_do_not_fit_are_refused_with_file_and_line(
    run: Path, name: str, change: Callable[[Lines], Lines], message: str
) -> None:
    rewrite(run / name, change)
    with pytest.raises(ValueError, match=message) as caught:
        checked(run)
    assert "\n" not in str(caught.value)


def test_a_trial_of_which_nothing_is_left_is_named(run: Path) -> None:
    for name in FILES:
        rewrite(run / name, without(0))
    with pytest.raises(
        ValueError, match=r"log.jsonl, line 2: trial 1 comes after trial 0, and no line tells of trial 0"
    ):
        checked(run)


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_anywhere_is_found(run: Path, name: str) -> None:
    """Where it is not found, it has changed nothing: a bit of the name `crc`, or of the last line break."""
    before, data = audit.read(run), (run / name).read_bytes()
    missed = 0
    for place in range(0, len(data) - 1, 13):
        (run / name).write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 7]) + data[place + 1 :])
        try:
            assert audit.read(run) == before
            missed += 1
        except ValueError as error:
            assert re.search(rf"{name}, line \d+ is damaged: ", str(error)), place
    assert missed <= len(data.splitlines())


@pytest.mark.parametrize("name", FILES)
def test_a_record_file_that_is_a_folder_or_a_pipe_is_refused_at_once(run: Path, name: str) -> None:
    for make in (Path.mkdir, os.mkfifo):
        (run / name).unlink() if (run / name).is_file() else (run / name).rmdir()
        make(run / name)
        with pytest.raises(ValueError, match=f"{name} is not a file"):
            audit.read(run)


def test_a_url_is_named_instead_of_its_working_copy(run: Path) -> None:
    rewrite(run / LOG, doubled(1))
    with pytest.raises(
        ValueError, match=r"s3://b/r/log.jsonl, line .*: trial 0 was started already in s3://b/r/log.jsonl"
    ):
        audit.read(run, "s3://b/r")


def test_records_of_the_version_before_fit_together() -> None:
    books = audit.read(Path(__file__).with_name("version_0_1_0"))
    audit.check_numbers(books)
    assert len(books.trials) == 6
