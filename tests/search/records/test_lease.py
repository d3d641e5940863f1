"""The lock of a run directory at a URL."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.search.records import lease as leases
from frostline.search.records.lease import LIMIT, NAME, Holder, Lease, TakenOverError, is_free
from frostline.trainables._storage import Store
from tests.s3 import s3, s3_server, store, url

__all__ = ["s3", "s3_server", "store", "url"]

HERE = Holder(id="me", pid=1, host="here", boot="b1", time=0.0)
OTHER = Holder(id="other", pid=2, host="there", boot="b2", time=0.0)


@pytest.mark.parametrize(
    ("holder", "age", "alive", "free"),
    [
        (OTHER, LIMIT - 1, False, False),
        (OTHER, LIMIT, True, True),
        (dataclasses.replace(OTHER, host="here", boot="b1"), 0.0, False, True),
        (dataclasses.replace(OTHER, host="here", boot="b1"), 0.0, True, False),
        (dataclasses.replace(OTHER, host="here", boot="b2"), 0.0, False, False),
        (dataclasses.replace(OTHER, host="here", boot=""), 0.0, False, False),
    ],
    ids=["other machine", "no sign of life", "dead here", "alive here", "before this start", "unknown start"],
)
def test_when_a_lock_may_be_taken_from_its_holder(holder: Holder, age: float, alive: bool, free: bool) -> None:
    assert is_free(holder, age, HERE, lambda pid: alive) is free


def test_one_process_holds_it_and_a_second_is_told_which(store: Store) -> None:
    first, second = Lease(store), Lease(store)
    first.take()
    held = Holder(**json.loads(store.read(NAME) or b""))
    with pytest.raises(ValueError, match=f"^{store.url} is in use by process {held.pid} on {held.host} since 20"):
        second.take()
    first.renew()
    second.release()
    assert store.read(NAME) is not None, "another's is not let go of"
    first.release()
    assert store.files() == {}
    second.take()
    second.release()


def test_the_lock_of_a_dead_process_is_taken_and_a_former_holder_notices(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = Lease(store), Lease(store), Lease(store)
    first.take()
    monkeypatch.setattr(leases, "LIMIT", 0.0)
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: None)
    second.take()
    with pytest.raises(TakenOverError, match="was taken over by process"):
        first.renew()
    first.release()
    second.renew()
    # Two that find it free at once: the last to make it has it, and the other sees that.
    monkeypatch.setattr(leases.time, "sleep", lambda seconds: third.take())
    with pytest.raises(ValueError, match="was taken by process"):
        Lease(store).take()
    third.renew()


def test_a_lock_that_was_removed_by_hand_is_made_again(store: Store) -> None:
    held = Lease(store)
    held.take()
    store.remove(NAME)
    held.renew()
    assert store.read(NAME) is not None
    store.write(NAME, b"no json")
    with pytest.raises(TakenOverError, match="an unknown host"):
        held.renew()


def test_a_container_of_the_same_machine_is_another_machine() -> None:
    """Its process numbers are its own: a holder that is alive there would seem to be gone."""
    code = "from frostline.search.records import lease; print(lease.this_process().boot)"
    container = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]
    here, there = (
        subprocess.run([*inside, sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for inside in ([], container)
    )
    assert here.strip() == leases.this_process().boot
    assert there.split()[0] == here.split()[0]
    assert there != here


GOOD = dataclasses.asdict(OTHER)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"null", b"[]", b"5", b"{}", b"\0" * 20, b"\xff", b"[" * 100_000, b"9" * 5000),
        *(
            json.dumps({**GOOD, **change}).encode()
            for change in (
                *({"pid": value} for value in (None, "1", 1.5, True, [], 2**70)),
                *({"time": value} for value in (None, "now", float("nan"), 1e300, -1, [])),
                *({name: value} for name in ("id", "host", "boot") for value in (None, 5, [])),
            )
        ),
    ],
    ids=lambda content: repr(content)[:60],
)
def test_a_lock_with_odd_values_belongs_to_an_unknown_host(tmp_path: Path, content: bytes) -> None:
    held = Lease(Store(f"file://{tmp_path}"))
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ValueError, match=r"is in use by process 0 on an unknown host since .*, last heard of 0 s ago"):
        held.take()


def test_a_lock_of_a_later_version_is_read(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(json.dumps({**GOOD, "more": 1}))
    with pytest.raises(ValueError, match="is in use by process 2 on there since"):
        Lease(Store(f"file://{tmp_path}")).take()


@pytest.mark.parametrize("pid", [0, -1, 2**40])
def test_a_number_that_no_process_has_is_not_alive(pid: int) -> None:
    assert not leases.is_alive(pid)
