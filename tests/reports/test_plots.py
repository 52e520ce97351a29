"""Plots: points where the bins say, and no crash where there is no matplotlib."""

from pathlib import Path

import polars as pl
import pytest

from lightning_rec.reports import plots

BINS = pl.DataFrame(
    {
        "goal": "click",
        "from": [0.0, 0.5, 0.9],
        "rows": [30, 0, 10],
        "predicted": [0.2, float("nan"), 0.95],
        "rate": [0.3, float("nan"), 0.8],
    }
)


def test_a_table_that_has_a_plot_becomes_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = plots.draw({"reliability": BINS, "vocabulary": pl.DataFrame()}, tmp_path)
    assert files == {"reliability": tmp_path / "reliability.png"}
    assert files["reliability"].read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["reliability.png"]


def test_the_plot_shows_the_bins_that_have_rows() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    plots.reliability(figure, BINS)
    above, below = figure.axes
    diagonal, points = above.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert points.get_xydata().tolist() == [[0.2, 0.3], [0.95, 0.8]]
    assert [bar.get_height() for bar in below.patches] == [30, 10]


def test_without_matplotlib_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    assert plots.draw({"reliability": BINS}, tmp_path) == {}
    assert not list(tmp_path.iterdir())


def test_the_places_of_a_list_have_a_picture(tmp_path: Path) -> None:
    mpl = pytest.importorskip("matplotlib.figure")
    numbers: dict[str, list[float]] = {"place": [1, 2, 3]}
    for name, mean in (("first", [0.5, 0.3, 0.2]), ("rank", [1.5, 2.0, 2.5])):
        numbers |= {
            name: mean,
            f"{name}_low": [x - 0.1 for x in mean],
            f"{name}_high": [x + 0.1 for x in mean],
        }
    table, figure = pl.DataFrame(numbers), mpl.Figure()
    plots.positions(figure, table)
    above, below = figure.axes
    even, shares = above.lines
    assert even.get_ydata() == pytest.approx([1 / 3, 1 / 3])
    assert shares.get_xydata().tolist() == [[1, 0.5], [2, 0.3], [3, 0.2]]
    assert below.lines[0].get_ydata() == pytest.approx([2, 2])
    assert [*plots.draw({"positions": table}, tmp_path)] == ["positions"]
    assert (tmp_path / "positions.png").is_file()
