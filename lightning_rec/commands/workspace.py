"""``lightning-rec workspace``: a view of a W&B project that shows sweeps as they are told."""

from lightning_rec.commands.hydra_main import parsed, take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError, import_extra

HELP = """\
Make a workspace at W&B: tables, verdicts and plots of sweeps, curves and bars
by setting, costs. Runs are grouped by sweep, and in it by setting.

usage: lightning-rec workspace entity=NAME [project=lightning_rec]
                               [figures=[FIGURE,...]]

It needs the extra 'workspaces' and an API key of W&B ('wandb login'). Each call
makes a further view of the project; what is there stays as it is. figures= are
val/ndcg@10 and test/ndcg@10 if nothing is said.

Examples:
  lightning-rec workspace entity=me
  lightning-rec workspace entity=my_team project=music
  lightning-rec workspace entity=me 'figures=[val/auc,test/auc,test/logloss]'
"""
FIGURES = "[val/ndcg@10,test/ndcg@10]"


def run(arguments: list[str]) -> int:
    """Make and send it. Raises UserError without a key, or where W&B refuses."""
    said, others = take_keys(arguments, "entity", "project", "figures")
    if others or "entity" not in said:
        raise UserError("Say whose: lightning-rec workspace entity=NAME project=lightning_rec")
    import_extra("wandb_workspaces", "workspace", "workspaces")
    with loading():
        from wandb.errors import Error

        from lightning_rec.reports.workspace import workspace
        from lightning_rec.runs.loggers import wandb_mode

    figures = parsed([f"figures={said.get('figures', FIGURES)}"])[0].value()
    names = list(map(str, figures)) if isinstance(figures, list) else [str(figures)]
    made = workspace(said["entity"], said.get("project", "lightning_rec"), names)
    if wandb_mode() != "online":
        raise UserError("W&B takes no workspace offline: log in first, wandb login.")
    try:
        made.save()
    except (Error, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"W&B has not taken the workspace: {reason}") from error
    print(made.url)
    return 0
