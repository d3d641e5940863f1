"""The loop of one of several workers that train one trial after another.

Workers stay between trials and survive a trial that is stopped: no process ends then, and none is started. They wait
for the mailbox alone, which may take hours. torch's collectives give up after half an hour, so they are used only where
all workers arrive at once.
"""

import dataclasses
from typing import Any, Protocol

from frostline.trainables._errors import last_line
from frostline.trainables._task import Failed, PeerLostError, Setup, Told
from frostline.trainables.slot import worker
from frostline.trainables.slot.process import THIS
from frostline.trainables.training.peers import Peers


class Ask(Protocol):
    """Calls a method of the mailbox, which may be in another process, and returns its value."""

    def __call__(self, method: str, *values: Any) -> Any: ...


def serve(setup: Setup, rank: int, node: str, ask: Ask) -> None:
    """Work as one of a slot's workers until the process is ended, or an error ends the group.

    Args:
        setup: of the search.
        rank: of this worker; torch.distributed is initialised.
        node: id of its node.
        ask: the mailbox.

    Raises:
        PeerLostError: another worker has gone.
        NodeError: this machine does not have what training needs.
        Exception: any other error that is not the recipe's fault.
    """
    peers = Peers(rank, setup.workers)
    while True:
        tasks, nodes = ask("next", rank, node)
        THIS.join(nodes)
        failed, place = False, 0

        def report(told: Told) -> None:
            nonlocal failed, place
            failed = failed or isinstance(told.last, Failed)
            place += 1
            if not ask("say", rank, place - 1, dataclasses.replace(told, node_id=node)):
                raise SystemExit(0)  # Tune ends a training in the same way

        try:
            worker.run(setup, tasks, report, peers)
        except SystemExit:
            pass
        except Exception as error:
            ask("lose", type(error).__name__, last_line(error), node)
            raise
        if not ask("done", rank, failed):
            text = f"worker {rank} has failed, and the others have not"
            ask("lose", PeerLostError.__name__, text, node)
            raise PeerLostError(text)
