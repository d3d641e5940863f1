"""S, the standard script: one Hugging Face `Trainer` per recipe, one after the other, all cores for each.

ST is tuned for a GPU; D trains one default recipe on a user's own data.

    python -m tests.bench.peers.standard JOB

Follows https://huggingface.co/docs/transformers/training; what it trains is in hf.py.
"""

import sys

from tests.bench import job as jobs
from tests.bench.peers import hf


def main() -> None:
    """Train every recipe of the job."""
    job = jobs.load(sys.argv[1])
    for number, recipe in enumerate(job.recipes):
        hf.build(job, recipe, jobs.Teller(job.reports, str(number), recipe), tuned=job.system == "ST").train()


if __name__ == "__main__":
    main()
