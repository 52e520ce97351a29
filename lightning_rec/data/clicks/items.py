"""The items that rows show, and what the columns of the table say of them: their texts' source."""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.clicks import columns
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import ClickTable
from lightning_rec.data.templates import as_text, columns_of
from lightning_rec.errors import UserError

_ABOUT_ROWS = ("group", "time", "weight", "history")  # what is no item's, beside the labels


class Items(NamedTuple):
    """The items of a table of clicks.

    shown: int32 [N], the code of the item of each row. Codes of the items of training are those of
        histories; those of all others come after them.
    about: row c describes item c: the column of items, and those that were asked for, as String.
    trained: number of items that training has.
    """

    shown: NDArray[np.int32]
    about: pl.DataFrame
    trained: int


def items_of(table: ClickTable, fields: Fields, encoded: Encoded, template: str | None) -> Items:
    """The items of all rows, and what the columns that ``template`` names, if any, say of them.
    Raises UserError if a column is not there, is no item's, or says two things of one item.
    """
    item = str(fields.item)
    named = [] if template is None else text_columns(table, fields, template)
    names = [name for name in named if name != item]
    schema = encoded.schema
    place = schema.place(item)  # categories have one column of ids each, and come first
    field = schema.fields[place]
    shown = np.asarray(encoded.ids[:, place]) - (field.start + 1)  # -1 for what training has not
    known = encoded.vocabulary.filter(pl.col("field") == item).sort("id")
    values = known["value"].to_list()
    code: dict[str | None, int] = {}  # of what training has not
    said: list[pl.DataFrame] = []
    for start, frame in table.blocks(item, *names):
        here = slice(start, start + len(frame))
        value = columns.text(frame[item])
        late = np.flatnonzero(shown[here] < 0)
        shown[here][late] = [
            code.setdefault(each, field.size - 1 + len(code)) for each in value.gather(late)
        ]
        texts = (as_text(frame, name).alias(name) for name in names)
        said.append(frame.select(pl.Series("code", shown[here]), *texts).unique())
    each = [pl.col(name).filter(pl.col(name) != "").unique().sort() for name in names]
    told = pl.concat(said).group_by("code").agg(each).sort("code")
    items = pl.Series(item, [*values, *code], dtype=pl.String)
    for name in names:
        twice = np.flatnonzero((told[name].list.len() > 1).to_numpy())
        if len(twice):
            at = int(twice[0])
            first, second, *_ = told[name][at].to_list()
            raise UserError(
                f"{table.info['name']}: column '{name}' says two things of the item '{items[at]}' "
                f"('{first}' and '{second}'), so it is not of items alone: leave it out of the "
                "template, or give each item one value."
            )
    columns_said = (told[name].list.get(0, null_on_oob=True) for name in names)
    return Items(shown, pl.DataFrame([items, *columns_said]), len(values))


def text_columns(table: ClickTable, fields: Fields, template: str) -> list[str]:
    """The columns that a template names. Raises UserError if one is not there, or is no item's."""
    names = columns_of(template, table.rows.collect_schema().names(), table.info["name"])
    roles = {role: getattr(fields, role) for role in _ABOUT_ROWS}
    barred = {column: role for role, column in roles.items() if column}
    barred |= dict.fromkeys(fields.label_columns, "label")
    for name in names:
        if name in barred:
            raise UserError(
                f"template='{template}': '{name}' is data.fields.{barred[name]}, which says "
                "something of a row and nothing of its item."
            )
    return names
