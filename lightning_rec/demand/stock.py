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


def stock_of(table: pl.DataFrame, where: object) -> pl.DataFrame:
    """``item`` as text and ``stock`` of a table of both.

    Raises UserError if a column is missing, an item stands twice, or a stock is no number from 0.
    """
    for name in COLUMNS:
        if name not in table.columns:
            raise UserError(lacking(where, name, table.columns))
    stock = table["stock"].cast(pl.Float64, strict=False)
    wrong = stock.is_null() | stock.is_nan() | (stock < 0)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        said = table["stock"][row]
        raise UserError(f"{where}: the stock in row {row + 1} is {said!r}: it is a number from 0.")
    found = pl.DataFrame({"item": ids_of(table["item"]), "stock": stock})
    if found["item"].is_duplicated().any():
        twice = found.filter(pl.col("item").is_duplicated())["item"][0]
        raise UserError(f"{where}: item {twice} stands there twice: say its stock once.")
    return found


def point_of(forecast: Forecast, lead: int, service: float) -> Floats:
    """The least stock that lasts over ``lead`` periods with probability ``service``: float64 [N].

    Cycle service level, with nothing on order (Silver, Pyke and Thomas 2017, chapter 6). Of whole
    quantities it is one.
    """
    point = np.quantile(forecast.over(lead), service, axis=0, method="inverted_cdf")
    return np.ceil(np.round(point, 3)) if forecast.whole else point


def reorder(
    demand: Demand, forecast: Forecast, lead: int, service: float, stock: pl.DataFrame | None
) -> pl.DataFrame:
    """A row for each item: ``item``, ``title``, ``expected`` (demand over the lead time),
    ``reorder_point``, and with ``stock``: ``stock``, ``stock_out`` (the probability that more is
    asked for than there is) and ``short``, what is missing to the point.

    Raises UserError if no item of ``stock`` is known.
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
    joined = found.with_row_index("row").join(stock, "item", maintain_order="left")
    if not len(joined):
        raise UserError(
            f"stock=: none is forecast: its items are like {listed(stock['item'].head(3))}, "
            f"and those of the log like {listed(demand.keys.head(3))}."
        )
    rows, held = joined["row"].to_numpy(), joined["stock"].to_numpy()
    out = (over[:, rows] > held).mean(0)
    short = np.maximum(joined["reorder_point"].to_numpy() - held, 0)
    told = joined.drop("row").with_columns(stock_out=pl.Series(out), short=pl.Series(short))
    return told.sort("stock_out", descending=True)
