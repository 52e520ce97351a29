"""The picture of a table of semantic ids: how evenly codes are used, and which items share them."""

from pathlib import Path
from typing import Any

import numpy as np

from lightning_rec.data.semantic.measured import by_level, collisions
from lightning_rec.data.semantic.table import IdTable
from lightning_rec.files import atomic_path
from lightning_rec.lab.drawing import COLOURS, STYLE, drawn

PANELS = 8  # levels


def draw(table: IdTable, path: Path) -> None:
    """Write the picture as PNG. Raises UserError without matplotlib (the extra ``plots``)."""
    shown = min(PANELS, len(table.sizes))
    rows = by_level(table).rows(named=True)
    columns = min(3, shown + 1)
    lines = -(-(shown + 1) // columns)
    with drawn(0.5 + 1.9 * lines, width=2.4 * columns, what="ids.png") as figure:
        axes = figure.subplots(lines, columns, squeeze=False).flatten()
        for level, axis in enumerate(axes[:shown]):
            size, row = table.sizes[level], rows[level]
            count = np.sort(np.bincount(table.codes[:, level], minlength=size))[::-1]
            axis.fill_between(np.arange(size), count, step="mid", color=COLOURS[0])
            even = len(table.items) / size
            axis.axhline(even, color=COLOURS[1], linestyle="--", label="all alike")
            name = "Last digit" if level == table.settings.levels else f"Level {level + 1}"
            axis.set_title(
                f"{name}: perplexity {row['perplexity']:.0f}\nof {size}, {row['dead']} dead",
                fontsize=8,
            )
            axis.set_xlabel("codes, most used first")
            axis.set_ylabel("items")
        axes[0].legend(frameon=False)
        _groups(axes[shown], table)
        for axis in axes[shown + 1 :]:
            axis.set_axis_off()
        more = f" (the first {shown})" if shown < len(table.sizes) else ""
        figure.suptitle(
            f"Semantic ids of {len(table.items):,} items, {len(table.sizes)} levels{more}",
            fontsize=9,
        )
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=STYLE["savefig.dpi"] // 2)


def _groups(axis: Any, table: IdTable) -> None:
    """How many items have the codes of how many others."""
    codes = table.codes[:, : table.settings.levels]
    count = np.unique(codes, axis=0, return_counts=True)[1]
    size, number = np.unique(count, return_counts=True)
    axis.bar(np.arange(len(size)), size * number, color=COLOURS[2])
    step = max(1, len(size) // 6)
    axis.set_xticks(np.arange(len(size))[::step], [str(each) for each in size[::step]])
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.yaxis.set_minor_formatter(lambda *_: "")
    axis.set_title(f"Same codes: {collisions(table)['share']:.1%} of items", fontsize=8)
    axis.set_xlabel("items with one and the same")
    axis.set_ylabel("items")
