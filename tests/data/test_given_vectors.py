"""Vectors out of files: aligned with the catalogue by id; what does not fit is told or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from lightning_rec.data.given_vectors import read_vector_file, vectors_of
from lightning_rec.errors import UserError

IDS = ["b", "007", "12", "a"]
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
WANTED = pl.Series("item", ["a", "b", "12", "007"])


def written(
    folder: Path, kind: str, ids: list[Any] = IDS, vectors: Any = VECTORS
) -> dict[str, Any]:
    """The arguments that read a file of this kind."""
    path, names = folder / f"vectors.{kind}", folder / "ids.txt"
    names.write_text("\n".join(map(str, ids)))
    given: dict[str, Any] = {"path": path, "ids": names, "id_column": "item", "column": "vector"}
    if kind == "npy":
        np.save(path, vectors)
    elif kind == "safetensors":
        save_file({"vector": vectors}, path)
    else:
        pl.DataFrame({"item": ids, "vector": vectors}).write_parquet(path)
        given["ids"] = None
    return given


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
def test_vectors_come_in_the_order_of_the_catalogue(kind: str, tmp_path: Path) -> None:
    file = read_vector_file(**written(tmp_path, kind))
    found, _ = vectors_of(file, WANTED, "refuse")
    assert found.dtype == np.float32
    assert found.tolist() == VECTORS[[3, 0, 2, 1]].tolist()


def test_lists_in_parquet_and_whole_numbers_as_ids_will_do(tmp_path: Path) -> None:
    table = pl.DataFrame({"sku": [3, 1], "v": [[1, 2], [3, 4]]})
    table.write_parquet(tmp_path / "v.parquet")
    file = read_vector_file(tmp_path / "v.parquet", None, "sku", "v")
    assert vectors_of(file, pl.Series(["1", "3"]), "refuse")[0].tolist() == [[3, 4], [1, 2]]
    save_file({"vector": VECTORS, "item": np.array([3, 1, 5, 7])}, tmp_path / "v.safetensors")
    file = read_vector_file(tmp_path / "v.safetensors", None, "item", "vector")
    assert vectors_of(file, pl.Series([7.0]), "refuse")[0].tolist() == [VECTORS[3].tolist()]


def test_items_without_a_vector_are_refused_or_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = read_vector_file(**written(tmp_path, "npy"))
    more = pl.Series("item", ["a", "x", "b"])
    with pytest.raises(UserError, match=r"no vector of 1 of 3 items, such as x: .*item\.missing"):
        vectors_of(file, more, "refuse")
    found, _ = vectors_of(file, more, "zero")
    assert found.tolist() == [VECTORS[3].tolist(), [0, 0, 0], VECTORS[0].tolist()]
    assert "no vector of 1 of 3 items, such as x: theirs is 0" in caplog.text
    assert "2 of 4 vectors" in caplog.text  # 007 and 12, which the catalogue does not have
    with pytest.raises(UserError, match="knows none of the items: its ids are like b, 007, 12"):
        vectors_of(file, pl.Series(["x", "y"]), "zero")


def test_vectors_that_tell_no_items_apart_are_refused(tmp_path: Path) -> None:
    file = read_vector_file(**written(tmp_path, "npy", vectors=np.ones((4, 3))))
    for missing in (WANTED, pl.Series("item", ["a", "x", "b"])):
        with pytest.raises(UserError, match=r"the vectors of all \d items are one and the same"):
            vectors_of(file, missing, "zero")


def broken(row: int, value: float) -> Any:
    vectors = VECTORS.copy()
    vectors[row, 1] = value
    return vectors


@pytest.mark.parametrize("kind", ["npy", "safetensors", "parquet"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused_with_its_item(
    kind: str, value: float, tmp_path: Path
) -> None:
    file = read_vector_file(**written(tmp_path, kind, vectors=broken(1, value)))
    with pytest.raises(UserError, match=r"the vector of the item 007 \(1 such items\)"):
        vectors_of(file, WANTED, "refuse")
    assert len(vectors_of(file, WANTED.head(3), "refuse")[0]) == 3  # nobody asked for that one


@pytest.mark.parametrize(
    ("kind", "changed", "said"),
    [
        ("npy", {"vectors": VECTORS[:3]}, "3 vectors, but there are 4 ids"),
        ("npy", {"vectors": VECTORS[0]}, r"of shape \[3\]"),
        ("npy", {"vectors": VECTORS.astype(str)}, "two dimensions"),
        ("npy", {"ids": ["a", "b", "a", "c"]}, "more than one vector of the item a"),
        ("npy", {"ids": ["a", "", "b", "c"]}, "vector 2 has no id"),
        ("parquet", {"vectors": [[1.0, 2], [1.0], [1.0, 2], [3.0, 4]]}, "of the item 007 has 1"),
        ("parquet", {"vectors": ["x", "y", "z", "w"]}, "not lists of numbers"),
        ("npy", {"vectors": VECTORS[:, :0]}, r"vectors\.npy holds no numbers: .* \[4, 0\]"),
        ("parquet", {"ids": [], "vectors": pl.Series(dtype=pl.List(pl.Float32))}, r"\[0, 0\]"),
        ("parquet", {"vectors": pl.Series([[]] * 4, dtype=pl.List(pl.Float32))}, r"\[4, 0\]"),
        ("parquet", {"ids": [["a"], ["b"], ["c"], ["d"]]}, r"hold List\(String\).*item\.id_column"),
    ],
)
def test_what_does_not_fit_is_refused(
    kind: str, changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        read_vector_file(**written(tmp_path, kind, **changed))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    given = written(tmp_path, "parquet")
    with pytest.raises(UserError, match=r"no column 'vec'.*Did you mean 'vector'"):
        read_vector_file(**given | {"column": "vec"})
    with pytest.raises(UserError, match="drop it"):
        read_vector_file(**given | {"ids": tmp_path / "ids.txt"})
    with pytest.raises(UserError, match="no such file"):
        read_vector_file(**given | {"path": tmp_path / "none.npy"})
    given = written(tmp_path, "npy")
    with pytest.raises(UserError, match=r"item\.item_ids=FILE"):
        read_vector_file(**given | {"ids": None})
    for name in ("vectors.npy", "vectors.safetensors", "vectors.parquet"):
        (tmp_path / name).write_bytes(b"no such thing")
        with pytest.raises(UserError, match="cannot be read"):
            read_vector_file(
                tmp_path / name, given["ids"] if "parq" not in name else None, "a", "b"
            )
    np.save(tmp_path / "vectors.npy", np.array([{}], dtype=object))  # would be unpickled
    with pytest.raises(UserError, match="cannot be read"):
        read_vector_file(**given)
    (tmp_path / "vectors.csv").write_text("1,2")
    with pytest.raises(UserError, match=r"has to end in \.npy, \.safetensors, \.parquet"):
        read_vector_file(**given | {"path": tmp_path / "vectors.csv"})
    np.save(tmp_path / "vectors.npy", VECTORS)
    (tmp_path / "ids.txt").write_bytes(b"\xe9\nb\nc\nd\n")
    with pytest.raises(UserError, match=r"item\.item_ids=.*ids\.txt is not in UTF-8"):
        read_vector_file(**given)
