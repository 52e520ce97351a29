"""Pairs of texts out of a log: titles of items that one user or session had close together.

The pairs are of training events alone, under the protocol of the training that is to use what is
learnt of them: so no target of its validation or test is learnt from.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl
from pydantic import PositiveInt

from lightning_rec.building import build
from lightning_rec.data.core.audited import leak
from lightning_rec.data.fetch import cache_dir
from lightning_rec.data.matching.pairs import Pairs
from lightning_rec.data.pipeline import AuditedLog, load
from lightning_rec.data.sources.joined import sets_in
from lightning_rec.data.split import Split
from lightning_rec.data.templates import render_template
from lightning_rec.data.texts import plain
from lightning_rec.data.types import Ints
from lightning_rec.errors import UserError, listed

_FORMAT = 1  # raise it whenever the same log would be paired differently


@dataclass(eq=False)
class CoPurchase:
    """A query is the text of an item, and relevant to it are those that came next.

    Args:
        of: the log, a node of ``data``.
        under: its protocol, a node of ``protocol``.
        window: how many of the next events of a user in training an item is paired with.
        template: the texts: names of the catalogue's columns in braces.
        name: of the data set; None takes that of the log.

    Raises UserError if ``of`` is no log, or ``under`` knows no order of a user's events.
    """

    kind: ClassVar[str] = "pairs"
    graded: ClassVar[bool] = False
    positive_from: ClassVar[float] = 1.0
    scale: ClassVar[None] = None
    pretrains: ClassVar[bool] = True  # what learns of it leaves a language model

    of: dict[str, Any]
    under: dict[str, Any]
    window: PositiveInt = 1
    template: str = "{title}"
    name: str | None = None

    def __post_init__(self) -> None:
        self.source, self.protocol = build("data.of", self.of), build("data.under", self.under)
        for key, part in (("data.of", self.source), ("data.under", self.protocol)):
            if getattr(part, "kind", None) != "interactions":
                raise UserError(f"{key}={type(part).__name__} is not of a log of events of users.")
        if not self.protocol.ordered:
            raise UserError(
                f"data.under={self.protocol.name} splits events without an order, in which none is "
                "next to another: take the protocol of a training that knows one."
            )
        self.name = self.name or f"{self.source.name}_pairs"

    @property
    def licence(self) -> str:
        """That of the log."""
        return str(self.source.licence)

    def files(self) -> list[Path]:
        """The files of the log. Raises UserError if they are not to be had."""
        files: list[Path] = self.source.files()
        return files

    def settings(self) -> dict[str, Any]:
        """What is read, how it is split, and what a pair is."""
        return {
            "format": _FORMAT,
            "of": self.source.settings(),
            "data_hash": self.loaded.data_hash,
            "catalogue_hash": self.loaded.data.log.info["catalogue_hash"],
            "protocol_hash": self.protocol.hash(self.loaded.counts),
            "window": self.window,
            "template": self.template,
        }

    @cached_property
    def loaded(self) -> AuditedLog:
        """The log, split and audited."""
        return load(self.source, self.protocol, cache_dir())

    def read(self, files: list[Path]) -> pl.DataFrame:
        """Each pair once, but for those of texts that are alike. Raises UserError if none is left,
        or if the catalogue says nothing.
        """
        split, items = self.loaded.data.split, self._items()
        one, other = near(split, self.window)
        pairs = pl.DataFrame({"one": split.vocabulary[one], "other": split.vocabulary[other]})
        first, second = (
            items.select(pl.all().name.prefix(f"{name}_")) for name in ("one", "other")
        )
        made = (
            pairs.unique(maintain_order=True)
            .join(first, left_on="one", right_on="one_code", how="left", maintain_order="left")
            .join(second, left_on="other", right_on="other_code", how="left", maintain_order="left")
            .filter(pl.col("one_plain") != pl.col("other_plain"))
        )
        if not len(made):
            raise UserError(
                f"{self.name}: no two training events of a user are {self.window} places apart at "
                "most and of items with different texts: raise data.window, or say data.template=."
            )
        return made.select(
            query="one_text", item="other_item", title="other_text", relevance=pl.lit(1.0)
        )

    def audit(self, pairs: Pairs) -> dict[str, Any]:
        """Check, by the table of events in place of the split's arrays, that each pair is of two
        training events of one user, and neither a target; returns what was counted. Raises
        LeakError.
        """
        log, split, _ = self.loaded.data
        held = pl.Series(np.concatenate([split.val.row, split.test.row]))
        place = pl.DataFrame({"row": np.asarray(split.rows), "place": np.arange(len(split.rows))})
        last = pl.DataFrame({"user": np.arange(split.num_users), "end": split.train_end})
        items = self._items()
        events = (
            log.events.select(pl.col("user", "item").cast(pl.Int64))
            .with_row_index("row")
            .with_columns(pl.col("row").cast(pl.Int64))
            .join(place.lazy(), on="row")
            .join(last.lazy(), on="user")
            .filter(pl.col("place") < pl.col("end"), ~pl.col("row").is_in(held.implode()))
            .join(items.lazy(), left_on="item", right_on="code")
            .sort("user", "place")
        )
        found = pl.concat(
            events.select(query="plain", item=pl.col("item_right").shift(-step).over("user"))
            for step in range(1, self.window + 1)
        )
        own = pl.DataFrame(
            {
                "query": list(map(plain, pairs.queries["query"].gather(pairs.query.tolist()))),
                "item": pairs.items["item"].gather(pairs.item.tolist()),
            }
        )
        odd = own.join(found.unique().collect(), on=["query", "item"], how="anti")
        if len(odd):
            shown = listed(odd.row(0))
            raise leak(f"{len(odd):,} pairs are of no two training events, such as {shown}")
        return {
            "events of pairs are training events": True,
            "training events of the log": int((split.train_end - split.offsets[:-1]).sum()),
            "targets left out": len(held),
        }

    def learnt(self) -> dict[str, Any]:
        """What a language model has seen that learnt of these pairs: the log, and its cut."""
        return {
            "name": self.loaded.name,
            "names": sorted(sets_in(self.loaded.name, self.of)),
            "protocol": self.protocol.settings(),
            "data_hash": self.loaded.data_hash,
            "protocol_hash": self.protocol.hash(self.loaded.counts),
            "until": self.loaded.facts.get("last training time"),
        }

    def _items(self) -> pl.DataFrame:
        """Of the catalogue: ``code``, ``item``, ``text`` and the text without what differs by case
        and blanks, ``plain``.
        """
        items = self.loaded.data.log.items
        texts = render_template(items, self.template)
        return pl.DataFrame(
            {
                "code": np.arange(len(items)),
                "item": items["item"],
                "text": texts,
                "plain": list(map(plain, texts)),
            }
        )


def near(split: Split, window: int) -> tuple[Ints, Ints]:
    """Item codes of all two training events of a user that are ``window`` places apart at most, the
    earlier one first: int64 twice.
    """
    owner = np.repeat(np.arange(split.num_users), np.diff(split.offsets))
    place, end = np.arange(len(owner)), split.train_end[owner]
    steps = range(1, window + 1)
    first = np.concatenate([place[place + step < end] for step in steps])
    second = np.concatenate([place[place + step < end] + step for step in steps])
    return split.items[first].astype(np.int64), split.items[second].astype(np.int64)
