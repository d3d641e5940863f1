"""Modules of torch: batch norm, modes, and outputs from the middle of a forward pass."""

import pytest
import torch
from torch import nn

from frostline.trainables import _modules


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.BatchNorm1d(2), True),
        (nn.BatchNorm2d(2), True),
        (nn.BatchNorm3d(2), True),
        (nn.SyncBatchNorm(2), True),
        (nn.LayerNorm(2), False),
        (nn.GroupNorm(1, 2), False),
        (nn.InstanceNorm2d(2), False),
        (nn.Linear(2, 2), False),
    ],
)
def test_batch_norm_is_told_from_other_norms(module: nn.Module, expected: bool) -> None:
    assert _modules.is_batch_norm(module) is expected


def test_each_module_has_its_own_mode_again_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2))
    model[1].eval()
    with pytest.raises(KeyError), _modules.evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model] == [True, False, True]


@pytest.mark.parametrize(
    ("result", "is_tensor"),
    [
        (torch.ones(1), True),
        ((torch.ones(1), None), True),
        ((), False),
        ([torch.ones(1)], False),
        (None, False),
        ((None, torch.ones(1)), False),
    ],
)
def test_the_output_is_a_tensor_alone_or_the_first_of_a_tuple(result: object, is_tensor: bool) -> None:
    assert (_modules.output_of(result) is not None) == is_tensor


def test_a_pass_ends_after_the_last_module_and_its_outputs_are_not_overwritten() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(inplace=True), nn.Linear(2, 2), nn.Linear(2, 2))
    inputs, ran = torch.randn(3, 2), list[int]()
    for number, module in enumerate(model):
        module.register_forward_pre_hook(lambda _module, _inputs, number=number: ran.append(number))
    outputs = _modules.outputs_until({"first": model[0], "third": model[2]}, lambda: model(inputs))
    assert ran == [0, 1, 2]
    torch.testing.assert_close(outputs["first"], model[0](inputs))
    torch.testing.assert_close(outputs["third"], model[2](model[1](model[0](inputs))))
    assert not any(module._forward_hooks for module in model), "the hooks are gone"


def test_modules_that_are_not_run_are_left_out() -> None:
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    outputs = _modules.outputs_until({"model": model, "other": other}, lambda: model(torch.ones(1, 2)))
    assert set(outputs) == {"model"}


def test_an_error_of_the_pass_leaves_no_hook() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError):
        _modules.outputs_until({0: model}, lambda: model(torch.ones(1, 3)))
    assert not model._forward_hooks


def test_the_weights_of_a_parameter_are_itself() -> None:
    parameter, module = nn.Parameter(torch.ones(1)), nn.Linear(2, 2)
    assert _modules.weights_of(parameter)[0] is parameter
    assert len(_modules.weights_of(module)) == 2
