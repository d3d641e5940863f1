"""Fixtures of the tests that run a whole thing."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser import browser
from tests.integration.searches import Searches

__all__ = ["browser"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """A search whose fsyncs and renames were recorded."""

    summary: dict[str, Any]
    record: Path
    inodes: dict[Path, int]
    """The inodes of the files in its run directory and in the cache when it had ended, without empty files."""


@pytest.fixture(scope="session")
def ray_here(ray_here: None, calls: Path, cache: Path) -> None:
    """The Ray that all tests share. From now until `finished` has ended its fsyncs and renames are recorded.

    Nothing is cached yet, so that all of it is recorded.
    """
    for name in ("data", "features"):
        shutil.rmtree(cache / name, ignore_errors=True)
    calls.touch()


@pytest.fixture(scope="session")
def searches(ray_here: None, tiny_model: Path, tiny_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Searches:
    """Starts searches on the Ray that all tests share."""
    return Searches(tmp_path_factory.mktemp("runs"), tiny_model, tiny_csv)


@pytest.fixture(scope="session")
def asked() -> dict[str, Any]:
    """Options of `finished`."""
    return {"trials": 8, "concurrent": 1, "seed": 5}


@pytest.fixture(scope="session")
def recorded(searches: Searches, asked: dict[str, Any], calls: Path, cache: Path) -> Recorded:
    """One finished search, and what was recorded of its files."""
    summary = searches.start("finished", **asked)
    record = calls.with_name("finished.jsonl")
    calls.rename(record)
    folders = (Path(summary["run"]), cache / "data", cache / "features")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    inodes = {path: path.stat().st_ino for path in files if path.stat().st_size}
    return Recorded(summary=summary, record=record, inodes=inodes)


@pytest.fixture(scope="session")
def finished(recorded: Recorded) -> dict[str, Any]:
    """One finished search, one trial at a time. Tests look at it; a test that changes a run directory takes a copy."""
    return recorded.summary
