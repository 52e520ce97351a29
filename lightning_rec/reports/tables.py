"""The tables of a report's page: cells with what they are sorted by."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning_rec.figures import better, declared, parse, percent
from lightning_rec.lab import Comparison, spread, welch
from lightning_rec.lab.columns import COSTS, values_of
from lightning_rec.lab.statistics import amount, p_value, signed
from lightning_rec.reports.series import differences, settings


@dataclass(frozen=True)
class Cell:
    """A text, and the number that it is sorted by; ``best`` of its column, or a ``bar`` 0 to 1."""

    text: str
    order: float | str | None = None
    setting: int | None = None
    best: bool = False
    bar: float | None = None


@dataclass(frozen=True)
class PageTable:
    """Headings and rows of cells; the first ``text`` columns are text."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text: int = 1


def main_table(made: Comparison) -> PageTable:
    """A row per setting: mean ± sd, difference with its interval, and p after Holm."""
    names = settings(made)
    columns = [[Cell(name, name, number) for number, name in enumerate(names)], _seeds(made)]
    header = ["setting", "seeds"]
    for figure in made.figures:
        columns.append(means(made, figure))
        header.append(figure)
        if len(names) > 1:
            against = _against(made, figure)
            columns += against
            header += [f"minus baseline [{percent(made.level)}]", "p (Holm)"][: len(against)]
    return PageTable(header, list(zip(*columns, strict=True)))


def costs_table(made: Comparison) -> PageTable:
    """What a run of each setting cost, on average."""
    names = settings(made)
    columns = [[Cell(name, name, number) for number, name in enumerate(names)]]
    header = ["setting"]
    for of in (each for each in COSTS if each.title):
        runs = (made.runs.filter(setting=name) for name in names)
        cells = [_cost(values_of(each, of.column), of.per) for each in runs]
        if any(cell.text for cell in cells):
            columns.append(cells)
            header.append(of.title)
    return PageTable(header, list(zip(*columns, strict=True)))


def _seeds(made: Comparison) -> list[Cell]:
    counts = [made.runs.filter(setting=name).height for name in settings(made)]
    return [Cell(str(count), count) for count in counts]


def means(made: Comparison, figure: str, *, bars: bool = False) -> list[Cell]:
    """Mean ± sd by setting, the best marked; with ``bars`` the mean's share of the largest."""
    kept = [values_of(made.runs.filter(setting=name), figure) for name in settings(made)]
    found = [spread(values) if values else None for values in kept]
    known = [each.mean for each in found if each is not None]
    good = better(figure)
    best = None if not known or good is None else (max if good == "max" else min)(known)
    top = max(map(abs, known), default=0)
    return [
        Cell("-")
        if each is None
        else Cell(
            str(each), each.mean, best=len(known) > 1 and each.mean == best,
            bar=abs(each.mean) / top if bars and top else None,
        )
        for each in found
    ]  # fmt: skip


def _against(made: Comparison, figure: str) -> list[list[Cell]]:
    """Differences, over users where examples are kept, else over seeds; and their p-values."""
    lines = {line["setting"]: line for line in made.paired.filter(figure=figure).to_dicts()}
    theirs = values_of(made.runs.filter(setting=made.baseline), figure)
    differences, chances = [], []
    for name in settings(made):
        ours = values_of(made.runs.filter(setting=name), figure)
        difference, chance = Cell("baseline" if name == made.baseline else "", 0.0), Cell("")
        if line := lines.get(name):
            told = signed(line["difference"], line["low"], line["high"])
            difference = Cell(told, line["difference"])
            chance = Cell(p_value(line["holm"]), line["holm"])
        elif name != made.baseline and ours and theirs:
            over_seeds = welch(ours, theirs, made.level)
            of = " (seeds)" if over_seeds.low is not None else ""
            difference = Cell(f"{over_seeds}{of}", over_seeds.mean)
        differences.append(difference)
        chances.append(chance)
    return [differences, chances] if lines else [differences]


def _cost(values: Sequence[float], per: float) -> Cell:
    return Cell(amount(mean := spread(values).mean / per), mean) if values else Cell("")


