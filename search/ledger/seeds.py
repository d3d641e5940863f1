"""The seeds of trainings: another one for each trial, and fresh ones for the trainings that confirm a recipe.

A seed decides the new head, the dropout and the order of the examples, and with them up to some points of a score. If
all trials had one seed, a search would find the recipes that this seed happens to suit.
"""

from __future__ import annotations

from frostline.spaces import SEEDS

_FRESH = 1_000_000
"""Distance of the first fresh seed from that of the search: a search has fewer trials (`--trials` says so)."""


def of_trial(seed: int, number: int) -> int:
    """The seed of a trial.

    Args:
        seed: seed of the search.
        number: number of the trial, from 0.
    """
    return (seed + number) % SEEDS


def fresh(seed: int, index: int) -> int:
    """The seed of the training that is number `index`, from 0, of those that confirm a recipe.

    No trial of the search has it. All recipes share these seeds.
    """
    return (seed + _FRESH + index) % SEEDS
