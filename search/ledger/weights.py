"""Which weights of trainings stay on disk: those of the best trials, and of each confirmed recipe's best training."""

from __future__ import annotations

from pathlib import Path

from frostline.search.plan.disk import KEPT_CHECKPOINTS
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records.events import Job
from frostline.search.records.log import Log
from frostline.search.records.trials import Records, Trial
from frostline.trainables import _task


class Weights:
    """Removes the files that no later step needs."""

    def __init__(self, run: Path, log: Log, confirmations: Records, removes_later: bool) -> None:
        """Nothing is removed yet.

        Args:
            run: the run directory.
            log: removes files, also at a URL.
            confirmations: all trainings with fresh seeds.
            removes_later: whether files stay until `tidy` is called.
        """
        self._run, self._log, self._confirmations, self._removes_later = run, log, confirmations, removes_later
        self._kept: list[Trial] = []
        self._unneeded: list[Path] = []

    def ended(self, job: Job, trial: Trial) -> None:
        """A training has ended and will not go on: its snapshot is not needed, nor the weights of worse ones."""
        self._unneeded.append(_task.last_path(self._run, job.folder))
        losers = self._worse_confirmations(job) if job.confirms else self._worse_trials(trial)
        for loser in losers:
            folder = run_folder.folder(loser.number, loser.seed if job.confirms else None)
            self._unneeded.append(_task.best_path(self._run, folder))
        if not self._removes_later:
            self.tidy()

    def _worse_confirmations(self, job: Job) -> list[Trial]:
        same = [run for run in self._confirmations if run.number == job.number and not run.open]
        best = trial_records.winner(same)
        return [run for run in same if best is None or run.key != best.key]

    def _worse_trials(self, trial: Trial) -> list[Trial]:
        candidates = [*self._kept, trial]
        self._kept = trial_records.top(candidates, KEPT_CHECKPOINTS)
        kept = {trial.key for trial in self._kept}
        return [trial for trial in candidates if trial.key not in kept]

    def tidy(self) -> None:
        """Remove what is not needed. A crash may leave some of it; the next session finds it again.

        Raises:
            OSError: the disk can only be read.
        """
        while self._unneeded:
            self._log.remove(self._unneeded[0])
            self._unneeded.pop(0)
