"""Sentences on how far the scores of a search can be trusted, made from its summary or from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from frostline.search.words import duration


@dataclass(frozen=True, kw_only=True, slots=True)
class Repeat:
    """A recipe that was trained again with fresh seeds."""

    number: int
    """Number of the trial that found the recipe."""
    scored: int
    """Trainings with a score."""
    failed: int
    """Trainings without a score."""
    seconds: float
    """Mean training time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The facts that the sentences are made from."""

    better: Literal["higher", "lower"]
    """Direction of the deciding metric."""
    repeats: Sequence[Repeat]
    """The confirmed recipes, best first."""
    tied: Sequence[int]
    """Trials whose recipes cannot be told apart from the best one, cheapest first; empty if there is no tie."""
    trials: int
    optimism: float | None
    """By how much the winner's validation score is better than its test score; None before the test set is read."""
    test_reads: int

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any]) -> Evidence:
        """The facts in a `summary.json`."""
        return cls(
            better="lower" if summary.get("better") == "lower" else "higher",
            repeats=[
                Repeat(number=row["number"], scored=len(row["scores"]), failed=row["failed"], seconds=row["seconds"])
                for row in summary["confirmed"]
            ],
            tied=summary["tied"],
            trials=sum(summary["counts"].values()),
            optimism=summary["optimism"] if summary["best"] else None,
            test_reads=summary["test_reads"],
        )


def verdict(evidence: Evidence) -> list[str]:
    """One sentence for each fact that a reader of the scores should know."""
    sentences, repeats = [], evidence.repeats
    seconds = {repeat.number: repeat.seconds for repeat in repeats}
    if repeats and evidence.tied:
        tied = ", ".join(f"trial {number} ({duration(seconds[number])})" for number in evidence.tied)
        sentences.append(
            f"Tied, cheapest training first: {tied}. Their scores with fresh seeds differ by no more than chance."
        )
    elif sum(not repeat.failed for repeat in repeats) > 1:
        sentences.append(f"Trial {repeats[0].number} is better than the other confirmed recipes (Welch's test, 5 %).")
    sentences += [
        f"Trial {repeat.number} failed with {repeat.failed} of its fresh seeds." for repeat in repeats if repeat.failed
    ]
    if evidence.optimism is not None:
        difference = "Test minus validation" if evidence.better == "lower" else "Validation minus test"
        trainings = evidence.trials + sum(repeat.scored + repeat.failed for repeat in repeats)
        sentences.append(
            f"{difference}: {evidence.optimism:+.4f}. Two things cause it: chance, and optimism, since validation "
            f"chose the best of {trainings} trainings."
        )
    if evidence.test_reads > 1:
        sentences.append(
            f"The test set was read {evidence.test_reads} times: the search went on after its first winner."
        )
    return sentences
