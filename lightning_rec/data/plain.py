"""The files behind a path, each as a plain file: found in order, unpacked and decoded in bounds."""

import bz2
import codecs
import gzip
import lzma
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote

from lightning_rec.data.foreign import BOOK, refusal, refuse
from lightning_rec.errors import UserError, listed, nearest

PLAIN_BYTES = 100 << 20  # so much may come out of any archive
READ = "delimited text (CSV, TSV, …), JSON lines, Parquet or Arrow"
RATIO = 100  # more than PLAIN_BYTES only up to this many times what lies packed

_PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
_PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
_KINDS = {
    "parquet": "Parquet", "pq": "Parquet", "feather": "Arrow", "arrow": "Arrow",
    "csv": "CSV", "tsv": "TSV", "tab": "TSV", "dat": "dat",
    "json": "JSON lines", "jsonl": "JSON lines", "ndjson": "JSON lines", "txt": "text", "": "text",
}  # fmt: skip
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_BLOCK = 1 << 20
_SEP = re.compile(rb'\A(?:\xef\xbb\xbf)?"?sep=(.)"?\r?\n', re.IGNORECASE)
_numbers = count()
_scratch: list[tempfile.TemporaryDirectory[str]] = []


class Unfit(UserError):
    """A file is not written as it is read; with ``settings`` of ``data=table`` it may be."""

    def __init__(self, message: str, **settings: Any) -> None:
        super().__init__(message)
        self.settings = settings


class Part(NamedTuple):
    """One file of a table.

    name: as it is told: the path, or archive and member.
    path: a plain file, unpacked and in UTF-8.
    keys: what folders named ``key=value`` say of all its rows; None for Hive's word for no value.
    separator: what parts its fields, where the first line says so (``sep=;``, for Excel).
    """

    name: str
    path: Path
    keys: dict[str, str | None]
    separator: str | None = None


def table_files(path: Path) -> list[Path]:
    """The files of a table in natural order: the file itself, or those of one kind below a folder,
    without hidden ones and a README. Raises UserError if there are none, or of several kinds.
    """
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        names = [file.relative_to(path).as_posix() for file in files]
        return [path / name for name in _of_one_kind(path, names)]
    if not path.exists():
        parent = path.parent  # one that is a file has no siblings to offer
        siblings = [child.name for child in parent.iterdir()] if parent.is_dir() else []
        raise UserError(f"There is no file or folder {path}.{nearest(path.name, siblings)}")
    if not path.is_file():
        raise UserError(f"{path} is a device or a pipe, no file: copy what it gives into a file.")
    return [path]


def plain_parts(path: Path, encoding: str) -> list[Part]:
    """The files of a file, folder or zip as plain files in UTF-8, in a scratch folder where they
    have to be made. Raises UserError if they are empty, broken, or unpack to too much.
    """
    parts, files = [], table_files(path)
    bound = _Bound(sum(file.stat().st_size for file in files))
    for file in files:
        if file.stat().st_size == 0:
            continue  # Spark leaves such among its parts
        inside = _members(file, bound) if starts(file, b"PK\3\4") else [(str(file), file, "")]
        for name, found, member in inside:
            below = member or (file.relative_to(path).as_posix() if path.is_dir() else "")
            unpacked = _unpacked(name, found, bound)
            refuse(name, unpacked)
            plain = _with_line_ends(_decoded(name, unpacked, encoding))
            plain, separator = _without_sep(plain)
            parts.append(Part(name, plain, _keys(below), separator))
    if not parts:
        raise UserError(f"{path} is empty (0 bytes).")
    return parts


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """A copy of a plain file in the scratch folder, changed by whole lines."""
    with path.open("rb") as source:
        blocks = iter(lambda: b"".join(source.readlines(_BLOCK)), b"")
        return written(change(block) for block in blocks)


def clear() -> None:
    """Remove all that was unpacked. Tables that were opened before cannot be read any more."""
    while _scratch:
        _scratch.pop().cleanup()


def starts(path: Path, magic: bytes) -> bool:
    """Whether a file begins with these bytes. Raises UserError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(magic)) == magic
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _of_one_kind(path: Path, names: list[str]) -> list[str]:
    """Those of the names that are a table's, in natural order."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        if any(part.startswith((".", "_")) for part in name.split("/") if "=" not in part):
            continue
        bare = next((name[: -len(end)] for end in _PACKED_SUFFIXES if name.endswith(end)), name)
        if kind := _KINDS.get(Path(bare).suffix[1:].lower()):
            kinds.setdefault(kind, []).append(name)
    if len(kinds) > 1:
        kinds.pop("text", None)
    if not kinds:
        holds = listed(sorted({name.split("/")[0] for name in names})) or "nothing"
        raise UserError(
            f"{path} has no tables (it holds: {holds}): CSV, TSV, JSON lines or Parquet is read."
        )
    if len(kinds) > 1:
        counts = listed(f"{len(found)} of {kind}" for kind, found in sorted(kinds.items()))
        raise UserError(f"{path} holds files of several kinds ({counts}): keep those of one.")
    return sorted(*kinds.values(), key=_natural)


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _keys(name: str) -> dict[str, str | None]:
    """Keys and values of the folders of a name, ``country=de/part-0.csv``."""
    pairs = (folder.partition("=") for folder in name.split("/")[:-1])
    told = {key: unquote(value) for key, equals, value in pairs if equals}
    return {key: None if value == _NO_VALUE else value for key, value in told.items()}


