"""O and OL: Optuna with its pruner around a Hugging Face `Trainer`, in one process. OL groups by length.

    python -m tests.bench.peers.optuna_loop JOB

Follows https://optuna.readthedocs.io/en/stable/tutorial/10_key_features/003_efficient_optimization_algorithms.html
(`trial.report`, `should_prune`, `TrialPruned`, the default median pruner and TPE). Fixed recipes are enqueued
(https://optuna.readthedocs.io/en/stable/tutorial/20_recipes/008_specify_params.html) and not pruned.
"""

import sys

import optuna

from tests.bench import job as jobs
from tests.bench.peers import hf


def main() -> None:
    """Run the study of the job."""
    job = jobs.load(sys.argv[1])
    pruner = optuna.pruners.MedianPruner() if job.search else optuna.pruners.NopPruner()
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=job.seed), pruner=pruner)
    for recipe in job.recipes:
        study.enqueue_trial(recipe)

    def objective(trial: optuna.Trial) -> float:
        recipe = {
            "learning_rate": trial.suggest_float("learning_rate", *jobs.LEARNING_RATE, log=True),
            "batch_size": trial.suggest_categorical("batch_size", jobs.BATCH_SIZES),
            "frozen_layers": trial.suggest_int("frozen_layers", *job.depths),
            "weight_decay": trial.suggest_float("weight_decay", *jobs.WEIGHT_DECAY, log=True),
        }
        tell, scores = jobs.Teller(job.reports, str(trial.number), recipe), []

        def on_score(epoch: float, accuracy: float) -> None:
            tell(epoch, accuracy)
            scores.append(accuracy)
            trial.report(accuracy, round(epoch))
            if trial.should_prune():
                raise optuna.TrialPruned

        hf.build(job, recipe, on_score).train()
        return scores[-1]

    study.optimize(objective, n_trials=job.trials)


if __name__ == "__main__":
    main()
