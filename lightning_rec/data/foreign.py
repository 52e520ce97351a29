"""Files that are no tables, by how they begin: what they are, and what to do with them."""

from pathlib import Path

from lightning_rec.errors import UserError

BOOK = "an Excel workbook or the like", "save its sheet as CSV in UTF-8, and name that"
_ARCHIVE = "unpack it, and name the file or folder that comes out"
_AS_PARQUET = "write the table as Parquet or CSV, and name that"
_AT_TAR = 257  # where a tar says what it is
_LETTERS = (b"ORC", b"FEA1")
_BEGINNINGS: dict[bytes | tuple[bytes, ...], tuple[str, str]] = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": BOOK,
    b"7z\xbc\xaf\x27\x1c": ("packed by 7-Zip", _ARCHIVE),
    b"Rar!\x1a\x07": ("packed by RAR", _ARCHIVE),
    b"\x28\xb5\x2f\xfd": ("packed by Zstandard", _ARCHIVE),
    b"\x04\x22\x4d\x18": ("packed by LZ4", _ARCHIVE),
    b"\xff\xff\xff\xff": ("a stream of Arrow", "write it as an Arrow file, or as Parquet"),
    b"FEA1": ("Feather of its first version", _AS_PARQUET),
    b"ORC": ("ORC", _AS_PARQUET),
    b"Obj\1": ("Avro", _AS_PARQUET),
    b"\x89HDF": ("HDF5", _AS_PARQUET),
    b"\x93NUMPY": ("an array of NumPy", _AS_PARQUET),
    (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"): ("a pickle", _AS_PARQUET),
    b"SQLite format 3": ("an SQLite database", _AS_PARQUET),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    (b"<!doctype html", b"<html"): (
        "a web page", "what was downloaded is no table: look at it in a browser"
    ),
}  # fmt: skip


def refuse(name: str, path: Path) -> None:
    """Raise UserError, saying what it is, if an unpacked file is known to be no table."""
    with path.open("rb") as stream:
        head = stream.read(_AT_TAR + 5)
    if head[_AT_TAR:] == b"ustar":
        raise refusal(name, ("a tar archive", _ARCHIVE))
    for beginning, told in _BEGINNINGS.items():
        if beginning in _LETTERS and b"\0" not in head:
            continue  # a text may begin so
        if head.startswith(beginning) or head.lstrip().lower().startswith(beginning):
            raise refusal(name, told)


def refusal(name: object, told: tuple[str, str]) -> UserError:
    """What to say of a file that is no table."""
    return UserError(f"{name} is {told[0]}, which is not read: {told[1]}.")
