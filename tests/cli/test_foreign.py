"""A run folder that a stranger sent, evaluated and gone on with: nothing of ours is lost or told."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lightning_rec import cli
from lightning_rec.runs import checksums

Refused = Callable[..., str]
SECRET = "hunter2,for,ever"
MLFLOW = {
    "_target_": "lightning_rec.runs.loggers.mlflow_logger",
    "save_dir": None,
    "tracking_uri": "http://127.0.0.1:9",
}


@pytest.fixture
def sent(small: list[str], tmp_path: Path) -> Path:
    """The folder of a run that can be gone on with. Whoever sent it has left no checksums."""
    folder = tmp_path / "sent"
    overrides = ["logger=none", "baseline=null", f"run_dir={folder}"]
    assert cli.run(["train", *small, *overrides]) == 0
    shutil.copy(folder / checksums.NAME, tmp_path)
    (folder / checksums.NAME).unlink()
    return folder


def plant(folder: Path, key: str, value: Any) -> None:
    """Change the config of a run."""
    cfg = OmegaConf.load(folder / "config.yaml")
    OmegaConf.update(cfg, key, value, force_add=True)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(cfg))


def test_what_a_checkpoint_calls_outdated_is_not_removed_elsewhere(
    sent: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last, mine = sent / "checkpoints" / "last.ckpt", tmp_path / "mine"
    checkpoint = torch.load(last, weights_only=True)
    (key,) = (key for key in checkpoint["callbacks"] if "ModelCheckpoint" in key)
    worst = torch.tensor(-1.0)
    for number, place in enumerate((f"{sent}/checkpoints/../../mine", f"local://{mine}"), 3):
        mine.mkdir(exist_ok=True)
        checkpoint["callbacks"][key] |= {
            "best_model_path": place,
            "kth_best_model_path": place,
            "best_k_models": {place: worst},
            "best_model_score": worst,
            "kth_value": worst,
        }
        torch.save(checkpoint, last)
        (sent / "checkpoints" / "best.ckpt").unlink()
        assert cli.run(["train", f"resume={sent}", f"trainer.max_epochs={number}"]) == 0
        assert mine.is_dir()
        assert f"{place} is no checkpoint of {sent}" in caplog.text
        assert (sent / "checkpoints" / "best.ckpt").is_file()
        (sent / checksums.NAME).unlink()


def test_no_word_of_a_file_is_told_that_nobody_but_the_config_named(
    sent: Path, refused: Refused, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text(f"{SECRET}\na,b,c\n")
    plant(sent, "data.catalogue", str(secret))
    log = (sent / "train.log").read_text()
    for command in (["evaluate", f"run={sent}"], ["train", f"resume={sent}", "examples=1"]):
        told = refused(*command, "trainer.max_epochs=3")
        assert f"data.catalogue={secret}" in told
        assert "hunter2" not in told + caplog.text
    assert (sent / "train.log").read_text() == log
    assert "hunter2" not in (sent / "run.json").read_text()
    path = f"data.path={OmegaConf.load(sent / 'config.yaml').data.path}"
    assert "hunter2" in refused("evaluate", f"run={sent}", path, f"data.catalogue={secret}")
    plant(sent, "data.history", "items")  # a column, and no file that could be missing
    assert "are not quoted" in refused("evaluate", f"run={sent}")
    plant(sent, "data.history", None)
    plant(sent, "data.catalogue", None)
    for key in ("triples", "links"):
        plant(sent, f"data.graph.{key}", str(secret))
        told = refused("evaluate", f"run={sent}")
        assert f"data.graph.triples={secret}" in told
        assert "hunter2" not in told + caplog.text
    assert "hunter2" in refused("evaluate", f"run={sent}", path, f"data.graph.triples={secret}", f"data.graph.links={secret}")  # fmt: skip
    plant(sent, "data.graph", None)
    plant(sent, "data.catalogue", str(tmp_path / "gone.csv"))
    assert "There is no file or folder" in refused("evaluate", f"run={sent}")


def test_no_warning_quotes_a_file_that_nobody_but_the_config_named(
    sent: Path, refused: Refused, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines of any text are the ids of a catalogue; users of any table may have too few events."""
    secret, path = tmp_path / "secret.txt", OmegaConf.load(sent / "config.yaml").data.path
    secret.write_text("hunter2\nhunter3\n")
    plant(sent, "data.catalogue", str(secret))
    plant(sent, "data.catalogue_item", "item")
    plant(sent, "data.catalogue_columns", ["item"])
    for command in (["evaluate", f"run={sent}"], ["train", f"resume={sent}"]):
        assert "data_hash" in refused(*command, "trainer.max_epochs=3")
    card = json.loads((sent / "run.json").read_text())
    fewer = {key: value for key, value in card.items() if not key.endswith("_hash")}
    (sent / "run.json").write_text(json.dumps(fewer))
    assert cli.run(["evaluate", f"run={sent}"]) == 0
    assert "are not shown, since its config alone names the files" in caplog.text
    assert "hunter2" not in caplog.text + (sent / "train.log").read_text()
    named = [f"data.path={path}", f"data.catalogue={secret}"]
    assert cli.run(["evaluate", f"run={sent}", *named]) == 0
    assert "the catalogue has hunter2" in caplog.text
    (sent / "run.json").write_text(json.dumps(card))
    mine = tmp_path / "mine.csv"
    rows = [f"hunter{user},{item}" for user in range(30, 60) for item in range(1 + 12 * (user % 2))]
    mine.write_text("\n".join(["mail,drug", *rows]))
    changed = {"path": str(mine), "user": "mail", "item": "drug", "time": None, "catalogue": None}
    for key, value in changed.items():
        plant(sent, f"data.{key}", value)
    caplog.clear()
    assert "data_hash" in refused("evaluate", f"run={sent}")
    assert "hunter" not in caplog.text


