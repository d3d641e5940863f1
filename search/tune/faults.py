"""Why a trial lost its process: Ray's error text becomes one line for people and one fault for decisions."""

from __future__ import annotations

import enum
import re

from frostline.search.cluster import ray_private
from frostline.search.cluster.capacity import GB
from frostline.search.cluster.watch import TrialNode
from frostline.trainables import _task


class Fault(enum.Enum):
    """Who caused the loss of a trial."""

    PROCESS = "its process alone, perhaps because of its recipe"
    MEMORY = "the trials on the machine together need more memory than it has"
    MACHINE = "the machine lacks something that training needs"
    NODE_GONE = "the machine is gone"


def node_in(text: str) -> TrialNode | None:
    """The machine that the error text names with its id, as an error of one of several workers does."""
    match = re.search(rf"{_task.NodeError.__name__}: (.*?): .* \(node (\w+)\)$", text.strip())
    return TrialNode(match[2], match[1]) if match else None


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
    if memory := ray_private.memory_in(text):
        used, total = memory
        amount = f" ({used / GB:.1f} of {total / GB:.1f} GB used)" if used == used else ""
        return f"its machine ran out of memory{amount}: --concurrent or a smaller --model lowers the need", Fault.MEMORY
    died = ray_private.says_actor_died(text)
    if ray_private.says_node_died(text) or (announced and died):
        return "its node has gone", Fault.NODE_GONE
    if ray_private.says_actor_unavailable(text):
        # A node reports the death of a process at once. The death of a node is certain only after 15 s, and Tune does
        # not wait that long.
        return "its node does not answer", Fault.NODE_GONE
    if lines and (name := f"{_task.NodeError.__name__}: ") in lines[-1]:
        return re.sub(r" \(node \w+\)$", "", lines[-1].split(name, 1)[1]), Fault.MACHINE
    if not lines or died:
        return "its process died", Fault.PROCESS
    return lines[-1], Fault.PROCESS
