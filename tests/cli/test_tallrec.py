"""A causal language model that is asked yes or no about each row, through the command line."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from cli.processes import read
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from lightning_rec import cli

pytest.importorskip("peft")
Refused = Callable[..., str]
QUICK = ["trainer.accelerator=cpu", "trainer.max_epochs=2", "logger=none"]


@pytest.fixture(scope="module")
def asked(titled_clicks: Path, tiny_gpt: Path) -> list[str]:
    """Overrides of a run that takes seconds."""
    return [
        "model=tallrec", f"model.encoder={tiny_gpt}", "model.yes_word=yes", "model.no_word=no",
        "model.prompt='the user liked {history} and would like {item} yes or no'",
        "model.title='{title}'", "model.max_titles=3", "model.max_tokens=32",
        "adapter.targets=[c_attn]", "data=click_table", f"data.path={titled_clicks}",
        "data.fields.label=clicked", "data.fields.categorical=[uid,sku]", "data.fields.group=uid",
        "data.fields.item=sku", "data.fields.past=clicks", "data.fields.time=ts",
        "protocol=temporal_rows", "batches.batch_size=64", "optimizer.lr=0.02", *QUICK,
    ]  # fmt: skip


@pytest.mark.parametrize("adapter", ["lora", "adalora", "full"])
def test_it_learns_and_is_repeated_to_the_last_bit(
    asked: list[str], adapter: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    kept = [each for each in asked if adapter != "full" or not each.startswith("adapter")]
    arguments = [*kept, f"adapter={adapter}", f"run_dir={folder}"]
    assert cli.run(["train", *arguments]) == 0
    rows, figures = pl.read_parquet(folder / "test_rows.parquet"), read(folder / "metrics.json")
    auc = roc_auc_score(rows["label"], rows["probability"])
    assert figures["test/auc"] == pytest.approx(auc, abs=1e-12)
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    assert "to the last bit" in capfd.readouterr().out
    weights = load_file(folder / "weights.safetensors")
    head, words = (f"words.model.{name}.weight" for name in ("lm_head", "transformer.wte"))
    assert weights[head].equal(weights[words])  # tied, as they were
    assert (folder / "adapter.safetensors").exists() == (adapter != "full")
    card = read(folder / "run.json")
    assert card["cost"]["trained_parameters"] > 0


def test_it_can_be_asked_untrained(asked: list[str], tmp_path: Path) -> None:
    kept = [each for each in asked if not each.startswith("adapter")]
    assert cli.run(["train", *kept, "adapter=frozen", f"run_dir={tmp_path / 'run'}"]) == 0
    assert "test/auc" in read(tmp_path / "run/metrics.json")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.title='{titel}'"], "Did you mean 'title'?"),
        (["model.prompt='{history}'"], "model.prompt must hold {history} and {item}"),
        (["model.yes_word='yes no'"], "must be a single token"),
        (["model.max_tokens=12"], "model.max_tokens=12: without any history"),
        (["model.encoder=/nowhere/at/all"], "no folder"),
        (["data.fields.past=null"], "data.fields.past=clicks"),
        (["item=text"], "takes no item"),
        (["model@encoder.model=sasrec"], "takes no encoder"),
        (["adapter.targets=[q_proj]"], "There are: c_attn"),
        (["task=sequence"], "TALLRec is a model of clicks"),
    ],
)
def test_what_cannot_work_is_told(
    asked: list[str], refused: Refused, tmp_path: Path, overrides: list[str], said: str
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    kept = [each for each in asked if each.partition("=")[0] not in names]
    assert said in refused("train", *kept, *overrides, f"run_dir={tmp_path / 'r'}")


def test_a_model_that_reads_both_ways_is_not_asked(
    asked: list[str], refused: Refused, tiny_bert: Path, tmp_path: Path
) -> None:
    kept = [each for each in asked if not each.startswith("model.encoder")]
    sentence = refused("train", *kept, f"model.encoder={tiny_bert}", f"run_dir={tmp_path / 'r'}")
    assert "is a bert, which says no next words: take one such as GPT-2" in sentence


def test_no_network_is_told(
    asked: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    kept = [each for each in asked if not each.startswith("model.encoder")]
    sentence = refused("train", *kept, f"run_dir={tmp_path / 'r'}")
    assert "'Qwen/Qwen3-0.6B' is no folder" in sentence
