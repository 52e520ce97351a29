"""``lightning-rec tune``: a search goes on after a kill as if there had been none, and never sees the test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_rec import cli, config
from lightning_rec.config import as_override
from lightning_rec.errors import UserError
from lightning_rec.lab.spaces import load_space

optuna = pytest.importorskip("optuna")
Refused = Callable[..., str]
SPACES = sorted(path.stem for path in (config.config_dir() / "search").glob("*.yaml"))


@pytest.fixture
def log(log_csv: Path) -> list[str]:
    columns = [f"data.path={log_csv}", "data.user=uid", "data.item=sku", "data.time=ts"]
    return [
        "data=table", *columns, "trainer=cpu", "trainer.max_epochs=3", "batches.batch_size=8",
        "trainer.check_val_every_n_epoch=1", "protocol.cutoffs=[10]",
    ]  # fmt: skip


def trials(folder: Path) -> list[Any]:
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{folder / 'study.db'}")
    return list(study.get_trials())


def told(folder: Path) -> list[tuple[Any, ...]]:
    """What a study holds, but for times."""
    return [
        (t.number, t.state.name, t.values, t.params, t.intermediate_values) for t in trials(folder)
    ]


@pytest.mark.parametrize("name", SPACES)
def test_every_space_fits_its_model(name: str) -> None:
    space = load_space(name)
    target = config.target("model", config.plain(config.compose([f"model={name}"]).model))
    clicks = getattr(target, "kind", "") == "clicks"
    more = ["data=ml_100k_clicks", "task=click"] if clicks else []
    for end in (0, -1):
        drawn = [
            f"{key}={as_override((each.choices or (each.low, each.high))[end])}"
            for key, each in space.items()
        ]
        config.compose([f"model={name}", *more, *drawn])


def test_a_search_ends_in_an_experiment_that_is_trained_over_seeds(
    log: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*log, "model=itemknn,popularity", "seeds=1,2", f"to={tmp_path / 't'}"]
    space = tmp_path / "space.yaml"
    space.write_text("protocol.cutoffs: {choices: []}\n")
    with pytest.raises(UserError, match="There is no search space popularity"):
        cli.run(["tune", *asked, "trials=3"])
    assert not (tmp_path / "t").exists()  # not even the model that has one
    asked[-3] = "model=itemknn,ease"
    assert cli.run(["tune", *asked, "trials=3"]) == 0
    out = capsys.readouterr().out
    assert "Equal budgets" in out
    for model in ("itemknn", "ease"):
        folder = tmp_path / "t" / model
        found = trials(folder)
        assert len(found) == 3
        best = max(found, key=lambda trial: trial.value)
        for trial in found:
            from lightning_rec.documents import read_json

            figures = read_json(folder / "trials" / str(trial.number) / "metrics.json")
            assert trial.values == [figures["val/ndcg@10"]]
        # The experiment file is the best trial: the same settings give the same figure.
        run = tmp_path / f"again_{model}"
        arguments = ["--config-dir", str(folder / "conf"), "experiment=best", "logger=none"]
        assert cli.run(["train", *arguments, f"run_dir={run}"]) == 0
        assert read_json(run / "metrics.json")["val/ndcg@10"] == best.value
        assert (folder / "best" / "sweep.json").is_file()


WORKER = "import sys; from lightning_rec import cli; sys.exit(cli.run(sys.argv[1:]))"


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(
    log: list[str], tmp_path: Path
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "model.dim: {choices: [4, 8]}\noptimizer.lr: {low: 1.0e-4, high: 0.1, log: true}\n"
    )
    asked = [*log, "model=sasrec", "model.depth=1", f"space={space}", "trials=4", "seeds=[]"]
    asked += ["pruner=median", "seed=3"]
    assert cli.run(["tune", *asked, f"to={tmp_path / 'whole'}"]) == 0
    broken = tmp_path / "broken"
    command = [sys.executable, "-c", WORKER, "tune", *asked, f"to={broken}"]
    for number in (1, 2):  # killed in the trial of that number
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        mark = broken / "sasrec" / "trials" / str(number) / "checkpoints" / "last.ckpt"
        deadline = time.monotonic() + 120
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert len(told(broken / "sasrec")) < 4 or "RUNNING" in {t[1] for t in told(broken / "sasrec")}
    assert cli.run(["tune", *asked, f"to={broken}"]) == 0
    assert told(broken / "sasrec") == told(tmp_path / "whole" / "sasrec")
    with pytest.raises(UserError, match="a search with other config"):  # not trials of two data
        cli.run(["tune", *asked, "batches.max_len=7", f"to={broken}"])


def test_several_objectives_end_in_what_nothing_beats(
    log: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*log, "model=bprmf", "trials=4", "sampler=random", "seeds=[]", f"to={tmp_path / 't'}"]
    asked.append("model.l2=0.02")  # what is named is not drawn
    assert cli.run(["tune", *asked, "objectives=[val/ndcg@10,cost.trained_parameters]"]) == 0
    found = trials(tmp_path / "t" / "bprmf")
    assert all(set(trial.params) == {"model.dim", "optimizer.lr"} for trial in found)
    out = capsys.readouterr().out
    front = [
        one for one in found
        if not any(
            a.values[0] >= one.values[0] and a.values[1] <= one.values[1] and a.values != one.values
            for a in found
        )
    ]  # fmt: skip
    assert "Not beaten in all objectives" in out
    for one in front:
        assert f"{one.values[1]:.4f}" in out


def test_a_grid_ends_by_itself_and_failures_are_counted(
    log: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("model.neighbours: {low: 0, high: 4, step: 2}\n")
    asked = [*log, "model=itemknn", f"space={space}", "sampler=grid", "trials=50", "seeds=[]"]
    assert cli.run(["tune", *asked, f"to={tmp_path / 't'}"]) == 0
    found = trials(tmp_path / "t" / "itemknn")
    assert [(t.params["model.neighbours"], t.state.name) for t in found] == [
        (0, "FAIL"), (2, "COMPLETE"), (4, "COMPLETE"),
    ]  # fmt: skip
    assert "trial 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model=ease"], "Say how long"),
        (["model=ease", "trials=2", "sampler=tpa"], "Did you mean 'tpe'"),
        (["model=ease", "trials=2", "objectives=[test/ndcg@10]"], "never sees the test"),
        (["model=ease", "trials=2", "model.l2=1,2"], "name one here"),
        (["model=ease", "trials=2", "objectives=[val/mine]"], "which way is better"),
        (["model=ease", "trials=2", "model.l2=3"], "Nothing is left to draw: model.l2"),
        (["model=ease", "trails=2"], "trails"),
        (["model=ease", "trials=2", "~callbacks.progress"], "say callbacks.progress=null"),
        (["model=ease", "trials=2", "seeds=1,x"], "seeds=x"),
        (["model=eaze", "trials=2"], "Did you mean 'ease'"),
        (["model=ease", "trials=2", "sampler=grid"], "no end of values of model.l2"),
        (
            ["model=ease", "trials=2", "pruner=asha", "objectives=[val/ndcg@10,cpu_seconds]"],
            "one figure",
        ),
    ],
)
def test_what_cannot_be_is_told(
    log: list[str], refused: Refused, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    assert sentence in refused("tune", *log, *arguments, f"to={tmp_path / 't'}")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"model.l2": {"low": 2, "high": 1}}, "low has to be below high"),
        ({"model.l2": {"low": 0, "high": 1, "log": True}}, "log takes low above 0"),
        ({"model.l2": {"choices": [1], "low": 1}}, "say choices, or low and high"),
        ({"model.l2": {"hihg": 2}}, "model.l2.hihg"),
        ({}, "has to name a setting"),
        ({"model.l3": {"choices": [1, 2]}}, "model.l3"),
    ],
)
def test_a_space_that_cannot_be_is_told(
    log: list[str], refused: Refused, tmp_path: Path, content: dict[str, Any], sentence: str
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(yaml.safe_dump(content))
    told = refused("tune", *log, "model=ease", "trials=2", f"space={space}", f"to={tmp_path / 't'}")
    assert sentence in told


def test_trials_are_of_one_data_and_a_folder_may_have_any_name(
    log: list[str], log_csv: Path, tmp_path: Path
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(log_csv.read_text())
    asked = [*log, f"data.path={path}", "model=itemknn", "seeds=1", f"to={tmp_path / 't[1], b'}"]
    assert cli.run(["tune", *asked, "trials=2"]) == 0
    path.write_text("".join(log_csv.read_text().splitlines(keepends=True)[:-9]))
    with pytest.raises(UserError, match="not that of the trials before"):
        cli.run(["tune", *asked, "trials=3"])


def test_a_search_of_clicks(click_csv: Path, tmp_path: Path) -> None:
    asked = [
        "data=click_table", f"data.path={click_csv}", "data.fields.label=clicked",
        "data.fields.categorical=[uid,sku]", "model=fm", "trainer=cpu", "trainer.max_epochs=1",
        "trials=2", "seeds=1", f"to={tmp_path}",
    ]  # fmt: skip
    assert cli.run(["tune", *asked]) == 0
    values = [trial.value for trial in trials(tmp_path / "fm")]
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'fm/study.db'}")
    assert study.best_value == min(values)  # of a loss


def test_a_search_whose_trials_all_fail_ends(
    log: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("model.dim: {choices: [15, 17]}\n")  # which two heads cannot share
    asked = [*log, "model=sasrec", "model.heads=2", f"space={space}", "minutes=60"]
    assert cli.run(["tune", *asked, f"to={tmp_path / 't'}"]) == 1
    assert len(trials(tmp_path / "t" / "sasrec")) == 10
    assert "every trial failed: UserError" in " ".join(capsys.readouterr().out.split())


def test_the_best_is_left_to_the_worker_who_ends_last(
    log: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from filelock import FileLock

    asked = [*log, "model=itemknn", "seeds=1", f"to={tmp_path}"]
    assert cli.run(["tune", *asked, "trials=1"]) == 0
    folder = tmp_path / "itemknn"
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{folder / 'study.db'}")
    held = study.ask()
    with FileLock(folder / f"trial_{held.number}.lock"):
        assert cli.run(["tune", *asked, "trials=2"]) == 0
    assert "another worker has trial 1" in " ".join(capsys.readouterr().out.split())
    assert cli.run(["tune", *asked, "trials=2"]) == 0  # nobody holds it any longer
    assert [trial.state.name for trial in trials(folder)] == ["COMPLETE"] * 2


def test_what_a_killed_worker_began_is_ended_when_the_minutes_are_spent(
    log: list[str], tmp_path: Path
) -> None:
    asked = [*log, "model=itemknn", f"to={tmp_path}"]
    assert cli.run(["tune", *asked, "trials=1", "seeds=[]"]) == 0
    folder = tmp_path / "itemknn"
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{folder / 'study.db'}")
    study.ask()
    assert cli.run(["tune", *asked, "minutes=1e-9", "seeds=1"]) == 0
    assert [trial.state.name for trial in trials(folder)] == ["COMPLETE"] * 2
    assert (folder / "best" / "sweep.json").is_file()


def test_a_trial_that_fails_has_spent_its_minutes(log: list[str], tmp_path: Path) -> None:
    from lightning_rec.documents import read_json

    space = tmp_path / "space.yaml"
    space.write_text("optimizer.lr: {choices: [1.0e+30]}\n")  # its loss is no number
    asked = [*log, "model=bprmf", f"space={space}", "trials=1", f"to={tmp_path / 't'}"]
    assert cli.run(["tune", *asked]) == 1
    (trial,) = trials(tmp_path / "t" / "bprmf")
    card = read_json(tmp_path / "t" / "bprmf" / "trials" / "0" / "run.json")
    assert (trial.state.name, card["status"]) == ("FAIL", "failed")
    assert trial.user_attrs["cpu_seconds"] == card["cpu_seconds"] > 0


@pytest.mark.parametrize(("error", "ends"), [(ValueError("odd"), False), (OSError("full"), True)])
def test_a_search_goes_on_after_any_error_of_its_settings(
    log: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, ends: bool
) -> None:
    from lightning_rec.commands import repeating

    train = repeating.train_or_resume

    def fails_once(overrides: list[str], folder: Path, *more: Any) -> None:
        if folder.name == "0" and not folder.exists():
            folder.mkdir(parents=True)
            raise error
        train(overrides, folder, *more)

    monkeypatch.setattr(repeating, "train_or_resume", fails_once)
    asked = ["tune", *log, "model=itemknn", "trials=2", "seeds=[]", f"to={tmp_path / 't'}"]
    if ends:
        with pytest.raises(OSError, match="full"):
            cli.run(asked)
    assert cli.run(asked) == 0
    states = [trial.state.name for trial in trials(tmp_path / "t" / "itemknn")]
    assert states == ["COMPLETE" if ends else "FAIL", "COMPLETE"]
