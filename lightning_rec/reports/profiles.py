"""The picture of a profile: shares beside everybody's, early and late, and what comes next."""

from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.answers.profile import Profile
from lightning_rec.files import atomic_path
from lightning_rec.lab.drawing import COLOURS, STYLE, drawable, drawn

SHOWN = 8  # values of a column
PANELS = 3  # columns
_LONGEST = 34  # characters of a title


def draw(found: Profile, path: Path) -> None:
    """Write the picture as PNG. Raises UserError without matplotlib (the extra ``plots``)."""
    names = found.shares["column"].unique(maintain_order=True).to_list()[:PANELS]
    panels = len(names) + 1
    with drawn(0.6 + 2.5 * panels, width=6.5, what="to=profile.png") as figure:
        axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
        for axis, name in zip(axes, names, strict=False):
            _shares(axis, name, found)
        _nearest(axes[-1], found.nearest)
        figure.suptitle(_heading(found), fontsize=9)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=STYLE["savefig.dpi"] // 2)


def _heading(found: Profile) -> str:
    facts = {row["fact"]: row for row in found.facts.iter_rows(named=True)}
    events, novelty = facts["events"], facts["novelty"]
    told = f"{events['user']:.0f} events, novelty {novelty['user']:.1f} bits"
    if novelty["everybody"] is not None:
        told += f" (mean of users: {events['everybody']:.0f}, {novelty['everybody']:.1f})"
    return f"User {drawable(found.name)}: {told}" if found.name else told


def _shares(axis: Any, name: str, found: Profile) -> None:
    """Bars of a column: the early and the late half, and marks of everybody."""
    own = found.shares.filter(pl.col("column") == name).head(SHOWN).reverse()
    drift = found.drift.filter(pl.col("column") == name)["drift"][0]
    at = list(range(len(own)))
    for offset, half, colour in ((0.2, "early", COLOURS[3]), (-0.2, "late", COLOURS[0])):
        axis.barh(
            [y + offset for y in at],
            own[half].fill_null(0),
            height=0.38,
            color=colour,
            label=f"{half} half",
        )
    axis.plot(own["everybody"], at, "D", color=COLOURS[1], markersize=4, label="everybody")
    axis.set_yticks(at, [drawable(each) or "?" for each in own["value"]])
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    how = "not known" if drift is None else f"{drift:.2f}"
    axis.set_title(f"{drawable(name)}: shares of the history; drift {how}", fontsize=8, loc="left")
    axis.legend(frameon=False, loc="lower right")


def _nearest(axis: Any, nearest: pl.DataFrame) -> None:
    own = nearest.reverse()
    titles = own["title" if "title" in own.columns else "item"].fill_null("")
    names = [drawable(t) or item for t, item in zip(titles, own["item"], strict=True)]
    colours = [COLOURS[3] if had else COLOURS[0] for had in own["had"]]
    low = float(own["score"].min() or 0.0)  # type: ignore[arg-type]
    axis.barh(range(len(own)), own["score"] - min(0.0, low), color=colours)
    labels = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    axis.set_yticks(range(len(own)), labels)
    axis.set_title("nearest items by score; pale: in the history", fontsize=8, loc="left")
