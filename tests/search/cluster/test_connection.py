import os
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
