"""Bi-encoder and cross-encoder: what they compute does not depend on company, order or blocks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_rec.errors import UserError
from lightning_rec.language.blocks import encode
from lightning_rec.language.cached import read_all
from lightning_rec.language.encoder import Pooling
from lightning_rec.language.joined import Joint
from lightning_rec.language.load import Language, load_language
from lightning_rec.language.tokens import Tokens, tokenize
from lightning_rec.models.text.bi_encoder import BiEncoder
from lightning_rec.models.text.cross_encoder import CrossEncoder
from lightning_rec.models.text.matcher import CatalogueScorer, Texts, TextScorer
from lightning_rec.retrieval.exact import Pairs
from lightning_rec.retrieval.texts import ExactRetriever, Reranker

TITLES = [f"{one} {other} lamp" for one in ("red", "old", "soft") for other in ("steel", "wood")]
TITLES += ["a very large soft blue chair of wood and steel", "стол", "door " * 30_000]
QUERIES = ["red lamp", "chair", "wood door of the old user", "жёлтый 灯"]
KINDS = pytest.mark.parametrize("kind", ["bert", "gpt"])


class Plain(CatalogueScorer):
    """A retriever that knows its scores beforehand; one query is one token, its own code."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = table

    def read(self, texts: list[str], *, item: bool) -> Any:
        raise NotImplementedError

    def pairs(self, texts: Texts, query: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        return self.table[query, item]

    def index(self, items: Any, make: Any) -> None:
        return None

    def against(self, queries: Tokens, index: Any) -> torch.Tensor:
        return self.table[queries.ids[:, 0]]


class Codes:
    """Queries as tokens: their own codes."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def take(self, which: np.ndarray) -> Tokens:
        ids = torch.from_numpy(which)[:, None]
        return Tokens(ids, torch.ones_like(ids, dtype=torch.bool))


def loader(folder: Path) -> Any:
    def load(name: str, pooling: Pooling | None, normalize: bool) -> Language:
        return load_language(folder, pooling, normalize)

    return load


@pytest.fixture
def folder(kind: str, tiny_bert: Path, tiny_gpt: Path) -> Path:
    return {"bert": tiny_bert, "gpt": tiny_gpt}[kind]


def read(model: TextScorer) -> Texts:
    return Texts(model.read(QUERIES, item=False), model.read(TITLES, item=True))


@KINDS
def test_a_bi_encoder_scores_by_cosines(folder: Path) -> None:
    model = BiEncoder(loader(folder)).eval()
    texts, load = read(model), load_language(folder)
    vectors = []
    for each in (QUERIES, TITLES):
        made = [
            load.encoder.eval()(
                tokenize([text], load.tokenizer, 16 if each is QUERIES else 32).take(np.array([0]))
            )
            for text in each
        ]
        vectors.append(torch.cat(made))
    wanted = vectors[0] @ vectors[1].T
    with torch.no_grad():
        index = model.index(texts.items, read_all)
        found = model.against(texts.queries.take(np.arange(4)), index)
        query, item = torch.tensor([3, 0, 0, 2, 1]), torch.tensor([8, 1, 1, 7, 6])
        pairs = model.pairs(texts, query, item)
        aligned = model(texts.queries.take(query.numpy()), texts.items.take(item.numpy()))
    torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(pairs, wanted[query, item].detach(), atol=1e-5, rtol=0)
    torch.testing.assert_close(aligned, pairs, atol=1e-5, rtol=0)


@KINDS
def test_two_texts_are_written_as_the_tokenizer_writes_them(folder: Path) -> None:
    tokenizer = load_language(folder).tokenizer
    joint = Joint.of(tokenizer)
    ones, others = (tokenize(each, tokenizer, 12, special=False) for each in (QUERIES, TITLES[-4:]))
    made = joint.write(ones.take(np.arange(4)), others.take(np.arange(4)))
    for row, (one, other) in enumerate(zip(QUERIES, TITLES[-4:], strict=True)):
        wanted = tokenizer(one, " ".join(other.split()[:12]), return_token_type_ids=True)
        assert made.ids[row][made.mask[row]].tolist() == wanted["input_ids"]
        if made.kinds is not None:
            assert made.kinds[row][made.mask[row]].tolist() == wanted["token_type_ids"]
    assert (joint.size == 3) == (folder.name == "bert")
    length = made.mask.sum(dim=1)
    assert (made.mask == (torch.arange(made.ids.shape[1]) < length[:, None])).all()


@KINDS
def test_a_cross_encoder_reads_pairs_alike_in_any_company(folder: Path) -> None:
    torch.manual_seed(0)
    model = CrossEncoder(loader(folder), Plain(torch.zeros(4, 9))).eval()
    texts = read(model)
    query = torch.arange(4).repeat_interleave(9)
    item = torch.arange(9).repeat(4)
    with torch.no_grad():
        found = model.pairs(texts, query, item)
        again = torch.cat(
            [model.pairs(texts, query[i : i + 1], item[i : i + 1]) for i in range(36)]
        )
        aligned = model(texts.queries.take(query.numpy()), texts.items.take(item.numpy()))
    torch.testing.assert_close(found, again, atol=1e-5, rtol=0)
    torch.testing.assert_close(found, aligned, atol=1e-5, rtol=0)
    assert len(found.unique()) > 20
    assert len(model.pairs(texts, query[:0], item[:0])) == 0
    kinds = model.joint.kinds
    assert kinds == (folder.name == "bert")
    if kinds:
        model.joint = model.joint._replace(kinds=False)
        assert not torch.allclose(model.pairs(texts, query, item), found, atol=1e-4)


def test_texts_longer_than_the_model_reads_are_refused(tiny_bert: Path) -> None:
    with pytest.raises(UserError, match=r"model\.max_item_tokens=65: .* reads 64 tokens at most"):
        BiEncoder(loader(tiny_bert), max_item_tokens=65)
    with pytest.raises(UserError, match=r"max_item_tokens \+ 3 special tokens=67: .* reads 64"):
        CrossEncoder(loader(tiny_bert), Plain(torch.zeros(1, 1)), max_item_tokens=48)


def test_blocks_change_nothing(tiny_bert: Path) -> None:
    encoder = load_language(tiny_bert).encoder.eval()
    tokens = tokenize(TITLES * 5, load_language(tiny_bert).tokenizer, 20).take(np.arange(45))
    with torch.no_grad():
        torch.testing.assert_close(encode(encoder, tokens), encoder(tokens), atol=1e-5, rtol=0)


@pytest.fixture
def table() -> torch.Tensor:
    """Scores of 50 items for 7 queries, with ties."""
    return torch.randint(30, (7, 50), generator=torch.Generator().manual_seed(1)).float()


@pytest.mark.parametrize("score_bytes", [1, 4 * 50 * 3, 2**20])
def test_the_catalogue_is_ranked_exactly(
    table: torch.Tensor, score_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_rec.retrieval.texts.SCORE_BYTES", score_bytes)
    table[2, 5] = torch.nan
    retrieve = ExactRetriever(Plain(table), Texts(Codes(7), Codes(50)))
    query = torch.tensor([6, 2, 0])
    row = torch.tensor([0, 0, 1, 1, 2])
    item = torch.tensor([3, 49, 5, 6, 7])
    found = retrieve.top(query, 4, Pairs(row, item))
    own = table[query[row], item]
    assert found.rank.tolist()[2] == 50  # no number
    for at in (0, 1, 3, 4):
        others = table[query[row[at]]].nan_to_num(-1)
        assert found.rank[at] == (others >= own[at]).sum()
        assert found.score[at] == own[at]
    assert found.items.shape == (3, 4)
    best = table[query].nan_to_num(-1).topk(4).values
    assert torch.equal(found.scores, best)
    assert torch.equal(table[query].gather(1, found.items), best)
    assert retrieve.top(query, 400).items.shape == (3, 50)


def test_what_has_no_more_than_the_floor_is_not_found(table: torch.Tensor) -> None:
    model = Plain((table - 28).clamp(min=0))
    model.floor = 0.0
    retrieve = ExactRetriever(model, Texts(Codes(7), Codes(50)))
    every = torch.arange(50)
    found = retrieve.top(torch.tensor([0]), 50, Pairs(torch.zeros_like(every), every))
    there = model.table[0] > 0
    assert (found.rank > 0).equal(there)
    assert (found.items >= 0).sum() == there.sum()


def test_reranking_moves_the_first_ones_alone(table: torch.Tensor) -> None:
    distinct = table + torch.linspace(0, 0.5, 50)
    second = torch.randn(7, 50, generator=torch.Generator().manual_seed(2))
    texts = Texts(Codes(7), Codes(50))
    first = ExactRetriever(Plain(distinct), texts)
    rerank = Reranker(Plain(second), texts, first, 10)
    query, every = torch.tensor([4]), torch.arange(50)
    pairs = Pairs(torch.zeros_like(every), every)
    before, after = first.top(query, 50, pairs), rerank.top(query, 5, pairs)
    top = before.items[0, :10]
    order = top[second[4, top].argsort(descending=True)]
    assert after.items[0].tolist() == order[:5].tolist()
    assert after.rank[order].tolist() == list(range(1, 11))
    rest = before.items[0, 10:]
    assert after.rank[rest].tolist() == before.rank[rest].tolist() == list(range(11, 51))
    assert torch.equal(after.score, second[4])
    assert rerank.longest == 10


def test_vectors_are_made_anew_when_weights_have_moved(tiny_bert: Path) -> None:
    model = BiEncoder(loader(tiny_bert)).eval()
    made = []
    texts = read(model)

    def counted(encoder: Any, items: Any) -> torch.Tensor:
        made.append(len(items))
        return read_all(encoder, items)

    retrieve = ExactRetriever(model, texts, counted)
    query = torch.arange(4)
    first = retrieve.top(query, 3)
    retrieve.renew()
    retrieve.renew()
    retrieve.top(query, 3)
    assert len(made) == 2  # nobody had looked at the weights before
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    model.vectors(texts.queries.take(np.arange(4))).sum().backward()
    optimizer.step()
    retrieve.renew()
    assert not torch.equal(retrieve.top(query, 3).scores, first.scores)
    assert len(made) == 3


def test_modes_are_left_as_they_were(tiny_bert: Path) -> None:
    model = BiEncoder(loader(tiny_bert))
    training = {name: module.training for name, module in model.named_modules()}
    assert len(set(training.values())) == 2
    ExactRetriever(model, read(model)).top(torch.arange(4), 3)
    assert training == {name: module.training for name, module in model.named_modules()}


@pytest.mark.parametrize("model", [BiEncoder, CrossEncoder])
def test_half_precision_keeps_scores_apart(model: Any, tiny_bert: Path) -> None:
    """Scores are float32 under autocast, as they are in validation, and hardly two are the same."""
    first = [Plain(torch.zeros(1, 1))] if model is CrossEncoder else []
    made = model(loader(tiny_bert), *first).eval()
    colours = ["red", "green", "blue", "round", "square", "small", "large", "soft", "hard", "old"]
    titles = [f"{one} {other} {third}" for one in colours for other in colours for third in colours]
    items, queries = made.read(titles, item=True), made.read(["red lamp"], item=False)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        if model is BiEncoder:
            found = made.against(queries.take(np.zeros(1, int)), made.index(items, read_all))[0]
        else:
            found = made(queries.take(np.zeros(1000, int)), items.take(np.arange(1000)))
    assert found.dtype == torch.float32
    assert len(found.unique()) > 300
