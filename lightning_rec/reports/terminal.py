"""What a run shows at its end: figures beside a baseline, examples by title, times."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning_rec.metrics.clicks import FIGURES
from lightning_rec.metrics.matching import PAIRS
from lightning_rec.screen import Screen, one_line
from lightning_rec.tables import FittedTable, figures, goals_of, text
from lightning_rec.tasks.examples import Example, shown_items

AT_EVERY_CUTOFF = ("recall", "ndcg")
AT_ONE_CUTOFF = (
    "mrr",
    "map",
    "precision",
    "f1",
    "coverage",
    "popular",
    "novelty",
    "diversity",
    "gini",
)
_CUTOFF = re.compile(r"^(\w+)@(\d+)(_sampled\w+)?$")


def shown(names: Iterable[str], monitor: str) -> list[str]:
    """The metrics worth a row, in reading order; ``metrics.json`` has them all.

    All of those of clicks and of hidden words. Of rankings recall and ndcg at every cut-off, the
    others at that of the monitored metric; what was ranked among samples comes last.
    """
    names = set(names)
    if any(name.startswith("judged/") for name in names):
        return _of_matching(names)
    if goals := goals_of(names):
        rows = [f"{goal}{figure}" for goal in goals for figure in (*FIGURES, "rela_impr")]
        return [name for name in rows if name in names]
    parts = [found for name in names if (found := _CUTOFF.match(name))]
    cutoffs = sorted({int(part[2]) for part in parts})
    if not cutoffs:
        return sorted(names)
    monitored = _CUTOFF.match(monitor.rpartition("/")[2])
    k = monitored[2] if monitored else max(cutoffs)
    rows = []
    for suffix in sorted({part[3] or "" for part in parts}):
        every = [f"{kind}@{cutoff}{suffix}" for kind in AT_EVERY_CUTOFF for cutoff in cutoffs]
        one = [f"{kind}@{k}{suffix}" for kind in AT_ONE_CUTOFF]
        rows += [*every, f"mrr{suffix}", f"auc{suffix}", *one]
    return [name for name in rows if name in names]


def _of_matching(names: set[str]) -> list[str]:
    """Ranked catalogue first, then judged items, then pairs."""

    def order(name: str) -> tuple[str, int]:
        kind, _, cutoff = name.partition("@")
        return kind, int(cutoff or 0)

    ranked = sorted((name for name in names if "/" not in name), key=order)
    judged = sorted((name for name in names if name.startswith("judged/")), key=order)
    pairs = [f"pairs/{figure}" for figure in PAIRS if f"pairs/{figure}" in names]
    return [*ranked, *judged, *pairs]


def figures_table(
    columns: Mapping[str, Mapping[str, float]], monitor: str, seen: str = "filter"
) -> FittedTable:
    """One row per metric; for each model (a column of ``columns``) its validation and its test.

    The figures of a model are flat: ``{"val/recall@10": 0.1, "test/recall@10": 0.1, …}``.
    ``seen`` is the protocol's word on items of the history.
    """
    names = {name.partition("/")[2] for figures in columns.values() for name in figures}
    stages = [
        s
        for s in ("val", "test")
        if any(n.startswith(f"{s}/") for f in columns.values() for n in f)
    ]
    headings = [f"{stage}\n{model}" for stage in stages for model in columns]
    table = FittedTable(_title(names, seen), [*text("metric"), *figures(*headings)])
    for name in shown(names, monitor):
        cells = [
            _cell(name, own.get(f"{stage}/{name}")) for stage in stages for own in columns.values()
        ]
        table.add_row(name, *cells)
    return table


def _title(names: set[str], seen: str) -> str:
    """What the figures are of."""
    if any(name.startswith("judged/") for name in names):
        return "All items ranked; judged: those of a query alone; pairs: each on its own"
    if goals_of(names):
        return "Each row on its own; f1 to accuracy at the threshold that is best on validation"
    if "perplexity" in names:
        return "Hidden words, each of them behind the mask"
    ranked = "Full ranking, seen items " + (
        "among the candidates" if seen == "keep" else "filtered"
    )
    if any("_sampled" in name for name in names):
        return f"{ranked}; _sampled: the target among a sample"
    return ranked


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if name.rpartition("/")[2].startswith("gauc_groups") else f"{value:.4f}"


def slices_table(columns: Mapping[str, Mapping[str, float]], monitor: str) -> FittedTable | None:
    """The test's figure of each slice of the examples, for each model; None without slices.

    Of several goals it is the one that is monitored.
    """
    goal, slash, watched = monitor.partition("/")[2].rpartition("/")
    if goal in ("judged", "pairs"):  # no goals, but kinds of figures
        goal = slash = ""
    start = f"test/{goal}{slash}"
    parts = [name.removeprefix(start).split("/") for f in columns.values() for name in f]
    of_slices = [part for part in parts if len(part) == 2]
    counts = {
        part: int(number)
        for figures in columns.values()
        for part, _ in of_slices
        if (number := figures.get(f"{start}{part}/examples"))
    }
    if not counts:
        return None
    measured = sorted({figure for part, figure in of_slices if part in counts} - {"examples"})
    wanted = watched.partition("@")[0]
    metric = next((n for n in measured if n.partition("@")[0] == wanted), measured[0])
    headings = [*text("slice"), *figures("examples", *columns)]
    table = FittedTable(f"Where it works: {start}{metric} by slice", headings)
    for part, number in counts.items():
        values = (f.get(f"{start}{part}/{metric}") for f in columns.values())
        cells = (f"{value:.4f}" if value is not None else "" for value in values)
        table.add_row(_spoken(part), f"{number:,}", *cells)
    return table


def _spoken(part: str) -> str:
    """A slice's name as it is read: ``history_5_9`` as ``history 5 to 9``."""
    return re.sub(r"(?<=\d)_(?=\d)", " to ", part).replace("_up", " and more").replace("_", " ")


def examples_table(examples: Sequence[Example]) -> FittedTable:
    """Some of each user's items, the latest where there is an order, and the recommendations."""
    headings = text("user", shown_items(examples), "recommended")
    table = FittedTable("Recommendations", headings, apart=True)
    for example in examples:
        best = map(one_line, example.recommended)
        numbered = [f"{place}. {title}" for place, title in enumerate(best, 1)]
        history = "\n".join(map(one_line, example.history))
        table.add_row(one_line(example.user), history, "\n".join(numbered))
    return table


def show_run(
    columns: Mapping[str, Mapping[str, float]],
    monitor: str,
    examples: Sequence[Example],
    seconds: Mapping[str, float],
    folder: Path,
    hint: str | None,
    seen: str = "filter",
) -> None:
    """Print the end of a run; ``seen`` is the protocol's word on items of the history."""
    console = Screen()
    console.print(figures_table(columns, monitor, seen))
    if slices := slices_table(columns, monitor):
        console.print(slices)
    if examples:
        console.print(examples_table(examples))
    parts = "  ".join(f"{part} {value:.1f}s" for part, value in seconds.items())
    console.print(f"Time   {parts}", highlight=False)
    console.print(f"Run    {folder}", highlight=False, soft_wrap=True)
    if hint:
        console.print(f"W&B    offline; to sync it: {hint}", highlight=False, soft_wrap=True)
