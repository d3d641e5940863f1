"""Why a trial lost its process: Ray's error text becomes one line for people and one fault for decisions."""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import Any

from frostline.search.cluster.connection import Home
from frostline.trainables import _task


class Fault(enum.Enum):
    """Who caused the loss of a trial."""

    PROCESS = "its process alone, perhaps because of its recipe"
    MACHINE = "the machine lacks something that training needs"
    NODE_GONE = "the machine is gone"


def error_text(trial: Any) -> str:
    """The error of a Tune trial, from the file that Tune wrote. `trial.get_error` reads a copy made later or never."""
    text = Path(trial.error_file).read_text(encoding="utf-8")
    return text.partition("\n")[2].strip()  # without "Failure # 1 (occurred at ...)"


def home_in(text: str) -> Home | None:
    """The machine that the error text names with its id, as an error of one of several workers does."""
    match = re.search(rf"{_task.NodeError.__name__}: (.*?): .* \(node (\w+)\)$", text.strip())
    return Home(match[2], match[1]) if match else None


def cause_of(text: str, announced: bool = False) -> tuple[str, Fault]:
    """The cause in one line, and the fault, from an error text that Ray wrote.

    Args:
        text: the error text. It does not say that a node was taken after an announcement.
        announced: the cluster had announced that it would take the trial's node.
    """
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if lines and f"{_task.NodeGoneError.__name__}: " in lines[-1]:
        return "its node has gone", Fault.NODE_GONE
    if lines and (name := f"{_task.GroupLostError.__name__}: ") in lines[-1]:
        return lines[-1].split(name, 1)[1], Fault.PROCESS
    died = "The actor died unexpectedly" in text
    if "its node has died" in text or "the actor's node was" in text or (announced and died):
        return "its node has gone", Fault.NODE_GONE
    if re.search(r"The actor \w+ is unavailable: ", text):
        # A node reports the death of a process at once. The death of a node is certain only after 15 s, and Tune does
        # not wait that long.
        return "its node does not answer", Fault.NODE_GONE
    if lines and (name := f"{_task.NodeError.__name__}: ") in lines[-1]:
        return re.sub(r" \(node \w+\)$", "", lines[-1].split(name, 1)[1]), Fault.MACHINE
    if not lines or died:
        return "its process died", Fault.PROCESS
    return lines[-1], Fault.PROCESS
