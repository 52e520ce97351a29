"""``lightning-rec export run=FOLDER to=FOLDER``: the bundle of a trained model."""

from pathlib import Path
from typing import Any

from lightning_rec.commands.hydra_main import take_keys
from lightning_rec.commands.loading import loading
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

HELP = """\
Write a trained model as a bundle: one folder of plain data that opens on
another machine, without the training data, Hydra, Lightning or a tracker.

usage: lightning-rec export run=FOLDER to=FOLDER [users=yes|no]
                            [index=exact|faiss|usearch|pq] [new_items=FILE]
                            [overrides]

It holds weights (safetensors), ids, titles, what was fitted to the training
data, language models, a card, a README and a manifest with the hash of each
file. Before it is there, it is opened and answers as the run does.
users=no leaves out the users of the log and their histories. index= builds the
index by which the bundle looks up items (the extra index); its README says what
share of the best it finds. Below a million items exact is as good. new_items= has
items that training did not have (item, title, ...), which a run that reads texts
knows by them. Overrides change
the run's config, as item.encoder=FOLDER where a language model has moved.

Examples:
  lightning-rec export run=runs/sasrec to=bundles/sasrec
  lightning-rec export run=FOLDER to=bundles/shop users=no
"""


def run(arguments: list[str]) -> int:
    """Write the bundle. Raises UserError on bad input."""
    said, overrides = take_keys(arguments, "run", "to", "users", "index", "new_items")
    for key in ("run", "to"):
        if not said.get(key):
            raise UserError(f"Say {key}=: lightning-rec export run=FOLDER to=FOLDER")
    users = said.get("users", "yes")
    if users not in ("yes", "no"):
        raise UserError(f"users={users}: it is yes or no.")
    with loading():
        from lightning_rec.bundle.export import export
    asked: dict[str, Any] = {"users": users == "yes", "index": said.get("index")}
    if "new_items" in said:
        from lightning_rec.rules.given import table

        asked["new_items"] = table(Path(said["new_items"]), "item")
    path = export(said["run"], said["to"], *overrides, **asked)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    told = f"Bundle {Path(path).absolute()}, {_told(size)}: it answers as its run does."
    Screen().print(told, highlight=False, soft_wrap=True)
    return 0


def _told(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.0f} KiB"
