"""Peers get the rows that ours reads, and the plain limit computes what ours does."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from benchmarks.clicks.data import LABEL, PARTS, Batches, Export, figures, load
from benchmarks.clicks.export import export
from benchmarks.clicks.limit import MODELS, Limit
from lightning_rec import config
from lightning_rec.build import problem_of
from lightning_rec.data.clicks.batches import ClickSet
from lightning_rec.data.fetch import cache_dir
from lightning_rec.problems.clicks import Clicks

SMALL = ["model.dim=4", "model.mlp=[8,6]"]


@pytest.fixture(scope="module")
def overrides(click_csv: Path) -> list[str]:
    return [
        "task=click",
        "data=click_table",
        f"data.path={click_csv}",
        "data.fields.label=clicked",
        "data.fields.categorical=[uid,sku,device]",
        "data.fields.multi_valued=[tags]",
        "data.fields.numeric=[price]",
        "protocol=random_rows",
    ]


@pytest.fixture(scope="module")
def rows(overrides: list[str], tmp_path_factory: pytest.TempPathFactory) -> Export:
    folder = tmp_path_factory.mktemp("exported") / "rows"
    export(overrides, folder)
    return load(folder)


def test_exported_rows_hold_what_the_table_holds(
    rows: Export, overrides: list[str], click_frame: pl.DataFrame
) -> None:
    problem = problem_of(config.compose([*overrides, "model=lr"]))
    encoded = problem.load(cache_dir()).data.encoded
    for part in PARTS:
        raw = click_frame[np.asarray(encoded.part(part))]
        columns = rows.parts[part]
        assert columns[LABEL].tolist() == raw["clicked"].to_list()
        for field in ("uid", "sku", "device"):
            pairs = set(zip(raw[field].to_list(), columns[field].tolist(), strict=True))
            assert len(pairs) == len({value for value, _ in pairs}) == len({c for _, c in pairs})
        number = raw["tags"].str.split("|").list.eval(pl.element().filter(pl.element() != ""))
        assert (columns["tags"] > 0).sum(axis=1).tolist() == number.list.len().fill_null(
            0
        ).to_list()
        assert columns["tags"].max() < rows.of("multi_valued")[0]["size"]
        order = np.argsort(raw["price"].fill_null(raw["price"].mean()).to_numpy(), kind="stable")
        there = raw["price"].is_not_null().to_numpy()[order]
        assert (np.diff(columns["price"][order][there]) >= 0).all()


def test_rows_that_were_changed_are_refused(overrides: list[str], tmp_path: Path) -> None:
    export(overrides, tmp_path / "rows")
    with np.load(tmp_path / "rows" / "val.npz") as arrays:
        changed = {name: arrays[name] for name in arrays.files}
    changed[LABEL][0] = 1 - changed[LABEL][0]
    np.savez(tmp_path / "rows" / "val.npz", **changed)
    with pytest.raises(SystemExit, match="export it again"):
        load(tmp_path / "rows")


def test_batches_hold_every_row_once_in_an_order_of_their_own(rows: Export) -> None:
    columns = {"row": np.arange(100), LABEL: np.zeros(100)}
    batches = Batches(columns, 32, seed=1)
    first, second = ([b["row"].tolist() for b in batches] for _ in range(2))
    assert [len(batch) for batch in first] == [32, 32, 32, 4]
    assert sorted(itertools.chain(*first)) == list(range(100))
    assert first != second
    assert [b["row"].tolist() for b in Batches(columns, 64, None)] == [
        list(range(64)),
        list(range(64, 100)),
    ]


def test_figures_are_exact() -> None:
    chance = np.random.default_rng(0)
    p, y = chance.random(500).round(2).clip(0.01, 0.99), chance.integers(0, 2, 500)
    found = figures(p, y.astype(np.float32), "test")
    assert found["test/auc"] == pytest.approx(roc_auc_score(y, p), abs=1e-12)
    assert found["test/logloss"] == pytest.approx(log_loss(y, p), abs=1e-12)


def test_a_sure_prediction_that_is_wrong_costs_no_infinity() -> None:
    found = figures(np.array([0.0, 1.0]), np.array([1.0, 0.0], dtype=np.float32), "test")
    assert found["test/logloss"] == pytest.approx(25 * np.log(2), rel=1e-3)


def copied(ours: Any, limit: Any) -> None:
    """Give the hand-written network the weights of ours; a list has a row more in it."""
    for own, other in ((ours.fields, limit.vectors), (ours.linear.fields, limit.weights)):
        table, start = torch.zeros_like(other.table.weight), 1
        for field in ours.schema.fields:
            rows = own.table.weight[field.start : field.start + field.size]
            table[start : start + field.size] = rows
            start += field.size + (field.kind == "multi_valued")
        other.table.weight.data = table
    last = len(ours.deep) - 1
    state = ours.deep.state_dict()
    limit.output.load_state_dict(
        {k.partition(".")[2]: v for k, v in state.items() if k.startswith(f"{last}.")}
    )
    limit.deep.load_state_dict({k: v for k, v in state.items() if not k.startswith(f"{last}.")})


def test_the_limit_computes_what_ours_does(rows: Export, overrides: list[str]) -> None:
    cfg = config.compose([*overrides, "model=deepfm", *SMALL])
    problem = problem_of(cfg)
    loaded = problem.load(cache_dir())
    torch.manual_seed(0)
    assert isinstance(problem, Clicks)
    ours: Any = problem.make_model(loaded.data.encoded.schema).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter)
    ours.linear.bias.data.zero_()  # the limit has the one of its output alone
    for vectors in (ours.fields, ours.linear.fields):
        vectors.table.weight.data[0] = 0  # fills short lists
    wanted = rows.meta["settings"] | {"dim": 4, "mlp": [8, 6], "dropout": 0.2}
    limit = MODELS["deepfm"](rows, wanted).eval()
    copied(ours, limit)
    peer = object.__new__(Limit)
    peer.data = rows
    ids, values, label = Limit._rows(peer, "val")
    part = ClickSet(loaded.data.encoded, "val")
    batch = part.__getitems__(list(range(len(part))))
    assert torch.equal(batch.label, label)
    with torch.no_grad():
        torch.testing.assert_close(limit(ids, values), ours(batch.rows), rtol=1e-5, atol=1e-5)