def _members(archive: Path, bound: "_Bound") -> Iterator[tuple[str, Path, str]]:
    """Name as told, file and name inside, of the tables in a zip, unpacked within bounds."""
    try:
        with zipfile.ZipFile(archive) as opened:
            names = dict.fromkeys(opened.namelist())
            members = [n for n in names if not n.endswith("/") and not n.startswith("__MACOSX")]
            if {"[Content_Types].xml", "mimetype"} & set(members):
                raise refusal(archive, BOOK)
            for name in _of_one_kind(archive, members):
                with opened.open(name) as source:
                    path = written(bound.blocks(source, archive))
                if path.stat().st_size:
                    yield f"{archive}: {name}", path, name
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"{archive} cannot be unpacked ({error}). Copy or download it again, or unpack it."
        ) from error


def _unpacked(name: str, file: Path, bound: "_Bound") -> Path:
    """The file itself, or what gzip, bzip2 or xz packed, in the scratch folder."""
    opener = next((opener for magic, opener in _PACKED.items() if starts(file, magic)), None)
    if opener is None:
        return file
    try:
        with opener(file, "rb") as source:
            return written(bound.blocks(source, name))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise UserError(f"{name} is broken ({error}). Copy or download it again.") from error


class _Bound:
    """How much may come out of all archives of a table together, which take ``packed`` bytes."""

    def __init__(self, packed: int) -> None:
        self.most, self.size = max(PLAIN_BYTES, RATIO * packed), 0

    def blocks(self, source: IO[bytes], name: object) -> Iterator[bytes]:
        """The blocks of an unpacked stream. Raises UserError where they become too many."""
        while block := source.read(_BLOCK):
            self.size += len(block)
            if self.size > self.most:
                raise UserError(
                    f"{name} unpacks to more than {RATIO} times its size and "
                    f"{PLAIN_BYTES >> 20} MiB, as archives do that are made to fill a disk. If it "
                    "is sound, unpack it yourself and name what comes out."
                )
            yield block


def _decoded(name: str, file: Path, encoding: str) -> Path:
    """The file itself, or its text in UTF-8, in the scratch folder."""
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # refuses codecs that are not of text
    except LookupError:
        raise UserError(
            f"data.encoding={encoding} is not known: say utf-8, latin-1, cp1252, …"
        ) from None
    if codec in ("utf-8", "ascii") or starts(file, b"PAR1") or starts(file, b"ARROW1"):
        return file
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        with file.open("rb") as source:
            blocks = iter(lambda: source.read(_BLOCK), b"")
            return written(decoder.decode(block).encode() for block in blocks)
    except UnicodeError as error:
        raise UserError(f"{name} is not in {encoding} ({error}): say another encoding.") from error


def _with_line_ends(file: Path) -> Path:
    """The file itself, or, where most lines end in CR alone, as on old Macs, a copy with LF."""
    with file.open("rb") as source:
        head = source.read(_BLOCK)
        alone = head.count(b"\r") - head.count(b"\r\n")
        if alone <= head.count(b"\n") or b"\0" in head:
            return file
        blocks = chain([head], iter(lambda: source.read(_BLOCK), b""))
        whole = (block + source.read(1) if block.endswith(b"\r") else block for block in blocks)
        return written(re.sub(rb"\r\n?", b"\n", block) for block in whole)


def _without_sep(file: Path) -> tuple[Path, str | None]:
    """The file itself, or, where its first line says ``sep=;``, a copy with a blank line for it."""
    with file.open("rb") as source:
        head = source.read(_BLOCK)
        if (found := _SEP.match(head)) is None:
            return file, None
        rest = iter(lambda: source.read(_BLOCK), b"")
        separator = found[1].decode("ascii", "replace")
        return written(chain([b"\n", head[found.end() :]], rest)), separator


def written(blocks: Iterable[bytes]) -> Path:
    """A new file of the scratch folder with these blocks."""
    if not _scratch:
        _scratch.append(tempfile.TemporaryDirectory(prefix="lightning_rec-"))
    path = Path(_scratch[0].name) / str(next(_numbers))
    with path.open("wb") as target:
        target.writelines(blocks)
    return path
