"""An average of the weights is what is validated, kept, tested, and gone on with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli.processes import read
from safetensors.torch import load_file

from lightning_rec import cli
from lightning_rec.lab import read_runs

Refused = Callable[..., str]
EMA = [
    "callbacks=[checkpoint,early_stopping,progress,ema]",
    "callbacks.ema.decay=0.8",
    "logger=csv",
]


def train(small: list[str], folder: Path, *more: str) -> Path:
    assert cli.run(["train", *small, *EMA, "patience=99", *more, f"run_dir={folder}"]) == 0
    return folder


def test_what_is_tested_is_the_average_that_was_validated(small: list[str], tmp_path: Path) -> None:
    run = train(small, tmp_path / "run", "trainer.max_epochs=6")
    curve = {each["epoch"]: each["value"] for each in read_runs(run)["curve"][0]}
    monitor = read(run / "metrics.json")["val/ndcg@10"]
    assert monitor == pytest.approx(max(curve.values()), abs=1e-5)
    plain = train(small, tmp_path / "plain", "trainer.max_epochs=6", "~callbacks.ema")
    one, other = (load_file(folder / "weights.safetensors") for folder in (run, plain))
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert cli.run(["evaluate", f"run={run}"]) == 0


def test_a_run_that_goes_on_has_the_average_of_one_that_was_not_stopped(
    small: list[str], tmp_path: Path
) -> None:
    whole = train(small, tmp_path / "whole", "trainer.max_epochs=4", "schedule=constant")
    begun = train(small, tmp_path / "begun", "trainer.max_epochs=2", "schedule=constant")
    assert cli.run(["train", f"resume={begun}", "trainer.max_epochs=4"]) == 0
    assert read(begun / "metrics.json") == read(whole / "metrics.json")


def test_the_average_is_that_of_its_definition(small: list[str], tmp_path: Path) -> None:
    """One step an epoch: w̄ ← d w̄ + (1 - d) w after each, from the plain weights of checkpoints."""
    steps = ["trainer.limit_train_batches=1", "baseline=null", "schedule=constant"]
    plain = []
    for epochs in (1, 2, 3):
        folder = tmp_path / str(epochs)
        arguments = [
            *small,
            *steps,
            f"trainer.max_epochs={epochs}",
            "logger=none",
            "callbacks.best=null",
        ]
        assert cli.run(["train", *arguments, f"run_dir={folder}"]) == 0
        plain.append(load_file(folder / "weights.safetensors"))
    run = train(small, tmp_path / "ema", *steps, "trainer.max_epochs=3", "callbacks.best=null")
    found = load_file(run / "weights.safetensors")
    for name, value in found.items():
        if not value.is_floating_point():
            continue
        average = plain[0][name]
        for later in plain[1:]:
            average = 0.8 * average + 0.2 * later[name]
        torch.testing.assert_close(value, average)


SWA = ["callbacks=[checkpoint,early_stopping,progress,swa]", "logger=csv", "patience=99"]
STEPS = ["trainer.limit_train_batches=2", "baseline=null", "schedule=constant"]


def weights(small: list[str], folder: Path, *more: str) -> dict[str, torch.Tensor]:
    assert cli.run(["train", *small, *STEPS, *more, f"run_dir={folder}"]) == 0
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize(("every", "counted"), [(1, (2, 3, 4)), (2, (2, 4))])
def test_swa_is_the_mean_of_the_weights_at_the_end_of_epochs(
    small: list[str], tmp_path: Path, every: int, counted: tuple[int, ...]
) -> None:
    """From the plain weights after each epoch, whose course an average does not change."""
    plain = [
        weights(
            small, tmp_path / str(epochs), f"trainer.max_epochs={epochs}", "callbacks.best=null"
        )
        for epochs in counted
    ]
    start = ["callbacks.swa.swa_epoch_start=1", f"callbacks.swa.every_n_epochs={every}"]
    found = weights(
        small, tmp_path / "swa", *SWA, *start, "trainer.max_epochs=4", "callbacks.best=null"
    )
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([each[name] for each in plain]).mean(0))


def test_swa_validates_weights_as_they_are_until_it_averages(
    small: list[str], tmp_path: Path
) -> None:
    more = ["trainer.max_epochs=4", "callbacks.swa.swa_epoch_start=0.5"]
    averaged, plain = tmp_path / "swa", tmp_path / "plain"
    weights(small, averaged, *SWA, *more)
    weights(small, plain, *SWA, "trainer.max_epochs=4", "~callbacks.swa")
    curves = [[each["value"] for each in read_runs(run)["curve"][0]] for run in (averaged, plain)]
    assert curves[0][:3] == curves[1][:3]  # the average of one epoch, the third, is that epoch
    assert curves[0][3] != curves[1][3]
    monitor = read(averaged / "metrics.json")["val/ndcg@10"]
    assert monitor == pytest.approx(max(curves[0]), abs=1e-5)
    assert cli.run(["evaluate", f"run={averaged}"]) == 0


@pytest.mark.parametrize("stopped", [1, 3])
def test_swa_goes_on_after_a_stop(small: list[str], tmp_path: Path, stopped: int) -> None:
    """Stopped before the average begins, and within it."""
    start = [*SWA, "callbacks.swa.swa_epoch_start=1", "callbacks.best=null"]
    whole = weights(small, tmp_path / "whole", *start, "trainer.max_epochs=4")
    begun = tmp_path / "begun"
    weights(small, begun, *start, f"trainer.max_epochs={stopped}")
    assert cli.run(["train", f"resume={begun}", "trainer.max_epochs=4"]) == 0
    for name, value in load_file(begun / "weights.safetensors").items():
        assert torch.equal(value, whole[name])


@pytest.mark.parametrize("average", ["swa", "ema"])
def test_nothing_is_averaged_under_batch_norm(
    click_csv: Path, refused: Refused, tmp_path: Path, average: str
) -> None:
    clicks = ["data=click_table", f"data.path={click_csv}", "data.fields.label=clicked"]
    clicks += ["data.fields.categorical=[uid,sku]", "model=deepfm", "model.batch_norm=true"]
    callbacks = {"swa": SWA, "ema": EMA}[average]
    told = refused("train", *clicks, *callbacks, f"run_dir={tmp_path / 'run'}")
    assert f"callbacks.{average}: batch norm keeps statistics of other weights" in told
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_average_that_would_be_lost_is_refused(small: list[str], refused: Refused) -> None:
    swa = "+callbacks.swa={_target_: pytorch_lightning.callbacks.StochasticWeightAveraging, swa_lrs: 0.01}"
    assert "use callbacks=[…,swa] or […,ema]" in refused("train", *small, swa)


def test_what_metrics_count_with_is_not_averaged(
    click_csv: Path, refused: Refused, tmp_path: Path
) -> None:
    clicks = [
        "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked",
        "data.fields.categorical=[uid,sku]", "data.fields.group=uid", "model=deepfm", "model.mlp=[8]",
        "model.batch_norm=false", "protocol.val=0.3", "protocol.test=0.3", "trainer=cpu", "trainer.max_epochs=4",
        "batches.batch_size=32",
    ]  # fmt: skip
    run = train(clicks, tmp_path / "run")
    assert cli.run(["evaluate", f"run={run}"]) == 0  # computed anew, without any average
    assert "use_buffers=false" in refused("train", *clicks, *EMA, "callbacks.ema.use_buffers=true")


def test_an_average_that_is_mostly_the_weights_at_the_start_is_told(
    small: list[str], tmp_path: Path
) -> None:
    ema = "callbacks=[checkpoint,early_stopping,progress,ema]"
    for decay, told in ((0.999, True), (0.5, False)):
        run = tmp_path / str(decay)
        cli.run(["train", *small, ema, f"callbacks.ema.decay={decay}", f"run_dir={run}"])
        warned = read(run / "run.json")["warnings"]
        assert any("of the average is the weights as they were" in each for each in warned) == told
