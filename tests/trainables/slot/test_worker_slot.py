"""A slot passes from trial to trial: nothing of one is left in the next, and the change takes little time."""

import dataclasses
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.spaces import OWN_POOLING, POOLINGS
from frostline.trainables import _family, _freezing
from frostline.trainables.slot import process
from frostline.trainables.slot.process import THIS
from frostline.trainables.training import checkpoint as checkpoints
from frostline.trainables.training import optim
from tests import tiny
from tests.trainables.points import assert_equal
from tests.trainables.slots import Slot


def fresh(slot: Slot) -> dict[str, torch.Tensor]:
    """The weights with which a trial begins in a process like a new one."""
    THIS.forget()
    with THIS.trial(slot.setup, slot.recipe) as (_, model, _):
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def change_all_that_trains(slot: Slot, depth: int) -> None:
    """Run a trial frozen at this depth that sets every tensor it trains to zero."""
    with THIS.trial(slot.setup, slot.recipe) as (family, model, _):
        _freezing.freeze(model, family.blocks(model), depth)
        for tensor in checkpoints.trained_state(model).values():
            tensor.zero_()


@pytest.mark.parametrize("depths", [(0,), (1,), (3,), (3, 0, 3), (2, 1), (1, 3)])
def test_every_trial_begins_with_the_same_weights_whatever_was_trained_before(
    slot: Slot, depths: tuple[int, ...]
) -> None:
    expected = fresh(slot)
    for depth in depths:
        change_all_that_trains(slot, depth)
    with THIS.trial(slot.setup, slot.recipe) as (_, model, _):
        assert_equal(dict(model.state_dict()), expected)


def test_every_trial_begins_with_the_same_weights_whatever_a_head_has_read_before(slot: Slot) -> None:
    expected = fresh(slot)
    own = slot.recipe
    for pooling, depth in zip((*POOLINGS, *POOLINGS[::-1]), (0, 1, 3, 2, 3, 0, 1, 0), strict=True):
        slot.recipe = dataclasses.replace(own, pooling=pooling)
        change_all_that_trains(slot, depth)
    for pooling in (*POOLINGS[1:], OWN_POOLING):
        with THIS.trial(slot.setup, dataclasses.replace(own, pooling=pooling)) as (_, model, _):
            state = dict(model.state_dict())
            head = {name: state.pop(name) for name in list(state) if name.startswith("pooled_head.")}
            assert all(torch.equal(tensor, expected[name]) for name, tensor in state.items())
            assert bool(head) == (pooling != OWN_POOLING)
    assert state.keys() == expected.keys()


def test_a_trial_that_fails_before_it_is_frozen_changes_nothing_for_the_next(slot: Slot) -> None:
    expected = fresh(slot)
    change_all_that_trains(slot, 2)
    with pytest.raises(ValueError, match="frozen_layers"), THIS.trial(slot.setup, slot.recipe) as (f, model, _):
        _freezing.freeze(model, f.blocks(model), 99)
    with THIS.trial(slot.setup, slot.recipe) as (_, model, _):
        assert_equal(dict(model.state_dict()), expected)


def test_when_a_trial_is_stopped_its_optimizer_goes_before_memory_is_given_back(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune stops it by an exception, whose traceback holds the training's objects."""
    made: list[weakref.ref[torch.optim.Optimizer]] = []
    left: list[bool] = []
    build = optim.build

    def watched(*given: Any) -> Any:
        optimizer, schedule = build(*given)
        made.append(weakref.ref(optimizer))
        return optimizer, schedule

    monkeypatch.setattr(optim, "build", watched)
    monkeypatch.setattr(process, "return_free_memory", lambda: left.append(made[-1]() is not None))
    slot.train_until(2)
    assert left == [False]


def test_the_garbage_collector_skips_objects_that_stay(slot: Slot) -> None:
    """Torch and transformers alone are a million objects; walking them would take most of a hand-over."""
    slot.train()
    assert gc.get_freeze_count() > 3 * len(gc.get_objects())


def test_when_the_model_changes_the_old_one_is_gone_before_the_new_one_is_loaded(
    slot: Slot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no room for both."""
    other = str(tiny.make_model(tmp_path / "other", layers=3))
    slot.setup = dataclasses.replace(slot.setup, models={**slot.setup.models, other: slot.own})
    family, seen = type(_family.load(slot.recipe.family)), list[int]()
    build = family.build

    def watched(self: _family.Family, folder: Path, classes: int) -> torch.nn.Module:
        seen.append(sum(known() is not None for known in alive))
        return build(self, folder, classes)

    monkeypatch.setattr(family, "build", watched)
    alive: list[weakref.ref[torch.nn.Module]] = []
    THIS.forget()
    for model in (slot.recipe.model, other, slot.recipe.model):
        recipe = dataclasses.replace(slot.recipe, model=model)
        for _ in range(2):
            with THIS.trial(slot.setup, recipe) as (of, built, _device):
                assert len(of.blocks(built)) == (4 if model == other else 3)
                alive.append(weakref.ref(built))
            del of, built
    assert seen == [0, 0, 0], "loaded once each time it changes"
