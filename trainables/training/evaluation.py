"""What a model makes of a split: its logits, and the metrics of them."""

import numpy as np
import torch
from torch import nn

from frostline.trainables._family import Examples, Family
from frostline.trainables.data.batches import by_length
from frostline.trainables.training import device as devices
from frostline.trainables.training import peers as peer_group
from frostline.trainables.training.peers import Peers


def evaluate(
    model: nn.Module, family: Family, examples: Examples, device: torch.device, peers: Peers = peer_group.ALONE
) -> dict[str, float]:
    """Metrics of `model` on all examples; leaves it in evaluation mode."""
    logits, labels = predict(model, family, examples, device, peers)
    return family.score(logits, labels)


@torch.inference_mode()
def predict(
    model: nn.Module, family: Family, examples: Examples, device: torch.device, peers: Peers = peer_group.ALONE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of all examples, float32 [examples, classes], and their labels, int64 [examples], shortest first.

    Leaves the model in evaluation mode; takes smaller batches where memory runs out. `peers` share the work, in the
    batches that one process would take, and each gets all of it.
    """
    model.eval()
    # By what the texts are, not by what a cache has kept of them: a process that has no room for a cache shares alike.
    batches = by_length(examples.lengths, devices.per_pass(device, int(examples.lengths.max())))
    shares = peers.owned(batches)
    own = shares[peers.rank]

    def run(size: int) -> torch.Tensor:
        logits = []
        for start in range(0, max(1, len(own)), size):
            # Where there are fewer batches than processes, the first example says how many classes there are.
            batch = examples.batch(own[start : start + size] if len(own) else np.arange(1))
            with devices.precision(device):
                logits.append(family.logits(model, devices.to(batch, device)).float())
        return torch.cat(logits)[: len(own)]

    logits = devices.fitting(
        devices.per_pass(device, examples.longest), device, run, "when a single example is evaluated"
    )
    found = torch.cat(peers.gather(logits, [len(share) for share in shares])).cpu()
    order = np.concatenate(batches)
    place = np.empty(len(order), dtype=np.int64)
    place[np.concatenate(shares)] = np.arange(len(order))
    return found[torch.from_numpy(place[order])], torch.from_numpy(np.asarray(examples.labels)[order]).long()
