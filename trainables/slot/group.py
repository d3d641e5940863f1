"""What each of several workers does that train one trial after the other.

They stay between trials, as a slot with one worker does, and outlive a trial that is stopped: no process ends there,
and none is started. All waiting is done on the mailbox, which may take hours; torch's collectives are for what ends at
once, and give up after half an hour.
"""

import dataclasses
from typing import Any, Protocol

from frostline.trainables._task import Failed, PeerLostError, Setup, Told
from frostline.trainables.slot import worker as slot_worker
from frostline.trainables.training.peers import Peers


class Ask(Protocol):
    """Calls a method of the mailbox, which may be in another process, and returns what it does."""

    def __call__(self, method: str, *values: Any) -> Any: ...


def serve(setup: Setup, rank: int, node: str, ask: Ask) -> None:
    """Work as one of a slot's workers, until the process is ended or an error says that the group must be.

    Args:
        setup: of the search.
        rank: of this worker; torch.distributed is initialised.
        node: id of its node.
        ask: the mailbox.

    Raises:
        PeerLostError: another worker has gone.
        NodeError: this machine does not have what training needs.
        Exception: whatever else is not the recipe's fault.
    """
    peers = Peers(rank, setup.workers)
    while True:
        tasks, nodes = ask("next", rank, node)
        slot_worker.group_nodes.clear()
        slot_worker.group_nodes.update(nodes)
        failed, place = False, 0

        def report(told: Told) -> None:
            nonlocal failed, place
            failed = failed or isinstance(told.last, Failed)
            place += 1
            if not ask("say", rank, place - 1, dataclasses.replace(told, node_id=node)):
                raise SystemExit(0)  # as Tune ends a training

        try:
            slot_worker.run(setup, tasks, report, peers)
        except SystemExit:
            pass
        except Exception as error:
            ask("lose", type(error).__name__, _last_line(error), node)
            raise
        if not ask("done", rank, failed):
            text = f"worker {rank} has failed, and the others have not"
            ask("lose", PeerLostError.__name__, text, node)
            raise PeerLostError(text)


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
