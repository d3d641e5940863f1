"""S, the standard script: one Hugging Face `Trainer` per recipe, one after the other, all cores for each. ST: tuned.

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
        tell, tuned = jobs.Teller(job.reports, str(number), recipe), job.system == "ST"
        hf.build(job, recipe, tell, group_by_length=tuned, tuned=tuned).train()


if __name__ == "__main__":
    main()
