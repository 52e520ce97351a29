"""Where nobody looks on, or nobody can: pipes that close, files, ids that a terminal would obey."""

import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from cli.processes import read


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


HALTING = """
import pdb

from lightning_rec.models.sequential.gru4rec import GRU4Rec


class Halting(GRU4Rec):
    halts = iter(("breakpoint", "pdb"))

    def forward(self, histories, positions):
        how = next(self.halts, None)
        if how == "breakpoint":
            breakpoint()
        elif how == "pdb":
            pdb.set_trace()
        return super().forward(histories, positions)
"""


def test_trainer_debug_hands_the_terminal_to_pdb(small: list[str], tmp_path: Path) -> None:
    (tmp_path / "halting.py").write_text(HALTING)
    kept = [each for each in small if not each.startswith(("model.depth", "trainer.", "logger"))]
    own = ["model=gru4rec", "model._target_=halting.Halting", "trainer=debug", "logger=none"]
    run = [*kept, *own, f"run_dir={tmp_path / 'r'}"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lightning_rec", "train", *run],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env={k: v for k, v in os.environ.items() if k != "PYTHONBREAKPOINT"}  # whoever runs the tests may have set it
        | {"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}", "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    said = b""

    def until(what: bytes) -> None:
        nonlocal said
        deadline, said = time.monotonic() + 120, b""
        while what not in said:
            assert time.monotonic() < deadline, said
            try:
                said += os.read(ours, 4096)
            except OSError:  # nobody holds the other end any more
                break
        assert what in said or what == b"nothing more", (said, process.poll())

    for _ in range(2):  # breakpoint(), then pdb.set_trace()
        until(b"(Pdb) ")
        os.write(ours, b"p histories.items.dtype, 6 * 7\n")
        until(b"(Pdb) ")
        assert b"(torch.int64, 42)" in said
        os.write(ours, b"c\n")
    until(b"nothing more")
    assert process.wait(60) == 0, said
    os.close(ours)
    figures = read(tmp_path / "r" / "metrics.json")
    assert all(name.endswith("_partial") for name in figures)
