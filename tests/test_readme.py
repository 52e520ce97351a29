"""The Python of README.md, and every command of some pages, run as they stand, in order."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cli.processes import command

from lightning_rec import cli
from lightning_rec.data.sources.movielens import MovieLens100K
from lightning_rec.errors import UserError

CLONE = Path(__file__).parent.parent
SHORT = [
    "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.limit_train_batches=5",
    "model.dim=16",
]  # fmt: skip


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(), flags=re.M | re.S)


def prepare_files(page: Path, log: pl.DataFrame, folder: Path) -> None:
    """Write the log that the page speaks of, and each file whose path its block begins with."""
    log.write_csv(folder / "log.csv")
    for language, text in blocks(page):
        named = re.search(r"^# (\S+\.(?:py|yaml))$", text, flags=re.M)
        if language in ("python", "yaml") and named:
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def words_of(line: str) -> list[str]:
    """Words of a command line."""
    return shlex.split(line, comments=True)


# Which pages are run, without the lines that match, and how many lines are left at least.
RUN = {
    "docs/getting-started.md": (r"resume=", 9),  # of a run that is completed: nothing to do
    # There is no such catalogue, and no column of kinds; data that is not in the package.
    "docs/own-data.md": (r"items\.csv|--help|data\.keep|target_events|beauty", 5),
    "docs/models.md": (r"-m model=", 4),  # long
    "docs/simulation.md": (r"serve |url=|requests|week1|all_a", 2),  # of a server
    # Sweeps; data that is not in the package, and a run over it; rows that are not there.
    "docs/clicks.md": (r" -m |frappe|ml1m|elasticity|experiment=bert4rec_then_ctr$", 11),
}


def commands(page: Path, but: str) -> list[list[str]]:
    """Words of each command line, but those that match."""
    text = "\n".join(text for language, text in blocks(page) if language == "bash")
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    kept = [line for line in lines if line.strip() and not re.search(but, line)]
    return [words_of(line) for line in kept]


def shortened(words: list[str]) -> list[str]:
    """The same command with less to do, where it says nothing else itself."""
    if words[0] != "train":
        return words
    given = " ".join(words)
    short = [extra for extra in SHORT if extra.partition("=")[0] not in given]
    other_model = "model=" in given or "experiment=" in given
    logger = [] if "logger=" in given else ["logger=csv"]
    return [*words, *(extra for extra in short if not (other_model and "model." in extra)), *logger]


def test_the_python_of_the_readme_runs_and_answers(
    log_frame: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    log_frame.write_csv("log.csv")
    (code,) = [text for language, text in blocks(CLONE / "README.md") if language == "python"]
    assert len([line for line in code.splitlines() if line]) <= 15
    names: dict[str, Any] = {}
    exec(code, names)
    told = capsys.readouterr().out
    run = names["run"]
    assert f"{run.metrics['test/recall@10']} {run.metrics['popularity/test/recall@10']}\n" in told
    assert told.count("shape: (3, 4)") == 2  # for somebody new, and similar ones
    assert "shape: (6, 4)" in told


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_every_command_of_the_page(
    page: str,
    log_frame: pl.DataFrame,
    click_frame: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        MovieLens100K().files()
    except UserError as error:
        pytest.skip(str(error))
    monkeypatch.chdir(tmp_path)
    prepare_files(CLONE / page, log_frame, tmp_path)
    click_frame.write_csv(tmp_path / "clicks.csv")
    ran = 0
    but, number = RUN[page]
    for words in commands(CLONE / page, but):
        environment = [word for word in words if re.match(r"[A-Z_]+=", word)]
        program, *arguments = words[len(environment) :]
        assert program == "lightning-rec", words
        arguments = shortened(arguments)
        if environment or "trainer=ddp" in arguments:
            path = {"PYTHONPATH": f"{CLONE}{os.pathsep}."}
            done = command(*arguments, **path)
            assert done.returncode == 0, (words, done.stderr)
        else:
            assert cli.run(arguments) == 0, words
        ran += 1
    assert ran >= number


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_target_named_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (CLONE / "Makefile").read_text(), flags=re.M))
    named = set(re.findall(r"`make ([a-z]+)", (CLONE / page).read_text()))
    assert named
    assert named <= targets


def test_no_page_has_marks_that_are_for_the_tests() -> None:
    pages = [*CLONE.glob("*.md"), *(CLONE / page for page in RUN)]
    assert [page.name for page in pages if "# not run" in page.read_text()] == []


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (CLONE / "README.md").read_text()
    assert len(text.splitlines()) < 150
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "//" not in link]
    assert len(links) > 20
    assert [link for link in links if not (CLONE / link.partition("#")[0]).exists()] == []
