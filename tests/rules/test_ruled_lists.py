"""Caps leave no list short that chance or diversity chose, as long as the catalogue has more."""

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from lightning_rec.predict.asking import Catalogue
from lightning_rec.predict.ruled import Lists, ruled_lists
from lightning_rec.predict.told import Told
from lightning_rec.retrieval.exact import Found
from lightning_rec.rules.ready import made_ready
from lightning_rec.rules.rules import Rules

TRIALS = 20_000
SCORES = torch.tensor([2.0, 1.8, 1.5, 1.0, 0.7, 0.2])
VECTORS = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 1]])
GROUPS = [["a"], ["b"], ["a", "b"], ["c"], ["d"], ["c", "d"]]


def lists(rules: Rules, k: int, groups: list[list[str]]) -> Lists:
    items = pl.DataFrame({"item": [f"i{n}" for n in range(6)], "g": groups})
    ready = made_ready(
        rules, items, Catalogue(items).codes, lambda: VECTORS, lambda: np.ones(6, np.int64)
    )

    def top(rows: Tensor, most: int) -> Found:
        none = rows.new_zeros(0)
        codes = torch.arange(6)[:most].expand(len(rows), -1)
        return Found(codes, SCORES[codes], none, none.float(), none)

    keys = np.arange(TRIALS, dtype=np.uint64)
    return ruled_lists(top, keys, k, 6, ready, Told())


@pytest.mark.parametrize("explore", ["softmax:1", "epsilon:0.8", "thompson:4"])
def test_drawn_lists_are_whole_and_propensities_are_frequencies(explore: str) -> None:
    """Of three candidates the third leaves no other: the next come from further down."""
    found = lists(Rules(per="g:1", explore=explore, pool=3), 2, GROUPS)
    assert found.propensity is not None
    order = np.lexsort([found.rank, found.row])
    place = found.item[order].reshape(TRIALS, 2)  # every list has two
    said = found.propensity[order].reshape(TRIALS, 2)
    assert (place[:, 0] == 2).sum() > 500
    for own in np.unique(place, axis=0):
        groups = [group for item in own for group in GROUPS[item]]
        assert len(set(groups)) == len(groups)
    for rank in range(2):
        for prefix in np.unique(place[:, :rank], axis=0):
            of = (place[:, :rank] == prefix).all(axis=1)
            if (number := of.sum()) < 1000:
                continue
            for item in np.unique(place[of, rank]):
                here = of & (place[:, rank] == item)
                (share,) = set(said[here, rank].round(12))
                error = 4.5 * np.sqrt(share * (1 - share) / number) + 1e-6
                assert abs(here.sum() / number - share) < error, (rank, prefix, item)


def test_diverse_lists_are_whole() -> None:
    """The fourth is unlike the first, and stands for the groups of the second and the third."""
    groups = [["a"], ["b"], ["c"], ["b", "c"], ["d"], ["e"]]
    found = lists(Rules(per="g:1", diversity="mmr:0.9", pool=4), 3, groups)
    assert found.item.reshape(TRIALS, 3)[0].tolist() == [0, 3, 5]
    assert np.bincount(found.row).tolist() == [3] * TRIALS
