"""A search whose run directory is on S3: killed with its machine, gone on elsewhere, while the storage is away too."""

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from frostline.search.ledger.study import optuna_state
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records import working_copy
from frostline.search.records.journal import read_lines
from frostline.search.records.mirror import RECORDS
from frostline.search.records.trials import Outcome
from frostline.trainables._storage import Store
from tests.integration.drivers import Driver
from tests.s3 import S3, s3, s3_server, store, url

__all__ = ["s3", "s3_server", "store", "url"]

LIMIT = 120.0
"""Seconds for one session of the search."""
EPOCHS = 16
"""Enough for the first session to be training when its records are uploaded, about every 10 s on a busy machine."""


class Machine:
    """One that searches: its own cache, in which its working copies are."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder
        folder.mkdir()
        self._said = folder / "said.txt"

    def search(self, *arguments: str) -> Driver:
        """Start a session."""
        return Driver(*arguments, out=self._said, err=self._said, FROSTLINE_CACHE=str(self.cache))

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self._said.read_text()


def wait_for(what: Callable[[], Any], running: Driver, machine: Machine) -> None:
    over = time.monotonic() + LIMIT
    while not what():
        assert running.poll() is None, machine.said
        assert time.monotonic() < over, machine.said
        time.sleep(0.1)


def test_the_machine_is_lost_and_another_goes_on_though_the_storage_fails_for_a_while(
    s3: S3, url: str, store: Store, tiny_model: Path, tiny_csv: Path, tmp_path: Path
) -> None:
    first, second = Machine(tmp_path / "first"), Machine(tmp_path / "second")
    above, _, name = url.rpartition("/")
    given = ["--space", "bert_imdb", "--profile", "small", "--model", str(tiny_model), "--dataset", str(tiny_csv)]
    given += ["--trials", "6", "--epochs", str(EPOCHS), "--confirm", "0"]
    given += ["--checkpoint-every", "0", "--prefix-cache", "off"]
    running = first.search(*given, "--storage", above, "--name", name)
    try:
        wait_for(
            lambda: (
                (store.read("trials.jsonl") or b"").count(b'"outcome": "running"') >= 3
                and any(file.endswith("last.safetensors") for file in store.files())
            ),
            running,
            first,
        )
        with pytest.raises(ValueError, match=f"^{url} is in use by process {running.pid} on "):
            working_copy.fetch(url, print)
    finally:
        running.kill()
        running.wait()
    time.sleep(1.5)  # Ray's own processes end with it
    left = store.files()
    assert "lock.json" in left, "it had no time to let go of it"
    before = (store.read("trials.jsonl") or b"").splitlines()

    running = second.search("--resume", url, "--concurrent", "1")
    try:
        wait_for(lambda: len(re.findall(r"trial \d+ epoch ", second.said)) >= 2, running, second)
        s3.stop()
        try:
            wait_for(lambda: f"Storage {url}: " in second.said, running, second)
        finally:
            s3.start()
        assert running.wait(LIMIT) == 0, second.said
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGINT)
            running.wait()
    assert "goes on after epoch " in second.said
    assert f"Storage {url} answers again" in second.said
    assert f"Records: {url}\n" in second.said

    store.get(store.files(), tmp_path / "there")
    there, here = tmp_path / "there", next(second.cache.glob("runs/*/run"))
    assert all((there / each).read_bytes() == (here / each).read_bytes() for each in RECORDS if each != "confirm.jsonl")
    assert (there / "trials.jsonl").read_bytes().splitlines()[: len(before)] == before
    lines = list(read_lines(there / "trials.jsonl"))
    ends = Counter(fields["number"] for fields in lines if fields["outcome"] != Outcome.RUNNING)
    assert ends == dict.fromkeys(range(6), 1), "every trial has ended, and once"
    told = Counter((fields["number"], fields["samples"]) for fields in lines if fields["outcome"] == Outcome.RUNNING)
    assert set(told.values()) == {1}, "nothing is said twice"
    trials = trial_records.read(there / "trials.jsonl")
    [reports] = {len(trial.reports) for trial in trials if trial.outcome == Outcome.COMPLETE}
    assert reports == max(len(trial.reports) for trial in trials) >= EPOCHS, "and none is missing"
    backend = optuna.storages.journal.JournalFileBackend(str(there / "study.journal"))
    study = optuna.load_study(study_name="bert_imdb", storage=optuna.storages.JournalStorage(backend))
    assert [trial.state for trial in study.trials] == [optuna_state(trial) for trial in trials]
    assert [dict(trial.params) for trial in study.trials] == [
        {parameter: trial.params[parameter] for parameter in told_to.params}
        for trial, told_to in zip(trials, study.trials, strict=True)
    ]

    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(there / "best")
    kept = {run_folder.folder(trial.number) + "/best.safetensors" for trial in trial_records.top(trials, 3)}
    names = store.files().keys()
    assert {each for each in names if each.startswith("trials/")} == kept, "no strays"
    assert {each for each in names if "/" not in each} == {
        *("log.jsonl", "plan.json", "report.html", "study.journal", "summary.json", "trials.jsonl"),
        *("baseline.json", "baseline.safetensors"),
    }, "and the lock is gone"
    assert not any(path.is_file() for path in (second.cache / "scratch").rglob("*"))
