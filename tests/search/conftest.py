"""A plan of the tiny model and table, as `resolve` makes it, and a clock."""

from pathlib import Path

import pytest

from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.search.plan.plan import Plan
from tests.search.made import Clock


@pytest.fixture
def options(tiny_model: Path, tiny_csv: Path, tmp_path: Path) -> Options:
    """Of a small search in `tmp_path`; without a prefix cache, so that every training has a slot of its own."""
    return Options(
        space="bert_imdb",
        profile="small",
        model=str(tiny_model),
        dataset=str(tiny_csv),
        storage=tmp_path,
        name="run",
        trials=12,
        prefix_cache="off",
        confirm_recipes=3,
    )


@pytest.fixture
def plan(options: Options) -> Plan:
    """12 trials of 2 epochs, one rung after half of one; its run directory is not there yet."""
    return planning.resolve(options)[0]


@pytest.fixture
def clock() -> Clock:
    """Stands still until it is moved."""
    return Clock()
