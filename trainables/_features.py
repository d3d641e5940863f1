"""The frozen-prefix cache: what frozen blocks put out, computed once and read by every trial that freezes them.

A trial that freezes its first k blocks would compute the same outputs of them in every epoch, and so would every
other trial with the same k. One pass over the data keeps them at each boundary between blocks that the plan has
found worth it (`search/prefix.py`); training and evaluation then start there.

On disk, below `<cache>/features/`, one folder a boundary, named by the hash of all that decides its numbers. In it
one array a shard and split, `train-003.npy`, of the real positions only, and `key.json`, written last. Shards are
claimed with file locks, so that all trials of a node that need a pass share its work, and a killed one loses a shard.
"""

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables import _boundary, _data, _device
from trainables._boundary import Blocks
from trainables._data import Array
from trainables._family import Batch, Examples, Family

SPLITS = ("train", "validation")
"""The test set is read once, with the winner: nothing of it is kept."""

_SHARD = 64
"""Examples a shard, at least; a split has 64 shards at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What decides the numbers of a cache, and how large all of it may be."""

    entry: Path
    """The prepared data; its name stands for the examples, the tokenizer, the length."""
    weights: str
    """SHA-256 of the pretrained model's files."""
    boundaries: tuple[int, ...]
    """Depths that a pass fills, rising."""
    first_only: tuple[int, ...]
    """Those of which only the first token's output is kept."""
    dtype: str
    """`float32` or `float16`."""
    device: str
    threads: int
    """CPU threads of the pass: they decide the last bits of a sum."""
    limit: float
    """Bytes that all features on this node may take."""

    def key(self, family: Family, depth: int) -> dict[str, Any]:
        """Everything that decides the numbers at `depth`, as JSON values."""
        return {
            "data": self.entry.name,
            "model": self.weights,
            "boundary": depth,
            "first_only": depth in self.first_only,
            "dtype": self.dtype,
            "device": [self.device, self.threads if self.device == "cpu" else 0],
            "library": [version(name) for name in ("torch", "transformers", "torchvision", "timm")],
            "code": _data.code_version(
                *(type(family), *family.code, _boundary._outputs, _boundary._output, _boundary._modules),
                *(_shards, _packed, _fill_shard, _device.precision, _device.per_pass),
            ),
            "constants": [_SHARD, _device.CPU_TOKENS],
        }

    def folder(self, family: Family, depth: int) -> Path:
        """Where the features at `depth` are or will be."""
        text = json.dumps(self.key(family, depth), sort_keys=True)
        return root() / hashlib.sha256(text.encode()).hexdigest()[:32]


def root() -> Path:
    """The folder of all features on this node."""
    return _data.cache_root() / "features"


def limit(share: float = 0.2) -> float:
    """Bytes that the features may take by default: a share of the free disk, what they already take counted as free."""
    at = next(path for path in (root(), *root().parents) if path.exists())
    return share * (shutil.disk_usage(at).free + sum(_size(folder) for folder in _folders()))


class _DamagedError(Exception):
    """An entry that was whole once, and is not."""


class CachedExamples(Examples):
    """A split whose batches bring along, as `prefix`, what the blocks before a boundary make of them."""

    def __init__(self, examples: Examples, family: Family, folder: Path, split: str, first_only: bool) -> None:
        self.labels, self.lengths = examples.labels, examples.lengths
        """Open what `_fill` has made.

        Raises:
            _DamagedError: a file of it is missing or cut short.
        """
        self._examples, self._family, self._first_only = examples, family, first_only
        self._in_use = _hold(folder)  # as long as this object lives, nobody removes the folder
        self._arrays, self._shard = [], np.empty(len(self.lengths), dtype=np.int64)
        self._start = np.empty(len(self.lengths), dtype=np.int64)
        rows = np.ones(len(self.lengths), dtype=np.int64) if first_only else _rows(examples, family)
        for number, shard in enumerate(_shards(self.lengths)):
            self._shard[shard], self._start[shard] = number, np.cumsum(rows[shard]) - rows[shard]
            name = f"{split}-{number:03}"
            try:
                self._arrays.append(_data.open_array(folder, name))
            except (FileNotFoundError, ValueError, EOFError) as error:
                raise _DamagedError(f"{name} of {folder}: {error}") from error
            if len(self._arrays[-1]) != rows[shard].sum():
                raise _DamagedError(f"{name} of {folder} is cut short")
        self._rows = rows

    @property
    def longest(self) -> int:
        return int(self._rows.max())

    def batch(self, indices: Array) -> Batch:
        """The batch of the examples, and `prefix`, float32 [examples, length, ...] with zeros at padding."""
        batch = self._examples.batch(indices)
        if self._first_only:
            batch = self._family.first_token(batch) or batch
        kept = np.concatenate(
            [self._arrays[self._shard[i]][(at := self._start[i]) : at + self._rows[i]] for i in indices]
        )
        rows, mask = torch.from_numpy(kept).float(), self._family.mask(batch)
        if mask is None:
            return {**batch, "prefix": rows}
        prefix = rows.new_zeros(*mask.shape, *rows.shape[1:])
        prefix[mask] = rows
        return {**batch, "prefix": prefix}


