"""Tables at any width: no column is lost, no figure and no setting is cut."""

import io
import re

import pytest

from lightning_rec.screen import Screen
from lightning_rec.tables import FittedTable, figures, text

OVERRIDES = [
    "model.dropout=0.1",
    "callbacks.early_stopping.patience=10",
    "protocol.cutoffs=[1,5,10]",
    "data.path=shops/[north].csv",
    "objective.mask_prob=0.25",
    "optimizer.betas=[0.9,0.98]",
    "batches.max_len=50",
    "model.encoder.depth=12",
]
FIGURES = ["0.1212 ± 0.0582", "1,234,567.8901", "0.4875 ± 0.0884"]
HEADINGS = ["val/ndcg@10", "test/ndcg@10_partial", "test/judged/ndcg@10"]


def printed(table: FittedTable, width: int, *, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding=encoding)
    Screen(file=out, width=width).print(table)
    out.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("many", [1, 2, 5, 8])
def test_settings_and_figures_are_whole_at_any_width(width: int, many: int) -> None:
    table = FittedTable("Best", [*text("setting"), *figures("seeds", *HEADINGS)], numbered=True)
    for row in range(12):
        table.add_row(" ".join([*OVERRIDES[:many], f"seed={row}"]), "2 (1 failed)", *FIGURES)
    shown = printed(table, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown
    for whole in (*FIGURES, "2 (1 failed)", *OVERRIDES[:many]):
        assert shown.count(whole) == 12, whole
    for heading in HEADINGS:
        assert heading in shown
    if not re.search(r"^setting", shown, re.MULTILINE):  # rows are numbered, and so are settings
        assert re.search(rf"^12  {re.escape(OVERRIDES[0])}", shown, re.MULTILINE)


def test_columns_that_do_not_fit_stand_below_with_the_first_one_again() -> None:
    table = FittedTable("", [*text("metric"), *figures("val\nPopularity", "val\nBERT4Rec", "test")])
    table.add_row("recall@10", "0.1234", "0.2345", "0.3456")
    lines = [" ".join(line.split()) for line in printed(table, 32).splitlines()]
    assert "recall@10 0.1234 0.2345" in lines
    assert "recall@10 0.3456" in lines
    assert " ".join(printed(table, 80).split()).endswith("recall@10 0.1234 0.2345 0.3456")


def test_text_is_folded_at_blanks_and_gives_way_to_figures() -> None:
    table = FittedTable("", [*figures("score"), *text("title")])
    table.add_row("-12.3456", "angle bracket of zinc " * 3)
    table.add_row("0.0001", "x" * 50)
    shown = printed(table, 34)
    assert "-12.3456  angle bracket of zinc" in shown
    assert shown.count("x") == 50
    assert "-12.3456" in printed(table, 12)


def test_without_rows_and_in_letters_that_can_be_written() -> None:
    empty = FittedTable("Nothing", [*text("setting"), *figures("seeds")], numbered=True)
    assert printed(empty, 80).split() == ["Nothing", "setting", "seeds", *re.findall("─+", printed(empty, 80))]  # fmt: skip
    table = FittedTable("", [*text("setting"), *figures("value")])
    table.add_row("a=1", "0.1 ± 0.2")
    assert "0.1 +- 0.2" in printed(table, 80, encoding="ascii")


def test_a_cell_that_nobody_would_read_to_its_end_is_cut_off() -> None:
    table = FittedTable("", text("title"))
    table.add_row("red lamp " * 9_000)
    told = printed(table, 80)
    assert len(told) < 1_000
    assert "…" in told
