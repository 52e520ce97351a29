"""``lightning-rec elasticity``: what a model of clicks makes of other prices."""

from pathlib import Path
from typing import Any

from lightning_rec.commands.abtest_plan import level_of
from lightning_rec.commands.asked import keys_of, nothing_else
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

CAVEAT = (
    "This is what the model would answer. Prices of a log are not drawn by chance, so it is no "
    "effect of a price: try one on users, with abtest."
)
HELP = """\
What a model of clicks would answer at other prices: the mean probability of
rows as they are and with a number changed, and its elasticity.

usage: lightning-rec elasticity model=FOLDER --input FILE column=PRICE
                                [changes=[-0.1,0.1]] [by=COLUMN] [unit=COLUMN]
                                [goal=NAME] [level=0.95] [--output FILE]

FILE is .parquet, .csv or .jsonl, with the columns that the model reads. The
elasticity says by how many percent the probability moves if the number moves by
one; intervals are by bootstrap over rows, or over unit=. by= tells the values of
a column apart.

Examples:
  lightning-rec elasticity model=runs/deepfm --input rows.csv column=price unit=user
  lightning-rec elasticity model=runs/deepfm --input rows.csv column=price by=category \\
    changes=[-0.2,-0.1,0.1] --output elasticity.csv
"""
KEYS = ("model", "column", "changes", "by", "unit", "goal", "level")


def run(arguments: list[str]) -> int:
    """Print the table. Raises UserError on bad input."""
    said, others = keys_of(arguments, "elasticity", KEYS, ("--input", "--output"))
    nothing_else(others, "elasticity")
    if "--input" not in said or "column" not in said:
        raise UserError("Say of what: lightning-rec elasticity model=FOLDER --input FILE column=…")
    from lightning_rec.answers.elasticity import elasticity
    from lightning_rec.answers.files import check_output, write_table
    from lightning_rec.commands.opening import opened
    from lightning_rec.predict.clicks import ClickPredictor
    from lightning_rec.rules.given import table, words

    changes = [number("changes", each, float) for each in words(said.get("changes", "[-0.1,0.1]"))]
    found = opened(said, "elasticity")
    if not isinstance(found.model, ClickPredictor):
        raise UserError(f"model={found.path} is no model of clicks, which read prices.")
    if "--output" in said:
        check_output(Path(said["--output"]), overwrite=False)
    rows: Any = table(Path(said["--input"]), said["column"])
    made = elasticity(
        found.model, rows, said["column"], changes, said.get("by"), said.get("unit"),
        said.get("goal"), level_of(said),
    )  # fmt: skip
    columns = ["change", "rows", "probability", "changed", "elasticity", "from", "to"]
    shown = FittedTable(f"At other values of {said['column']}", [
        *text(said.get("by", "rows of")), *figures(*columns),
    ])  # fmt: skip
    for group, change, count, *numbers in made.iter_rows():
        ends = ["-" if each is None else f"{each:.4f}" for each in numbers]
        shown.add_row(group, f"{change:+.0%}", f"{count:,}", *ends)
    screen = Screen()
    screen.print(shown)
    screen.print(CAVEAT, highlight=False, soft_wrap=True)
    if "--output" in said:
        write_table(made.lazy(), Path(said["--output"]))
    return 0
