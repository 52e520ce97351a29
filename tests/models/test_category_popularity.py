"""Popularity within the categories of a history, by hand."""

import numpy as np
import polars as pl
import pytest
import torch

from lightning_rec.data.split import Histories, Schema, Split
from lightning_rec.errors import UserError
from lightning_rec.models.classic.category_popularity import CategoryPopularity


def test_scores_are_shares_of_categories_times_shares_of_items(leave_one_out: Split) -> None:
    chance = np.random.default_rng(0)
    genres = [
        [f"g{g}" for g in range(4) if chance.random() < 0.4] for _ in range(leave_one_out.num_items)
    ]
    model = CategoryPopularity(Schema(leave_one_out.num_items, 5, 1))
    model.read_catalogue(pl.DataFrame({"genres": genres}, schema={"genres": pl.List(pl.String)}))
    model.fit(leave_one_out)
    history = [3, 7, 3, 11]
    padding = leave_one_out.num_items
    histories = Histories(torch.tensor([[*history, padding]]), torch.tensor([-1]))
    found = model.scores(model(histories, torch.tensor([3])))[0]
    wanted = np.zeros(leave_one_out.num_items)
    of_history = [g for item in history for g in genres[item]]
    for g in set(of_history):
        members = [item for item, own in enumerate(genres) if g in own]
        events = sum(leave_one_out.train_counts[item] for item in members)
        for item in members:
            share = of_history.count(g) / len(of_history)
            wanted[item] += share * leave_one_out.train_counts[item] / events
    assert wanted.max() > 0
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5, atol=1e-9)


def test_a_catalogue_without_categories_is_refused() -> None:
    with pytest.raises(UserError, match="model=popularity"):
        CategoryPopularity(Schema(2, 5, 1)).read_catalogue(pl.DataFrame({"title": ["a", "b"]}))
    with pytest.raises(UserError, match=r"no column 'kin' for model\.column"):
        CategoryPopularity(Schema(2, 5, 1), "kin").read_catalogue(
            pl.DataFrame({"kind": ["a", "b"]})
        )
