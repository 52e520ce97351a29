"""``lightning-rec gate``: whether a newer run may take the place of an older one."""

from pathlib import Path

from lightning_rec.commands.abtest_plan import level_of
from lightning_rec.commands.asked import keys_of, nothing_else
from lightning_rec.commands.loading import loading
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.figures import percent
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

CLOSED = 3  # the exit status where the newer run is not let through
HELP = """\
Whether a newer run may take the place of an older one: both are asked for the
test of the newer one. Exit 0 if it may, 3 if not.

usage: lightning-rec gate run=NEW against=OLD [figure=FIGURE] [margin=0.05]
                          [level=0.95] [to=FILE.json]

Both are runs of sequences (figure=ndcg@10 unless another is named), of clicks
(auc, else gauc or logloss) or of matching (ndcg@10). Targets that OLD was tested
on itself are told apart from new ones, and of these those of items that it knows.
OLD answers as it would have: by what it knows. NEW is let through if on both it
loses less than margin=, a share of OLD's figure (of an area: of what lies above
0.5; of logloss: of what lies below that of the base rate), with the whole
interval over users, groups or queries. A test that OLD has learnt is refused.

Examples:
  lightning-rec gate run=runs/week_2 against=runs/week_1
  lightning-rec gate run=runs/week_2 against=runs/week_1 figure=recall@20 margin=0
  lightning-rec gate run=runs/clicks_2 against=runs/clicks_1 figure=logloss
"""


def run(arguments: list[str]) -> int:
    """Compare, and say whether it may be released. Raises UserError on bad input."""
    said, others = keys_of(arguments, "gate", ("run", "against", "figure", "margin", "level", "to"))
    nothing_else(others, "gate")
    if not said.get("run") or not said.get("against"):
        raise UserError("Say which runs: lightning-rec gate run=NEW against=OLD")
    margin = number("margin", said.get("margin", "0.05"), float)
    level = level_of(said)
    with loading():
        from lightning_rec.files import write_json
        from lightning_rec.lab.gates import gate
        from lightning_rec.runs.logs import logging_to, told_once

    with told_once(), logging_to(None):
        found = gate(Path(said["run"]), Path(said["against"]), said.get("figure"), margin, level)
    columns = ["targets", "users", "older", "newer", "difference", "from", "to"]
    table = FittedTable(found.figure, [*text("targets that are"), *figures(*columns)])
    for each in found.parts:
        cells = (each.before, each.now, each.difference, each.low, each.high)
        shown = ["" if cell is None else f"{cell:.4f}" for cell in cells]
        table.add_row(each.name, f"{each.targets:,}", f"{each.users:,}", *shown)
    screen = Screen()
    screen.print(table)
    told = "; ".join(found.reasons) or (
        f"it loses less than {margin:.0%}, with the whole {percent(level)} interval"
    )
    screen.print(
        f"{'Released' if found.released else 'Not released'}: {told}.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if "to" in said:
        write_json(Path(said["to"]), found.facts())
    return 0 if found.released else CLOSED
