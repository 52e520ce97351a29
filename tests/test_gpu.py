"""What must hold on a CUDA device, and that the bench of it works where there is none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest
import torch
from cli.test_figures import RUNS, paths

from lightning_rec import cli
from lightning_rec.runs.folder import RunFolder
from lightning_rec.training import evaluate

__all__ = ["paths"]  # a fixture
CLONE = Path(__file__).parent.parent
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
RUN = "data.user=uid data.item=sku data.time=ts protocol.cutoffs=[1,5,10] logger=csv"
SMALL = f"data=table {RUN} model.dim=16 batches.max_len=10 batches.batch_size=16 trainer.devices=1"


def train(log: Path, folder: Path, *overrides: str) -> dict[str, float]:
    cli.run(["train", *SMALL.split(), f"data.path={log}", f"run_dir={folder}", *overrides])
    return RunFolder.open(folder).metrics


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("model", ["sasrec", "bert4rec", "gru4rec", "hstu"])
def test_figures_of_a_gpu_are_those_of_the_cpu(model: str, log_csv: Path, tmp_path: Path) -> None:
    on = ("trainer.accelerator=gpu", "trainer.max_epochs=2")
    figures = train(log_csv, tmp_path / "run", f"model={model}", *on)
    _, again = evaluate(tmp_path / "run", ["trainer.accelerator=cpu"])
    for name, value in figures.items():
        if name in again:
            assert again[name] == pytest.approx(value, abs=0.02), name  # one user of sixty is .017


@GPU
@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_every_kind_has_the_figures_of_the_cpu(
    name: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    overrides = [Template(each).substitute(paths) for each in RUNS[name]]
    on = ["trainer.accelerator=gpu", "trainer.max_epochs=2", "logger=csv"]
    assert cli.run(["train", *overrides, *on, f"run_dir={tmp_path / 'run'}"]) == 0
    figures = RunFolder.open(tmp_path / "run").metrics
    _, again = evaluate(tmp_path / "run", ["trainer.accelerator=cpu"])
    for figure in figures.keys() & again.keys():
        if not figure.startswith("cost/"):
            assert again[figure] == pytest.approx(figures[figure], rel=0.01, abs=0.02), figure


@pytest.mark.parametrize("device", ["cpu", pytest.param("gpu", marks=[GPU, pytest.mark.gpu])])
def test_a_resumed_run_equals_the_unbroken_one(device: str, log_csv: Path, tmp_path: Path) -> None:
    on = (
        "model=sasrec",
        f"trainer.accelerator={device}",
        "schedule.decay=none",
        "schedule.warmup=0",
    )
    whole = train(log_csv, tmp_path / "whole", *on, "trainer.max_epochs=4")
    train(log_csv, tmp_path / "halved", *on, "trainer.max_epochs=2")
    cli.run(["train", f"resume={tmp_path / 'halved'}", "trainer.max_epochs=4"])
    assert RunFolder.open(tmp_path / "halved").metrics == whole


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif("LIGHTNING_REC_DATA" not in os.environ, reason="needs MovieLens-1M and Frappe")
def test_the_bench_of_a_gpu_works_in_little_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    line = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--tiny", "--out", str(out)]
    line += ["--data", os.environ["LIGHTNING_REC_DATA"], "--parts", "sequences", "clicks", "published"]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=CLONE)
    assert done.returncode == 0, done.stderr
    parts = json.loads(out.read_text())["parts"]
    assert {"sequences", "clicks", "published"} == parts.keys()
    assert not any("failed" in part for part in parts.values()), parts
    assert parts["clicks"]["deepfm"]["rows_per_second"] > 0
    assert parts["published"]["within_tolerance"]
