"""Logs of actions with their propensities, and policies that they are asked about, as frames."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from lightning_rec.data.ids import ids, ids_of
from lightning_rec.data.numbers import numbers
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError, listed, suggest
from lightning_rec.trials.requests import Requests, shown

PROBABILITY = "probability"


class Policy(NamedTuple):
    """``table``: columns of ``context``, ``action`` and ``probability``."""

    table: pl.DataFrame
    context: list[str]


def logged_table(
    path: Path, columns: dict[str, str], features: Sequence[str]
) -> tuple[pl.DataFrame, str]:
    """The rows of a table, and the name of its column of actions.

    Args:
        path: a table as :func:`open_table` takes it.
        columns: names of its columns, by ``action``, ``reward``, ``propensity``, and perhaps
            ``target``, ``unit``, ``list``, ``rank``.
        features: columns that are kept besides, as they are.

    Raises:
        UserError: for a column that is not there, a cell that holds nothing, and a propensity that
            is no probability above 0, with the place of the first one.
    """
    table = open_table(path)
    schema = table.schema
    for role, name in [*columns.items(), *(("features", name) for name in features)]:
        if name not in schema:
            told = suggest(name, schema, "Its columns are")
            raise UserError(f"{path} has no column '{name}' for {role}.{told}")
    read = {
        role: (ids if role in ("action", "unit", "list") else numbers)(pl.col(name), schema[name])
        for role, name in columns.items()
    }
    rows = table.sound().with_columns(**read).collect(engine="streaming")
    if rows.is_empty():
        raise UserError(f"{path} has no rows: there is nothing to estimate.")
    for role, name in columns.items():
        odd = rows[role].is_null()
        if rows[role].dtype.is_float():
            odd |= rows[role].is_finite().not_().fill_null(True)
        if odd.any():
            raise UserError(
                f"{table.where(int(odd.arg_max() or 0))}: the {role} in column '{name}' is empty, "
                "or no number: fill it in, or leave the row out."
            )
    if (
        "list" in columns
        and (
            twice := rows.select(pl.struct("list", "rank").is_first_distinct().not_()).to_series()
        ).any()
    ):
        row = int(twice.arg_max() or 0)
        raise UserError(
            f"{table.where(row)}: list {rows['list'][row]} has rank {rows['rank'][row]:g} already. "
            "Is the log there twice? A list has each of its ranks once."
        )
    for role, least in (("propensity", "above 0"), ("target", "from 0")):
        if role in columns:
            check_probability(rows[role], role, least, table.where)
    return rows, columns["action"]


def check_probability(
    column: pl.Series, role: str, least: str, where: Callable[[int], str]
) -> None:
    """Raise UserError for the first value that is no probability, and say where it is."""
    bad = (column < 0) | (column > 1)
    if least == "above 0":
        bad |= column == 0
    if bad.any():
        row = int(bad.arg_max() or 0)
        why = ": what had no chance cannot have been logged" if column[row] == 0 else ""
        raise UserError(f"{where(row)}: the {role} is {column[row]:g}; it is {least} to 1{why}.")


def logged_requests(requests: Requests) -> tuple[pl.DataFrame, str]:
    """What a server showed by chance, as :func:`logged_table` has it: lists of items."""
    chance = requests.lists.filter(pl.col("propensities").is_not_null())
    if chance.is_empty():
        raise UserError(
            "The log has no propensities: ask with rules that explore, such as "
            '"rules": {"explore": "epsilon:0.1"}, and serve with log_items=true.'
        )
    rows = shown(requests, chance)
    where = "Answer {} of the log".format
    check_probability(
        rows["propensity"], "propensity", "above 0", lambda row: where(rows["id"][row])
    )
    rows = rows.with_columns(
        action=pl.col("item"), reward=pl.col("clicked").cast(pl.Float64),
        list=pl.col("id"), unit=pl.col("user"),
    )  # fmt: skip
    return rows, "item"


def read_policy(path: Path, log: pl.DataFrame, action: str) -> Policy:
    """The probability of each action in each context; the context is what the log has as well.

    Without a column ``probability`` each row is what the policy does for sure, as the lists that
    ``recommend --output`` writes. Raises UserError where probabilities of a context are none.
    """
    opened = open_table(path)
    table = opened.collect(opened.frame)
    if action not in table.columns:
        told = suggest(action, table.columns, "Its columns are")
        raise UserError(f"{path} has no column '{action}', the action of the log.{told}")
    own = (action, PROBABILITY, "title", "score", "propensity")
    context = [name for name in table.columns if name in log.columns and name not in own]
    if PROBABILITY not in table.columns:
        table = table.with_columns(pl.lit(1.0).alias(PROBABILITY))
    number = numbers(pl.col(PROBABILITY), table[PROBABILITY].dtype)
    keys = [ids_of(table[name]).alias(f"in {name}") for name in context]
    keys.append(ids_of(table[action]).alias("action"))
    made = pl.DataFrame([*keys, table.select(number).to_series()])
    if sum(each.null_count() for each in made):
        raise UserError(f"{path} has empty cells, or such as are no numbers.")
    check_probability(made[PROBABILITY], PROBABILITY, "from 0", opened.where)
    names = [f"in {name}" for name in context]
    _check_sums(path, made, names)
    return Policy(made, names)


def _check_sums(path: Path, made: pl.DataFrame, names: list[str]) -> None:
    """Raise UserError where an action is there twice, or probabilities do not sum to 1."""
    told = listed(name.removeprefix("in ") for name in names) or "nothing"
    told = f"The context is what the log has as well: {told}."
    if made.select(*names, "action").is_duplicated().any():
        raise UserError(f"{path} has an action twice in one context. {told}")
    whole = pl.col(PROBABILITY).sum()
    sums = made.group_by(names).agg(whole) if names else made.select(whole)
    off = sums.filter((pl.col(PROBABILITY) - 1).abs() > 1e-3)
    if len(off):
        at = ", ".join(f"{name.removeprefix('in ')}={off[name][0]}" for name in names)
        raise UserError(
            f"{path}: the probabilities of {at or 'all actions'} sum to {off[PROBABILITY][0]:g}, "
            f"not to 1. {told}"
        )


def joined(log: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The log with ``target``, the probability of each action.

    Rows of a context that the policy does not know are left out.
    """
    keys = [ids_of(log[name.removeprefix("in ")]).alias(name) for name in policy.context]
    rows, on = log.with_columns(keys).drop("target", strict=False), [*policy.context, "action"]
    if policy.context:
        known = policy.table.select(policy.context).unique()
        rows = rows.join(known, policy.context, "semi", maintain_order="left")
    target = policy.table.rename({PROBABILITY: "target"})
    found = rows.join(target, on, "left", maintain_order="left")
    return found.with_columns(pl.col("target").fill_null(0.0))