def _rows(examples: Examples, family: Family) -> Array:
    """Rows kept of each example: its length where it has positions, else one."""
    ragged = family.mask(examples.batch(np.arange(1))) is not None
    return np.asarray(examples.lengths if ragged else np.ones_like(examples.lengths))


def _shards(lengths: Array) -> list[Array]:
    """The examples, shortest first, in up to 64 parts: full batches of one length, and a fixed order."""
    order = np.argsort(lengths, kind="stable")
    return np.array_split(order, max(1, min(64, len(order) // _SHARD)))


def _packed(hidden: Tensor, mask: Tensor | None, first_only: bool, dtype: str) -> Array:
    """What is kept of a batch's outputs: the real positions, one after the other.

    Raises:
        OverflowError: a number that float16 cannot hold.
    """
    rows = hidden[:, 0] if first_only else hidden if mask is None else hidden[mask]
    rows = rows.to("cpu", getattr(torch, dtype))
    if dtype == "float16" and not torch.isfinite(rows).all():  # in float32 the loss says it, with its step
        raise OverflowError("the outputs of a frozen block do not fit float16: --prefix-cache float32 holds them")
    return rows.numpy()


def prepare(
    model: nn.Module, family: Family, splits: Mapping[str, Examples], wanted: Wanted, depth: int
) -> dict[str, Examples] | None:
    """The splits with their features at `depth`, which are computed where they are missing.

    A pass fills all boundaries of `wanted` up to the deepest. Where other processes are at it, the shards are
    shared out among them.

    Args:
        model: pretrained, on its device; left in evaluation mode.
        family: of the model.
        splits: `train` and `validation`.
        wanted: what to compute.
        depth: one of `wanted.boundaries`.

    Returns:
        None where the disk has no room for them: the caller trains without.

    Raises:
        OverflowError: see `_packed`.
        _device.DoesNotFitError: a single example does not go through the frozen blocks.
    """
    folders = {d: wanted.folder(family, d) for d in wanted.boundaries}
    try:
        holds = [_hold(folder) for folder in folders.values()]  # while a pass runs, too
        for _ in range(2):
            if not (folders[depth] / "key.json").exists():
                _fill(model, family, splits, wanted, folders, depth)
            try:
                return {
                    split: CachedExamples(splits[split], family, folders[depth], split, depth in wanted.first_only)
                    for split in SPLITS
                }
            except _DamagedError:
                _empty(folders[depth])
        del holds
    except OSError:
        pass  # a cache that cannot be written is none
    return None


def _fill(
    model: nn.Module,
    family: Family,
    splits: Mapping[str, Examples],
    wanted: Wanted,
    folders: Mapping[int, Path],
    needed: int,
) -> None:
    """Compute what is missing at all depths, or at the one that is needed where there is no room for all."""
    model.eval()
    blocks, device = family.blocks(model), next(model.parameters()).device
    missing = {d: folder for d, folder in folders.items() if not (folder / "key.json").exists()}
    example = {name: tensor.to(device) for name, tensor in splits["train"].batch(np.arange(1)).items()}
    found = _boundary.outputs(model, family, blocks, example, list(missing))
    sizes = dict.fromkeys(missing, 0.0)
    for d, hidden in found.items():
        for split in SPLITS:
            rows = len(splits[split].labels) if d in wanted.first_only else _rows(splits[split], family).sum()
            width = hidden[0, 0].numel() if family.mask(example) is not None else hidden[0].numel()
            sizes[d] += float(rows) * width * np.dtype(wanted.dtype).itemsize
    if not make_room(sum(sizes.values()), wanted.limit, but=set(missing.values())):
        missing = {needed: missing[needed]}
        if not make_room(sizes[needed], wanted.limit, but=set(missing.values())):
            raise OSError(errno.ENOSPC, f"{sizes[needed]:.0f} bytes do not fit the limit of {wanted.limit:.0f}")
    shards = [(split, n, shard) for split in SPLITS for n, shard in enumerate(_shards(splits[split].lengths))]
    for wait in (False, True):  # first what nobody else is at, then what another was at and may have died over
        for split, number, shard in shards:
            name = f"{split}-{number:03}"
            absent = {d: folder for d, folder in missing.items() if not (folder / f"{name}.npy").exists()}
            if not absent:
                continue
            with _claim([absent[d] / f"{name}.lock" for d in sorted(absent)], wait) as mine:
                if mine:
                    absent = {d: folder for d, folder in absent.items() if not (folder / f"{name}.npy").exists()}
                    _fill_shard(model, family, blocks, splits[split], shard, wanted, absent, name)
    for d, folder in missing.items():
        _write(folder / "key.json", lambda file, d=d: file.write(json.dumps(wanted.key(family, d)).encode()))


def _fill_shard(
    model: nn.Module,
    family: Family,
    blocks: Blocks,
    examples: Examples,
    shard: Array,
    wanted: Wanted,
    folders: Mapping[int, Path],
    name: str,
) -> None:
    if not folders:
        return
    device = next(model.parameters()).device

    def run(size: int) -> dict[int, list[Array]]:
        parts = {d: list[Array]() for d in folders}
        for start in range(0, len(shard), size):
            batch = {n: t.to(device) for n, t in examples.batch(shard[start : start + size]).items()}
            with _device.precision(device):
                found = _boundary.outputs(model, family, blocks, batch, list(folders))
            for d, hidden in found.items():
                parts[d].append(_packed(hidden, family.mask(batch), d in wanted.first_only, wanted.dtype))
        return parts

    per_pass = _device.per_pass(device, int(examples.lengths[shard].max()))
    parts = _device.fitting(per_pass, device, run, "when a single example goes through the frozen blocks")
    for d, folder in folders.items():
        rows = np.concatenate(parts.pop(d))
        _write(folder / f"{name}.npy", lambda file, rows=rows: np.save(file, rows, allow_pickle=False))


def _write(path: Path, write: Any) -> None:
    """The file is whole or absent."""
    aside = path.with_name(f".{path.name}")  # one writer a name: it holds the lock
    if path.name == "key.json":
        aside = path.with_name(f".{path.name}.{os.getpid()}")  # all who took part write the same
    try:
        with aside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # before the name: after a power cut the name must not stand for nothing
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def _claim(paths: Iterable[Path], wait: bool) -> Iterator[bool]:
    """Lock all of them or none. Whoever waits has locked them in this order, too: nobody waits for ever."""
    with ExitStack() as locks:
        try:
            for path in paths:
                fcntl.flock(locks.enter_context(path.open("ab")), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            locks.close()
            yield False
        else:
            yield True


# --- room ------------------------------------------------------------------------------------------


def _hold(folder: Path) -> IO[bytes]:
    """Make the folder if need be, and keep it from being removed until the returned file is closed or forgotten."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "in-use").open("a+b")  # NFS gives a shared lock to readers only
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            os.utime(folder / "in-use")  # what was used last is removed last
        except FileNotFoundError:
            file.close()  # removed between the two lines above
            continue
        return file


def _folders() -> list[Path]:
    return [path for path in root().glob("*") if path.is_dir()] if root().is_dir() else []


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _empty(folder: Path) -> None:
    for path in (folder / "key.json", *folder.glob("*.npy")):
        path.unlink(missing_ok=True)


def make_room(needed: float, most: float, but: Collection[Path] = ()) -> bool:
    """Remove what has not been used for longest until `needed` bytes more make at most `most`; False if it cannot be.

    What a trial reads or fills at the moment stays. Folders in `but` are those that are needed, half filled perhaps.
    """
    others = [folder for folder in _folders() if folder not in but]
    by_age = sorted(((f / "in-use").stat().st_mtime, f) for f in others if (f / "in-use").exists())
    total = sum(_size(folder) for _, folder in by_age) + needed
    for _, folder in by_age:
        if total <= most:
            break
        try:
            with (folder / "in-use").open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                total -= _size(folder)
                (folder / "in-use").unlink()  # first: whoever comes now makes a new one
                (folder / "key.json").unlink(missing_ok=True)  # what is left if this is broken off is not whole
                shutil.rmtree(folder, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            continue
    return total <= most and not math.isnan(total)
