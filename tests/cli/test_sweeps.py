"""A sweep knows its jobs by their settings: it goes on, retries, and fits once what cannot differ."""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest
from cli.processes import read

from lightning_rec import cli
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.sweeps import settings_hash, with_effect

Refused = Callable[..., str]


def settings(sweep: Path) -> dict[str, int]:
    """The rows of the table at the end of a sweep: how many jobs each has."""
    (table,) = read(sweep / "sweep.json")["tables"]
    return {row["setting"]: row["jobs"] for row in table["rows"]}


def test_a_sweep_goes_on_with_other_values(
    small: list[str], log_csv: Path, refused: Refused, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "log.csv"
    shutil.copy(log_csv, path)
    quick = [
        *small,
        f"data.path={path}",
        "logger=none",
        "trainer.max_epochs=1",
        f"run_dir={tmp_path / 's'}",
    ]
    with pytest.raises(SystemExit):
        cli.run(["train", "-m", *quick, "model.dim=4,7"])  # two heads cannot share 7
    assert settings(tmp_path / "s") == {"model.dim=4": 1, "model.dim=7": 1}
    first = (tmp_path / "s" / "0" / "metrics.json").stat().st_mtime_ns
    # One that was killed: it says that it runs, and nobody does.
    (tmp_path / "s" / "0" / "metrics.json").rename(tmp_path / "kept.json")
    RunFolder.open(tmp_path / "s" / "0").note(status="running")
    cli.run(["train", "-m", *quick, "model.dim=4,8"])
    assert settings(tmp_path / "s") == {"model.dim=4": 1, "model.dim=8": 1}
    assert read(tmp_path / "s" / "0" / "metrics.json") == read(tmp_path / "kept.json")
    capsys.readouterr()
    second = (tmp_path / "s" / "0" / "metrics.json").stat().st_mtime_ns
    assert second > first
    cli.run(["train", "-m", *quick, "model.dim=2,4"])
    assert settings(tmp_path / "s") == {"model.dim=2": 1, "model.dim=4": 1, "model.dim=8": 1}
    assert (tmp_path / "s" / "0" / "metrics.json").stat().st_mtime_ns == second
    assert "0  is done already" in capsys.readouterr().out
    assert cli.run(["sweep", str(tmp_path / "s")]) == 1  # all that ever belonged to it
    assert settings(tmp_path / "s") == {f"model.dim={dim}": 1 for dim in (2, 4, 7, 8)}
    out = " ".join(capsys.readouterr().out.split())
    assert "failed: 1: " in out
    assert f"If what failed is not wanted any more, remove {tmp_path / 's' / '1'}." in out
    assert "holds no runs" in refused("sweep", str(tmp_path / "s" / "0"))
    shutil.copytree(tmp_path / "s", best := tmp_path / "tuned" / "sasrec" / "best")
    assert f": lightning-rec sweep {best}. " in refused("sweep", str(tmp_path / "tuned"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-9]))
    told = refused("train", "-m", *quick, "model.dim=4,8")
    assert f"data_hash of {tmp_path / 's' / '0'} is " in told
    assert (tmp_path / "s" / "0" / "metrics.json").stat().st_mtime_ns == second


