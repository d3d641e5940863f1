"""The Tune trainable: task -> `TorchTrainer(...).fit()`."""

from __future__ import annotations

from typing import Any

from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from trainables import _worker


def run_trial(config: dict[str, Any]) -> None:
    """Train one recipe in this process.

    `num_workers=0` is Ray's local mode: the training function runs here, in the trial's own warm
    process, instead of in a worker group of its own (three more processes, 22 s and more to start).

    Args:
        config: `task` from the ledger and `setup` from the plan, each a dict of its fields.
    """
    TorchTrainer(
        _worker.train,
        train_loop_config={"task": config["task"], "setup": config["setup"]},
        scaling_config=ScalingConfig(num_workers=0, use_gpu=config["setup"]["device"] == "cuda"),
    ).fit()
