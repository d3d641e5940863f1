"""What a process of the recorder does. It has a module of its own, since new processes do not import `__main__`."""

import os
from pathlib import Path

from tests.bench.curves.tasks import TASKS


def record(name: str, folder: Path, recorded: Path, seconds: float) -> None:
    """Record trainings of a task until all are recorded or the time is over, and say how many.

    Args:
        name: of the task.
        folder: of its trainings.
        recorded: its table, whose trainings are not trained again.
        seconds: the time.
    """
    os.environ.setdefault("FROSTLINE_CACHE", str((folder.parent / "cache").absolute()))
    from tests.bench.curves.record import Recorder  # reads the variable

    done = Recorder(TASKS[name], folder, recorded).work(seconds)
    print(f"{name}: {done} trainings by this process", flush=True)
