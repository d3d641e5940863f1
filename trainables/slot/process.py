"""This process as a slot: what it keeps from trial to trial.

The process outlives a trial (Tune's `reuse_actors`). Its imports, the pretrained weights, the CUDA context and the
memory-mapped data stay for the next trial. Everything else of a trial is cleared here.
"""

import atexit
import ctypes
import gc
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
import torch
from torch import Tensor, nn

from frostline.spaces import Recipe
from frostline.trainables._family import Batch, Family, load
from frostline.trainables._task import Setup
from frostline.trainables.prefix.boundary import Body, Results, results_of
from frostline.trainables.slot import ray_private
from frostline.trainables.slot.node import Notice
from frostline.trainables.training import device as devices
from frostline.trainables.training.checkpoint import trained_state
from frostline.trainables.training.machine import Compiler


@dataclass(kw_only=True, slots=True)
class Pretrained:
    """A model that a slot has loaded."""

    key: tuple[str, str, int]
    """Family, model, number of classes."""
    model: nn.Module
    weights: dict[str, Tensor]
    """A copy of its state as it was loaded, on the CPU."""
    results: Results | None = None
    """What its blocks return; None until a trial starts at a boundary."""


class Slot:
    """Keeps what the next trial of this process uses again."""

    def __init__(self) -> None:
        self.compiler = Compiler()
        self.notice = Notice(self._draining)
        self.pretrained: Pretrained | None = None
        self._peer_nodes: frozenset[str] = frozenset()

    def join(self, nodes: Iterable[str]) -> None:
        """Train the next trials together with workers on these nodes, given by their ids."""
        self._peer_nodes = frozenset(nodes)

    @property
    def peer_nodes(self) -> frozenset[str]:
        """Ids of the nodes of the workers that train together with this one."""
        return self._peer_nodes

    def _draining(self) -> bool:
        """Whether Ray was told that this node, or another one of the same trial, will be taken away."""
        nodes = {ray.get_runtime_context().get_node_id(), *self._peer_nodes}
        return not nodes.isdisjoint(ray_private.draining_nodes())

    def forget(self) -> None:
        """Drop the pretrained model, as if this process were new."""
        self.pretrained = None

    @contextmanager
    def trial(self, setup: Setup, recipe: Recipe) -> Iterator[tuple[Family, nn.Module, torch.device]]:
        """A pretrained model with a fresh head on the trial's device. Afterwards nothing of the trial is left."""
        torch.set_num_threads(setup.threads)
        device = torch.device(setup.device)
        if device.type == "cuda":
            if setup.gpu_share < 1:  # other trials use this GPU too, so limit the memory of this one
                torch.cuda.set_per_process_memory_fraction(setup.gpu_share)
            torch.cuda.synchronize()  # raises if an earlier trial broke the context: then this process is of no use
        devices.reset_peak_memory(setup.device)
        family = load(recipe.family)
        if setup.metric_code:
            family = family.with_metric(setup.metric, setup.metric_code)
        pretrained = self._load(family, recipe, len(setup.classes))
        model = pretrained.model
        try:
            model.to(device)  # before the head is drawn: each device has its own random state
            # The model is still frozen as in the last trial, so only the tensors that trained there have changed.
            changed = trained_state(model).keys()
            kept = {name: pretrained.weights[name] for name in changed if name in pretrained.weights}
            model.load_state_dict(kept, strict=False)  # a head that `set_pooling` has put in is drawn below
            family.set_pooling(model, recipe.pooling)
            family.configure(model, recipe)
            torch.manual_seed(recipe.seed)
            family.reset_head(model)
            yield family, model, device
        except BaseException as error:
            # Tune ends a trial by an exception, whose traceback would hold the optimizer.
            traceback.clear_frames(error.__traceback__)
            raise
        finally:
            model.zero_grad(set_to_none=True)
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
            return_free_memory()

    def _load(self, family: Family, recipe: Recipe, classes: int) -> Pretrained:
        """The model of a recipe; loaded if the trial before had another one."""
        key = (recipe.family, recipe.model, classes)
        if self.pretrained is None or self.pretrained.key != key:
            if self.pretrained is not None:
                self.forget()  # before the other one is loaded: there may be no room for both
                gc.unfreeze()
                gc.collect()
            torch.manual_seed(0)  # weights that no checkpoint holds (a pooler, say) are the same in every process
            model = family.build(family.model_folder(recipe.model), classes)
            # All objects of now stay as long as the process. torch and transformers alone have a million, and without
            # them the garbage collector takes 0.3 s less between two trials.
            gc.collect()
            gc.freeze()
            atexit.register(gc.unfreeze)  # libraries that count leaks at the end would complain otherwise
            weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            self.pretrained = Pretrained(key=key, model=model, weights=weights)
        return self.pretrained

    def results(self, body: Body, example: Batch) -> Results:
        """What the blocks of the pretrained model return, found with `example` at the first call."""
        if self.pretrained is None or self.pretrained.model is not body.model:
            return results_of(body, example)
        if self.pretrained.results is None:
            self.pretrained.results = results_of(body, example)
        return self.pretrained.results


def return_free_memory() -> None:
    """Give freed heap pages back to the system. glibc would keep them, and a slot would grow from trial to trial."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # another C library
        return


THIS = Slot()
"""The slot that this process is: Tune calls a function, which has no other place to keep anything."""
