"""Where a training runs: the device, the processes that share the work, and whether compiling works here."""

from dataclasses import dataclass, field

import torch

from frostline.trainables.training.peers import ALONE, Peers


class Compiler:
    """`torch.compile` in this process. After one failure it is not tried again: without a C compiler it always fails.

    A process keeps one of these from training to training.
    """

    def __init__(self) -> None:
        self.works = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where a training runs."""

    device: torch.device
    """Where the model is."""
    peers: Peers = ALONE
    """Processes that train together, each on its share of every batch. All of them make the same reports, and a
    snapshot of any of them serves all."""
    compiler: Compiler = field(default_factory=Compiler)
    micro_batch: int | None = None
    """Examples per forward pass that are known to fit. None tries the whole batch, or on a CPU 8 or fewer. Gradients of
    micro-batches add up to the batch's, so this changes results by rounding only. The exception is training batch
    norm, for which the whole batch is tried on a CPU too."""
