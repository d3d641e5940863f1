"""A run directory at a URL: claimed, resumed, read."""

import json
import os
import re
import shutil
import socket
from pathlib import Path

import fsspec
import pytest

from frostline.search import cli
from frostline.search.plan.options import path_or_url
from frostline.search.records import folder, reading_copy, remote, storage
from frostline.search.records.journal import read_lines
from frostline.search.records.lease import Lease
from frostline.search.records.reading_copy import ReadingCopy
from frostline.search.records.working_copy import Newer, copy_of, fetch, newer
from frostline.trainables._storage import Store
from tests.s3 import BUCKET, S3, s3, s3_server, store, url

__all__ = ["s3", "s3_server", "store", "url"]

A, B, C = b'{"event": "session"}\n', b'{"event": "start"}\n', b'{"event": "session", "host": "other"}\n'


@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        ({}, {}, (Newer.SAME, False)),
        ({}, {"log.jsonl": A}, (Newer.THERE, False)),
        ({"log.jsonl": A}, {}, (Newer.HERE, False)),
        ({"log.jsonl": A + B, "trials.jsonl": B}, {"log.jsonl": A + B}, (Newer.HERE, False)),
        ({"log.jsonl": A}, {"log.jsonl": A + C, "trials.jsonl": B}, (Newer.THERE, False)),
        ({"log.jsonl": A + B}, {"log.jsonl": A + C}, (Newer.THERE, True)),
        ({"log.jsonl": A, "trials.jsonl": B + B}, {"log.jsonl": A + C, "trials.jsonl": B}, (Newer.THERE, True)),
    ],
    ids=["new", "never here", "never sent", "not all sent", "elsewhere", "both", "both, in two journals"],
)
def test_which_state_of_a_search_goes_on(
    here: dict[str, bytes], there: dict[str, bytes], expected: tuple[Newer, bool]
) -> None:
    assert newer(here, there) == expected


def test_a_place_is_a_folder_or_a_url() -> None:
    assert path_or_url("runs") == Path("runs")
    assert path_or_url("file:///mnt/my%20runs") == Path("/mnt/my runs")
    assert path_or_url("s3://bucket/runs/") == "s3://bucket/runs"
    assert path_or_url("s3://") == "s3://"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("foo://x/y", "--storage foo://x/y: foo is not a kind of storage; there are folders and s3"),
        ("gs://x/y", "--storage gs://x/y needs one more package: pip install gcsfs"),
        ("s3://", "--storage s3://: the name of a bucket is missing"),
        ("memory://x", "--storage memory://x: other processes cannot see the memory of this one"),
        ("s3://no-such-bucket/y", "--storage s3://no-such-bucket/y: The specified bucket does not exist"),
    ],
)
def test_impossible_storage_is_refused_in_one_line(
    s3: S3, given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--space", "bert_imdb", "--storage", given]) == cli.USER_ERROR
    assert capsys.readouterr().err == f"frostline: {said}\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *(
            (f"s3://b/runs/{name}", "each part is a folder name without slashes")
            for name in (".", "..", "../x", "x//y")
        ),
        *((f"s3://b/{name}", "each part is a folder name") for name in ("x/..", "../..", "a\nb", "a\x00b", "\udcff")),
        *(
            (f"s3://b/{name}", "a query (? and what follows) has no meaning")
            for name in ("x?", "x?versionId=1", "?a=/..")
        ),
        *((f"s3://{name}", "the name of a bucket is missing") for name in ("", "/", "/x", "//x")),
        (f"s3://b/{'n' * 201}", "each part is a folder name of at most 200 bytes, got 201"),
    ],
)
@pytest.mark.parametrize("option", ["--resume", "--report", "--dashboard", "--retrain", "--storage", "copy_of"])
def test_a_url_that_is_not_one_folder_is_refused_and_nothing_is_touched(
    option: str,
    given: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path))
    copy = tmp_path / "runs" / "0123456789ab" / "run" / "log.jsonl"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(A)
    if option == "copy_of":
        with pytest.raises(ValueError, match=re.escape(said)):
            copy_of(path_or_url(given))
    else:
        space = ["--space", "bert_imdb"] if option == "--storage" else []
        assert cli.main([*space, option, given]) == cli.USER_ERROR
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert said in error
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [copy]


