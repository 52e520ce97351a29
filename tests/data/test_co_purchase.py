"""Pairs of texts out of a log: of training events alone, and a leak audit that would tell."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.matching.pairs import Pairs, prepare_pairs
from lightning_rec.data.sources import co_purchase
from lightning_rec.data.sources.co_purchase import CoPurchase, near
from lightning_rec.data.split import Split
from lightning_rec.errors import LeakError, UserError

# Users and what they had, in time order; under leave-one-out the last two of each are targets.
LOG = {
    "anna": ["lamp", "chair", "table", "door", "paint"],
    "bert": ["chair", "chair", "lamp", "bed", "table"],
    "carl": ["bed", "lamp"],  # trains, and is not evaluated
}


@pytest.fixture
def node(tmp_path: Path) -> dict[str, Any]:
    rows = [(user, item, when) for user, items in LOG.items() for when, item in enumerate(items)]
    log = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    log.write_csv(tmp_path / "log.csv")
    names = sorted({item for _, item, _ in rows})
    titles = [name if name != "table" else "Lamp" for name in names]  # reads like another one
    pl.DataFrame({"item": names, "title": titles}).write_csv(tmp_path / "items.csv")
    return {
        "_target_": "lightning_rec.data.sources.table.TableSource",
        "path": str(tmp_path / "log.csv"),
        "user": "user",
        "item": "item",
        "time": "time",
        "catalogue": str(tmp_path / "items.csv"),
        "catalogue_title": "title",
    }


LEAVE_ONE_OUT = {"_target_": "lightning_rec.data.splits.LeaveOneOut", "cutoffs": [1]}


def told(pairs: Pairs) -> set[tuple[str, str]]:
    queries, items = pairs.queries["query"], pairs.items["item"]
    return {(queries[int(q)], items[int(i)]) for q, i in zip(pairs.query, pairs.item, strict=True)}


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        (1, {("lamp", "chair"), ("chair", "table"), ("chair", "lamp"), ("bed", "lamp")}),
        # Lamp and table read alike, and are no pair.
        (2, {("lamp", "chair"), ("chair", "table"), ("chair", "lamp"), ("bed", "lamp")}),
    ],
)
def test_pairs_are_neighbours_in_training(
    window: int, expected: set[tuple[str, str]], node: dict[str, Any], tmp_path: Path
) -> None:
    source = CoPurchase(node, LEAVE_ONE_OUT, window)
    pairs = prepare_pairs(source, tmp_path / "cache")
    assert told(pairs) == expected
    assert pairs.positive.all()
    facts = source.audit(pairs)
    assert facts["training events of the log"] == 8
    assert facts["targets left out"] == 4


def test_a_target_among_them_is_a_leak(
    node: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beyond(split: Split, window: int) -> Any:
        return near(replace(split, train_end=np.minimum(split.train_end + 1, split.offsets[1:])), 1)

    monkeypatch.setattr(co_purchase, "near", beyond)
    source = CoPurchase(node, LEAVE_ONE_OUT)
    pairs = prepare_pairs(source, tmp_path / "cache")
    assert ("lamp", "bed") in told(pairs)  # bert's validation target
    with pytest.raises(LeakError, match="of no two training events"):
        source.audit(pairs)


def test_who_uses_it_knows_its_cut(node: dict[str, Any]) -> None:
    source = CoPurchase(node, LEAVE_ONE_OUT)
    other = CoPurchase(node, LEAVE_ONE_OUT | {"others_train": False, "item_core": 1})
    assert source.name == "log_pairs"
    mine, theirs = source.learnt(), other.learnt()
    assert mine["data_hash"] == theirs["data_hash"]
    assert mine["protocol_hash"] != theirs["protocol_hash"]
    assert mine["until"] == 2
    assert source.settings() != other.settings()


def test_what_is_no_log_or_has_no_order_is_refused(node: dict[str, Any], tmp_path: Path) -> None:
    pairs = {"_target_": "lightning_rec.data.sources.home_depot.HomeDepot"}
    with pytest.raises(UserError, match=r"data.of=HomeDepot is not of a log"):
        CoPurchase(pairs, LEAVE_ONE_OUT)
    dealt = {"_target_": "lightning_rec.data.random_items.RandomItems"}
    with pytest.raises(UserError, match="without an order"):
        CoPurchase(node, dealt)
    alike = pl.read_csv(node["catalogue"]).with_columns(title=pl.lit("Thing"))
    alike.write_csv(tmp_path / "alike.csv")
    with pytest.raises(UserError, match=r"raise data.window"):
        CoPurchase(node | {"catalogue": str(tmp_path / "alike.csv")}, LEAVE_ONE_OUT).read([])


def test_what_reads_as_the_query_is_no_negative(node: dict[str, Any], tmp_path: Path) -> None:
    pairs = prepare_pairs(CoPurchase(node, LEAVE_ONE_OUT), tmp_path / "cache")
    items = pairs.items["item"].to_list()
    barred = {tuple(divmod(int(key), len(items))) for key in pairs.no_negatives()}
    named = {(pairs.queries["query"][q], items[i]) for q, i in barred}
    assert named - told(pairs) == {("lamp", "lamp"), ("lamp", "table"), ("chair", "chair")}
