"""Tab completion: what is offered, that it is what Hydra composes, and real shells."""

import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_rec import cli
from lightning_rec.commands import VERBS
from lightning_rec.commands.completion import SHELLS, candidates
from lightning_rec.errors import UserError


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("", ["--help", "--version", *VERBS]),
        ("tr", ["train"]),
        ("train mode", ["model.", "model=", "model@encoder.model="]),
        ("train model=bert", ["model=bert4rec"]),
        ("train -m model=bert4rec,sas", ["model=bert4rec,sasrec"]),
        ("train callbacks=[checkpoint,pr", ["callbacks=[checkpoint,progress"]),
        ("train model.di", ["model.dim="]),
        ("train +model.di", ["+model.dim="]),
        ("train ~callbacks.e", ["~callbacks.early_stopping"]),
        ("show optimizer=sgd optimizer.m", ["optimizer.momentum="]),
        ("train model=deepfm data.fields.cat", ["data.fields.categorical="]),
        ("train experiment=sasrec_gbce_ml1m loss.po", ["loss.popularity=", "loss.positives="]),
        ("train model=deepfm model@encoder.model=gru4rec encoder.model.di", ["encoder.model.dim="]),
        ("train trainer.deterministic=", ["trainer.deterministic=false", "trainer.deterministic=true"]),
        ("train res", ["resume="]),
        ("train run_dir=", []),  # files
        ("train --config-dir ", []),
        ("train --mu", ["--multirun"]),
        ("train 'model=b", []),
        ("evaluate run", ["run=", "run_dir="]),
        ("data ", ["check", "name=", "schema"]),
        ("data name=ml_1m_", ["name=ml_1m_collm", "name=ml_1m_replication"]),
        ("search ", ["k=", "run="]),
        ("completion ", ["bash", "fish", "zsh"]),
        ("nonsense ", []),
    ],
)  # fmt: skip
def test_what_is_offered(line: str, offered: list[str]) -> None:
    assert candidates(f"lightning-rec {line}") == sorted(offered)


def test_configs_of_ones_own_are_offered(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("defaults: [sasrec, _self_]\nnew_key: 3\n")
    for said in (f"--config-dir {tmp_path}", f"--config-dir={tmp_path}"):
        assert candidates(f"lightning-rec train {said} model=mi") == ["model=mine"]
        assert candidates(f"lightning-rec train {said} model=mine model.n") == ["model.new_key="]
        assert "model.dim=" in candidates(f"lightning-rec train {said} model=mine model.")


def test_keys_are_offered_beside_overrides_that_do_not_fit() -> None:
    assert candidates("lightning-rec train model=nonsense model.di") == ["model.dim="]
    assert candidates("lightning-rec train -m seed=1,2 model=sasrec,gru4rec model.ti") == [
        "model.tied="
    ]


def test_a_shell_that_there_is_not() -> None:
    with pytest.raises(UserError, match=r"Unknown shell 'fsh'\. Did you mean 'fish'"):
        cli.run(["completion", "fsh"])


@pytest.mark.parametrize(
    ("word", "completed"),
    [
        ("tra", "train "),
        ("train model=bert4", "train model=bert4rec "),
        ("train model=deepfm model@encoder.model=gru", "train model=deepfm model@encoder.model=gru4rec "),
        ("train model.drop", "train model.dropout="),
        ("train resume=run_", "train resume=run_of_mine/"),
    ],
)  # fmt: skip
def test_bash_completes(word: str, completed: str, tmp_path: Path) -> None:
    (tmp_path / "run_of_mine").mkdir()
    program = tmp_path / "lightning-rec"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m lightning_rec "$@"\n')
    program.chmod(0o755)
    start = tmp_path / "bashrc"
    start.write_text('PS1="ready> "; eval "$(lightning-rec completion bash)"\n')
    ours, theirs = pty.openpty()
    path = f"{tmp_path}:{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(start), "-i"],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, start_new_session=True,
        env=os.environ | {"PATH": path, "TERM": "dumb", "COLUMNS": "400"},
    )  # fmt: skip
    os.close(theirs)

    def shown(until: str) -> str:
        text, deadline = "", time.monotonic() + 60
        while until not in text and time.monotonic() < deadline:
            text += os.read(ours, 4096).decode(errors="replace")
        return text

    shown("ready> ")
    # The tabulator; then what stands on the line is put between brackets, and printed.
    os.write(ours, f"lightning-rec {word}\t\x01echo [\x05]\n".encode())
    assert f"echo [lightning-rec {completed}]" in shown("]\r\n")
    process.kill()
    process.wait()
    os.close(ours)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(shell: str, tmp_path: Path) -> None:
    if not (found := shutil.which(shell)):
        pytest.skip(f"there is no {shell}")
    script, before = tmp_path / "script", {"zsh": "autoload -U compinit; compinit -u; "}
    script.write_text(before.get(shell, "") + SHELLS[shell])
    done = subprocess.run([found, str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
