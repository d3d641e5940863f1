"""Medians, ratios and the quality gate."""

import math
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tests.bench import table
from tests.bench.table import Gate, Run

NAMES = {"S": "standard", "F": "ours"}


def run(system: str, repeat: int = 0, cpu: float = 1.0, scores: tuple[float | None, ...] = (), **more: Any) -> Run:
    return Run(system=system, repeat=repeat, wall=cpu / 2, cpu=cpu, memory=1e9, scores=scores, **more)


def test_the_gate_is_the_paired_t_interval() -> None:
    peer, ours = [0.80, 0.82, 0.79, 0.85], [0.81, 0.80, 0.78, 0.83]
    found = table.gate(peer, ours)
    expected = stats.ttest_rel(peer, ours).confidence_interval(0.95)
    assert (found.mean - found.half, found.mean + found.half) == pytest.approx((expected.low, expected.high))
    assert found.pairs == 4
    assert found.passed


def test_a_difference_that_every_recipe_shows_does_not_pass() -> None:
    found = table.gate([0.90, 0.80, 0.71], [0.85, 0.76, 0.66])
    assert found.passed is False
    assert str(found).endswith("DIFFERS")
    assert not table.gate([0.5, 0.6], [0.4, 0.5]).passed, "the same difference twice has an interval of width 0"


def test_equal_scores_pass_and_one_pair_says_nothing() -> None:
    assert table.gate([0.5, 0.6], [0.5, 0.6]).passed
    assert table.gate([0.5], [0.9]).passed is None
    assert str(table.gate([0.5], [0.9])) == "too few pairs"


def test_scores_of_other_recipes_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        table.gate([0.5, 0.6], [0.5])


def test_repeats_are_averaged_before_they_are_paired() -> None:
    runs = [
        run("S", 0, scores=(0.6, 0.8)),
        run("S", 1, scores=(0.8, 0.8)),
        run("F", 1, scores=(0.6, 0.7)),
        run("F", 0, scores=(0.6, 0.7)),
    ]
    found = table.gates(runs, "F")
    assert found == {"S": Gate(pairs=2, mean=pytest.approx(0.1), half=pytest.approx(0.0, abs=1e-9))}
    assert table.gates(runs[:2], "F") == {}, "nothing to compare with"


def test_a_peer_that_trained_some_of_the_recipes_is_compared_on_these() -> None:
    runs = [run("S", cpu=60, scores=(None, 0.7, None, 0.5)), run("F", cpu=20, scores=(0.9, 0.6, 0.9, 0.5))]
    assert table.gates(runs, "F")["S"].pairs == 2
    rows = [line.strip("| ").split("|") for line in table.report(runs, NAMES, "F").splitlines()]
    assert rows[2][0].strip() == "S standard, 1 recipe of 2"
    assert [row[7].strip() for row in rows[2:]] == ["0.6000", "0.5500"]


def test_medians_and_ratios() -> None:
    runs = [run("S", n, cpu=c) for n, c in enumerate((10, 90, 20))] + [run("F", cpu=5.0)]
    values = table.typical(runs, "cpu")
    assert values == {"S": 20, "F": 5}
    assert table.ratios(values, "F") == {"S": 4, "F": 1}
    assert all(math.isnan(v) for v in table.ratios({"S": 20.0}, "F").values())


def test_a_search_that_did_not_reach_the_target_counts_with_all_its_time() -> None:
    runs = [
        run("S", 0, cpu=20, target=0.8, best=((1.0, 0.5), (3.0, 0.9))),
        run("S", 1, cpu=20, target=0.8, best=((1.0, 0.79),)),
        run("S", 2, cpu=20, target=0.8, best=((7.0, 0.8),)),
        run("F", target=0.8, best=((2.0, 0.8),)),
    ]
    assert table.typical(runs, "reached") == {"S": (3 + 10 + 7) / 2, "F": 2.0}
    text = table.report(runs, NAMES, "F", "reached")
    assert [cell.strip() for cell in text.splitlines()[2].split("|")[2:5]] == ["10.0", "5.00", "2 of 3"]
    assert "accuracy" not in text
    lower = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.targets(runs, NAMES, "F").splitlines()
    ]
    assert lower[2] == ["0.8000", "10.0", "5.00", "2 of 3", "2", "1.00", "1 of 1"]
    assert lower[3] == ["0.7900", "3.67", "1.83", "3 of 3", "2", "1.00", "1 of 1"]


def test_a_target_that_was_never_reached_took_for_ever() -> None:
    runs = [run("S", n, cpu=20, target=0.8) for n in range(2)] + [run("F", target=0.8, best=((2.0, 0.8),))]
    assert table.typical(runs, "reached") == {"S": math.inf, "F": 2.0}
    assert "not reached" in table.report(runs, NAMES, "F", "reached")


def test_the_table_reads_as_markdown(tmp_path: Path) -> None:
    runs = [run("S", cpu=60, scores=(0.5, 0.7)), run("F", cpu=20, scores=(0.5, 0.7))]
    lines = table.report(runs, NAMES, "F").splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["S standard", "30.0", "3.00", "60.0", "3.00", "1000", "1", "0.6000", "+0.0000 ± 0.0000 ok"]
    assert lines[3].strip("| ").startswith("F ours")
