"""Columns of a table, declared: each says its heading and how a row's runs become a cell."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from lightning_rec.lab.layout import Table
from lightning_rec.lab.statistics import spread, welch


class Cost(NamedTuple):
    """What a run cost: its ``column``, its name, and what it is divided by.

    ``heading``: in the table of a sweep, with ``digits``; empty if it is not there.
    ``title``: on the page of a report; empty likewise.
    """

    column: str
    title: str = ""
    per: float = 1
    heading: str = ""
    digits: int = 0


COSTS = (
    Cost("cpu_seconds", "CPU minutes", 60),
    Cost("gpu_seconds", "GPU minutes", 60),
    Cost("cost.trained_parameters", "Trained parameters", heading="trained"),
    Cost("cost.epoch_seconds", heading="s/epoch", digits=2),
    Cost("peak_memory_mib", "Peak memory, MiB", heading="MiB"),
)


@dataclass(frozen=True)
class Row:
    """A row.

    Args:
        labels: cells of text, from the left.
        runs: one line per run, as :func:`~lightning_rec.lab.read_runs` gives them.
        reference: the runs that :func:`difference` subtracts; empty if there are none.
    """

    labels: Sequence[str]
    runs: pl.DataFrame
    reference: pl.DataFrame = field(default_factory=pl.DataFrame)


@dataclass(frozen=True)
class Column:
    """A heading, and what makes the cell of a row."""

    heading: str
    cell: Callable[[Row], str]


def lay_out(labels: Sequence[str], columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """The table of some rows; ``labels`` are the headings of their text."""
    header = [*labels, *(column.heading for column in columns)]
    cells = [[*row.labels, *(column.cell(row) for column in columns)] for row in rows]
    return Table(header, cells)


def figure(name: str, heading: str = "", *, absent: str = "", reference: bool = False) -> Column:
    """Mean ± sd of a figure, such as ``test/ndcg@10``; ``absent`` where no run has it."""

    def cell(row: Row) -> str:
        values = values_of(row.reference if reference else row.runs, name)
        return str(spread(values)) if values else absent

    return Column(heading or name, cell)


def seeds(heading: str = "seeds") -> Column:
    """How many runs; nothing for a baseline, which has no seed."""
    return Column(heading, lambda row: str(row.runs.height) if "seed" in row.runs.columns else "")


def difference(name: str, heading: str, *, reverse: bool = False, level: float = 0.95) -> Column:
    """A row's figure minus its reference's, or the ``reverse``, with Welch's interval."""

    def cell(row: Row) -> str:
        pair = [values_of(row.runs, name), values_of(row.reference, name)]
        ours, theirs = pair[::-1] if reverse else pair
        return str(welch(ours, theirs, level)) if min(map(len, pair)) > 1 else ""

    return Column(heading, cell)


def cost(
    name: str,
    heading: str,
    form: str = ".0f",
    *,
    per: float = 1,
    of: Callable[[list[float]], float] = statistics.median,
    absent: str = "",
) -> Column:
    """A number that is no figure, by default the median over runs: seconds, memory, parameters.

    ``name``: a column of the runs, such as ``cpu_seconds`` or ``cost.trained_parameters``.
    ``form``: as in :func:`format`. ``per``: what it is divided by, such as 60 for minutes. ``of``:
    makes one number of those of all runs. ``absent``: what is written where no run knows it.
    """

    def cell(row: Row) -> str:
        if values := values_of(row.runs, name):
            return format(of(values) / per if per != 1 else of(values), form)
        return absent if row.runs.height and "seed" in row.runs.columns else ""

    return Column(heading, cell)


def values_of(runs: pl.DataFrame, name: str) -> list[float]:
    """A column without its gaps; empty if there is no such column."""
    return runs[name].drop_nulls().to_list() if name in runs.columns else []
