"""A training in progress: its steps and its reports. `loop.fit` decides what comes when.

Between any two steps it can be stored as a `Snapshot`, and go on from that in another process. On a CPU it then ends
bit-identical to a training that was never interrupted.
"""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from frostline.spaces import Recipe
from frostline.trainables._family import Batch, Family, First
from frostline.trainables._modules import is_batch_norm
from frostline.trainables.data.corpus import Array
from frostline.trainables.training import device as devices
from frostline.trainables.training import evaluation, optim
from frostline.trainables.training.checkpoint import Snapshot, put, trained_state
from frostline.trainables.training.device import DoesNotFitError
from frostline.trainables.training.machine import Machine
from frostline.trainables.training.stopwatch import Stopwatch

_CHECK_EVERY = 20
"""Steps between two checks of the losses on a GPU, where reading one waits for the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The state of a training at a rung or at the end of an epoch."""

    epoch: float
    """Passes over the training examples so far."""
    samples: int
    """Training examples seen so far."""
    step: int
    """Optimizer steps so far."""
    metrics: dict[str, float]
    """Of the validation examples; and `train_loss`, the mean since the last report."""
    partial: bool
    """Whether only the first of the validation examples were measured, as at an early rung."""
    final: bool
    """Whether the training has used its whole budget."""
    micro_batch: int
    """Examples in one forward pass, fewer than the batch where the device's memory is too small."""
    spent: dict[str, float] = field(compare=False)  # two equal trainings never take the same time
    """Seconds since the last report, or since the start, by activity: `training`, `evaluation` and `data`, the wait for
    batches to train on."""


Take = Callable[[], Snapshot]
"""Takes a snapshot of the training between two steps. Call it only to keep the snapshot: it waits for the device."""


class NonFiniteLossError(ArithmeticError):
    """A loss or metric became infinite or not a number: the recipe has failed."""

    def __init__(self, name: str, value: float, step: int, learning_rate: float) -> None:
        super().__init__(f"{name} is {value} at step {step}, learning rate {learning_rate:.3g}")


