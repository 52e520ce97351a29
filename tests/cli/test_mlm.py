"""Hidden words through the command line: what is learnt, what is left, what then reads with it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from cli.processes import flip, read
from safetensors.torch import load_file

from lightning_rec import cli
from lightning_rec.errors import UserError
from lightning_rec.language.hub import find_model, fingerprint
from lightning_rec.language.load import load_language

pytest.importorskip("peft")
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def words(log_csv: Path, catalogue_csv: Path, tiny_bert: Path) -> list[str]:
    """Overrides of a run over the titles of the log's catalogue that takes a second."""
    return [
        "model=masked_lm", f"model.encoder={tiny_bert}", "model.template='{title} of {kind}'",
        "model.max_tokens=16", "data=table", f"data.path={log_csv}", "data.user=uid",
        "data.item=sku", "data.time=ts", f"data.catalogue={catalogue_csv}",
        "data.catalogue_item=sku", "data.catalogue_title=title", "protocol.val=0.2",
        "protocol.test=0.2", "batches.batch_size=8", "optimizer.lr=0.01", "trainer.max_epochs=2",
        "trainer.accelerator=cpu", "logger=csv",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A completed run; tests only read it."""
    folder = tmp_path_factory.mktemp("mlm") / "run"
    assert cli.run(["train", *words, "trainer.max_epochs=30", f"run_dir={folder}"]) == 0
    return folder


def test_it_learns_and_is_shown_beside_what_it_was(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    card, figures = read(run / "run.json"), read(run / "metrics.json")
    assert card["status"] == "completed"
    assert card["split"] == {"train texts": 26, "val texts": 8, "test texts": 8}
    assert card["audit"]["interactions read"] == 0
    assert card["protocol"]["name"] == "random_texts"
    assert figures["val/loss"] < figures["untuned/val/loss"]
    assert 0 <= figures["test/accuracy"] <= 1
    texts = pl.read_parquet(run / "test_texts.parquet")
    assert len(texts) == 8
    assert figures["test/loss"] == pytest.approx(texts["loss"].sum() / texts["asked"].sum())
    assert figures["test/accuracy"] == texts["right"].sum() / texts["asked"].sum()
    assert cli.run(["evaluate", f"run={run}"]) == 0
    assert "to the last bit" in capfd.readouterr().out


def test_what_it_leaves_is_the_language_model_that_was_tuned(run: Path, tiny_bert: Path) -> None:
    assert find_model(str(run)) == run / "language_model"
    assert len({file.stat().st_mode for file in (run / "language_model").glob("*.*")}) == 1
    left, began = load_file(run / "language_model/model.safetensors"), load_file(tiny_bert / "model.safetensors")  # fmt: skip
    ours = load_file(run / "weights.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert left[f"bert.{name}"].equal(ours[f"words.model.bert.{name}"])
    assert not left[f"bert.{name}"].equal(began[name])
    assert fingerprint(run / "language_model") != fingerprint(tiny_bert)
    assert load_language(find_model(str(run))).tokenizer("red lamp")["input_ids"] == load_language(tiny_bert).tokenizer("red lamp")["input_ids"]  # fmt: skip


@pytest.mark.parametrize("adapter", ["lora", "adalora", "top_layers"])
def test_what_was_put_in_is_merged_and_everything_else_can_read_with_it(
    words: list[str], small: list[str], catalogue_csv: Path, adapter: str, tmp_path: Path
) -> None:
    folder = tmp_path / "mlm"
    assert cli.run(["train", *words, f"adapter={adapter}", f"run_dir={folder}"]) == 0
    left = load_file(folder / "language_model/model.safetensors")
    assert not any("lora" in name for name in left)
    assert (folder / "adapter.safetensors").is_file()
    again = ["trainer.max_epochs=1", f"model.encoder={folder}", f"run_dir={tmp_path / 'more'}"]
    assert cli.run(["train", *words, *again]) == 0
    before = read(folder / "metrics.json")["test/loss"]
    beside = read(tmp_path / "more/metrics.json")["untuned/test/loss"]
    assert beside == pytest.approx(before, rel=1e-4)
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku", "data.catalogue_title=title"]  # fmt: skip
    texts = ["model=sasrec", "loss=in_batch", "item=text", f"item.encoder={folder}"]
    assert cli.run(["train", *small, *about, *texts, f"run_dir={tmp_path / 'items'}"]) == 0


def test_a_changed_bit_in_it_is_named(run: Path, refused: Refused, tmp_path: Path) -> None:
    left = tmp_path / "run" / "language_model"
    shutil.copytree(run, tmp_path / "run")
    flip(left / "model.safetensors")
    for name in (tmp_path / "run", left):
        with pytest.raises(UserError, match=r"model\.safetensors is not as the run wrote it"):
            find_model(str(name))


def test_going_on_replaces_what_was_left(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "mlm"
    assert cli.run(["train", *words, "schedule.decay=none", f"run_dir={folder}"]) == 0
    before = fingerprint(folder / "language_model")
    assert cli.run(["train", f"resume={folder}", "trainer.max_epochs=4"]) == 0
    assert fingerprint(folder / "language_model") != before


def test_texts_of_clicks_do_as_well(
    words: list[str], click_csv: Path, refused: Refused, tmp_path: Path
) -> None:
    kept = [each for each in words if not each.startswith(("data", "model.template"))]
    clicks = ["data=click_table", f"data.path={click_csv}", "data.fields.label=clicked", "data.fields.categorical=[sku]", "data.fields.item=sku"]  # fmt: skip
    arguments = [*kept, *clicks, f"run_dir={tmp_path / 'r'}"]
    assert cli.run(["train", *arguments, "model.template='item {sku}'"]) == 0
    assert read(tmp_path / "r/run.json")["audit"]["texts"] == 15
    sentence = refused(
        "train", *arguments, "model.template='{clicked}'", f"run_dir={tmp_path / 's'}"
    )
    assert "'clicked' is data.fields.label" in sentence


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.template='{titel}'"], "Did you mean 'title'?"),
        (["model.encoder=/nowhere/at/all"], "no folder"),
        (["model.max_tokens=100"], "reads 64 tokens at most"),
        (["adapter=frozen"], "tunes nothing of the language model"),
        (["adapter=bottleneck"], "cannot be added to its weights"),
        (["objective=masked_item"], "task=mlm takes no objective"),
        (["item=text"], "task=mlm takes no item"),
        (["protocol=leave_one_out"], "protocol=random_texts"),
        (["monitor=val/ndcg@10"], "val/accuracy"),
        (["protocol.val=0.6", "protocol.test=0.5"], "must leave something"),
    ],
)
def test_what_cannot_work_is_told(
    words: list[str], refused: Refused, tmp_path: Path, overrides: list[str], said: str
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    kept = [each for each in words if each.partition("=")[0] not in names]
    if "protocol" in names:
        kept = [each for each in kept if not each.startswith("protocol.")]
    assert said in refused("train", *kept, *overrides, f"run_dir={tmp_path / 'r'}")


def test_other_models_and_runs_are_told_apart(
    words: list[str], small: list[str], refused: Refused, tiny_gpt: Path, tmp_path: Path
) -> None:
    kept = [each for each in words if not each.startswith("model")]
    assert "say model=masked_lm" in refused("train", *kept, "task=mlm", "model=sasrec")
    assert "says no hidden words" in refused("train", *words, f"model.encoder={tiny_gpt}")
    assert cli.run(["train", *small, f"run_dir={tmp_path / 'other'}"]) == 0
    sentence = refused("train", *words, f"model.encoder={tmp_path / 'other'}")
    assert "has no language_model/" in sentence
    (tmp_path / "other" / "run.json").write_text("[]")
    assert "has no language_model/" in refused(
        "train", *words, f"model.encoder={tmp_path / 'other'}"
    )
