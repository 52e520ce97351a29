"""A versioned table of semantic ids: a folder that nobody changes; a new version is a new folder.

``ids.parquet`` has ``item``, ``codes`` (a list of numbers, one a level) and ``version``, since when
an item has them; ``codebooks.safetensors`` what makes more of them; ``ids.json`` the rest.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_rec.data.ids import ids_of
from lightning_rec.data.semantic.quantise import Codebooks, Quantizer, encode, learn
from lightning_rec.documents import read_json
from lightning_rec.errors import UserError, listed
from lightning_rec.files import atomic_folder, sha256_file, sha256_json, write_json

FORMAT = 1
IDS, BOOKS, ABOUT = "ids.parquet", "codebooks.safetensors", "ids.json"
Codes = NDArray[np.int64]


class Settings(NamedTuple):
    """How ids are made; ``unique``: a last digit tells items of the same codes apart."""

    quantizer: Quantizer = "residual"
    levels: int = 3
    codes: int = 256
    unique: bool = True
    seed: int = 1


class IdTable(NamedTuple):
    """Semantic ids of N items.

    items: their ids, String.  codes: int64 [N, m].  since: version of each, int64 [N].
    sizes: how many codes a level has, m numbers.
    """

    items: pl.Series
    codes: Codes
    since: Codes
    sizes: tuple[int, ...]
    books: Codebooks
    settings: Settings
    version: int = 1

    def of(self, items: pl.Series, path: str) -> Codes:
        """The codes of items: int64 [n, m]. Raises UserError for those without."""
        rows = pl.DataFrame({"id": self.items}).with_row_index("row")
        asked = ids_of(items)
        row = asked.to_frame("id").join(rows, "id", "left", maintain_order="left")["row"]
        if row.has_nulls():
            lacking = asked.filter(row.is_null())
            raise UserError(
                f"item.path={path} has no id of {len(lacking):,} of {len(asked):,} items, such as "
                f"{listed(lacking.head(3))}: lightning-rec ids from={path} adds them."
            )
        return self.codes[row.to_numpy()]


def codes_of(vectors: Tensor, known: NDArray[np.bool_], books: Codebooks, own: Settings) -> Codes:
    """Codes of vectors, float [N, E] -> int64 [N, levels]; drawn ones where nothing is ``known``,
    so that such items do not all fall into one.
    """
    drawn = np.random.default_rng(own.seed).integers(own.codes, size=(len(vectors), own.levels))
    return np.where(known[:, None], encode(vectors, books), drawn)


def made(items: pl.Series, vectors: Tensor, own: Settings, learnt: int | None = None) -> IdTable:
    """The first version: ids of items by their vectors, float [N, E]; 0 is none at all.

    ``learnt``: codebooks are learnt of that many items, the first ones; None for all. Raises
    UserError if more than ``own.codes`` items have the same codes, and shall be told apart.
    """
    known = vectors.any(dim=1).numpy()
    books = learn(vectors[:learnt][known[:learnt]], own.quantizer, own.levels, own.codes, own.seed)
    codes = codes_of(vectors, known, books, own)
    sizes = (own.codes,) * own.levels
    if own.unique:
        codes, sizes = np.c_[codes, told_apart(codes, own.codes)], (*sizes, own.codes)
    return IdTable(ids_of(items), codes, np.ones(len(codes), np.int64), sizes, books, own)


def appended(table: IdTable, items: pl.Series, vectors: Tensor) -> IdTable:
    """The next version: ids of ``items`` that have none are added, those that are there stay.

    Raises UserError if nothing is new, or vectors are of another width.
    """
    width = table.books.width
    if vectors.shape[1] != width:
        raise UserError(
            f"These vectors have {vectors.shape[1]} numbers, and the ids were made of {width}: "
            "make them as those were made."
        )
    asked = ids_of(items)
    new = (~asked.is_in(table.items.implode())).to_numpy()
    if not new.any():
        raise UserError("There is nothing new: every item has an id already.")
    vectors, own = vectors[torch.from_numpy(new)], table.settings
    codes = codes_of(vectors, vectors.any(dim=1).numpy(), table.books, own)
    if own.unique:
        codes = np.c_[codes, told_apart(codes, own.codes, table.codes)]
    version = table.version + 1
    return table._replace(
        items=pl.concat([table.items, asked.filter(new)]),
        codes=np.concatenate([table.codes, codes]),
        since=np.append(table.since, np.full(len(codes), version)),
        version=version,
    )


def told_apart(codes: Codes, size: int, before: Codes | None = None) -> Codes:
    """A last digit that tells items of the same codes apart, int64 [N]: 0, 1, … in their order.

    ``codes``: int64 [N, m]. ``before``: int64 [N', m + 1], ids that are there already. Raises
    UserError if more than ``size`` items have the same codes.
    """
    taken = np.zeros((0, codes.shape[1] + 1), dtype=np.int64) if before is None else before
    whole = np.concatenate([taken[:, :-1], codes])
    group = np.unique(whole, axis=0, return_inverse=True)[1].reshape(-1)
    free = np.zeros(group.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(free, group[: len(taken)], taken[:, -1] + 1)
    own = group[len(taken) :]
    order = np.argsort(own, kind="stable")
    run = own[order]
    start = np.flatnonzero(np.diff(run, prepend=-1))
    counted = np.arange(len(run)) - np.repeat(start, np.diff(np.append(start, len(run))))
    digit = np.empty(len(own), dtype=np.int64)
    digit[order] = counted + free[run]
    if len(digit) and digit.max() >= size:
        raise UserError(
            f"{digit.max() + 1:,} items have the same codes, and a last digit tells {size:,} "
            "apart: take more codes or levels, or vectors that tell items apart."
        )
    return digit


def write(table: IdTable, folder: Path, told: dict[str, Any]) -> None:
    """Write a table into a new folder; ``told`` is added to ``ids.json``.

    Raises UserError if the folder is there.
    """
    from safetensors.torch import save_file

    if folder.exists():
        raise UserError(f"to={folder} is there already: ids that are there never change.")
    books = {"centres": table.books.centres.contiguous()}
    if table.books.rotation is not None:
        books["rotation"] = table.books.rotation.contiguous()
    for number, each in enumerate(table.books.layers):
        books[f"layer.{number}"] = each.contiguous()
    frame = pl.DataFrame(
        {"item": table.items, "codes": table.codes, "version": table.since},
        schema_overrides={"codes": pl.List(pl.UInt16), "version": pl.UInt32},
    )
    with atomic_folder(folder) as temporary:
        frame.write_parquet(temporary / IDS)
        save_file(books, temporary / BOOKS)
        about = {
            "format": FORMAT,
            "version": table.version,
            "settings": table.settings._asdict(),
            "sizes": list(table.sizes),
            "items": len(table.items),
            "new": int((table.since == table.version).sum()),
            "sha256": {name: sha256_file(temporary / name) for name in (IDS, BOOKS)},
        }
        about["hash"] = sha256_json(about)
        write_json(temporary / ABOUT, about | told)


def read(folder: Path) -> IdTable:
    """Read a table. Raises UserError if it is none, or not as it was written."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    broken = (KeyError, TypeError, ValueError, OSError, SafetensorError, pl.exceptions.PolarsError)
    if not (folder / ABOUT).is_file():
        raise UserError(f"{folder} holds no {ABOUT}: lightning-rec ids makes such a folder.")
    about: Any = read_json(folder / ABOUT)
    try:
        if about["format"] != FORMAT:
            raise UserError(f"{folder} is of format {about['format']}, which is not known here.")
        for name, sha in about["sha256"].items():
            if name not in (IDS, BOOKS) or sha256_file(folder / name) != sha:
                raise UserError(f"{folder / name} is not as it was written: bring it back.")
        frame = pl.read_parquet(folder / IDS, glob=False)
        books = load_file(folder / BOOKS)
        number = sum(name.startswith("layer.") for name in books)
        layers = tuple(books[f"layer.{place}"] for place in range(number))
        codes = np.array(frame["codes"].to_list(), dtype=np.int64)
        sizes = tuple(int(size) for size in about["sizes"])
        if codes.shape != (len(frame), len(sizes)) or (codes >= np.array(sizes)).any():
            raise ValueError("its codes do not fit its sizes")
        return IdTable(
            frame["item"],
            codes,
            frame["version"].cast(pl.Int64).to_numpy(),
            sizes,
            Codebooks(books["centres"], books.get("rotation"), layers),
            Settings(**about["settings"]),
            int(about["version"]),
        )
    except broken as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder} is no table of semantic ids: {reason}.") from error
