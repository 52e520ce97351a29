"""Texts instead of ids, through the command line: trained, adapted, evaluated again, refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from cli.processes import read
from safetensors.torch import load_file, save_file

from lightning_rec import cli

pytest.importorskip("peft")
Refused = Callable[..., str]


@pytest.mark.parametrize("item", ["text", "text_and_ids"])
@pytest.mark.parametrize("adapter", ["frozen", "lora", "top_layers"])
def test_a_run_over_texts_is_repeated_to_the_last_bit(
    texts: list[str], item: str, adapter: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    arguments = [*texts, f"item={item}", f"adapter={adapter}", f"run_dir={folder}"]
    assert cli.run(["train", *arguments]) == 0
    figures = read(folder / "metrics.json")
    assert figures["test/recall@10"] > 0
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    weights = load_file(folder / "weights.safetensors")
    assert ("item.parts.ids.own.weight" in weights) == (item == "text_and_ids")
    assert any("encoder" in name for name in weights) == (adapter != "frozen")
    assert (folder / "adapter.safetensors").exists() == (adapter != "frozen")


def test_neither_another_language_model_is_read_nor_other_titles(
    texts: list[str], catalogue_csv: Path, tiny_bert: Path, refused: Refused, tmp_path: Path
) -> None:
    folder, mine = tmp_path / "run", tmp_path / "mine"
    shutil.copytree(tiny_bert, mine)
    assert cli.run(["train", *texts, f"item.encoder={mine}", f"run_dir={folder}"]) == 0
    assert cli.run(["train", f"resume={folder}", "trainer.max_epochs=3", "item.cache_gb=4"]) == 0
    titles, another = pl.read_csv(catalogue_csv), tmp_path / "another.csv"
    titles.with_columns(title=pl.col("title") + " new").write_csv(another)
    for line in (
        ["evaluate", f"run={folder}"],
        ["train", f"resume={folder}", "trainer.max_epochs=9"],
    ):
        assert "catalogue_hash of" in refused(*line, f"data.catalogue={another}")
    weights = load_file(mine / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, mine / "model.safetensors", {"format": "pt"})  # fmt: skip
    assert "another language model" in refused("evaluate", f"run={folder}")
    assert "another language model" in refused("train", f"resume={folder}", "trainer.max_epochs=9")


def test_a_run_that_reads_few_texts_a_step_goes_on_as_if_it_had_not_stopped(
    texts: list[str], tmp_path: Path
) -> None:
    few = [
        *texts,
        "adapter=lora",
        "item.texts_a_step=5",
        "schedule.decay=none",
        "schedule.warmup=0.0",
    ]
    for name, epochs in (("whole", 4), ("cut", 3)):
        line = ["train", *few, f"trainer.max_epochs={epochs}", f"run_dir={tmp_path / name}"]
        assert cli.run(line) == 0
    again = ["trainer.max_epochs=4", "item.step_gb=1e-9"]  # which changes no result
    assert cli.run(["train", f"resume={tmp_path / 'cut'}", *again]) == 0
    other = ["train", *few, "item.texts_a_step=null", "trainer.max_epochs=4"]
    assert cli.run([*other, f"run_dir={tmp_path / 'all'}"]) == 0
    kept = [tmp_path / name / "checkpoints" / "last.ckpt" for name in ("whole", "cut", "all")]
    whole, cut, every = (torch.load(each, weights_only=True)["state_dict"] for each in kept)
    assert all(torch.equal(cut[name], value) for name, value in whole.items())
    assert not all(torch.equal(every[name], value) for name, value in whole.items())


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("adapter", ["frozen", "lora"])
def test_half_precision_will_do(
    texts: list[str], precision: str, adapter: str, tmp_path: Path
) -> None:
    texts = [*texts, "item.texts_a_step=7", "item.step_gb=1e-9"]
    half = [f"adapter={adapter}", f"trainer.precision={precision}", f"run_dir={tmp_path / 'run'}"]
    assert cli.run(["train", *texts, *half]) == 0


@pytest.mark.parametrize("model", ["bert4rec", "gru4rec", "hstu", "decoder", "nextitnet"])
def test_other_models_take_texts_too(texts: list[str], model: str, tmp_path: Path) -> None:
    if model in ("gru4rec", "nextitnet"):
        texts = [each for each in texts if not each.startswith("model.depth")]
    if model == "nextitnet":
        texts = [*texts, "model.tied=true"]
    arguments = [*texts, f"model={model}", "loss=in_batch", f"run_dir={tmp_path / 'run'}"]
    assert cli.run(["train", *arguments, "trainer.max_epochs=1"]) == 0
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    items = len(pl.read_parquet(tmp_path / "run" / "items.parquet"))
    for name, weight in weights.items():  # what an item has of its own is its text alone
        assert items not in weight.shape or not weight.any(), name


@pytest.mark.parametrize("whiten", [True, False])
def test_nothing_is_trained_in_zero_shots(
    texts: list[str], tiny_bert: Path, whiten: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, known = tmp_path / "run", "all-MiniLM-L6-v2"
    shutil.copytree(tiny_bert, tmp_path / known)  # a model that is known by its name
    monkeypatch.setenv("LIGHTNING_REC_DATA", str(tmp_path))
    kept = [each for each in texts if not each.startswith(("model", "loss", "item=", "batches.batch_size"))]  # fmt: skip
    arguments = [*kept, "model=zero_shot", f"item.whiten={whiten}", f"run_dir={folder}"]
    arguments += [f"item.encoder={known}", "~callbacks.best"]
    assert cli.run(["evaluate", "--config-dir", str(tmp_path), *arguments]) == 0
    log = (folder / "train.log").read_text()
    assert log.count(f"reading {tmp_path / known}") == 1  # once, however often it is asked for
    assert read(folder / "metrics.json")["test/recall@10"] > 0
    assert cli.run(["evaluate", f"run={folder}"]) == 0


def test_new_items_are_ranked_by_their_texts(texts: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    new = ["protocol.new_items=0.2", "protocol.cold_targets=rank"]
    assert cli.run(["train", *texts, *new, f"run_dir={folder}"]) == 0
    figures, card = read(folder / "metrics.json"), read(folder / "run.json")
    assert figures["test/cold/examples"] == card["split"]["cold test targets"] > 0
    assert "test/cold/ndcg@10" in figures
    items = pl.read_parquet(folder / "items.parquet")
    assert len(items) == 42  # two of which nobody ever had
    ranks = pl.read_parquet(folder / "test_users.parquet")
    assert ranks["rank"].null_count() == 0


def test_what_cannot_work_is_refused_before_any_training(
    texts: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where runs that begin leave a folder
    plain = [each for each in texts if not each.startswith(("model", "loss"))]
    ids = [each for each in plain if not each.startswith("item")]
    told = refused("train", *texts, "adapter=lora", "loss=full_softmax")
    assert "loss=in_batch" in told
    told = refused("train", *texts, 'item.template="{titel}"')
    assert "Did you mean 'title'?" in told
    assert "no table of items" in refused("train", *plain, "model=ease")
    shallow = [each for each in texts if not each.startswith("model.depth")]
    for second in ("caser", "nextitnet"):
        assert "say model.tied=true" in refused(
            "train", *shallow, f"model={second}", "loss=in_batch"
        )
    told = refused("train", *texts, "adapter=lora", "adapter.targets=[quary]")
    assert "Did you mean 'query'?" in told
    told = refused("train", *texts, "item.encoder=/nowhere/at/all")
    assert "no folder" in told
    told = refused("train", *texts, "item.id_dropout=0.2")
    assert "item=text_and_ids" in told
    assert "item=text" in refused("train", *ids, "model=zero_shot", "item=ids")
    assert "adapter=frozen" in refused("train", *plain, "model=zero_shot", "adapter=full")
    assert "drop adapter=" in refused("train", *ids, "model=sasrec", "item=ids", "adapter=lora")
