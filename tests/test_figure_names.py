"""Every figure that a run writes is explained: it has a row on the page of its kind."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CLONE = Path(__file__).parent.parent
RECORDED = CLONE / "tests/cli/figures.json"  # of runs of every kind
COMMITTED = sorted((CLONE / "experiments").rglob("*.json"))
PAGES = {  # a kind by a figure that no other has
    "perplexity": "texts.md",
    "pairs/auc": "matching.md",
    "logloss": "clicks.md",
    "": "protocols-and-metrics.md",
}


def names_of(found: dict[str, Any]) -> set[str]:
    """Figures of validation and test, without the stage and whose they are, as in metrics.json."""
    matched = (re.fullmatch(r"(?:[^/]+/)?(?:val|test)/(.+)", key) for key in found)
    return {re.sub(r"_sampled\d+_[a-z]+|_partial$", "", each[1]) for each in matched if each}


def tables(tree: Any) -> Iterator[set[str]]:
    """The names of the figures of each mapping that has any."""
    if isinstance(tree, dict):
        if names := names_of(tree):
            yield names
        for value in tree.values():
            yield from tables(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from tables(value)


def explained(page: str) -> tuple[set[str], str]:
    """What stands in the first column of the page's tables, and the whole page."""
    text = (CLONE / "docs" / page).read_text()
    rows = re.findall(r"^\| (`[^|]*) \|", text, flags=re.M)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}, text


def is_explained(name: str, rows: set[str], text: str) -> bool:
    """Whether a figure has a row; of a slice the slice has one, and the page names the figure."""
    if name in rows or re.sub(r"@\d+$", "@k", name) in rows:
        return True
    start, slash, figure = name.rpartition("/")
    part = re.sub(r"^.+_(cold|warm|1_9|10_99|100_up)$", r"user_\1", start)
    if part in rows or start in rows:
        return bool(re.search(rf"/{re.escape(figure)}`", text)) or f"`{figure}`" in text
    goal, slash, rest = name.partition("/")
    return bool(slash) and goal not in ("judged", "pairs") and is_explained(rest, rows, text)


@pytest.mark.parametrize("paths", [[RECORDED], COMMITTED], ids=["recorded", "committed"])
def test_every_figure_has_a_row(paths: list[Path]) -> None:
    met: dict[str, set[str]] = {}
    for path in paths:
        for names in tables(json.loads(path.read_text())):
            page = next(PAGES[end] for end in PAGES if any(name.endswith(end) for name in names))
            met.setdefault(page, set()).update(names)
    assert met.keys() >= set(PAGES.values()) - ({"texts.md"} if paths is COMMITTED else set())
    missing = {
        page: absent
        for page, names in met.items()
        if (absent := sorted(n for n in names if not is_explained(n, *explained(page))))
    }
    assert not missing


def test_a_figure_without_a_row_is_found() -> None:
    rows, text = explained("clicks.md")
    for name in ("auc", "user_cold/auc", "like/sku_1_9/rate", "ndcg@10", "history_5_9/logloss"):
        assert is_explained(name, rows, text), name
    for name in ("ndcg@7", "user_cold/ece2", "pairs/auc", "like/hits"):
        assert not is_explained(name, rows, text), name
