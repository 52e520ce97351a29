"""Runs that go on: from any step, in any folder, to the bit; what is refused leaves no trace."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.kills import equal
from cli.processes import flip, read

from lightning_rec import cli
from lightning_rec.errors import UserError, nearest
from lightning_rec.files import sha256_file
from lightning_rec.runs import checksums
from lightning_rec.runs.checkpoints import BEST, LAST
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.locks import one_writer
from lightning_rec.tasks.base import Task

Refused = Callable[..., str]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Signals are heard, also where nohup has the tests ignore that the terminal is closed."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def steps(small: list[str]) -> list[str]:
    """Overrides of a run of four epochs of some forty steps, whose best one is the first."""
    several = ["batches.batch_size=4", "trainer.max_epochs=4", "optimizer.lr=0.05"]
    return [*small, *several]


@pytest.fixture
def done(small: list[str], tmp_path: Path) -> Path:
    """A completed run."""
    folder = tmp_path / "done"
    assert cli.run(["train", *small, f"run_dir={folder}"]) == 0
    return folder


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_file(path) for path in files}


def epochs_told(run: Path) -> set[str]:
    """What a run's log says of its epochs, but for the seconds; of one that went on, each once."""
    lines = re.findall(r"(epoch \d+ of .*), \S+ s$", (run / "train.log").read_text(), re.MULTILINE)
    return set(lines)


def load(checkpoint: Path) -> Any:
    """What a checkpoint holds."""
    return torch.load(checkpoint, "cpu", weights_only=True)


