"""The frozen-prefix cache: outputs of frozen blocks, computed once and read by every trial that freezes them.

A trial that freezes its first k blocks would compute the same outputs in every epoch, and so would every other trial
with the same k. One pass over the data stores them at each boundary between blocks that the plan has found worth it
(`search/plan/prefix.py`). Training and evaluation then start there.

On disk there is one folder a boundary below `<cache>/features/`, named by the hash of everything that decides its
numbers. It holds one array a shard and split, `train-003.npy`, without padding, and `key.json`, which is written last.
File locks claim shards, so that all trials of a node that need a pass share its work, and a killed one loses one shard.
"""

import errno
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from frostline.trainables._family import Batch, Examples, Family
from frostline.trainables._modules import output_of, outputs_until
from frostline.trainables._task import TimeOverError
from frostline.trainables.data.cache import code_version, open_array
from frostline.trainables.data.corpus import Array
from frostline.trainables.prefix import boundary, store
from frostline.trainables.prefix.boundary import Body
from frostline.trainables.training import device as devices

SPLITS = ("train", "validation")
"""Splits that are stored. The test set is read once, with the winner, so it is not stored."""

_SHARD = 64
"""Fewest examples of a shard; a split has at most 64 shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Everything that decides the numbers of a cache, and how large the cache may become."""

    entry: Path
    """The prepared data; its name stands for the examples, the tokenizer and the length."""
    weights: str
    """SHA-256 of the pretrained model's files."""
    boundaries: tuple[int, ...]
    """Depths that a pass fills, rising."""
    first_only: tuple[int, ...]
    """Depths at which only the first token's output is stored."""
    dtype: str
    """`float32` or `float16`."""
    device: str
    """`cpu` or `cuda`."""
    threads: int
    """CPU threads of the pass. They decide the last bits of a sum."""
    limit: float
    """Bytes that all features on this node may take."""
    left: Callable[[], float] = lambda: math.inf
    """Seconds until the pass is broken off. Another one goes on with what it has stored."""
    pooled: str = ""
    """Pooling whose vectors are stored in place of the deepest boundary's outputs; empty if these are stored."""

    def pooling_at(self, depth: int) -> str:
        """Pooling whose vectors are stored at `depth`; empty if the outputs are."""
        return self.pooled if depth == self.boundaries[-1] else ""

    def is_single(self, depth: int) -> bool:
        """Whether an example has one row at `depth`, whatever its length."""
        return depth in self.first_only or bool(self.pooling_at(depth))

    def key(self, family: Family, depth: int) -> dict[str, Any]:
        """Everything that decides the numbers at `depth`, as JSON values."""
        functions: list[Callable[..., Any] | type] = [type(family), *family.code]
        functions += [boundary.outputs, boundary.modules_in, output_of, outputs_until]
        functions += [_shards, _packed, _pooled, _fill_shard, devices.precision, devices.per_pass]
        return {
            "data": self.entry.name,
            "model": self.weights,
            "boundary": depth,
            "first_only": depth in self.first_only,
            "pooled": self.pooling_at(depth),
            "dtype": self.dtype,
            "device": [self.device, self.threads if self.device == "cpu" else 0],
            "library": [version(name) for name in ("torch", "transformers", "torchvision", "timm")],
            "code": code_version(*functions),
            "constants": [_SHARD, devices.CPU_TOKENS],
        }

    def folder(self, family: Family, depth: int) -> Path:
        """Where the features at `depth` are or will be."""
        text = json.dumps(self.key(family, depth), sort_keys=True)
        return store.root() / hashlib.sha256(text.encode()).hexdigest()[:32]


class _DamagedError(Exception):
    """An entry that is no longer whole."""


