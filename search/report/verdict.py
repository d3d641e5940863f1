"""Sentences on how far the scores of a search can be trusted, made from its summary or from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from frostline.search.report.compared import Compared, caution, of_summary, sentence
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
    estimate: float
    """Expected score over all seeds."""
    within: float
    """Another seed scores within this distance of the estimate, with a probability of 95 %."""
    chance: float
    """Probability of being the best of the confirmed recipes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The facts that the sentences are made from."""

    better: Literal["higher", "lower"]
    """Direction of the deciding metric."""
    repeats: Sequence[Repeat]
    """The confirmed recipes, the one that is offered first."""
    tied: Sequence[int]
    """Trials whose recipes cannot be told apart from the best one, cheapest first; empty if there is no tie."""
    trials: int
    optimism: float | None
    """By how much the winner's validation score is better than its test score; None before the test set is read."""
    test_reads: int
    baseline: Compared | None = None
    """The winner beside the trained baseline; None if there is none."""

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any]) -> Evidence:
        """The facts in a `summary.json`."""
        return cls(
            better="lower" if summary.get("better") == "lower" else "higher",
            repeats=[
                Repeat(
                    scored=len(row["scores"]),
                    **{name: row[name] for name in ("number", "failed", "seconds", "estimate", "within", "chance")},
                )
                for row in summary["confirmed"]
            ],
            tied=summary["tied"],
            trials=sum(summary["counts"].values()),
            optimism=summary["optimism"] if summary["best"] else None,
            test_reads=summary["test_reads"],
            baseline=of_summary(summary),
        )


def verdict(evidence: Evidence) -> list[str]:
    """One sentence for each fact that a reader of the scores should know, but for that of `caution`."""
    sentences, repeats = [], evidence.repeats
    if (told := sentence(evidence.baseline)) and not caution(evidence.baseline):
        sentences.append(told)
    if repeats and evidence.tied:
        sentences.append(_tie(evidence))
    elif (again := sum(not repeat.failed and repeat.scored > 0 for repeat in repeats)) > 1 and repeats[0].scored:
        sentences.append(
            f"Trial {repeats[0].number} is the best of {again} recipes trained again, with a probability of "
            f"{_percent(repeats[0].chance)}."
        )
    if repeats and not repeats[0].scored:
        sentences.append(
            f"Trial {repeats[0].number} was not trained again with a fresh seed: its own score and those of similar "
            "recipes speak for it."
        )
    if repeats:
        sentences.append(
            f"Another seed of trial {repeats[0].number} scores within {repeats[0].within:.3f} of the "
            f"{repeats[0].estimate:.4f} that its recipe is expected to score, with a probability of 95 %."
        )
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


def _tie(evidence: Evidence) -> str:
    """Which recipes are tied, and which of them is offered."""
    seconds = {repeat.number: repeat.seconds for repeat in evidence.repeats}
    tied = ", ".join(f"trial {number} ({duration(seconds[number])})" for number in evidence.tied)
    sign, offered = (-1 if evidence.better == "lower" else 1), evidence.repeats[0].number
    best = max((r for r in evidence.repeats if r.number in evidence.tied), key=lambda repeat: sign * repeat.estimate)
    why = "it is expected to score best" if offered == best.number else "it trains fastest"
    other = "" if offered == best.number else f" (--prefer best takes trial {best.number})"
    return (
        f"Tied, cheapest training first: {tied}. Their scores differ by no more than chance, and by little if they do. "
        f"Trial {offered} is exported: {why}{other}."
    )


def _percent(probability: float) -> str:
    """`97 %`; never a certainty."""
    return "more than 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"
