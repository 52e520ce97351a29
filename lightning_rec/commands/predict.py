"""``lightning-rec predict model=FOLDER``: the probability, or the score, of each row of a file."""

from functools import partial
from pathlib import Path
from typing import Any

from lightning_rec.commands.asked import context_of, flag, keys_of, nothing_else
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

HELP = """\
The probability of each row, by a model of clicks, calibrated as its run is; or
the score, by a model of sequences (user, item) or of matching (query, item).

usage: lightning-rec predict model=FOLDER --input FILE --output FILE
                             [context={COLUMN: VALUE, ...}] [overwrite=true] [restart=true]

FILE is .parquet, .csv or .jsonl. Rows of clicks need the columns that the run
reads, and no label; context= has those that the rows have not, one value for
all, such as {hour: 12, device: mobile}. The output has the rows, in their order, and score. It is
made part by part: a command that was killed goes on when it is said again.

Examples:
  lightning-rec predict model=runs/deepfm --input rows.parquet --output scored.parquet
  lightning-rec predict model=runs/deepfm --input rows.csv --output scored.csv
  lightning-rec predict model=runs/sasrec --input pairs.csv --output scored.jsonl
"""


def run(arguments: list[str]) -> int:
    """Write the file. Raises UserError on bad input."""
    keys, flags = ("model", "context", "overwrite", "restart"), ("--input", "--output")
    said, others = keys_of(arguments, "predict", keys, flags)
    nothing_else(others, "predict")
    for name in flags:
        if name not in said:
            raise UserError(f"Say {name} FILE: predict reads rows and writes them with scores.")
    from lightning_rec.answers.files import answer_file
    from lightning_rec.commands.opening import opened
    from lightning_rec.predict.clicks import ClickPredictor
    from lightning_rec.predict.told import Told

    found, output = opened(said, "predict"), Path(said["--output"])
    context = context_of(said)
    if context and not isinstance(found.model, ClickPredictor):
        raise UserError(f"context= is for models of clicks; {found.model.name} reads none.")
    done = answer_file(
        Path(said["--input"]),
        output,
        {"model": found.identity, "predict": True} | ({"context": context} if context else {}),
        lambda rows: rows,
        partial(_scored, found.model, context),
        Told(),
        overwrite=flag(said, "overwrite"),
        restart=flag(said, "restart"),
    )
    speed = (done.rows - done.before) / done.seconds
    told = f"{done.rows:,} rows in {output}, {speed:,.0f} a second"
    Screen().print(told, highlight=False, soft_wrap=True)
    return 0


def _scored(model: Any, context: Any, rows: Any, told: Any) -> Any:
    return model.score(rows, context) if context else model.score(rows)
