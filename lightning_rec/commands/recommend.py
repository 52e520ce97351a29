"""``lightning-rec recommend model=FOLDER``: the best items for users, histories, or a file."""

import sys
from pathlib import Path
from typing import Any

from lightning_rec.commands.asked import RULES, flag, ids, keys_of, nothing_else, rules_of
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError
from lightning_rec.screen import Screen

HELP = """\
The best items for users, for histories, or for a file of either.

usage: lightning-rec recommend model=FOLDER user=ID|[ID,...] [k=10] [RULES]
       lightning-rec recommend model=FOLDER history=[ID,...] [k=10] [RULES]
       lightning-rec recommend model=FOLDER --input FILE --output FILE [RULES]
                               [user=COLUMN] [item=COLUMN] [time=COLUMN]
       lightning-rec recommend model=FOLDER row={COLUMN: VALUE, ...} items=FILE
                               [context={COLUMN: VALUE, ...}] [goal=GOAL]
                               [k=10] [RULES]

A user is known by the log that the run was trained on; for anybody new give the
history, oldest item first. FILE is .parquet, .csv or .jsonl: user alone; user and
history (lists); or user, item and perhaps time, a row for each event. Columns
that have other names: user=COLUMN, item=COLUMN, time=COLUMN. It is answered
part by part: a command that was killed goes on when it is said again.

A model of clicks reads rows, row= or --input, and ranks candidates, items=FILE
with the features of items; context= has the fields of the moment, such as
{hour: 12, device: mobile}. A user that training has not is known by features.
goal=: of a model of several, the one that orders.

RULES, applied before the best are taken:
  seen=filter|keep            whether items of the history may come again
  allow=[ID,...]|FILE         nothing but these
  deny=[ID,...]|FILE          none of these
  where="price < 20 and 'shoes' in tags"    over the catalogue's columns
  per=COLUMN:N                at most N of a brand, a category
  boosts=FILE [at=TIME]       item or where, factor or add, from, to
  diversity=mmr:0.3|dpp:0.3   by the model's vectors; mmr:0.3@COLUMN by a column
  calibration=0.5@COLUMN      shares of its values as in the user's history
  explore=epsilon:0.1|softmax:1|thompson:0.5 [seed=0]     adds propensities
  pool=50                     how many of the best the last three choose among

overwrite=true replaces an output, restart=true forgets parts of an earlier one.

Examples:
  lightning-rec recommend model=runs/sasrec user=42 k=5
  lightning-rec recommend model=runs/sasrec 'history=[2571,260]' 'per=genres:2'
  lightning-rec recommend model=runs/sasrec --input users.csv --output recs.parquet
"""
CLICKS = ("row", "items", "context", "goal")
COLUMNS = ("user", "item", "time")
KEYS = (
    "model",
    "new_items",
    "user",
    "history",
    "item",
    "time",
    "k",
    "seen",
    *CLICKS,
    *RULES,
    "overwrite",
    "restart",
)
FLAGS = ("--input", "--output")


def run(arguments: list[str]) -> int:
    """Print a table for each, or write the file. Raises UserError on bad input."""
    said, others = keys_of(arguments, "recommend", KEYS, FLAGS)
    nothing_else(others, "recommend")
    _check(said)
    k = number("k", said["k"], int) if "k" in said else 10
    from lightning_rec.commands.opening import opened, sequences
    from lightning_rec.predict.clicks import ClickPredictor

    found = opened(said, "recommend")
    if isinstance(found.model, ClickPredictor):
        from lightning_rec.commands.candidates import recommend_candidates

        return recommend_candidates(found, said, k)
    model = sequences(found, "recommend")
    if odd := [name for name in CLICKS if name in said]:
        raise UserError(f"{odd[0]}= is for models of clicks; {model.name} is one of sequences.")
    asked: dict[str, Any] = {"k": k, "seen": said.get("seen"), "rules": rules_of(said)}
    from lightning_rec.predict.told import Told

    told = asked["told"] = Told()
    if "--input" in said:
        return _file(model, found.identity, said, asked)
    from lightning_rec.answers.files import check_output, write_table

    output = Path(said["--output"]) if "--output" in said else None
    if output is not None:
        check_output(output, overwrite=flag(said, "overwrite"))
    if "history" in said:
        table = model.recommend([ids("history", said["history"])], **asked)
    else:
        users = ids("user", said["user"])
        table = model.recommend(users=users, strict=False, **asked)
        if told.unknown_users == len(users):
            model.asked(None, users)  # raises
    if output is not None:
        write_table(table.lazy(), output)
    else:
        from lightning_rec.commands.shown import show

        key = table.columns[0]
        table = table if key == "user" else table.drop(key)
        show(table, "user" if key == "user" else None, "Nothing is recommended.")
    _tell(told, k)
    return 0


def _check(said: dict[str, str]) -> None:
    """Raise UserError where it is not said whom it is for, or more than that."""
    whom = [name for name in ("user", "history", "row", "--input") if name in said]
    if "--input" in said:  # where user= names a column
        whom = [name for name in whom if name != "user"]
    elif "item" in said or "time" in said:
        name = "item" if "item" in said else "time"
        raise UserError(f"{name}= names a column of a file: say --input FILE as well.")
    if len(whom) != 1:
        raise UserError("Say whom it is for: one of user=ID, history=[ID,...] and --input FILE.")
    if "--input" in said and "--output" not in said:
        raise UserError("Say where to write it: --output recs.parquet, .csv or .jsonl.")
    if said.get("seen") not in (None, "filter", "keep"):
        raise UserError(f"seen={said['seen']}: it is filter or keep.")


def _file(model: Any, identity: str, said: dict[str, str], asked: dict[str, Any]) -> int:
    from lightning_rec.answers.recommending import recommend_file

    source, output = Path(said["--input"]), Path(said["--output"])
    asked |= {name: flag(said, name) for name in ("overwrite", "restart")}
    asked["columns"] = {name: said[name] for name in COLUMNS if name in said}
    done = recommend_file(model, identity, source, output, **asked)
    _tell(asked["told"], asked["k"])
    fresh = done.rows - done.before
    told = f", {done.before:,} of them before" if done.before else ""
    Screen().print(
        f"{done.rows:,} users{told}, {fresh / done.seconds:,.0f} a second; "
        f"{done.written:,} rows in {output}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _tell(told: Any, k: int) -> None:
    screen = Screen(stderr=True)
    for words in told.warnings(k):
        screen.print(f"warning: {words}", highlight=False, soft_wrap=True)
    if words := told.costs():
        sys.stdout.flush()
        Screen().print(words, highlight=False, soft_wrap=True)