@pytest.mark.parametrize("name", ["a?b", ".", "..", "", "a/b", "a\nb", "\udcff", "n" * 201])
def test_a_name_is_checked_at_a_url_as_in_a_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^--name "):
        remote.locate("s3://b/runs", name)
    if name != "a?b":
        with pytest.raises(ValueError, match=r"^--name "):
            folder.locate(tmp_path, name)


@pytest.mark.parametrize("above", ["my-bucket/the runs", "my-bucket", f"{BUCKET}/ü %20+#[x]"])
@pytest.mark.parametrize("name", ["a bucket", "ü #%20+", "n" * 200])
def test_a_run_directory_may_have_any_name(
    s3: S3, above: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path))
    if not fsspec.filesystem("s3").exists(bucket := above.partition("/")[0]):
        fsspec.filesystem("s3").mkdir(bucket)
    url = remote.locate(f"s3://{above}", name)
    run = copy_of(url)
    remote.claim(url, run, "{}")
    with remote.hold(url, run, "", silent) as log:
        log.append("test")
    shutil.rmtree(run)
    assert fetch(url, silent) == run
    assert [event["event"] for event in read_lines(run / "log.jsonl")] == ["session", "test"]
    assert (ReadingCopy(url, "--report").folder / "plan.json").read_text() == "{}"
    for file in Store(url).files():
        Store(url).remove(file)


