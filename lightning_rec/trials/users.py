"""A table of a test as one row for each user, with every fault in it told."""

from pathlib import Path

import polars as pl

from lightning_rec.data.ids import ids
from lightning_rec.data.numbers import numbers
from lightning_rec.data.tabular import Table, open_table
from lightning_rec.errors import UserError, suggest


def users_of(
    path: Path,
    *,
    user: str = "user",
    variant: str = "variant",
    value: str = "value",
    per: str | None = None,
    covariate: str | None = None,
) -> pl.DataFrame:
    """The users of a table: ``user``, ``variant``, ``value``, ``per`` and ``covariate``.

    Args:
        path: a table as :func:`open_table` takes it, one row or several for each user.
        user: the name of its column of users, as all that follow are names of columns.
        variant: of the variant of each.
        value: of what is compared, summed over the rows of a user.
        per: of what it is divided by, summed likewise.
        covariate: of what was known before; the mean over the rows of a user.

    Raises:
        UserError: for a column that is not there, a cell that holds nothing or no number, and a
            user of two variants, with the place of the first one.
    """
    table = open_table(path)
    names = {"user": user, "variant": variant, "value": value, "per": per, "covariate": covariate}
    said = {role: name for role, name in names.items() if name is not None}
    schema = table.schema
    for role, name in said.items():
        if name not in schema:
            told = suggest(name, schema, "Its columns are")
            raise UserError(
                f"{path} has no column '{name}' for the {role}.{told} Say {role}=COLUMN."
            )
    read = [
        (ids if role in ("user", "variant") else numbers)(pl.col(name), schema[name]).alias(role)
        for role, name in said.items()
    ]
    rows = table.sound().select(read)
    _check(table, rows, said)
    added = [pl.col(role).sum() for role in ("value", "per") if role in said]
    added += [pl.col("covariate").mean()] if covariate is not None else []
    first = pl.col("variant").first(), pl.col("variant").n_unique().alias("_variants")
    found = rows.group_by("user").agg(*first, *added).collect(engine="streaming").sort("user")
    return only_one(found, str(path))


def only_one(users: pl.DataFrame, where: str) -> pl.DataFrame:
    """The users without ``_variants``. Raises UserError if one has more than one of them."""
    mixed = users.filter(pl.col("_variants") > 1)
    if len(mixed):
        raise UserError(
            f"{where}: '{mixed['user'][0]}' is in more than one variant, one of {len(mixed):,} "
            "such users. Their effect cannot be told: find out why, or leave them out."
        )
    if not len(users):
        raise UserError(f"{where} has no rows: a test needs some.")
    return users.drop("_variants")


def _check(table: Table, rows: pl.LazyFrame, said: dict[str, str]) -> None:
    """Raise UserError for the first cell that holds nothing."""
    rows = rows.with_row_index("_row")
    empty = [
        pl.col("_row").filter(pl.col(role).is_null() | _odd(role)).first().alias(role)
        for role in said
    ]
    for role, row in rows.select(empty).collect(engine="streaming").row(0, named=True).items():
        if row is None:
            continue
        what = "empty" if role in ("user", "variant") else "empty, or no number"
        raise UserError(
            f"{table.where(row)}: the {role} in column '{said[role]}' is {what}: fill it in, or "
            "leave the row out."
        )


def _odd(role: str) -> pl.Expr:
    """Whether a number is none that can be summed."""
    if role in ("user", "variant"):
        return pl.lit(False)
    infinite = pl.col(role).is_finite().not_()
    return infinite | (pl.col(role) < 0) if role == "per" else infinite
