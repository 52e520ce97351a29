"""Amazon reviews of 2014 as the papers on sequences published them: items in order, no times."""

import json
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.dialect import BLANKS, Dialect
from lightning_rec.data.fetch import Layout, PublicData
from lightning_rec.data.origins import Download
from lightning_rec.data.schema import Tables
from lightning_rec.data.sources.public import PublicSource
from lightning_rec.data.tabular import open_table
from lightning_rec.errors import UserError

_GITHUB = "https://raw.githubusercontent.com/"
_S3REC = _GITHUB + "RUCAIBox/CIKM2020-S3Rec/2a81540ae18615d88ef88227b0c066e5b74781e5/data/"
_BERT4REC = _GITHUB + "FeiSun/BERT4Rec/615eaf2004abecda487a38d5b0c72f3dcfcae5b3/data/"
_TITLES = "items.jsonl"


class AmazonSequences(PublicSource):
    """Each user's items in order, without times; titles or attributes where they are at hand."""

    in_order: ClassVar[bool] = True  # the items of a user come in the order of time

    def read(self, files: list[Path]) -> Tables:
        """Read the sequences, and titles or else attributes. Raises UserError on a broken line."""
        table = open_table(files[0], Dialect(BLANKS, form="lines"))
        sequences = table.collect(table.frame)
        if len(short := (sequences["item"].list.len().fill_null(0) == 0).arg_true()):
            raise UserError(f"{table.where(short[0])} is no 'user item item …'.")
        pairs = sequences.explode("item")
        if len(files) == 1:
            return Tables(pairs.lazy())
        about = _titles if files[1].name == _TITLES else _attributes
        return Tables(pairs.lazy(), about(files[1]))


def _published(
    name: str, title: str, counts: tuple[int, int, int], megabytes: float, *folders: str, of: Layout
) -> PublicData:
    """A set without a stated licence, in one form; ``counts``: users, items, events."""
    return PublicData(
        name=name,
        title=title,
        licence="none stated",
        users=counts[0],
        items=counts[1],
        events=counts[2],
        megabytes=megabytes,
        folders=folders,
        layouts=(of,),
    )


def _layout(name: str, folder: str, file: str, sha256: str, *extras: str) -> Layout:
    return Layout(name, (file,), extras, (Download(folder + file, sha256),))


class AmazonBeauty(AmazonSequences):
    """Beauty, 5-core, as S3-Rec published it."""

    public: ClassVar[PublicData] = _published(
        "beauty", "Amazon Beauty 5-core", (22_363, 12_101, 198_502), 1.1,
        "amazon-beauty", "beauty", "Beauty",
        of=_layout(
            "s3rec", _S3REC, "Beauty.txt",
            "226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
            _TITLES, "Beauty_item2attributes.json",
        ),
    )  # fmt: skip


class AmazonBeautyAttributes(AmazonSequences):
    """The same sequences with the attributes of S3-Rec in place of titles and categories."""

    public: ClassVar[PublicData] = _published(
        "beauty_attributes", "Amazon Beauty 5-core (attributes)", (22_363, 12_101, 198_502), 1.4,
        *AmazonBeauty.public.folders,
        of=Layout("s3rec", ("Beauty.txt", "Beauty_item2attributes.json")),
    )  # fmt: skip


class AmazonBeautyBERT4Rec(AmazonSequences):
    """Beauty as BERT4Rec published it: users with 5 events or more, items with any number."""

    public: ClassVar[PublicData] = _published(
        "beauty_bert4rec", "Amazon Beauty of BERT4Rec", (40_226, 54_542, 353_962), 3.9,
        "amazon-beauty-bert4rec", "beauty-bert4rec",
        of=_layout(
            "bert4rec", _BERT4REC, "beauty.txt",
            "f480b7a7403852342ffd8f9809bb30697dd669be31813d0e204b698fec86ef49",
        ),
    )  # fmt: skip


class AmazonToys(AmazonSequences):
    """Toys and Games, 5-core, as S3-Rec published it; attributes, no titles."""

    public: ClassVar[PublicData] = _published(
        "toys", "Amazon Toys 5-core", (19_412, 11_924, 167_597), 0.9,
        "amazon-toys", "toys", "Toys_and_Games",
        of=_layout(
            "s3rec", _S3REC, "Toys_and_Games.txt",
            "176c680c688d497598c4a89a03b402c0fe78d795e5db335c2e78dd5f2d778a3f",
            "Toys_and_Games_item2attributes.json",
        ),
    )  # fmt: skip


class AmazonToysP5(AmazonSequences):
    """The same sequences under the ids of P5, for which titles and categories exist."""

    public: ClassVar[PublicData] = _published(
        "toys_p5", "Amazon Toys 5-core (ids of P5)", (19_412, 11_924, 167_597), 2.8,
        *AmazonToys.public.folders,
        of=Layout("p5", ("sequential_data_p5.txt",), (_TITLES,)),
    )  # fmt: skip


def _titles(path: Path) -> pl.LazyFrame:
    """``item``, ``title`` and ``categories`` List[String], each named once."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        names = [name for way in item["categories"] for name in way]
        key = "item_id" if "item_id" in item else "p5_item_id"
        rows.append((str(item[key]), item["title"], list(dict.fromkeys(names))))
    return _about(rows, {"title": pl.String, "categories": pl.List(pl.String)})


def _attributes(path: Path) -> pl.LazyFrame:
    """``item`` and ``attributes`` List[String]: numbers without names."""
    known = json.loads(path.read_text(encoding="utf-8"))
    rows = [(item, [str(attribute) for attribute in of]) for item, of in known.items()]
    return _about(rows, {"attributes": pl.List(pl.String)})


def _about(rows: list[Any], columns: dict[str, Any]) -> pl.LazyFrame:
    return pl.LazyFrame(rows, schema={"item": pl.String, **columns}, orient="row")
