"""A power cut loses what was not synced: in a whole search nothing has its name before its bytes are on disk."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Recorded

JOURNALS = {"trials.jsonl", "confirm.jsonl", "log.jsonl", "study.journal"}
"""Files that are synced line by line."""

DERIVED = {"in-use"}
"""Files that hold no data: locks."""


@pytest.fixture
def events(recorded: Recorded, cache: Path) -> list[dict[str, Any]]:
    """All calls about the search's own run directory and about the cache, in order."""
    lines = recorded.record.read_text(encoding="utf-8").splitlines()
    run = recorded.summary["run"]
    places, above = (run, str(cache)), str(Path(run).parent)
    return [
        event
        for event in map(json.loads, lines)
        if event["path"].startswith(places) or (event["path"] == above and event["call"] == "fsync")
    ]


def is_aside(path: str) -> bool:
    """Whether a name is temporary: an unfinished file's or folder's, or a lock's of Optuna."""
    parts = Path(path).parts
    return any(part.startswith((".", "study.journal.lock")) or part.endswith(".part") for part in parts)


def test_nothing_has_its_name_before_its_bytes_are_on_disk(events: list[dict[str, Any]]) -> None:
    synced, named = {}, 0
    for event in events:
        if event["call"] == "fsync":
            [(inode, *state)] = event["states"]
            synced[inode] = state
        elif event["call"] == "rename":
            named += 1
            for inode, *state in event["states"]:
                assert synced.get(inode) == state, f"{event['path']} had bytes that were not synced: {event}"
    assert named > 20, "snapshots, best weights, features, the export and the report have been given names"


def test_each_new_name_is_synced_at_once(events: list[dict[str, Any]]) -> None:
    """The folder that holds it is synced by the same process, before it gives another name."""
    waiting: dict[int, set[str]] = {}
    for event in events:
        own = waiting.setdefault(event["pid"], set())
        if event["call"] == "fsync":
            own.discard(event["path"])
        elif not is_aside(event["target"]):
            if event["call"] == "rename":
                assert not own, f"{own} were not synced before {event}"
            own.add(str(Path(event["target"]).parent))
    assert not any(waiting.values()), waiting


def test_every_file_of_a_finished_search_got_its_name_this_way(
    events: list[dict[str, Any]], recorded: Recorded
) -> None:
    renamed = {state[0] for event in events if event["call"] == "rename" for state in event["states"]}
    synced = {state[0] for event in events if event["call"] == "fsync" for state in event["states"]}
    assert len(recorded.inodes) > 20
    for path, inode in recorded.inodes.items():
        if path.name not in DERIVED and not path.name.startswith("."):
            assert inode in (synced if path.name in JOURNALS else renamed), f"{path} was written under its own name"
