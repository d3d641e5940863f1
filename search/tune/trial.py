"""The Tune trainable: task -> `TorchTrainer(...).fit()`, here or in a worker group that stays."""

from __future__ import annotations

from typing import Any

import ray.tune

from frostline.trainables._imports import quick_imports


def run_trial(config: dict[str, Any]) -> None:
    """Train a recipe in this process, or several that train a head only.

    `num_workers=0` is Ray's local mode: the training function runs here, in the trial's own warm process. A worker
    group would be three more processes, and take 22 s and more to start.

    Args:
        config: `tasks` from the ledger and `setup` from the plan, dicts of their fields; and the resources of the
            group if a trial has several workers, see `groups.GroupSlot.run`.
    """
    if config["setup"]["workers"] > 1:
        with quick_imports():
            from frostline.search.tune import groups

        groups.THIS.run(config, ray.tune.report)
        return
    with quick_imports():  # here, since a slot with workers does not need them
        from ray.train import ScalingConfig
        from ray.train.torch import TorchTrainer

        from frostline.trainables.slot.worker import train

    TorchTrainer(
        train,
        train_loop_config={"tasks": config["tasks"], "setup": config["setup"]},
        scaling_config=ScalingConfig(num_workers=0, use_gpu=config["setup"]["device"] == "cuda"),
    ).fit()