def _within(value: Any) -> Iterator[dict[str, Any]]:
    """Each dictionary in nested ones."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _within(each)


def stopped(
    patch: pytest.MonkeyPatch, kind: type[Task], hook: str, when: Callable[[Any], bool], number: int
) -> None:
    """Let a signal come within a hook of a task, once."""
    sent: list[Any] = []
    inner = getattr(kind, hook)

    def hooked(task: Any, *arguments: Any, **named: Any) -> Any:
        if not sent and when(task):
            sent.append(True)
            os.kill(os.getpid(), number)
        return inner(task, *arguments, **named)

    patch.setattr(kind, hook, hooked)


@pytest.mark.parametrize(
    ("hook", "when", "number"),
    [
        ("on_train_batch_start", 49, signal.SIGTERM),  # in the midst of an epoch, at a logged step
        ("on_train_batch_start", 0, signal.SIGUSR1),
        ("on_train_epoch_end", 1, signal.SIGHUP),
        ("validation_step", 1, signal.SIGINT),
    ],
)
def test_a_signal_saves_and_the_rest_equals_an_unbroken_run(
    steps: list[str], tmp_path: Path, hook: str, when: int, number: int, monkeypatch: Any
) -> None:
    whole, broken, moved = (tmp_path / name for name in ("whole", "broken", "moved"))
    cli.run(["train", *steps, f"run_dir={whole}"])
    with monkeypatch.context() as patch:
        asked = (lambda task: task.global_step >= when) if "batch" in hook else (lambda task: True)
        stopped(patch, Task, hook, asked, number)
        with pytest.raises(KeyboardInterrupt, match="resume="):
            cli.run(["train", *steps, f"run_dir={broken}"])
    assert read(broken / "run.json")["status"] == "interrupted"
    stop = load(broken / LAST)["global_step"]
    assert stop < load(whole / LAST)["global_step"]
    kept = torch.load(broken / LAST, "cpu", weights_only=True)
    progress = next(each for each in _within(kept) if "cpu_seconds" in each)
    assert progress["cpu_seconds"] > 0
    progress["cpu_seconds"] = 1000.0
    torch.save(kept, broken / LAST)
    checksums.record(broken, broken / LAST, LAST)
    if hook == "on_train_batch_start":
        assert stop == when + 1  # at once
    broken.rename(moved)
    best = load(moved / BEST)["global_step"] if (moved / BEST).exists() else None
    assert (best is None) == (when == 0 or hook == "validation_step")
    assert cli.run(["train", f"resume={moved}"]) == 0
    assert equal(whole, moved) == []
    if best is not None:  # it was not forgotten in another folder, and none after it was as good
        assert load(moved / BEST)["global_step"] == best <= stop
    card = read(moved / "run.json")
    assert [each["status"] for each in card["earlier"]] == ["interrupted"]
    assert 1000 < card["cpu_seconds"] < 2000  # of the whole training, not of its rest
    assert card["cost"]["epochs"] == 4
    tables = [list(csv.DictReader((each / "csv/metrics.csv").open())) for each in (whole, moved)]
    told = [[(row["step"], row["train/loss"]) for row in table] for table in tables]
    assert told[0] == told[1]  # each step once, in one file, those of epochs and validations too


@pytest.mark.parametrize("kind", ["clicks", "adapter", "mined", "annealed"])
def test_other_kinds_go_on_in_the_midst_of_an_epoch_too(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    arguments = request.getfixturevalue(kind)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    cli.run(["train", *arguments, f"run_dir={whole}"])
    with monkeypatch.context() as patch:
        stopped(patch, Task, "training_step", lambda task: task.global_step >= 9, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            cli.run(["train", *arguments, f"run_dir={broken}"])
    assert cli.run(["train", f"resume={broken}"]) == 0
    assert equal(whole, broken) == []
    assert epochs_told(whole) == epochs_told(broken) != set()
    if kind == "clicks":
        fields = ["data.fields.min_count=2", "trainer.max_epochs=9"]
        told = refused("train", f"resume={broken}", *fields)
        assert "data.fields.min_count cannot be changed" in told
    if kind == "adapter":
        flip(broken / "adapter.safetensors")
        assert "adapter.safetensors is not as" in refused("evaluate", f"run={broken}")


@pytest.fixture
def clicks(click_csv: Path) -> list[str]:
    return [
        "model=deepfm", "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked",
        "data.fields.categorical=[uid,sku]", "model.dim=8", "model.mlp=[16]", "model.dropout=0.3",
        "batches.batch_size=64", "trainer.accelerator=cpu", "trainer.max_epochs=2", "logger=none",
        "trainer.accumulate_grad_batches=2", "schedule=plateau", "callbacks=[checkpoint]", "trainer.val_check_interval=2",
        "trainer.max_epochs=5",
    ]  # fmt: skip


@pytest.fixture
def adapter(steps: list[str], catalogue_csv: Path, tiny_bert: Path) -> list[str]:
    pytest.importorskip("peft")
    about = [f"data.catalogue={catalogue_csv}", "data.catalogue_item=sku", "data.catalogue_title=title"]  # fmt: skip
    texts = ["model=sasrec", "loss=in_batch", "item=text", f"item.encoder={tiny_bert}"]
    return [*steps, *about, *texts, "adapter=adalora", "trainer.max_epochs=2", "logger=none"]


@pytest.fixture
def annealed(steps: list[str]) -> list[str]:
    bare = [each for each in steps if not each.startswith("model.")]
    grown = ["model.dim=8", "model.hidden=[16]", "model.beta=1", "model.anneal_steps=40"]
    return [*bare, "model=multvae", *grown, "logger=none"]


@pytest.fixture
def mined(pairs_csv: Path, tiny_bert: Path) -> list[str]:
    return [
        "data=pairs", f"data.path={pairs_csv}", "data.query=term", "data.title=name", "data.item=sku",
        "data.relevance=grade", "data.positive_from=2.5", "data.scale=[1,3]", "protocol.val=0.1",
        "protocol.test=0.2", "protocol.cutoffs=[1,5,10]", "batches.batch_size=8", "logger=none",
        "trainer.accelerator=cpu", "model=bi_encoder", f"model.encoder={tiny_bert}", "negatives=self",
        "trainer.max_epochs=2",
    ]  # fmt: skip


def test_two_processes_go_on_in_another_folder(
    steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    # The first process is that of the tests; the second is started by Lightning, as ``-m`` this:
    monkeypatch.setattr("__main__.__spec__", find_spec("lightning_rec.__main__"), raising=False)
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "callbacks.last.every_n_train_steps=3"]
    whole, broken, copied = (tmp_path / name for name in ("whole", "broken", "copied"))
    assert cli.run(["train", *steps, *ddp, f"run_dir={whole}"]) == 0
    with monkeypatch.context() as patch:
        asked = (lambda task: task.global_step >= 40, signal.SIGTERM)
        stopped(patch, Task, "on_train_batch_start", *asked)
        with pytest.raises(KeyboardInterrupt):
            cli.run(["train", *steps, *ddp, f"run_dir={broken}"])
    shutil.copytree(broken, copied)
    shutil.rmtree(broken)
    saved = load(copied / LAST)
    assert (saved["global_step"], len(saved["resume"]["generators"])) == (41, 2)
    assert load(copied / BEST)["global_step"] < 41  # and no later one is as good
    assert cli.run(["train", f"resume={copied}"]) == 0
    assert load(copied / BEST)["global_step"] < 41
    assert equal(whole, copied) == []
    assert cli.run(["evaluate", f"run={copied}"]) == 0
    assert "to the last bit" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("model.dim=16", "does not fit these settings"),
        ("trainer.max_epochs=1", "has been trained for 2 epochs"),
        ("examples=1", "raise trainer.max_epochs"),
        ("optimizer.lr=0.5 trainer.max_epochs=3", "optimizer.lr cannot be changed"),
        ("monitor=val/mrr@10 trainer.max_epochs=3", "monitor cannot be changed"),
        ("run_dir=elsewhere trainer.max_epochs=3", "a run stays in its folder"),
    ],
)
def test_a_refused_resume_leaves_a_completed_run_as_it_is(
    done: Path, refused: Refused, override: str, sentence: str
) -> None:
    before = hashes(done)
    assert sentence in refused("train", f"resume={done}", *override.split())
    assert hashes(done) == before


def test_a_folder_may_stand_in_quotes_as_hydra_takes_it(
    done: Path, refused: Refused, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "it's a run=1"
    shutil.copytree(done, folder)
    quoted = "'" + str(folder).replace("'", "\\'") + "'"
    assert "trained for 2 epochs" in refused("train", f"resume={quoted}", "trainer.max_epochs=1")
    for named in (quoted, f'"{folder}"', str(folder)):
        assert cli.run(["evaluate", f"run={named}"]) == 0
    assert "There is no folder" in refused("search", f"run='{tmp_path / 'no'}'", "red lamp")
    assert "run='a cannot be read" in refused("evaluate", "run='a")
    assert nearest("'a run'", ["a run", "a gun"]) == " Did you mean 'a gun'?"


def test_one_process_at_a_time_writes_a_run(
    small: list[str], done: Path, refused: Refused, tmp_path: Path
) -> None:
    told = f"is being written by process {os.getpid()} on "
    with one_writer(done):
        assert told in refused("train", f"resume={done}", "trainer.max_epochs=3")
        assert told in refused("train", *small, f"run_dir={done}")
    (done / "writer.lock").write_text("elsewhere 1")  # of one who is gone
    before = RunFolder.open(done).config
    changes = ["trainer.max_epochs=3", "patience=7", "model.dropout=0.45", "seed=9"]
    assert cli.run(["train", f"resume={done}", *changes]) == 0
    assert not (done / "writer.lock").exists()
    assert RunFolder.open(done).config.callbacks.early_stopping.patience == 7
    (earlier,) = read(done / "run.json")["earlier"]  # what the first epochs ran with is not lost
    assert (earlier["epochs"], earlier["step"]) == (2, 18)
    assert earlier["settings"] == {
        "trainer.max_epochs": 2,
        "patience": before.patience,
        "callbacks.early_stopping.patience": before.patience,
        "model.dropout": before.model.dropout,
        "seed": before.seed,
    }


def test_a_run_that_stopped_early_goes_on_with_more_patience_alone(
    steps: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    few = [*steps, "patience=1", "trainer.max_epochs=9", f"run_dir={run}"]
    with monkeypatch.context() as patch:
        stopped(patch, Task, "on_test_start", lambda task: True, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            cli.run(["train", *few])
    told = refused("train", f"resume={run}", "model.dropout=0.5")
    assert "model.dropout cannot be changed with resume=: all of its training is done" in told
    assert cli.run(["train", f"resume={run}"]) == 0
    epochs = read(run / "run.json")["cost"]["epochs"]
    assert epochs < 9
    before = hashes(run)
    for change in ("seed=3", "patience=0", "trainer.max_epochs=8"):
        told = refused("train", f"resume={run}", change)
        assert f"is completed, stopped early after {epochs} epochs: raise patience" in told
    assert hashes(run) == before
    assert cli.run(["train", f"resume={run}", "patience=9"]) == 0
    assert read(run / "run.json")["cost"]["epochs"] == 9
    assert "weights_only` was not set" not in (run / "train.log").read_text()
    assert f"{run} is completed, after" in refused("train", f"resume={run}", "seed=3")


def test_a_run_without_a_checkpoint_begins_anew(
    steps: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    cli.run(["train", *steps, f"run_dir={whole}"])
    with monkeypatch.context() as patch:
        stopped(patch, Task, "setup", lambda task: True, signal.SIGHUP)
        with pytest.raises(KeyboardInterrupt):
            cli.run(["train", *steps, f"run_dir={broken}"])
    assert not (broken / "checkpoints").exists()
    (broken / "checkpoints").mkdir()
    for name in (".run.json.7.tmp", "checkpoints/.last.ckpt.7.tmp"):  # as SIGKILL leaves them
        (broken / name).write_text("{")
    told = refused("train", *steps, f"run_dir={broken}")
    assert "it is interrupted. Go on with it" in told
    assert cli.run(["train", told.split("lightning-rec train ")[1].rstrip(".")]) == 0
    assert list(broken.rglob("*.tmp")) == []
    assert equal(whole, broken) == []


def test_a_run_that_was_refused_does_not_block_its_folder(
    small: list[str], refused: Refused, log_csv: Path, tmp_path: Path
) -> None:
    bad, folder = tmp_path / "bad.csv", tmp_path / "run"
    bad.write_text(log_csv.read_text() + "u1,i01,yesterday,3\n")
    refused("train", *small, f"data.path={bad}", f"run_dir={folder}")
    assert not folder.exists()
    folder.mkdir()
    refused("train", *small, f"data.path={bad}", f"run_dir={folder}")
    assert folder.exists()  # nobody asked to remove it
    assert cli.run(["train", *small, f"run_dir={folder}"]) == 0


def test_a_changed_bit_is_named(done: Path, refused: Refused, tmp_path: Path, caplog: Any) -> None:
    for name in ("weights.safetensors", "metrics.json", "config.yaml"):
        copy = tmp_path / f"copy_{name}"
        shutil.copytree(done, copy)
        flip(copy / name)
        assert name in refused("evaluate", f"run={copy}")
    card = (done / "run.json").read_text()
    (done / "run.json").write_text(card.replace('"error": null', '"error": ""'))
    assert "run.json is not as the run wrote it" in refused("evaluate", f"run={done}")
    (done / "run.json").write_text(card)
    (done / "metrics.json").write_text("{}")
    assert "metrics.json is not as the run wrote it" in refused("evaluate", f"run={done}")
    (done / "checksums.json").unlink()
    (done / LAST).write_bytes(b"PK broken")
    told = refused("train", f"resume={done}", "trainer.max_epochs=3")
    assert "last.ckpt cannot be read" in told


def test_settings_are_not_changed_between_the_last_checkpoint_and_a_later_best(
    steps: list[str], refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    saves = ["callbacks.last.every_n_epochs=4", "callbacks.last.every_n_train_steps=8"]
    rising = [*steps, *saves, "optimizer.lr=0.3", "logger=none"]
    cli.run(["train", *rising, f"run_dir={whole}"])

    def killed(task: Any) -> None:  # as good as: nothing is written
        if task.current_epoch == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Task, "on_train_epoch_start", killed)
        with pytest.raises(RuntimeError, match="killed"):
            cli.run(["train", *rising, f"run_dir={broken}"])
    assert load(broken / BEST)["global_step"] > load(broken / LAST)["global_step"]
    for change in ("batches.batch_size=8", "trainer.max_epochs=2", "patience=1", "seed=2"):
        told = refused("train", f"resume={broken}", change)
        assert "best.ckpt is of a later step" in told
    assert cli.run(["train", f"resume={broken}"]) == 0
    assert equal(whole, broken) == []


def test_the_checkpoint_before_is_taken_when_the_last_is_broken(
    steps: list[str], refused: Refused, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    cli.run(["train", *steps, f"run_dir={whole}"])
    with monkeypatch.context() as patch:
        stopped(patch, Task, "training_step", lambda task: task.current_epoch == 2, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            cli.run(["train", *steps, f"run_dir={broken}"])
    flip(broken / "checkpoints/last.ckpt")
    worse = tmp_path / "worse"
    shutil.copytree(broken, worse)
    flip(worse / "checkpoints/previous.ckpt")
    before = hashes(worse)
    assert "previous.ckpt is not as the run wrote it" in refused("train", f"resume={worse}")
    assert hashes(worse) == before
    assert cli.run(["train", f"resume={broken}"]) == 0
    assert "going on from checkpoints/previous.ckpt" in caplog.text
    assert equal(whole, broken) == []


def test_what_fails_after_the_figures_leaves_a_run_completed(
    clicks: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("matplotlib")
    run = tmp_path / "run"
    (run / "reliability.png" / "full").mkdir(parents=True)  # a folder where a picture should go
    assert cli.run(["train", *clicks, "trainer.max_epochs=1", f"run_dir={run}"]) == 0
    assert read(run / "run.json")["status"] == "completed"
    assert f"{run} is completed, but telling the trackers failed: " in caplog.text


def test_a_training_that_cannot_train_or_choose_says_so(
    small: list[str], refused: Refused, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = refused("train", *small, "trainer.limit_train_batches=0", f"run_dir={tmp_path / 'a'}")
    assert "trainer.limit_train_batches=0 leaves nothing to train on" in told
    for limit, sentence in (
        ("trainer.limit_train_batches=0.001", "limit_train_batches=0.001 of 9 batches is none"),
        ("trainer.limit_test_batches=0.001", "limit_test_batches=0.001 of 3 batches is none"),
        ("trainer.val_check_interval=99", "val_check_interval=99, but an epoch has 9 batches"),
    ):
        assert sentence in refused("train", *small, limit, f"run_dir={tmp_path / 'a'}")
        assert not (tmp_path / "a").exists()
    for name, value in (("check_val_every_n_epoch", 100), ("limit_val_batches", 0)):
        run = [f"trainer.{name}={value}", "trainer.max_epochs=1", f"run_dir={tmp_path / name}"]
        assert cli.run(["train", *small, *run]) == 0
        assert "No validation takes place during" in (tmp_path / name / "train.log").read_text()
    # A training that ends before its first validation: nothing to stop early by.
    assert cli.run(["train", *small, "trainer.max_steps=1", f"run_dir={tmp_path / 'c'}"]) == 0
    caplog.clear()
    none = ["trainer.max_time=00:00:00:00", "~callbacks.best", "~examples"]
    assert cli.run(["train", *small, *none, f"run_dir={tmp_path / 'd'}"]) == 0
    assert "No step of training was taken" in caplog.text
    assert "No callbacks.best watches a figure" in caplog.text
    assert cli.run(["train", *small, "optimizer.lr=0", f"run_dir={tmp_path / 'e'}"]) == 0
    assert "With optimizer.lr=0 nothing is trained" in caplog.text


def test_weights_that_the_last_step_spoilt_are_no_result(
    small: list[str], refused: Refused, tmp_path: Path
) -> None:
    """Its loss was that of the weights before it."""
    one = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "optimizer.lr=inf"]
    told = refused("train", *small, *one, f"run_dir={tmp_path / 'run'}")
    assert "hold values that are no numbers: lower optimizer.lr" in told
    assert read(tmp_path / "run/run.json")["status"] == "failed"
    assert not (tmp_path / "run/metrics.json").exists()


def test_trackers_go_on_in_their_runs(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    folder = tmp_path / "run"
    run = [*small, "logger=[wandb,mlflow,tensorboard]", f"run_dir={folder}"]
    assert cli.run(["train", *run]) == 0
    first = read(folder / "run.json")["trackers"]
    assert first.keys() == {"wandb", "mlflow"}
    assert cli.run(["train", f"resume={folder}", "trainer.max_epochs=3"]) == 0
    assert read(folder / "run.json")["trackers"] == first
    assert len(list((folder / "wandb").glob(f"offline-run-*-{first['wandb']}"))) == 2
    assert "wandb: WARNING" not in capfd.readouterr().err
    client = mlflow.MlflowClient()
    kept = client.get_run(first["mlflow"])
    assert (kept.info.run_name, kept.info.status) == ("run", "FINISHED")
    assert (kept.data.params["model/dim"], kept.data.params["trainer/max_epochs"]) == ("8", "2")
    assert kept.data.tags["resumed/trainer/max_epochs"] == "3"
    figures = read(folder / "metrics.json")
    assert kept.data.metrics["test/ndcg_at_10"] == figures["test/ndcg@10"]
    assert kept.data.metrics["slices/test/warm/examples"] == figures["test/warm/examples"]
    seconds = client.get_metric_history(first["mlflow"], "cost/epoch_seconds")
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    shown = events.EventAccumulator(str(folder / "tensorboard")).Reload()
    steps = [each.step for each in shown.Scalars("cost/epoch_seconds")]
    assert len(steps) == 3
    assert steps == sorted({each.step for each in seconds}) == [each.step for each in seconds]
    assert [each.step for each in shown.Scalars("test/ndcg@10")] == [steps[-1] + 1]


def test_a_tracker_that_fails_is_told_no_more_and_the_run_is_completed(
    small: list[str], tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tensorboard").write_text("no folder")
    inner = Task.on_validation_epoch_end

    def lost(task: Any) -> None:
        if task.current_epoch == 1:  # in the midst of training somebody tidies up
            shutil.rmtree(folder / "csv")
        inner(task)

    monkeypatch.setattr(Task, "on_validation_epoch_end", lost)
    run = [*small, "logger=[csv,tensorboard,wandb]", f"run_dir={folder}"]
    assert cli.run(["train", *run]) == 0
    card = read(folder / "run.json")
    assert (card["status"], [*card["trackers"]]) == ("completed", ["wandb"])
    for name in ("tensorboard", "csv"):
        assert caplog.text.count(f"logger={name} fails; the run goes on without it. ") == 1
    assert read(folder / "metrics.json")["test/ndcg@10"] > 0


def test_an_old_run_without_checksums_is_read_and_said(
    done: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (done / "checksums.json").unlink()
    assert cli.run(["evaluate", f"run={done}"]) == 0
    assert "has no checksums.json: whether its files are as the run wrote them" in caplog.text
    figures = json.loads((done / "metrics.json").read_text())
    (done / "metrics.json").write_text("{}")
    with pytest.raises(UserError, match="holds no figures"):
        cli.run(["evaluate", f"run={done}"])
    (done / "metrics.json").write_text(json.dumps(figures | {"test/mrr": 2.0}))
    assert cli.run(["evaluate", f"run={done}"]) == 1


@pytest.mark.slow
def test_trainings_that_are_killed_at_random_moments_equal_unbroken_ones(tmp_path: Path) -> None:
    script = Path(__file__).with_name("kills.py")
    line = [sys.executable, str(script), "--runs", "2", "--folder", str(tmp_path / "kills")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert "2 runs, 0 of them differ" in done.stdout, done.stdout + done.stderr
