"""Vectors of items out of a file, NumPy's, safetensors or Parquet, and whose they are."""

import glob
import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lightning_rec.data.ids import ids_of
from lightning_rec.errors import UserError, listed, nearest

log = logging.getLogger(__name__)

Missing = Literal["refuse", "zero"]


class VectorFile(NamedTuple):
    """Ids [N], String, and vectors of any numeric type, [N, E], perhaps memory-mapped."""

    path: Path
    ids: pl.Series
    vectors: NDArray[Any]


def read_vector_file(path: Path, ids: Path | None, id_column: str, column: str) -> VectorFile:
    """Read vectors and their ids: ``.npy`` [N, E], a tensor ``column`` of ``.safetensors``, or a
    ``column`` of lists of numbers of Parquet. ``ids`` of the first two are a text, one a line, or
    ``.npy``, or the tensor ``id_column``; those of Parquet are its ``id_column``. Raises UserError
    if the file is not of these kinds, ids are missing, doubled or not as many as vectors, or these
    differ in width or have none.
    """
    if not path.is_file():
        raise UserError(f"item.path={path}: there is no such file.")
    if path.suffix == ".npy":
        raw, vectors = _named_ids(path, ids), _array(path)
    elif path.suffix == ".safetensors":
        raw, vectors = _of_safetensors(path, ids, id_column, column)
    elif path.suffix == ".parquet":
        raw, vectors = _of_parquet(path, ids, id_column, column)
    else:
        raise UserError(f"item.path={path}: it has to end in .npy, .safetensors, .parquet.")
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise UserError(
            f"{path}: vectors are numbers in two dimensions, items by width; these are "
            f"{vectors.dtype} of shape {list(vectors.shape)}."
        )
    if not vectors.size:
        raise UserError(f"{path} holds no numbers: its vectors are {list(vectors.shape)}.")
    if raw.dtype.is_nested() or raw.dtype == pl.Object:
        raise UserError(
            f"{path}: an id is a number or a text, and these hold {raw.dtype}: say which are the "
            "ids by item.id_column or item.item_ids."
        )
    named = ids_of(raw)
    if len(named) != len(vectors):
        raise UserError(f"{path} holds {len(vectors):,} vectors, but there are {len(named):,} ids.")
    if named.has_nulls():
        row = int(named.is_null().arg_max() or 0)
        raise UserError(f"{path}: vector {row + 1} has no id ({raw[row]!r}).")
    if doubled := named.filter(named.is_duplicated()).to_list():
        raise UserError(f"{path} has more than one vector of the item {doubled[0]}.")
    return VectorFile(path, named, vectors)


