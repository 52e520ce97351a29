"""BM25 against its formula, on words of several scripts; what is saved is what was fitted."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_rec.errors import UserError

pytest.importorskip("bm25s")
from lightning_rec.models.text.bm25 import BM25
from lightning_rec.models.text.matcher import Texts

TITLES = [
    "Simpson Strong-Tie 12-Gauge Angle",
    "angle bracket, an angle",
    "Brackets of steel",
    "стол из дерева",
    "!!!",
    "red lamp red red",
]
QUERIES = ["angle bracket", "RED red lamp", "nothing like it", "стол", "?"]


def by_the_formula(query: str, titles: list[str], k1: float, b: float) -> list[float]:
    words = [re.findall(r"\w+", title.lower()) for title in titles]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for own in words:
        count, score = Counter(own), 0.0
        for word in re.findall(r"\w+", query.lower()):
            having = sum(word in other for other in words)
            idf = math.log(1 + (len(words) - having + 0.5) / (having + 0.5))
            score += idf * count[word] / (count[word] + k1 * (1 - b + b * len(own) / mean))
        scores.append(score)
    return scores


@pytest.fixture
def fitted() -> BM25:
    model = BM25(k1=1.4, b=0.6, stemmer=None)
    model.fit(TITLES)
    return model


def scores_of(model: BM25) -> torch.Tensor:
    queries = model.read(QUERIES, item=False)
    return model.against(queries.take(torch.arange(len(QUERIES)).numpy()), None)


def test_scores_are_those_of_the_formula(fitted: BM25) -> None:
    wanted = torch.tensor([by_the_formula(query, TITLES, 1.4, 0.6) for query in QUERIES])
    found = scores_of(fitted)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert found[2].abs().max() == 0
    texts = Texts(fitted.read(QUERIES, item=False), fitted.read(TITLES, item=True))
    query, item = torch.tensor([1, 0, 3, 4]), torch.tensor([5, 1, 3, 0])
    torch.testing.assert_close(fitted.pairs(texts, query, item), found[query, item])


def test_queries_of_which_it_knows_no_word_find_nothing(fitted: BM25) -> None:
    queries = fitted.read(["nothing like it", "?"], item=False)
    scores = fitted.against(queries.take(torch.arange(2).numpy()), None)
    assert torch.equal(scores, torch.zeros(2, len(TITLES)))


def test_it_is_whole_once_loaded(fitted: BM25, tmp_path: Path) -> None:
    save_file(fitted.state_dict(), tmp_path / "bm25.safetensors")
    other = BM25(k1=1.4, b=0.6, stemmer=None)
    assert not other.fitted
    whole: Any = other
    whole.load_state_dict(load_file(tmp_path / "bm25.safetensors"))
    assert whole.fitted
    assert torch.equal(scores_of(other), scores_of(fitted))


def test_stems_meet() -> None:
    pytest.importorskip("Stemmer")
    model = BM25()
    model.fit(TITLES)
    found = scores_of(model)[0]
    assert found[2] > 0  # bracket, Brackets
    with pytest.raises(UserError, match=r"model\.stemmer=klingon: there are .*english"):
        BM25(stemmer="klingon")


def test_a_catalogue_without_words_is_refused() -> None:
    with pytest.raises(UserError, match="no words"):
        BM25(stemmer=None).fit(["!!!", "?"])
