"""``lightning-rec show``: the composed config and the parts it builds, without running."""

from omegaconf import OmegaConf
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from lightning_rec.commands.usage import config_folders, usage, wanted
from lightning_rec.config import compose

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
    from lightning_rec.assembly import assemble  # torch and Lightning load here

    parts = assemble(cfg)
    console = Console()
    console.print(Syntax(OmegaConf.to_yaml(cfg, resolve=True), "yaml", background_color="default"))
    table = Table(title="Parts", title_justify="left")
    table.add_column("part")
    table.add_column("built as")
    for name in ("source", "protocol", "objective", "loss"):
        part = getattr(parts, name)
        table.add_row(name, "none" if part is None else type(part).__name__)
    weights = sum(parameter.numel() for parameter in parts.sketch.parameters())
    table.add_row("model", f"{type(parts.sketch).__name__}, {weights:,} parameters over 100 items")
    table.add_row("protocol hash", parts.protocol.hash()[:12])
    console.print(table)
    return 0
