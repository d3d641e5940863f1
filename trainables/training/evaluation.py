"""The logits of a model on a split, and their metrics."""

from collections.abc import Collection

import numpy as np
import torch
from torch import nn

from frostline.trainables._family import Examples, Family
from frostline.trainables.data.batches import by_length
from frostline.trainables.training import device as devices
from frostline.trainables.training.peers import ALONE, Peers


def evaluate(
    model: nn.Module,
    family: Family,
    examples: Examples,
    device: torch.device,
    peers: Peers = ALONE,
    names: Collection[str] = (),
) -> dict[str, float]:
    """Metrics of `model` on all examples, those with these `names` if there are any; leaves it in evaluation mode."""
    logits, labels = predict(model, family, examples, device, peers)
    return family.score(logits, labels, names)


@torch.inference_mode()
def predict(
    model: nn.Module, family: Family, examples: Examples, device: torch.device, peers: Peers = ALONE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all examples, float32 [examples, classes], and their labels, int64 [examples], shortest first.

    Leaves the model in evaluation mode, and takes smaller batches where memory runs out. `peers` share the batches that
    one process would take, and each gets all logits.
    """
    model.eval()
    # Batch by text length, not by cached length, so that a process without a cache gets the same share.
    batches = by_length(examples.lengths, devices.per_pass(device, int(examples.lengths.max())))
    shares = peers.owned(batches)
    own = shares[peers.rank]

    def run(size: int) -> torch.Tensor:
        logits = []
        for start in range(0, max(1, len(own)), size):
            # A process without a batch evaluates the first example, to know the number of classes.
            batch = examples.batch(own[start : start + size] if len(own) else np.arange(1))
            with devices.precision(device):
                logits.append(family.logits(model, devices.to(batch, device)).float())
        return torch.cat(logits)[: len(own)]

    logits = devices.fitting(
        devices.per_pass(device, examples.longest), device, run, "when a single example is evaluated"
    )
    gathered = torch.cat(peers.gather(logits, [len(share) for share in shares])).cpu()
    order = np.concatenate(batches)
    place = np.empty(len(order), dtype=np.int64)
    place[np.concatenate(shares)] = np.arange(len(order))
    return gathered[torch.from_numpy(place[order])], torch.from_numpy(np.asarray(examples.labels)[order]).long()
