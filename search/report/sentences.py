"""All sentences of the report's findings, the most important first."""

from __future__ import annotations

from frostline.search.ledger import confirm
from frostline.search.report import findings, summary
from frostline.search.report.analysis import Analysis
from frostline.search.report.freezing import freezing
from frostline.search.report.verdict import Evidence, Repeat, verdict
from frostline.search.report.view import View
from frostline.search.words import short_models


def sentences(analysis: Analysis) -> list[str]:
    """The sentences that the records support."""
    view = analysis.view
    rows, confirmed, won, plan = view.rows, view.confirmed, view.won, view.plan
    winner = confirmed[0].estimate if confirmed else view.metric.value(won.objective) if won else None
    examples = plan.data.sizes["validation"]
    is_share = view.metric.is_share
    seconds = {
        recipe.number: [
            trial.seconds
            for trial in view.confirmations
            if trial.number == recipe.number and trial.seed in recipe.seeds
        ]
        for recipe in confirmed
    }
    candidates = [
        findings.against(analysis.references, winner, examples) if is_share and winner is not None else None,
        findings.explained(analysis.importance),
        freezing(confirmed, rows, seconds, examples) if is_share and rows else None,
        findings.of_models(rows, short_models(plan.search.models), examples) if is_share else None,
        *verdict(evidence_of(view)),
        findings.seeds_matter(confirmed, view.metric),
        findings.saved(rows, plan.budget.epochs),
        findings.longer(rows, plan.budget.epochs),
        *findings.at_the_edge(rows, plan.search.distributions),
        findings.progress(rows, won.number if won else None),
        findings.failures(rows),
        findings.unfit(rows),
        findings.idle(analysis.use),
    ]
    return [sentence for sentence in candidates if sentence]


def evidence_of(view: View) -> Evidence:
    """The facts for the verdict, from the records so far."""
    won, test = view.won, view.test
    return Evidence(
        better=view.metric.better,
        repeats=[
            Repeat(
                number=recipe.number,
                scored=len(recipe.scores),
                failed=recipe.failed,
                seconds=recipe.seconds,
                estimate=recipe.estimate,
                within=recipe.within,
                chance=recipe.chance,
            )
            for recipe in view.confirmed
        ],
        tied=[recipe.number for recipe in confirm.tied(view.confirmed)],
        trials=len(view.trials),
        optimism=summary.optimism(view.metric, view.metric.value(won.objective), test["metrics"])
        if won and test
        else None,
        test_reads=len(view.tests),
        baseline=view.compared,
    )
