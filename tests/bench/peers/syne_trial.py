"""The script that Syne Tune's local backend starts for a trial; syne.py does the rest.

python tests/bench/peers/syne_trial.py --job JOB --learning_rate 1e-4 --batch_size 8 --frozen_layers 3 ...
"""

import argparse

from syne_tune import Reporter

from tests.bench import job as jobs
from tests.bench.peers import hf


def main() -> None:
    """Train one recipe."""
    parser = argparse.ArgumentParser()
    for name, kind in zip(jobs.PARAMETERS, (float, int, int, float), strict=True):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--st_checkpoint_dir", required=True)
    given = vars(parser.parse_known_args()[0])
    job, recipe = jobs.load(given["job"]), {name: given[name] for name in jobs.PARAMETERS}
    tell, report = jobs.Teller(job.reports, given["st_checkpoint_dir"].split("/")[-2], recipe), Reporter()

    def on_score(epoch: float, accuracy: float) -> None:
        tell(epoch, accuracy)
        report(epoch=round(epoch), accuracy=accuracy)

    hf.build(job, recipe, on_score).train()


if __name__ == "__main__":
    main()
