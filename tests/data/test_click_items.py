"""The items of clicks: codes of all of them, and what columns say of them."""

from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import polars as pl
import pytest

from lightning_rec.data.clicks import table as table_module
from lightning_rec.data.clicks.batches import ClickSet
from lightning_rec.data.clicks.encode import encode
from lightning_rec.data.clicks.encoded import Encoded
from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.items import Items, items_of
from lightning_rec.data.clicks.splits import SplitAssignment
from lightning_rec.data.clicks.table import ClickTable, prepare_clicks
from lightning_rec.data.sources.click_table import ClickTableSource
from lightning_rec.errors import UserError

# The first four rows train. Items 3 and 4 are new to the test.
TABLE: dict[str, list[Any]] = {
    "item": ["7", "5", "7", None, "3", "5", "4", "3"],
    "title": ["lamp", "chair", None, None, "door", "chair", "", "door"],
    "kinds": [["old", "red"], [], ["old", "red"], None, ["new"], [], None, ["new"]],
    "hour": [1, 2, 3, 4, 5, 6, 7, 8],
    "label": [1, 0, 1, 0, 1, 0, 1, 0],
}
FIELDS = Fields(categorical=("item",), label="label", item="item")
DEALT = SplitAssignment(np.array([0, 0, 0, 0, 2, 2, 2, 2], dtype=np.int8))


def made(folder: Path, template: str, fields: Fields = FIELDS) -> tuple[ClickTable, Encoded, Items]:
    path = folder / "small.parquet"
    pl.DataFrame(TABLE, strict=False).write_parquet(path)
    table = prepare_clicks(ClickTableSource(fields=fields, path=str(path)), folder / "cache")
    encoded = encode(table, fields, DEALT, Path(mkdtemp(dir=folder)) / "encoded")
    return table, encoded, items_of(table, fields, encoded, template)


@pytest.mark.parametrize("block", [3, 100])
def test_every_item_has_a_code_those_of_training_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(table_module, "BLOCK", block)
    _, encoded, items = made(tmp_path, "{title}: {kinds}")
    assert items.trained == 3
    assert items.about["item"].to_list() == ["7", "5", None, "3", "4"]
    assert items.about["title"].to_list() == ["lamp", "chair", None, "door", None]
    assert items.about["kinds"].to_list() == ["old, red", None, None, "new", None]
    assert items.shown.tolist() == [0, 1, 0, 2, 3, 1, 4, 3]
    batch = ClickSet(replace(encoded, shown=items.shown), "test").__getitems__([3, 1])
    assert batch.rows.item is not None
    assert batch.rows.item.tolist() == [3, 1]
    assert ClickSet(encoded, "test").__getitems__([0]).rows.item is None


def test_the_id_itself_can_be_the_text(tmp_path: Path) -> None:
    items = made(tmp_path, "number {item}")[2]
    assert items.about.columns == ["item"]
    assert items.about["item"].to_list() == ["7", "5", None, "3", "4"]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{titel}", r"has no column 'titel'\. Did you mean 'title'\?"),
        ("title", "names no column"),
        ("{title} {label}", r"'label' is data\.fields\.label"),
        ("{hour}", r"column 'hour' says two things of the item '7' \('1' and '3'\)"),
    ],
)
def test_what_is_no_items_is_refused(tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(tmp_path, template)


def test_columns_with_another_part_to_play_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'hour' is data\.fields\.time"):
        made(tmp_path, "{hour}", replace(FIELDS, time="hour"))
