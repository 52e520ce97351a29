"""Whether two catalogues mean the same by the same ids."""

import polars as pl

from lightning_rec.data.ids import ids_of
from lightning_rec.errors import UserError


def check_titles(ours: pl.DataFrame, theirs: pl.DataFrame) -> None:
    """Raise UserError where the same ids name other things: few titles have a word in common."""
    if not all("title" in each.columns for each in (ours, theirs)):
        return
    names = (each.select(pl.col("item"), pl.col("title")) for each in (ours, theirs))
    first, second = (each.with_columns(ids_of(each["item"])).drop_nulls() for each in names)
    both = first.join(second, "item", maintain_order="left").with_columns(
        words=pl.col("title").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]{3,}"),
        others=pl.col("title_right").str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]{3,}"),
    )
    both = both.filter((pl.col("words").list.len() > 0) & (pl.col("others").list.len() > 0))
    met = both["words"].list.set_intersection(both["others"]).list.len() > 0
    if len(both) and met.mean() < 0.5:  # type: ignore[operator]
        item, here, there = both.filter(~met).select("item", "title", "title_right").row(0)
        raise UserError(
            f"The two models number different things alike: item {item} is '{here}' in one, and "
            f"'{there}' in the other. Train both over one catalogue."
        )
