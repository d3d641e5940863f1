"""Differences between a CPU and a GPU: precision, random state, running out of memory, fetching data ahead."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import torch

from frostline.trainables._family import Batch, Examples
from frostline.trainables.data.corpus import Array

T = TypeVar("T")


class DoesNotFitError(MemoryError):
    """The device's memory does not hold the forward and backward pass of a single example."""

    def __init__(self, where: str) -> None:
        super().__init__(f"out of GPU memory {where}")


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of the generators that training on `device` draws from, by name."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def precision(device: torch.device) -> torch.autocast:
    """bf16 on a GPU that has it; always float32 on a CPU (bf16 without the instructions is 7 times slower)."""
    usable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=usable)


def to(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`; from pinned memory the copy runs in the background."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def forget(device: torch.device) -> None:
    """Give the memory of earlier passes back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def fitting(size: int, device: torch.device, run: Callable[[int], T], what: str) -> T:
    """Call `run(size)`, with half the size each time that memory runs out.

    Raises:
        DoesNotFitError: memory runs out with size 1; `what` says when that was.
    """
    while True:
        try:
            return run(size)
        except torch.OutOfMemoryError:
            pass  # the exception holds the failed pass's tensors, so leave its block first
        if size == 1:
            raise DoesNotFitError(what)
        size //= 2
        forget(device)


_COMPILING, _SAVED = 60.0, 0.25
"""Seconds that `torch.compile` takes for a transformer, and the share of a step that it saves. Orders of magnitude that
are commonly reported for GPUs like the A100."""


def compiling_pays(device: torch.device, seconds_per_step: float, steps_left: int) -> bool:
    """Whether compiling saves more time in the rest of a training than it takes; never on a CPU."""
    return device.type == "cuda" and seconds_per_step * steps_left * _SAVED > _COMPILING


CPU_TOKENS = 2048
"""Tokens per forward pass on a CPU. More are no faster, and several thousand are slower: they do not fit its cache."""


def per_pass(device: torch.device, longest: int) -> int:
    """Examples per forward pass where nothing trains; `longest` is the tokens of the longest one (1 for a picture)."""
    return 128 if device.type == "cuda" else max(4, min(16, CPU_TOKENS // longest))


def portions(examples: Examples, indices: Array, size: int, pinned: bool = False) -> list[Batch]:
    """The examples in batches of at most `size`; if `pinned`, in memory that a GPU can fetch by itself."""
    batches = [examples.batch(indices[start : start + size]) for start in range(0, len(indices), size)]
    return [{n: t.pin_memory() for n, t in batch.items()} for batch in batches] if pinned else batches


class Ahead:
    """Makes batches in a thread while a GPU computes; on a CPU a thread would slow training, so on demand."""

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self._examples, self._device = examples, device
        self._thread = ThreadPoolExecutor(1) if device.type == "cuda" else None
        self._next: tuple[Array, int, Future[list[Batch]]] | None = None

    def get(self, indices: Array, size: int) -> Sequence[Batch]:
        """These examples in portions of at most `size`."""
        if self._next and self._next[0] is indices and self._next[1] == size:
            return self._next[2].result()
        return portions(self._examples, indices, size)

    def prepare(self, indices: Array, size: int) -> None:
        """Begin to make the portions that `get` is called for next."""
        if self._thread:
            made = self._thread.submit(portions, self._examples, indices, size, self._device.type == "cuda")
            self._next = (indices, size, made)

    def close(self) -> None:
        """End the thread."""
        if self._thread:
            self._thread.shutdown(cancel_futures=True)


def reset_peak_memory(device: str) -> None:
    """Begin a new peak for `peak_memory_mb`."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return


def name(device: str) -> str:
    """A GPU's model, else `cpu`. Devices of the same name have the same memory."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def peak_memory_mb(device: str) -> float:
    """Peak since `reset_peak_memory`, in megabytes: of GPU memory on a GPU, else of this process's resident set."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM"))
