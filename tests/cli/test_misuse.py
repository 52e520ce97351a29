"""Bad input ends in one sentence that names the culprit, before any training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli.processes import command, read

from lightning_rec import cli
from lightning_rec.build import problem_of
from lightning_rec.config import compose
from lightning_rec.data.fetch import cache_dir
from lightning_rec.errors import LeakError
from lightning_rec.files import atomic_folder
from lightning_rec.runs.course import check_course

Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.dimm=3", "Unknown key model.dimm. Did you mean 'dim'?"),
        ("modl.dim=3", "Did you mean 'model'?"),
        ("model=bert5rec", "Unknown choice model=bert5rec. Did you mean 'bert4rec'?"),
        ("data=ml_100", "Did you mean 'ml_100k'?"),
        ("+model.dimm=3", "Unknown key model.dimm. Did you mean 'dim'?"),
        ("model.dropout=1.5", "model.dropout=1.5: Input should be less than 1"),
        ("model.dim=abc", "model.dim=abc: Input should be a valid integer"),
        ("model.heads=3", "model.heads=3 must divide dim=64"),
        ("optimizer.lr=-1", "optimizer: Invalid learning rate"),
        ("trainer.accelerator=tpux", "trainer: "),
        ("model._target_=no.such.Model", "model._target_=no.such.Model cannot be loaded"),
        ("objective=closed_form", "BERT4Rec learns by masked_item (objective=closed_form)"),
        ("protocol.cutoffs=[0]", "protocol.cutoffs"),
        ("batches.max_len=1", "batches.max_len=1"),
        ("--experimental-rerun=x.pkl", "pickle"),
        ("-sc=install=bash", "lightning-rec completion bash"),
        ("~monitor", "monitor"),
        (
            "+trainer.barebones=true",
            "barebones is not to be set: it would measure, keep and record nothing",
        ),
        ("+trainer.plugins=async_checkpoint", "plugins is not to be set: the run folder brings"),
        ("trainer.strategy=ddp_spawn", "do not hand back what they have trained; say ddp"),
        ("trainer.limit_test_batches=0", "it leaves nothing"),
        ("metrics=[]", "nothing would be measured; say metrics=[default]"),
        ("trainer.min_steps=-5", "trainer.min_steps=-5"),
        ("trainer.overfit_batches=-1", "trainer.overfit_batches=-1"),
        ("data=[1]", "by name"),
        ("run_dir=/dev/null/r", "run_dir cannot be made"),
        ("run_dir=" + 256 * "a", "run_dir cannot be made"),
    ],
)
def test_bad_overrides(refused: Refused, tmp_path: Path, override: str, said: str) -> None:
    given = [] if override.startswith("run_dir") else [f"run_dir={tmp_path / 'r'}"]
    assert said in refused("train", *given, override)
    assert not (tmp_path / "r").exists()


def test_a_model_that_takes_no_loss(refused: Refused) -> None:
    assert "takes no loss" in refused("train", "model=popularity", "loss=full_softmax")


def test_unknown_verb(refused: Refused) -> None:
    assert "Did you mean 'train'?" in refused("trian")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.csv", None, "missing.csv"),
        ("empty.csv", b"", "empty"),
        ("image.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00", "image.csv"),
        ("column.csv", b"user,sku,ts\na,b,1\n", "uid"),
        ("time.csv", b"uid,sku,ts\na,b,1\na,c,yesterday\n", "line 3"),
        ("null.csv", b"uid,sku,ts\na,b,1\n,c,2\n", "line 3"),
        ("header.csv", b"uid,sku,ts\n", "header.csv"),
    ],
)
def test_bad_files(
    refused: Refused, small: list[str], tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    small = [each for each in small if not each.startswith("data.path=")]
    sentence = refused("train", *small, f"data.path={path}", f"run_dir={tmp_path / 'r'}")
    assert said in sentence


def test_nothing_left_after_filtering(refused: Refused, small: list[str], tmp_path: Path) -> None:
    sentence = refused("train", *small, "protocol.user_core=1000", f"run_dir={tmp_path / 'r'}")
    assert "Nothing is left" in sentence
    assert "events read" in sentence


def test_too_few_items_for_the_cutoff(refused: Refused, small: list[str], tmp_path: Path) -> None:
    sentence = refused("train", *small, "protocol.cutoffs=[10,50]", f"run_dir={tmp_path / 'r'}")
    assert "only 40 items" in sentence


def test_a_share_that_is_less_than_a_batch(refused: Refused, small: list[str]) -> None:
    said = refused("train", *small, "batches.eval_batch_size=512", "trainer.overfit_batches=0.5")
    assert said.startswith("trainer.overfit_batches=0.5 of 1 batches is none")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["max_steps=1"], ["No validation takes place during training (trainer.max_steps=1, "]),
        (["max_steps=1", "val_check_interval=1"], []),
        (["val_check_interval=0.5"], []),
        (["max_steps=100000"], []),
    ],
)
def test_whether_a_training_trains_and_validates_is_told(
    small: list[str], settings: list[str], told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose([*small, *(f"trainer.{each}" for each in settings)])
    problem = problem_of(cfg)
    loaded = problem.load(cache_dir())
    data = problem.make_data(loaded)
    task = problem.make_task(loaded, data)
    caplog.clear()
    check_course(cfg, task, data, validates=loaded.validates)
    said = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert len(said) == len(told)
    assert all(part in line for part, line in zip(told, said, strict=True))


def test_a_loss_that_is_no_number(refused: Refused, small: list[str], tmp_path: Path) -> None:
    run = tmp_path / "r"
    assert "train/loss is nan" in refused("train", *small, "optimizer.lr=inf", f"run_dir={run}")
    assert '"status": "failed"' in (run / "run.json").read_text()
    assert cli.run(["train", f"resume={run}", "optimizer.lr=0.001"]) == 0
    (earlier,) = read(run / "run.json")["earlier"]
    assert earlier["settings"] == {"optimizer.lr": "inf"}


def test_no_run_folder(refused: Refused, small: list[str], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long") as error:
        cli.run(["evaluate", f"run={300 * 'x'}"])
    assert "xxx… is longer than a file may be called." in cli.explain(error.value)
    assert "data.name=my_log" in refused("train", *small, f"data.path={300 * 'x'}")
    assert "There is no folder" in refused("evaluate", f"run={tmp_path / 'nope'}")
    assert "not a run folder" in refused("evaluate", f"run={tmp_path}")
    assert "not a run folder" in refused("train", f"resume={tmp_path}")
    assert "run=FOLDER" in refused("evaluate")


def test_weights_that_do_not_fit(refused: Refused, small: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    cli.run(["train", *small, f"run_dir={run}"])
    assert "already holds a run" in refused("train", *small, f"run_dir={run}")
    assert "does not fit" in refused("evaluate", f"run={run}", "model.dim=16")
    assert "is completed" in refused("train", f"resume={run}")
    assert "only values" in refused("train", f"resume={run}", "model=popularity")
    for wrong in (["resume="], [f"resume={run}", f"resume={run}"], ["-m", f"resume={run}"]):
        assert "resume=FOLDER, followed by values" in refused("train", *wrong)
    assert "only values" in refused("evaluate", f"run={run}", "model")
    assert "Did you mean 'dim'?" in refused("evaluate", f"run={run}", "model.dimm=3")
    (run / "weights.safetensors").write_bytes(b"broken")
    assert "weights.safetensors" in refused("evaluate", f"run={run}")
    (run / "weights.safetensors").unlink()
    assert "missing" in refused("evaluate", f"run={run}")
    (run / "run.json").write_text("{")
    assert "not JSON" in refused("evaluate", f"run={run}")


def test_one_sentence_no_traceback_unless_asked(tmp_path: Path) -> None:
    done = command("train", "model.dimm=3")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unknown key model.dimm.")
    assert "Traceback" not in done.stderr
    assert "Traceback" in command("train", "model.dimm=3", "--traceback").stderr


def test_a_folder_that_cannot_be_written(small: list[str]) -> None:
    done = command("train", *small, "run_dir=/proc/nowhere/run")
    assert done.returncode == 2
    assert "run_dir cannot be made" in done.stderr
    assert "Traceback" not in done.stderr


def test_memory_that_is_used_up_is_told_with_what_to_do(refused: Refused, small: list[str]) -> None:
    """Each allocator has its own words."""
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**55)
    assert "batches.batch_size" in cli.explain(error.value)
    assert cli.explain(LeakError("leak audit: …")) == "leak audit: …"  # no name of a class
    assert "batches.batch_size" in cli.explain(torch.OutOfMemoryError("CUDA out of memory."))
    too_large = refused("train", *small, f"model.dim={2**22}")
    assert "model: a part of this size does not fit the memory" in too_large


def test_a_folder_that_another_command_wrote_is_told(tmp_path: Path) -> None:
    """As of two exports at once to one place."""
    target = tmp_path / "bundle"
    with pytest.raises(OSError, match="not empty") as error, atomic_folder(target):
        (target / "there").mkdir(parents=True)
    assert cli.explain(error.value) == (
        f"{target} is there already: another command wrote it meanwhile."
    )
