"""Which recipe of a running search is trained again next, and how much time that needs. No Ray, no torch."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Sequence

from frostline.search.ledger import belief, confirm, race, seeds
from frostline.search.ledger.belief import Belief, Entry
from frostline.search.ledger.confirm import Judge
from frostline.search.plan.plan import Plan
from frostline.search.records.events import Job
from frostline.search.records.trials import Ranking, Trial

_PARTS = 10
"""A training is worth it if it is expected to gain at least this part of a difference that hardly matters."""


class Contest:
    """The race between the best recipes of one search. What it decides follows from the records alone."""

    def __init__(
        self, plan: Plan, judge: Judge, ranking: Ranking, runs: Iterable[Trial], started: Container[tuple[int, int]]
    ) -> None:
        """Nothing is decided yet.

        Args:
            plan: plan of the search.
            judge: how recipes are compared.
            ranking: trials of the search; it is kept up to date by its owner, as are the next two.
            runs: trainings with fresh seeds.
            started: keys of all trainings that were ever begun.
        """
        self._plan, self._judge, self._ranking, self._runs, self._started = plan, judge, ranking, runs, started
        self._found: dict[int, float] = {}
        self._known: tuple[object, Belief] | None = None
        """The last belief, and the scores that it follows from."""

    def learn(self, trial: Trial) -> None:
        """Take in a trial of the search that has ended."""
        self._found |= confirm.completed([trial])

    def next(self, running: Sequence[Job], seconds: float) -> Job | None:
        """The next training with a fresh seed; None if there is none now.

        Args:
            running: all trainings that have a slot.
            seconds: seconds that the search has taken.
        """
        budget = self._plan.budget
        if not (budget.confirm_recipes and budget.confirm_seeds):
            return None
        searching = sum(not job.confirms for job in running)
        leading = itertools.islice((trial for trial in self._ranking if not trial.open), budget.confirm_recipes)
        trial = self._choose(confirm.certain(leading, budget.confirm_recipes, searching), running)
        if trial is None or not self._has_time(trial, seconds):
            return None
        fresh = (seeds.fresh(self._plan.search.seed, index) for index in itertools.count())
        seed = next(seed for seed in fresh if (trial.number, seed) not in self._started)
        return Job(number=trial.number, seed=seed, params=trial.params, label=trial.label, confirms=True)

    def _choose(self, leading: Sequence[Trial], running: Sequence[Job]) -> Trial | None:
        """The trial whose recipe is trained next.

        Args:
            leading: trials that are among the best whatever those that run will score.
            running: all trainings that have a slot.
        """
        runs_of, again = confirm.by_number(self._runs), Counter(job.number for job in running if job.confirms)
        # A recipe that was trained again stays in the race when later trials have found better scores.
        earlier = runs_of.keys() - {trial.number for trial in leading}
        entrants = [*leading, *(trial for trial in self._ranking if trial.number in earlier)] if earlier else leading
        trained = {trial.number: len(runs_of.get(trial.number, ())) + again[trial.number] for trial in entrants}
        most = len(leading) * self._plan.budget.confirm_seeds
        if sum(trained[trial.number] for trial in leading) >= most:
            return None
        sound = [trial for trial in entrants if all(map(confirm.has_score, runs_of.get(trial.number, ())))] or entrants
        entries = [confirm.entry(trial, runs_of.get(trial.number, ()), again[trial.number]) for trial in sound]
        scores = [*self._found.values(), *(entry.found for entry in entries)]
        chosen = race.next_training(
            self._belief(entries, scores),
            entries,
            seeds=self._plan.budget.confirm_seeds,
            small=self._judge.small(scores) / _PARTS,
        )
        if chosen is None or trained[chosen.number] >= most:
            return None
        return next(trial for trial in sound if trial.number == chosen.number)

    def _belief(self, entries: Sequence[Entry], scores: Sequence[float]) -> Belief:
        key = len(self._found), [(entry.number, entry.found, entry.fresh) for entry in entries]
        if self._known is None or self._known[0] != key:
            self._known = key, belief.believe(self._found, entries, self._judge.luck(scores))
        return self._known[1]

    def _has_time(self, trial: Trial, seconds: float) -> bool:
        """True if a training of the recipe ends within the budget. The first one of a search always may."""
        budget = self._plan.budget
        if budget.seconds is None or not any(not run.open for run in self._runs):
            return True
        return seconds + confirm.seconds_of(trial, budget.epochs) <= budget.seconds

    def seconds_needed(self) -> float:
        """Estimated seconds that the race still takes; after its end, what another good recipe would need."""
        budget = self._plan.budget
        leading = list(itertools.islice(self._ranking, budget.confirm_recipes))
        trainings = race.expected_trainings(len(leading), budget.confirm_seeds)
        if done := sum(not run.open for run in self._runs):
            decided = self._choose([trial for trial in leading if not trial.open], ()) is None
            trainings = max(0 if decided else trainings - done, min(race.LEAST, budget.confirm_seeds))
        slots = max(1, self._plan.resources.slots)
        return confirm.seconds_needed(leading, epochs=budget.epochs, trainings=trainings, slots=slots)

    def seconds_of_trial(self) -> float:
        """Estimated seconds of a whole training of one of the best recipes."""
        leading = itertools.islice(self._ranking, self._plan.budget.confirm_recipes)
        return confirm.seconds_needed(leading, epochs=self._plan.budget.epochs, trainings=1, slots=1)
