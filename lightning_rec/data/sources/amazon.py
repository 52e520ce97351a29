"""Amazon reviews of 2014 as the papers on sequences published them: items in order, no times."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.origins import Download
from lightning_rec.data.schema import Tables
from lightning_rec.errors import UserError

_GITHUB = "https://raw.githubusercontent.com/"
_S3REC = _GITHUB + "RUCAIBox/CIKM2020-S3Rec/2a81540ae18615d88ef88227b0c066e5b74781e5/data/"
_BERT4REC = _GITHUB + "FeiSun/BERT4Rec/615eaf2004abecda487a38d5b0c72f3dcfcae5b3/data/"
_TITLES = "items.jsonl"


class AmazonSequences:
    """Each user's items in order, without times; titles or attributes where they are at hand.

    Its kin say which data set it is.

    Args:
        name: of the data set, in folders and tables.
    """

    kind: ClassVar[str] = "interactions"
    public: ClassVar[PublicData]
    licence: ClassVar[str] = "none stated"
    in_order: ClassVar[bool] = True  # the items of a user come in the order of time

    def __init__(self, name: str) -> None:
        self.name = name

    def files(self) -> list[Path]:
        """The sequences and what there is about items, fetched if need be. Raises UserError."""
        return self.public.files()

    def settings(self) -> dict[str, Any]:
        """There is nothing to set."""
        return {}

    def read(self, files: list[Path]) -> Tables:
        """Read the sequences, and titles or else attributes. Raises UserError on a broken line."""
        pairs = pl.DataFrame(
            _sequences(files[0]),
            schema={"user": pl.String, "item": pl.List(pl.String)},
            orient="row",
        ).explode("item")
        if len(files) == 1:
            return Tables(pairs.lazy())
        about = _titles if files[1].name == _TITLES else _attributes
        return Tables(pairs.lazy(), about(files[1]))


class AmazonBeauty(AmazonSequences):
    """Beauty, 5-core, as S3-Rec published it."""

    public: ClassVar[PublicData] = PublicData(
        name="beauty",
        title="Amazon Beauty 5-core",
        licence=AmazonSequences.licence,
        users=22_363,
        items=12_101,
        events=198_502,
        megabytes=1.1,
        folders=("amazon-beauty", "beauty", "Beauty"),
        layouts=(
            Layout(
                "s3rec",
                ("Beauty.txt",),
                (_TITLES, "Beauty_item2attributes.json"),
                (
                    Download(
                        _S3REC + "Beauty.txt",
                        "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
                    ),
                ),
            ),
        ),
    )

    def __init__(self, name: str = "beauty") -> None:
        super().__init__(name)


class AmazonBeautyBERT4Rec(AmazonSequences):
    """Beauty as BERT4Rec published it: users with 5 events or more, items with any number."""

    public: ClassVar[PublicData] = PublicData(
        name="beauty_bert4rec",
        title="Amazon Beauty of BERT4Rec",
        licence=AmazonSequences.licence,
        users=40_226,
        items=54_542,
        events=353_962,
        megabytes=3.9,
        folders=("amazon-beauty-bert4rec", "beauty-bert4rec"),
        layouts=(
            Layout(
                "bert4rec",
                ("beauty.txt",),
                (),
                (
                    Download(
                        _BERT4REC + "beauty.txt",
                        "f480b7a7403852342ffd8f9809bb30697dd669be31813d0e204b698fec86ef49",
                    ),
                ),
            ),
        ),
    )

    def __init__(self, name: str = "beauty_bert4rec") -> None:
        super().__init__(name)


class AmazonToys(AmazonSequences):
    """Toys and Games, 5-core, as S3-Rec published it; attributes, no titles."""

    public: ClassVar[PublicData] = PublicData(
        name="toys",
        title="Amazon Toys 5-core",
        licence=AmazonSequences.licence,
        users=19_412,
        items=11_924,
        events=167_597,
        megabytes=0.9,
        folders=("amazon-toys", "toys", "Toys_and_Games"),
        layouts=(
            Layout(
                "s3rec",
                ("Toys_and_Games.txt",),
                ("Toys_and_Games_item2attributes.json",),
                (
                    Download(
                        _S3REC + "Toys_and_Games.txt",
                        "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
                    ),
                ),
            ),
        ),
    )

    def __init__(self, name: str = "toys") -> None:
        super().__init__(name)


class AmazonToysP5(AmazonSequences):
    """The same sequences under the ids of P5, for which titles and categories exist."""

    public: ClassVar[PublicData] = PublicData(
        name="toys_p5",
        title="Amazon Toys 5-core (ids of P5)",
        licence=AmazonSequences.licence,
        users=19_412,
        items=11_924,
        events=167_597,
        megabytes=2.8,
        folders=AmazonToys.public.folders,
        layouts=(Layout("p5", ("sequential_data_p5.txt",), (_TITLES,)),),
    )

    def __init__(self, name: str = "toys_p5") -> None:
        super().__init__(name)


def _sequences(path: Path) -> list[tuple[str, list[str]]]:
    """Read lines of ``user item item …``, oldest item first; a user may have several lines."""
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
            key = "item_id" if "item_id" in item else "p5_item_id"
            yield str(item[key]), item["title"], list(dict.fromkeys(names))

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
