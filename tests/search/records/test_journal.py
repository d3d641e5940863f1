import os
from pathlib import Path

import pytest

from frostline.search.records.journal import Journal


def test_a_line_is_on_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether a disk has it cannot be seen without pulling the plug: the call that asks for it is watched.
    synced: list[bytes] = []
    path = tmp_path / "log.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    journal = Journal(path)
    synced.clear()  # the folder, which has a new name
    journal.append({"event": "session"})
    assert synced == [b'{"event": "session"}\n']