class CachedExamples(Examples):
    """A split whose batches also have `prefix`, the outputs of the blocks before a boundary, or have `pooled` alone."""

    def __init__(
        self, examples: Examples, family: Family, wanted: Wanted, depth: int, folder: Path, split: str
    ) -> None:
        """Open the arrays that a pass has stored.

        Raises:
            _DamagedError: a file is missing or cut short.
        """
        self.labels, self.lengths = examples.labels, examples.lengths
        self._examples, self._family = examples, family
        self._first_only, self.are_vectors = depth in wanted.first_only, bool(wanted.pooling_at(depth))
        self._in_use = store.hold(folder)  # as long as this object lives, nobody removes the folder
        self._arrays, self._shard = [], np.empty(len(self.lengths), dtype=np.int64)
        self._start = np.empty(len(self.lengths), dtype=np.int64)
        single = wanted.is_single(depth)
        rows = np.ones(len(self.lengths), dtype=np.int64) if single else _rows(examples, family)
        for number, shard in enumerate(_shards(self.lengths)):
            self._shard[shard], self._start[shard] = number, np.cumsum(rows[shard]) - rows[shard]
            name = f"{split}-{number:03}"
            try:
                self._arrays.append(open_array(folder, name))
            except (FileNotFoundError, ValueError, EOFError) as error:
                raise _DamagedError(f"{name} of {folder}: {error}") from error
            if len(self._arrays[-1]) != rows[shard].sum():
                raise _DamagedError(f"{name} of {folder} is cut short")
        self._rows = rows

    @property
    def longest(self) -> int:
        return int(self._rows.max())

    def batch(self, indices: Array) -> Batch:
        """The batch of the examples, and `prefix`, float32 [examples, length, ...] with zeros at padding.

        Or their `labels`, and `pooled`, float32 [examples, width].
        """
        kept = np.concatenate(
            [self._arrays[self._shard[i]][(at := self._start[i]) : at + self._rows[i]] for i in indices]
        )
        rows = torch.from_numpy(kept).float()
        if self.are_vectors:
            return {"labels": torch.from_numpy(self.labels[indices]), "pooled": rows}
        batch = self._examples.batch(indices)
        if self._first_only:
            batch = self._family.first_token(batch) or batch
        mask = self._family.mask(batch)
        if mask is None:
            return {**batch, "prefix": rows}
        prefix = rows.new_zeros(*mask.shape, *rows.shape[1:])
        prefix[mask] = rows
        return {**batch, "prefix": prefix}


def _rows(examples: Examples, family: Family) -> Array:
    """Rows stored for each example, int [examples]: its length if it has positions, else 1."""
    ragged = family.mask(examples.batch(np.arange(1))) is not None
    return np.asarray(examples.lengths if ragged else np.ones_like(examples.lengths))