def sliced_table(made: Comparison) -> PageTable:
    """Each setting on each slice that was asked for: mean, difference, and p after Holm."""
    header = ["setting", "slice", "figure", "examples", "mean"]
    header += [f"minus baseline [{percent(made.level)}]", "p (Holm)"]
    numbers, rows = {name: number for number, name in enumerate(settings(made))}, []
    for line in made.sliced.iter_rows(named=True):
        name, told, figure = line["setting"], f"{line['column']} {line['slice']}", line["figure"]
        tested = line["p"] is not None
        difference = signed(line["difference"], line["low"], line["high"]) if tested else ""
        rows.append(
            [Cell(name, name, numbers[name]), Cell(told, told), Cell(figure, figure),
             Cell(f"{line['examples']:,}", line["examples"]),
             Cell(f"{line['mean']:.4f}", line["mean"]), Cell(difference, line["difference"]),
             Cell(p_value(line["holm"]), line["holm"])]
        )  # fmt: skip
    return PageTable(header, rows, text=3)


def counts_table(made: Comparison) -> PageTable:
    """For how many users (queries, rows) a setting is above the baseline, below, or equal."""
    rows = []
    for figure in made.figures:
        for each in differences(made, figure):
            name = settings(made)[each.setting]
            above, below = int((each.values > 0).sum()), int((each.values < 0).sum())
            counts = (above, below, len(each.values) - above - below)
            told = [Cell(f"{count:,}", count) for count in counts]
            rows.append([Cell(name, name, each.setting), Cell(figure, figure), *told])
    return PageTable(["setting", "figure", "above baseline", "below", "equal"], rows, text=2)


def list_figures(made: Comparison, figure: str) -> list[str]:
    """Figures of what is recommended, right or not, at the cut-off of ``figure``, or at 10."""
    k = parse(figure).k or 10
    known = {name for name, of in declared().items() if of.section == "lists"} | {"diversity"}
    found = {name: parse(name) for name in made.runs.columns if "/" in name}
    return [
        name
        for name, of in found.items()
        if of.figure in known and of.stage == "test" and of.k == k
        if not (of.slice or of.model or of.sampled)
    ]


def lists_table(made: Comparison, names: Sequence[str]) -> PageTable:
    """Coverage, novelty and the like by setting."""
    first = [Cell(name, name, number) for number, name in enumerate(settings(made))]
    columns = [first, *(means(made, name, bars=True) for name in names)]
    return PageTable(["setting", *names], list(zip(*columns, strict=True)))


def cards(made: Comparison) -> list[dict[str, Any]]:
    """Of each run: where it lies, its figures and facts, and the command that repeats it."""
    numbers = {name: number for number, name in enumerate(settings(made))}
    found = []
    for run in made.runs.iter_rows(named=True):
        overrides = [str(each) for each in run.get("overrides") or []]
        verb = "ensemble" if str(run.get("model")).endswith("Ensemble") else "train"
        said = verb == "ensemble" or any(each.startswith("seed=") for each in overrides)
        if not said and run.get("seed") is not None:
            overrides.append(f"seed={run['seed']}")
        figures = [f"{name} {run[name]:.4f}" for name in made.figures if run.get(name) is not None]
        found.append(
            {
                "setting": run["setting"],
                "number": numbers[run["setting"]],
                "seed": run.get("seed"),
                "figures": ", ".join(figures),
                "facts": _facts(run),
                "command": shlex.join(["lightning-rec", verb, *overrides]),
            }
        )
    return found


def _facts(run: dict[str, Any]) -> list[tuple[str, str]]:
    """What the card says, by name; what it does not know is left out."""
    dirty = " (with changes that were not committed)" if run.get("dirty") else ""
    facts = {"run": run["run"], "commit": f"{run['commit']}{dirty}" if run.get("commit") else None}
    facts |= {key: run.get(key) for key in ("version", "python", "started", "finished")}
    for of in (each for each in COSTS if each.title):
        known = run.get(of.column) is not None
        facts[of.title] = amount(run[of.column] / of.per) if known else None
    if run.get("cost.epoch_seconds") is not None:
        facts["seconds an epoch"] = f"{run['cost.epoch_seconds']:.4g}"
    parts = ("system", "processor", "cores", "threads", "memory_gib", "accelerator")
    machine = [
        f"{part} {run[f'machine.{part}']}"
        for part in parts
        if run.get(f"machine.{part}") is not None
    ]
    facts["machine"] = ", ".join(machine)
    facts |= {
        key.replace("_", " "): value
        for key, value in run.items()
        if key.endswith("_hash") and "/" not in key
    }
    return [(key, str(value)) for key, value in facts.items() if value not in (None, "")]