def test_no_key_goes_to_where_nobody_but_the_config_says(sent: Path, refused: Refused) -> None:
    further = ["train", f"resume={sent}", "trainer.max_epochs=3"]
    plant(sent, "logger.mlflow", MLFLOW)
    assert "say logger.mlflow.tracking_uri=http://127.0.0.1:9, else" in refused(*further)
    plant(sent, "logger.mlflow", None)
    plant(sent, "trainer.model_registry", "them/model")
    assert "trainer.model_registry is not to be set" in refused(*further)
    assert cli.run([*further, "trainer.model_registry=null"]) == 0


def test_what_is_changed_or_missing_is_told_by_name(
    sent: Path, refused: Refused, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(tmp_path / checksums.NAME, sent)
    for name in ("test_users.parquet", "items.parquet"):
        whole = (sent / name).read_bytes()
        (sent / name).write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
        assert f"{name} is not as the run wrote it" in refused("evaluate", f"run={sent}")
        (sent / name).unlink()
        assert f"{sent / name} is missing" in refused("evaluate", f"run={sent}")
        (sent / name).write_bytes(whole)
    (sent / "checkpoints" / "last.ckpt").unlink()
    assert cli.run(["evaluate", f"run={sent}"]) == 0
    assert f"{sent / 'checkpoints' / 'last.ckpt'} is missing" in caplog.text


def test_a_card_or_checkpoint_of_another_kind_is_named(sent: Path, refused: Refused) -> None:
    path, last = sent / "run.json", sent / "checkpoints" / "last.ckpt"
    card, checkpoint = path.read_text(), torch.load(last, weights_only=True)
    faults = {"protocol": 3, "data_hash": 5, "seconds": {"fit": "long"}, "status": "hunter2"}
    for key, wrong in faults.items():
        path.write_text(json.dumps(json.loads(card) | {key: wrong}))
        for verb in ("evaluate run", "train resume"):
            told = refused(*f"{verb}={sent}".split())
            assert f"{path} is not as a run writes it: {key}" in told, verb
            assert "hunter2" not in told
    path.write_text(card)
    torch.save({key: value for key, value in checkpoint.items() if key != "loops"}, last)
    told = refused("train", f"resume={sent}", "trainer.max_epochs=9")
    assert f"{last} is not as a run writes it: loops" in told
