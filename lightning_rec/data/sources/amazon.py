"""Amazon Beauty, 5-core, as S3-Rec published it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.origins import Download
from lightning_rec.data.schema import Tables
from lightning_rec.errors import UserError

_S3REC = (
    "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/"
    "2a81540ae18615d88ef88227b0c066e5b74781e5/data/"
)
_TITLES, _ATTRIBUTES = "items.jsonl", "Beauty_item2attributes.json"

BEAUTY = PublicData(
    name="beauty",
    title="Amazon Beauty 5-core",
    licence="none stated",
    users=22_363,
    items=12_101,
    events=198_502,
    megabytes=1.1,
    folders=("amazon-beauty", "beauty", "Beauty"),
    layouts=(
        Layout(
            "s3rec",
            ("Beauty.txt",),
            (_TITLES, _ATTRIBUTES),
            (
                Download(
                    _S3REC + "Beauty.txt",
                    "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
                ),
            ),
        ),
    ),
)


class AmazonBeauty:
    """Amazon Beauty: each user's items in order, without times; titles where they are at hand.

    Args:
        name: of the data set, in folders and tables.
    """

    public: ClassVar[PublicData] = BEAUTY
    licence: ClassVar[str] = BEAUTY.licence

    def __init__(self, name: str = "beauty") -> None:
        self.name = name

    def files(self) -> list[Path]:
        """The sequences and what there is about items, fetched if need be. Raises UserError."""
        return self.public.files()

    def settings(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    def read(self, files: list[Path]) -> Tables:
        """Read the sequences, and titles or else attributes. Raises UserError on a broken line."""
        at = {file.name: file for file in files}
        pairs = pl.DataFrame(
            _sequences(at["Beauty.txt"]),
            schema={"user": pl.String, "item": pl.List(pl.String)},
            orient="row",
        ).explode("item")
        if _TITLES in at:
            return Tables(pairs.lazy(), _titles(at[_TITLES]))
        if _ATTRIBUTES in at:
            return Tables(pairs.lazy(), _attributes(at[_ATTRIBUTES]))
        return Tables(pairs.lazy())


def _sequences(path: Path) -> list[tuple[str, list[str]]]:
    """Read lines of ``user item item …``, oldest item first."""
    with path.open(encoding="utf-8") as stream:
        lines = [line.split() for line in stream]
    for number, words in enumerate(lines, 1):
        if len(words) < 2:
            raise UserError(f"{path}, line {number} is no 'user item item …'.")
    return [(user, items) for user, *items in lines]


def _titles(path: Path) -> pl.LazyFrame:
    """``item``, ``title`` and ``categories`` List[String], each named once."""

    def rows() -> Iterator[tuple[str, str, list[str]]]:
        for line in path.read_text(encoding="utf-8").splitlines():
            item = json.loads(line)
            names = [name for way in item["categories"] for name in way]
            yield str(item["item_id"]), item["title"], list(dict.fromkeys(names))

    schema: dict[str, Any] = {
        "item": pl.String,
        "title": pl.String,
        "categories": pl.List(pl.String),
    }
    return pl.LazyFrame(list(rows()), schema=schema, orient="row")


def _attributes(path: Path) -> pl.LazyFrame:
    """``item`` and ``attributes`` List[String]: numbers without names."""
    rows = [
        (item, [str(attribute) for attribute in attributes])
        for item, attributes in json.loads(path.read_text(encoding="utf-8")).items()
    ]
    return pl.LazyFrame(
        rows, schema={"item": pl.String, "attributes": pl.List(pl.String)}, orient="row"
    )
