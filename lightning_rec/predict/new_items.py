"""Items that training did not have, behind those that a run knows."""

import polars as pl

from lightning_rec.data.ids import ids_of
from lightning_rec.data.lists import lists
from lightning_rec.data.templates import columns_of
from lightning_rec.errors import UserError, listed
from lightning_rec.predict.asking import Frame, frame


def with_new(known: pl.DataFrame, new: Frame | None, template: str | None) -> pl.DataFrame:
    """The items of a run and new ones behind them, if any, whose codes follow those of the run.

    Args:
        known: ``item`` and what the catalogue says of it.
        new: the same columns; at least ``item``, and those that ``template`` names.
        template: of the texts that items are known by; None where they are known by other things.

    Raises:
        UserError: where an item is known already or named twice, or a column is missing or empty.
    """
    if new is None:
        return known
    given = frame(new, "item")
    needed = columns_of(template, known.columns, "the catalogue") if template else []
    given = frame(given, "item", *needed).select(
        name for name in known.columns if name in given.columns
    )
    if given.is_empty():
        raise UserError("new_items: the table has no rows.")
    ids = ids_of(given["item"])
    if ids.is_null().any():
        raise UserError("new_items: a row has no id in its column 'item'.")
    if ids.is_duplicated().any():
        twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True).to_list()
        raise UserError(f"new_items: the items {listed(twice, 3)} are named twice.")
    if (there := ids.is_in(ids_of(known["item"]).implode())).any():
        raise UserError(
            f"new_items: the run knows the items {listed(ids.filter(there).to_list(), 3)} already: "
            "name those alone that it does not know."
        )
    given = given.with_columns(ids.alias("item"))
    parted = [
        lists(pl.col(name), kind).alias(name)
        for name, kind in given.schema.items()
        if kind == pl.String and known.schema[name] == pl.List(pl.String)
    ]
    given = given.with_columns(parted)
    try:
        given = given.cast({name: known.schema[name] for name in given.columns})
    except pl.exceptions.PolarsError as error:
        raise UserError(f"new_items: {str(error).splitlines()[0]}.") from error
    return pl.concat([known, given], how="diagonal")
