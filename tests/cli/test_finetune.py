"""Fine-tuning begins with the weights of another run, of the same data, protocol and sizes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_rec import cli
from lightning_rec.build import load_run
from lightning_rec.documents import read_json

Train = Callable[..., Path]
Refused = Callable[..., str]


@pytest.fixture
def line(small: list[str], catalogue_csv: Path) -> Callable[..., list[str]]:
    """A small training, whose last overrides hold."""
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku"]
    return lambda *more: ["train", *small, *about, "logger=none", "baseline=null", *more]


@pytest.fixture
def pretrained(line: Callable[..., list[str]], tmp_path: Path) -> Path:
    run = tmp_path / "pretrained"
    more = ["model=s3rec_pretraining", "model.column=kind", "batches.shortest=2"]
    assert cli.run([*line(*more), f"run_dir={run}"]) == 0
    return run


def state(run: Path) -> dict[str, torch.Tensor]:
    predictor: Any = load_run(run)
    return dict(predictor.model.state_dict())


def test_it_begins_with_the_weights_of_the_run_without_its_heads(
    line: Callable[..., list[str]], pretrained: Path, tmp_path: Path
) -> None:
    run, anew = tmp_path / "run", tmp_path / "anew"
    still = ["model=s3rec", "optimizer.lr=1e-12", "optimizer.weight_decay=0"]
    tuned = [*still, "method=finetune", f"method.run={pretrained}"]
    assert cli.run([*line(*tuned), f"run_dir={run}"]) == 0
    assert cli.run([*line(*still), f"run_dir={anew}"]) == 0
    before, after, drawn = state(pretrained), state(run), state(anew)
    assert after.keys() == drawn.keys()
    for name, weight in after.items():
        assert torch.allclose(weight, before[name], atol=1e-6)
    assert not torch.allclose(after["item.weight"], drawn["item.weight"], atol=1e-3)
    begun = read_json(run / "run.json")["begun"]
    assert begun["weights"] == len(after)
    heads = {"attribute.weight"} | {
        f"{head}.{each}" for head in ("aap", "map", "mip", "sp") for each in ("weight", "bias")
    }
    assert set(begun["left out"]) == heads
    assert cli.run(["evaluate", f"run={run}"]) == 0
    # It goes on where it was stopped, not where it began.
    assert cli.run(["train", f"resume={run}", "trainer.max_epochs=3", "optimizer.lr=1e-12"]) == 0
    assert torch.equal(state(run)["item.weight"], after["item.weight"])


def test_what_does_not_fit_is_refused(
    line: Callable[..., list[str]], pretrained: Path, refused: Refused, catalogue_csv: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    tuned = [*line("model=s3rec", "method=finetune"), f"run_dir={tmp_path / 'run'}"]
    assert "method.run is not set" in refused(*tuned)
    tuned.append(f"method.run={pretrained}")
    # Other data or another protocol may have trained on what is tested.
    assert "has another protocol_hash" in refused(*tuned, "protocol=temporal")
    assert "has another data_hash" in refused(*tuned, "data.ties=shuffle")
    assert "has item.weight of [42, 8], this model of [42, 4]" in refused(*tuned, "model.dim=4")
    assert "batches.max_len" in refused(*tuned, "batches.max_len=9")
    assert "has no layers.1." in refused(*tuned, "model.depth=2")
    assert "has no " in refused(*tuned, "model=bert4rec", "model.dim=8")
    other = tmp_path / "other.csv"
    other.write_text(catalogue_csv.read_text().replace("\ni00,", "\ni00,very "))
    again = [*tuned, "model=s3rec_pretraining", "model.column=kind", f"data.catalogue={other}"]
    assert "knew items by another catalogue" in refused(*again)


def test_a_column_that_is_not_there_is_refused(
    line: Callable[..., list[str]], refused: Refused
) -> None:
    assert "no column 'kinds'" in refused(*line("model=s3rec_pretraining", "model.column=kinds"))


def test_a_run_of_another_protocol_is_refused_however_little_it_was_measured_on(
    line: Callable[..., list[str]], refused: Refused, tmp_path: Path
) -> None:
    little = ["trainer.limit_test_batches=1", "model=s3rec_pretraining", "model.column=kind"]
    for name, more in (("same", []), ("other", ["protocol=temporal"])):
        assert cli.run([*line(*little, *more), f"run_dir={tmp_path / name}"]) == 0
    tuned = [*line("model=s3rec", "method=finetune"), f"run_dir={tmp_path / 'run'}"]
    told = refused(*tuned, f"method.run={tmp_path / 'other'}")
    assert "has another protocol_hash" in told
    assert cli.run([*tuned, f"method.run={tmp_path / 'same'}"]) == 0


def test_weights_that_stand_for_something_else_are_refused(
    line: Callable[..., list[str]], pretrained: Path, refused: Refused, tmp_path: Path
) -> None:
    """Other columns in rows of the same number."""
    item = ["model=sasrec", "item=features_and_ids", "model.heads=1"]
    run = tmp_path / "run"
    assert cli.run([*line(*item, "item.columns=[kind,title]"), f"run_dir={run}"]) == 0
    tuned = ["method=finetune", f"method.run={run}", f"run_dir={tmp_path / 'tuned'}"]
    told = refused(*line(*item, "item.columns=[title,kind]"), *tuned)
    assert "has item={" in told
    assert "would stand for something else: say the same" in told
    of = ["model=s3rec", "model.heads=1", "method=finetune", f"method.run={pretrained}"]
    assert "has model.heads=2, and this run 1" in refused(*line(*of), f"run_dir={tmp_path / 'x'}")
