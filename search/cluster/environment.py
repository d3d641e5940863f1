"""Environment variables: those that Ray and Tune read in this process, and those that worker processes get."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from frostline.trainables import _storage

_DRIVER = {
    # Under `uv run` Ray would build a second environment for its workers.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tune has two progress reporters; verbose=0 silences only the older one.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray prints a line about this setting unless it is set.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray starts workers with a lower priority. Ours do the work, so no other process should go before them.
    "RAY_worker_niceness": "0",
    # The run directory holds our own records; Tune's CSV, JSON and TensorBoard files repeat them.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's snapshots of itself repeat them too. Writing one takes 3 to 30 ms, and a slot may wait for it.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # `capacity.asked_for` decides how many trials wait for a place.
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",
    # A failed trial reports its reason, without an objective.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # Otherwise Tune silently restarts a trial whose node was drained and then preempted.
    "RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE": "1",
    # Tune would print the traceback of each lost process; we say it in one line.
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # At SIGTERM, Ray would wait for trials to leave the node.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # stop.py handles Ctrl-C, at a point where no record is half written.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}

WORKER: Mapping[str, str] = {
    # Without byte code on disk every process would compile torch and transformers again (6 s).
    "PYTHONDONTWRITEBYTECODE": "",
    # One heap instead of eight per thread: freed memory is used again, and a warm slot does not grow.
    "MALLOC_ARENA_MAX": "1",
    # Large tensors come from that heap too, and the heap keeps its memory during a trial: mapping fresh memory for the
    # gradients of each step cost 18,000 page faults, a tenth of its time. `malloc_trim` returns it between two trials.
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Variables of every worker process."""


def prepare_environment() -> None:
    """Set what Ray reads when it is imported and when Tune starts; call it before. The user's own settings stay."""
    for name, value in _DRIVER.items():
        os.environ.setdefault(name, value)
    try:
        Path.home()
    except RuntimeError:  # no HOME, and a user unknown to the system: libraries would write to a folder `~`
        os.environ["HOME"] = str(_storage.cache_root())


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Give these variables to processes that are started inside the `with` block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
