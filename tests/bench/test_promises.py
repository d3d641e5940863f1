"""A small share of `python -m tests.bench.promises`: what takes seconds, with another seed than a person's."""

import random
from collections.abc import Callable

import pytest

from tests.bench.promises import clocks, crashes, damage, full_disks, fuzz, rows, wrong_inputs
from tests.bench.promises.rows import Failure, Row


@pytest.mark.parametrize("tried", [crashes.tried, damage.cuts, damage.lines, full_disks.tried, clocks.tried])
def test_books_hold(tried: Callable[[int, int], Row]) -> None:
    row = tried(30, 7)
    assert row.tried == 30
    assert not row.failures


def test_a_thousand_fuzzed_inputs_are_refused_or_right() -> None:
    row = fuzz.tried(1000, seed=7)
    assert row.tried == 1000
    assert not row.failures


def test_a_wrong_input_gets_one_line_and_leaves_nothing_behind() -> None:
    every = wrong_inputs.cases()
    assert len(every) > 1500
    row = wrong_inputs.tried(random.Random(7).sample(every, 100))
    assert row.tried == 100
    assert not row.failures


def test_500_fuzzed_tables_are_refused_or_right() -> None:
    row = fuzz.tried(500, seed=7, kinds=("CSV", "JSONL", "Parquet"))
    assert row.tried == 500
    assert not row.failures


def test_the_table_names_the_first_failure() -> None:
    bad = Row(kind="cuts", tried=1200, seconds=2.6, failures=[Failure(name="cut: a|b", problem="lost")])
    assert rows.table([bad]).splitlines()[-1] == "| cuts | 1,200 | 1 | 3 | cut: a\\|b: lost |"


def test_a_row_without_tries_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing was tried"):
        Row(kind="cuts", tried=0, seconds=0.0)