def vectors_of(
    file: VectorFile, items: pl.Series, missing: Missing
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The vectors of a catalogue's items in its order, float32 [V, E], and who has one, bool [V].

    Those without one have 0, under ``missing="zero"``. Raises UserError if too many are missing, or
    a value is not finite, or all are alike.
    """
    rows = pl.DataFrame({"id": file.ids}).with_row_index("row")
    asked = ids_of(items)
    row = asked.to_frame("id").join(rows, "id", "left", maintain_order="left")["row"]
    lacking = asked.filter(row.is_null())
    if len(lacking) == len(items):
        raise UserError(
            f"{file.path} knows none of the items: its ids are like {listed(file.ids.head(3))}, "
            f"those of the catalogue like {listed(asked.head(3))}."
        )
    if len(lacking) and missing == "refuse":
        raise UserError(
            f"{file.path} has no vector of {len(lacking):,} of {len(items):,} items, such as "
            f"{listed(lacking.head(3))}: add them, or say item.missing=zero."
        )
    if len(lacking):
        log.warning(
            "%s has no vector of %s of %s items, such as %s: theirs is 0.",
            file.path, f"{len(lacking):,}", f"{len(items):,}", listed(lacking.head(3)),
        )  # fmt: skip
    if len(unused := file.ids.filter(~file.ids.is_in(asked.implode()))):
        log.warning(
            "%s of %s vectors of %s are of items that do not occur in the data as it was filtered "
            "and split, such as %s: passed over.",
            f"{len(unused):,}", f"{len(file.ids):,}", file.path, listed(unused.head(3)),
        )  # fmt: skip
    mask = row.is_not_null().to_numpy()
    vectors = np.zeros((len(items), file.vectors.shape[1]), dtype=np.float32)
    vectors[mask] = file.vectors[row.drop_nulls().to_numpy()]
    if len(bad := np.flatnonzero(~np.isfinite(vectors).all(axis=1))):
        raise UserError(
            f"{file.path}: the vector of the item {asked[int(bad[0])]} ({len(bad):,} such items) "
            "holds values that are no finite numbers (NaN, or beyond float32)."
        )
    known = vectors[mask]
    if len(known) > 1 and (known == known[0]).all():
        raise UserError(
            f"{file.path}: the vectors of all {len(known):,} items are one and the same."
        )
    return vectors, mask


Read = tuple[pl.Series, NDArray[Any]]


def _of_safetensors(path: Path, ids: Path | None, id_column: str, column: str) -> Read:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError) as error:  # bfloat16 is none of NumPy's
        raise UserError(
            f"{path} cannot be read as safetensors of NumPy's types: {error}"
        ) from error
    if column not in tensors:
        raise UserError(
            f"{path} has no tensor '{column}'.{nearest(column, tensors)} It has: "
            f"{listed(tensors)}: say item.vector_column=NAME."
        )
    if ids is None and id_column in tensors:
        return pl.Series("id", tensors[id_column].reshape(-1)), tensors[column]
    return _named_ids(path, ids), tensors[column]


def _of_parquet(path: Path, ids: Path | None, id_column: str, column: str) -> Read:
    if ids is not None:
        raise UserError(
            f"item.item_ids={ids}: a Parquet file has its ids in item.id_column: drop it."
        )
    try:
        schema = pl.read_parquet_schema(glob.escape(str(path)))
        for key, name in (("id_column", id_column), ("vector_column", column)):
            if name not in schema:
                raise UserError(
                    f"{path} has no column '{name}'.{nearest(name, schema)} It has: "
                    f"{listed(schema)}: say item.{key}=NAME."
                )
        table = pl.read_parquet(path, columns=list(dict.fromkeys((id_column, column))), glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}.") from error
    vectors = table[column]
    if isinstance(vectors.dtype, pl.Array):
        vectors = vectors.arr.to_list()
    if not isinstance(vectors.dtype, pl.List) or not vectors.dtype.inner.is_numeric():
        raise UserError(f"{path}: '{column}' holds {vectors.dtype}, not lists of numbers.")
    width = vectors.list.len().fill_null(0)
    if width.n_unique() > 1:
        row = int((width != width[0]).arg_max() or 0)
        raise UserError(
            f"{path}: vectors have one width, but the first one has {width[0]} numbers and that of "
            f"the item {table[id_column][row]} has {width[row]}."
        )
    flat = vectors.explode(empty_as_null=False, keep_nulls=False).cast(pl.Float32).to_numpy()
    return table[id_column], flat.reshape(len(table), width.to_numpy().max(initial=0))


def _named_ids(path: Path, ids: Path | None) -> pl.Series:
    if ids is None:
        raise UserError(
            f"item.path={path} does not say whose vectors it holds: say item.item_ids=FILE, one id "
            "a line in the order of the vectors, or an .npy."
        )
    if not ids.is_file():
        raise UserError(f"item.item_ids={ids}: there is no such file.")
    if ids.suffix == ".npy":
        return pl.Series("id", _array(ids).reshape(-1))
    try:
        return pl.Series("id", ids.read_text(encoding="utf-8").splitlines(), dtype=pl.String)
    except UnicodeDecodeError as error:
        raise UserError(f"item.item_ids={ids} is not in UTF-8: {error.reason}.") from error


def _array(path: Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read as an array of numbers: {reason}.") from error
    return array
