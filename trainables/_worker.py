"""What runs in a trial's process: the function a `TorchTrainer` runs, and the last look at the winner.

The process outlives the trial (Tune's `reuse_actors`): its imports, the pretrained weights, the CUDA
context and the memory-mapped data stay for the next trial. Everything else is cleared here.
"""

import ctypes
import functools
import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.tune
import torch
from torch import nn

from spaces import Recipe
from trainables import _checkpoint, _freezing, _loop
from trainables._family import Family, load
from trainables._sources import model_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """What all trials of a search share, resolved once by the driver. Plain values: it is JSON on the way."""

    entry: str
    """Folder of the prepared data."""
    classes: tuple[str, ...]
    """Class names."""
    run: str
    """Run directory."""
    report_at: tuple[float, ...]
    """Epochs at which a trial reports."""
    metric: str
    """Validation metric that decides; larger is better."""
    device: str
    """`cpu` or `cuda`."""
    threads: int
    """CPU threads of a trial."""


def checkpoint_path(run: Path | str, number: int) -> Path:
    """Where trial `number` keeps what training changed, as it was at its best report."""
    return Path(run) / "trials" / f"{number:05d}" / "best.safetensors"


def train(config: dict[str, Any]) -> None:
    """Run one trial and report to Tune. `config` holds `number`, `recipe` (JSON) and the fields of `setup`.

    A recipe whose loss stops being finite ends with a report that has `failed` and no `objective`; the
    process lives on. Any other error is raised, and Tune replaces the process.
    """
    setup, recipe = Setup(**config["setup"]), Recipe.from_json(config["recipe"])
    path = checkpoint_path(setup.run, config["number"])
    started, best = time.time(), float("-inf")
    last = {"epoch": 0.0, "samples": 0, "step": 0}

    def tell(**values: Any) -> None:
        ray.tune.report({**values, "seconds": time.time() - started, "pid": os.getpid(), "time": time.time()})

    def on_report(report: _loop.Report) -> None:
        nonlocal best
        last.update(epoch=report.epoch, samples=report.samples, step=report.step)
        objective = report.metrics[setup.metric]
        if objective > best:
            best = objective
            _checkpoint.save(model, path)
        metrics = {**report.metrics, "peak_memory_mb": _peak_memory_mb(setup.device)}
        tell(**last, objective=objective, metrics=metrics, final=report.final)

    with _slot(setup, recipe) as (family, model, device):
        entry = Path(setup.entry)
        try:
            _loop.fit(
                model,
                family,
                recipe,
                family.open(entry, "train"),
                family.open(entry, "validation"),
                report_at=setup.report_at,
                device=device,
                report=on_report,
            )
        except _loop.NonFiniteLossError as error:
            tell(**last, failed=str(error), final=True)


def finish(setup: Setup, recipe: Recipe, checkpoint: str, out: str) -> dict[str, float]:
    """Load the winner as its checkpoint has it, export it to the folder `out`, and read the test set.

    Returns:
        The metrics of the exported weights on the test slice.
    """
    with _slot(setup, recipe) as (family, model, device):
        _freezing.freeze(model, family.blocks(model), recipe.frozen_layers)
        _checkpoint.load(model, Path(checkpoint))
        metrics = _loop.evaluate(model, family, family.open(Path(setup.entry), "test"), device)
        family.export(model, model_folder(recipe.model), recipe.data, setup.classes, Path(out))
        return metrics


@contextmanager
def _slot(setup: Setup, recipe: Recipe) -> Iterator[tuple[Family, nn.Module, torch.device]]:
    """A pretrained model with a fresh head on the trial's device; afterwards nothing of the trial is left."""
    torch.set_num_threads(setup.threads)
    device = torch.device(setup.device)
    family = load(recipe.family)
    _reset_peak_memory(setup.device)
    model, pretrained = _pretrained(recipe.family, recipe.model, len(setup.classes))
    try:
        model.to(device)  # before the head is drawn: each device has a random state of its own
        model.load_state_dict(pretrained)
        torch.manual_seed(recipe.seed)
        family.reset_head(model)
        yield family, model, device
    finally:
        model.zero_grad(set_to_none=True)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        _return_free_memory()


@functools.lru_cache(maxsize=1)
def _pretrained(family: str, model: str, classes: int) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """The model and a copy of its weights as they were loaded, read once per process."""
    torch.manual_seed(0)  # weights that no checkpoint holds (a pooler, say) are the same in every process
    built = load(family).build(model_folder(model), classes)
    return built, {name: tensor.clone() for name, tensor in built.state_dict().items()}


def _return_free_memory() -> None:
    """Give freed heap pages back to the system; glibc otherwise keeps them, and a slot grows trial by trial."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library: nothing to do there
        return


def _reset_peak_memory(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak resident set size
    except OSError:
        return


def _peak_memory_mb(device: str) -> float:
    """Peak since the trial began: of GPU memory on a GPU, else of this process's resident set. Megabytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("VmHWM"))
