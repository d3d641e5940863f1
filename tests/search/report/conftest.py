"""Run directories that several tests read. A test that changes one works on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frostline.search.report import view as views
from frostline.search.report.view import View
from tests.search import runs


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A finished search of 30 trials, to be read only."""
    run = tmp_path_factory.mktemp("finished") / "run"
    runs.write(run, 30)
    return views.read(run)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> View:
    """A finished search without any trial, to be read only."""
    run = tmp_path_factory.mktemp("empty") / "run"
    runs.write(run, 0)
    return views.read(run)


@pytest.fixture
def copied(finished: View, tmp_path: Path) -> Path:
    """A copy of the run directory of `finished`, to be changed."""
    return Path(shutil.copytree(finished.run, tmp_path / "run"))
