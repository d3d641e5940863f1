"""The saved view of a search in W&B: its results on one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from frostline.search.tracking.sweep import EPOCH

_CURVES = 100
"""Learning curves in one panel; W&B's default is ten."""


def save(
    entity: str, project: str, name: str, group: str, metric: str, parameters: Mapping[str, bool], depth: str | None
) -> str:
    """Save the view of one search; returns its address.

    Args:
        entity: user or team.
        project: project of the search.
        name: name of the view.
        group: group of the search's runs.
        metric: name of the deciding metric.
        parameters: name -> True if the parameter belongs on a logarithmic axis.
        depth: name of the parameter for the frozen depth; None if it is not searched.

    Raises:
        Exception: any error of W&B's client if the server does not accept the view.
    """
    import wandb_workspaces.expr as expr
    import wandb_workspaces.workspaces as workspaces

    view = workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[workspaces.Section(name=group, is_open=True, panels=_panels(metric, parameters, depth))],
        runset_settings=workspaces.RunsetSettings(filters=[expr.Metric("Group").isin([group])]),
    )
    view.save()
    return str(view.url)


def _panels(metric: str, parameters: Mapping[str, bool], depth: str | None) -> list[Any]:
    """The panels of the view; the arguments are those of `save`."""
    import wandb_workspaces.reports.v2 as panels

    column, score = panels.ParallelCoordinatesPlotColumn, panels.SummaryMetric(metric)
    columns = [column(panels.Config(key), display_name=key, log=log) for key, log in parameters.items()]
    axes = [("seconds of training", panels.SummaryMetric("seconds"))]
    if depth is not None:
        axes.insert(0, ("frozen depth", panels.Config(depth)))
    return [
        panels.ParallelCoordinatesPlot(
            title="all trials",
            columns=[*columns, column(score, display_name=metric)],
            layout=panels.Layout(w=24, h=9),
        ),
        panels.ParameterImportancePlot(with_respect_to=metric, layout=panels.Layout(w=12, h=8)),
        panels.LinePlot(
            title="learning curves",
            x=EPOCH,
            y=[metric],
            title_x="epochs",
            title_y=metric,
            max_runs_to_show=_CURVES,
            layout=panels.Layout(w=12, h=8),
        ),
        *(
            panels.ScatterPlot(title=f"{metric} against {title}", x=x, y=score, layout=panels.Layout(w=12, h=8))
            for title, x in axes
        ),
    ]
