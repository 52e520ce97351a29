"""A knowledge graph from the data to a run that is asked: items by their entities, and model=kgat."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from cli.processes import read
from safetensors.torch import load_file

from lightning_rec import cli
from lightning_rec.api import load_run

Refused = Callable[..., str]
QUICK = ["item.epochs=2", "item.dim=8", "item.held_out=0.1"]


@pytest.fixture
def graph(tmp_path: Path) -> str:
    """Items i00 to i37 of two genres and four makers; two are not linked."""
    rows = []
    for item in range(38):
        rows += [(f"m{item}", "genre", f"g{item % 2}"), (f"m{item}", "maker", f"k{item % 4}")]
    triples, links = tmp_path / "x.kg", tmp_path / "x.link"
    columns = ["head_id:token", "relation_id:token", "tail_id:token"]
    pl.DataFrame(rows, schema=columns, orient="row").write_csv(triples, separator="\t")
    pl.DataFrame({
        "item_id:token": [f"i{item:02d}" for item in range(38)],
        "entity_id:token": [f"m{item}" for item in range(38)],
    }).write_csv(links, separator="\t")  # fmt: skip
    return f"data.graph={{triples: {triples}, links: {links}}}"


def trained(small: list[str], folder: Path, *more: str) -> Path:
    kept = [each for each in small if "model=kgat" not in more or each != "model.depth=1"]
    assert cli.run(["train", *kept, f"run_dir={folder}", *more]) == 0
    return folder


@pytest.mark.parametrize("item", ["graph", "[ids,graph]", "graph_and_ids"])
def test_items_are_known_by_their_entities(
    item: str, small: list[str], graph: str, tmp_path: Path
) -> None:
    node = "item.parts.graph" if item == "[ids,graph]" else "item"
    quick = [each.replace("item", node, 1) for each in QUICK]
    run = trained(small, tmp_path / "run", "model=sasrec", f"item={item}", graph, *quick)
    weights = load_file(run / "weights.safetensors")
    (given,) = (each for name, each in weights.items() if name.endswith("source.vectors"))
    known = pl.read_parquet(run / "items.parquet").sort("code")["item"]
    assert given.shape == (40, 8)
    assert given.abs().sum(dim=1).gt(0).tolist() == (~known.is_in(["i38", "i39"])).to_list()
    card = read(run / "run.json")
    assert card["audit"]["graph triples"] == 76
    assert card["audit"]["items without a fact"] == 2
    assert len(card["side_hash"]) == 64
    Path(graph.partition("triples: ")[2].partition(",")[0]).rename(tmp_path / "moved.kg")
    assert len(load_run(run).recommend(users=["u5"], k=3)) == 3  # it needs no graph any more


def test_another_graph_is_another_run_and_none_is_gone_on_with(
    small: list[str], graph: str, tmp_path: Path, refused: Refused
) -> None:
    run = trained(small, tmp_path / "run", "model=kgat", graph, "model.dim=8", "model.widths=[8]")
    told = refused("train", f"from={run}", f"run_dir={tmp_path / 'later'}")
    assert "what was learnt of a knowledge graph" in told
    path = Path(graph.partition("triples: ")[2].partition(",")[0])
    path.write_text(path.read_text() + "m1\tgenre\tg0\n")
    assert "side_hash of" in refused("evaluate", f"run={run}")


def test_kgat_learns_goes_on_and_is_asked(small: list[str], graph: str, tmp_path: Path) -> None:
    sizes = [
        "model=kgat",
        graph,
        "model.dim=8",
        "model.relation_dim=8",
        "model.widths=[8]",
        "model.triples=30",
    ]
    run = trained(small, tmp_path / "run", *sizes, "trainer.max_epochs=3")
    weights = load_file(run / "weights.safetensors")
    assert weights["node.weight"].shape == (60 + 40 + 6, 8)
    assert weights["relation.weight"].shape == (3, 8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_rec.models.classic.kgat.KGAT.second_phase", lambda self: iter(()))
        other = load_file(
            trained(small, tmp_path / "other", *sizes, "trainer.max_epochs=3")
            / "weights.safetensors"
        )
    assert not torch.equal(weights["relation.weight"], other["relation.weight"])
    again = trained(small, tmp_path / "again", *sizes, "trainer.max_epochs=3")
    for name, weight in load_file(again / "weights.safetensors").items():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=0)
    assert cli.run(["evaluate", f"run={run}"]) == 0
    assert len(load_run(run).recommend(users=["u5"], k=3)) == 3
    assert cli.run(["export", f"run={run}", f"to={tmp_path / 'bundle'}"]) == 0


def test_what_cannot_be_is_told(small: list[str], refused: Refused, graph: str) -> None:
    assert "data.graph={triples" in refused("train", *small, "model=sasrec", "item=graph")
    odd = refused("train", *small, "model=sasrec", "item=graph", "item.dim=7", graph)
    assert "item.dim=7: RotatE" in odd
    lacking = ["item.missing=refuse", *QUICK]
    told = refused("train", *small, "model=sasrec", "item=graph", graph, *lacking)
    assert "says nothing of 2 of 40 items, such as i3" in told
    told = refused("train", "data=ml_100k", "data.graph=freebase", "model=kgat")
    assert "data.graph=freebase: it is 'recbole' or made of keys" in told
    assert "of which there are triples, links" in told
    told = refused("train", "data=ml_100k", "data.graph={triple: a.kg}", "model=kgat")
    assert "Field required: triples, Unexpected keyword argument: triple." in told


def test_a_graph_that_nothing_reads_is_told_and_is_no_part_of_the_run(
    small: list[str], graph: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = trained(small, tmp_path / "run", "model=sasrec", graph)
    assert "SASRec does not read a knowledge graph: data.graph is ignored." in caplog.text
    assert read(run / "run.json").get("side_hash") is None


def test_models_of_clicks_take_entities_as_well(
    titled_clicks: Path,
    refused: Refused,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    facts = [f"i{item}\tgenre\tg{item % 3}" for item in range(15)]
    triples = tmp_path / "x.kg"

    def line(*more: str) -> list[str]:
        triples.write_text("\n".join(["head_id\trelation_id\ttail_id", *facts, *more]) + "\n")
        return [
            "train", "data=click_table", f"data.path={titled_clicks}", "data.fields.label=clicked",
            "data.fields.group=uid", "data.fields.categorical=[uid,sku]", "data.fields.item=sku",
            "data.fields.time=ts", "protocol=temporal_rows", "batches.batch_size=64", "logger=csv",
            "trainer=cpu", "trainer.max_epochs=1", "model=deepfm", "model.dim=4", "model.mlp=[8]",
            "item=graph", *QUICK, f"data.graph={{triples: {triples}}}",
        ]  # fmt: skip

    run = tmp_path / "run"
    assert cli.run([*line(), f"run_dir={run}"]) == 0
    assert load_file(run / "weights.safetensors")["source.vectors"].shape[1] == 8
    assert read(run / "run.json")["audit"]["graph triples"] == 15
    assert cli.run(["evaluate", f"run={run}"]) == 0
    last = pl.read_parquet(titled_clicks).sort("ts").row(-1, named=True)
    leak = f"{last['uid']}\tclicked\t{last['sku']}"
    assert "the relation 'clicked' joins users with items" in refused(*line(leak))
    assert "is ignored" not in caplog.text
    by_ids = [each for each in line() if not each.startswith("item")]
    assert cli.run([*by_ids, f"run_dir={tmp_path / 'ids'}"]) == 0
    assert "DeepFM does not read a knowledge graph" in caplog.text
    assert read(tmp_path / "ids" / "run.json").get("side_hash") is None
    without = [each for each in line() if not each.startswith("data.graph")]
    assert "data.graph={triples" in refused(*without)
