"""Every optimizer, schedule and key of the trainer: it trains, and goes on to the bit."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from cli.kills import equal
from cli.processes import read

from lightning_rec import cli, config
from lightning_rec.errors import UserError
from lightning_rec.files import write_text
from lightning_rec.runs import checksums
from lightning_rec.runs.checkpoints import LAST
from lightning_rec.tasks.base import Task

OPTIMIZERS, SCHEDULES = config.choices("optimizer"), config.choices("schedule")
# Each of both at least once.
PAIRS = [
    (OPTIMIZERS[number % len(OPTIMIZERS)], SCHEDULES[number % len(SCHEDULES)])
    for number in range(max(len(OPTIMIZERS), len(SCHEDULES)))
]
NO_MOMENTUM = ("adadelta", "adagrad", "adafactor", "asgd", "rprop")
BREAK = 10  # steps, of eight an epoch


@pytest.mark.parametrize(("optimizer", "schedule"), PAIRS)
def test_it_trains_and_goes_on(
    small: list[str], tmp_path: Path, optimizer: str, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = [
        *small, f"optimizer={optimizer}", f"schedule={schedule}", "model=gru4rec", "logger=none", "baseline=null",
        "examples=0", "batches.batch_size=8", "trainer.limit_train_batches=8", "trainer.max_epochs=2",
    ]  # fmt: skip
    run = [each for each in run if each != "model.depth=1"]
    if schedule == "one_cycle" and optimizer in NO_MOMENTUM:
        run.append("schedule.cycle_momentum=false")
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cli.run(["train", *run, f"run_dir={whole}"]) == 0
    inner = Task.training_step

    def stopped(task: Task, *arguments: Any) -> Any:
        if task.global_step == BREAK:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(task, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            cli.run(["train", *run, f"run_dir={broken}"])
    then = torch.load(broken / LAST, "cpu", weights_only=True)
    assert then["global_step"] == BREAK + 1
    assert cli.run(["train", f"resume={broken}"]) == 0
    assert equal(whole, broken) == []
    end = torch.load(broken / LAST, "cpu", weights_only=True)
    moved = [name for name, value in then["state_dict"].items() if value.is_floating_point()]
    assert any(not torch.equal(then["state_dict"][name], end["state_dict"][name]) for name in moved)


@pytest.mark.parametrize(
    ("settings", "partial"),
    [
        (
            "profiler=pytorch max_steps=7 min_epochs=1 val_check_interval=0.5 inference_mode=false "
            "enable_model_summary=true reload_dataloaders_every_n_epochs=1 benchmark=false "
            "gradient_clip_algorithm=value sync_batchnorm=true enable_autolog_hparams=false",
            False,
        ),
        ("fast_dev_run=2", True),
        ("overfit_batches=2 profiler=simple max_time=00:00:05:00", True),
    ],
)
def test_keys_of_the_trainer(
    small: list[str], tmp_path: Path, settings: str, partial: bool
) -> None:
    keys = [f"trainer.{each}" for each in settings.split()]
    assert cli.run(["train", *small, *keys, f"run_dir={tmp_path}"]) == 0
    figures = read(tmp_path / "metrics.json")
    assert {name.endswith("_partial") for name in figures} == {partial}


def test_a_run_whose_config_says_fewer_keys_goes_on(small: list[str], tmp_path: Path) -> None:
    """Those of earlier versions do: what is missing is the default, and can be said."""
    early = tmp_path / "early"
    run = [*small, "logger=none", "trainer.max_epochs=1"]
    assert cli.run(["train", *run, f"run_dir={early}"]) == 0
    config_of = yaml.safe_load((early / "config.yaml").read_text())
    kept = ("_target_", "accelerator", "max_epochs", "gradient_clip_val", "check_val_every_n_epoch")
    config_of["trainer"] = {key: config_of["trainer"][key] for key in kept}
    config_of["trainer"] |= {"num_sanity_val_steps": 0, "use_distributed_sampler": False}
    config_of["optimizer"].pop("amsgrad")
    write_text(early / "config.yaml", yaml.safe_dump(config_of))
    checksums.record(early, early / "config.yaml", "config.yaml")
    again = [
        f"resume={early}",
        "trainer.max_epochs=2",
        "schedule.warmup=0.05",
        "trainer.profiler=simple",
    ]
    assert cli.run(["train", *again]) == 0
    assert read(early / "run.json")["cost"]["epochs"] == 2
    with pytest.raises(UserError, match=r"Unknown key trainer\.profilr\. Did you mean 'profiler'"):
        cli.run(["train", f"resume={early}", "trainer.profilr=simple"])
