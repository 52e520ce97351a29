"""Pairs of a query and an item: read, made one, split by query, audited."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.matching.audit import audit_matches
from lightning_rec.data.matching.batches import PairSet, QuerySet
from lightning_rec.data.matching.pairs import Pairs, prepare_pairs
from lightning_rec.data.matching.pipeline import load_matches
from lightning_rec.data.matching.splits import ByQuery, Matches
from lightning_rec.data.sources.home_depot import HomeDepot
from lightning_rec.data.sources.insurance_qa import InsuranceQA
from lightning_rec.data.sources.pairs import PairTable
from lightning_rec.errors import LeakError, UserError

ODD = pl.DataFrame(
    {
        "q": ["Red  Lamp", "red lamp ", " ", None, "стол ニホンゴ", "red lamp", "old"],
        "id": ["a", "a", "b", "b", "c", "b", "d"],
        "text": ["a red lamp", "a red lamp", "door", "door", None, "door", "x" * 100_000],
        "rel": [1.0, 3.0, 1.0, 1.0, 2.0, 1.5, 2.5],
    }
)


def table(path: Path, **settings: Any) -> PairTable:
    columns = {"query": "q", "item": "id", "title": "text", "relevance": "rel"}
    return PairTable(str(path), **(columns | {"positive_from": 2.0} | settings))


def prepared(frame: pl.DataFrame, folder: Path, **settings: Any) -> Pairs:
    frame.write_parquet(folder / "odd.parquet")
    return prepare_pairs(table(folder / "odd.parquet", **settings), folder / "cache")


@pytest.fixture
def matches(pairs_csv: Path, tmp_path: Path) -> Matches:
    source = PairTable(
        str(pairs_csv), "term", "name", "sku", "grade", positive_from=2.5, scale=(1.0, 3.0)
    )
    return load_matches(source, ByQuery(0.1, 0.2, cutoffs=(1, 5)), tmp_path).data


def test_queries_that_differ_in_case_and_blanks_are_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = prepared(ODD, tmp_path)
    assert pairs.queries["query"].to_list() == ["Red  Lamp", "стол ニホンゴ", "old"]
    assert pairs.items["item"].to_list() == ["a", "c", "b", "d"]
    assert pairs.offsets.tolist() == [0, 2, 3, 4]
    assert pairs.item.tolist() == [0, 2, 1, 3]
    assert pairs.relevance.tolist() == [2.0, 1.5, 2.0, 2.5]  # the first is a mean
    assert pairs.gain.tolist() == [0.5, 0.0, 0.5, 1.0]
    assert pairs.positive.tolist() == [True, False, True, True]
    assert pairs.query.tolist() == [0, 0, 1, 2]
    assert pairs.keys().tolist() == [0, 5, 11]
    counts = pairs.info["counts"]
    assert counts["rows without a query"] == 2
    assert counts["rows of a pair that was there before"] == 1
    assert counts["items without a text"] == 1
    assert "2 rows without a query" in caplog.text
    assert "1 items without a text" in caplog.text


def test_it_is_prepared_once_and_knows_its_settings(tmp_path: Path) -> None:
    first = prepared(ODD, tmp_path)
    assert prepared(ODD, tmp_path).folder == first.folder
    other = prepared(ODD, tmp_path, positive_from=2.5)
    assert other.info["data_hash"] != first.info["data_hash"]
    assert other.positive.tolist() == [False, False, False, True]
    wide = prepared(ODD, tmp_path, scale=(1.0, 3.0))
    assert wide.gain.tolist() == [0.5, 0.25, 0.5, 0.75]


def test_without_judgements_every_pair_is_relevant(tmp_path: Path) -> None:
    pairs = prepared(ODD, tmp_path, relevance=None, positive_from=None)
    assert pairs.gain.tolist() == pairs.positive.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"query": "qq"},
            "no column 'qq' for data.query; it has: q, id, text, rel. Did you mean 'q'?",
        ),
        ({"query": None}, "data.query is not set"),
        ({"title": None}, "data.title is not set"),
        ({"positive_from": None}, "data.positive_from is not set"),
        ({"scale": (2.0, 3.0)}, "outside of data.scale=[2,3]"),
        ({"scale": (3.0, 1.0)}, "the lowest relevance comes first"),
        ({"relevance": "text"}, "row 1: 'a red lamp' in column 'text' for data.relevance is no"),
    ],
)
def test_what_cannot_be_used_is_told(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        prepared(ODD, tmp_path, **settings)
    assert said in str(error.value)


def test_nothing_but_empty_queries(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hold no pair"):
        prepared(ODD.with_columns(q=pl.lit(" ")), tmp_path)


def test_all_pairs_of_a_query_are_in_one_part(matches: Matches) -> None:
    assert [len(matches.part(name)) for name in ("train", "val", "test")] == [67, 10, 19]
    parts = [set(matches.pairs.query[matches.pairs_of(p)]) for p in ("train", "val", "test")]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]
    assert sum(len(matches.pairs_of(name)) for name in ("train", "val", "test")) == 576
    facts = audit_matches(matches)
    assert facts["test rate"] == pytest.approx(1 / 6, abs=1e-3)
    assert facts["test queries with the words of a training query"] == 0


def test_the_split_depends_on_its_seed_alone(matches: Matches) -> None:
    pairs = matches.pairs
    again = ByQuery(0.1, 0.2, cutoffs=(1, 5)).assign(pairs)
    assert np.array_equal(again.test, matches.test)
    other = ByQuery(0.1, 0.2, seed=1, cutoffs=(1, 5)).assign(pairs)
    assert not np.array_equal(other.test, matches.test)
    hashes = {ByQuery(seed=seed, val=val).hash() for seed in (0, 1) for val in (0.0, 0.1)}
    assert len(hashes) == 4


def test_the_audit_finds_a_query_on_both_sides(matches: Matches, tmp_path: Path) -> None:
    shared = np.sort(np.append(matches.train, matches.test[0]))
    with pytest.raises(LeakError, match="in two parts"):
        audit_matches(replace(matches, train=shared))
    folder = tmp_path / "doubled"
    folder.mkdir()
    for file in matches.pairs.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    queries = matches.pairs.queries["query"].to_list()
    queries[matches.test[0]] = queries[matches.train[0]].upper() + " "
    pl.DataFrame({"query": queries}).write_parquet(folder / "queries.parquet")
    with pytest.raises(LeakError, match="1 queries are in two parts"):
        audit_matches(replace(matches, pairs=Pairs(folder)))
    swapped = " ".join(reversed(queries[matches.train[0]].split()))
    queries[matches.test[0]] = swapped
    pl.DataFrame({"query": queries}).write_parquet(folder / "queries.parquet")
    facts = audit_matches(replace(matches, pairs=Pairs(folder)))
    assert facts["test queries with the words of a training query"] == 1


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ({"cutoffs": (1, 50)}, "has only 48 items"),
        ({"test": 0.001, "cutoffs": (1,)}, "leaves none in test"),
    ],
)
def test_a_split_that_cannot_be(matches: Matches, protocol: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ByQuery(**protocol).assign(matches.pairs)
    with pytest.raises(UserError, match="leave something to train on"):
        ByQuery(val=0.5, test=0.5)


def test_batches_are_whole(matches: Matches) -> None:
    positives, judged = PairSet(matches, True), PairSet(matches, False)
    assert (len(positives), len(judged)) == (67, 402)
    batch = positives.__getitems__([3, 0])
    assert batch.gain.tolist() == [1.0, 1.0]
    assert batch.query.tolist() == [matches.train[3], matches.train[0]]
    asked = QuerySet(matches, "test").__getitems__([2, 0, 1])
    assert asked.query.tolist() == matches.test[[2, 0, 1]].tolist()
    assert asked.row.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert matches.pairs.query[asked.pair.numpy()].tolist() == asked.query[asked.row].tolist()
    assert matches.pairs.item[asked.pair.numpy()].tolist() == asked.item.tolist()
    nothing = QuerySet(matches, "test").__getitems__([])
    assert len(nothing.query) == len(nothing.pair) == 0


def test_home_depot_is_latin_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        '"id","product_uid","product_title","search_term","relevance"\n'
        '2,100001,"Simpson 30å¡ ""Strong"" Angle","angle bracket",3\n'
        '3,100001,"Simpson 30å¡ ""Strong"" Angle","l bracket",2.5\n'
    )
    folder = tmp_path / "home-depot"
    folder.mkdir()
    (folder / "train.csv.gz").write_bytes(gzip.compress(text.encode("latin-1")))
    monkeypatch.setenv("LIGHTNING_REC_DATA", str(tmp_path))
    source = HomeDepot()
    rows = source.read(source.files())
    assert rows.row(1) == ("l bracket", "100001", 'Simpson 30å¡ "Strong" Angle', 2.5)
    pairs = prepare_pairs(source, tmp_path / "cache")
    assert pairs.gain.tolist() == [1.0, 0.75]
    (folder / "train.csv.gz").write_bytes(gzip.compress(text.encode("latin-1"))[:-9])
    with pytest.raises(UserError, match="is broken"):
        source.read(source.files())
    (folder / "train.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(UserError, match="no column search_term"):
        source.read(source.files())


def test_insurance_qa_has_a_pair_for_each_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "insurance-qa"
    folder.mkdir()
    texts = {"7": {"en": " Yes ,  it is. ", "zh": "是。"}, "9": {"en": "No.", "zh": "不。"}}
    asked = {"en": "Is  It  So? ", "zh": "是吗?", "answers": ["9", "7"], "negatives": ["7"]}
    files = {"answers": texts, "train": {"0": asked}, "valid": {}, "test": {"0": asked}}
    for name, content in files.items():
        packed = gzip.compress(json.dumps(content).encode())
        (folder / f"{name}.json.gz").write_bytes(packed)
    monkeypatch.setenv("LIGHTNING_REC_DATA", str(tmp_path))
    source = InsuranceQA()
    rows = source.read(source.files())
    one = [("Is It So?", "9", "No.", 1.0), ("Is It So?", "7", "Yes , it is.", 1.0)]
    assert rows.rows() == [*one, *one]
    pairs = prepare_pairs(source, tmp_path / "cache")
    assert (pairs.num_queries, pairs.num_items, pairs.positive.all()) == (1, 2, True)
    chinese = InsuranceQA(language="zh")
    assert chinese.read(chinese.files())["title"].to_list() == 2 * ["不。", "是。"]
    (folder / "train.json.gz").write_bytes(gzip.compress(b'{"0": {"de": "x"}}'))
    with pytest.raises(UserError, match=r"train\.json\.gz has other entries"):
        source.read(source.files())
    (folder / "answers.json.gz").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        source.read(source.files())


@pytest.mark.real
def test_insurance_qa_has_the_counts_that_are_known(tmp_path: Path) -> None:
    source = InsuranceQA()
    if source.public.here() is None:
        pytest.skip("InsuranceQA is not here")
    counts = load_matches(source, ByQuery(), tmp_path).counts
    assert (counts["rows"], counts["pairs"]) == (27_987, 27_967)
    assert (counts["items"], counts["queries"]) == (27_413, 16_865)


@pytest.mark.real
def test_home_depot_has_the_counts_that_are_known(tmp_path: Path) -> None:
    source = HomeDepot()
    if source.public.here() is None:
        pytest.skip("Home Depot is not here")
    loaded = load_matches(source, ByQuery(), tmp_path)
    counts = loaded.counts
    assert (counts["rows"], counts["items"]) == (74_067, 54_667)
    assert 11_700 < counts["queries"] <= 11_795
    assert loaded.data.pairs.relevance.mean() == pytest.approx(2.38, abs=0.01)
