"""Pretrained on pairs of a log through the command line, then read with: by whom, and by whom not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli.processes import read
from safetensors.torch import load_file

from lightning_rec import cli
from lightning_rec.language.hub import find_model, learnt_of
from lightning_rec.language.load import load_language

pytest.importorskip("peft")
Refused = Callable[..., str]


@pytest.fixture(scope="module")
def table(log_csv: Path, catalogue_csv: Path) -> dict[str, str]:
    return {
        "path": str(log_csv), "user": "uid", "item": "sku", "time": "ts", "catalogue": str(catalogue_csv),
        "catalogue_item": "sku", "catalogue_title": "title", "name": "shop",
    }  # fmt: skip


@pytest.fixture(scope="module")
def pairs(table: dict[str, str], tiny_bert: Path) -> list[str]:
    """Overrides of a pretraining that takes a second."""
    return [
        "model=bi_encoder", f"model.encoder={tiny_bert}", "data=co_purchase", "data@data.of=table",
        *(f"data.of.{key}={value}" for key, value in table.items()), "data.under.cutoffs=[1,5,10]",
        "protocol.val=0.1", "protocol.test=0.1", "protocol.cutoffs=[1,5,10]", "task.ranked=[val,test]",
        "monitor=val/ndcg@10", "baseline=null", "adapter=lora", "optimizer.lr=0.01", "trainer.accelerator=cpu",
        "logger=csv", "trainer.max_epochs=2",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def run(pairs: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("co_purchase") / "run"
    assert cli.run(["train", *pairs, f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture
def reading(small: list[str], table: dict[str, str], run: Path) -> list[str]:
    """Overrides of a run over texts that reads with what was left."""
    kept = [each for each in small if not each.startswith("data")]
    about = ["data=table", *(f"data.{key}={value}" for key, value in table.items())]
    return [*kept, *about, "model=sasrec", "loss=in_batch", "item=text", f"item.encoder={run}"]


def test_what_is_left_is_the_language_model_as_it_was_tuned(run: Path, tiny_bert: Path) -> None:
    card = read(run / "run.json")
    assert card["audit"]["events of pairs are training events"] is True
    left, began = load_file(run / "language_model/model.safetensors"), load_file(tiny_bert / "model.safetensors")  # fmt: skip
    assert not any("lora" in name for name in left)
    name = "encoder.layer.2.attention.self.query.weight"
    assert not left[name].equal(began[name])
    (log,) = learnt_of(find_model(str(run)))
    assert log["name"] == "shop"
    language = load_language(find_model(str(run)))
    assert language.encoder.pooling == "mean"
    assert cli.run(["evaluate", f"run={run}"]) == 0


def test_runs_of_the_same_cut_read_with_it(reading: list[str], tmp_path: Path) -> None:
    assert cli.run(["train", *reading, f"run_dir={tmp_path / 'a'}"]) == 0
    log, card = (
        learnt_of(find_model(reading[-1].partition("=")[2]))[0],
        read(tmp_path / "a/run.json"),
    )
    assert (log["data_hash"], log["protocol_hash"]) == (card["data_hash"], card["protocol_hash"])


@pytest.mark.parametrize(
    "cut", ["protocol=temporal", "protocol.item_core=2", "protocol.until=2031-09-20"]
)
def test_other_cuts_of_the_same_data_are_refused(
    cut: str, reading: list[str], refused: Refused, tmp_path: Path
) -> None:
    sentence = refused("train", *reading, cut, f"run_dir={tmp_path / 'r'}")
    assert "has learnt of pairs of shop, of another protocol_hash" in sentence
    assert "pretrain it" in sentence
    if cut == "protocol.item_core=2":
        assert "(item_core=0, not 2)" in sentence


def test_other_states_of_the_data_are_refused_and_other_data_are_not(
    reading: list[str],
    log_csv: Path,
    refused: Refused,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shorter = tmp_path / "shorter.csv"
    shorter.write_text("\n".join(log_csv.read_text().splitlines()[:-20]))
    other = [*reading, f"data.path={shorter}", f"run_dir={tmp_path / 'r'}"]
    assert "of another data_hash" in refused("train", *other)
    assert cli.run(["train", *other, "data.name=another"]) == 0
    assert "are they of other people?" in capfd.readouterr().err


def test_what_it_has_learnt_goes_along(
    run: Path, pairs: list[str], reading: list[str], refused: Refused, tmp_path: Path
) -> None:
    words = tmp_path / "words"
    kept = [each for each in reading if each.startswith(("data", "trainer.acc", "logger"))]
    more = ["model=masked_lm", f"model.encoder={run}", "protocol.val=0.2", "protocol.test=0.2"]
    assert cli.run(["train", *kept, *more, "trainer.max_epochs=1", f"run_dir={words}"]) == 0
    assert learnt_of(words / "language_model") == learnt_of(run / "language_model")
    swapped = [*reading[:-1], f"item.encoder={words}", "protocol.item_core=2"]
    assert "another protocol_hash" in refused("train", *swapped, f"run_dir={tmp_path / 'r'}")
    again = [each for each in pairs if not each.startswith("model.encoder")]
    other = ["data.under.item_core=2", f"model.encoder={words}", f"run_dir={tmp_path / 's'}"]
    assert "another protocol_hash" in refused("train", *again, *other)


def test_rows_of_clicks_have_to_come_later(
    run: Path, click_csv: Path, refused: Refused, tmp_path: Path
) -> None:
    clicks = [
        "model=deepfm", "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked",
        "data.fields.categorical=[sku]", "data.fields.item=sku", "item=text", f"item.encoder={run}",
        "item.template='item {sku}'", "trainer.accelerator=cpu", "logger=csv",
    ]  # fmt: skip
    sentence = refused("train", *clicks, f"run_dir={tmp_path / 'r'}")
    assert "protocol@data.under=temporal" in sentence


def test_what_cannot_be_left_is_refused(pairs: list[str], refused: Refused, tmp_path: Path) -> None:
    kept = [*pairs, f"run_dir={tmp_path / 'r'}"]
    assert "tunes nothing" in refused("train", *kept, "adapter=frozen")
    assert "cannot be added" in refused("train", *kept, "adapter=bottleneck")
    assert "without an order" in refused("train", *kept, "protocol@data.under=random_items")


def test_what_comes_next_is_asked_of_a_cross_encoder(
    pairs: list[str], refused: Refused, tmp_path: Path, tiny_bert: Path
) -> None:
    kept = [*pairs, "model=cross_encoder", "model.rerank=5"]
    assert "negatives=random" in refused("train", *kept, f"run_dir={tmp_path / 'r'}")
    assert cli.run(["train", *kept, "negatives=random", f"run_dir={tmp_path / 'nsp'}"]) == 0
    left = load_file(tmp_path / "nsp/language_model/model.safetensors")
    name = "encoder.layer.2.attention.self.query.weight"
    assert not left[name].equal(load_file(tiny_bert / "model.safetensors")[name])
    assert len(learnt_of(tmp_path / "nsp/language_model")) == 1
