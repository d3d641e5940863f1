"""A training in progress: its steps, and what it reports. What comes when is said by `_loop.fit`.

It can be taken down between any two steps as a `Snapshot` and go on from it in another process; on a CPU it then
ends bit-identical to one that was never interrupted.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.spaces import Recipe
from frostline.trainables._family import Batch, Family, First
from frostline.trainables.data.corpus import Array
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import device as devices
from frostline.trainables.training import evaluation, optim
from frostline.trainables.training import peers as peer_group
from frostline.trainables.training.checkpoint import Snapshot
from frostline.trainables.training.peers import Peers
from frostline.trainables.training.stopwatch import Stopwatch

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
    """Of the validation examples; plus `train_loss`, the mean since the last report."""
    partial: bool
    """Whether only the first of the validation examples were looked at, as at an early rung."""
    final: bool
    """Whether the trial has used its whole budget."""
    micro_batch: int
    """Most examples in one forward pass so far as the device's memory allowed."""
    spent: dict[str, float] = field(compare=False)  # two equal trainings never take the same time
    """Seconds since the last report, or since the start, by what they went into: `training`, `evaluation` and `data`,
    the wait for batches to train on."""


Take = Callable[[], Snapshot]
"""Makes the snapshot of the training as it stands; worth calling only where it will be kept."""


class NonFiniteLossError(ArithmeticError):
    """A loss or metric became infinite or not a number: the recipe has failed."""

    def __init__(self, name: str, value: float, step: int, learning_rate: float) -> None:
        super().__init__(f"{name} is {value} at step {step}, learning rate {learning_rate:.3g}")


