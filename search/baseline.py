"""The trained baseline of a search: computed beside its start, and compared with the winner when the test set is read.

What it is, the family says (`Family.trained_baseline`). It runs in a process of its own with one thread and a low
priority, while Ray starts and the first trials run. The end of the search waits for the rest of its 30 s at most.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import torch

from frostline.search.plan.own import family_in
from frostline.search.plan.plan import Plan
from frostline.search.records import baseline as records
from frostline.search.records.baseline import BaselineRecord
from frostline.trainables._baseline import SECONDS, Answers, Array, TrainedBaseline
from frostline.trainables._errors import reason
from frostline.trainables._family import load
from frostline.trainables._imports import search_path
from frostline.trainables.data.corpus import SPLITS, Corpus

_MOST = 200e6
"""Most bytes of arguments. TF-IDF takes 30 s for a third of this, and many times the memory."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Baseline:
    """Computes the baseline of one search in the background. Use as a context manager around all of the search."""

    def __init__(self, plan: Plan, corpus: Corpus) -> None:
        """Nothing is started yet."""
        self._plan, self._corpus = plan, corpus
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._until = 0.0
        """When its time is over, by `time.monotonic`."""
        self._is_over = False

    def __enter__(self) -> Baseline:
        return self

    def __exit__(self, *exception: object) -> None:
        """End the process, if it has not ended."""
        self._end()

    def begin(self) -> None:
        """Start, unless it has been started or the run directory has the result of an earlier session."""
        if self._thread is None and records.answers(self._plan.place.run) is None:
            self._until = time.monotonic() + SECONDS
            self._thread = threading.Thread(target=self._work, name="baseline", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until it has ended, for the rest of its time at most."""
        if self._thread is not None:
            self._thread.join(max(0.0, self._until + 1 - time.monotonic()))  # the process ends itself at `_until`
            self._end()

    def _end(self) -> None:
        self._is_over = True
        if self._process is not None:
            self._process.kill()
        if self._thread is not None:
            self._thread.join(timeout=1)

    def _work(self) -> None:
        base, began = self._plan.search.base, time.monotonic()
        family = load(base.family)
        baseline = family.trained_baseline(family.model_folder(base.model), base.data, self._corpus)
        if baseline is None:
            return
        found: dict[str, Any] = {}
        test = None
        try:
            answers = self._answers(baseline)
            test = answers["test"]
            found["examples"] = {
                "train": int(answers["train"][0]),
                **{split: len(answers[split]) for split in SPLITS[1:]},
            }
            found["validation"] = _scores(self._plan, self._corpus, "validation", answers["validation"])
        except Exception as error:
            if self._is_over and time.monotonic() < self._until:
                return  # the search was interrupted, and its next session computes it
            late = isinstance(error, TimeoutError)
            found["problem"] = str(error) if late else f"could not be computed: {reason(error)}"
        record = BaselineRecord(name=baseline.name, seconds=round(time.monotonic() - began, 1), **found)
        with contextlib.suppress(OSError):  # the disk is full, which the search meets itself
            records.write(self._plan.place.run, record, test)

    def _answers(self, baseline: TrainedBaseline) -> Answers:
        """Run the process.

        Raises:
            TimeoutError: it did not end in time.
            ValueError: it failed, or has too much to do.
        """
        from safetensors.numpy import load as of_bytes

        compute = baseline.compute
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "frostline.trainables._baseline", compute.__module__, compute.__qualname__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **search_path(), **_ONE_THREAD, "CUDA_VISIBLE_DEVICES": ""},
            start_new_session=True,  # Ctrl-C reaches the search alone
        ) as process:
            self._process = process
            if self._is_over:
                process.kill()
            try:
                _send(process, baseline.arguments)
                assert process.stdout
                output = process.stdout.read()
            except ValueError:
                process.kill()
                raise
        if process.returncode == -signal.SIGALRM or time.monotonic() >= self._until:
            raise TimeoutError(f"did not end within {SECONDS} s")
        if process.returncode < 0:
            raise ValueError(f"its process was ended by signal {-process.returncode}")
        if process.returncode:
            raise ValueError(output.decode(errors="replace"))
        answers: Answers = of_bytes(output)
        return answers


def _send(process: subprocess.Popen[bytes], arguments: dict[str, Any]) -> None:
    """Write the arguments piece by piece, so that other threads of this process go on meanwhile.

    Raises:
        ValueError: they are too many.
    """
    assert process.stdin
    sent = 0
    with contextlib.suppress(BrokenPipeError), process.stdin as file:  # it has ended; its exit code says why
        for piece in json.JSONEncoder().iterencode(arguments):
            sent += file.write(piece.encode())
            if sent > _MOST:
                raise ValueError(f"the data are larger than {_MOST / 1e6:.0f} MB")


def scored(plan: Plan, corpus: Corpus, reads_test: bool) -> BaselineRecord | None:
    """The record of the baseline; its test score is counted once the test set has been read with a winner.

    Args:
        plan: plan of the search.
        corpus: its data.
        reads_test: whether that has been done.

    Raises:
        OSError: the disk is full.
    """
    record, answers = records.read(plan.place.run), records.answers(plan.place.run)
    if record is None or answers is None or record.test is not None or not reads_test:
        return record
    record = dataclasses.replace(record, test=_scores(plan, corpus, "test", answers))
    records.write(plan.place.run, record)
    return record


def _scores(plan: Plan, corpus: Corpus, split: str, answers: Array) -> dict[str, float]:
    """Every metric of the family, of answers to the first examples of a slice."""
    labels = torch.from_numpy(corpus.labels[split][: len(answers)])
    return family_in(plan).score(torch.from_numpy(answers), labels)
