"""One search in a place where nothing is as usual."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.integration.searches import ROOT


def test_a_search_in_an_odd_place(tmp_path: Path, tiny_model: Path, tiny_csv: Path) -> None:
    """A container with an arbitrary user id, started by cron, behind a proxy that leads nowhere.

    No home, no name for the user, a key file of W&B that nobody can read, no locale, no terminal, few open files,
    little shared memory, and a storage with odd characters.
    """
    storage = tmp_path / 'my runs\' 100%s [ä] "x"'
    netrc, temporary = tmp_path / "netrc", tmp_path / "temporary files"
    temporary.mkdir()
    netrc.write_text("machine\x00 api.wandb.ai login\npassword")
    gone = ("HOME", "USER", "LOGNAME", "FROSTLINE_CACHE", "XDG_CACHE_HOME", "LC_ALL", "LC_CTYPE", "PYTHONUTF8")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    nowhere = "http://127.0.0.1:9"
    environment |= {"NETRC": str(netrc), "LANG": "C", "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    environment |= dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), nowhere)
    search = [sys.executable, str(ROOT / "search" / "run.py"), "--space", "bert_imdb", "--profile", "small"]
    search += ["--model", str(tiny_model), "--dataset", str(tiny_csv), "--storage", str(storage), "--name", "odd"]
    search += ["--trials", "2", "--confirm", "0", "--concurrent", "1"]
    inside = 'ulimit -n 256 && mount -t tmpfs -o size=64m none /dev/shm && exec unshare -U --map-user=12345 -- "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", inside, "bash", *search]
    run = subprocess.run(
        command,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=True,
    )
    assert (run.returncode, run.stderr.decode()) == (0, "")
    summary = json.loads((storage / "odd" / "summary.json").read_text())
    assert summary["counts"]["complete"] + summary["counts"]["pruned"] == 2
    assert (storage / "odd" / "best" / "model.safetensors").is_file()
    assert [path.name for path in temporary.iterdir()] == ["frostline-cache-12345"]
    assert b"\x1b[" not in run.stdout, "no colours without a terminal"
