"""What sources of public data share: files that everybody can get, fields that may be changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from lightning_rec.data.clicks.fields import Fields
from lightning_rec.data.clicks.table import PART
from lightning_rec.data.fetch import PublicData

_MARKS = {"train": "train", "valid": "val", "dev": "val", "test": "test"}


@dataclass(eq=False, kw_only=True)
class PublicSource:
    """A public data set.

    Args:
        name: of the data set, in folders and tables; None takes the usual one.
    """

    kind: ClassVar[str] = "interactions"
    public: ClassVar[PublicData]

    name: str | None = None

    def __post_init__(self) -> None:
        self.name = self.name or self.public.name

    @property
    def licence(self) -> str:
        """The licence of the data."""
        return self.public.licence

    def files(self) -> list[Path]:
        """The raw files, fetched if they can be. Raises UserError if they are not to be had."""
        return self.public.files()

    def settings(self) -> dict[str, Any]:
        """All settings that change what is read; here there are none."""
        return {}


@dataclass(eq=False, kw_only=True)
class PublicClicks(PublicSource):
    """A public data set of clicks.

    Args:
        fields: what the columns mean.
    """

    kind: ClassVar[str] = "clicks"
    # What labels the published hash stands for, besides those that the files have as they are.
    published: ClassVar[tuple[Mapping[str, tuple[str, float | None]], ...]] = ()

    csv: ClassVar[Mapping[str, Any]] = {}  # how Polars scans the files

    fields: Fields = field(kw_only=False)

    def read(self, files: list[Path]) -> pl.LazyFrame:
        """Rows of the files named after a part, below one another, each marked with it."""
        parts = {file: _MARKS.get(file.name.partition(".")[0]) for file in files}
        return pl.concat(
            pl.scan_csv(file, **self.csv, glob=False).with_columns(pl.lit(part).alias(PART))
            for file, part in parts.items()
            if part
        )

    def settings(self) -> dict[str, Any]:
        """What makes the labels, if it is not what was published."""
        labels = self.fields.labels()
        plain = all(
            goal.column and goal.positive_from is None for goal in self.fields.targets.values()
        )
        return {} if plain or labels in self.published else {"labels": labels}
