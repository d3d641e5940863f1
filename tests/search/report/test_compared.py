"""The winner beside the trained baseline: what is better by more than chance, and where the result says so."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from frostline.search.records import baseline as records
from frostline.search.records.baseline import BaselineRecord
from frostline.search.report import closing, page
from frostline.search.report.compared import caution, compared, of_summary, sentence
from frostline.search.report.verdict import Evidence, verdict
from frostline.spaces import Metric
from tests.search.made import METRIC, edit, summary

LOSS = Metric(name="loss", better="lower")
RECORD = BaselineRecord(
    name="TF-IDF",
    seconds=2.0,
    examples={"train": 800, "validation": 400, "test": 1500},
    validation={"accuracy": 0.8, "loss": 0.5},
    test={"accuracy": 0.82, "loss": 0.4},
)
READING = {"metrics": {"accuracy": 0.85, "loss": 0.3}, "interval": [0.8, 0.88]}


@pytest.mark.parametrize(
    ("metric", "difference", "beaten", "text"),
    [
        (METRIC, [0.01, 0.05], True, "is better than TF-IDF by more than chance: {} accuracy is 0.010 to 0.050 higher"),
        (METRIC, [0.0, 0.05], False, "is not better than TF-IDF by more than chance: {} accuracy differs by +0.000"),
        (METRIC, [-0.07, 0.02], False, "is not better than TF-IDF by more than chance: {} accuracy differs by -0.070"),
        (METRIC, [-0.07, -0.02], False, "is worse than TF-IDF: {} accuracy is 0.020 to 0.070 lower"),
        (LOSS, [-0.07, -0.02], True, "is better than TF-IDF by more than chance: {} loss is 0.020 to 0.070 lower"),
        (LOSS, [-0.07, 0.02], False, "is not better than TF-IDF by more than chance: {} loss differs by -0.070"),
        (LOSS, [0.02, 0.07], False, "is worse than TF-IDF: {} loss is 0.020 to 0.070 higher"),
    ],
)
def test_a_paired_difference_decides(metric: Metric, difference: list[float], beaten: bool, text: str) -> None:
    found = compared(RECORD, {**READING, "difference": difference}, metric)
    assert found is not None
    assert found.beaten is beaten
    assert sentence(found).startswith("The winner " + text.format("on 1,500 test examples its"))
    assert sentence(found).endswith(" (95 % interval).")
    assert caution(found) == ("" if beaten else sentence(found))
    assert of_summary(json.loads(json.dumps({"baseline": dataclasses.asdict(found)}))) == found


@pytest.mark.parametrize(("own", "beaten"), [(0.79, True), (0.8, False), (0.9, False)])
def test_without_a_paired_difference_the_interval_of_the_winner_decides(own: float, beaten: bool) -> None:
    found = compared(dataclasses.replace(RECORD, test={"accuracy": own}), READING, METRIC)
    assert found is not None
    assert found.difference == pytest.approx([0.8 - own, 0.88 - own])
    assert found.beaten is beaten


def test_what_a_longer_time_would_do_stands_behind_the_caution_alone() -> None:
    worse, better = (compared(RECORD, {**READING, "difference": ends}, METRIC, "More.") for ends in ([-2, -1], [1, 2]))
    assert caution(worse) == f"{sentence(worse)} More."
    assert caution(better) == ""
    assert better is not None
    assert better.outlook == ""


UNREAD = dataclasses.replace(RECORD, test=None)


@pytest.mark.parametrize(
    ("record", "reading"),
    [(None, READING), (UNREAD, None), (UNREAD, READING), (RECORD, {**READING, "difference": [float("nan"), 0.1]})],
)
def test_nothing_is_said_where_nothing_is_known(record: BaselineRecord | None, reading: dict[str, Any] | None) -> None:
    found = compared(record, reading, METRIC)
    assert (sentence(found), caution(found)) == ("", "")
    assert found is None or (found.difference, found.beaten) == (None, None)


def result(record: BaselineRecord, difference: list[float] | None) -> dict[str, Any]:
    """A summary with a baseline."""
    found = compared(record, {**READING, "difference": difference}, METRIC)
    assert found is not None
    return summary(baseline=dataclasses.asdict(found))


def test_the_result_begins_with_it_only_if_the_winner_is_not_better() -> None:
    def printed(result: dict[str, Any]) -> list[str]:
        text = io.StringIO()
        closing.tell(result, Console(file=text, width=200))
        return [line for line in text.getvalue().splitlines() if line.strip()]

    first, *rest = printed(result(RECORD, [-0.07, 0.02]))
    assert first.startswith("The winner is not better than TF-IDF by more than chance")
    assert first not in rest
    better = printed(result(RECORD, [0.01, 0.05]))
    assert "winner" not in better[0], "the table"
    assert "The winner is better than TF-IDF by more than chance" in "\n".join(better)
    late = dataclasses.replace(UNREAD, validation={}, problem="did not end within 30 s")
    lines = printed(result(late, [-0.07, -0.02]))
    assert "The baseline TF-IDF did not end within 30 s." in lines[1:]


def test_the_verdict_leaves_the_first_sentence_out() -> None:
    said = [verdict(Evidence.of_summary(result(RECORD, ends))) for ends in ([-0.07, 0.02], [0.01, 0.05])]
    assert [any("TF-IDF" in one for one in sentences) for sentences in said] == [False, True]


def test_the_page_shows_the_baseline_and_begins_with_the_sentence(copied: Path) -> None:
    def shown(difference: str) -> str:
        records.write(copied, RECORD)
        edit(copied / "log.jsonl", '"interval": [', f'"difference": {difference}, "interval": [')
        return page.page(page.views.read(copied)).partition('<script type="text/plain"')[0]

    text = shown("[-0.07, -0.02]")
    head = text.partition("<header>")[2].partition("</header>")[0]
    assert '<p class="first">The winner is worse than TF-IDF: on 1,500 test examples its accuracy' in head
    assert "<dt>TF-IDF</dt><dd>0.8000</dd>" in text
    assert "<dt>majority class</dt>" in text
    assert "TF-IDF scores 0.8200</p>" in text
    edit(copied / "log.jsonl", '"difference": [-0.07, -0.02]', '"difference": [0.02, 0.07]')
    better = page.page(page.views.read(copied)).partition('<script type="text/plain"')[0]
    assert 'class="first"' not in better
    assert "<li>The winner is better than TF-IDF by more than chance" in better
