"""W&B's mode: online with a key, offline without, and what the user says wins. Nothing is sent."""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import wandb
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from lightning_rec.runs import tracking

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
    assert tracking._mode() == "offline"


def test_with_a_key_it_is_online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert tracking._mode() == "online"
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert tracking._mode() == "offline"


def test_after_wandb_login_it_is_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc(tmp_path)
    assert tracking._mode() == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080")
    assert tracking._mode() == "offline"  # a login at another server
    netrc(tmp_path, "wandb.example.org")
    assert tracking._mode() == "online"


def test_a_broken_or_foreign_netrc_is_no_login(tmp_path: Path) -> None:
    netrc(tmp_path, "github.com")
    assert tracking._mode() == "offline"
    (tmp_path / "netrc").write_text("machine\n  what is this\n")
    assert tracking._mode() == "offline"


def test_a_netrc_that_is_no_text_is_no_login(tmp_path: Path) -> None:
    (tmp_path / "netrc").write_bytes(b"\xff\xfe\x00")
    assert tracking._mode() == "offline"


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_what_the_environment_says_wins(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc(tmp_path)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert tracking._mode() == mode


def test_without_a_run_there_is_nothing_to_sync_or_close() -> None:
    assert wandb.run is None
    assert tracking.sync_command() is None
    tracking.close(failed=False)


def test_tensorboard_gets_figures_and_pictures(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    matplotlib = pytest.importorskip("matplotlib.image")
    picture = tmp_path / "reliability.png"
    matplotlib.imsave(picture, np.random.default_rng(0).random((5, 7)))
    logger = TensorBoardLogger(tmp_path, name="board", version="")
    trainer = pl.Trainer(logger=[logger, CSVLogger(tmp_path, name="csv", version="")])
    tracking.end(trainer, {"test/auc": 0.75}, {"fit": 1.0}, [], {"reliability": picture})
    logger.experiment.close()
    found = events.EventAccumulator(logger.log_dir).Reload()
    assert found.Scalars("test/auc")[0].value == 0.75
    (image,) = found.Images("reliability")
    assert (image.height, image.width) == (5, 7)
