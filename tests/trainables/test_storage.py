"""Whole files at a URL, on an S3 that runs here, through the real client."""

import dataclasses
import os
import socket
from pathlib import Path

import fsspec
import pytest

from frostline.search import publish
from frostline.trainables import _locks, _storage
from frostline.trainables._storage import Home, StorageError, Store
from frostline.trainables._task import NodeError, best_path, last_path
from frostline.trainables.slot import attempt as attempts
from frostline.trainables.slot.winner import finish
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import training
from tests.s3 import BUCKET, S3, s3, s3_server, store, url
from tests.trainables.slots import NEVER, Slot, core, recorded

__all__ = ["s3", "s3_server", "store", "url"]


def test_files_come_back_as_they_were_put(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    store.put(tmp_path / "a", "trials/00000/a")
    store.write("plan.json", b"{}")
    assert {name: entry.size for name, entry in store.files().items()} == {"plan.json": 2, "trials/00000/a": 7}
    assert store.files("trials").keys() == {"trials/00000/a"}
    assert store.files("trial") == {}
    store.get(["trials/00000/a", "not-there"], tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").rglob("*") if path.is_file()] == ["a"]
    assert (tmp_path / "back/trials/00000/a").read_bytes() == b"weights"
    assert store.read("plan.json") == b"{}"
    store.remove("plan.json")
    store.remove("plan.json")
    assert store.read("plan.json") is None
    assert store.modified("plan.json") is None


@pytest.mark.parametrize(
    "place",
    [
        *(
            "my-bucket/runs",
            "no-such-bucket-really/x",
            f"{BUCKET}/bucket",
            f"{BUCKET}/The specified bucket does not exist",
        ),
        *(f"{BUCKET}/{name}" for name in ("a b", "ünï 漢字 é", "a%20b", "%", "a+b", "a#b", "a&b=c", "a::b", "a:b@c")),
        *(f"{BUCKET}/{name}" for name in ("a*b", "a[b]{c}", "\"q'", "a\\b", "~x", "$HOME", "-x", "x" * 200)),
    ],
)
def test_a_bucket_and_a_path_may_have_any_name(s3: S3, place: str, tmp_path: Path) -> None:
    bucket, name = place.partition("/")[0], "trials/ä b#%+*.txt"
    if not fsspec.filesystem("s3").exists(bucket):
        fsspec.filesystem("s3").mkdir(bucket)
    store = Store(f"s3://{place}")
    store.try_out()
    assert (store.read("lock.json"), store.modified("lock.json"), store.files()) == (None, None, {})
    store.write(name, b"1", new=True)
    with pytest.raises(FileExistsError):
        store.write(name, b"2", new=True)
    assert (store.files().keys(), store.files("trials").keys()) == ({name}, {name})
    assert fsspec.filesystem("s3").cat_file(f"{place}/{name}") == b"1", "it is where the URL says"
    store.get([name, "none"], tmp_path)
    store.put(tmp_path / name, "copy")
    assert store.read("copy") == b"1"
    for file in (name, "copy", "none"):
        store.remove(file)
    assert store.files() == {}


@pytest.mark.parametrize("bucket", ["no-such-bucket", "no-such"])
def test_a_missing_bucket_is_not_a_missing_file(s3: S3, bucket: str) -> None:
    store = Store(f"s3://{bucket}/run")
    for request in (
        lambda: store.read("a"),
        lambda: store.files(),
        lambda: store.modified("a"),
        lambda: store.remove("a"),
        lambda: store.write("a", b"", new=True),
    ):
        with pytest.raises(StorageError, match=r"^The specified bucket does not exist$") as missing:
            request()
        assert missing.value.lasting


def test_of_several_writers_one_makes_a_new_file(store: Store) -> None:
    store.write("lock", b"1", new=True)
    with pytest.raises(FileExistsError):
        Store(store.url).write("lock", b"2", new=True)
    assert store.read("lock") == b"1"


@pytest.mark.parametrize(
    ("variables", "right"),
    [
        ({"FROSTLINE_CACHE": "/no/such/cache", "XDG_CACHE_HOME": "/tmp", "HOME": "/tmp"}, "/no/such/cache"),
        ({"XDG_CACHE_HOME": "/dev/shm/new", "HOME": "/tmp"}, "/dev/shm/new/frostline"),
        ({"HOME": "/dev/shm"}, "/dev/shm/.cache/frostline"),
        # Nobody can write there: the folder for temporary files is left.
        ({"XDG_CACHE_HOME": "/proc/caches", "HOME": "/tmp"}, "{temporary}"),
        ({"HOME": "/proc"}, "{temporary}"),
        ({"HOME": "/dev/null"}, "{temporary}"),
        ({}, "{temporary}"),  # and the user is unknown to the system, as in a container with an arbitrary user id
    ],
)
def test_where_caches_go(
    variables: dict[str, str], right: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FROSTLINE_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, how: "/proc" not in str(path) and access(path, how))  # also for root
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    temporary = tmp_path / f"frostline-cache-{os.getuid()}"
    assert str(_storage.cache_root()) == right.format(temporary=temporary)
    if "{" in right:
        assert temporary.stat().st_mode & 0o777 == 0o700
        temporary.rmdir()
        temporary.symlink_to("/etc")
        with pytest.raises(ValueError, match="belongs to another user"):
            _storage.cache_root()


def test_names_that_lead_out_of_a_folder_are_not_listed(store: Store) -> None:
    store.write("fine", b"")
    store._fs.pipe_file(f"{store._root}/../run/trials/../../escape", b"")
    store._fs.pipe_file(f"{store._root}/x/../../../escape", b"")
    assert store.files().keys() == {"fine"}


def test_a_storage_error_is_one_line_and_tells_whether_waiting_helps(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match=r"^The specified bucket does not exist$") as missing:
        Store("s3://no-such-bucket/run").try_out()
    assert missing.value.lasting
    Store(f"s3://{BUCKET}/fine").try_out()
    assert Store(f"s3://{BUCKET}/fine").files() == {}, "no trace of it"
    with s3.strict(), pytest.raises(StorageError, match=r"^Forbidden$|Access") as forbidden:
        Store(f"s3://{BUCKET}/fine").try_out()
    assert forbidden.value.lasting
    Store(f"s3://{BUCKET}/fine").try_out()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    store = Store(f"s3://{BUCKET}/fine")
    store._fs.clear_instance_cache()
    with pytest.raises(StorageError, match=r"^Unable to locate credentials$") as unknown:
        Store(f"s3://{BUCKET}/fine").try_out()
    assert unknown.value.lasting


def test_storage_that_does_not_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(_storage.time, "sleep", waited.append)
    answers = [StorageError("away", lasting=False)] * 7

    def ask() -> str:
        if answers:
            raise answers.pop()
        return "here"

    assert _storage.patiently(ask, "s3://x") == "here"
    assert waited == [1, 2, 4, 8, 16, 30, 30]
    answers += [StorageError("away", lasting=False)]
    with pytest.raises(NodeError, match=f"^{socket.gethostname()}: storage s3://x: away$"):
        _storage.patiently(ask, "s3://x", patience=0.5)
    answers += [StorageError("Access Denied", lasting=True)]
    waited.clear()
    with pytest.raises(NodeError, match="Access Denied"):
        _storage.patiently(ask, "s3://x")
    assert not waited


def test_a_node_says_why_it_cannot_use_the_storage(store: Store) -> None:
    store.write("mark", b"")
    assert _storage.blind(store.url, "mark") == ""
    assert _storage.blind(store.url, "other") == "it does not see what the driver writes there"
    assert _storage.blind("s3://no-such-bucket/x", "mark") == "The specified bucket does not exist"
    assert store.files().keys() == {"mark"}


def test_folders_of_killed_slots_are_removed_and_those_of_others_stay(store: Store, tmp_path: Path) -> None:
    with Home("/drivers/run", store.url, tmp_path) as home:
        host = socket.gethostname()
        dead, other = tmp_path / f"{host}-abc", tmp_path / "elsewhere-abc"
        for folder in (dead, other):
            _locks.use(folder).close()
        with Home("/drivers/run", store.url, tmp_path) as second:
            folders = [each.path(Path("/drivers/run")) for each in (home, second)]
            assert sorted(tmp_path.iterdir()) == sorted([*folders, other])
            assert {folder.name.rpartition("-")[0] for folder in folders} == {host}
        path = Path("/drivers/run/best.part")
        home.path(path).mkdir()
        (home.path(path) / "config.json").write_text("{}")
        home.put(path)
    assert list(tmp_path.iterdir()) == [other]
    assert store.read("best.part/config.json") == b"{}"


@pytest.fixture
def a_snapshot_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each snapshot is written before the next step, even if the storage is slow and a step short."""
    after_step = attempts.Attempt.after_step

    def kept(attempt: attempts.Attempt, take: training.Take) -> None:
        attempt._cost = 0.0
        after_step(attempt, take)
        attempt._finish_writing()

    monkeypatch.setattr(attempts.Attempt, "after_step", kept)


@pytest.mark.usefixtures("a_snapshot_each_step")
def test_a_trial_goes_on_elsewhere_and_reports_again_what_nobody_has_recorded(
    slot: Slot, store: Store, cache: Path
) -> None:
    """Its machine and the driver's are lost between a report and the record of it at the URL."""
    whole = slot.train()
    slot.setup = dataclasses.replace(slot.setup, url=store.url)
    store.write("plan.json", b"{}")
    first = slot.train_until(3, folder="trials/00007", every=0.0)
    here = {
        name: Path(path("", "trials/00007")).as_posix() for name, path in (("best", best_path), ("last", last_path))
    }
    assert store.files("trials/00007").keys() == set(here.values())
    assert not list(Path(slot.setup.run).glob("trials/00007/*")), "nothing in the driver's folder"
    recorded_until = first[:1]
    again = slot.train(folder="trials/00007", every=NEVER, **recorded(recorded_until))
    assert core(again) == core(whole[1:])
    assert slot.steps[0] > 0, "from the snapshot"
    assert again[0].time == first[1].time, "said again, not trained again"
    assert not list((cache / "scratch").iterdir())
    store.get([here["best"]], cache)
    kept, best = checkpoints.load_file(cache / here["best"]), checkpoints.load_file(slot.best())
    assert kept.keys() == best.keys()
    assert all(kept[name].equal(best[name]) for name in kept)


def test_a_node_exports_the_winner_and_the_driver_fetches_it(slot: Slot, store: Store, cache: Path) -> None:
    slot.train()
    store.write("plan.json", b"{}")
    store.put(slot.best(), "trials/00000/best.safetensors")
    run = Path(slot.setup.run)
    elsewhere = dataclasses.replace(slot.setup, url=store.url)
    finished = finish(elsewhere, slot.recipe, str(slot.best()), str(run / "best.part"))
    assert finished == finish(slot.setup, slot.recipe, str(slot.best()), str(run / "here"))
    assert not (run / "best.part").exists()
    publish.fetch(store, run)
    exported = {path.name: path.read_bytes() for path in (run / "here").iterdir()}
    assert {path.name: path.read_bytes() for path in (run / "best.part").iterdir()} == exported
    assert store.files("best.part") == {}
    assert not list((cache / "scratch").iterdir())
