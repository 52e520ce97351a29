"""``lightning-rec evaluate``: figures of a run again, or of what nothing has trained."""

from collections.abc import Mapping
from pathlib import Path

from lightning_rec.commands import train
from lightning_rec.commands.hydra_main import parted, take_key
from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

HELP = """\
The figures of a run again, from its saved weights, to the last bit; exit 1 if
they differ.

usage: lightning-rec evaluate run=FOLDER [key=value]
       lightning-rec evaluate OVERRIDES

FOLDER is a run folder. Any value of its config can be changed by its dotted
key. Without run= the model that the overrides compose is measured as it comes,
with a run folder of its own: what 'lightning-rec train OVERRIDES
trainer.max_epochs=0' does.

Examples:
  lightning-rec evaluate run=runs/2026-01-31_12-00-00-123456_ml_100k_bert4rec
  lightning-rec evaluate run=FOLDER trainer.accelerator=cpu
  lightning-rec evaluate run=FOLDER batches.eval_batch_size=1024
  lightning-rec evaluate model=zero_shot data=beauty  # a language model
"""


def run(arguments: list[str]) -> int:
    """Evaluate a run again, 1 if a figure differs; without ``run=`` an untrained model."""
    folders, overrides = take_key(arguments, "run")
    asked = parted(arguments)[1]
    if not folders and asked and all("=" in each or each.startswith("~") for each in asked):
        return train.run([*arguments, "trainer.max_epochs=0"])
    if len(folders) != 1 or not folders[0]:
        raise UserError("Say which run: lightning-rec evaluate run=FOLDER")
    with loading():
        from lightning_rec.reports.terminal import figures_table
        from lightning_rec.runs.partial import plain
        from lightning_rec.training import evaluate

    folder, figures = evaluate(Path(folders[0]), overrides)
    recorded = folder.metrics
    again, differing = compared(recorded, figures)
    console = Screen()
    cfg, seen = folder.config, folder.card["protocol"].get("seen")
    console.print(figures_table({"again": plain(figures)}, cfg.monitor, cfg.get("metrics"), seen))
    path = folder.path / "metrics.json"
    if differing:
        console.print(f"{len(differing)} figures differ from {path}:")
        for name in differing:
            console.print(f"  {name}: {recorded[name]} then, {figures[name]} now", highlight=False)
        return 1
    if not again:
        raise UserError(f"{path} holds none of the figures there are now.")
    console.print(f"Equal to {path} to the last bit ({len(again)} figures).", soft_wrap=True)
    return 0


def compared(
    recorded: Mapping[str, float], figures: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """Names of the recorded figures that there are now, and of those that have another value.

    A run of an earlier version may lack metrics that there are now.
    """
    again = [name for name in recorded if name in figures]
    return again, [name for name in again if figures[name] != recorded[name]]
