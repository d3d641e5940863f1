import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from search import plan as planning
from search.progress import Progress
from search.results import Line

PARAMS = {"learning_rate": 1.25e-4, "batch_size": 8, "frozen_layers": 3, "weight_decay": 0.00866}


@pytest.fixture
def plan(tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> planning.Plan:
    options = planning.Options(
        space="bert_imdb", profile="small", model=str(tiny_model), dataset=str(tiny_csv), storage=tmp_path
    )
    return planning.resolve(options)[0]


def line(number: int, state: str, **more: Any) -> Line:
    fields: dict[str, Any] = {
        "number": number,
        "state": state,
        "params": PARAMS,
        "label": "",
        "epoch": 1.0,
        "samples": 320,
        "step": 40,
        "metrics": {"accuracy": 0.8125, "loss": 0.4},
        "seconds": 12.0,
        "pid": 1,
        "time": 0.0,
    }
    return Line(**{**fields, **more})


def follow(progress: Progress) -> None:
    progress.begin(0, PARAMS, "default")
    progress.report(line(0, "RUNNING", label="default"))
    progress.end(line(0, "PRUNED", label="default"))
    progress.begin(1, PARAMS, "")
    progress.end(line(1, "FAIL", metrics={}, reason="loss is nan at step 3, learning rate 0.001"))
    progress.begin(2, PARAMS, "")
    progress.report(line(2, "RUNNING", metrics={"accuracy": 0.5, "loss": 0.7}))


def test_without_a_terminal_each_event_is_one_plain_line(plan: planning.Plan) -> None:
    text = io.StringIO()
    with Progress(plan, Console(file=text, width=500)) as progress:
        follow(progress)
    printed = text.getvalue()
    assert "\x1b" not in printed
    lines = [part.split("] ", 1)[1] for part in printed.splitlines()]
    assert lines == [
        "trial 0 starts: default: learning_rate 0.000125, batch_size 8, frozen_layers 3, weight_decay 0.00866",
        "trial 0 epoch 1.00: accuracy 0.8125, loss 0.4000, 12 s",
        "trial 0 PRUNED: 1 of 12 done, best 0.8125 by trial 0",
        "trial 1 starts: learning_rate 0.000125, batch_size 8, frozen_layers 3, weight_decay 0.00866",
        "trial 1 FAIL (loss is nan at step 3, learning rate 0.001): 2 of 12 done, best 0.8125 by trial 0",
        "trial 2 starts: learning_rate 0.000125, batch_size 8, frozen_layers 3, weight_decay 0.00866",
        "trial 2 epoch 1.00: accuracy 0.5000, loss 0.7000, 12 s",
    ]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_on_a_terminal_the_table_says_the_same(plan: planning.Plan, width: int) -> None:
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True, color_system=None)
    with Progress(plan, console) as progress:
        follow(progress)
        shown = Console(file=io.StringIO(), width=width)
        shown.print(progress._render())
    table = shown.file.getvalue()  # type: ignore[attr-defined]
    assert "2 of 12 trials done, 1 running, 9 to come" in table
    for part in ("accuracy", "seconds", "running", "0.5000", "pruned", "0.8125", "1/1"):
        assert part in table, part
    assert "fail" not in table, "a failed trial is none of the best"


def test_a_budget_without_rungs_is_shown_too(plan: planning.Plan) -> None:
    text = io.StringIO()
    with Progress(dataclasses.replace(plan, rungs=()), Console(file=text)) as progress:
        follow(progress)
        assert progress._render()
