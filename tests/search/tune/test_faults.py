import pytest

from frostline.search.tune import faults
from frostline.search.tune.faults import Fault

DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: I\n"
WHY = "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits"


@pytest.mark.parametrize(
    ("text", "reason", "fault"),
    [
        ("", "its process died", Fault.PROCESS),
        (" \n\n", "its process died", Fault.PROCESS),
        (f"{DIED}The actor is dead because its worker process has died. {WHY}", "its process died", Fault.PROCESS),
        (
            f"{DIED}The actor is dead.\nThe actor never ran - it was cancelled before it started running.",
            "its process died",
            Fault.PROCESS,
        ),
        (
            "The actor 5f51 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: "
            "Socket closed rpc_code: 14. The task may or may not have been executed on the actor.",
            "its node does not answer",
            Fault.NODE_GONE,
        ),
        (
            "Traceback\n  File x\nOSError: [Errno 5] Input/output error\n",
            "OSError: [Errno 5] Input/output error",
            Fault.PROCESS,
        ),
        (
            f"{DIED}The actor died because its node has died. Node Id: 0f\n\tthe actor's node was preempted: taken",
            "its node has gone",
            Fault.NODE_GONE,
        ),
        (
            "Traceback\ntrainables._task.NodeError: w1: no run directory /runs/a here\n",
            "w1: no run directory /runs/a here",
            Fault.MACHINE,
        ),
        (
            "Traceback\ntrainables._task.NodeError: w1: no run directory /runs/a here (node 0fab)\n",
            "w1: no run directory /runs/a here",
            Fault.MACHINE,
        ),
        (
            # By a real monitor, without its manual.
            "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: 2f) "
            "was 4.54GB used / 23.54GB limit (0.192930)\nOOM kill reason: Memory usage 4761767936B exceeded threshold "
            "of 1263825536B (5.0% of 25276510208B limit)\nObject store memory usage: [- objects spillable: 0\n",
            "its machine ran out of memory (4.8 of 25.3 GB used): --concurrent or a smaller --model lowers the need",
            Fault.MEMORY,
        ),
        (
            "2 worker(s) were killed due to the node running low on memory. Something new",
            "its machine ran out of memory: --concurrent or a smaller --model lowers the need",
            Fault.MEMORY,
        ),
        ("Traceback\ntrainables._task.NodeGoneError: a node of its workers\n", "its node has gone", Fault.NODE_GONE),
        (
            "Traceback\ntrainables._task.GroupLostError: one of its workers died\n",
            "one of its workers died",
            Fault.PROCESS,
        ),
    ],
)
def test_an_error_text_of_ray_becomes_one_line_and_one_fault(text: str, reason: str, fault: Fault) -> None:
    assert faults.cause_of(text) == (reason, fault)
