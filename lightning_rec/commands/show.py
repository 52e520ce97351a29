"""``lightning-rec show``: the composed config and the parts it builds, without running."""

from omegaconf import OmegaConf
from rich.syntax import Syntax

from lightning_rec.commands.loading import loading
from lightning_rec.commands.usage import config_folders
from lightning_rec.config import compose
from lightning_rec.errors import NotSet
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, text

HELP = """\
The composed config and the parts it builds, without running.

{groups}

Examples:
  lightning-rec show
  lightning-rec show data=beauty model=popularity
  lightning-rec show experiment=bert4rec_ml100k model.dim=128
"""


def run(arguments: list[str]) -> int:
    """Print config and parts. Raises UserError on a bad override or value."""
    folders, overrides = config_folders(arguments)
    cfg = compose(overrides, folders)
    with loading():
        from lightning_rec.build import problem_of

    console = Screen()
    shown = Syntax(OmegaConf.to_yaml(cfg, resolve=True), "yaml", background_color="default")
    try:
        problem = problem_of(cfg)
    except NotSet as error:  # the keys are what may be wanted
        console.print(shown)
        console.print(f"Nothing is built of it: {error}", soft_wrap=True)
        return 0
    console.print(shown)
    table = FittedTable("Parts", text("part", "built as"))
    for name, built in problem.described().items():
        table.add_row(name, built)
    table.add_row("protocol hash", problem.protocol.hash()[:12])
    console.print(table)
    return 0
