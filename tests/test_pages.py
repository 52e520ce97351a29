"""Every command of the pages, also of those that are not run, is one that the program takes."""

import re
import tomllib
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from test_readme import CLONE, blocks, prepare_files, words_of

import lightning_rec
from lightning_rec import __version__, cli, config
from lightning_rec.build import problem_of
from lightning_rec.commands import VERBS

FOUND = [
    page
    for pattern in ("*.md", "docs/*.md", "*/*/README.md", "*/README.md")
    for page in CLONE.glob(pattern)
]
PAGES = sorted(str(page.relative_to(CLONE)) for page in FOUND if "```bash" in page.read_text())
UNKNOWN = re.compile(r"FOLDER|…|\$run")  # what the reader fills in


def test_every_page_of_the_reference_says_how_stable_it_is() -> None:
    mark = re.compile(
        r"^# .+\n\n\*(Stable|Provisional|Internal)\* \(\[what that means\]\(\.\./stability\.md\)\)"
    )
    pages = sorted((CLONE / "docs" / "reference").glob("*.md"))
    assert pages
    assert [page.name for page in pages if not mark.match(page.read_text())] == []


def test_every_page_is_in_the_navigation_and_every_picture_is_there() -> None:
    docs = CLONE / "docs"
    settings = tomllib.loads((CLONE / "zensical.toml").read_text())["project"]
    named = re.findall(r"'([\w/-]+\.md)'", str(settings["nav"]))
    assert sorted(named) == sorted(str(page.relative_to(docs)) for page in docs.rglob("*.md"))
    for page in docs.rglob("*.md"):  # links are checked by `make docs`, pictures are not
        for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / picture).is_file(), (page.name, picture)


def test_the_reference_begins_with_the_names_of_the_api() -> None:
    text = (CLONE / "docs" / "reference" / "index.md").read_text()
    assert sorted(re.findall(r"^\| \[`(\w+)`\]", text, flags=re.M)) == sorted(lightning_rec.__all__)
    words = dict(re.findall(r"^\| \[.+\]\((\w+)\.md\).* \| (\w+) \|$", text, flags=re.M))
    for page in (CLONE / "docs" / "reference").glob("*.md"):
        said = re.search(r"^\*(\w+)\*", page.read_text(), flags=re.M)
        assert page.stem == "index" or (said and said[1].lower() == words[page.stem]), page.name


def test_the_change_log_begins_with_the_version_that_is_installed() -> None:
    heading = re.search(r"^## \[(.+)\] - (.+)$", (CLONE / "CHANGELOG.md").read_text(), flags=re.M)
    assert heading
    assert heading[1] == __version__
    assert re.fullmatch(r"Unreleased|\d{4}-\d\d-\d\d", heading[2])


def test_the_page_on_python_runs_from_top_to_bottom(
    log_frame: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log_frame.write_csv("log.csv")
    code = [text for language, text in blocks(CLONE / "docs" / "python.md") if language == "python"]
    names: dict[str, Any] = {}
    exec("\n".join(code), names)
    for name, shown in re.findall(r"^(\w+)  # (\w+\(.*?)[,:]", "\n".join(code), flags=re.M):
        assert repr(names[name]).startswith(shown.replace("/home/me", str(tmp_path)))
    assert len(names["runs"]) == 4


def lines(page: Path) -> list[list[str]]:
    """Words of each command line of a page, also of those that are marked as not run."""
    text = "\n".join(text for language, text in blocks(page) if language == "bash")
    joined = re.sub(r"\\\n\s*", "", text).splitlines()
    found = [words_of(line) for line in joined if "lightning-rec " in line]
    return [words for words in found if not UNKNOWN.search(" ".join(words))]


def reads_what_is_not_here(cfg: DictConfig) -> bool:
    """Whether it names a language model, or a run."""
    parts = (cfg.get(name) or {} for name in ("item", "model", "encoder"))
    return any(part.get("encoder") or part.get("run") for part in parts)


def jobs(overrides: list[str]) -> list[list[str]]:
    """The first and the last job of a sweep, or the one run that it is."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    ways = [
        [f"{each.key_or_group}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [given]
        for each, given in zip(parsed, overrides, strict=True)
    ]
    found = [list(job) for job in product(*ways)]
    return found if len(found) == 1 else [found[0], found[-1]]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_taken(
    page: str,
    log_frame: pl.DataFrame,
    click_frame: pl.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare_files(CLONE / page, log_frame, tmp_path)
    click_frame.write_csv("clicks.csv")
    monkeypatch.syspath_prepend(tmp_path)
    for words in lines(CLONE / page):
        at = next(place for place, word in enumerate(words) if word.endswith("lightning-rec"))
        verb, *arguments = words[at + 1 :]
        if verb == "data" and arguments[:1] in (["check"], ["schema"]):
            assert cli.run([verb, *arguments]) == 0, words
        if verb not in ("train", "evaluate", "show") or "--help" in arguments:
            assert verb in (*VERBS, "--help"), words
            continue
        folders = [Path("my_conf")] if "--config-dir" in arguments else []
        plain = [word for word in arguments if not word.startswith("-") and word != "my_conf"]
        for overrides in jobs(
            [word for word in plain if not re.match(r"(run|resume|from)=", word)]
        ):
            cfg = config.compose(overrides, folders)
            if not reads_what_is_not_here(cfg):
                problem_of(cfg)
