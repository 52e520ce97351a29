"""Judged pairs of a query and an item, as flat arrays: prepared once, memory-mapped."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.core.prepared import Prepared, Raw, prepared
from lightning_rec.data.kept import mapped
from lightning_rec.data.types import Ints, Mask
from lightning_rec.errors import UserError
from lightning_rec.files import sha256_json

log = logging.getLogger(__name__)

_VERSION = 1  # raise it whenever the same raw files would be read differently


class PairSource(Raw, Protocol):
    """A data set of pairs, and what their relevance means.

    graded: whether pairs are judged; else each of them is a relevant one.
    positive_from: the least relevance that counts as relevant.
    scale: the lowest and the highest relevance; None takes those that occur.
    """

    graded: bool
    positive_from: float
    scale: tuple[float, float] | None

    def read(self, files: list[Path]) -> pl.DataFrame:
        """``query``, ``item``, ``title`` String, ``relevance`` Float64, in the order of the file.

        Queries, items and titles may be null. Raises UserError naming file, line or column.
        """
        ...


@dataclass(frozen=True)
class Pairs(Prepared):
    """Q queries, N items and P pairs in a folder, written once and never changed.

    ``queries.parquet``: ``query`` String; row ``q`` is query ``q``, as it was first written.
    ``items.parquet``: ``item``, ``title`` String; row ``i`` is item ``i``.
    ``offsets.npy``, ``item.npy``, ``relevance.npy``: see the properties of these names.
    ``info.json``: name, hash, counts, scale, licence, settings and files with checksums.
    """

    @property
    def queries(self) -> pl.DataFrame:
        """One row per query."""
        return pl.read_parquet(self.folder / "queries.parquet", glob=False)

    @property
    def items(self) -> pl.DataFrame:
        """One row per item."""
        return pl.read_parquet(self.folder / "items.parquet", glob=False)

    @cached_property
    def offsets(self) -> Ints:
        """The pairs of query ``q`` are those from ``offsets[q]`` to ``offsets[q + 1]``: [Q + 1]."""
        return np.asarray(mapped(self.folder, "offsets"))

    @cached_property
    def item(self) -> NDArray[np.int32]:
        """The item of each pair, int32 [P]."""
        return np.asarray(mapped(self.folder, "item"))

    @cached_property
    def relevance(self) -> NDArray[np.float32]:
        """How well each pair fits, as it was judged, float32 [P]."""
        return np.asarray(mapped(self.folder, "relevance"))

    @cached_property
    def query(self) -> Ints:
        """The query of each pair, int64 [P], rising."""
        return np.repeat(np.arange(self.num_queries), np.diff(self.offsets))

    @cached_property
    def gain(self) -> NDArray[np.float32]:
        """Relevance from 0, the lowest of the scale, to 1, the highest: float32 [P]."""
        low, high = self.scale
        if low == high:
            return np.ones_like(self.relevance)
        return np.asarray((self.relevance - np.float32(low)) / np.float32(high - low))

    @cached_property
    def positive(self) -> Mask:
        """Whether each pair counts as relevant, bool [P]."""
        # Both sides are rounded alike, so that 2.67 counts from 2.67 on.
        return np.asarray(self.relevance >= np.float32(self.info["positive_from"]))

    @property
    def scale(self) -> tuple[float, float]:
        """The lowest and the highest relevance."""
        low, high = self.info["scale"]
        return low, high

    @property
    def num_queries(self) -> int:
        """Q."""
        return len(self.offsets) - 1

    @property
    def num_items(self) -> int:
        """N."""
        return int(self.info["items"])

    def keys(self, positive: bool = True) -> Ints:
        """``query * num_items + item`` of the relevant pairs, or of all, sorted: int64 [S]."""
        keys = self.query * self.num_items + self.item
        return np.sort(keys[self.positive] if positive else keys)

    def no_negatives(self, positive: bool = True) -> Ints:
        """``keys(positive)``, and of pairs made of a log also each query beside the items that read
        as it does, itself among them: int64 [S], sorted.
        """
        keys = self.keys(positive)
        if not self.info.get("of_log"):
            return keys
        queries = self.queries.select(key=normalised(pl.col("query"))).with_row_index("q")
        items = self.items.select(key=normalised(pl.col("title"))).with_row_index("i")
        own = queries.join(items, on="key").select(pl.col("q", "i").cast(pl.Int64))
        return np.union1d(keys, (own["q"] * self.num_items + own["i"]).to_numpy())


def prepare_pairs(source: PairSource, cache: Path) -> Pairs:
    """Read a source once and keep it below ``cache/prepared``. Queries that differ in case and
    blanks alone are one, and so is a pair that occurs several times, its relevance the mean. Rows
    without query or item are left out. Raises UserError for what is faulty or outside the scale.
    """
    pairs = Pairs(prepared(source, cache, _VERSION, partial(_write, source)))
    for name, count in pairs.info["counts"].items():
        if count and name.startswith(("rows without", "items without")):
            log.warning("%s: %s %s.", source.name, f"{count:,}", name)
    return pairs


def normalised(query: pl.Expr) -> pl.Expr:
    """What makes two queries the same: neither case nor blanks tell them apart."""
    return query.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def _write(
    source: PairSource, files: list[Path], folder: Path, tell: Callable[[str], None]
) -> dict[str, Any]:
    tell(f"{source.name}: reading")
    rows = source.read(files).with_columns(normalised(pl.col("query")).fill_null("").alias("key"))
    unasked, nothing = rows["key"] == "", rows["item"].is_null()
    kept = rows.filter(~unasked & ~nothing)
    if not len(kept):
        raise UserError(f"{source.name}: the raw files hold no pair of a query and an item.")
    first = pl.col("query").first().str.strip_chars()
    queries = kept.group_by("key", maintain_order=True).agg(first)
    title = pl.col("title").drop_nulls().first()
    items = kept.group_by("item", maintain_order=True).agg(title)
    pairs = _coded(kept, queries, items)
    scale = _scale(source, pairs["relevance"])
    offsets = np.append(0, np.cumsum(np.bincount(pairs["q"], minlength=len(queries))))
    arrays: dict[str, NDArray[Any]] = {
        "offsets": offsets.astype(np.int64),
        "item": pairs["i"].to_numpy().astype(np.int32),
        "relevance": pairs["relevance"].to_numpy().astype(np.float32),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    queries.select("query").write_parquet(folder / "queries.parquet")
    items.write_parquet(folder / "items.parquet")
    known = {"scale": scale, "positive_from": source.positive_from, "items": len(items)}
    blank = items["title"].fill_null("").str.strip_chars() == ""
    return {
        "data_hash": _data_hash(queries["key"], items, arrays, known),
        **known,
        "of_log": getattr(source, "pretrains", False),
        "counts": {
            "rows": len(rows),
            "rows without a query": int(unasked.sum()),
            "rows without an item": int((nothing & ~unasked).sum()),
            "rows of a pair that was there before": len(kept) - len(pairs),
            "queries": len(queries),
            "items": len(items),
            "items without a text": int(blank.sum()),
            "pairs": len(pairs),
        },
    }


def _coded(kept: pl.DataFrame, queries: pl.DataFrame, items: pl.DataFrame) -> pl.DataFrame:
    """Each pair once, by query and then in the order of the rows: ``q``, ``i``, ``relevance``."""
    coded = kept.select("key", "item", "relevance")
    for key, code, names in (("key", "q", queries), ("item", "i", items)):
        codes = names.select(key).with_row_index(code)
        coded = coded.join(codes, on=key, how="left", maintain_order="left")
    once = coded.group_by("q", "i", maintain_order=True).agg(pl.col("relevance").mean())
    return once.sort("q", maintain_order=True)


def _scale(source: PairSource, relevance: pl.Series) -> tuple[float, float]:
    """The declared scale, or that of what occurs. Raises UserError for what lies outside."""
    low, high = float(relevance.min()), float(relevance.max())  # type: ignore[arg-type]
    if source.scale is None:
        return low, high
    lowest, highest = source.scale
    if low < lowest or high > highest:
        raise UserError(
            f"{source.name}: relevance goes from {low:g} to {high:g}, which is outside of "
            f"data.scale=[{lowest:g},{highest:g}]."
        )
    return lowest, highest


def _data_hash(
    keys: pl.Series, items: pl.DataFrame, arrays: dict[str, NDArray[Any]], known: dict[str, Any]
) -> str:
    digest = hashlib.sha256(sha256_json(known).encode())
    for column in (keys, items["item"], items["title"]):
        digest.update(sha256_json(column.to_list()).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {len(array)}".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
