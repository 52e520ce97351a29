"""Indexes find what scoring everything finds, are changed in place, saved, opened, and refused."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from lightning_rec.build import load_run
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_file, write_json
from lightning_rec.predict.asking import Catalogue
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.retrieval.exact import Pairs
from lightning_rec.retrieval.index.base import Index
from lightning_rec.retrieval.index.kinds import KINDS, build_index, default_kind, open_index
from lightning_rec.retrieval.index.product import ProductIndex
from lightning_rec.retrieval.indexed import IndexRetriever

for library in ("faiss", "usearch"):
    pytest.importorskip(library)
APPROXIMATE = [kind for kind in KINDS if kind != "exact"]
GENERATOR = np.random.default_rng(3)
VECTORS = (GENERATOR.normal(size=(3000, 24)) * GENERATOR.lognormal(0, 0.3, (3000, 1))).astype("f4")
QUERIES = GENERATOR.normal(size=(40, 24)).astype("f4")


def by_hand(vectors: Any, ids: Any, queries: Any, k: int) -> list[list[int]]:
    """The ids of the largest products, one query at a time."""
    return [ids[np.argsort(-(vectors @ query))[:k]].tolist() for query in queries]


def shared(index: Index, vectors: Any, ids: Any, k: int = 10) -> float:
    """The share of the best that an index finds."""
    pairs = zip(index.search(QUERIES, k).ids, by_hand(vectors, ids, QUERIES, k), strict=True)
    return float(np.mean([len(set(found.tolist()) & set(best)) / k for found, best in pairs]))


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_is_stated_and_changes_in_place(kind: str, tmp_path: Path) -> None:
    ids = np.arange(3000) * 7 + 5
    index = build_index(VECTORS, kind, ids, QUERIES)
    assert shared(index, VECTORS, ids) == pytest.approx(index.recall, abs=0.01)
    assert index.recall > 0.9 if kind != "exact" else index.recall == 1
    found = index.search(QUERIES, 10)
    place = {int(each): row for row, each in enumerate(ids)}
    own = [
        VECTORS[place[int(best)]] @ query
        for best, query in zip(found.ids[:, 0], QUERIES, strict=True)
    ]
    assert np.allclose(found.scores[:, 0], own, atol=1e-4)
    assert (np.diff(found.scores, axis=1) <= 0).all()

    best = [int(each) for each in np.unique(found.ids[:, 0])]
    index.remove(np.array(best))
    assert not np.isin(best, index.search(QUERIES, 10).ids).any()
    index.add(np.array([2]), QUERIES[:1] * 50)
    assert index.search(QUERIES, 1).ids[0, 0] == 2
    index.replace(np.array([2]), -QUERIES[:1] * 50)
    assert 2 not in index.search(QUERIES[:1], 10).ids
    keep = ~np.isin(ids, best)
    now = np.vstack([VECTORS[keep], -QUERIES[:1] * 50]), np.append(ids[keep], 2)
    assert shared(index, *now) > 0.9

    index.save(tmp_path / "index")
    again = open_index(tmp_path / "index")
    assert (type(again), len(again)) == (type(index), len(index))
    assert again.recall == index.recall
    assert np.array_equal(again.search(QUERIES, 10).ids, index.search(QUERIES, 10).ids)
    again.add(np.array([9]), QUERIES[1:2] * 50)  # an opened one can be changed as well
    assert again.search(QUERIES, 1).ids[1, 0] == 9


@pytest.mark.parametrize("kind", KINDS)
def test_few_vectors_and_none(kind: str) -> None:
    index = build_index(VECTORS[:3], kind)
    found = index.search(QUERIES, 5)
    assert [sorted(each) for each in found.ids[:, :3].tolist()] == [[0, 1, 2]] * len(QUERIES)
    assert (found.ids[:, 3:] == -1).all()
    assert (found.scores[:, 3:] == -np.inf).all()
    index.remove(np.arange(3))
    assert (index.search(QUERIES, 2).ids == -1).all()


def test_scores_again_mend_what_codes_lose() -> None:
    index = build_index(VECTORS, "pq")
    assert isinstance(index, ProductIndex)
    assert index.codes.shape == (3000, 6)
    whole = shared(index, VECTORS, np.arange(3000))
    index.again = 0
    rough = shared(index, VECTORS, np.arange(3000))
    assert rough < whole
    rebuilt = by_hand(index.rebuilt(), np.arange(3000), QUERIES, 1)
    assert index.search(QUERIES, 1).ids.tolist() == rebuilt


def test_exact_is_the_default_until_a_million() -> None:
    assert default_kind(999_999) == "exact"
    assert default_kind(1_000_000) == "faiss"


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    index = build_index(VECTORS[:100], "usearch")
    with pytest.raises(UserError, match=r"Unknown index 'fais'.*faiss"):
        build_index(VECTORS, "fais")
    with pytest.raises(UserError, match="holds id 3 already"):
        index.add(np.array([3]), VECTORS[:1])
    with pytest.raises(UserError, match="holds no id 500"):
        index.remove(np.array([500]))
    with pytest.raises(UserError, match="no number"):
        index.replace(np.array([3]), np.full_like(VECTORS[:1], np.nan))
    with pytest.raises(UserError, match="7 wide, and those of the index 24"):
        index.add(np.array([500]), VECTORS[:1, :7])
    index.save(tmp_path / "index")
    data = tmp_path / "index" / "usearch.bin"
    data.write_bytes(data.read_bytes()[:200])
    with pytest.raises(UserError, match=r"usearch\.bin is missing, or not as it was written"):
        open_index(tmp_path / "index")
    path = tmp_path / "index" / "index.json"
    facts: Any = read_json(path)
    facts["files"]["usearch.bin"] = sha256_file(data)
    write_json(path, facts)
    with pytest.raises(UserError, match="cannot be read"):
        open_index(tmp_path / "index")
    write_json(path, facts | {"files": {"../x": "", "vectors.safetensors": ""}})
    with pytest.raises(UserError, match="not as it was written"):
        open_index(tmp_path / "index")


@pytest.mark.parametrize("kind", APPROXIMATE)
@pytest.mark.parametrize("model", ["sasrec", "bert4rec"])
def test_a_run_answers_by_an_index(model: str, kind: str, trained: Callable[[str], Path]) -> None:
    exact, indexed = (load_run(trained(model)) for _ in range(2))
    indexed.use_index(kind)
    users = [f"u{user}" for user in range(2, 30)]
    assert indexed.recommend(users=users, k=5)["item"].equals(
        exact.recommend(users=users, k=5)["item"]
    )
    items = ["i03", "i10"]
    assert indexed.similar(items, k=4)["similar"].equals(exact.similar(items, k=4)["similar"])
    with pytest.raises(UserError, match="Unknown index 'hnsw'"):
        indexed.use_index("hnsw")


def test_recall_is_told_of_users(
    trained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked, measure = load_run(trained("sasrec")), list[Any](), Index.measure

    def told(index: Index, queries: Any = None, k: int = 10) -> float:
        asked.append(queries)
        return measure(index, queries, k)

    monkeypatch.setattr(Index, "measure", told)
    run.use_index("pq")
    run.recommend(users=["u2"], k=5)
    assert isinstance(run, SequencePredictor)
    assert run.users is not None
    users = run.users["user"].to_list()[:200]
    np.testing.assert_allclose(asked[0], run.user_vectors(users=users)["vector"].to_numpy())


@pytest.mark.parametrize("kind", ["faiss", "usearch"])
def test_a_list_is_no_shorter_for_an_index_that_finds_few(kind: str) -> None:
    """Of so many that few cells, or neighbours, hold them; what is left out is asked for besides."""
    weight = torch.from_numpy(VECTORS)

    class Products:
        schema = SimpleNamespace(num_items=len(VECTORS))

        def vectors(self) -> tuple[torch.Tensor, None]:
            return weight, None

        def scores(self, queries: torch.Tensor, items: torch.Tensor | None) -> torch.Tensor:
            return queries @ (weight if items is None else weight[items]).T

    model: Any = Products()
    retriever = IndexRetriever(model, kind)
    queries, row = torch.from_numpy(QUERIES), torch.arange(4).repeat_interleave(1500)
    out = Pairs(row, torch.arange(1500).repeat(4))
    for k in (400, 1400, 3000):
        found = retriever.top(queries, k, left_out=out)
        here = (found.items >= 0).sum(1)
        assert here.tolist() == [min(k, 1500)] * 4 + [k] * 36
        own = (queries[:, None] * weight[found.items.clamp(min=0)]).sum(-1)
        assert torch.allclose(found.scores[found.items >= 0], own[found.items >= 0], atol=1e-4)
        assert not (found.items[:4][found.items[:4] >= 0] < 1500).any()
    similar = Catalogue(pl.DataFrame({"item": [f"i{n}" for n in range(len(VECTORS))]})).similar
    index = build_index((VECTORS / np.linalg.norm(VECTORS, axis=1)[:, None]).astype("f4"), kind)
    for k in (10, 2999):
        assert len(similar(weight, ["i3", "i9"], k, lambda _: index)) == 2 * k