def test_jobs_that_never_began_are_told_with_the_command_that_begins_them(
    small: list[str], refused: Refused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [each for each in small if not each.startswith(("model.", "batches.", "logger"))]
    command = ["train", "-m", *quick, "model=itemknn", "logger=none", f"run_dir={tmp_path / 's'}"]
    grid, planned = "model.neighbours=5,10,20", tmp_path / "s" / "planned.json"
    cli.run([*command, grid])
    capsys.readouterr()
    for job in (tmp_path / "s").glob("*/run.json"):  # as if it had been killed before the first
        shutil.rmtree(job.parent)
    assert cli.run(["sweep", str(tmp_path / "s")]) == 1
    told = capsys.readouterr().out
    never = [f"model.neighbours={each}" for each in (5, 10, 20)]
    assert f"never began: {', '.join(never)}\nto go on: lightning-rec train -m {quick[0]} " in told
    assert f"{grid} " in told or told.splitlines()[-2].endswith(grid)
    # Other values extend what is planned; a job said in other words is the same job.
    cli.run([*command, "model.neighbours=5,7", "seed=1", "optimizer.lr=0.5"])
    capsys.readouterr()
    assert cli.run(["sweep", str(tmp_path / "s")]) == 1
    told = capsys.readouterr().out
    assert "never began: model.neighbours=10, model.neighbours=20\n" in told
    assert settings(tmp_path / "s") == {"model.neighbours=5": 1, "model.neighbours=7": 1}
    cli.run([*command, grid])
    assert cli.run(["sweep", str(tmp_path / "s")]) == 0
    assert "never began" not in capsys.readouterr().out
    assert cli.run(["compare", str(tmp_path / "s")]) == 0  # which takes other JSON for records
    planned.write_text('{"commands": [1]}')
    assert f"{planned} is not as a sweep writes it" in refused("sweep", str(tmp_path / "s"))


def test_what_cannot_differ_is_fitted_once_and_what_is_partial_stands_apart(
    small: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [each for each in small if not each.startswith(("model.", "batches.batch"))]
    swept = [
        "model=popularity",
        "optimizer.lr=0.1,0.2",
        "seed=1,2",
        "trainer.limit_test_batches=1,1.0",
    ]
    cli.run(["train", "-m", *quick, *swept, "logger=none", f"run_dir={tmp_path / 's'}"])
    tables = read(tmp_path / "s" / "sweep.json")["tables"]
    assert [[row["jobs"] for row in table["rows"]] for table in tables] == [[1], [1]]
    called = [row["setting"] for table in tables for row in table["rows"]]
    assert called == ["trainer.limit_test_batches=1", "trainer.limit_test_batches=1.0"]
    part, whole = (table["data and protocol"] for table in tables)
    assert part.endswith(", of a part of the data")
    assert part != whole
    cards = [read(tmp_path / "s" / name / "run.json") for name in ("0", "1")]
    assert cards[0]["partial"] == {"limit_test_batches": 1}
    assert "partial" not in cards[1]
    assert cards[0]["protocol_hash"] != cards[1]["protocol_hash"]
    names = [set(table["rows"][0]["figures"]) for table in tables]
    assert {"test/ndcg@10_partial", "val/ndcg@10"} < names[0]
    assert "test/ndcg@10" in names[1] - names[0]
    assert "test/ndcg@10_partial" in capsys.readouterr().out
    assert cli.run(["evaluate", f"run={tmp_path / 's' / '0'}"]) == 0
    capsys.readouterr()
    part_of = [f"run={tmp_path / 's' / '1'}", "trainer.limit_test_batches=1"]
    assert cli.run(["evaluate", *part_of]) == 0  # what was measured whole is compared
    assert "trainer.limit_test_batches=1" in " ".join(capsys.readouterr().err.split())


def test_what_is_fitted_at_once_is_one_job_whatever_its_training_would_be() -> None:
    model = {"_target_": "lightning_rec.models.classic.popularity.Popularity"}

    def hashed(**trainer: object) -> str:
        return settings_hash({"model": model, "loss": None, "seed": 1, "trainer": trainer})

    assert hashed(max_epochs=1) == hashed(max_epochs=2, val_check_interval=0.5, max_time=None)
    assert hashed(max_epochs=1) != hashed(max_epochs=1, limit_test_batches=1)
    assert hashed(precision="32") != hashed(precision="16")
    assert settings_hash({"model": model, "trainer": {}, "logger": {"csv": {}}}) == settings_hash(
        {"model": model, "trainer": {}, "logger": None, "examples": 3}
    )


def test_where_a_job_goes_and_who_is_told_is_no_setting(tmp_path: Path) -> None:
    apart = ["run_dir=s", "logger=csv", "+hydra/launcher=joblib", "hydra.verbose=true", "name=x"]
    kept = ["model.dim=8", "trainer.max_steps=3", "examples_of=1", "~schedule"]
    assert with_effect(tmp_path, [*apart, *kept, "tracking.tags=[a]", "examples=0"]) == kept


def test_titles_are_data(small: list[str], catalogue_csv: Path, tmp_path: Path) -> None:
    quick = [each for each in small if not each.startswith(("model.", "batches.batch"))]
    another = tmp_path / "another.csv"
    titles = pl.read_csv(catalogue_csv)
    titles.with_columns(title=pl.col("title").str.reverse()).write_csv(another)
    about = ["data.catalogue_item=sku", "data.catalogue_title=title", "model=tfidf", "logger=none"]
    swept = [*quick, *about, f"data.catalogue={catalogue_csv},{another}"]
    cli.run(["train", "-m", *swept, f"run_dir={tmp_path / 's'}"])
    first, second = read(tmp_path / "s" / "sweep.json")["tables"]
    assert first["data and protocol"] != second["data and protocol"]
    assert [len(table["rows"]) for table in (first, second)] == [1, 1]


MORE = {
    "joblib": ["hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra.sweeper.max_batch_size=2"],
    "ray": ["+hydra.launcher.ray.init.num_cpus=2"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "kills"),
    [
        ("basic", 2),
        *(pytest.param(each, 10, marks=pytest.mark.long) for each in ("basic", *MORE)),
    ],
)
def test_a_sweep_killed_at_random_moments_ends_in_the_table_of_one_that_was_not(
    small: list[str], launcher: str, kills: int, tmp_path: Path
) -> None:
    asked = [*small, "logger=none", "trainer.max_epochs=3", "model.dim=4,8", "seed=1,2"]
    cli.run(["train", "-m", *asked, f"run_dir={tmp_path / 'whole'}"])
    asked += [f"hydra/launcher={launcher}", *MORE.get(launcher, [])]
    worker = "import sys; from lightning_rec import cli; sys.exit(cli.run(sys.argv[1:]))"
    command = [sys.executable, "-c", worker, "train", "-m", *asked, f"run_dir={tmp_path / 'cut'}"]
    generator = random.Random(launcher)
    most = 8 if launcher in ("basic", "joblib") else 20  # seconds; these start for longer
    for kill in range(kills):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=generator.uniform(1, most))
        with suppress(ProcessLookupError):  # by turns all, and the command alone
            (os.killpg if kill % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, check=False).returncode == 0
    whole, cut = (read(tmp_path / name / "sweep.json") for name in ("whole", "cut"))
    assert [job["status"] for job in cut["jobs"]] == ["completed"] * 4
    for one, other in zip(whole["tables"], cut["tables"], strict=True):
        for row, same in zip(one["rows"], other["rows"], strict=True):
            assert (row["setting"], row["jobs"], row["figures"]) == (
                same["setting"], same["jobs"], same["figures"],
            )  # fmt: skip
