"""Popularity within the categories of a history: what is popular among items like those so far."""

from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from lightning_rec.data.features import COLUMNS, multi_hot
from lightning_rec.data.names import no_column
from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError, listed
from lightning_rec.models.base import InnerProduct, ItemVectors
from lightning_rec.models.layers import gather


class CategoryPopularity(InnerProduct):
    """Scores an item by its share of the events of each category that a history is about.

    With p(g | h) the share of category g among all categories of the items of a history h, and
    p(i | g) the share of item i among the training events of items of g, the score is the sum of
    p(g | h) p(i | g) over the categories. A history that is about nothing has no recommendations
    but ties. Shapes: V = num_items, G = categories, at most 256 of them, M queries.

    Args:
        column: of the catalogue, of lists or of texts parted by ``|``, ``;`` or commas; None takes
            the first that is called genres, categories, tags or the like.

    Raises UserError where the catalogue has no categories.
    """

    objectives = ("closed_form",)
    needs_order = False
    about: Tensor
    counts: Tensor

    def __init__(self, schema: Schema, column: str | None = None) -> None:
        super().__init__(schema)
        self.column = column
        self.register_buffer("about", torch.zeros(schema.num_items, 1))
        self.register_buffer("counts", torch.zeros(schema.num_items))

    def read_catalogue(self, catalogue: pl.DataFrame) -> None:
        """Know the categories of items: row i describes item i."""
        if self.column is not None:
            if self.column not in catalogue.columns:
                raise UserError(
                    no_column("The catalogue", self.column, "model.column", catalogue.columns)
                )
            catalogue = catalogue.select(pl.col(self.column).alias(COLUMNS[0]))
        found = multi_hot(catalogue, np.arange(len(catalogue)))
        if found is None:
            raise UserError(
                "model=category_popularity: the catalogue has no column of categories "
                f"({listed(COLUMNS)}): name one, model.column=NAME, or use model=popularity."
            )
        self.about = torch.from_numpy(found)

    def fit(self, split: Split) -> None:
        """Count the training events of each item."""
        self.counts.copy_(torch.from_numpy(split.train_counts.copy()))

    def forward(self, histories: Histories, positions: Tensor) -> Tensor:
        """The share of each category in the history up to a position: float [M, G]."""
        items = histories.items
        inside = items < self.schema.num_items
        about = self.about[items.masked_fill(~inside, 0)] * inside[..., None]
        profile = gather(about.cumsum(dim=1), positions)
        return profile / profile.sum(dim=1, keepdim=True).clamp(min=1)

    def vectors(self, items: Tensor | None = None) -> ItemVectors:
        """The share of an item among the events of each of its categories: float [n, G]."""
        events = self.counts @ self.about  # of each category
        share = self.about * self.counts[:, None] / events.clamp(min=1)
        return ItemVectors(share if items is None else share[items], None)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # How many categories there are only the saved one knows.
        if (saved := state_dict.get(f"{prefix}about")) is not None:
            self.about = torch.empty_like(saved)
        super()._load_from_state_dict(state_dict, prefix, *rest)