class Training:
    """A training in progress: everything that changes from step to step."""

    def __init__(
        self, model: nn.Module, family: Family, recipe: Recipe, ahead: devices.Ahead, steps: int, machine: Machine
    ) -> None:
        self.model, self.family, self.recipe, self.ahead = model, family, recipe, ahead
        self.device, self.peers, self._compiler = machine.device, machine.peers, machine.compiler
        self.compiled = model
        """The same weights, behind a compiled forward pass where that saves more time than compiling takes."""
        self.steps, self._timed_from = steps, (0, 0.0)
        self.optimizer, self.schedule = optim.build(model, recipe, steps)
        # Found once: a walk through all modules takes a third of the step of a head that reads one vector an example.
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._norms = [module for module in model.modules() if is_batch_norm(module)]
        self.step = self.seen = self.place = self.since = 0
        """Optimizer steps so far, examples seen, batches of this epoch, examples since the last report."""
        self.total = torch.zeros((), device=self.device)
        """Sum of the losses of these examples."""
        self.micro_batch = recipe.batch_size
        self.class_weights: torch.Tensor | None = None
        """Weights in the loss of the classes that the training examples have, on the device; None weighs all alike."""
        self._unchecked: list[tuple[int, float, torch.Tensor]] = []
        self.watch = Stopwatch()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def step_on(self, indices: Array, upcoming: Array | None = None, size: int = 0) -> None:
        """One optimizer step on a batch.

        Args:
            indices: this process's share of the batch.
            upcoming: its share of the epoch's next batch; None if the epoch ends here.
            size: examples of the whole batch; 0 if the share is all of it.
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
        """Check the losses since the last check.

        Raises:
            NonFiniteLossError: for the first loss that is not finite.
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
        """Decide by the time of the first steps. A training that starts at a boundary is too short in any case."""
        (step, since), now = self._timed_from, time.monotonic()
        if self._compiler.works and self.compiled is self.model and not self.recipe.cached_layers and self.step > step:
            if since and devices.compiling_pays(
                self.device, (now - since) / (self.step - step), self.steps - self.step
            ):
                self.compiled = torch.compile(self.model, dynamic=True)
            self._timed_from = (self.step, now)

    def measure(self, validation: First, size: int, final: bool) -> Report:
        """Measure the model and report. A new mean loss begins.

        Args:
            validation: examples to measure on.
            size: training examples of an epoch.
            final: whether the training ends here.

        Raises:
            NonFiniteLossError: for a loss since the last check, or for a metric, unless it is one that this slice may
                leave undefined.
        """
        self.check()
        self.watch.trained()
        names = {*self.family.in_every_report, self.recipe.metric}
        metrics = evaluation.evaluate(self.model, self.family, validation, self.device, self.peers, names)
        metrics["train_loss"] = self.total.item() / self.since
        self.total, self.since = torch.zeros((), device=self.device), 0
        self._timed_from = (self.step, 0.0)  # a report's seconds are not the steps'
        undefined = {metric.name for metric in self.family.metrics if metric.may_be_undefined}
        for name, value in metrics.items():
            if not math.isfinite(value) and not (math.isnan(value) and name in undefined):
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
        """This share's part of the batch's mean loss; its gradient is accumulated.

        Where memory runs out the share is done again in smaller portions, and where compiling fails without it.

        Raises:
            DoesNotFitError: portions of one example are too large.
        """
        random = devices.random_state(self.device)
        # Batch norm updates its statistics in the forward pass, so a failed pass has updated them already.
        running = [(buffer, buffer.clone()) for module in self._norms if module.training for buffer in module.buffers()]
        while True:
            try:
                with self.watch.data():
                    portions = self.ahead.get(indices, self.micro_batch)
                if upcoming is not None:
                    self.ahead.prepare(upcoming, self.micro_batch)
                return _backward(
                    self.compiled, self.family, self.recipe, portions, size, self.device, self.class_weights
                )
            except torch.OutOfMemoryError:
                fits = False  # the exception holds the failed pass's tensors, so leave its block first
            except Exception as error:
                if self.compiled is self.model:
                    raise
                warnings.warn(f"torch.compile failed, training goes on without: {error}", stacklevel=1)
                fits, self._compiler.works, self.compiled = True, False, self.model
            if not fits:
                tried = min(self.micro_batch, len(indices))
                if tried == 1:
                    raise DoesNotFitError(f"at step {self.step} with a micro-batch of 1")
                self.micro_batch = tried // 2
            for buffer, before in running:
                buffer.copy_(before)
            self.optimizer.zero_grad(set_to_none=True)
            devices.forget(self.device)
            devices.set_random_state(random, self.device)

    def _update(self) -> None:
        """Clip and step. The optimizer makes its state in its first step, and the device may have no room for it.

        Raises:
            DoesNotFitError: even after the memory of earlier passes was given back.
        """
        nn.utils.clip_grad_norm_(self._trained, self.recipe.clip_norm)
        for _ in range(2):
            try:
                self.optimizer.step()
                return
            except torch.OutOfMemoryError:
                pass
            devices.forget(self.device)
        raise DoesNotFitError(f"for the optimizer's state at step {self.step}")

    def take(self) -> Snapshot:
        """A snapshot that shares the training's tensors: copy or write it before the next step."""
        self.check()  # a failed training must not be gone on from
        state = self.optimizer.state_dict()
        tensors = {f"model.{name}": tensor for name, tensor in trained_state(self.model).items()}
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
            ValueError: it is of another recipe.
        """
        numbers = snapshot.numbers
        if numbers["recipe"] != self.recipe.training():
            raise ValueError("the snapshot was taken of another recipe")
        parts: dict[str, dict[str, torch.Tensor]] = {"model": {}, "optimizer": {}, "random": {}}
        for name, tensor in snapshot.tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        put(self.model, parts["model"], "the snapshot")
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        for parameter, state in self.optimizer.state.items():
            for name, tensor in state.items():
                # A file holds no strides, and the fused optimizer expects its state in the memory order of the weights.
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
    """Whether a training of this recipe can go on from a snapshot, which may be of another recipe or version."""
    return snapshot.numbers.keys() >= _NUMBERS and recipe.trains_as(snapshot.numbers["recipe"])


def _backward(
    model: nn.Module,
    family: Family,
    recipe: Recipe,
    portions: Sequence[Batch],
    size: int,
    device: torch.device,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Accumulate the gradient of the portions' loss divided by `size`; returns that loss, a detached scalar.

    Args:
        model: called by the family.
        family: of the model.
        recipe: for the label smoothing.
        portions: batches on the CPU.
        size: examples of the whole batch.
        device: where the model is.
        weights: of the classes in the loss.
    """
    total = torch.zeros((), device=device)
    for portion in portions:
        batch = devices.to(portion, device)
        with devices.precision(device):
            logits = family.logits(model, batch)
        # A class that only the validation examples have weighs nothing here.
        weigh = None if weights is None else nn.functional.pad(weights, (0, logits.shape[1] - len(weights)))
        loss = family.loss(logits.float(), batch["labels"], recipe.label_smoothing, weigh) / size
        loss.backward()
        total += loss.detach()
    return total
