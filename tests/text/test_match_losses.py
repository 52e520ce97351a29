"""Losses of matching against plain re-computations, pair by pair."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_rec.language.load import Language, load_language
from lightning_rec.language.tokens import tokenize
from lightning_rec.losses.matching import InfoNCE, PairInputs, RelevanceBCE, RelevanceMSE
from lightning_rec.models.text.bi_encoder import BiEncoder

QUERIES = ["red lamp", "old door", "red chair"]
ITEMS = ["red steel lamp", "old wood door", "a red soft chair", "blue paint", "red lamp of wood"]
RELEVANT = {(0, 0), (0, 4), (1, 1), (2, 2)}


class FewPairs:
    """What a loss asks of pairs."""

    num_items = len(ITEMS)

    def no_negatives(self, positive: bool = True) -> np.ndarray:
        return np.array(sorted(query * len(ITEMS) + item for query, item in RELEVANT))


@pytest.fixture
def model(tiny_bert: Path) -> BiEncoder:
    def load(name: str, pooling: Any, normalize: bool) -> Language:
        return load_language(tiny_bert, pooling, normalize)

    return BiEncoder(load).eval()


def inputs_of(model: BiEncoder, query: list[int], item: list[int], gain: list[float]) -> PairInputs:
    queries = tokenize(QUERIES, model.tokenizer, 8).take(np.array(query))
    items = tokenize(ITEMS, model.tokenizer, 8).take(np.maximum(item, 0))
    return PairInputs(torch.tensor(query), torch.tensor(item), queries, items, torch.tensor(gain))


def score(model: BiEncoder) -> Tensor:
    queries, items = (tokenize(each, model.tokenizer, 8) for each in (QUERIES, ITEMS))
    one = model.vectors(queries.take(np.arange(3)))
    return one @ model.vectors(items.take(np.arange(5))).T


@pytest.mark.parametrize("further", [[], [3, 4, -1], [0, 3, 3]])
def test_info_nce_leaves_out_what_is_relevant(model: BiEncoder, further: list[int]) -> None:
    query, item = [0, 1, 2], [0, 1, 2]
    given = inputs_of(model, query, item + further, [1.0, 1.0, 1.0])
    loss = InfoNCE(FewPairs(), temperature=0.3)(model, given)
    scores, wanted = score(model) / 0.3, []
    for place, own in zip(query, item, strict=True):
        others = [
            scores[place, other].exp()
            for at, other in enumerate(item + further)
            if other >= 0 and at != place and (place, other) not in RELEVANT
        ]
        top = scores[place, own].exp()
        wanted.append(-torch.log(top / (top + sum(others))))
    torch.testing.assert_close(loss, torch.stack(wanted).mean(), atol=1e-5, rtol=1e-5)


def test_the_same_item_twice_is_nobodys_negative(model: BiEncoder) -> None:
    given = inputs_of(model, [0, 0], [0, 4], [1.0, 1.0])
    loss = InfoNCE(FewPairs())(model, given)
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("further", [[], [3, -1, 4, 0]])
def test_relevance_of_each_pair_alone(model: BiEncoder, further: list[int]) -> None:
    query, item, gain = [0, 1], [4, 2], [0.75, 0.25]
    given = inputs_of(model, query, item + further, gain)
    scores = score(model)
    pairs = [(0, 4, 0.75), (1, 2, 0.25)]
    if further:
        pairs += [(0, 3, 0.0), (1, 4, 0.0), (1, 0, 0.0)]
    squares = [(scores[q, i].item() - g) ** 2 for q, i, g in pairs]
    assert RelevanceMSE()(model, given).item() == pytest.approx(sum(squares) / len(pairs), abs=1e-5)
    entropies = []
    for q, i, g in pairs:
        p = 1 / (1 + math.exp(-scores[q, i].item()))
        entropies.append(-g * math.log(p) - (1 - g) * math.log(1 - p))
    found = RelevanceBCE()(model, given).item()
    assert found == pytest.approx(sum(entropies) / len(pairs), abs=1e-5)
    assert RelevanceMSE().relevance(torch.tensor([-1.0, 0.5, 2.0])).tolist() == [0, 0.5, 1]
