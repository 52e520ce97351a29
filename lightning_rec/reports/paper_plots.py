"""Plots for a column of a paper, as PNG and PDF: curves, figure against cost, differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning_rec.errors import import_extra
from lightning_rec.files import atomic_path
from lightning_rec.lab import Comparison
from lightning_rec.reports.series import costs, curves, levels, monitored, settings

WIDTH = 3.3  # inches
# Told apart in grey too: by their lightness, markers and dashes.
COLOURS = ("#08306b", "#d95f02", "#00594c", "#7fb8e6", "#8f3b6d", "#e6ab02")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
STYLE = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.2, "lines.markersize": 4,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "grid.linewidth": 0.5, "pdf.fonttype": 42, "savefig.dpi": 300, "text.parse_math": False,
}  # fmt: skip


def draw(made: Comparison, folder: Path) -> list[Path]:
    """Write what there is to draw into ``folder``; the files.

    Raises UserError without matplotlib (the extra ``plots``).
    """
    matplotlib = import_extra("matplotlib", "plots=", "plots")
    figures = import_extra("matplotlib.figure", "plots=", "plots")
    drawers: dict[str, Callable[[Any, Comparison], bool]] = {
        "curves": _curves, "cost": _costs, "differences": _differences,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, drawer in drawers.items():
        with matplotlib.rc_context(STYLE):
            figure = figures.Figure(figsize=(WIDTH, 2.4), layout="constrained")
            if not drawer(figure, made):
                continue
            for kind in ("png", "pdf"):
                path = folder / f"{name}.{kind}"
                # Without a date the same runs make the same file.
                metadata = {"CreationDate": None} if kind == "pdf" else None
                with atomic_path(path) as temporary:
                    figure.savefig(temporary, format=kind, metadata=metadata)
                files.append(path)
    return files


def _style(setting: int) -> dict[str, Any]:
    return {
        "color": COLOURS[setting % len(COLOURS)],
        "marker": MARKERS[setting % len(MARKERS)],
        "linestyle": DASHES[setting % len(DASHES)],
    }


def _legend(figure: Any, made: Comparison, drawn: dict[int, Any]) -> None:
    """Settings below the axes, in the order of the table; the figure grows by their lines."""
    import textwrap

    named = {n: " ".join(settings(made)[n].split()) for n in sorted(drawn)}
    columns = 2 if max(map(len, named.values())) <= 22 else 1
    labels = ["\n".join(textwrap.wrap(name, 26 if columns == 2 else 56)) for name in named.values()]
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    figure.set_size_inches(WIDTH, figure.get_figheight() + 0.15 * lines)
    # Matplotlib leaves out labels that begin with an underscore.
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    handles = [drawn[n] for n in named]
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def _curves(figure: Any, made: Comparison) -> bool:
    found = [each for each in curves(made) if each.is_mean]
    if not found:
        return False
    axes, drawn = figure.subplots(), dict[int, Any]()
    for each in found:
        drawn[each.setting], *_ = axes.plot(each.epoch, each.value, **_style(each.setting))
    for setting, value in levels(made).items():
        style = _style(setting) | {"marker": ""}
        drawn[setting] = axes.axhline(value, linewidth=0.8, **style)
    axes.set(xlabel="epoch", ylabel=monitored(made))
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, made, drawn)
    return True


def _costs(figure: Any, made: Comparison) -> bool:
    """The figure against CPU minutes, else against the first cost that is known."""
    found = costs(made, made.figures[0])
    if not found:
        return False
    called, points = next(iter(found.items()))
    axes, drawn = figure.subplots(), dict[int, Any]()
    front = sorted((each for each in points if each.on_front), key=lambda each: each.cost)
    x, y = [each.cost for each in front], [each.value for each in front]
    axes.step(x, y, where="post", color="0.6", linewidth=0.8, zorder=1)
    for each in points:
        style = _style(each.setting) | {"linestyle": "none", "markersize": 6}
        edge = {"markeredgecolor": "black", "markeredgewidth": 0.9} if each.on_front else {}
        drawn[each.setting] = axes.errorbar(
            each.cost, each.value, yerr=each.sd, capsize=2, **style, **edge
        )
    paid = [each.cost for each in points]
    if min(paid) > 0 and max(paid) / min(paid) > 30:
        axes.set_xscale("log")
    axes.set(xlabel=called, ylabel=made.figures[0])
    _legend(figure, made, drawn)
    return True


def _differences(figure: Any, made: Comparison) -> bool:
    """Mean differences from the baseline with their intervals over users, a row per figure."""
    lines = made.paired.to_dicts()
    if not lines:
        return False
    names = list(dict.fromkeys(line["figure"] for line in lines))
    known = list(dict.fromkeys(line["setting"] for line in lines))
    figure.set_size_inches(WIDTH, 0.6 + 0.17 * len(names) * (len(known) + 1))
    axes, drawn = figure.subplots(), dict[int, Any]()
    for line in lines:
        setting, place = settings(made).index(line["setting"]), known.index(line["setting"])
        row = names.index(line["figure"]) + (place - (len(known) - 1) / 2) * 0.8 / len(known)
        sides = [[line["difference"] - line["low"]], [line["high"] - line["difference"]]]
        style = _style(setting) | {"linestyle": "none"}
        drawn[setting] = axes.errorbar(line["difference"], row, xerr=sides, capsize=2, **style)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("difference from the baseline")
    _legend(figure, made, drawn)
    return True
