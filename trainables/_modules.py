"""Helpers for torch modules of any task: modes, weights, and outputs from the middle of a forward pass."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

_Key = TypeVar("_Key", bound=Hashable)

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module's output for one example depends on the other examples of a training batch."""
    return isinstance(module, _BATCH_NORMS)


def check_finite(folder: Path, model: nn.Module) -> None:
    """Check that a training can start from these weights.

    Raises:
        ValueError: one is infinite or not a number.
    """
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            raise ValueError(f"{folder} has weights that are infinite or not a number, first {name}")


def weights_of(part: nn.Module | nn.Parameter) -> list[nn.Parameter]:
    """The parameters of a module, or a parameter itself."""
    return [part] if isinstance(part, nn.Parameter) else list(part.parameters())


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode; afterwards each of its modules has its own mode again."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def output_of(result: Any) -> Tensor | None:
    """The tensor that a module returned, alone or first in a tuple; None if it returned something else."""
    output = result[0] if isinstance(result, tuple) and result else result
    return output if isinstance(output, Tensor) else None


class _Reached(Exception):  # noqa: N818 - not an error
    """Ends a forward pass whose rest nobody needs."""


def outputs_until(modules: Mapping[_Key, nn.Module], run: Callable[[], object]) -> dict[_Key, Tensor]:
    """Outputs of some modules in a forward pass, which ends after the last of them.

    Args:
        modules: in the order in which the pass runs them.
        run: begins the pass.

    Returns:
        Key -> output. Modules that return no tensor, or are not run, are left out.
    """
    outputs: dict[_Key, Tensor] = {}
    last = list(modules)[-1]

    def keep(key: _Key, result: Any) -> None:
        output = output_of(result)
        if output is not None:
            outputs[key] = output if key == last else output.clone()  # the next module may work in place
        if key == last:
            raise _Reached

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, result, key=key: keep(key, result))
        for key, module in modules.items()
    ]
    try:
        run()
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


@contextmanager
def size_limit(tensors: int, values: int) -> Iterator[None]:
    """Stop building a model that has far more parameters than its weights, before it takes memory and time.

    Args:
        tensors: tensors in the files of its weights.
        values: numbers in these tensors.

    Raises:
        ValueError: it has four times as many, which tied weights and a new head do not explain.
    """
    most_tensors, most_values = 4 * tensors + 1000, 4 * values + 2**27
    count, total = 0, 0

    def add(_module: nn.Module, _name: str, tensor: Tensor | None) -> None:
        nonlocal count, total
        if tensor is not None:
            count, total = count + 1, total + tensor.numel()
        if count > most_tensors or total > most_values:
            raise ValueError(f"its configuration describes far more than the {values} numbers of its weights")

    hooks = (
        registration.register_module_parameter_registration_hook(add),
        registration.register_module_buffer_registration_hook(add),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
