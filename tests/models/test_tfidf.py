"""TF-IDF against its formula, word by word."""

import math
import re
from collections import Counter

import polars as pl
import pytest
import torch

from lightning_rec.data.split import Histories, Schema
from lightning_rec.errors import UserError
from lightning_rec.models.classic.tfidf import TFIDF

CATALOGUE = pl.DataFrame(
    {
        "title": ["The Red Balloon", "Red Desert", None, "The the END"],
        "genres": [["Children's", "Drama"], ["Drama"], ["Western"], []],
        "year": [1956, 1964, 1970, 1999],
    }
)
TEXTS = ["the red balloon children's drama", "red desert drama", "western", "the the end"]
HISTORY = torch.tensor([[0, 3, 1, 4], [2, 4, 4, 4]])  # 4 is padding


def vectors() -> list[dict[str, float]]:
    """Counts times ln((1 + n) / (1 + df)) + 1, to length 1."""
    words = [Counter(re.findall(r"\w\w+", text)) for text in TEXTS]
    documents = Counter(word for bag in words for word in bag)
    weighted = [
        {w: n * (math.log((1 + len(TEXTS)) / (1 + documents[w])) + 1) for w, n in bag.items()}
        for bag in words
    ]
    lengths = [math.sqrt(sum(x * x for x in bag.values())) for bag in weighted]
    return [{w: x / n for w, x in bag.items()} for bag, n in zip(weighted, lengths, strict=True)]


def likeness(i: int, j: int) -> float:
    a, b = vectors()[i], vectors()[j]
    return sum(x * b.get(word, 0.0) for word, x in a.items())


def made(**settings: object) -> TFIDF:
    model = TFIDF(Schema(4, 10, 2), **settings)
    model.read_catalogue(CATALOGUE)
    return model


@pytest.mark.parametrize(
    ("half_life", "weights"), [(None, [1 / 3] * 3), (1.0, [1 / 7, 2 / 7, 4 / 7])]
)
def test_items_are_scored_by_the_mean_of_the_history(
    half_life: float | None, weights: list[float]
) -> None:
    model = made(half_life=half_life)
    found = model.scores(model(Histories(HISTORY, torch.tensor([0, 1])), torch.tensor([2, 0])))
    for item in range(4):
        parts = zip(weights, (0, 3, 1), strict=True)
        wanted = sum(weight * likeness(item, past) for weight, past in parts)
        assert float(found[0, item]) == pytest.approx(wanted, abs=1e-6)
        assert float(found[1, item]) == pytest.approx(likeness(item, 2), abs=1e-6)


def test_what_was_had_twice_weighs_twice() -> None:
    model = made()
    twice = Histories(torch.tensor([[0, 0, 1]]), torch.tensor([0]))
    found = model.scores(model(twice, torch.tensor([2])), torch.tensor([3]))
    wanted = (2 * likeness(3, 0) + likeness(3, 1)) / 3
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_a_long_history_does_not_overflow() -> None:
    model = made(half_life=0.5)
    long = Histories(torch.zeros(1, 5000, dtype=torch.int64), torch.tensor([0]))
    for place in (0, 4999):
        assert model(long, torch.tensor([place])).norm() == pytest.approx(1, abs=1e-5)


def test_the_most_frequent_words_are_kept() -> None:
    assert made(max_words=2).words.shape == (4, 2)


def test_a_catalogue_without_words_is_refused_with_what_it_has() -> None:
    with pytest.raises(UserError, match=r"name, descr.*has none of them.*title, genres, year"):
        made(columns=("name", "descr"))
    with pytest.raises(UserError, match="no words"):
        TFIDF(Schema(2, 10, 2)).read_catalogue(pl.DataFrame({"title": [None, "a"]}))
