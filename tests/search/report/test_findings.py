"""Each sentence appears if the records support it, and is left out if they do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from frostline.search.ledger.confirm import Confirmed
from frostline.search.records.trials import Outcome
from frostline.search.report import findings
from frostline.search.report.freezing import freezing
from frostline.search.report.importance import Importance
from frostline.search.report.references import Reference
from frostline.search.report.timeline import SlotUse
from frostline.search.report.view import DONE, FAILING, STOPPED, UNFIT, Row
from frostline.spaces import Metric
from tests.search import made


def row(number: int, *scores: float, kind: str = DONE, frozen: int = 0, seconds: float = 60.0, **more: Any) -> Row:
    """A row whose trial reports a score an epoch."""
    outcomes = {DONE: Outcome.COMPLETE, STOPPED: Outcome.PRUNED, FAILING: Outcome.FAILED, UNFIT: Outcome.INFEASIBLE}
    params = {**made.PARAMS, "frozen_layers": frozen, **more.pop("params", {})}
    trial = made.trial(number, outcomes[kind], *scores, params=params, reason=more.pop("reason", ""))
    best = trial.best
    fields: dict[str, Any] = {
        "trial": dataclasses.replace(trial, seconds=seconds),
        "kind": kind,
        "state": kind,
        "reason": trial.reason,
        "best": best,
        "score": best.metrics["accuracy"] if best else None,
        "objective": trial.objective,
        "seen": best.metrics["accuracy"] if best else None,
        "epoch": float(len(scores)),
        "model": "m",
        "frozen": frozen,
        "blocks": 7,
        "parameters": 1000,
    }
    return Row(**{**fields, **more})


def confirmed(number: int, *scores: float, seconds: float = 10.0, failed: int = 0) -> Confirmed:
    return Confirmed(
        number=number, params={}, label="", found=max(scores), seeds=tuple(range(1, len(scores) + 1)), scores=scores,
        failed=failed, mean=sum(scores) / len(scores), estimate=sum(scores) / len(scores),
        interval=(0.7, 0.9), within=0.1, chance=0.5, tied=False, seconds=seconds,
    )  # fmt: skip


def test_a_parameter_matters_only_above_the_level_of_chance() -> None:
    shares = {"learning_rate": 0.7, "frozen_layers": 0.2, "weight_decay": 0.1}
    importance = Importance(shares=shares, chance=0.15, best=10, trials=100)
    assert findings.explained(importance) == (
        "learning_rate explains most of the difference between the best 10 of 100 trials and the others (70 % of the "
        "importance by PED-ANOVA). frozen_layers matters too."
    )
    two = findings.explained(dataclasses.replace(importance, shares={"a": 0.4, "b": 0.3, "c": 0.3}))
    assert two == (
        "a matters most for the difference between the best 10 of 100 trials and the others (40 % of the importance by "
        "PED-ANOVA). b and c matter too."
    )
    assert findings.explained(dataclasses.replace(importance, chance=0.8)) is None
    assert findings.explained(None) is None


def test_a_gain_counts_only_if_the_validation_slice_is_large_enough_to_show_it() -> None:
    rows = [
        Reference(name="majority class", validation=0.5),
        Reference(name="default", validation=0.56, params={"x": 1}),
        Reference(name="linear probe", validation=0.79, params={"x": 1}),
        Reference(name="other", validation=None, params={"x": 1}),
    ]
    assert findings.against(rows, 0.8, 400) == (
        "On 400 validation examples the winner scores 24.0 points above the default (0.5600). Its difference from the "
        "linear probe (0.7900; +1.0 point) may be chance."
    )
    assert findings.against(rows[2:], 0.8, 400) == (
        "On 400 validation examples the winner's difference from the linear probe (0.7900; +1.0 point) may be chance."
    )
    assert findings.against(rows[1:2], 0.3, 1) == (
        "On 1 validation example the winner's difference from the default (0.5600; −26.0 points) may be chance."
    )
    assert findings.against(rows[1:2], 0.3, 400) == (
        "On 400 validation examples the winner scores 26.0 points below the default (0.5600)."
    )
    assert findings.against(rows[:1], 0.8, 400) is None
    assert findings.noise(0.8, 0.8, 400) == pytest.approx(1.96 * (2 * 0.16 / 400) ** 0.5)


SHALLOW, DEEP = row(1, 0.8, 0.85), row(2, 0.7, 0.82, frozen=4)
CONFIRMED = [confirmed(1, 0.85, 0.852, 0.851), confirmed(2, 0.80, 0.802, 0.801, seconds=5.0)]
SECONDS = {1: [10.0, 10.1, 9.9], 2: [5.0, 5.1, 4.9]}


def test_fresh_seeds_show_the_cost_and_savings_of_freezing() -> None:
    assert freezing(CONFIRMED, [SHALLOW, DEEP], SECONDS, 400) == (
        "Freezing 4 of 7 blocks costs 5.0 points and saves 50 % of the time (trial 2 against trial 1; means of 3 "
        "fresh seeds)."
    )
    vague = [CONFIRMED[0], confirmed(2, 0.75, 0.95, 0.8)]
    sentence = str(freezing(vague, [SHALLOW, DEEP], {**SECONDS, 2: [2.0, 20.0, 9.0]}, 400))
    assert "changes the score by no more than chance (−1.8 points)" in sentence
    assert "takes about as long" in sentence


def test_without_fresh_seeds_the_size_of_the_slice_decides_if_single_trainings_differ() -> None:
    rows = [SHALLOW, row(2, 0.7, 0.5, frozen=4, seconds=30.0, params={"learning_rate": 1.0})]
    assert freezing([], rows, {}, 400) == (
        "Freezing 4 of 7 blocks costs 15.0 points and saves 50 % of the time (trial 2 against trial 1; one training "
        "each, 400 validation examples; their other parameters differ too)."
    )
    assert "by no more than chance" in str(freezing([], rows, {}, 20))
    assert freezing([], [SHALLOW, row(2, 0.8, frozen=1)], {}, 400) is None, "one block more is too similar a depth"
    assert freezing([], [SHALLOW, row(2, 0.8, frozen=4, kind=STOPPED)], {}, 400) is None


def test_the_epochs_that_early_stopping_saved() -> None:
    rows = [row(0, 0.5, 0.6, 0.7), row(1, 0.5, kind=STOPPED), row(2, 0.5, kind=STOPPED), row(3, kind=FAILING)]
    assert findings.saved(rows, 3) == (
        "2 of 3 trials were stopped early. The search trained 5.0 epochs instead of 9: 44 % less."
    )
    assert findings.saved(rows[:1], 3) is None
    out_of_time = dataclasses.replace(rows[1], trial=dataclasses.replace(rows[1].trial, outcome=Outcome.OUT_OF_TIME))
    assert findings.saved([rows[0], out_of_time], 3) is None, "the time budget stopped it, not ASHA"
    assert str(findings.saved([*rows, out_of_time], 3)).startswith("2 of 3 trials were stopped early.")


def test_how_much_the_seed_changes_a_score() -> None:
    rows = [confirmed(1, 0.80, 0.82, 0.84), confirmed(2, 0.70, 0.72, 0.74)]
    sentence = str(findings.seeds_matter(rows, made.METRIC))
    start = (
        "The seed alone changes a score by 2.0 points (standard deviation over 6 trainings of 2 recipes), so smaller"
    )
    assert sentence.startswith(start)
    loss = findings.seeds_matter(rows, Metric(name="loss", better="lower", unit="nats"))
    assert str(loss).startswith("The seed alone changes a score by 0.0200 nats (standard"), "only a share has points"
    few = [confirmed(1, 0.8, 0.82), confirmed(2, 0.7, 0.72)]
    assert findings.seeds_matter(few, made.METRIC) is None, "two degrees of freedom"
    assert findings.seeds_matter([confirmed(1, 0.8, 0.8, 0.8, 0.8)], made.METRIC) is None, "equal scores"


def test_advice_on_the_number_of_epochs() -> None:
    rising, falling = [row(n, 0.5, 0.6) for n in range(5)], [row(n, 0.6, 0.5) for n in range(5)]
    assert findings.longer(rising, 2) == (
        "5 of 5 trials that trained to the end had their best score there: more than 2 epochs may help."
    )
    assert findings.longer(falling, 2) == (
        "5 of 5 trials that trained to the end had their best score earlier: fewer epochs are enough."
    )
    assert findings.longer([*rising[:3], *falling[:3]], 2) is None
    assert findings.longer(rising[:4], 2) is None


def test_the_best_values_crowd_at_an_end_of_their_range() -> None:
    spaces = {
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": CategoricalDistribution((8, 16)),
        "weight_decay": FloatDistribution(0.0, 0.1),
    }
    rates = [9e-3] * 3 + [1e-4] * 5
    rows = [row(n, 0.9 - n / 100, params={"learning_rate": x, "weight_decay": 0.0}) for n, x in enumerate(rates)]
    assert findings.at_the_edge(rows, spaces) == [
        "The best 3 trials have learning_rate close to the upper end of its range (0.01): better values may lie beyond."
    ]
    assert findings.at_the_edge(rows[:5], spaces) == [], "too few for a best part"
    inside = [row(n, 0.9 - n / 100, params={"learning_rate": 1e-3}) for n in range(8)]
    assert findings.at_the_edge(inside, spaces) == []


def test_models_are_compared_by_their_best_trials() -> None:
    names = {"m": "small", "n": "large"}
    rows = [row(n, 0.8 + n / 100) for n in range(3)] + [row(n, 0.6, model="n") for n in range(3, 6)]
    assert findings.of_models(rows, names, 400) == (
        "Best trial of each model: small 0.8200 (3 trials) and large 0.6000 (3 trials)."
    )
    assert "differ by no more than chance" in str(findings.of_models(rows, names, 10))
    few = findings.of_models(rows[:3], names, 400)
    assert few == (
        "Only small was trained to the end (0.8200, 3 trials); large (0 trials) was not. Fewer than three trials of a "
        "model are too few to judge it."
    )
    never = [*rows, *(row(n, kind=STOPPED, model="o") for n in range(6, 9))]
    assert findings.of_models(never, {**names, "o": "other"}, 400) == (
        "Best trial of each model: small 0.8200 (3 trials) and large 0.6000 (3 trials). Never trained to the end: "
        "other (3 trials)."
    )
    assert findings.of_models(rows, {"m": "small"}, 400) is None
    assert findings.of_models([], names, 400) is None


def test_whether_the_winning_recipe_came_early_or_late() -> None:
    rows = [row(n, 0.5) for n in range(12)]
    assert findings.progress(rows, 2) == "The winning recipe was trial 2; the 9 trials after it found nothing better."
    assert findings.progress(rows, 11) == (
        "The winning recipe came late, in trial 11 (no trial came after it): more trials may find a better one."
    )
    assert "(only 1 trial came after it)" in str(findings.progress(rows, 10))
    assert findings.progress(rows, 8) is None
    assert findings.progress(rows[:5], 0) is None
    assert findings.progress(rows, None) is None


def test_failures_are_counted_by_reason() -> None:
    rows = [row(n, kind=FAILING, reason="loss is not finite") for n in range(2)] + [row(2, kind=FAILING, reason="x")]
    assert findings.failures([*rows, row(3, 0.5)]) == "3 trials failed: loss is not finite (2); x (1)."
    assert findings.failures([row(3, 0.5)]) is None


def test_a_trial_that_did_not_fit_is_neither_stopped_nor_failed() -> None:
    rows = [row(0, 0.5, 0.6, 0.7), row(1, kind=UNFIT, reason="out of memory"), row(2, kind=UNFIT)]
    assert findings.unfit(rows) == "2 trials did not fit the device's memory, even with one example at a time."
    assert findings.saved(rows, 3) is None, "early stopping saved nothing"
    assert findings.failures(rows) is None
    assert findings.unfit(rows[:1]) is None


def test_idle_slots_are_mentioned_if_they_were_idle_for_long() -> None:
    sentence = findings.idle(SlotUse(slots=2, busy=60, idle=60, around=5))
    assert sentence == (
        "The 2 slots were idle for 50 % of the time between the first and the last training (1 min in all)."
    )
    assert str(findings.idle(SlotUse(slots=1, busy=60, idle=60, around=5))).startswith("The slot was idle for 50 %")
    assert findings.idle(SlotUse(slots=2, busy=95, idle=5, around=5)) is None
    assert findings.idle(None) is None
