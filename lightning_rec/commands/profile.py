"""``lightning-rec profile model=FOLDER user=ID``: what a user is like, as tables and a picture."""

from pathlib import Path

from lightning_rec.commands.asked import flag, ids, keys_of, nothing_else
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

HELP = """\
What a user is like: items nearest to him, shares by each column of the catalogue
beside those of everybody, how they drift from the early half of his history to
the late one, how novel what he takes is, and how active he is.

usage: lightning-rec profile model=FOLDER user=ID|history=[ID,...] [k=10]
                             [to=profile.png] [overwrite=true]

An event of several categories is parted among them; numbers and dates are told
by quarters of the catalogue. Drift goes from 0 (the same) to 1 (nothing in common); novelty
is the mean of -log2 of an item's share of all events, in bits.

Examples:
  lightning-rec profile model=runs/sasrec user=42
  lightning-rec profile model=runs/sasrec user=42 to=profile.png
  lightning-rec profile model=runs/sasrec 'history=[2571,260]' k=5
"""
VALUES = 8  # of a column that are shown


def run(arguments: list[str]) -> int:
    """Print the tables, and draw the picture if one is asked for. Raises UserError on bad input."""
    keys = ("model", "user", "history", "k", "to", "overwrite")
    said, others = keys_of(arguments, "profile", keys)
    nothing_else(others, "profile")
    if ("user" in said) == ("history" in said):
        raise UserError("Say whose profile it is: one of user=ID and history=[ID,...].")
    k = number("k", said["k"], int) if "k" in said else 10
    picture = Path(said["to"]) if "to" in said else None
    if picture is not None and picture.suffix.lower() != ".png":
        raise UserError(f"to={picture}: the picture is a PNG, so name it so.")
    if picture is not None and picture.exists() and not flag(said, "overwrite"):
        raise UserError(f"{picture} exists: choose another name, or say overwrite=true.")
    from lightning_rec.answers.profile import profile
    from lightning_rec.commands.opening import opened, sequences
    from lightning_rec.commands.shown import show

    model = sequences(opened(said, "profile"), "profile")
    history = ids("history", said["history"]) if "history" in said else None
    found = profile(model, said.get("user"), history, k)
    show(found.facts, title=f"User {found.name}" if found.name else "History")
    drifts = dict(found.drift.iter_rows())
    for (name,), own in found.shares.group_by("column", maintain_order=True):
        drift = drifts[name]
        left = len(own) - VALUES
        more = f", {left} more values" if left > 0 else ""
        how = "not known" if drift is None else f"{drift:.2f}"
        show(own.drop("column").head(VALUES), title=f"{name}: drift {how}{more}")
    show(found.nearest, title="Nearest items")
    if picture is not None:
        from lightning_rec.reports.profiles import draw

        draw(found, picture)
        Screen().print(f"Drawn in {picture.absolute()}", highlight=False, soft_wrap=True)
    return 0
