"""Run directories made by hand, line for line as the ledger and the log write them, for tests that only read."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from frostline.search.cluster import capacity
from frostline.search.ledger import confirm
from frostline.search.plan import parameters
from frostline.search.plan import prefix as prefix_plan
from frostline.search.plan.models import ModelPlan
from frostline.search.plan.plan import Place, Plan, Resources, Schedule, Search, Slices
from frostline.search.plan.wandb_mode import WandbMode
from frostline.search.records import folder as run_folder
from frostline.search.records import trials as trial_records
from frostline.search.records.trials import COMPLETE, FAIL, PRUNED, RUNNING, Line
from frostline.spaces import Budget, Data, Recipe
from tests.search.altered import altered

BEGAN = 1_795_000_000.0
"""When the searches here began, seconds since 1970."""
_POINTS = (0.5, 1.0, 2.0, 3.0)
_START = 9.0
"""Seconds until the first trial has its slot."""


def plan_of(run: Path, models: Sequence[str] = ("package:tiny_bert",), **changes: Any) -> Plan:
    """The plan of a search over learning rate, batch size, depth and weight decay, and over models if there are more
    than one."""
    several = len(models) > 1
    budget = Budget(trials=12, epochs=3, first_rung=0.5, confirm_recipes=2, confirm_seeds=3)
    data = Data(source="reviews.csv", train=800, validation=400, test=500)
    spaces: dict[str, BaseDistribution] = {
        **({"model": CategoricalDistribution(tuple(models))} if several else {}),
        "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
        "batch_size": CategoricalDistribution((8, 16, 32)),
        **({"frozen_fraction": FloatDistribution(0, 1)} if several else {"frozen_layers": IntDistribution(0, 7)}),
        "weight_decay": FloatDistribution(1e-4, 1e-1, log=True),
    }
    nothing = prefix_plan.Decision(kept=(), first_only=(), bytes=0, spent=0.0, saved=0.0)
    planned = {
        name: ModelPlan(
            blocks=7,
            parameters=22_700_000 * (at + 1),
            weights=f"{at:064x}",
            inputs="at most 128 tokens",
            cache_dtype="float32",
            prefix=nothing,
        )
        for at, name in enumerate(models)
    }
    plan = Plan(
        search=Search(
            space="bert_imdb",
            profile="small",
            profile_reason="as asked",
            metric="accuracy",
            seed=0,
            base=Recipe(
                family="text_classification",
                model=models[0],
                data=data,
                budget=budget,
                learning_rate=2e-5,
                batch_size=16,
                frozen_layers=0,
                weight_decay=0.01,
            ),
            distributions=spaces,
            recipes={},
            models=planned,
        ),
        data=Slices(
            sizes={"train": 800, "validation": 400, "test": 500},
            classes=("negative", "positive"),
            duplicates=0,
            remarks=(),
            fingerprint="f" * 64,
        ),
        schedule=Schedule(rungs=(0.5, 1.0, 2.0), report_at=_POINTS, validate_on=(200, 400, 400, 400)),
        resources=Resources(
            need=capacity.Need(cpus=1.0, gpus=0.0, memory=1.7e9),
            slots=2,
            most=2,
            slots_reason="min(2 CPU / 1) = 2",
            cache_limit=0,
            disk=1_000_000,
            retries=2,
            checkpoint_every=30.0,
        ),
        place=Place(run=run),
        wandb=WandbMode(mode="off", reason="no key is configured"),
    )
    return altered(plan, **changes)


def params_of(plan: Plan, dice: random.Random) -> dict[str, Any]:
    """A random point of the space."""
    found: dict[str, Any] = {}
    for name, space in plan.search.distributions.items():
        if isinstance(space, CategoricalDistribution):
            found[name] = dice.choice(space.choices)
        elif isinstance(space, IntDistribution):
            found[name] = dice.randint(space.low, space.high)
        elif isinstance(space, FloatDistribution) and space.log:
            found[name] = math.exp(dice.uniform(math.log(space.low), math.log(space.high)))
        else:
            assert isinstance(space, FloatDistribution)
            found[name] = dice.uniform(space.low, space.high)
    return parameters.complete(found, {name: model.blocks for name, model in plan.search.models.items()})


def write(
    run: Path,
    count: int = 12,
    *,
    plan: Plan | None = None,
    end: str = "finished",
    label: str = "default",
    fails: bool = True,
    seed: int = 0,
) -> Plan:
    """A search of `count` trials, whose score depends on the learning rate most and on depth a little.

    Args:
        run: the run directory to make.
        count: trials.
        plan: of the search.
        end: `finished`, with confirmation, test and summary; `interrupted`; or `running` in this very process.
        label: of the first trial.
        fails: whether every 7th trial fails and every 23rd does not fit.
        seed: of all numbers.
    """
    plan, dice = plan or plan_of(run), random.Random(seed)
    budget = dataclasses.replace(plan.budget, trials=max(1, count))
    plan = altered(plan, base=dataclasses.replace(plan.search.base, budget=budget))
    run.mkdir(parents=True)
    (run / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    log: list[dict[str, Any]] = [
        {"event": "session", "time": BEGAN, "pid": os.getpid(), "host": socket.gethostname(), "command": "frostline"}
    ]
    lines: list[Line] = []
    free = [BEGAN + _START, BEGAN + _START + 0.2]
    seen: dict[float, list[float]] = {}
    for number in range(count):
        params = params_of(plan, dice)
        open_one = number == count - 1 and end != "finished"
        slot = free.index(min(free))
        log.append(_start(free[slot], number, 0, params, label if number == 0 else "", confirms=False))
        done, free[slot] = _training(
            params, number, 0, label if number == 0 else "", slot, free[slot], dice,
            seen=seen, fails=fails, end=end if open_one else "",
        )  # fmt: skip
        lines += done
    again: list[Line] = []
    trials = trial_records.collect(lines)
    if end == "finished":
        for trial in trial_records.top(trials, plan.search.metric, 2):
            for fresh in confirm.fresh_seeds(0, 3):
                slot = free.index(min(free))
                log.append(_start(free[slot], trial.number, fresh, trial.params, trial.label, confirms=True))
                done, free[slot] = _training(trial.params, trial.number, fresh, trial.label, slot, free[slot], dice)
                again += done
        confirmed = confirm.confirmed(trials, trial_records.collect(again), plan.search.metric)
        won = confirm.winner(trials, trial_records.collect(again), confirmed, plan.search.metric)
        if won is not None:
            score = round(won.score(plan.search.metric) - 0.02, 4)
            log.append(
                {
                    "event": "test",
                    "time": max(free) + 3,
                    "number": won.number,
                    "seed": won.seed,
                    "folder": run_folder.folder(won.number, won.seed),
                    "metrics": {"accuracy": score, "loss": 1 - score},
                    "interval": [score - 0.03, score + 0.03],
                }
            )
    for name, written in (("trials.jsonl", lines), ("confirm.jsonl", again)):
        text = "".join(json.dumps(dataclasses.asdict(line)) + "\n" for line in sorted(written, key=lambda ln: ln.time))
        (run / name).write_text(text, encoding="utf-8")
    (run / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in log), encoding="utf-8")
    if end != "running":
        majority = {"name": "majority class", "validation": 0.5, "test": 0.51}
        said = {"interrupted": end == "interrupted", "failure": "", "references": [majority]}
        (run / "summary.json").write_text(json.dumps(said), encoding="utf-8")
    return plan


def _start(at: float, number: int, seed: int, params: dict[str, Any], label: str, confirms: bool) -> dict[str, Any]:
    fields = {"number": number, "seed": seed, "params": params, "label": label, "confirms": confirms}
    return {"event": "start", "time": at, **fields}


def _training(
    params: dict[str, Any],
    number: int,
    seed: int,
    label: str,
    slot: int,
    began: float,
    dice: random.Random,
    seen: dict[float, list[float]] | None = None,
    fails: bool = False,
    end: str = "",
) -> tuple[list[Line], float]:
    """Its lines, and when its slot was free again; stopped where it is in the lower half of those seen at a rung."""
    depth = params["frozen_layers"]
    a_epoch = 6.0 - 0.6 * depth + dice.random()
    good = 0.93 - 0.08 * (math.log10(params["learning_rate"]) + 3.5) ** 2 - 0.012 * depth
    fields: dict[str, Any] = {"number": number, "params": params, "label": label, "seed": seed, "pid": 100 + slot}
    lines: list[Line] = []

    def line(state: str, epoch: float, metrics: dict[str, float], reason: str = "") -> Line:
        took = a_epoch * epoch + 0.4
        return Line(
            **fields, state=state, epoch=epoch, samples=int(800 * epoch), step=int(50 * epoch), metrics=metrics,
            seconds=took, time=began + took, reason=reason, device="cpu", partial=state == RUNNING and epoch < 1,
        )  # fmt: skip

    if fails and number % 23 == 22:
        return [line(FAIL, 0.0, {}, "infeasible: a micro-batch of 1 does not fit")], began + 1
    state, reason = COMPLETE, ""
    for epoch in _POINTS:
        if fails and number % 7 == 6 and epoch > 0.5:
            state, reason = FAIL, "loss is not finite"
            break
        score = round(min(0.99, max(0.5, good - 0.25 / (1 + 3 * epoch) + dice.gauss(0, 0.012))), 4)
        lines.append(line(RUNNING, epoch, {"accuracy": score, "loss": 1.2 - score}))
        at = (seen if seen is not None else {}).setdefault(epoch, [])
        at.append(score)
        if end and epoch == 1.0:
            break
        if (
            seen is not None
            and epoch < 3
            and not (fails and number % 7 == 6)
            and len(at) > 3
            and score < sorted(at)[len(at) // 2]
        ):
            state = PRUNED
            break
    last = lines[-1]
    if end == "running":
        return lines, last.time
    if end == "interrupted":
        state, reason = PRUNED, trial_records.INTERRUPTED
    lines.append(line(state, last.epoch, last.metrics, reason))
    return lines, lines[-1].time + 0.1
