"""The run folder: what it holds, what is refused, and that every file is whole or not there."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only
from torch import nn

from lightning_rec.cli import explain
from lightning_rec.errors import UserError
from lightning_rec.files import atomic_folder, atomic_path, sha256_file, write_json, write_text
from lightning_rec.runs import weights
from lightning_rec.runs.folder import RunFolder


@pytest.fixture
def cfg() -> DictConfig:
    return OmegaConf.create(
        {"seed": 1, "name": "test", "run_dir": "x", "model": {"dim": 8}, "twice": "${model.dim}"}
    )


@pytest.fixture
def run(tmp_path: Path, cfg: DictConfig) -> RunFolder:
    return RunFolder.create(tmp_path / "a_run", cfg, ["model.dim=8"])


def test_a_run_is_opened_as_it_was_left(run: RunFolder) -> None:
    with run.timed("fit"):
        pass
    with run.timed("fit"):
        pass
    run.save_metrics({"test/mrr": 0.1 + 0.2, "test/auc": 1.0})
    run.save_table("test_users", pl.DataFrame({"user": ["a"], "rank": [None]}))
    run.note(data_hash="abc")
    run.finish("completed")
    again = RunFolder.open(run.path)
    assert again.card == run.card
    assert again.card["status"] == "completed"
    assert again.card["error"] is None
    assert set(again.card["seconds"]) == {"fit"}
    assert again.metrics == {"test/auc": 1.0, "test/mrr": 0.1 + 0.2}  # to the last bit
    assert again.config == {
        "seed": 1,
        "name": "test",
        "run_dir": "x",
        "model": {"dim": 8},
        "twice": 8,
    }
    assert OmegaConf.load(run.path / "overrides.yaml") == ["model.dim=8"]
    assert pl.read_parquet(run.path / "test_users.parquet")["user"].to_list() == ["a"]
    assert not list(run.path.glob(".*"))


def test_processor_time_is_that_of_the_run_not_of_the_sweep(
    tmp_path: Path, cfg: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.process_time", lambda: 100.0)
    run = RunFolder.create(tmp_path / "second", cfg, [])
    monkeypatch.setattr("time.process_time", lambda: 103.5)
    run.finish("completed")
    assert run.card["cpu_seconds"] == 3.5


def test_the_card_says_what_made_the_run(run: RunFolder) -> None:
    card = RunFolder.open(run.path).card
    assert {
        "version",
        "commit",
        "dirty",
        "environment_hash",
        "config_hash",
        "seed",
        "machine",
        "started",
    } <= set(card)
    assert card["machine"]["cores"] >= 1
    assert card["packages"]["torch"]


def test_the_config_hash_depends_on_what_changes_figures_alone(
    tmp_path: Path, cfg: DictConfig
) -> None:
    def hash_of(folder: str, **changes: object) -> str:
        changed = OmegaConf.merge(cfg, changes)
        assert isinstance(changed, DictConfig)
        found: str = RunFolder.create(tmp_path / folder, changed, []).card["config_hash"]
        return found

    assert hash_of("1") == hash_of("2", name="other", run_dir="y")
    assert hash_of("1b") != hash_of("3", model={"dim": 9})
    assert hash_of("1c") != hash_of("4", seed=2)


def test_a_failed_run_says_why(run: RunFolder) -> None:
    run.finish("failed", ValueError("no such thing"))
    card = RunFolder.open(run.path).card
    assert (card["status"], card["error"]) == ("failed", "ValueError: no such thing")


def test_a_second_run_in_one_folder_is_refused(run: RunFolder, cfg: DictConfig) -> None:
    with pytest.raises(UserError, match=r"already holds a run.*resume="):
        RunFolder.create(run.path, cfg, [])


def test_a_disk_that_is_full_at_the_start_leaves_no_half_of_a_run(
    tmp_path: Path, cfg: DictConfig
) -> None:
    cfg.model.text = 2000 * "a"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="large") as error:
            RunFolder.create(tmp_path / "full", cfg, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "full").iterdir()) == []
    assert "ulimit -f" in explain(error.value)


def test_a_resumed_run_remembers_its_earlier_life(run: RunFolder, cfg: DictConfig) -> None:
    run.finish("interrupted")
    again = RunFolder.open(run.path)
    held = {"epochs": 3, "step": 12, "settings": {"trainer.max_epochs": 3}}
    again.resume(cfg, ["trainer.max_epochs=9"], held)
    card = RunFolder.open(run.path).card
    assert card["status"] == "running"
    (earlier,) = card["earlier"]
    assert earlier["status"] == "interrupted"
    assert earlier | held == earlier
    assert card["overrides"] == ["model.dim=8", "trainer.max_epochs=9"]


def test_weights_come_back_bit_for_bit(run: RunFolder) -> None:
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    run.save_model(model)
    run.load_model(other)
    assert torch.equal(model.weight, other.weight)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(UserError, match=rf"There is no folder .*a_rum\. Did you mean '{run.path}'"):
        RunFolder.open(tmp_path / "a_rum")
    with pytest.raises(
        UserError, match=r"config\.yaml and run\.json missing.* There are .*/a_run\."
    ):
        RunFolder.open(tmp_path)
    with pytest.raises(UserError, match=r"There is no folder .*run\.json"):
        RunFolder.open(run.path / "run.json")


def test_what_is_missing_in_a_run_is_named(run: RunFolder) -> None:
    for read, name in (
        (lambda: run.metrics, "metrics.json"),
        (lambda: run.load_model(nn.Linear(1, 1)), "weights.safetensors"),
    ):
        with pytest.raises(UserError, match=name):
            read()


@pytest.mark.parametrize(
    "content", ["", "{", *(pytest.param(c) for c in ("null", "[]", "\x00\xff"))]
)
def test_a_broken_card_is_named(run: RunFolder, content: str) -> None:
    (run.path / "run.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"run\.json"):
        RunFolder.open(run.path)


@pytest.mark.parametrize(
    "content", ["{", "seed: [", *(pytest.param(c) for c in ("", "[]\n", "\x00\xff"))]
)
def test_a_broken_config_is_named(run: RunFolder, content: str) -> None:
    (run.path / "config.yaml").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"config\.yaml"):
        RunFolder.open(run.path).config  # noqa: B018


@pytest.mark.parametrize("content", ["", "{", *(pytest.param(c) for c in ("[]", "\x00\xff"))])
def test_broken_metrics_are_named(run: RunFolder, content: str) -> None:
    (run.path / "metrics.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"metrics\.json"):
        RunFolder.open(run.path).metrics  # noqa: B018


def test_weights_that_do_not_fit_are_named(run: RunFolder) -> None:
    run.save_model(nn.Linear(3, 2))
    for other in (nn.Linear(4, 2), nn.Linear(3, 2, bias=False), nn.Conv1d(1, 1, 1)):
        with pytest.raises(UserError, match=r"weights\.safetensors does not fit config\.yaml"):
            run.load_model(other)
    whole = (run.path / "weights.safetensors").read_bytes()
    for broken in (b"", whole[:20], whole[:-4], b"\xff" * 40):
        (run.path / "weights.safetensors").write_bytes(broken)
        with pytest.raises(UserError, match=r"weights\.safetensors"):
            run.load_model(nn.Linear(3, 2))


def test_a_figure_that_is_no_number_is_not_written(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="JSON"):
        run.save_metrics({"test/mrr": float("nan")})
    assert not (run.path / "metrics.json").exists()


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.json"
    write_json(target, {"old": 1})
    with pytest.raises(TypeError), atomic_path(target) as temporary:
        temporary.write_text('{"ne') + "a failure"  # type: ignore[operator]
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"new": float("inf")})
    assert json.loads(target.read_text()) == {"old": 1}
    assert [path.name for path in target.parent.iterdir()] == ["file.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(TypeError), atomic_folder(tmp_path / "made") as temporary:
        (temporary / "part").write_text("x") + "a failure"  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []
    with atomic_folder(tmp_path / "made") as temporary:
        (temporary / "part").write_text("x")
        assert not (tmp_path / "made").exists()
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["part"]


KILLED = """
import os, signal, sys
from pathlib import Path
from lightning_rec.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    temporary.write_text("half of the n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    write_text(target, "old")
    before = sha256_file(target)
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert sha256_file(target) == before
    write_text(target, "new")
    assert target.read_text() == "new"


def test_other_processes_of_a_run_write_nothing(
    tmp_path: Path, cfg: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    run = RunFolder.create(tmp_path / "run", cfg, [])
    run.note(a=1)
    run.save_metrics({"b": 1.0})
    run.save_model(nn.Linear(1, 1))
    run.finish("completed")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_is_larger_than_a_file_may_be_is_told_as_such(tmp_path: Path) -> None:
    """Torch tells of it, and of a full disk, in words of its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            weights.write_checkpoint({"weight": torch.zeros(100_000)}, tmp_path / "last.ckpt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "Cannot write, a file would become larger than allowed" in explain(error.value)
