"""F: Frostline, as `search/run.py` runs it, on a space that is built here.

    python -m tests.bench.peers.frostline JOB

Follows the README. Fixed recipes are the space's own `recipes`; with the first rung at the last epoch none of them
is stopped, and nothing is confirmed. The export and the reading of the test set are in its time.
"""

import sys
from pathlib import Path

from optuna.distributions import CategoricalDistribution, FloatDistribution
from rich.console import Console

from frostline.search.cluster.environment import prepare_environment
from frostline.search.plan import resolve as planning
from frostline.search.plan.options import Options
from frostline.spaces import Budget, Depth, Profile, Space
from tests.bench import job as jobs
from tests.bench.data import data_of


def space(job: jobs.Job) -> Space:
    """The space that the job searches, or the list of its fixed recipes."""
    budget = Budget(
        trials=job.trials,
        epochs=job.epochs,
        first_rung=job.first_rung if job.search else float(job.epochs),
        reduction_factor=job.reduction_factor,
        confirm_recipes=0,
    )
    profile = Profile(model=job.source, data=data_of(job.table, job.train, job.validation, job.length), budget=budget)
    return Space(
        name="bench",
        summary="the benchmark's own",
        family="text_classification",
        parameters={
            "learning_rate": FloatDistribution(*jobs.LEARNING_RATE, log=True),
            "batch_size": CategoricalDistribution(jobs.BATCH_SIZES),
            "frozen_layers": Depth(low=job.depths[0], high=job.depths[1]),
            "weight_decay": FloatDistribution(*jobs.WEIGHT_DECAY, log=True),
        },
        recipes={f"recipe {number}": recipe for number, recipe in enumerate(job.recipes)},
        full=profile,
        small=profile,
    )


def main() -> None:
    """Run the search of the job."""
    prepare_environment()  # before Ray is imported
    job = jobs.load(sys.argv[1])
    more = {"prefix_cache": job.prefix_cache} if job.prefix_cache is not None else {}
    options = Options(
        space="bench",
        profile="small",
        concurrent=job.concurrent,
        seed=job.seed,
        storage=Path(job.scratch) / "runs",
        name="bench",
        **more,
    )
    plan, corpus = planning.resolve(options, space(job))
    planning.claim(plan)
    from frostline.search import tuner

    tuner.run(plan, corpus, Console(width=160))


if __name__ == "__main__":
    main()