class Training:
    """A training in progress: everything that changes from step to step."""

    compiles: ClassVar[bool] = True
    """Whether this process has not failed to compile yet; without a C compiler, say, it always does."""

    def __init__(
        self,
        model: nn.Module,
        family: Family,
        recipe: Recipe,
        ahead: devices.Ahead,
        device: torch.device,
        steps: int,
        peers: Peers = peer_group.ALONE,
    ) -> None:
        self.peers = peers
        self.model, self.family, self.recipe, self.ahead, self.device = model, family, recipe, ahead, device
        self.compiled = model
        """What is trained through: the same weights, compiled where that is earned back."""
        self.steps, self._timed_from = steps, (0, 0.0)
        self.optimizer, self.schedule = optim.build(model, recipe, steps)
        self.step = self.seen = self.place = self.since = 0
        """Optimizer steps, examples seen, batches of this epoch, examples since the last report."""
        self.total = torch.zeros((), device=device)
        """Sum of the losses of these examples."""
        self.micro_batch = recipe.batch_size
        self._unchecked: list[tuple[int, float, torch.Tensor]] = []
        self.watch = Stopwatch()

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step_on(self, indices: Array, upcoming: Array | None = None, size: int = 0) -> None:
        """One optimizer step on a batch.

        Args:
            indices: this process's share of it.
            upcoming: its share of the epoch's next batch, None where it ends here.
            size: examples of the whole batch; 0 where the share is all of it.
        """
        size = size or len(indices)
        self.peers.draw(self.recipe.seed, self.step)
        loss = self.peers.add_up(self._gradient(indices, upcoming, size), self.model)
        self._unchecked.append((self.step, self.learning_rate, loss))
        if self.device.type == "cpu" or len(self._unchecked) >= _CHECK_EVERY:
            self.check()
        self._update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.step, self.seen, self.since = self.step + 1, self.seen + size, self.since + size
        self.place = 0 if upcoming is None else self.place + 1
        self.total = self.total + loss * size

    def check(self) -> None:
        """Look at the losses that nobody has looked at.

        Raises:
            NonFiniteLossError: the first that is not finite.
        """
        unchecked, self._unchecked = self._unchecked, []
        if not unchecked:
            return
        values = torch.stack([loss for *_, loss in unchecked]).tolist()  # waits for the device, once
        self._compile_if_it_pays()
        for (step, learning_rate, _), value in zip(unchecked, values, strict=True):
            if not math.isfinite(value):
                raise NonFiniteLossError("loss", value, step, learning_rate)

    def _compile_if_it_pays(self) -> None:
        """Decide by the first steps' time; a trial that starts behind a boundary is short anyway."""
        (step, since), now = self._timed_from, time.monotonic()
        if self.compiles and self.compiled is self.model and not self.recipe.cached_layers and self.step > step:
            if since and devices.compiling_pays(
                self.device, (now - since) / (self.step - step), self.steps - self.step
            ):
                self.compiled = torch.compile(self.model, dynamic=True)
            self._timed_from = (self.step, now)

    def measure(self, validation: First, size: int, final: bool) -> Report:
        """The report of this moment, `size` training examples being an epoch; a new mean loss begins.

        Raises:
            NonFiniteLossError: of a loss on the way, or of a metric.
        """
        self.check()
        self.watch.trained()
        metrics = evaluation.evaluate(self.model, self.family, validation, self.device, self.peers)
        metrics["train_loss"] = self.total.item() / self.since
        self.total, self.since = torch.zeros((), device=self.device), 0
        self._timed_from = (self.step, 0.0)  # what a report takes is not the steps' time
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise NonFiniteLossError(name, value, self.step, self.learning_rate)
        return Report(
            epoch=self.seen / size,
            samples=self.seen,
            step=self.step,
            metrics=metrics,
            partial=validation.partial,
            final=final,
            micro_batch=self.micro_batch,
            spent=self.watch.spent(),
        )

    def _gradient(self, indices: Array, upcoming: Array | None, size: int) -> torch.Tensor:
        """This share's part of the batch's mean loss, its gradient accumulated; in smaller ones if memory runs out,
        and by the model as it is if it does not compile.

        Raises:
            _device.DoesNotFitError: portions of one example are too large.
        """
        random = devices.random_state(self.device)
        # Batch norm counts while it looks; a pass that failed has counted already.
        running = [
            (buffer, buffer.clone())
            for module in self.model.modules()
            if isinstance(module, _BatchNorm) and module.training
            for buffer in module.buffers()
        ]
        while True:
            try:
                with self.watch.data():
                    portions = self.ahead.get(indices, self.micro_batch)
                if upcoming is not None:
                    self.ahead.prepare(upcoming, self.micro_batch)
                return _backward(self.compiled, self.family, self.recipe, portions, size, self.device)
            except torch.OutOfMemoryError:
                fits = False  # what the failed pass held is let go with the exception, so that is left first
            except Exception as error:
                if self.compiled is self.model:
                    raise
                warnings.warn(f"torch.compile failed, training goes on without: {error}", stacklevel=1)
                fits, Training.compiles, self.compiled = True, False, self.model
            if not fits:
                tried = min(self.micro_batch, len(indices))
                if tried == 1:
                    raise devices.DoesNotFitError(f"at step {self.step} with a micro-batch of 1")
                self.micro_batch = tried // 2
            for buffer, before in running:
                buffer.copy_(before)
            self.optimizer.zero_grad(set_to_none=True)
            devices.forget(self.device)
            devices.set_random_state(random, self.device)

    def _update(self) -> None:
        """Clip and step. The optimizer makes its state in its first step, which the device may not have room for.

        Raises:
            _device.DoesNotFitError: also with all memory given back that passes before have held.
        """
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.recipe.clip_norm)
        for _ in range(2):
            try:
                self.optimizer.step()
                return
            except torch.OutOfMemoryError:
                pass
            devices.forget(self.device)
        raise devices.DoesNotFitError(f"for the optimizer's state at step {self.step}")

    def take(self) -> Snapshot:
        """The training as it stands, sharing its tensors: to be written before the next step."""
        self.check()  # a training that has failed is not worth going on from
        state = self.optimizer.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in checkpoints.trained_state(self.model).items()}
        for index, entry in state["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entry.items()}
        tensors |= {f"random.{name}": tensor for name, tensor in devices.random_state(self.device).items()}
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
        checkpoints.put(self.model, parts["model"], "the snapshot")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for parameter, state in self.optimizer.state.items():
            for name, tensor in state.items():
                # A file holds no strides, and the fused optimizer goes through memory as the weights lie there.
                if tensor.shape == parameter.shape and tensor.stride() != parameter.stride():
                    state[name] = torch.empty_like(parameter).copy_(tensor)
        for group, rate in zip(self.optimizer.param_groups, numbers["learning_rates"], strict=True):
            group["lr"] = rate
        self.schedule.load_state_dict({**self.schedule.state_dict(), **numbers["schedule"]})
        self.step, self.seen, self.place, self.since = numbers["counters"]
        self.micro_batch = numbers["micro_batch"]
        self.total = snapshot.tensors["total"].to(self.device)
        devices.set_random_state(parts["random"], self.device)


_NUMBERS = {"recipe", "counters", "micro_batch", "learning_rates", "schedule"}


def goes_on(snapshot: Snapshot, recipe: Recipe) -> bool:
    """Whether `fit` can go on from a snapshot with this recipe; else it is another's, or of another version."""
    return snapshot.numbers.keys() >= _NUMBERS and snapshot.numbers["recipe"] == recipe.training()


def _backward(
    model: nn.Module, family: Family, recipe: Recipe, portions: Sequence[Batch], size: int, device: torch.device
) -> torch.Tensor:
    """Accumulate the gradient of the mean loss over `size` examples in portions; returns that mean, detached."""
    total = torch.zeros((), device=device)
    for portion in portions:
        batch = devices.to(portion, device)
        with devices.precision(device):
            logits = family.logits(model, batch)
        loss = family.loss(logits.float(), batch["labels"], recipe.label_smoothing) / size
        loss.backward()
        total += loss.detach()
    return total
