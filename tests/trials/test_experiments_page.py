"""The page on experiments, its commands run as they stand, in order."""

import runpy
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from test_readme import CLONE, blocks, commands, prepare_files

from lightning_rec import cli

PAGE = CLONE / "docs" / "experiments.md"
SERVER = "serve |curl "  # those of a server: tests/serving/test_variants.py


def test_every_command_runs(
    log_frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    prepare_files(PAGE, log_frame, tmp_path)
    scripts = sorted(tmp_path.glob("*.py"))
    assert [path.stem for path in scripts] == ["bandit", "simulate"]
    for script in scripts:
        runpy.run_path(str(script))
    found = commands(PAGE, rf"^python |FOLDER|requests\.jsonl|{SERVER}")
    capsys.readouterr()
    printed = []
    for program, *arguments in found:
        assert program == "lightning-rec"
        assert cli.run(arguments) == 0, arguments
        lines = capsys.readouterr().out.strip("\n").splitlines()
        printed.append("\n".join(line.rstrip() for line in lines))
    assert len(found) >= 8
    (shown,) = [text for language, text in blocks(PAGE) if language == "text"]
    assert shown.strip("\n") in printed
    names: dict[str, Any] = {}
    for language, text in blocks(PAGE):
        if language == "python" and not text.startswith("# "):
            exec(text, names)
    assert f"{names['test'].effects[0].difference:+.4f} [" in shown
