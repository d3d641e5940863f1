"""Several processes that train one model together: shares of a batch, one gradient, scores of all examples.

Each process takes a share of every batch and divides its loss by the size of the whole batch. So the sum of the
gradients is the gradient of the batch's mean, for any shares.

The gradients are added up after the last micro-batch. torch's DistributedDataParallel does it during the backward pass,
which overlaps computing and network, but it waits for ever for a gradient that does not come. Here some do not: a
process whose memory runs out starts its share again in smaller portions, a process may have no share, and a model that
starts between two blocks is not the one that DDP would have wrapped.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from frostline.trainables._errors import first_line
from frostline.trainables._task import PeerLostError
from frostline.trainables.data.corpus import Array

_BUCKET = 2**23
"""Numbers sent at once: 32 MB, about as much as DDP sends."""


class Peers:
    """The process group that torch.distributed was initialised with, seen from this process; or this process alone."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self._sent: list[nn.Parameter] | None = None
        """Parameters that have a gradient in any of the processes; None before the first step."""

    @property
    def leads(self) -> bool:
        """Whether this process writes files and tells Tune."""
        return self.rank == 0

    def share(self, indices: Array) -> Array:
        """This process's share of a batch; empty if the batch is smaller than the group."""
        return indices if self.size == 1 else np.array_split(indices, self.size)[self.rank]

    def draw(self, seed: int, step: int) -> None:
        """Seed torch for this process and step, so that a repeated step draws the same numbers.

        A process alone goes on with the random state of its snapshot.
        """
        if self.size > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)[0]))

    def begin(self, model: nn.Module, step: int, device: torch.device) -> None:
        """Start all processes from the first one's weights.

        Raises:
            PeerLostError: another process begins at another step, since it found another snapshot.
        """
        self._sent = None
        if self.size == 1:
            return
        if self.largest(step, device) != -self.largest(-step, device):
            raise PeerLostError(f"another worker does not begin at step {step}: they do not see the same snapshot")
        with torch.no_grad():
            for parameters in _buckets([p for p in model.parameters() if p.requires_grad]):
                flat = torch.cat([p.detach().reshape(-1) for p in parameters])
                _together(partial(dist.broadcast, flat, 0))
                for parameter, part in zip(parameters, _parts(flat, parameters), strict=True):
                    parameter.copy_(part)

    def add_up(self, loss: Tensor, model: nn.Module) -> Tensor:
        """The sum of the losses of all processes; the gradients become their sums.

        Args:
            loss: of this process's share, a detached scalar.
            model: with its gradients; a process without a share has none.
        """
        if self.size == 1:
            return loss
        parameters = [p for p in model.parameters() if p.requires_grad]
        if self._sent is None:
            counts = torch.tensor([float(p.grad is not None) for p in parameters], device=loss.device)
            _together(lambda: dist.all_reduce(counts))
            self._sent = [p for p, count in zip(parameters, counts.tolist(), strict=True) if count]
        total, buckets = loss.reshape(1).clone(), list(_buckets(self._sent))
        flats = [torch.cat([_gradient(p).reshape(-1) for p in bucket]) for bucket in buckets]
        for waiting in [_all_reduce(flat) for flat in (total, *flats)]:
            _together(waiting)
        for bucket, flat in zip(buckets, flats, strict=True):
            for parameter, part in zip(bucket, _parts(flat, bucket), strict=True):
                parameter.grad = part
        return total[0]

    def owned(self, batches: Sequence[Array]) -> list[Array]:
        """Examples that each process evaluates. Batches rise in length, so they are dealt round-robin."""
        return [np.concatenate([np.empty(0, np.int64), *batches[rank :: self.size]]) for rank in range(self.size)]

    def gather(self, rows: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """The rows of all processes, by rank.

        Args:
            rows: of this process, [its count, columns].
            counts: rows of each process.
        """
        if self.size == 1:
            return [rows]
        padded = rows.new_zeros(max(counts), rows.shape[1])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        _together(lambda: dist.all_gather(parts, padded))
        return [part[:count] for part, count in zip(parts, counts, strict=True)]

    def largest(self, value: float, device: torch.device) -> float:
        """The largest of the processes' values."""
        if self.size == 1:
            return value
        largest = torch.tensor(value, dtype=torch.float64, device=device)
        _together(lambda: dist.all_reduce(largest, dist.ReduceOp.MAX))
        return largest.item()


ALONE = Peers()
"""This process, without others."""


def _together(step: Callable[[], object]) -> None:
    """Take a step that all processes take together.

    Raises:
        PeerLostError: one of the others does not take it.
    """
    try:
        step()
    except RuntimeError as error:  # gloo's and NCCL's errors are of this type or a subclass
        raise PeerLostError(first_line(error)) from error


def _all_reduce(flat: Tensor) -> Callable[[], object]:
    """Begin to add up; the returned function waits for the end."""
    begun: list[dist.Work] = []
    _together(lambda: begun.append(dist.all_reduce(flat, async_op=True)))
    return begun[0].wait


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """The parameters in order, in buckets that end when they are full."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(p.numel() for p in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def _parts(flat: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Inverse of flattening these parameters one after another; each part has its parameter's memory layout."""
    parts = flat.split([p.numel() for p in parameters])
    return [torch.empty_like(p).copy_(part.view(p.shape)) for part, p in zip(parts, parameters, strict=True)]
