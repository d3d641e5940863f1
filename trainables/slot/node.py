"""What a machine must have before it trains: the run directory in sight, the model, the prepared data.

On the driver's machine all of it is there. Another one of a cluster makes it once for all its trials: it downloads
the model, reads the data set, cuts and prepares it in the same way, and ends at the same content hash or not at all.
"""

import fcntl
import functools
import socket
import time
from collections.abc import Callable
from pathlib import Path

from frostline.spaces import Data, Recipe
from frostline.trainables import _storage
from frostline.trainables._family import Family
from frostline.trainables._task import NodeError, Setup
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.data.model_files import digest


def name() -> str:
    """This machine's, as its network knows it."""
    return socket.gethostname()


class Notice:
    """Whether this machine is about to be taken away: Ray announces that a spot node is."""

    _EVERY = 2.0  # seconds between two questions

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask, self._asked, self._given = ask, time.monotonic(), False

    def given(self) -> bool:
        """Ask, if it is time to."""
        now = time.monotonic()
        if not self._given and now - self._asked >= self._EVERY:
            self._asked, self._given = now, self._ask()
        return self._given


def _error(reason: object) -> NodeError:
    return NodeError(f"{name()}: {reason}")


def entry(setup: Setup, recipe: Recipe, family: Family) -> Path:
    """The folder of the data that a recipe trains on, prepared for its model on this machine.

    Raises:
        NodeError: this machine does not see the run directory, or cannot come by the model or by the same data.
    """
    if setup.url:
        _see(setup.url)
    elif setup.run and not (Path(setup.run) / "plan.json").is_file():
        raise _error(f"no run directory {setup.run} here; --storage must be a folder that all machines share")
    try:
        own = setup.models[recipe.model]
        return _entry(Path(own.entry), recipe.model, own.weights, recipe.data, family)
    except ValueError as error:
        raise _error(error) from error


@functools.lru_cache(maxsize=8)
def _see(url: str) -> None:
    if _storage.patiently(functools.partial(_storage.Store(url).read, "plan.json"), url) is None:
        raise _error(f"no run directory {url}")


@functools.lru_cache(maxsize=8)
def _entry(drivers: Path, model: str, weights: str, data: Data, family: Family) -> Path:
    if drivers.is_dir():
        return drivers
    here = _storage.cache_root() / "data" / drivers.name
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
        lock = here.with_name(f".{here.name}.lock").open("ab")
    except OSError as error:
        raise ValueError(f"cannot write the data cache {here.parent}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the other slots of this machine wait, and find it made
        if digest(family.model_folder(model)) != weights:  # a hub's newest may be newer than the driver's
            raise ValueError(f"{model} is another version here than at the driver")
        if not here.is_dir():
            corpus = cut_corpus(data, family.read_rows(data), largest_batch=1)
            made = family.prepare(family.model_folder(model), data, corpus)
            if made != here:
                raise ValueError(
                    f"{data.source}, {model} or the libraries that prepare the data are others here than at the driver"
                )
    return here
