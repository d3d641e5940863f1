"""Fixtures of the tests that run a whole thing."""

from pathlib import Path
from typing import Any

import pytest

from tests.browser import browser
from tests.integration.searches import Searches

__all__ = ["browser"]


@pytest.fixture(scope="session")
def searches(
    ray_here: None, calls: Path, tiny_model: Path, tiny_csv: Path, tmp_path_factory: pytest.TempPathFactory
) -> Searches:
    """Starts searches on the Ray that all tests share."""
    calls.touch()  # before anything is cached, until `finished` has ended
    return Searches(tmp_path_factory.mktemp("runs"), tiny_model, tiny_csv)


@pytest.fixture(scope="session")
def asked() -> dict[str, Any]:
    """Options of `finished`."""
    return {"trials": 8, "concurrent": 1, "seed": 5}


@pytest.fixture(scope="session")
def recorded(finished: dict[str, Any], calls: Path) -> Path:
    """The fsyncs and renames of `finished`, and of the searches before it."""
    return calls.with_name("finished.jsonl")


@pytest.fixture(scope="session")
def finished(searches: Searches, asked: dict[str, Any], calls: Path) -> dict[str, Any]:
    """One finished search, one trial at a time. Tests look at it; a test that changes a run directory takes a copy."""
    summary = searches.start("finished", **asked)
    calls.rename(calls.with_name("finished.jsonl"))
    return summary
