"""The Tune trainable: parameters -> recipe -> `TorchTrainer(...).fit()`."""

from __future__ import annotations

from typing import Any

from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer

from spaces import Recipe
from trainables import _worker


def run_trial(config: dict[str, Any]) -> None:
    """Train one recipe in this process.

    `num_workers=0` is Ray's local mode: the training function runs here, in the trial's own warm
    process, instead of in a worker group of its own (three more processes, 22 s and more to start).

    Args:
        config: `number` and `params` from the study; `base` (recipe, JSON) and `setup` from the plan.
    """
    recipe = Recipe.from_json(config["base"]).with_params(config["params"])
    TorchTrainer(
        _worker.train,
        train_loop_config={"number": config["number"], "recipe": recipe.to_json(), "setup": config["setup"]},
        scaling_config=ScalingConfig(num_workers=0, use_gpu=config["setup"]["device"] == "cuda"),
    ).fit()
