"""What a slot and its workers say to each other. Without torch: it is a process of its own, and small."""

import asyncio
from collections.abc import Callable

from frostline.trainables._task import DiskFull, Failed, Task, Told

_PATIENCE = 10.0
"""Seconds that workers are given to come to the same end as one that has failed."""


class Mailbox:
    """Between a slot and its workers. Every method that waits lets the others through; no error leaves one.

    A task has a number, from 1. The workers say their reports at the same points, so that the answer to the first
    one's is each one's.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._changed = asyncio.Condition()
        self._number, self._tasks = 0, list[Task]()
        self._said: list[Told] = []
        self._heard = 0
        self._answers: list[bool] = []
        self._done = dict.fromkeys(range(workers), 0)
        self._nodes: dict[int, str] = {}
        self._lost: list[tuple[str, str, str]] = []

    async def _wait(self, until: Callable[[], bool], seconds: float | None = None) -> bool:
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(until), seconds)
            except TimeoutError:
                return False
        return True

    async def _tell(self, change: Callable[[], object]) -> None:
        async with self._changed:
            change()
            self._changed.notify_all()

    # --- the slot's side ---------------------------------------------------------------------

    async def give(self, tasks: list[Task]) -> None:
        """Tasks for the workers, when all of them are there and have done with the last ones."""

        def put() -> None:
            self._number, self._tasks = self._number + 1, tasks
            self._said, self._answers, self._heard = [], [], 0

        await self._wait(lambda: len(self._nodes) == self._workers and self._idle())
        await self._tell(put)

    def _idle(self) -> bool:
        return all(done == self._number for done in self._done.values())

    async def hear(self) -> Told | None:
        """The next report; None when all workers have done."""
        await self._wait(lambda: len(self._said) > self._heard or self._idle() or bool(self._lost))
        if len(self._said) > self._heard:
            self._heard += 1
            return self._said[self._heard - 1]
        return None

    async def answer(self, goes_on: bool) -> None:
        """To the report that was heard last."""
        await self._tell(lambda: self._answers.append(goes_on))

    async def lost(self) -> list[tuple[str, str, str]]:
        """Of the workers that could not go on: the error's class, its text, and the node."""
        return self._lost

    async def nodes(self) -> list[str]:
        """Ids of the nodes that the workers are on, as far as they are there."""
        return list(self._nodes.values())

    # --- a worker's side ---------------------------------------------------------------------

    async def next(self, rank: int, node: str) -> tuple[list[Task], list[str]]:
        """The next tasks of a worker that has done with those before, and the nodes of all workers."""
        done = self._done[rank]
        await self._tell(lambda: self._nodes.__setitem__(rank, node))
        await self._wait(lambda: self._number > done)
        return self._tasks, list(self._nodes.values())

    async def say(self, rank: int, place: int, told: Told) -> bool:
        """Deliver report number `place` of the current tasks; return whether training goes on.

        The slot hears the reports of the first worker. It hears another worker's only where that one says why the
        training has failed, and the first worker does not come to the same end.
        """
        failed = isinstance(told.last, (Failed, DiskFull))
        if rank > 0 and failed:
            await self._wait(lambda: len(self._said) > place, _PATIENCE)
        if len(self._said) <= place and (rank == 0 or failed):
            await self._tell(lambda: self._said.append(told))
        await self._wait(lambda: len(self._answers) > place)
        return self._answers[place]

    async def done(self, rank: int, failed: bool) -> bool:
        """A worker has done with its tasks; after a failure, whether the others have too."""
        number = self._number
        await self._tell(lambda: self._done.__setitem__(rank, number))
        return not failed or await self._wait(self._idle, _PATIENCE)

    async def lose(self, kind: str, text: str, node: str) -> None:
        """A worker cannot go on."""
        await self._tell(lambda: self._lost.append((kind, text, node)))
