"""Draw what ``growth.py`` measured: ``growth_plot.py GROWTH.json [MORE.json …] PICTURE.png``."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TITLES = {
    "items": "items in the catalogue",
    "length": "places in a sequence",
    "batch": "sequences in a batch",
    "users": "users in the log",
}
SERIES = {
    "full_softmax": ("lightning_rec, full softmax", "C0", "o"),
    "sampled_softmax": ("lightning_rec, sampled softmax", "C2", "s"),
    "sampled_softmax_sparse": ("lightning_rec, sampled, sparse gradients", "C4", "^"),
    "replay": ("RePlay, full softmax", "C1", "D"),
}
ROWS = {
    "step_seconds": "seconds a step",
    "evaluation_users_per_second": "users/s evaluated",
    "peak_memory_mib": "peak memory, MiB",
}


def series(points: list[dict[str, Any]], axis: str, figure: str) -> dict[str, list[Any]]:
    """Name of a series -> its (x, y), for those points that could be measured."""
    found: dict[str, list[Any]] = {}
    for point in points:
        for name, of in ((point["loss"], point), ("replay", point.get("replay") or {})):
            if figure in of:
                found.setdefault(name, []).append((point[axis], of[figure]))
    return found


def main() -> None:
    """One column for each axis, one row for each figure."""
    *sources, picture = map(Path, sys.argv[1:])
    points: dict[str, list[dict[str, Any]]] = {}
    for source in sources:
        points |= json.loads(source.read_text())["points"]
    drawn = [axis for axis in TITLES if axis in points]
    figure, grid = plt.subplots(
        len(ROWS), len(drawn), figsize=(4 * len(drawn), 8.5), squeeze=False, sharex="col"
    )
    for column, axis in enumerate(drawn):
        for row, (key, label) in enumerate(ROWS.items()):
            place = grid[row][column]
            for name, values in series(points[axis], axis, key).items():
                text, colour, mark = SERIES[name]
                place.plot(*zip(*values, strict=True), color=colour, marker=mark, label=text)
            place.set_xscale("log")
            place.set_yscale("log")
            if axis in ("length", "batch"):
                ticks = sorted({point[axis] for point in points[axis]})
                place.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
                place.set_xticks([], minor=True)
            place.grid(alpha=0.3)
            if column == 0:
                place.set_ylabel(label)
        grid[-1][column].set_xlabel(TITLES[axis])
    handles: dict[str, Any] = {}
    for place in grid.flat:
        handles |= dict(zip(*reversed(place.get_legend_handles_labels()), strict=True))
    figure.legend([*handles.values()], [*handles], loc="upper center", ncol=2, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.94))
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
