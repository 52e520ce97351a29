"""A workspace of W&B for sweeps: their tables and plots, curves and bars by setting, costs."""

from collections.abc import Sequence
from typing import Any

from lightning_rec.errors import import_extra
from lightning_rec.figures import parse
from lightning_rec.runs.summaries import FOLDER

NAME = "sweeps"
PLOTS = ("curves", "cost", "differences")
TABLES = ("settings", "verdicts")


def workspace(entity: str, project: str, figures: Sequence[str]) -> Any:
    """The workspace, which ``.save()`` sends.

    Args:
        entity: a user or a team of W&B.
        project: of its.
        figures: that runs are compared by; those of validation get curves, those of the test bars.

    Runs are grouped by sweep, and in it by setting, so that a line is a mean over seeds and the
    band around it one standard deviation. Raises UserError without the extra ``workspaces``.
    """
    spaces = import_extra("wandb_workspaces.workspaces", "workspace", "workspaces")
    panels = import_extra("wandb_workspaces.reports.v2", "workspace", "workspaces")
    setting = panels.Config("tracking.setting")
    over_seeds = {"groupby": setting, "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}

    def curve(name: str, **more: Any) -> Any:
        return panels.LinePlot(title=name, x="epoch", y=[name], **more)

    tables = [panels.WeavePanelSummaryTable(table_name=f"{FOLDER}/{name}") for name in TABLES]
    pictures = panels.MediaBrowser(media_keys=[f"{FOLDER}/{name}" for name in PLOTS])
    tested = [name for name in figures if parse(name).stage == "test"]
    compared = [curve(name, **over_seeds) for name in figures if name not in tested]
    compared += [panels.BarPlot(title=name, metrics=[name], **over_seeds) for name in tested]
    costs = [panels.BarPlot(title=name, metrics=[name]) for name in ("cost/fit_seconds",)]
    costs.append(curve("cost/epoch_seconds"))
    return spaces.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[
            spaces.Section(name="sweeps", panels=[*tables, pictures], is_open=True),
            spaces.Section(name="compared", panels=compared, is_open=True),
            spaces.Section(name="training", panels=[curve("train/loss"), curve("train/lr")]),
            spaces.Section(name="cost", panels=costs),
        ],
        runset_settings=spaces.RunsetSettings(
            groupby=[spaces.Metric("Group"), spaces.Config("tracking.setting")],
            pinned_columns=[*(f"summary:{name}" for name in figures), "config:seed"],
        ),
    )
