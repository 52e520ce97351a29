"""Every figure that a run writes is explained: it has a row on the page of its kind."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lightning_rec.figures import Figure, Name, declared, parsed

ALL = "protocols-and-metrics.md"
CLONE = Path(__file__).parent.parent
RECORDED = CLONE / "tests/cli/figures.json"  # of runs of every kind
COMMITTED = sorted((CLONE / "experiments").rglob("*.json"))
PAGES = {  # of the sections that no other problem has
    "words": "texts.md",
    "pairs": "matching.md",
    "rows": "clicks.md",
    "lists": "protocols-and-metrics.md",
}


def names_of(found: dict[str, Any]) -> set[Name]:
    """Figures of validation and test, without the stage and whose they are, as in metrics.json."""
    names = [name for name in parsed(found).values() if name.stage in ("val", "test")]
    return {name._replace(stage="", model="", sampled="", partial=False) for name in names}


def tables(tree: Any) -> Iterator[set[Name]]:
    """The names of the figures of each mapping that has any."""
    if isinstance(tree, dict):
        if names := names_of(tree):
            yield names
        for value in tree.values():
            yield from tables(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from tables(value)


def page_of(names: set[Name], known: Mapping[str, Figure]) -> str:
    """The page of the problem that figures are of."""
    sections = {known[name.figure].section for name in names if name.figure in known}
    return next(page for section, page in PAGES.items() if section in sections or page == ALL)


def explained(page: str) -> tuple[set[str], str]:
    """What stands in the first column of the page's tables, and the whole page."""
    text = (CLONE / "docs" / page).read_text()
    rows = re.findall(r"^\| (`[^|]*) \|", text, flags=re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}, text


def is_explained(name: Name, rows: set[str], text: str) -> bool:
    """Whether a figure has a row; of a slice the slice has one, and the page names the figure."""
    if not name.slice:
        alone = name._replace(goal="")
        return bool({str(alone), str(alone).replace(f"@{name.k}", "@k")} & rows)
    slices = {name.slice, re.sub(r"^.+_(cold|warm|1_9|10_99|100_up)$", r"user_\1", name.slice)}
    figure = str(name._replace(goal="", slice="")).replace("judged/", "judged_")
    return bool(slices & rows) and (f"/{figure}`" in text or f"`{figure}`" in text)


@pytest.mark.parametrize("paths", [[RECORDED], COMMITTED], ids=["recorded", "committed"])
def test_every_figure_has_a_row(paths: list[Path]) -> None:
    met: dict[str, set[Name]] = {}
    for path in paths:
        for names in tables(json.loads(path.read_text())):
            page = page_of(names, declared(None, names))
            met.setdefault(page, set()).update(names)
    assert met.keys() >= set(PAGES.values()) - ({"texts.md"} if paths is COMMITTED else set())
    missing = {
        page: absent
        for page, names in met.items()
        if (absent := sorted(str(n) for n in names if not is_explained(n, *explained(page))))
    }
    assert not missing


def test_a_figure_without_a_row_is_found() -> None:
    rows, text = explained("clicks.md")
    counts = ["test/user_cold/examples", "test/like/sku_1_9/examples", "test/history_5_9/examples"]

    def found(name: str) -> bool:
        whole = parsed([f"test/{name}", *counts])[f"test/{name}"]
        return is_explained(whole._replace(stage=""), rows, text)

    for name in ("auc", "user_cold/auc", "like/sku_1_9/rate", "ndcg@10", "history_5_9/logloss"):
        assert found(name), name
    for name in ("ndcg@7", "user_cold/ece2", "pairs/auc", "like/hits"):
        assert not found(name), name
