"""``lightning-rec ids`` and ``item=semantic_ids`` from the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from cli.processes import read
from polars.testing import assert_frame_equal
from safetensors.torch import load_file

from lightning_rec import cli, load_run, open_model
from lightning_rec.bundle.export import export
from lightning_rec.data.semantic import table

Refused = Callable[..., str]


def vectors_of(path: Path, ids: list[str]) -> Path:
    vectors = np.random.default_rng(0).normal(size=(len(ids), 6)).astype(np.float32)
    pl.DataFrame({"item": ids, "vector": vectors}).write_parquet(path)
    return path


def test_a_table_is_made_grows_and_is_trained_on(
    small: list[str], log_frame: pl.DataFrame, tmp_path: Path, refused: Refused
) -> None:
    items = sorted(log_frame["sku"].unique())
    few, all_of_them = (vectors_of(tmp_path / f"{n}.parquet", items[:n]) for n in (20, len(items)))
    ids, more = tmp_path / "ids", tmp_path / "more"
    line = [f"vectors={few}", "codes=8", "levels=2", f"to={ids}"]
    assert cli.run(["ids", *line]) == 0
    told = read(ids / "ids.json")
    assert (told["version"], told["items"], told["sizes"]) == (1, 20, [8, 8, 8])
    assert (ids / "ids.png").stat().st_size > 10_000
    assert "is there already" in refused("ids", *line)
    run = tmp_path / "run"
    model = [*small, "model=sasrec", "loss=full_softmax"]
    train = ["train", *model, "item=semantic_ids_and_ids", f"run_dir={run}"]
    assert "has no id of" in refused(*train, f"item.path={ids}")
    assert cli.run(["ids", f"from={ids}", f"vectors={all_of_them}", f"to={more}"]) == 0
    assert read(more / "ids.json")["version"] == 2
    assert cli.run([*train, f"item.path={more}"]) == 0

    weights = load_file(run / "weights.safetensors")
    codes, known = weights["item.parts.semantic_ids.codes"], table.read(more)
    order = pl.read_parquet(run / "items.parquet").sort("code")["item"]
    np.testing.assert_array_equal(codes, known.of(order, "") + np.array([0, 8, 16]))
    assert cli.run(["evaluate", f"run={run}"]) == 0
    more.rename(tmp_path / "gone")  # a run keeps its ids
    model_of_run = load_run(run)
    mean = weights["item.parts.semantic_ids.of_code.weight"][codes].mean(dim=1)
    made = torch.from_numpy(np.stack(model_of_run.item_vectors()["vector"].to_numpy()))
    torch.testing.assert_close(made, mean + weights["item.parts.ids.own.weight"])
    asked = {"histories": [order.head(3).to_list()], "k": 5}
    bundle = open_model(export(run, tmp_path / "bundle"))
    assert_frame_equal(model_of_run.recommend(**asked), bundle.recommend(**asked))


def test_vectors_of_who_had_what_and_what_is_refused(
    small: list[str], tmp_path: Path, refused: Refused
) -> None:
    data = [each for each in small if each.startswith(("data", "protocol"))]
    line = [*data, "codes=4", "quantizer=opq", "unique=false", f"to={tmp_path / 'ids'}"]
    assert cli.run(["ids", *line]) == 0
    told = read(tmp_path / "ids" / "ids.json")
    assert told["sizes"] == [4, 4, 4]
    assert told["collisions"]["items"] == told["items"]
    to = f"to={tmp_path / 'other'}"
    assert "Say of which vectors" in refused("ids", to)
    assert "Say where to" in refused("ids", *data)
    assert "levels= is what from=" in refused(
        "ids", f"from={tmp_path / 'ids'}", *data, "levels=2", to
    )
    assert "it is residual, opq or rqvae" in refused("ids", *data, "quantizer=pq", to)
    assert "it is 2 to 65,536" in refused("ids", *data, "codes=1", to)


def test_a_model_of_codes_takes_those_of_a_table_or_makes_them_of_vectors(
    small: list[str], log_frame: pl.DataFrame, tmp_path: Path, refused: Refused
) -> None:
    items = sorted(log_frame["sku"].unique())
    vectors = vectors_of(tmp_path / "vectors.parquet", items)
    ids = tmp_path / "ids"
    assert cli.run(["ids", f"vectors={vectors}", "codes=8", "levels=2", f"to={ids}"]) == 0
    run = tmp_path / "run"
    log = [each for each in small if not each.startswith("model.")]
    line = [*log, "model=tiger", "model.dim=8", "model.depth=1", "model.codes=8", f"run_dir={run}"]
    known = [*line, "item=semantic_ids", f"item.path={ids}"]
    told = refused("train", *known)
    assert "levels of [8, 8, 8] codes and model has 4 of 8, the last digit among them" in told
    assert cli.run(["train", *known, "model.levels=2"]) == 0
    before = read(run / "metrics.json")
    assert cli.run(["evaluate", f"run={run}"]) == 0
    assert read(run / "metrics.json") == before
    order = pl.read_parquet(run / "items.parquet").sort("code")["item"]
    codes = load_file(run / "weights.safetensors")["codes"].numpy()
    np.testing.assert_array_equal(codes, table.read(ids).of(order, "") + np.array([0, 8, 16]))
    beam, exact = load_run(run), load_run(run, "model.beam=null")
    asked = {"histories": [order.head(3).to_list(), [order[5]]], "k": 5}
    assert_frame_equal(beam.recommend(**asked), exact.recommend(**asked))

    made = tmp_path / "made"
    line = [*log, "model=rpg", "model.dim=8", "model.levels=2", "model.codes=8", f"run_dir={made}"]
    assert cli.run(["train", *line, "item=vectors", f"item.path={vectors}"]) == 0
    assert len(load_run(made).recommend(**asked)) == 10
    assert cli.run(["compare", str(run), str(made)]) == 0
    told = refused("train", *log, "model=sasrec", "loss=likelihood", f"run_dir={tmp_path / 'no'}")
    assert "is for models whose score is a log-likelihood" in told


def test_models_of_clicks_know_items_by_their_codes(titled_clicks: Path, tmp_path: Path) -> None:
    items = pl.read_parquet(titled_clicks)["sku"].unique().sort().cast(pl.String).to_list()
    vectors = vectors_of(tmp_path / "vectors.parquet", items)
    ids = tmp_path / "ids"
    assert cli.run(["ids", f"vectors={vectors}", "codes=8", "levels=2", f"to={ids}"]) == 0
    line = [
        *["data=click_table", f"data.path={titled_clicks}", "data.fields.label=clicked"],
        *["data.fields.group=uid", "data.fields.categorical=[uid,sku]", "data.fields.item=sku"],
        *["data.fields.past=clicks", "data.fields.time=ts", "protocol=temporal_rows"],
        *["batches.batch_size=64", "logger=csv", "trainer=cpu", "trainer.max_epochs=1"],
        *["model=din", "model.dim=4", "model.mlp=[8]", "model.attention=[4]"],
    ]
    run = tmp_path / "run"
    named = ["item=semantic_ids", f"item.path={ids}", f"run_dir={run}"]
    assert cli.run(["train", *line, *named]) == 0
    assert cli.run(["evaluate", f"run={run}"]) == 0
    codes = load_file(run / "weights.safetensors")["source.encoder.codes"].numpy()
    order = pl.read_parquet(run / "items.parquet").sort("code")["sku"]
    np.testing.assert_array_equal(codes, table.read(ids).of(order, "") + np.array([0, 8, 16]))
