"""Trackers: W&B's mode, sections of figures, what each of them is told. Nothing is sent."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import wandb
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger, Logger

from lightning_rec.runs import loggers, tracking
from lightning_rec.runs.folder import RunFolder

NETRC = "machine {host}\n  login user\n  password 0123456789\n"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user who has never logged in."""
    for variable in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def netrc(tmp_path: Path, host: str = "api.wandb.ai") -> None:
    (tmp_path / "netrc").write_text(NETRC.format(host=host))


def test_without_a_key_it_is_offline() -> None:
    assert loggers.wandb_mode() == "offline"


def test_with_a_key_it_is_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert loggers.wandb_mode() == "online"
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert loggers.wandb_mode() == "offline"


def test_after_wandb_login_it_is_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(tmp_path)
    assert loggers.wandb_mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080")
    assert loggers.wandb_mode() == "offline"  # a login at another server
    netrc(tmp_path, "wandb.example.org")
    assert loggers.wandb_mode() == "online"


def test_a_broken_or_foreign_netrc_is_no_login(tmp_path: Path) -> None:
    netrc(tmp_path, "github.com")
    assert loggers.wandb_mode() == "offline"
    (tmp_path / "netrc").write_text("machine\n  what is this\n")
    assert loggers.wandb_mode() == "offline"


def test_a_netrc_that_is_no_text_is_no_login(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_bytes(b"\xff\xfe\x00")
    assert loggers.wandb_mode() == "offline"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_what_the_environment_says_wins(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc(tmp_path)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert loggers.wandb_mode() == mode


def test_without_a_run_there_is_nothing_to_sync_or_close() -> None:
    assert wandb.run is None
    assert tracking.sync_command() is None
    tracking.close(failed=False)


FIGURES = {
    "val/ndcg@10": 0.5,
    "test/ndcg@10": 0.25,
    "test/cold/ndcg@10": 0.125,
    "test/cold/examples": 3.0,
    "test/judged/ndcg@10": 0.75,
    "popularity/test/ndcg@10": 0.1,
}


def test_figures_are_put_into_sections_and_the_compared_ones_are_known() -> None:
    placed = loggers.sectioned(FIGURES | {"train/epoch_seconds": 2.0, "epoch": 1})
    assert list(placed) == sorted(placed)
    assert set(placed) == {
        "val/ndcg@10",
        "test/ndcg@10",
        "test/judged/ndcg@10",
        "slices/test/cold/ndcg@10",
        "slices/test/cold/examples",
        "baseline/popularity/test/ndcg@10",
        "cost/epoch_seconds",
        "epoch",
    }
    assert set(loggers.compared(placed)) == {"val/ndcg@10", "test/ndcg@10", "test/judged/ndcg@10"}


def finished(logger: Logger, pictures: dict[str, Path]) -> None:
    started = tracking.start("some", lambda: logger)
    assert started is logger
    trainer = pl.Trainer(logger=logger)
    settings = {"model": {"dim": 8}}
    run = RunFolder.create(Path(str(logger.save_dir)) / "run", OmegaConf.create({"seed": 1}), [])
    tracking.begin(trainer, settings, run)
    logger.log_metrics({"val/ndcg@10": 0.5, "train/loss": 1.0}, 0)
    run.note(seconds={"fit": 1.0})
    tracking.end(trainer, settings, FIGURES, run, [], pictures)
    tracking.close(failed=False)


def test_tensorboard_gets_each_figure_once_and_hparams_with_what_is_compared(
    tmp_path: Path,
) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    matplotlib = pytest.importorskip("matplotlib.image")
    picture = tmp_path / "reliability.png"
    matplotlib.imsave(picture, np.random.default_rng(0).random((5, 7)))
    logger = loggers.tensorboard_logger(tmp_path)
    finished(logger, {"reliability": picture})
    found = events.EventAccumulator(logger.log_dir).Reload()
    scalars = {tag: [each.value for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert scalars.pop("cost/fit_seconds") == [1.0]
    assert scalars == {
        "val/ndcg@10": [0.5],
        "train/loss": [1.0],
        "test/ndcg@10": [0.25],
        "test/judged/ndcg@10": [0.75],
        "slices/test/cold/ndcg@10": [0.125],
        "slices/test/cold/examples": [3.0],
        "baseline/popularity/test/ndcg@10": [pytest.approx(0.1)],
        "best/val/ndcg@10": [0.5],
    }
    plugin = pytest.importorskip("tensorboard.plugins.hparams.metadata")
    told = found.PluginTagToContent("hparams")
    names = plugin.parse_experiment_plugin_data(told[plugin.EXPERIMENT_TAG]).metric_infos
    assert {each.name.tag for each in names} == {
        "best/val/ndcg@10",
        "test/ndcg@10",
        "test/judged/ndcg@10",
    }
    session = plugin.parse_session_start_info_plugin_data(told[plugin.SESSION_START_INFO_TAG])
    assert session.hparams["model/dim"].number_value == 8
    (image,) = found.Images("reliability")
    assert (image.height, image.width) == (5, 7)


def test_a_csv_keeps_the_names_and_is_written_to_the_end(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="csv", version="")
    finished(logger, {})
    *_, last = csv.DictReader((tmp_path / "csv" / "metrics.csv").open())
    assert {name: float(last[name]) for name in FIGURES} == FIGURES


def test_without_a_network_wandb_is_offline_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    logger = loggers.wandb_logger(tmp_path, mode="online", timeout=1)
    assert "W&B cannot be reached, so this run is kept offline" in caplog.text
    logger.log_metrics({"val/ndcg@10": 0.5}, 3)
    told = tracking.sync_command()
    tracking.close(failed=False)
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert told == f"wandb sync {file.parent}"
    until = time.monotonic() + 60
    while b"val/ndcg@10" not in file.read_bytes():  # W&B's own process writes it
        assert time.monotonic() < until
        time.sleep(0.1)
