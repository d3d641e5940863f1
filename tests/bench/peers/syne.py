"""Y: Syne Tune, its local backend and its ASHA, around the same training script.

    python -m tests.bench.peers.syne JOB

Follows https://syne-tune.readthedocs.io/en/latest/getting_started.html: a training script that reads its
configuration from the command line and reports (syne_trial.py), a `LocalBackend` that starts it as a process
per trial, `ASHA`, a `Tuner` with two workers. Fixed recipes are its `points_to_evaluate`; with a first rung at the
last epoch none of them is stopped.
"""

import os
import sys
from pathlib import Path
from typing import Any

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import choice, loguniform, randint
from syne_tune.optimizer.baselines import ASHA

from tests.bench import job as jobs


class Asha(ASHA):
    """ASHA that ends after a number of trials. `StoppingCriterion` counts between two looks and can exceed it."""

    def __init__(self, trials: int, **options: Any) -> None:
        super().__init__(**options)
        self._left = trials

    def suggest(self) -> Any:
        """The next trial, None when there have been enough."""
        self._left -= 1
        return super().suggest() if self._left >= 0 else None


def main() -> None:
    """Run the search of the job."""
    job = jobs.load(sys.argv[1])
    os.environ["SYNETUNE_FOLDER"] = f"{job.scratch}/syne-tune"
    os.chdir(job.scratch)  # looking for GPUs it leaves a file where it stands
    config_space = {
        "learning_rate": loguniform(*jobs.LEARNING_RATE),
        "batch_size": choice(list(jobs.BATCH_SIZES)),
        "frozen_layers": randint(*job.depths),
        "weight_decay": loguniform(*jobs.WEIGHT_DECAY),
        "job": sys.argv[1],
    }
    scheduler = Asha(
        trials=job.trials,
        config_space=config_space,
        metric="accuracy",
        do_minimize=False,
        time_attr="epoch",
        max_t=job.epochs,
        grace_period=1 if job.search else job.epochs,
        reduction_factor=job.reduction_factor,
        random_seed=job.seed,
        points_to_evaluate=[{**recipe, "job": sys.argv[1]} for recipe in job.recipes] or None,
    )
    Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_trial.py"))),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_wallclock_time=1e9),
        n_workers=job.concurrent,
    ).run()


if __name__ == "__main__":
    main()
