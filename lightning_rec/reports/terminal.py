"""What a run shows at its end: figures beside a baseline, examples by title, times."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightning_rec.figures import EXAMPLES, SECTIONS, Figure, Name, declared, parse, parsed, titled
from lightning_rec.runs.folder import RunFolder
from lightning_rec.runs.tracking import Example, shown_items
from lightning_rec.screen import Screen
from lightning_rec.streams import one_line
from lightning_rec.tables import FittedTable, figures, text

Columns = Mapping[str, Mapping[str, float]]  # flat figures of each model
_FEW = 100  # examples of a test below which its figures are told to be rough
_UNKNOWN = Figure("unknown", "max")  # of an earlier version


def shown(names: Iterable[Name], monitor: str, known: Mapping[str, Figure]) -> list[Name]:
    """The figures worth a row, in reading order; ``metrics.json`` has them all.

    Of those at cut-offs some are shown at each, others at that of the monitored figure alone. Each
    goal stands for itself, and what was ranked among samples comes last.
    """
    position = {full: number for number, full in enumerate(known)}
    names = [name for name in names if not name.slice]
    k = parse(monitor).k or max((name.k or 0 for name in names), default=0)

    def order(name: Name) -> tuple[str, str, int, str, int]:
        figure = position.get(name.figure, len(position))
        return name.sampled, name.goal, figure, name.figure, name.k or 0

    def is_shown(name: Name) -> bool:
        return known.get(name.figure, _UNKNOWN).shown != "brief" or name.k in (None, k)

    return sorted(filter(is_shown, names), key=order)


def figures_table(
    columns: Columns, monitor: str, metrics: Mapping[str, Any] | None, seen: str | None = None
) -> FittedTable:
    """One row per figure; for each model (a column of ``columns``) its validation and its test.

    ``columns``: ``{"BERT4Rec": {"val/recall@10": 0.1, "test/recall@10": 0.1, …}, …}``. ``metrics``:
    of the config, by key; None for a run that is older than they are. ``seen``: the protocol's word
    on items of the history, if it has one.
    """
    parts = [part for each in columns.values() for part in parsed(each).values()]
    known = declared(metrics, parts)
    stages = [stage for stage in ("val", "test") if any(part.stage == stage for part in parts)]
    rows = shown({part._replace(stage="") for part in parts}, monitor, known)
    headings = [f"{stage}\n{model}" for stage in stages for model in columns]
    table = FittedTable(_title(rows, known, seen), [*text("metric"), *figures(*headings)])
    for row in rows:
        names = [str(row._replace(stage=stage)) for stage in stages]
        values = [own.get(name) for name in names for own in columns.values()]
        is_fact = known.get(row.figure, _UNKNOWN).better is None
        forms = (",.0f" if is_fact and value == int(value or 0) else ".4f" for value in values)
        cells = ("" if v is None else format(v, f) for v, f in zip(values, forms, strict=True))
        table.add_row(titled(row, known), *cells)
    return table


def _examples(split: Mapping[str, Any]) -> tuple[int, str]:
    """How many examples the test has, and how many both stages have in words, if a run counted."""
    for unit in ("targets", "queries", "rows"):
        counts = [(stage, split.get(f"{stage} {unit}")) for stage in ("val", "test")]
        if counts[1][1] is not None:
            told = [f"{number:,} {stage} {unit}" for stage, number in counts if number]
            return int(counts[1][1]), ", ".join(told)
    return 0, ""


def _title(rows: Sequence[Name], known: Mapping[str, Figure], seen: str | None) -> str:
    among = {"keep": ", seen items among the candidates", "filter": ", seen items filtered"}
    sections = dict.fromkeys(known[row.figure].section for row in rows if row.figure in known)
    titles = {each: SECTIONS[each].title for each in sections if each}
    if "ranking" in titles:
        titles["ranking"] += among.get(seen or "", "")
    told = [*titles.values()]
    if any(row.sampled for row in rows):
        told.append("_sampled: the target among a sample")
    return "; ".join(filter(None, told))


def slices_table(
    columns: Columns, monitor: str, metrics: Mapping[str, Any] | None
) -> FittedTable | None:
    """The test's figure of each slice, of the monitored goal, for each model; None without any."""
    watched = parse(monitor)
    parts = {name: part for each in columns.values() for name, part in parsed(each).items()}
    of = [p for p in parts.values() if p.slice and (p.stage, p.goal) == ("test", watched.goal)]
    counts: dict[str, int] = {}
    for part in of:
        name = str(part._replace(figure=EXAMPLES, k=None, sampled=""))
        if number := next((int(n) for each in columns.values() if (n := each.get(name))), 0):
            counts[part.slice] = number
    measured = sorted({p._replace(slice="", stage="") for p in of if p.figure != EXAMPLES}, key=str)
    if not counts or not measured:
        return None
    chosen = next((each for each in measured if each.figure == watched.figure), measured[0])
    headings = [*text("slice"), *figures("examples", *columns)]
    title = titled(chosen._replace(stage="test"), declared(metrics))
    table = FittedTable(f"Where it works: {title} by slice", headings)
    for slice_, number in counts.items():
        name = str(chosen._replace(stage="test", slice=slice_))
        values = (each.get(name) for each in columns.values())
        cells = (f"{value:.4f}" if value is not None else "" for value in values)
        heading = re.sub(r"(?<=\d)_(?=\d)", " to ", slice_)  # history_5_9: history 5 to 9
        heading = heading.replace("_up", " and more").replace("_", " ")
        table.add_row(heading, f"{number:,}", *cells)
    return table


def examples_table(examples: Sequence[Example]) -> FittedTable:
    """Some of each user's items, the latest where there is an order, and the recommendations."""
    headings = text("user", shown_items(examples), "recommended")
    table = FittedTable("Recommendations", headings, spaced=True)
    for example in examples:
        best = map(one_line, example.recommended)
        numbered = [f"{rank}. {title}" for rank, title in enumerate(best, 1)]
        history = "\n".join(map(one_line, example.history))
        table.add_row(one_line(example.user), history, "\n".join(numbered))
    return table


def show_run(
    run: RunFolder, columns: Columns, examples: Sequence[Example], hint: str | None
) -> None:
    """Print the end of a run; see :func:`figures_table`. ``hint``: what would sync it to W&B."""
    console, cfg = Screen(), run.config
    seen = run.card.get("protocol", {}).get("seen")
    table = figures_table(columns, cfg.monitor, cfg.get("metrics"), seen)
    number, counted = _examples(run.card.get("split") or {})
    table.title = "; ".join(filter(None, [str(table.title or ""), counted]))
    console.print(table)
    if counted and number < _FEW:
        words = (
            f"Of {counted.rpartition(', ')[2]} alone: such figures are rough, and differ by chance."
        )
        console.print(words, highlight=False)
    if slices := slices_table(columns, cfg.monitor, cfg.get("metrics")):
        console.print(slices)
    if examples:
        console.print(examples_table(examples))
    parts = "  ".join(f"{part} {value:.1f}s" for part, value in run.seconds.items())
    console.print(f"Time   {parts}", highlight=False)
    told = [f"Run    {run.path}", *([f"W&B    offline; to sync it: {hint}"] if hint else [])]
    console.print("\n".join(told), highlight=False, soft_wrap=True)
