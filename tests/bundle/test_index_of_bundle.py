"""A bundle with an index: built at export, opened as plain data, and its answers beside exact ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from lightning_rec import cli, open_model
from lightning_rec.bundle import manifest
from lightning_rec.bundle.export import export
from lightning_rec.errors import UserError
from lightning_rec.predict.sequences import SequencePredictor
from lightning_rec.retrieval.index.base import largest
from lightning_rec.retrieval.index.faiss import FaissIndex
from lightning_rec.retrieval.indexed import IndexRetriever

pytest.importorskip("faiss")


def asked(path: Path) -> SequencePredictor:
    model = open_model(path)
    assert isinstance(model, SequencePredictor)
    return model


@pytest.fixture(scope="module")
def run(log_frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed")
    log_frame.write_csv(folder / "log.csv")
    data = [
        "data=table",
        f"data.path={folder / 'log.csv'}",
        "data.user=uid",
        "data.item=sku",
        "data.time=ts",
    ]
    small = [
        "model=sasrec",
        "model.dim=8",
        "batches.max_len=10",
        "trainer=cpu",
        "trainer.max_epochs=1",
    ]
    assert cli.run(["train", *data, *small, "logger=none", f"run_dir={folder / 'run'}"]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def bundle(run: Path) -> Path:
    to = run.with_name("bundle")
    assert cli.run(["export", f"run={run}", f"to={to}", "index=faiss"]) == 0
    return to


def test_a_bundle_looks_up_by_the_index_it_holds(
    run: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalls = json.loads((bundle / "bundle.json").read_text())["settings"]["index"]
    assert f"recall@10 {recalls['recall']:.4f}" in (bundle / "README.md").read_text()
    assert {each.name for each in (bundle / "index").iterdir()} == {
        "items.safetensors",
        "similar.safetensors",
    }
    assert len({file.stat().st_mode for file in bundle.rglob("*.*") if file.is_file()}) == 1
    exact, model = asked(run), asked(bundle)

    def trained(*_: object) -> None:
        raise AssertionError("an index was built again")

    monkeypatch.setattr(FaissIndex, "_make", trained)
    assert model.users is not None
    users = model.users["user"].head(30).to_list()
    found, wanted = (each.recommend(users=users, k=5) for each in (model, exact))
    retriever = model.indexed.retriever(model.model, None)
    assert isinstance(retriever, IndexRetriever)
    assert retriever.index.kind == "faiss"
    assert retriever.index.recall == pytest.approx(recalls["recall"])
    hits = found.join(wanted, on=["user", "item"], how="semi")
    assert len(hits) / len(wanted) > 0.9
    both = found.join(wanted, on=["user", "item"])
    assert np.allclose(both["score"], both["score_right"], atol=1e-4)
    model.use_index("exact")
    assert model.recommend(users=users, k=5)["item"].equals(wanted["item"])
    items = model.items["item"].head(10).to_list()
    near, all_near = asked(bundle).similar(items, k=3), exact.similar(items, k=3)
    assert len(near.join(all_near, on=["item", "similar"], how="semi")) > 0.8 * len(all_near)


def test_plain_arrays_are_the_index_and_take_changes() -> None:
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(2000, 8)).astype(np.float32)
    made = FaissIndex.build(vectors)
    again = FaissIndex.of_plain(vectors, made.plain())
    queries = chance.normal(size=(50, 8)).astype(np.float32)
    one, other = made.search(queries, 10), again.search(queries, 10)
    assert np.array_equal(one.ids, other.ids)
    assert np.array_equal(one.scores, other.scores)
    again.replace(np.array([3]), 100 * queries[:1])
    again.add(np.array([2000]), 200 * queries[1:2])
    best = again.search(queries[:2], 1)
    assert best.ids[0, 0] in (3, 2000)
    assert best.ids[1, 0] == 2000
    for name, value in (("cells", 10**6), ("scored", 0), ("centres", np.nan)):
        broken = {key: each.copy() for key, each in made.plain().items()}
        broken[name].flat[0] = value
        with pytest.raises(UserError, match="does not fit the vectors"):
            FaissIndex.of_plain(vectors, broken)
    short = made.plain() | {"cells": made.plain()["cells"][:-1]}
    with pytest.raises(UserError, match="does not fit the vectors"):
        FaissIndex.of_plain(vectors, short)


def test_large_cells_are_read_as_they_are() -> None:
    """Every cell is scored, so that the best are those of scoring all; cells hold thousands."""
    chance = np.random.default_rng(0)
    vectors, queries = (chance.normal(size=(n, 8)).astype(np.float32) for n in (20_000, 50))
    centres = np.eye(8, dtype=np.float32)[:3]
    cells = (vectors @ centres.T).argmax(1)
    made = FaissIndex.of_plain(
        vectors, {"centres": centres, "cells": cells, "scored": np.array([3])}
    )
    best = largest(vectors, np.arange(len(vectors)), queries, 10)
    assert np.array_equal(made.search(queries, 10).ids, best.ids)


def test_an_index_that_was_tampered_with_is_refused(bundle: Path, tmp_path: Path) -> None:
    other = shutil.copytree(bundle, tmp_path / "other")
    with (other / "index" / "items.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(UserError, match="is not as it was written"):
        open_model(other)
    said = json.loads((other / "bundle.json").read_text())
    (other / "bundle.json").unlink()
    manifest.write(other, "sequences", said["settings"])  # hashes that fit: a poisoned one
    with pytest.raises(UserError, match="is no index"):
        asked(other).recommend([["i03"]], k=2)
    (other / "bundle.json").unlink()
    said["settings"]["index"]["kind"] = "evil"
    manifest.write(other, "sequences", said["settings"])
    with pytest.raises(UserError, match="Unknown index 'evil'"):
        open_model(other)


def test_other_kinds_and_refusals(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "exact", index="exact")
    assert not (tmp_path / "exact" / "index").exists()
    assert "looked up" not in (tmp_path / "exact" / "README.md").read_text()
    with pytest.raises(UserError, match="Unknown index 'hnsw'"):
        export(run, tmp_path / "none", index="hnsw")
    assert not (tmp_path / "none").exists()
    if pytest.importorskip("usearch"):
        export(run, tmp_path / "usearch", index="usearch")
        model = asked(tmp_path / "usearch")
        found = model.recommend([["i03", "i10"]], k=3)
        assert found["item"].equals(asked(run).recommend([["i03", "i10"]], k=3)["item"])
