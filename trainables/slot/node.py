"""Things that a machine needs before it trains: access to the run directory, the model, the prepared data.

The driver's machine has all of them. Another machine of a cluster gets them once for all its trials: it downloads the
model, reads the data set, and cuts and prepares it in the same way. If the content hash is not the driver's, it refuses
to train.
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
from frostline.trainables.data.beside import read_all
from frostline.trainables.data.cache import is_whole
from frostline.trainables.data.corpus import cut_corpus
from frostline.trainables.data.model_files import digest


def name() -> str:
    """This machine's name in its network."""
    return socket.gethostname()


class Notice:
    """Whether this machine is about to be taken away, which Ray announces for a spot node."""

    _EVERY = 2.0  # seconds between two calls of `ask`

    def __init__(self, ask: Callable[[], bool]) -> None:
        self._ask, self._asked, self._given = ask, time.monotonic(), False

    def given(self) -> bool:
        """Whether it has been announced; asked again when some seconds have passed."""
        now = time.monotonic()
        if not self._given and now - self._asked >= self._EVERY:
            self._asked, self._given = now, self._ask()
        return self._given


def _error(reason: object) -> NodeError:
    return NodeError(f"{name()}: {reason}")


def entry_of(setup: Setup, recipe: Recipe, family: Family) -> Path:
    """The folder of a recipe's data on this machine, prepared for its model.

    Raises:
        NodeError: this machine does not see the run directory, or cannot get the model or the same data.
    """
    if setup.url:
        _see(setup.url)
    elif setup.run and not (Path(setup.run) / "plan.json").is_file():
        raise _error(f"no run directory {setup.run} here; --storage must be a folder that all machines share")
    try:
        own = setup.models[recipe.model]
        prepared = functools.partial(_entry, Path(own.entry), recipe.model, own.weights, recipe.data, family)
        if is_whole(entry := prepared(), thorough=False):
            return entry
        _entry.cache_clear()  # a file of it was cut short since another trial of this process opened it
        return prepared()
    except ValueError as error:
        raise _error(error) from error


@functools.lru_cache(maxsize=8)
def _see(url: str) -> None:
    if _storage.patiently(functools.partial(_storage.Store(url).read, "plan.json"), url) is None:
        raise _error(f"no run directory {url}")


@functools.lru_cache(maxsize=8)
def _entry(drivers: Path, model: str, weights: str, data: Data, family: Family) -> Path:
    if is_whole(drivers, thorough=False):  # the driver has just read all of it
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
        if not is_whole(here):
            corpus = cut_corpus(data, read_all(family.read_rows, data), smallest_batch=1)
            made = family.prepare(family.model_folder(model), data, corpus)
            if made != here:
                raise ValueError(
                    f"{data.source}, {model} or the libraries that prepare the data are others here than at the driver"
                )
    return here
