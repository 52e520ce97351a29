"""Figures for a column of a paper: their style, how they are kept, and those of comparisons."""

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_rec.errors import import_extra
from lightning_rec.files import atomic_path

if TYPE_CHECKING:
    from lightning_rec.lab.comparison import Comparison
    from lightning_rec.lab.over_data import OverData

WIDTH = 3.3  # inches
# Told apart in grey too: by their lightness, markers and dashes.
COLOURS = ("#08306b", "#d95f02", "#00594c", "#7fb8e6", "#8f3b6d", "#e6ab02")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MORE_LETTERS = (  # fonts that have Chinese, Japanese and Korean
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Source Han Sans",
    "IPAexGothic", "IPAGothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback",
    "Hiragino Sans", "PingFang SC", "Yu Gothic", "MS Gothic", "Microsoft YaHei", "Malgun Gothic",
    "Arial Unicode MS",
)  # fmt: skip
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
STYLE = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7,
    "legend.fontsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.2, "lines.markersize": 4,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.3,
    "grid.linewidth": 0.5, "pdf.fonttype": 42, "savefig.dpi": 300, "text.parse_math": False,
}  # fmt: skip


@contextmanager
def drawn(height: float, width: float = WIDTH, what: str = "plots=") -> Iterator[Any]:
    """Yield a figure, in inches; it is in style within the block, and saved there.

    Raises UserError, naming ``what`` needs it, without matplotlib (the extra ``plots``).
    """
    matplotlib = import_extra("matplotlib", what, "plots")
    figures = import_extra("matplotlib.figure", what, "plots")
    with matplotlib.rc_context(STYLE | {"font.family": list(_fonts())}):
        yield figures.Figure(figsize=(width, height), layout="constrained")


@cache
def _fonts() -> tuple[str, ...]:
    """The font of figures, and those that are there for the letters which it lacks."""
    manager = import_extra("matplotlib.font_manager", "a figure", "plots").fontManager
    there = {each.name for each in manager.ttflist}
    return ("DejaVu Sans", *(name for name in MORE_LETTERS if name in there))


@cache
def _letters() -> frozenset[int]:
    """The characters that the fonts of figures have."""
    manager = import_extra("matplotlib.font_manager", "a figure", "plots")
    found = (manager.get_font(manager.findfont(name)).get_charmap() for name in _fonts())
    return frozenset().union(*found)


def drawable(text: str) -> str:
    """A text without the characters that no font here has, which would be drawn as boxes."""
    return " ".join("".join(each for each in text if ord(each) in _letters()).split())


def save(figure: Any, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and PDF; the files. Without a date the same runs make the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for kind, metadata in (("png", None), ("pdf", {"CreationDate": None})):
        path = folder / f"{name}.{kind}"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=metadata, dpi=STYLE["savefig.dpi"])
        files.append(path)
    return files


def style(setting: int) -> dict[str, Any]:
    """Colour, marker and dashes of a setting, by its place."""
    return {
        "color": COLOURS[setting % len(COLOURS)],
        "marker": MARKERS[setting % len(MARKERS)],
        "linestyle": DASHES[setting % len(DASHES)],
    }


def legend(figure: Any, titles: Mapping[int, str], handles: Mapping[int, Any]) -> None:
    """Settings below the axes, in the order of the table; the figure grows by their lines."""
    named = {number: " ".join(titles[number].split()) for number in sorted(handles)}
    columns = 2 if max(map(len, named.values())) <= 22 else 1
    labels = ["\n".join(textwrap.wrap(name, 26 if columns == 2 else 56)) for name in named.values()]
    lines = sum(label.count("\n") + 1 for label in labels) / columns
    figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + 0.15 * lines)
    # Matplotlib leaves out labels that begin with an underscore.
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    kept = [handles[number] for number in named]
    figure.legend(kept, labels, loc="outside lower center", ncols=columns, frameon=False)


def means(made: "Comparison") -> Any:
    """Each figure's mean of each setting with its interval over seeds, a panel a figure."""
    titles = dict(enumerate(made.runs["setting"].unique(maintain_order=True).to_list()))
    places = {title: number for number, title in titles.items()}
    names = list(made.figures)
    with drawn(0.35 + len(names) * (0.35 + 0.16 * len(titles)), what="plot()") as figure:
        axes, handles = figure.subplots(len(names), squeeze=False)[:, 0], dict[int, Any]()
        for name, each in zip(names, axes, strict=True):
            for line in made.frame.filter(figure=name).iter_rows(named=True):
                number, mean = places[line["setting"]], line["mean"]
                ends = [line["low"], line["high"]] if line["low"] is not None else [mean, mean]
                sides = [[mean - ends[0]], [ends[1] - mean]]
                of = style(number) | {"linestyle": "none"}
                handles[number] = each.errorbar(mean, number, xerr=sides, capsize=2, **of)
            each.set(xlabel=name, yticks=[], ylim=(len(titles) - 0.4, -0.6))
        legend(figure, titles, handles)
        return figure


def diagram(made: "OverData", name: str) -> Any:
    """Average ranks on a line; a bar joins those that Nemenyi's test does not tell apart."""
    posthocs = import_extra("scikit_posthocs", "a critical-difference diagram", "compare")
    import pandas as pd

    ranks = made.average_ranks(name)
    p = pd.DataFrame(1.0, index=list(ranks), columns=list(ranks))
    for line in made.nemenyi.filter(figure=name).iter_rows(named=True):
        p.loc[line["one"], line["other"]] = p.loc[line["other"], line["one"]] = line["p"]
    distance = made.tests.filter(figure=name)["critical_difference"][0]
    with drawn(0.8 + 0.2 * len(ranks), 1.6 * WIDTH, "plot()") as figure:
        axes = figure.subplots()
        axes.grid(visible=False)
        posthocs.critical_difference_diagram(
            ranks, p, ax=axes, alpha=1 - made.level, label_fmt_left="{label} ({rank:.2f})",
            label_fmt_right="({rank:.2f}) {label}", label_props={"fontsize": 8},
            color_palette=dict.fromkeys(ranks, "black"), elbow_props={"linewidth": 0.8},
            marker_props={"s": 10},
        )  # fmt: skip
        axes.spines["top"].set_visible(True)
        axes.set(xlim=(0.9, len(ranks) + 0.1), xticks=range(1, len(ranks) + 1))
        axes.set_title(f"{name}: average ranks; critical difference {distance:.2f}", fontsize=8)
        return figure
