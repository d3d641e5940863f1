"""R: Ray's documented way to tune a `TorchTrainer`: built inside a Tune function, with a worker group of one.

    python -m tests.bench.peers.ray_tune JOB

Follows https://docs.ray.io/en/latest/train/user-guides/hyperparameter-optimization.html (a Tune function that
builds a `TorchTrainer` named by its trial, `TuneReportCallback`, `max_concurrent_trials`, resources of the Tune
function), https://docs.ray.io/en/latest/train/getting-started-transformers.html (the worker's function) and
https://docs.ray.io/en/latest/tune/examples/optuna_example.html (`OptunaSearch`). Fixed recipes are its
`points_to_evaluate` and are not stopped.
"""

import sys

import optuna
import ray
import ray.train
import ray.tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler
from ray.tune.search.optuna import OptunaSearch

from tests.bench import job as jobs


def train_worker(config: dict) -> None:
    """The function that the one worker of a trial's group runs."""
    from ray.train.huggingface.transformers import prepare_trainer

    from tests.bench.peers import hf  # here, so that the process of the Tune function does without torch

    job, recipe = jobs.load(config["job"]), config["recipe"]
    tell = jobs.Teller(job.reports, config["trial"], recipe)

    def on_score(epoch: float, accuracy: float) -> None:
        tell(epoch, accuracy)
        ray.train.report({"accuracy": accuracy, "epoch": epoch})

    prepare_trainer(hf.build(job, recipe, on_score)).train()


def train_driver(config: dict, job_file: str) -> None:
    """The Tune function: launches one Train run and waits for it."""
    trial, job = ray.tune.get_context().get_trial_id(), jobs.load(job_file)
    TorchTrainer(
        train_worker,
        train_loop_config={"job": job_file, "trial": trial, "recipe": config},
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            name=f"train-{trial}", storage_path=f"{job.scratch}/train", callbacks=[TuneReportCallback()]
        ),
    ).fit()


def main() -> None:
    """Run the search of the job."""
    job = jobs.load(sys.argv[1])
    ray.init(
        num_cpus=job.concurrent,
        resources={"TRAIN_DRIVER_RESOURCE": 1},
        # Without its dashboard Ray never frees the worker groups of trials that ASHA stopped; where nothing is
        # stopped it is left out, to Ray's advantage.
        include_dashboard=job.search,
    )
    space = {
        "learning_rate": optuna.distributions.FloatDistribution(*jobs.LEARNING_RATE, log=True),
        "batch_size": optuna.distributions.CategoricalDistribution(jobs.BATCH_SIZES),
        "frozen_layers": optuna.distributions.IntDistribution(*job.depths),
        "weight_decay": optuna.distributions.FloatDistribution(*jobs.WEIGHT_DECAY, log=True),
    }
    asha = ASHAScheduler(
        time_attr="epoch",
        metric="accuracy",
        mode="max",
        max_t=job.epochs,
        grace_period=1,
        reduction_factor=job.reduction_factor,
    )
    search = OptunaSearch(
        space, metric="accuracy", mode="max", points_to_evaluate=list(job.recipes) or None, seed=job.seed
    )
    # The Tune function only waits: with a logical CPU for it, its default, none would be left for the workers.
    driver = ray.tune.with_resources(
        ray.tune.with_parameters(train_driver, job_file=sys.argv[1]), {"TRAIN_DRIVER_RESOURCE": 0.01}
    )
    ray.tune.Tuner(
        driver,
        tune_config=ray.tune.TuneConfig(
            search_alg=search,
            scheduler=asha if job.search else FIFOScheduler(),
            num_samples=job.trials,
            max_concurrent_trials=job.concurrent,
        ),
        run_config=ray.tune.RunConfig(name="tune", storage_path=f"{job.scratch}/tune"),
    ).fit()
    ray.shutdown()


if __name__ == "__main__":
    main()
