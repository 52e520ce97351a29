"""Where nobody looks on, or nobody can: pipes that close, files, ids that a terminal would obey."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from processes import read


def test_a_run_into_a_closed_pipe_is_completed_and_its_log_has_a_line_per_epoch(
    small: list[str], log_frame: pl.DataFrame, tmp_path: Path
) -> None:
    path, reader = tmp_path / "log.csv", pl.col("sku").str.replace("i08", "[/i008]\x1b[2J")
    log_frame.with_columns(uid="[/" + pl.col("uid") + "]", sku=reader).write_csv(path)
    kept = [each for each in small if not each.startswith("data.path")]
    run = [*kept, f"data.path={path}", "logger=none", f"run_dir='{tmp_path / '[r]'}'"]
    receiving, sending = os.pipe()
    os.close(receiving)  # nobody reads
    command = [sys.executable, "-m", "lightning_rec", "train", *run]
    done = subprocess.run(command, stdout=sending, stderr=subprocess.PIPE, text=True, check=False)
    os.close(sending)
    assert done.returncode == 0, done.stderr
    assert "BrokenPipe" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "\n\n" not in done.stderr  # of what is wiped away on a terminal
    assert read(tmp_path / "[r]" / "run.json")["status"] == "completed"
    for text in (done.stderr, (tmp_path / "[r]" / "train.log").read_text()):
        assert "epoch 1 of 2, train/loss " in text
        assert "val/ndcg@10 0." in text


def test_help_into_a_closed_pipe() -> None:
    receiving, sending = os.pipe()
    os.close(receiving)
    command = [sys.executable, "-m", "lightning_rec", "train", "--help"]
    done = subprocess.run(command, stdout=sending, stderr=subprocess.PIPE, text=True, check=False)
    os.close(sending)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("line", ["--help >&-", "show --help >&- 2>&-", "nonsense >&- 2>&-"])
def test_outputs_that_are_closed_from_the_beginning(line: str) -> None:
    command = f"exec {sys.executable} -m lightning_rec {line}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2 if "nonsense" in line else 0, "")
