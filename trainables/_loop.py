"""The one training loop: plain torch, one process, one device; `report` is a callable.

A training can be taken down between any two steps as a `Snapshot` and go on from it in another process;
on a CPU it then ends bit-identical to one that was never interrupted.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from spaces import Recipe
from trainables import _checkpoint, _data, _freezing, _optim
from trainables._checkpoint import Snapshot
from trainables._family import Examples, Family

_CPU_MICRO_BATCH = 8
"""Examples per forward pass on a CPU: larger ones are no faster there and cost memory (1.1 GB at 32 × 128 tokens)."""

_CHECK_EVERY = 20
"""Steps between two looks at the losses on a GPU, where reading one waits for the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a trial says at a rung and at the end of each epoch."""

    epoch: float
    """Passes over the training examples so far."""
    samples: int
    """Training examples seen so far."""
    step: int
    """Optimizer steps so far."""
    metrics: dict[str, float]
    """Of the whole validation slice; plus `train_loss`, the mean since the last report."""
    final: bool
    """Whether the trial has used its whole budget."""
    micro_batch: int
    """Most examples in one forward pass so far as the device's memory allowed."""


Take = Callable[[], Snapshot]
"""Makes the snapshot of the training as it stands; worth calling only where it will be kept."""


class NonFiniteLossError(ArithmeticError):
    """A loss or metric became infinite or not a number: the recipe has failed."""

    def __init__(self, name: str, value: float, step: int, learning_rate: float) -> None:
        super().__init__(f"{name} is {value} at step {step}, learning rate {learning_rate:.3g}")


