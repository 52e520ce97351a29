"""Stock: how likely it runs out within a lead time, and when to order again.

Of the demand over the lead time as a whole, whose draws are sums of draws of its periods.
"""

import numpy as np
import polars as pl

from lightning_rec.data.ids import ids_of
from lightning_rec.data.names import lacking
from lightning_rec.data.types import Floats
from lightning_rec.demand.paths import Forecast
from lightning_rec.demand.series import Demand
from lightning_rec.errors import UserError, listed

COLUMNS = ("item", "stock")
UNKNOWN = "not in the log"


def stock_of(table: pl.DataFrame, where: object) -> pl.DataFrame:
    """``item`` as text and ``stock`` of a table of both.

    Raises UserError if a column is missing, an item stands twice, or a stock is no number from 0.
    """
    for name in COLUMNS:
        if name not in table.columns:
            raise UserError(lacking(where, name, table.columns))
    stock = table["stock"].cast(pl.Float64, strict=False)
    found = pl.DataFrame({"item": ids_of(table["item"]), "stock": stock})
    if not len(found):
        raise UserError(f"{where} has no rows: give it one of each item and its stock.")
    if found["item"].is_null().any():
        row = int(found["item"].is_null().arg_max() or 0)
        raise UserError(f"{where}: row {row + 1} names no item: name it, or take the row out.")
    wrong = stock.is_null() | ~stock.is_finite() | (stock < 0)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        said, item = table["stock"][row], found["item"][row]
        what = "empty" if said is None else repr(said)
        raise UserError(
            f"{where}: the stock in row {row + 1}, of item {item}, is {what}: it is a number from "
            "0, such as 12 or 2.5."
        )
    if found["item"].is_duplicated().any():
        twice = found.with_row_index("row", 1).filter(pl.col("item").is_duplicated())
        item = twice["item"][0]
        rows = listed(twice.filter(item=item)["row"])
        raise UserError(f"{where}: item {item} stands there twice (rows {rows}): say it once.")
    return found


def point_of(forecast: Forecast, lead: int, service: float) -> Floats:
    """The least stock that lasts over ``lead`` periods with probability ``service``: float64 [N].

    Cycle service level, with nothing on order (Silver, Pyke and Thomas 2017, chapter 6). Of whole
    quantities it is one.
    """
    point = np.quantile(forecast.over(lead), service, axis=0, method="inverted_cdf")
    return np.ceil(np.round(point, 3)) if forecast.whole else point


def reorder(
    demand: Demand,
    forecast: Forecast,
    lead: int,
    service: float,
    stock: pl.DataFrame | None,
    without: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """A row for each item: ``item``, ``title``, ``expected`` (demand over the lead time),
    ``reorder_point``, and for each of ``stock``, if that is given: ``stock``, ``stock_out`` (the
    probability that more is asked for than there is), ``short``, what is missing to the point, and
    ``note``: why there is no forecast, all other figures being null then.

    ``without``: the items of the log that have none, see :meth:`Demand.unforecast`. Raises
    UserError if no item of ``stock`` is of the log.
    """
    over = forecast.over(lead)  # [S, N]
    found = pl.DataFrame(
        {
            "item": demand.keys,
            "title": demand.titles,
            "expected": forecast.mean[:, :lead].sum(1),
            "reorder_point": point_of(forecast, lead, service),
        }
    )
    if stock is None:
        return found.sort("expected", descending=True)
    joined = _noted(stock, found, without)
    there = joined["row"].is_not_null().to_numpy()
    out = np.full(len(joined), np.nan)
    held = joined["stock"].to_numpy()[there]
    out[there] = (over[:, joined["row"].drop_nulls().to_numpy()] > held).mean(0)
    told = joined.with_columns(
        stock_out=pl.Series(out, nan_to_null=True),
        short=(pl.col("reorder_point") - pl.col("stock")).clip(0),
    )
    told = told.select(*found.columns, "stock", "stock_out", "short", "note")
    return told.sort("stock_out", descending=True, nulls_last=True, maintain_order=True)


def _noted(stock: pl.DataFrame, found: pl.DataFrame, without: pl.DataFrame | None) -> pl.DataFrame:
    """Each row of ``stock`` with its ``row`` of ``found`` and what stands there, or a ``note`` why
    there is none. Raises UserError if no item of it is of the log.
    """
    joined = stock.join(found.with_row_index("row"), "item", how="left", maintain_order="left")
    if without is not None:
        joined = joined.join(without, "item", how="left", maintain_order="left")
        joined = joined.with_columns(pl.coalesce("title", "title_right"))
    else:
        joined = joined.with_columns(note=pl.lit(None, pl.String))
    strange = joined["row"].is_null() & joined["note"].is_null()
    if strange.all():
        raise UserError(
            f"stock=: none of its items is in the log: they are like "
            f"{listed(stock['item'].head(3))}, and those of the log like "
            f"{listed(found['item'].head(3))}."
        )
    note = pl.when(pl.Series(strange)).then(pl.lit(UNKNOWN)).otherwise("note")
    return joined.with_columns(pl.col("title").fill_null(""), note=note)


def told_without(stock: pl.DataFrame) -> tuple[str, ...]:
    """A sentence about the items of a table of :func:`reorder` that have no forecast, if any."""
    if "note" not in stock.columns:
        return ()
    without = stock.filter(pl.col("note").is_not_null())
    if not len(without):
        return ()
    named = listed((f"{row['item']} ({row['note']})" for row in without.iter_rows(named=True)), 5)
    return (
        f"stock=: {len(without):,} of {len(stock):,} items have no forecast, and nothing is said "
        f"of how long their stock lasts: {named}.",
    )
