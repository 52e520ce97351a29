"""What the catalogue says an item is about, as a matrix: genres, categories, tags."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.types import Ints

COLUMNS = ("genres", "genre", "categories", "category", "attributes", "tags")  # the first there is
SEPARATORS = ("|", ";", ",")  # the first that occurs in the column parts its values
MOST = 256  # values kept, the most frequent ones


def multi_hot(items: pl.DataFrame, vocabulary: Ints) -> NDArray[np.float32] | None:
    """One column per genre, category or the like, by falling frequency: float32 [num_items, F] of 0
    and 1, F at most 256; None without any. See :func:`values_of`.
    """
    pairs = values_of(items, vocabulary)
    if pairs is None:
        return None
    counted = pairs.group_by("value").len().sort(["len", "value"], descending=[True, False])
    columns = counted.head(MOST).select("value").with_row_index("column")
    if not len(columns):
        return None
    at = pairs.join(columns, on="value")
    matrix = np.zeros((len(vocabulary), len(columns)), dtype=np.float32)
    matrix[at["row"].to_numpy(), at["column"].to_numpy()] = 1
    return matrix


def values_of(items: pl.DataFrame, vocabulary: Ints) -> pl.DataFrame | None:
    """What items are about, each value of an item once: ``row`` and ``value``; None where nothing
    is said. Of ``items``, row ``i`` of which describes code ``i``, the first of ``COLUMNS`` is
    taken: lists, or text parted by one of ``SEPARATORS``. ``vocabulary`` int64 [num_items] are the
    codes of the rows.
    """
    named = {name.lower(): items[name] for name in items.columns}
    known = (named[name] for name in COLUMNS if name in named)
    values = next((each for each in known if each.dtype in (pl.List(pl.String), pl.String)), None)
    if values is None:
        return None
    if values.dtype == pl.String:
        found = (sign for sign in SEPARATORS if values.str.contains(sign, literal=True).any())
        values = values.str.split(next(found, SEPARATORS[0]))
    pairs = values.gather(vocabulary.tolist()).to_frame("value").with_row_index("row")
    pairs = pairs.explode("value").with_columns(pl.col("value").str.strip_chars())
    return pairs.filter(pl.col("value").str.len_chars() > 0).unique()
