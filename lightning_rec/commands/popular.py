"""``lightning-rec popular``: the ranking lists of a shop, from a log or from what a run keeps."""

from pathlib import Path
from typing import Any

from lightning_rec.commands.asked import flag, keys_of, nothing_else
from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError, suggest
from lightning_rec.screen import Screen

HELP = """\
The most popular items: of all time, with events that fade, by category or
segment, or those that rise most surely.

usage: lightning-rec popular model=FOLDER [k=10] [per=COLUMN] [where=CONDITION]
       lightning-rec popular --input LOG [model=FOLDER] [k=10] [half_life=7d]
                             [at=TIME] [per=COLUMN] [where=CONDITION]
                             [trending=7d] [invalid=drop] [--output FILE]

A run keeps no times: for what fades or rises give a log with item, time and
perhaps user. An event counts 2 ** (-age / half_life). trending=7d compares the
last seven days with the 28 before: q is the chance that nothing rose, corrected
for all items looked at, and ratio is that of the two shares of all events, one
event added to each count. Without at= now is the log's last event.
per= is a column of the log (a segment of users) or of the run's catalogue (a
category); where= is over the catalogue. Columns of the log that have other
names: item=COLUMN, user=COLUMN, time=COLUMN.

Examples:
  lightning-rec popular model=runs/sasrec per=genres k=3
  lightning-rec popular --input log.csv half_life=14d
  lightning-rec popular --input log.csv model=runs/sasrec trending=7d k=5
"""
COLUMNS = ("item", "user", "time")
KEYS = (
    "model",
    "k",
    "per",
    "where",
    "half_life",
    "at",
    "trending",
    *COLUMNS,
    "invalid",
    "overwrite",
)


def run(arguments: list[str]) -> int:
    """Print the list, or write it. Raises UserError on bad input."""
    said, others = keys_of(arguments, "popular", KEYS, ("--input", "--output"))
    nothing_else(others, "popular")
    k = number("k", said["k"], int) if "k" in said else 10
    if k < 1:
        raise UserError(f"k={k}: it has to be 1 or more.")
    if "--input" not in said and "model" not in said:
        raise UserError("Say of what: model=FOLDER, or --input LOG.")
    if "trending" in said and "half_life" in said:
        raise UserError("trending= and half_life= are two questions: ask one at a time.")
    import polars as pl

    from lightning_rec.answers.files import check_output, write_table
    from lightning_rec.answers.popular import popular, trending
    from lightning_rec.commands.shown import show
    from lightning_rec.data.dates import duration

    if "--output" in said:
        check_output(Path(said["--output"]), overwrite=flag(said, "overwrite"))
    log, items = _log(said)
    asked: dict[str, Any] = {name: said.get(name) for name in ("per", "where", "at")}
    if "trending" in said:
        window = duration("trending", said["trending"])
        found = trending(log, k, window=window, items=items, **asked)
        told = f"events of the last {said['trending']} beside the four such times before"
    else:
        half = duration("half_life", said["half_life"]) if "half_life" in said else None
        found = popular(log, k, half_life=half, items=items, **asked)
        fades = f", each counting half after {said['half_life']}" if half else ""
        rows = log.select(pl.len()).collect(engine="streaming").item()
        told = f"{rows:,} events{fades}"
    if "--output" in said:
        write_table(found.lazy(), Path(said["--output"]))
    else:
        show(found, said.get("per"), "No item is left.")
    Screen().print(f"Counted: {told}.", highlight=False, soft_wrap=True)
    return 0


def _log(said: dict[str, str]) -> tuple[Any, Any]:
    """The events, read as a stream, of a log or of a run's users; the catalogue if there is one."""
    import polars as pl

    items = None
    if "model" in said:
        from lightning_rec.commands.opening import opened, sequences

        model = sequences(opened(said, "popular"), "popular")
        items = model.items
        if "--input" not in said:
            if model.users is None:
                raise UserError("This run keeps no users: give a log, --input LOG.")
            had = model.users.explode("items", empty_as_null=True, keep_nulls=True).drop_nulls()
            item = items["item"].gather(had["items"])
            return pl.LazyFrame({"user": had["user"], "item": item}), items
    from lightning_rec.data.tabular import open_table

    source, invalid = Path(said["--input"]), said.get("invalid", "error")
    if invalid not in ("error", "drop"):
        raise UserError(f"invalid={invalid}: it is error or drop.")
    opened_log = open_table(source, None, "drop" if invalid == "drop" else "error")
    for name in (said[each] for each in COLUMNS if each in said):
        if name not in opened_log.schema:
            told = suggest(name, opened_log.schema, "Its columns are")
            raise UserError(f"{source} has no column '{name}'.{told}")
    log = _whole(opened_log, said, drop=invalid == "drop")
    return log.rename({said[name]: name for name in COLUMNS if name in said}), items


def _whole(table: Any, said: dict[str, str], *, drop: bool) -> Any:
    """The rows of a log that have an item and, where that is a column, a time.

    Raises UserError, naming the line, for one that has not, unless they are dropped and told.
    """
    import polars as pl

    from lightning_rec.data.columns import told_dropped
    from lightning_rec.data.ids import MISSING, as_text, stripped

    rows, schema = table.sound(), table.schema
    named = {role: said.get(role, role) for role in ("item", "time")}
    empty = {
        role: stripped(as_text(pl.col(name), schema[name])).fill_null("").is_in(list(MISSING))
        for role, name in named.items()
        if name in schema and not schema[name].is_nested()
    }
    if not empty:
        return rows
    any_of, row = pl.any_horizontal(*empty.values()), pl.int_range(pl.len())
    counts = [each.sum().alias(role) for role, each in empty.items()]
    first = [row.filter(each).min().alias(f"{role}_row") for role, each in empty.items()]
    asked = rows.select(any_of.sum().alias("rows"), *counts, *first)
    found = table.collect(asked).row(0, named=True)
    lines = {role: at for role in empty if (at := found.pop(f"{role}_row")) is not None}
    if not lines:
        return rows
    if not drop:
        role = min(lines, key=lambda each: lines[each])
        raise UserError(
            f"{table.where(lines[role])}: the {role} is empty ({found['rows']:,} such rows in "
            "all): fill it in, or leave such rows out by invalid=drop."
        )
    Screen(stderr=True).print(f"warning: {told_dropped(found)}.", highlight=False, soft_wrap=True)
    return rows.filter(~any_of)
