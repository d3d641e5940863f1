"""Messages between a slot and its workers. Without torch, since the mailbox is a small process of its own."""

import asyncio
from collections.abc import Callable

from frostline.trainables._task import DiskFull, Failed, Task, Told

_PATIENCE = 10.0
"""Seconds that the other workers have to fail too, after one of them has failed."""


class Mailbox:
    """Hands tasks to the workers and their reports to the slot. A method that waits lets the others run meanwhile.

    Each list of tasks has a number, from 1. All workers report at the same points, so the answer to the first worker's
    report is the answer to all.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._changed = asyncio.Condition()
        self._number, self._tasks = 0, list[Task]()
        self._reports: list[Told] = []
        self._heard = 0
        self._answers: list[bool] = []
        self._done = dict.fromkeys(range(workers), 0)
        self._nodes: dict[int, str] = {}
        self._lost: list[tuple[str, str, str]] = []

    async def _wait(self, until: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until something is true; return False if it is not after so many seconds."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(until), seconds)
            except TimeoutError:
                return False
        return True

    async def _change(self, change: Callable[[], object]) -> None:
        """Make a change, and wake those that wait for it."""
        async with self._changed:
            change()
            self._changed.notify_all()

    # --- the slot's side ---------------------------------------------------------------------

    async def give(self, tasks: list[Task]) -> None:
        """Give tasks to the workers, when all of them have come and have finished the tasks before."""

        def put() -> None:
            self._number, self._tasks = self._number + 1, tasks
            self._reports, self._answers, self._heard = [], [], 0

        await self._wait(lambda: len(self._nodes) == self._workers and self._idle())
        await self._change(put)

    def _idle(self) -> bool:
        return all(done == self._number for done in self._done.values())

    async def hear(self) -> Told | None:
        """The next report; None when all workers have finished."""
        await self._wait(lambda: len(self._reports) > self._heard or self._idle() or bool(self._lost))
        if len(self._reports) > self._heard:
            self._heard += 1
            return self._reports[self._heard - 1]
        return None

    async def answer(self, goes_on: bool) -> None:
        """Answer the report that was heard last: whether training goes on."""
        await self._change(lambda: self._answers.append(goes_on))

    async def lost(self) -> list[tuple[str, str, str]]:
        """For each worker that could not go on: its error's class, the error's text, and its node's id."""
        return self._lost

    async def nodes(self) -> list[str]:
        """Ids of the nodes of the workers that have come."""
        return list(self._nodes.values())

    # --- a worker's side ---------------------------------------------------------------------

    async def next(self, rank: int, node: str) -> tuple[list[Task], list[str]]:
        """The next tasks, for a worker that has finished those before; and the nodes of all workers."""
        done = self._done[rank]
        await self._change(lambda: self._nodes.__setitem__(rank, node))
        await self._wait(lambda: self._number > done)
        return self._tasks, list(self._nodes.values())

    async def say(self, rank: int, place: int, told: Told) -> bool:
        """Deliver report number `place` of the current tasks; return True if training continues.

        The slot hears the reports of the first worker. It hears another worker's only if that says why the training
        has failed, and the first worker does not fail too.
        """
        failed = isinstance(told.last, (Failed, DiskFull))
        if rank > 0 and failed:
            await self._wait(lambda: len(self._reports) > place, _PATIENCE)
        if len(self._reports) <= place and (rank == 0 or failed):
            await self._change(lambda: self._reports.append(told))
        await self._wait(lambda: len(self._answers) > place)
        return self._answers[place]

    async def done(self, rank: int, failed: bool) -> bool:
        """Note that a worker has finished its tasks; after a failure, return whether the others have too."""
        number = self._number
        await self._change(lambda: self._done.__setitem__(rank, number))
        return not failed or await self._wait(self._idle, _PATIENCE)

    async def lose(self, kind: str, text: str, node: str) -> None:
        """Note that a worker cannot go on."""
        await self._change(lambda: self._lost.append((kind, text, node)))