class DoesNotFitError(MemoryError):
    """The device's memory does not hold the forward and backward pass of a single example."""

    def __init__(self, where: str) -> None:
        super().__init__(f"out of GPU memory {where}")


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Optimizer steps in one epoch, the short last batch included."""
    return math.ceil(examples / batch_size)


def _nothing(_: Take) -> None:
    return None


def fit(
    model: nn.Module,
    family: Family,
    recipe: Recipe,
    train: Examples,
    validation: Examples,
    *,
    report_at: Sequence[float],
    device: torch.device,
    report: Callable[[Report], None],
    after_step: Callable[[Take], None] = _nothing,
    resume: Snapshot | None = None,
    micro_batch: int | None = None,
) -> None:
    """Fine-tune `model` in place by `recipe`.

    Args:
        model: pretrained, its new head drawn, on `device`.
        family: what the model and the data are.
        recipe: how to train.
        train: examples to learn from.
        validation: examples that every report is measured on.
        report_at: epochs at which to report, rising; the last one is the end of training.
        device: where the model is.
        report: called with each report. It may raise to end the trial.
        after_step: called after every step but the last, and after the report where one follows, with
            what takes a snapshot.
        resume: where to go on; None starts from the beginning.
        micro_batch: examples per forward pass that are known to fit; None tries the whole batch (on a
            CPU, 8). Gradients of micro-batches add up to the batch's, so it changes no result but for rounding.

    Raises:
        NonFiniteLossError: names the step (on a GPU it is seen within 20 steps).
        DoesNotFitError: a single example needs more memory than the device has.
        ValueError: the model has fewer blocks than the recipe freezes, or `resume` is of another recipe.
    """
    blocks = family.blocks(model)
    _freezing.freeze(model, blocks, recipe.frozen_layers)
    size = len(train.labels)
    run = _Run(model, family, recipe, device, math.ceil(report_at[-1] * steps_per_epoch(size, recipe.batch_size)))
    run.micro_batch = micro_batch or run.micro_batch
    if resume is not None:
        run.restore(resume)
    due = [seen for point in report_at if (seen := math.ceil(point * size)) > run.seen]
    _freezing.training_mode(model, blocks, recipe.frozen_layers)
    while due:
        order = np.random.default_rng([recipe.seed, run.seen // size])
        epoch = _data.batches(train.lengths, recipe.batch_size, order)
        for indices in epoch[run.place :]:
            run.step_on(train, indices, last=run.place + 1 == len(epoch))
            if run.seen >= due[0]:
                due = [seen for seen in due if seen > run.seen]
                report(run.measure(validation, size, final=not due))
                if not due:
                    return
                _freezing.training_mode(model, blocks, recipe.frozen_layers)
            after_step(run.take)


class _Run:
    """A training in progress: everything that changes from step to step."""

    def __init__(self, model: nn.Module, family: Family, recipe: Recipe, device: torch.device, steps: int) -> None:
        self.model, self.family, self.recipe, self.device = model, family, recipe, device
        self.optimizer, self.schedule = _optim.build(model, recipe, steps)
        self.step = self.seen = self.place = self.since = 0
        """Optimizer steps, examples seen, batches of this epoch, examples since the last report."""
        self.total = torch.zeros((), device=device)
        """Sum of the losses of these examples."""
        self.micro_batch = min(recipe.batch_size, _CPU_MICRO_BATCH if device.type == "cpu" else recipe.batch_size)
        self._unchecked: list[tuple[int, float, torch.Tensor]] = []

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step_on(self, train: Examples, indices: _data.Array, last: bool) -> None:
        """One optimizer step on these examples; `last` of its epoch."""
        loss = self._gradient(train, indices)
        self._unchecked.append((self.step, self.learning_rate, loss))
        if self.device.type == "cpu" or len(self._unchecked) >= _CHECK_EVERY:
            self.check()
        self._update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.step, self.seen, self.since = self.step + 1, self.seen + len(indices), self.since + len(indices)
        self.place = 0 if last else self.place + 1
        self.total = self.total + loss * len(indices)

    def check(self) -> None:
        """Look at the losses that nobody has looked at.

        Raises:
            NonFiniteLossError: the first that is not finite.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        values = torch.stack([loss for *_, loss in unchecked]).tolist()  # waits for the device, once
        for (step, learning_rate, _), value in zip(unchecked, values, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLossError("loss", value, step, learning_rate)

    def measure(self, validation: Examples, size: int, final: bool) -> Report:
        """The report of this moment, `size` training examples being an epoch; a new mean loss begins.

        Raises:
            NonFiniteLossError: of a loss on the way, or of a metric.
        """
        self.check()
        metrics = evaluate(self.model, self.family, validation, self.device)
        metrics["train_loss"] = self.total.item() / self.since
        self.total, self.since = torch.zeros((), device=self.device), 0
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NonFiniteLossError(name, value, self.step, self.learning_rate)
        return Report(
            epoch=self.seen / size,
            samples=self.seen,
            step=self.step,
            metrics=metrics,
            final=final,
            micro_batch=self.micro_batch,
        )

    def _gradient(self, train: Examples, indices: _data.Array) -> torch.Tensor:
        """The batch's mean loss, its gradient accumulated; in smaller portions where memory runs out.

        Raises:
            DoesNotFitError: portions of one example are too large.
        """
        random = _random_state(self.device)
        # Batch norm counts while it looks; a pass that failed has counted already.
        running = [
            (buffer, buffer.clone())
            for module in self.model.modules()
            if isinstance(module, _BatchNorm) and module.training
            for buffer in module.buffers()
        ]
        while True:
            try:
                return _backward(self.model, self.family, train, indices, self.device, self.micro_batch)
            except torch.OutOfMemoryError:
                pass  # what the failed pass held is let go with the exception, so that is left first
            tried = min(self.micro_batch, len(indices))
            if tried == 1:
                raise DoesNotFitError(f"at step {self.step} with a micro-batch of 1")
            self.micro_batch = tried // 2
            for buffer, before in running:
                buffer.copy_(before)
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            _set_random_state(random, self.device)

    def _update(self) -> None:
        """Clip and step. The optimizer makes its state in its first step, which the device may not have room for.

        Raises:
            DoesNotFitError: also with all memory given back that passes before have held.
        """
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.recipe.clip_norm)
        for _ in range(2):
            try:
                self.optimizer.step()
                return
            except torch.OutOfMemoryError:
                pass
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        raise DoesNotFitError(f"for the optimizer's state at step {self.step}")

    def take(self) -> Snapshot:
        """The training as it stands, sharing its tensors: to be written before the next step."""
        self.check()  # a training that has failed is not worth going on from
        state = self.optimizer.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in _checkpoint.trained_state(self.model).items()}
        for index, entry in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entry.items()}
        tensors |= {f"random.{name}": tensor for name, tensor in _random_state(self.device).items()}
        tensors["total"] = self.total
        numbers = {
            "recipe": self.recipe.training(),  # the keys are _NUMBERS
            "counters": [self.step, self.seen, self.place, self.since],
            "micro_batch": self.micro_batch,
            "learning_rates": [group["lr"] for group in self.optimizer.param_groups],
            "schedule": {k: v for k, v in self.schedule.state_dict().items() if k != "lr_lambdas"},
        }
        return Snapshot(tensors=tensors, numbers=numbers)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from `snapshot`.

        Raises:
            ValueError: it was taken of another recipe.
        """
        numbers = snapshot.numbers
        if numbers["recipe"] != self.recipe.training():
            raise ValueError("the snapshot was taken of another recipe")
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
        for name, tensor in snapshot.tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        _checkpoint.put(self.model, parts["model"], "the snapshot")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for group, rate in zip(self.optimizer.param_groups, numbers["learning_rates"], strict=True):
            group["lr"] = rate
        self.schedule.load_state_dict({**self.schedule.state_dict(), **numbers["schedule"]})
        self.step, self.seen, self.place, self.since = numbers["counters"]
        self.micro_batch = numbers["micro_batch"]
        self.total = snapshot.tensors["total"].to(self.device)
        _set_random_state(parts["random"], self.device)


_NUMBERS = {"recipe", "counters", "micro_batch", "learning_rates", "schedule"}


def goes_on(snapshot: Snapshot, recipe: Recipe) -> bool:
    """Whether `fit` can go on from a snapshot with this recipe; else it is another's, or of another version."""
    return snapshot.numbers.keys() >= _NUMBERS and snapshot.numbers["recipe"] == recipe.training()


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _backward(
    model: nn.Module,
    family: Family,
    train: Examples,
    indices: _data.Array,
    device: torch.device,
    micro_batch: int,
) -> torch.Tensor:
    """Accumulate the gradient of the batch's mean loss; returns that mean, detached."""
    total = torch.zeros((), device=device)
    for start in range(0, len(indices), micro_batch):
        batch = _to(train.batch(indices[start : start + micro_batch]), device)
        with _precision(device):
            logits = family.logits(model, batch)
        loss = family.loss(logits.float(), batch["labels"]) / len(indices)
        loss.backward()
        total += loss.detach()
    return total


