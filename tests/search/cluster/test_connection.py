import os
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.search.cluster import connection, machines


def test_an_address_without_a_cluster_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no Ray cluster answers at 127.0.0.1:9"):
        machines.offer("127.0.0.1:9", Path("runs"))
    for address in ("ray://somewhere:10001", "somewhere", "somewhere:port"):
        with pytest.raises(ValueError, match="'auto' or HOST:PORT"):
            machines.offer(address, Path("runs"))


@pytest.mark.parametrize("for_ray", [False, True])
def test_tmpdir_says_where_temporary_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_ray: bool) -> None:
    """Ray's sockets need a short path: a longer `TMPDIR` is for everything else."""
    short, usual = Path("/dev/shm"), Path("/tmp")
    long = tmp_path / "a-folder-whose-path-is-too-long-for-sockets"
    long.mkdir()
    for given, right in {
        "": usual,
        str(short): short,
        "/no/such/folder": usual,
        str(long): usual if for_ray else long,
    }.items():
        monkeypatch.setenv("TMPDIR", given)
        assert connection.temporary_folder(for_ray) == right, given
        with connection.scratch(for_ray) as folder:
            assert folder.parent == right
        assert not folder.exists()
    monkeypatch.setattr(os, "access", lambda *_: False)  # as on a system that is mounted read-only
    with pytest.raises(ValueError, match=r"^no temporary files in /dev/shm, /tmp, /var/tmp: TMPDIR names a folder"):
        monkeypatch.setenv("TMPDIR", str(short))
        connection.temporary_folder(for_ray)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "{option} is 'auto' or HOST:PORT of the head node"),
        ("http://head:8265", "'local' for a Ray of its own; http://head:8265 is the one for jobs"),
        ("https://head", "'local' for a Ray of its own; https://head is the one for jobs"),
        ("head:99999", "{option} is 'auto' or HOST:PORT, got 'head:99999'"),
        ("head:²", "{option} is 'auto' or HOST:PORT, got"),
        (":6379", "{option} is 'auto' or HOST:PORT, got"),
        ("127.0.0.1:9", "no Ray cluster answers at 127.0.0.1:9{named}: Connection refused"),
        ("ü" * 100 + ":1", "{named}: "),
    ],
)
@pytest.mark.parametrize("of_environment", [True, False])
def test_an_address_that_leads_nowhere_is_said_with_the_place_it_comes_from(
    address: str, said: str, of_environment: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address if of_environment else "auto")
    option, named = ("RAY_ADDRESS", " (of the variable RAY_ADDRESS)") if of_environment else ("--address", "")
    with pytest.raises(ValueError) as caught:
        machines.offer(address, Path("runs"))
    assert said.format(option=option, named=named) in str(caught.value)
    assert "\n" not in str(caught.value)


_WAITS_FOR_RAY = """
import subprocess, sys, time
from pathlib import Path
from frostline.search.cluster import connection
connection._GRACE = float(sys.argv[1])
with connection.scratch() as folder, subprocess.Popen(["sleep", "600"]) as child:
    with connection._ending_without([("gcs_server", child.pid)], folder, "This is what to do."):
        child.kill()
        if len(sys.argv) > 2:
            time.sleep(600)  # a question to Ray that nobody answers
"""


def test_a_process_that_waits_for_a_dead_ray_ends_with_one_line(tmp_path: Path) -> None:
    """Ray itself would end it after 60 s, with a line of its own."""
    for grace, waits, expected in (
        ("0.1", ["waits"], (1, "frostline: Ray has stopped (its process gcs_server has died). This is what to do.\n")),
        ("600", [], (0, "")),
    ):
        run = subprocess.run(
            [sys.executable, "-c", _WAITS_FOR_RAY, grace, *waits],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (run.returncode, run.stderr) == expected
        assert list(tmp_path.iterdir()) == []


_OUTLIVES_RAY = """
import signal, time
from frostline.search import stop
from frostline.search.cluster import connection
with stop.in_time():
    with connection.connect(None):
        pass
    try:
        signal.raise_signal(signal.SIGTERM)  # as `docker stop` sends it while the test set is read
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_after_the_end_of_ray_sigterm_still_interrupts_a_search(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _OUTLIVES_RAY],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "interrupted\n")
    assert list(tmp_path.iterdir()) == []
