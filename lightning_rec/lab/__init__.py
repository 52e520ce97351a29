"""Runs side by side: mean ± sd over seeds, differences with intervals, Markdown and LaTeX."""

from lightning_rec.lab.columns import Column, Row, cost, difference, figure, lay_out, seeds
from lightning_rec.lab.comparison import Comparison, compare, table
from lightning_rec.lab.examples import of_examples
from lightning_rec.lab.layout import Table
from lightning_rec.lab.over_data import OverData, compare_over_data
from lightning_rec.lab.paired import Paired, paired
from lightning_rec.lab.reading import check_comparable, read_runs
from lightning_rec.lab.statistics import Difference, Spread, spread, welch

__all__ = [
    "Column",
    "Comparison",
    "Difference",
    "OverData",
    "Paired",
    "Row",
    "Spread",
    "Table",
    "check_comparable",
    "compare",
    "compare_over_data",
    "cost",
    "difference",
    "figure",
    "lay_out",
    "of_examples",
    "paired",
    "read_runs",
    "seeds",
    "spread",
    "table",
    "welch",
]
