"""A working copy that is uploaded to its URL while it changes."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from frostline.search.records import mirror
from frostline.search.records.lease import NAME, Lease
from frostline.search.records.mirror import RECORDS, Mirror, again_at, is_recorded
from frostline.trainables._storage import Store
from tests.s3 import S3, s3, s3_server, store, url

__all__ = ["s3", "s3_server", "store", "url"]


def test_uploads_take_a_twentieth_of_the_time_at_most() -> None:
    assert again_at(100.0, 0.0) == 101.0
    assert again_at(100.0, 3.0) == 160.0


def test_a_file_is_removed_when_the_records_say_that_nobody_needs_it() -> None:
    needed = {"trials.jsonl": 100, "log.jsonl": 50}
    assert not is_recorded(needed, {})
    assert not is_recorded(needed, {"trials.jsonl": 99, "log.jsonl": 50})
    assert is_recorded(needed, {"trials.jsonl": 100, "log.jsonl": 80})


def test_files_that_belong_to_the_url(tmp_path: Path) -> None:
    for name in (
        *("plan.json", "log.jsonl", "study.journal", "study.journal.lock", "x.part", ".hidden", "best/recipe.json"),
        *("best.part/model.safetensors", "tune/state.json", "trials/00001/error.txt", "trials/00001/best.safetensors"),
        *("wandb/frostline.jsonl", "wandb/run/files/config.yaml"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "wandb/link").symlink_to("/etc/passwd")
    assert {name for name, _ in mirror.files(tmp_path)} == {
        *(
            "plan.json",
            "study.journal",
            "trials/00001/error.txt",
            "wandb/frostline.jsonl",
            "wandb/run/files/config.yaml",
        )
    }


def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until it holds."""
    over = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < over
        time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A working copy in which a search has begun."""
    (made := tmp_path / "copy").mkdir()
    (made / "plan.json").write_text("{}")
    (made / "log.jsonl").write_text('{"event": "session"}\n')
    return made


@pytest.fixture
def mirrored(store: Store, run: Path) -> Iterator[Mirror]:
    lease = Lease(store)
    lease.take()
    made = Mirror(store, run, lease, {})
    yield made
    made.close(patience=1.0)


def append(run: Path, name: str, text: str) -> None:
    with (run / name).open("a") as file:
        file.write(text)


def test_records_are_uploaded_in_whole_lines_and_files_they_do_not_need_are_removed(
    mirrored: Mirror, store: Store, run: Path
) -> None:
    store.write("trials/00000/last.safetensors", b"a slot's")
    append(run, "trials.jsonl", '{"number": 0}\n')
    mirrored.remove(run / "trials/00000/last.safetensors")
    until(lambda: "trials/00000/last.safetensors" not in store.files())
    assert store.read("trials.jsonl") == b'{"number": 0}\n'
    append(run, "trials.jsonl", '{"number": 1}\n{"numb')
    until(lambda: store.read("trials.jsonl") == b'{"number": 0}\n{"number": 1}\n')
    until(lambda: store.read("plan.json") == b"{}")
    (run / "report.html").write_text("seen")
    append(run, "trials.jsonl", 'er": 2}\n')
    assert mirrored.close() == ""
    assert mirrored.news() == []
    names = store.files()
    assert names.keys() == {"plan.json", "log.jsonl", "trials.jsonl", "report.html"}, "and the lock is gone"
    assert all(store.read(name) == (run / name).read_bytes() for name in names)


def test_best_is_whole_if_its_recipe_is_there(
    mirrored: Mirror, store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, there = store.put, list[tuple[str, bool]]()

    def seen(local: Path, name: str, progress: Callable[[], None] | None = None) -> None:
        put(local, name, progress)
        there.append((name, "best/recipe.json" in store.files()))

    def publish(**files: str) -> None:
        (run / "aside").mkdir()
        for name, text in files.items():
            (run / "aside" / f"{name}.json").write_text(text)
        if (run / "best").exists():
            (run / "best").rename(run / "old.part")
        (run / "aside").rename(run / "best")

    publish(recipe="first", model="first", vocabulary="first")
    until(lambda: store.read("best/recipe.json"))
    monkeypatch.setattr(store, "put", seen)
    publish(recipe="other", model="other")
    assert mirrored.close() == ""
    assert [one for one in there if one[0].startswith("best/")] == [
        ("best/model.json", False),
        ("best/recipe.json", True),
    ]
    assert store.files("best").keys() == {"best/recipe.json", "best/model.json"}


def test_storage_that_does_not_answer_is_reported_once_and_waited_for(
    mirrored: Mirror, store: Store, run: Path, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    until(lambda: store.read("log.jsonl"))
    s3.stop()
    try:
        append(run, "log.jsonl", '{"event": "start"}\n')
        notes: list[str] = []
        until(lambda: notes.extend(mirrored.news()) or notes)
        [away] = notes
        assert away.startswith(f"Storage {store.url}: Could not connect to the endpoint URL: ")
        assert away.endswith(f"The search goes on, and all is kept in {run} meanwhile")
        append(run, "log.jsonl", '{"event": "start"}\n')
    finally:
        s3.start()
    until(lambda: notes.extend(mirrored.news()) or len(notes) > 1)
    assert notes[1:] == [f"Storage {store.url} answers again"]
    assert mirrored.close() == ""
    assert store.read("log.jsonl") == (run / "log.jsonl").read_bytes()


def test_the_end_does_not_wait_for_ever_for_storage(mirrored: Mirror, store: Store, run: Path, s3: S3) -> None:
    until(lambda: store.read("log.jsonl"))
    s3.stop()
    try:
        (run / "report.html").write_bytes(b"x" * 100_000)
        until(mirrored.news)  # the message comes when the client has given up
        assert mirrored.close(patience=0.5).startswith("Could not connect")
    finally:
        s3.start()


def test_a_process_that_has_lost_the_lock_writes_no_more(
    store: Store, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "EVERY", 0.05)
    lease = Lease(store)
    lease.take()
    mirrored = Mirror(store, run, lease, {})
    until(lambda: store.files().keys() >= {"log.jsonl", "plan.json"})
    other = Lease(store)
    monkeypatch.setattr("frostline.search.records.lease.LIMIT", 0.0)

    def taken() -> bool:
        try:
            other.take()
        except ValueError:  # the lease was renewed between two of its requests
            return False
        return True

    until(taken)

    def told() -> bool:
        try:
            mirrored.news()
        except Exception as error:
            return "was taken over by process" in str(error)
        return False

    until(told)
    append(run, "log.jsonl", '{"event": "start"}\n')
    assert "was taken over by process" in mirrored.close()
    assert store.read("log.jsonl") == b'{"event": "session"}\n'
    assert store.read(NAME) is not None, "the other's"
    assert RECORDS[0] == "log.jsonl"
