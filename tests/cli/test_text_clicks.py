"""Clicks over texts of items, through the command line: frozen, tuned, with histories, refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from cli.processes import read
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.errors import UserError
from lightning_rec.runs import checksums

pytest.importorskip("peft")
Refused = Callable[..., str]
QUICK = ["trainer.accelerator=cpu", "trainer.max_epochs=2", "logger=none"]


@pytest.fixture(scope="module")
def clicks(titled_clicks: Path, tiny_bert: Path) -> list[str]:
    """Overrides of a run that takes a second."""
    return [
        "model=din", "data=click_table", f"data.path={titled_clicks}", "data.fields.label=clicked",
        "data.fields.categorical=[uid,sku,device]", "data.fields.group=uid",
        "data.fields.item=sku", "data.fields.past=clicks", "data.fields.time=ts",
        "data.fields.slices=[sku]", "protocol=temporal_rows", "model.dim=4", "model.mlp=[8]",
        "model.attention=[4]", "batches.batch_size=64", "item=text", f"item.encoder={tiny_bert}",
        *QUICK,
    ]  # fmt: skip


@pytest.mark.parametrize("item", ["text", "text_and_ids"])
@pytest.mark.parametrize("adapter", ["frozen", "lora", "top_layers"])
def test_a_run_over_texts_is_repeated_to_the_last_bit(
    clicks: list[str], item: str, adapter: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    arguments = [*clicks, f"item={item}", f"adapter={adapter}", f"run_dir={folder}"]
    assert cli.run(["train", *arguments]) == 0
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    said = capfd.readouterr().out
    assert "to the last bit" in said
    assert " DIN" in said  # not what stands around it
    weights = load_file(folder / "weights.safetensors")
    vocabulary = pl.read_parquet(folder / "vocabulary.parquet")
    sizes = {name: len(of) + 1 for (name,), of in vocabulary.partition_by("field", as_dict=True).items()}  # fmt: skip
    wanted = sum(sizes.values()) - (sizes["sku"] if item == "text" else 0)
    assert len(weights["head.fields.table.weight"]) == 1 + wanted
    assert any("source.encoder" in name or ".encoder." in name for name in weights) == (
        adapter != "frozen"
    )
    assert (folder / "adapter.safetensors").exists() == (adapter != "frozen")
    figures = read(folder / "metrics.json")
    assert figures["test/sku_cold/examples"] > 0
    items = pl.read_parquet(folder / "items.parquet")
    assert items.columns == ["code", "sku", "title"]
    assert items["sku"].to_list()[-1].startswith("new")


def test_new_items_are_told_apart_by_their_texts_alone(
    clicks: list[str], titled_clicks: Path, tmp_path: Path
) -> None:
    kept = [each for each in clicks if not each.startswith(("model", "data.fields.past"))]
    heads = ["model=deepfm", "model.dim=4", "model.mlp=[8]", "data.fields.categorical=[sku]"]
    cold = {}
    for item in ("ids", "text"):
        chosen = [each for each in kept if item == "text" or not each.startswith("item")]
        arguments = [*chosen, *heads, f"run_dir={tmp_path / item}"]
        assert cli.run(["train", *arguments]) == 0
        rows = pl.read_parquet(tmp_path / item / "test_rows.parquet")
        skus = pl.read_parquet(titled_clicks)["sku"].gather(rows["row"].to_list())
        new = rows.filter(skus.str.starts_with("new"))
        cold[item] = new["probability"].round(6).n_unique()
    assert cold == {"ids": 1, "text": 2}


def test_an_adapter_is_not_read_over_another_language_model(
    clicks: list[str], tiny_bert: Path, refused: Refused, tmp_path: Path
) -> None:
    folder, other = tmp_path / "run", tmp_path / "other"
    assert cli.run(["train", *clicks, "adapter=lora", f"run_dir={folder}"]) == 0
    shutil.copytree(tiny_bert, other)
    weights = load_file(other / "model.safetensors")
    weights["embeddings.word_embeddings.weight"] += 0.1
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    sentence = refused("evaluate", f"run={folder}", f"item.encoder={other}")
    assert "was made with another language model" in sentence


@pytest.mark.parametrize("model", ["two_tower", "bst", "lr_sgd", "dcnv2"])
def test_other_heads_take_texts_too(clicks: list[str], model: str, tmp_path: Path) -> None:
    kept = [each for each in clicks if not each.startswith("model")]
    arguments = [*kept, f"model={model}", "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"]
    assert cli.run(["train", *arguments]) == 0


def test_histories_may_be_encoded_besides(clicks: list[str], tmp_path: Path) -> None:
    kept = [each for each in clicks if not each.startswith("model")]
    scratch = ["model=deepfm", "model@encoder.model=gru4rec", "encoder.model.dim=8"]
    arguments = [*kept, *scratch, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"]
    assert cli.run(["train", *arguments]) == 0
    assert cli.run(["evaluate", f"run={tmp_path / 'run'}"]) == 0


@pytest.mark.parametrize("adapter", ["frozen", "lora"])
def test_an_encoder_may_know_items_by_their_texts(
    log_csv: Path,
    catalogue_csv: Path,
    tiny_bert: Path,
    refused: Refused,
    adapter: str,
    tmp_path: Path,
) -> None:
    data = ["data=table", f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"]
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku", "data.catalogue_title=title"]  # fmt: skip
    small = ["model=sasrec", "model.dim=16", "batches.max_len=10", "protocol=temporal", "protocol.cutoffs=[5,10]", "trainer.check_val_every_n_epoch=1"]  # fmt: skip
    texts = ["loss=in_batch", "item=text", f"item.encoder={tiny_bert}", f"adapter={adapter}"]
    run, folder = tmp_path / "pretrained", tmp_path / "clicks"
    assert cli.run(["train", *data, *about, *small, *texts, *QUICK, f"run_dir={run}"]) == 0
    clicks = [
        "model=deepfm", "data=click_table", f"data.path={log_csv}", "data.fields.label=stars",
        "data.fields.positive_from=3", "data.fields.categorical=[uid,sku]", "data.fields.group=uid",
        "data.fields.item=sku", "data.fields.past=clicks", "data.fields.time=ts",
        "data.fields.history_max_len=8", "protocol=temporal_rows", "adapter=full",
    ]  # fmt: skip
    arguments = [*clicks, *QUICK, f"encoder.run={run}", f"run_dir={folder}"]
    assert cli.run(["train", *arguments]) == 0
    before, after = load_file(run / "weights.safetensors"), load_file(folder / "weights.safetensors")  # fmt: skip
    assert not before["item.project.weight"].equal(after["encoder.model.item.project.weight"])
    assert not any("texts" in name for name in after)  # read once, and in no state
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    both = [*arguments, "item=text", f"item.encoder={tiny_bert}", "item.template='{sku}'"]
    assert "drop one of them" in refused("train", *both)
    cfg, private = OmegaConf.load(run / "config.yaml"), tmp_path / "private"
    private.mkdir()
    (private / "config.json").write_text('{"model_type": "hunter2"}')
    (private / "vocab.txt").write_text("hunter2")
    cfg.item.encoder = str(private)  # as whoever sent the run might do
    OmegaConf.save(cfg, run / "config.yaml")
    (run / checksums.NAME).unlink()
    told = refused("train", *arguments, f"run_dir={tmp_path / 'again'}")
    assert told.startswith(f"What {run / 'config.yaml'} names cannot be used")
    assert "hunter2" not in told


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["item.template='{titel}'"], "Did you mean 'title'?"),
        (["item.template='{clicked}'"], "'clicked' is data.fields.label"),
        (["item.template='{device}'"], "says two things of the item"),
        (["item.encoder=/nowhere/at/all"], "no folder"),
        (["item.max_tokens=100"], "reads 64 tokens at most"),
        (["adapter=lora", "adapter.targets=[quary]"], "Did you mean 'query'?"),
        (["data.fields.item=null", "data.fields.past=null"], "no row says which item it shows"),
        (["encoder.run=somewhere"], "drop one of them"),
        (["item=text_and_ids", "item.id_dropout=0.2"], "is for models of sequences"),
    ],
)
def test_what_cannot_work_is_told(
    clicks: list[str], refused: Refused, tmp_path: Path, overrides: list[str], said: str
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    kept = [each for each in clicks if each.partition("=")[0] not in names]
    assert said in refused("train", *kept, *overrides, f"run_dir={tmp_path / 'r'}")


def test_what_is_counted_takes_no_texts(
    clicks: list[str], refused: Refused, tmp_path: Path
) -> None:
    kept = [each for each in clicks if not each.startswith("model")]
    sentence = refused("train", *kept, "model=naive_bayes", f"run_dir={tmp_path / 'r'}")
    assert "takes no item: drop item" in sentence


@pytest.mark.parametrize("adapter", ["frozen", "lora"])
def test_a_run_over_texts_scores_raw_rows(
    clicks: list[str], titled_clicks: Path, adapter: str, tmp_path: Path
) -> None:
    past = [
        "data.fields.past=null",
        "data.fields.time=null",
        "protocol=random_rows",
        "model=deepfm",
    ]
    kept = [each for each in clicks if not each.startswith(("model", "data.fields.past", "data.fields.time", "protocol"))]  # fmt: skip
    arguments = [*kept, *past, "model.dim=4", "model.mlp=[8]", f"adapter={adapter}"]
    assert cli.run(["train", *arguments, f"run_dir={tmp_path / 'run'}"]) == 0
    predictor, told = (
        load_run(tmp_path / "run"),
        pl.read_parquet(tmp_path / "run/test_rows.parquet"),
    )
    rows = pl.read_parquet(titled_clicks)[told["row"].to_list()]
    scored = predictor.score(rows.drop("title"))
    np.testing.assert_allclose(scored["score"], told["probability"], atol=1e-6)
    with pytest.raises(UserError, match="has none of 'sku' never"):
        predictor.score(rows.with_columns(sku=pl.lit("never")))
