"""``lightning-rec vectors model=FOLDER of=items to=FILE``: vectors of items or users, as a file."""

from pathlib import Path

from lightning_rec.commands.asked import flag, keys_of, nothing_else
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

HELP = """\
The vectors of all items, or of all users that a run keeps: inner products of the
two are the scores of recommend.

usage: lightning-rec vectors model=FOLDER of=items|users to=FILE.parquet|.jsonl
                             [overwrite=true]

Columns are item or user, and vector. Where a model has biases of items, the last
element is the bias, beside a 1 in the vectors of users. new_items=FILE has items
that training did not have, which a run that reads texts knows by them.

Examples:
  lightning-rec vectors model=runs/sasrec of=items to=items.parquet
  lightning-rec vectors model=runs/sasrec of=users to=users.parquet
  lightning-rec vectors model=runs/bi_encoder of=items to=items.jsonl
"""


def run(arguments: list[str]) -> int:
    """Write the file. Raises UserError on bad input."""
    said, others = keys_of(arguments, "vectors", ("model", "new_items", "of", "to", "overwrite"))
    nothing_else(others, "vectors")
    if said.get("of") not in ("items", "users"):
        raise UserError(f"of={said.get('of', '')}: say of=items or of=users.")
    if "to" not in said:
        raise UserError("Say where to: to=items.parquet or .jsonl.")
    from lightning_rec.answers.files import check_output, write_table
    from lightning_rec.commands.opening import opened, sequences

    output = Path(said["to"])
    check_output(output, overwrite=flag(said, "overwrite"))
    if output.suffix.lower() == ".csv":
        raise UserError(f"to={output}: CSV has no lists: name it .parquet or .jsonl.")
    found = opened(said, "vectors")
    if said["of"] == "items":
        if not hasattr(found.model, "catalogue"):
            raise UserError(
                f"model={found.path} is a run of clicks, whose vectors are of rows: ask from "
                "Python, load_run(…).item_vectors(rows)."
            )
        table = found.model.item_vectors()
    else:
        model = sequences(found, "vectors of=users")
        if model.users is None:
            raise UserError("This run keeps no users: train it again, or ask by histories.")
        table = model.user_vectors(users=model.known_users["user"].to_list())
    write_table(table.lazy(), output)
    width = len(table["vector"][0]) if len(table) else 0
    Screen().print(f"{len(table):,} vectors of {width} numbers in {output}", highlight=False)
    return 0
