"""A mailbox with two workers at it, in this process: the real mailbox and the real `serve`, a training of our own."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from frostline.spaces import Metric
from frostline.trainables._task import Failed, NodeError, PeerLostError, Setup, Task, Told
from frostline.trainables.slot import mailbox, worker
from frostline.trainables.slot.group import serve
from frostline.trainables.slot.mailbox import Mailbox
from frostline.trainables.slot.process import THIS
from frostline.trainables.training.peers import Peers
from tests.told import failed, said

SETUP = Setup(
    models={},
    classes=("a", "b"),
    run="",
    report_at=(1.0,),
    validate_on=(1,),
    metric=Metric(name="accuracy", is_share=True),
    device="cpu",
    threads=1,
    gpu_share=0.0,
    checkpoint_every=1.0,
    workers=2,
)

Report = Callable[[Told], None]


def report(number: int, rank: int = 0) -> Told:
    """A report with its number as the step, of the worker with this rank as the process."""
    return Told(messages=(said(1, 0.5, 0.0, step=number, pid=rank),))


def failure(reason: str) -> Told:
    return Told(messages=(failed(reason),))


def reason_of(told: Told) -> str:
    assert isinstance(told.last, Failed)
    return told.last.reason


class Slot:
    """The slot's side, and two workers in threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.mailbox = Mailbox(2)
        self._pool = ThreadPoolExecutor(2)
        self.workers: list[Future[None]] = []
        self.over = threading.Event()

    def ask(self, method: str, *values: Any) -> Any:
        waiting = asyncio.run_coroutine_threadsafe(getattr(self.mailbox, method)(*values), self._loop)
        while not waiting.done():
            if self.over.is_set():
                waiting.cancel()
                raise EOFError
            threading.Event().wait(0.001)
        return waiting.result()

    def start(self) -> None:
        self.workers = [self._pool.submit(serve, SETUP, rank, f"node{rank}", self.ask) for rank in range(SETUP.workers)]

    def train(self, stop_at: int | None = None, name: str = "x") -> list[Told]:
        """The reports of one trial, which is stopped at report number `stop_at`."""
        self.ask("give", [Task(folder=name, recipe="")])
        heard: list[Told] = []
        while (told := self.ask("hear")) is not None:
            heard.append(told)
            self.ask("answer", len(heard) != stop_at)
            if len(heard) == stop_at or isinstance(told.last, Failed):
                break
        return heard

    def close(self) -> None:
        self.over.set()
        self._pool.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slot]:
    monkeypatch.setattr(mailbox, "_PATIENCE", 0.2)
    made = Slot()
    yield made
    made.close()


def trains(monkeypatch: pytest.MonkeyPatch, how: Callable[[Task, Report, Peers], None]) -> None:
    monkeypatch.setattr(worker, "run", lambda setup, tasks, report, peers: how(tasks[0], report, peers))


def test_the_first_workers_reports_are_told_and_the_answer_is_everyones(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    went: list[tuple[str, int, int]] = []

    def how(task: Task, say: Report, peers: Peers) -> None:
        for number in range(4):
            went.append((task.folder, peers.rank, number))
            say(report(number, peers.rank))

    trains(monkeypatch, how)
    slot.start()
    assert [(told.last.step, told.last.pid, told.node_id) for told in slot.train()] == [
        (number, 0, "node0") for number in range(4)
    ]
    assert [told.last.step for told in slot.train(stop_at=2, name="stopped")] == [0, 1]
    assert [told.last.step for told in slot.train(name="next")] == [0, 1, 2, 3], "the workers have stayed"
    for rank in range(2):
        assert [number for name, of, number in went if (name, of) == ("stopped", rank)] == [0, 1]
    assert THIS.peer_nodes == {"node0", "node1"}


def test_a_failure_of_all_is_told_once_and_the_group_goes_on(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    trains(monkeypatch, lambda task, say, peers: say(failure(f"by {peers.rank}")))
    slot.start()
    for _ in range(2):
        assert [reason_of(told) for told in slot.train()] == ["by 0"]
    assert not any(worker.done() for worker in slot.workers)


def test_a_failure_of_one_is_told_and_ends_the_group(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    def how(task: Task, say: Report, peers: Peers) -> None:
        if peers.rank == 1:
            say(failure("out of memory"))
        else:
            threading.Event().wait(1.0)  # for the other one

    trains(monkeypatch, how)
    slot.start()
    assert [reason_of(told) for told in slot.train()] == ["out of memory"]
    with pytest.raises(PeerLostError, match="worker 1 has failed, and the others have not"):
        slot.workers[1].result(5)


def test_a_machine_that_cannot_train_says_so_and_which_it_is(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    def how(task: Task, say: Report, peers: Peers) -> None:
        if peers.rank == 1:
            raise NodeError("host: no run directory here")
        say(report(0))

    trains(monkeypatch, how)
    slot.start()
    slot.ask("give", [Task(folder="x", recipe="")])
    with pytest.raises(NodeError):
        slot.workers[1].result(5)
    while slot.ask("hear") is not None:
        slot.ask("answer", True)
    assert slot.ask("lost") == [("NodeError", "host: no run directory here", "node1")]