def test_storage_that_does_not_answer_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, s3: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(storage, "_LIMIT", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listens:  # takes what it is asked, and says nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listens.getsockname()[1]}")
        fsspec.filesystem("s3").clear_instance_cache()
        assert cli.main(["--space", "bert_imdb", "--storage", f"s3://{BUCKET}"]) == cli.USER_ERROR
    assert capsys.readouterr().err == f"frostline: --storage s3://{BUCKET}: no answer within 1 s\n"


def silent(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def begun(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The working copy of a search that was claimed and had one session."""
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "one"))
    remote.claim(url, copy_of(url), '{"seed": 0}')
    with remote.hold(url, copy_of(url), "typed", silent) as log:
        log.append("start", number=0, seed=0, params={}, label="", confirms=False)
    return copy_of(url)


def test_a_url_belongs_to_one_search_and_another_is_refused(begun: Path, url: str, store: Store) -> None:
    assert store.read("plan.json") == (begun / "plan.json").read_bytes() == b'{"seed": 0}'
    assert store.read("log.jsonl") == (begun / "log.jsonl").read_bytes()
    assert begun.name == "run"
    with pytest.raises(ValueError, match=f"^{url} holds this very search, unfinished: choose another --name"):
        remote.claim(url, begun, '{"seed": 0}')
    store.write("summary.json", b"{}")
    with pytest.raises(ValueError, match=f"^{url} holds a search with another plan: choose another --name, or go on"):
        remote.claim(url, begun, '{"seed": 1}')
    above = url.rpartition("/")[0]
    with pytest.raises(ValueError, match=f"^{above} is not empty and holds no search: choose another --name"):
        remote.claim(above, begun, "{}")


def test_another_machine_goes_on_and_the_first_one_follows(
    begun: Path, url: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write("trials/00000/last.safetensors", b"weights")
    store.write("trials/00009/best.safetensors", b"of a trial that no record knows")
    store.write("best.part/model.safetensors", b"half an export")
    store.write("wandb/frostline.jsonl", b"{}\n")
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "two"))
    there = fetch(url, silent)
    assert there.is_relative_to(tmp_path / "two")
    assert {path.relative_to(there).as_posix() for path in there.rglob("*") if path.is_file()} == {
        *("plan.json", "log.jsonl", "wandb/frostline.jsonl")
    }
    with remote.hold(url, there, "typed", silent) as log:
        with pytest.raises(ValueError, match=f"is in use by process {os.getpid()} on "):
            fetch(url, silent)
        log.remove(there / "trials/00000/last.safetensors")
    assert store.files().keys() == {"plan.json", "log.jsonl", "wandb/frostline.jsonl"}, "no strays"
    monkeypatch.setenv("FROSTLINE_CACHE", str(tmp_path / "one"))
    assert fetch(url, silent) == begun
    assert [event["event"] for event in read_lines(begun / "log.jsonl")] == ["session", "start", "session"]


def test_a_state_that_was_never_sent_goes_on_or_is_kept(
    begun: Path, url: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = (begun / "log.jsonl").read_bytes()
    (begun / "log.jsonl").write_bytes(sent + B)
    assert fetch(url, silent) == begun
    assert (begun / "log.jsonl").read_bytes() == sent + B
    store.write("log.jsonl", sent + C)
    said: list[str] = []
    assert fetch(url, said.append) == begun
    assert (begun / "log.jsonl").read_bytes() == sent + C
    [kept] = (path for path in begun.parent.iterdir() if path != begun)
    assert said == [
        f"What this machine had of {url} and never sent is kept in {kept}: another machine has gone on since."
    ]
    assert (kept / "log.jsonl").read_bytes() == sent + B


def test_a_working_copy_that_has_become_old_is_refused(begun: Path, url: str, store: Store) -> None:
    store.write("log.jsonl", (begun / "log.jsonl").read_bytes() + C)
    with (
        pytest.raises(ValueError, match="was written by another process just now: try again"),
        remote.hold(url, begun, "", silent),
    ):
        raise AssertionError
    Lease(store).take()


def test_the_warning_about_unsent_files_says_where_they_are(
    begun: Path, url: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.search.records.lease.LIMIT", 0.0)  # this process, which had it, is still alive
    monkeypatch.setattr(
        "frostline.search.records.mirror.Mirror.close", lambda self, close=remote.Mirror.close: close(self, 0.3)
    )
    with remote.hold(url, begun, "", silent) as log:
        s3.stop()
        log.append("test")
    s3.start()
    assert log.unsent.startswith(f"not everything was sent to {url}: ")
    assert log.unsent.endswith(f"; it is kept in {begun}; to send it: frostline --resume {url}")
    assert fetch(url, silent) == begun, "and that is what it does"


def test_a_reading_copy_follows_the_url_and_changes_nothing_there(begun: Path, url: str, store: Store) -> None:
    store.write("study.journal", b"one\n")
    store.write("trials/00000/last.safetensors", b"weights")
    store.write("best/model.safetensors", b"weights")
    before = store.files()
    seen = ReadingCopy(url, "--dashboard")
    assert {path.name for path in seen.folder.rglob("*") if path.is_file()} == {
        "plan.json",
        "log.jsonl",
        "study.journal",
    }
    with (seen.folder / "study.journal").open("rb") as follower:
        follower.read()
        store.write("study.journal", b"one\ntwo\n")
        seen.refresh()
        assert follower.read() == b"two\n", "the same file, longer"
    store.write("study.journal", b"quite another\n")
    seen.refresh()
    assert (seen.folder / "study.journal").read_bytes() == b"quite another\n"
    assert store.files().keys() == before.keys()
    with pytest.raises(ValueError, match=r"is not a run directory: it has no plan\.json"):
        ReadingCopy(f"{url}/best", "--report")


def test_the_winners_recipe_is_read_from_the_url(begun: Path, url: str, store: Store) -> None:
    with pytest.raises(ValueError, match=f"^{url} holds no best/recipe.json: has the search in it finished"):
        reading_copy.recipe(url)
    store.write("best/recipe.json", json.dumps({"no": "recipe"}).encode())
    with pytest.raises(ValueError, match=f"^{url}/best/recipe.json is not a recipe: "):
        reading_copy.recipe(url)
    shutil.rmtree(begun)