def _shards(lengths: Array) -> list[Array]:
    """The examples, shortest first, in at most 64 parts: batches of about one length, in a fixed order."""
    order = np.argsort(lengths, kind="stable")
    return np.array_split(order, max(1, min(64, len(order) // _SHARD)))


def _packed(hidden: Tensor, mask: Tensor | None, first_only: bool, dtype: str) -> Array:
    """The rows of a batch's outputs that are stored: one after another, without padding.

    Args:
        hidden: float [examples, length, width], or any shape where `mask` is None.
        mask: True at positions that are not padding, bool [examples, length].
        first_only: store only the first position.
        dtype: `float32` or `float16`.

    Raises:
        OverflowError: float16 cannot hold a number.
    """
    rows = hidden[:, 0] if first_only else hidden if mask is None else hidden[mask]
    rows = rows.to("cpu", getattr(torch, dtype))
    if dtype == "float16" and not torch.isfinite(rows).all():  # with float32 the loss fails at its step
        raise OverflowError("the outputs of a frozen block do not fit float16: --prefix-cache float32 holds them")
    return rows.numpy()


def prepare(body: Body, splits: Mapping[str, Examples], wanted: Wanted, depth: int) -> dict[str, Examples] | None:
    """The splits with their features at `depth`, which are computed if they are missing.

    A pass fills all boundaries of `wanted` up to the deepest. Where other processes run the same pass, they share its
    shards.

    Args:
        body: pretrained, on its device; its model is left in evaluation mode.
        splits: `train` and `validation`.
        wanted: what to compute.
        depth: one of `wanted.boundaries`.

    Returns:
        None if the disk has no room for them: the caller trains without.

    Raises:
        OverflowError: float16 cannot hold an output.
        TimeOverError: no time is left before they are computed.
        DoesNotFitError: a single example does not go through the frozen blocks.
    """
    folders = {d: wanted.folder(body.family, d) for d in wanted.boundaries}
    try:
        holds = [store.hold(folder) for folder in folders.values()]  # during the pass too
        for _ in range(2):
            if not (folders[depth] / "key.json").exists():
                _fill(body, splits, wanted, folders, depth)
            try:
                return {
                    split: CachedExamples(splits[split], body.family, wanted, depth, folders[depth], split)
                    for split in SPLITS
                }
            except _DamagedError:
                store.empty(folders[depth])
        del holds
    except OSError:
        pass  # train without a cache that cannot be written
    return None


def _fill(body: Body, splits: Mapping[str, Examples], wanted: Wanted, folders: Mapping[int, Path], needed: int) -> None:
    """Compute what is missing at all depths, or at depth `needed` alone if there is no room for all."""
    body.model.eval()
    missing = {d: folder for d, folder in folders.items() if not (folder / "key.json").exists()}
    sizes = _sizes(body, splits, wanted, list(missing))
    if not store.make_room(sum(sizes.values()), wanted.limit, but=set(missing.values())):
        missing = {needed: missing[needed]}
        if not store.make_room(sizes[needed], wanted.limit, but=set(missing.values())):
            raise OSError(errno.ENOSPC, f"{sizes[needed]:.0f} bytes do not fit the limit of {wanted.limit:.0f}")
    shards = [(split, n, shard) for split in SPLITS for n, shard in enumerate(_shards(splits[split].lengths))]
    for wait in (False, True):  # first the shards that nobody works on, then those of processes that may have died
        for split, number, shard in shards:
            name = f"{split}-{number:03}"
            absent = {d: folder for d, folder in missing.items() if not (folder / f"{name}.npy").exists()}
            if not absent:
                continue
            if wanted.left() <= 0:
                raise TimeOverError
            with store.claim([absent[d] / f"{name}.lock" for d in sorted(absent)], wait) as mine:
                if mine:
                    absent = {d: folder for d, folder in absent.items() if not (folder / f"{name}.npy").exists()}
                    _fill_shard(body, splits[split], shard, wanted, absent, name)
    for d, folder in missing.items():
        with store.new(folder / "key.json") as file:
            file.write(json.dumps(wanted.key(body.family, d)).encode())


def _sizes(body: Body, splits: Mapping[str, Examples], wanted: Wanted, depths: list[int]) -> dict[int, float]:
    """Bytes of both splits at each depth; 0 where a block returns no tensor."""
    device = next(body.model.parameters()).device
    example = devices.to(splits["train"].batch(np.arange(1)), device)
    with torch.inference_mode():
        outputs = boundary.outputs(body, example, depths)
    sizes = dict.fromkeys(depths, 0.0)
    for d, hidden in outputs.items():
        vectors = _pooled(hidden, body, example, wanted, d)
        for split in SPLITS:
            rows = len(splits[split].labels) if wanted.is_single(d) else _rows(splits[split], body.family).sum()
            width = hidden[0, 0].numel() if body.family.mask(example) is not None else hidden[0].numel()
            width = width if vectors is None else vectors[0].numel()
            sizes[d] += float(rows) * width * np.dtype(wanted.dtype).itemsize
    return sizes


def _fill_shard(
    body: Body, examples: Examples, shard: Array, wanted: Wanted, folders: Mapping[int, Path], name: str
) -> None:
    """Compute one shard of a split at the depths of `folders`, and store it there as `NAME.npy`."""
    if not folders:
        return
    device = next(body.model.parameters()).device
    rows = _rows(examples, body.family)[shard].sum()

    def run(size: int, files: Mapping[int, IO[bytes]]) -> None:
        for start in range(0, len(shard), size):
            batch = devices.to(examples.batch(shard[start : start + size]), device)
            with devices.precision(device), torch.inference_mode():
                outputs = boundary.outputs(body, batch, list(folders))
            for d, hidden in outputs.items():
                vectors = _pooled(hidden, body, batch, wanted, d)
                if vectors is None:
                    part = _packed(hidden, body.family.mask(batch), d in wanted.first_only, wanted.dtype)
                else:
                    part = _packed(vectors, None, False, wanted.dtype)
                if start == 0:
                    files[d].seek(0)  # an attempt before this one may have run out of memory
                    files[d].truncate()
                    length = len(shard) if wanted.is_single(d) else rows
                    _begin_array(files[d], part.dtype, (int(length), *part.shape[1:]))
                files[d].write(np.ascontiguousarray(part).data)

    per_pass = devices.per_pass(device, int(examples.lengths[shard].max()))
    with ExitStack() as stack:
        files = {d: stack.enter_context(store.new(folder / f"{name}.npy")) for d, folder in folders.items()}
        what = "when a single example goes through the frozen blocks"
        devices.fitting(per_pass, device, lambda size: run(size, files), what)


def _pooled(hidden: Tensor, body: Body, batch: Batch, wanted: Wanted, depth: int) -> Tensor | None:
    """The vectors that are stored in place of the outputs at `depth`, [examples, width]; None if these are stored."""
    pooling = wanted.pooling_at(depth)
    return body.family.pooled(hidden, batch, pooling) if pooling else None


def _begin_array(file: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the header of a `.npy` file."""
    fields = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
