import json
import os
import zlib
from pathlib import Path

import pytest

from frostline.search.records.journal import Journal, checked, entries, read_lines


def test_a_line_is_on_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whether a disk has it cannot be seen without pulling the plug: the call that asks for it is watched.
    synced: list[bytes] = []
    path = tmp_path / "log.jsonl"
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))
    journal = Journal(path)
    synced.clear()  # the folder, which has a new name
    journal.append({"event": "session"})
    assert synced == [b'{"event": "session", "crc": "a2410da8"}\n']


LINE = checked({"event": "session", "pid": 1, "host": "ä"})


def test_a_line_has_its_checksum_as_its_last_field() -> None:
    fields = json.loads(LINE)
    assert [*fields] == ["event", "pid", "host", "crc"]
    crc = fields.pop("crc")
    assert int(crc, 16) == zlib.crc32(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        (LINE, ""),
        (LINE + b"\r", ""),
        (b"  " + LINE, ""),
        (b'{"event": "session"}', ""),
        (b'{"event":"session"}', ""),
        (b"{}", ""),
        (LINE.replace(b"1", b"2", 1), "its checksum does not fit"),
        (LINE.replace(b'"crc": "', b'"crc": "0')[:-1], "it is not JSON"),
        (LINE[:-1] + b', "pid": 2}', "its checksum is not its last field"),
        (LINE.replace(b'"crc": ', b'"crc":'), "its checksum is not its last field"),
        (LINE[:30], "it is not JSON"),
        (b"\0" * 30, "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"pid": ' + b"9" * 5000 + b"}", "it is not JSON"),
        (b"[1]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_damaged_line_is_told_from_one_that_a_person_wrote(tmp_path: Path, text: bytes, damage: str) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\n".join([LINE, b"", text, LINE]) + b"\n")
    read = list(entries(path))
    assert [(entry.line, entry.damage) for entry in read] == [(1, ""), (3, damage), (4, "")]
    assert "crc" not in read[0].fields
    assert len(list(read_lines(path))) == 3 - bool(damage)


@pytest.mark.parametrize("torn", [LINE, LINE[:20], b"\0" * 512, LINE[:20] + b"\0\0\n", b"\0\0" + LINE[2:] + b"\n"])
def test_a_torn_last_line_is_no_damage_and_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(LINE + b"\n" + torn)
    assert [entry.damage for entry in entries(path)] == [""]
    Journal(path).append({"event": "start"})
    assert path.read_bytes() == LINE + b"\n" + checked({"event": "start"}) + b"\n"
