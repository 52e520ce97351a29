"""What a run shows at its end: figures beside a baseline, examples by title, times."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

BARE = ("mrr", "auc")
AT_CUTOFF = ("recall", "ndcg", "mrr", "precision", "f1", "coverage", "popular")


class Example(NamedTuple):
    """A user, the latest items of the history, and the best unseen items, all by title."""

    user: str
    history: list[str]
    recommended: list[str]


def order(names: Sequence[str]) -> list[str]:
    """Metric names without stage, in reading order."""

    def place(name: str) -> tuple[int, int]:
        kind, _, k = name.partition("@")
        if not k:
            return len(AT_CUTOFF) + BARE.index(kind) if kind in BARE else 99, 0
        return AT_CUTOFF.index(kind) if kind in AT_CUTOFF else 98, int(k.partition("_")[0])

    return sorted(names, key=place)


def figures_table(title: str, columns: Mapping[str, Mapping[str, float]]) -> Table:
    """One row per metric; for each model (a column of ``columns``) its validation and its test.

    The figures of a model are flat: ``{"val/recall@10": 0.1, "test/recall@10": 0.1, …}``.
    """
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    stages = [s for s in ("val", "test") if any(n.startswith(f"{s}/") for f in columns.values() for n in f)]
    for stage in stages:
        for model in columns:
            table.add_column(f"{stage}\n{model}", justify="right")
    names = {name.partition("/")[2] for figures in columns.values() for name in figures}
    for name in order(sorted(names)):
        cells = [
            f"{figures[f'{stage}/{name}']:.4f}" if f"{stage}/{name}" in figures else ""
            for stage in stages
            for figures in columns.values()
        ]
        table.add_row(name, *cells)
    return table


def examples_table(examples: Sequence[Example]) -> Table:
    """Each user's latest items beside the recommendations."""
    table = Table(title="Recommendations", title_justify="left", show_lines=True)
    for column in ("user", "latest items", "recommended"):
        table.add_column(column)
    for example in examples:
        numbered = [f"{place}. {title}" for place, title in enumerate(example.recommended, 1)]
        table.add_row(example.user, "\n".join(example.history), "\n".join(numbered))
    return table


def show_run(
    columns: Mapping[str, Mapping[str, float]],
    examples: Sequence[Example],
    seconds: Mapping[str, float],
    folder: Path,
    hint: str | None,
) -> None:
    """Print the end of a run."""
    console = Console()
    console.print(figures_table("Full ranking, seen items filtered", columns))
    if examples:
        console.print(examples_table(examples))
    parts = "  ".join(f"{part} {value:.1f}s" for part, value in seconds.items())
    console.print(f"Time   {parts}", highlight=False)
    console.print(f"Run    {folder}", highlight=False, soft_wrap=True)
    if hint:
        console.print(f"W&B    offline; to sync it: {hint}", highlight=False, soft_wrap=True)