def evaluate(model: nn.Module, family: Family, examples: Examples, device: torch.device) -> dict[str, float]:
    """Metrics of `model` on all examples; leaves it in evaluation mode."""
    logits, labels = predict(model, family, examples, device)
    return family.metrics(logits, labels)


@torch.inference_mode()
def predict(
    model: nn.Module, family: Family, examples: Examples, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all examples, float32 [examples, classes], and their labels, int64 [examples], shortest first.

    Leaves the model in evaluation mode; takes smaller batches where memory runs out.
    """
    model.eval()
    size = 16 if device.type == "cpu" else 128
    while True:
        logits, labels = [], []
        try:
            for indices in _data.by_length(examples.lengths, size):
                batch = _to(examples.batch(indices), device)
                with _precision(device):
                    logits.append(family.logits(model, batch).float())
                labels.append(batch["labels"])
            return torch.cat(logits).cpu(), torch.cat(labels).cpu()
        except torch.OutOfMemoryError:
            pass
        if size == 1:
            raise DoesNotFitError("when a single example is evaluated")
        size //= 2
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _to(batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def _precision(device: torch.device) -> torch.autocast:
    """bf16 on a GPU that has it; always float32 on a CPU (bf16 without the instructions is 7 times slower)."""
    usable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=usable)
