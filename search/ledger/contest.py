"""Which recipe of a running search is trained again next, and how much time that needs. No Ray, no torch."""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Container, Iterable, Sequence

from frostline.search.ledger import confirm, race, seeds
from frostline.search.ledger.belief import Belief, Entry
from frostline.search.ledger.confirm import Judge
from frostline.search.ledger.knowledge import Knowledge
from frostline.search.plan.plan import Plan
from frostline.search.records.events import Job
from frostline.search.records.trials import Ranking, Trial

_PARTS = 10
"""A training is worth it if it is expected to gain at least this part of a difference that hardly matters."""
_LOOKED_AT = 60
"""Trials that may be the best by what is expected of them: those with the best scores."""
_KEPT = 1 / 3
"""Part of a time budget that the first trainings with fresh seeds may take, at most."""
_MARGIN = 1.1
"""Times of a recipe's trainings vary by about a tenth."""


class Contest:
    """The race between the best recipes of one search. What it decides follows from the records alone."""

    def __init__(
        self,
        plan: Plan,
        judge: Judge,
        knowledge: Knowledge,
        ranking: Ranking,
        runs: Iterable[Trial],
        started: Container[tuple[int, int]],
    ) -> None:
        """Nothing is decided yet.

        Args:
            plan: plan of the search.
            judge: how recipes are compared.
            knowledge: what all trainings say; it is kept up to date by its owner, as are the next three.
            ranking: trials of the search.
            runs: trainings with fresh seeds.
            started: keys of all trainings that were ever begun.
        """
        self._plan, self._judge, self._knowledge = plan, judge, knowledge
        self._ranking, self._runs, self._started = ranking, runs, started
        self._trials: dict[int, Trial] = {}
        self._found: dict[int, float] = {}
        self._seconds: list[float] = []
        """Of the trials that were trained to their end, in ascending order."""
        self._ordered: tuple[object, list[Trial]] | None = None
        """The trials by what is expected of them, and what that follows from."""
        self._believed: tuple[object, Belief] | None = None
        """The last belief, and what it follows from."""

    def learn(self, trial: Trial) -> None:
        """Take in a trial of the search that has one line more."""
        self._trials[trial.number] = trial
        if trial.number not in self._found and (found := confirm.completed([trial])):
            self._found |= found
            bisect.insort(self._seconds, trial.seconds)

    @property
    def _confirms(self) -> bool:
        return bool(self._plan.budget.confirm_recipes and self._plan.budget.confirm_seeds)

    def _leading(self) -> list[Trial]:
        """The trials that have ended and can win, best first by what is expected of their recipes.

        A recipe that failed with a fresh seed is not among them, unless there is no other.
        """
        known = self._knowledge.surrogate
        if self._ordered is None or self._ordered[0] is not known:
            ended = (trial for trial in self._ranking if not trial.open)
            best = list(itertools.islice(ended, _LOOKED_AT))
            # A recipe that was trained again stays in the race when later trials have found better scores.
            runs_of = confirm.by_number(self._runs)
            there = {trial.number for trial in best}
            best += [self._trials[number] for number in sorted(runs_of.keys() - there) if self._trials[number].best]
            sound = [trial for trial in best if all(map(confirm.has_score, runs_of.get(trial.number, ())))] or best
            if known is not None and sound:
                expected = self._knowledge.expected(sound)
                sound = [sound[place] for place in sorted(range(len(sound)), key=lambda place: -expected[place])]
            self._ordered = known, sound
        return self._ordered[1]

    def urgent(self, running: Sequence[Job], seconds: float) -> Job | None:
        """A training of the leading recipe that has to begin now to end within the time budget; None if there is none.

        Trials go on beside it and may find another leader, which then gets its trainings if the time allows.

        Args:
            running: all trainings that have a slot.
            seconds: seconds that the search has taken.
        """
        budget, slots = self._plan.budget, max(1, self._plan.resources.slots)
        if budget.seconds is None or not self._confirms or 2 * seconds < budget.seconds:
            return None
        leading = self._leading()
        if not leading:
            return None
        own = _MARGIN * confirm.seconds_of(leading[0], budget.epochs)
        trained = sum(not run.open and run.number == leading[0].number for run in self._runs)
        trained += sum(job.confirms and job.number == leading[0].number for job in running)
        missing = min(race.LEAST, budget.confirm_seeds) - trained
        # A slot gets free only when a training ends.
        wait = 2 * self.seconds_of_trial() / slots
        begins = budget.seconds - math.ceil(missing / slots) * own - wait
        affordable = missing * own <= _KEPT * budget.seconds * slots
        if missing <= 0 or not affordable or not begins <= seconds <= budget.seconds - own / _MARGIN:
            return None
        return self._job(leading[0])

    def worth(self, running: Sequence[Job], seconds: float) -> float:
        """What one more training of a good recipe is expected to gain, in units of the objective.

        It is 0 if that hardly matters, if no such training would end in time, and in a search without a time budget,
        where trials come first.

        Args:
            running: all trainings that have a slot.
            seconds: seconds that the search has taken.
        """
        if self._plan.budget.seconds is None or not self._confirms:
            return 0.0
        entrants, entries = self._entrants(running, seconds)
        if len(entrants) < 2:
            return 0.0
        gain = float(race.gains(self._belief(entrants), entries).max())
        return gain if gain >= self._small(entrants) else 0.0

    def next(self, running: Sequence[Job], seconds: float, begun: int) -> Job | None:
        """The next training with a fresh seed where no trial is to begin; None if there is none now.

        Args:
            running: all trainings that have a slot.
            seconds: seconds that the search has taken.
            begun: trainings with fresh seeds that have begun since the last trial did.
        """
        searching, budget = sum(not job.confirms for job in running), self._plan.budget
        # Each trial that runs becomes the leader with the same probability as one that has ended.
        if not self._confirms or 2 * searching > len(self._found):
            return None
        entrants, entries = self._entrants(running, seconds)
        if not entrants or begun >= budget.confirm_recipes * budget.confirm_seeds:
            return None
        chosen = race.next_training(
            self._belief(entrants), entries, seeds=budget.confirm_seeds, small=self._small(entrants)
        )
        return None if chosen is None else self._job(entrants[entries.index(chosen)])

    def _entrants(self, running: Sequence[Job], seconds: float) -> tuple[list[Trial], list[Entry]]:
        """The best trials whose recipes may be trained again now; none before a trial has come to its end."""
        most = self._plan.budget.confirm_recipes if self._knowledge.surrogate else 0
        entrants = list(itertools.islice((t for t in self._leading() if self._has_time(t, seconds)), most))
        ended = Counter(run.number for run in self._runs if not run.open)
        again = Counter(job.number for job in running if job.confirms)
        return entrants, [
            Entry(number=trial.number, fresh=ended[trial.number], running=again[trial.number]) for trial in entrants
        ]

    def _small(self, entrants: Sequence[Trial]) -> float:
        """A gain that is not worth a training, in units of the objective."""
        return self._judge.small([*self._found.values(), *(trial.objective for trial in entrants)]) / _PARTS

    def _job(self, trial: Trial) -> Job:
        fresh = (seeds.fresh(self._plan.search.seed, index) for index in itertools.count())
        seed = next(seed for seed in fresh if (trial.number, seed) not in self._started)
        return Job(number=trial.number, seed=seed, params=trial.params, label=trial.label, confirms=True)

    def _belief(self, entrants: Sequence[Trial]) -> Belief:
        key = self._knowledge.surrogate, [trial.number for trial in entrants]
        if self._believed is None or self._believed[0] != key:
            self._believed = key, self._knowledge.belief(entrants)
        return self._believed[1]

    def _has_time(self, trial: Trial, seconds: float) -> bool:
        """True if a training of the recipe ends within the budget."""
        budget = self._plan.budget
        return budget.seconds is None or seconds + confirm.seconds_of(trial, budget.epochs) <= budget.seconds

    def seconds_of_trial(self) -> float:
        """Seconds that a whole training may take; 0 before one has ended.

        It is the median, or that of the leading recipe if it is longer: new recipes are often like it.
        """
        if not self._seconds:
            return 0.0
        leading = (confirm.seconds_of(trial, self._plan.budget.epochs) for trial in self._leading()[:1])
        return max(self._seconds[len(self._seconds) // 2], *leading)
