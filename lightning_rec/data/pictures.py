"""Pictures of items: which file is whose, and a picture out of a file that may be anybody's."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import polars as pl

from lightning_rec.data.given_vectors import Missing
from lightning_rec.data.ids import ids_of
from lightning_rec.errors import UserError, import_extra, listed, nearest

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LONGEST = 100  # times its other side: resized to a side of hundreds, a strip would fill the memory
FORMATS = ("JPEG", "PNG", "WEBP")  # no other reader of Pillow's is tried, whatever a file is called


def files_of(
    folder: Path, items: pl.Series, catalogue: pl.DataFrame, column: str | None, missing: Missing
) -> list[Path | None]:
    """The picture of each of V items, None where there is none, which is counted.

    ``column``: of the catalogue, whose row i is about item i, that says names of files within the
    folder; None: a file is called by the id of its item. Raises UserError if there are none at all,
    if an item has several, if a name leads elsewhere, or under ``missing="refuse"`` if one lacks.
    """
    if not folder.is_dir():
        raise UserError(f"item.path={folder}: there is no such folder.")
    asked = ids_of(items)
    found = _by_id(folder, asked) if column is None else _by_column(folder, catalogue, column)
    lacking = asked.filter(pl.Series([path is None for path in found], dtype=pl.Boolean))
    told = f"item.path={folder} has no picture of {len(lacking):,} of {len(asked):,} items"
    if len(lacking) == len(asked):
        there = sorted(path.name for path in folder.iterdir())[:3]
        raise UserError(
            f"{told}: its files are like {listed(there) or 'none'}, and the items like "
            f"{listed(asked.head(3))}. A file is called by the id of its item and ends in "
            f"{listed(SUFFIXES)}, or item.column=NAME says which column of the catalogue names it."
        )
    if len(lacking) and missing == "refuse":
        raise UserError(
            f"{told}, such as {listed(lacking.head(3))}: add them, or say item.missing=zero."
        )
    if len(lacking):
        log.warning("%s, such as %s: their vector is 0.", told, listed(lacking.head(3)))
    return found


def read_picture(path: Path) -> Any:
    """A picture as RGB, upright, over white where it is transparent: one of Pillow's images.

    Raises UserError, naming the file, if it cannot be read, or has more pixels than Pillow lets
    pass (89 million, under :func:`bounded`), as a small file can that was made to fill the memory.
    """
    image, ops = _pillow("Image"), _pillow("ImageOps")
    try:
        with image.open(path, formats=FORMATS) as opened:
            if max(opened.size) > LONGEST * min(opened.size):
                raise ValueError(f"it is a strip of {opened.size[0]} x {opened.size[1]} pixels")
            upright = ops.exif_transpose(opened)
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            over = image.new("RGBA", upright.size, "white")
            return image.alpha_composite(over, upright.convert("RGBA")).convert("RGB")
    except Exception as error:  # of many kinds: what is cut, no picture at all, or far too large
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"The picture {path} cannot be read: {reason}") from error


@contextmanager
def bounded() -> Iterator[None]:
    """Within it Pillow's limit of pixels is an error, and no warning; for all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", _pillow("Image").DecompressionBombWarning)
        yield


def _pillow(part: str) -> Any:
    return import_extra(f"PIL.{part}", "item=images", "images")


def _by_id(folder: Path, asked: pl.Series) -> list[Path | None]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    names = ids_of(pl.Series("id", [path.stem for path in paths], dtype=pl.String))
    there = pl.DataFrame({"id": names, "row": range(len(paths))}).drop_nulls("id")
    if len(doubled := there.filter(there["id"].is_duplicated()).sort("id", "row")):
        first, second = (paths[row].name for row in doubled["row"].head(2))
        raise UserError(f"{folder} has several pictures of {doubled['id'][0]}: {first}, {second}.")
    rows = asked.to_frame("id").join(there, "id", "left", maintain_order="left")["row"]
    return [None if row is None else paths[row] for row in rows]


def _by_column(folder: Path, catalogue: pl.DataFrame, column: str) -> list[Path | None]:
    there = catalogue.columns
    if column not in there:
        raise UserError(
            f"item.column={column}: the catalogue has no such column.{nearest(column, there)} "
            f"It has: {listed(there)}."
        )
    names = catalogue[column]
    if names.dtype != pl.String:
        raise UserError(f"item.column={column} holds {names.dtype}, not names of files.")
    return [_within(folder, name.strip(), column) for name in names.fill_null("")]


def _within(folder: Path, name: str, column: str) -> Path | None:
    if "://" in name:
        raise UserError(
            f"item.column={column} holds addresses such as {name}: nothing is fetched here. Put "
            f"the pictures into {folder}, and their names into the column."
        )
    part = PurePosixPath(name)
    if part.is_absolute() or ".." in part.parts:
        raise UserError(f"item.column={column}: {name} leads out of item.path={folder}.")
    path = folder / part
    return path if name and path.is_file() else None
