"""``lightning-rec show``: the composed config and the parts it builds, without running."""

from omegaconf import OmegaConf
from rich.syntax import Syntax

from lightning_rec.commands.loading import loading
from lightning_rec.commands.usage import config_folders, usage, wanted
from lightning_rec.config import compose
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, text

EXAMPLES = """\
  lightning-rec show
  lightning-rec show data=beauty model=popularity
  lightning-rec show experiment=bert4rec_ml100k model.dim=128
"""


def run(arguments: list[str]) -> int:
    """Print config and parts. Raises UserError on a bad override or value."""
    if wanted(arguments):
        print(
            usage(
                "The composed config and the parts it builds, without running.", EXAMPLES, arguments
            )
        )
        return 0
    folders, overrides = config_folders(arguments)
    cfg = compose(overrides, folders)
    with loading():
        from lightning_rec.assembly import assemble

    problem = assemble(cfg)
    console = Screen()
    console.print(Syntax(OmegaConf.to_yaml(cfg, resolve=True), "yaml", background_color="default"))
    table = FittedTable("Parts", text("part", "built as"))
    for name, built in problem.parts().items():
        table.add_row(name, built)
    table.add_row("protocol hash", problem.protocol.hash()[:12])
    console.print(table)
    return 0
