"""A causal language model that says items by their codes, through the real command line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from cli.processes import read
from languages import language
from safetensors.torch import load_file

from lightning_rec import cli
from lightning_rec.build import load_run

pytest.importorskip("peft")
Refused = Callable[..., str]
QUICK = ["trainer=cpu", "trainer.max_epochs=2", "logger=none", "protocol.cutoffs=[5,10]"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language("llama", tmp_path_factory.mktemp("llama") / "llama", depth=2, places=128)


@pytest.fixture(scope="module")
def asked(log_csv: Path, catalogue_csv: Path, llama: Path) -> list[str]:
    """Overrides of a run that takes seconds."""
    return [
        "model=lcrec", f"model.encoder={llama}", "model.levels=2", "model.codes=8", "model.beam=10",
        "model.prompts=['the user liked {history} and','{history} is']",
        "model.frame='a {instruction} yes'", "data=table", f"data.path={log_csv}", "data.user=uid",
        "data.item=sku", "data.time=ts", f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku",
        "data.catalogue_title=title", "batches.max_len=4", "objective.latest=3", "batches.stride=null",
        "batches.shortest=null", "optimizer.lr=0.02", *QUICK,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lcrec") / "run"
    more = ["model.tasks=[seq,item2index,index2item]", "model.aligned=0.5"]
    assert cli.run(["train", *asked, *more, f"run_dir={folder}"]) == 0
    return folder


def test_a_run_is_repeated_to_the_last_bit(made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["evaluate", f"run={made}"]) == 0
    assert "to the last bit" in capfd.readouterr().out
    weights, tuned = (
        load_file(made / "weights.safetensors"),
        load_file(made / "adapter.safetensors"),
    )
    assert weights["codes"].shape == (40, 3)
    assert all("lora" in name for name in tuned)
    assert read(made / "run.json")["cost"]["trained_parameters"] == 24 * 16 + sum(
        each.numel() for each in tuned.values()
    )


def test_it_answers_and_scores_by_the_same_likelihoods(made: Path) -> None:
    predictor: Any = load_run(made)
    found = predictor.recommend(users=["u5", "u6"], k=5)
    assert found["user"].to_list() == ["u5"] * 5 + ["u6"] * 5
    scored = predictor.score(found.select("user", "item"))
    torch.testing.assert_close(scored["score"].to_torch(), found["score"].to_torch(), atol=1e-5, rtol=0)  # fmt: skip
    events = predictor.users.explode("items").filter(pl.col("user") == "u5")
    had = predictor.items["item"].gather(events["items"])
    assert not {*found.filter(pl.col("user") == "u5")["item"]} & {*had}
    kept = predictor.recommend([["i03", "i10"]], k=3, seen="keep")
    assert len(kept) == 3


def test_a_resumed_run_is_one_that_was_not_stopped(asked: list[str], tmp_path: Path) -> None:
    steady = [*asked, "schedule=constant", "model.tasks=[seq,item2index]"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert cli.run(["train", *steady, f"run_dir={whole}"]) == 0
    assert cli.run(["train", *steady, "trainer.max_epochs=1", f"run_dir={parts}"]) == 0
    assert cli.run(["train", f"resume={parts}", "trainer.max_epochs=2"]) == 0
    assert read(whole / "metrics.json") == read(parts / "metrics.json")
    one, other = (load_file(each / "weights.safetensors") for each in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("adapter", ["full", "frozen"])
def test_codes_of_texts_are_said_however_it_is_tuned(
    asked: list[str], adapter: str, tiny_bert: Path, llama: Path, tmp_path: Path
) -> None:
    texts = ["item=text", f"item.encoder={tiny_bert}", "item.whiten=false", "model.beam=null"]
    folder = tmp_path / "run"
    arguments = [*asked, *texts, f"adapter={adapter}", f"run_dir={folder}"]
    assert cli.run(["train", *arguments]) == 0
    assert cli.run(["evaluate", f"run={folder}"]) == 0
    began, now = load_file(llama / "model.safetensors"), load_file(folder / "weights.safetensors")
    same = [torch.equal(began[n], now[f"words.model.{n}"]) for n in began]
    assert all(same) == (adapter == "frozen")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.tasks=[item2index]"], "name seq"),
        (["model.tasks=[seq,search]"], "model.tasks"),
        (["batches.max_len=30"], "reads 128 tokens at most"),
        (["model.prompts=[why]"], "must hold {history} once"),
        (["model.encoder=/nowhere/at/all"], "no folder"),
        (["adapter.targets=[c_attn]"], "There are: q_proj"),
    ],
)
def test_what_cannot_work_is_told(
    asked: list[str], refused: Refused, tmp_path: Path, overrides: list[str], said: str
) -> None:
    names = {each.partition("=")[0] for each in overrides}
    kept = [each for each in asked if each.partition("=")[0] not in names]
    assert said in refused("train", *kept, *overrides, f"run_dir={tmp_path / 'r'}")


def test_no_bundle_ensemble_or_encoder_is_made_of_it_and_nothing_goes_on_from_it(
    made: Path, asked: list[str], refused: Refused, tmp_path: Path
) -> None:
    on = ["method=update", f"method.run={made}", f"run_dir={tmp_path / 'on'}"]
    assert "train it anew" in refused("train", *asked, *on)
    again = shutil.copytree(made, tmp_path / "again")
    assert "no bundle takes along" in refused("export", f"run={made}", f"to={tmp_path / 'b'}")
    assert "language model" in refused(
        "ensemble", f"A={made}", f"B={again}", f"to={tmp_path / 'e'}"
    )
    clicks = ["model=din", "data=ml_100k_clicks", "model@encoder.model=lcrec"]
    assert "asks a language model" in refused("train", *clicks, f"run_dir={tmp_path / 'r'}")
