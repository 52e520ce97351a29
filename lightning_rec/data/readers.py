"""One plain file as rows: delimited text, JSON lines, Parquet or Arrow; many as one table."""

import codecs
import csv
import glob
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from lightning_rec.data.dialect import BLANKS, UNIT, Dialect
from lightning_rec.data.ids import AROUND, as_text
from lightning_rec.data.plain import Part, Unfit, rewritten, starts
from lightning_rec.errors import UserError, listed

_HEAD_BYTES = 1 << 16
_HEAD_LINES = 50
_SHOWN = 60  # characters of a field that are shown
_JSON = re.compile(r"\s*(\{|\[\s*\{)")
_NO_SEPARATOR = "\x01"  # occurs in no text


def reader(lines: Iterable[str], separator: str, quoted: bool = True) -> Any:
    """Python's own reader of delimited text: slow, and exact where a quoted field spans lines."""
    bare: dict[str, Any] = {"quoting": csv.QUOTE_NONE} if separator == UNIT or not quoted else {}
    return csv.reader(lines, delimiter=separator, **bare)


def typed(part: Part) -> str | None:
    """What a file is whose columns have types, ``Parquet`` or ``Arrow``; None for text."""
    if starts(part.path, b"ARROW1"):
        return "Arrow"
    parquet = starts(part.path, b"PAR1") or part.name.endswith((".parquet", ".pq"))
    return "Parquet" if parquet else None


def with_types(part: Part) -> pl.LazyFrame:
    """The rows of a file whose columns have types; bytes are taken for text."""
    scan = pl.scan_ipc if typed(part) == "Arrow" else pl.scan_parquet
    return scan(part.path, glob=False).with_columns(pl.col(pl.Binary).cast(pl.String))


def is_json(part: Part) -> bool:
    """Whether a file holds JSON objects."""
    return _JSON.match("\n".join(first_lines(part))) is not None


def first_lines(part: Part) -> list[str]:
    """The first lines of a text file that are not blank. Raises UserError if it is not text."""
    with part.path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if encoding := _wide(head):
        told = f"{part.name} is text in {encoding.upper()}: say data.encoding={encoding}."
        raise Unfit(told, encoding=encoding)
    if b"\0" in head:
        raise UserError(
            f"{part.name} is not a text table (it has binary content). Delimited text and JSON "
            "lines, gzip or zip of them, Parquet or Arrow files can be read."
        )
    # What str.splitlines takes for line ends besides (U+2028, U+0085) may stand within a field.
    lines = re.split("\r\n?|\n", head.decode("utf-8-sig", errors="replace"))
    if len(head) == _HEAD_BYTES and len(lines) > 1:
        lines.pop()  # it may go on
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise UserError(f"{part.name} is empty (blank lines only).")
    return lines[:_HEAD_LINES]


def _wide(head: bytes) -> str | None:
    """The encoding of a text of two or four bytes a character, by its mark or its zeros."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = head[0::2], head[1::2]
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if others and not others.count(0) and zeros.count(0) > len(zeros) / 2:
            return encoding
    return None


def parted(path: Path, separator: str) -> Path:
    """A copy of a file with ``UNIT`` in place of separators of several characters."""
    unit = UNIT.encode()
    if separator != BLANKS:
        return rewritten(path, lambda block: block.replace(separator.encode(), unit))
    around, between = re.compile(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)"), re.compile(rb"[ \t]+")
    return rewritten(path, lambda block: between.sub(unit, around.sub(b"", block)))


def delimited(part: Part, separator: str, dialect: Dialect) -> pl.LazyFrame:
    """The rows of a delimited text, all columns String; of ``lines`` a user and List[String]."""
    if dialect.form == "lines":
        return _lines(part, separator, dialect)
    options: dict[str, Any] = {"separator": separator, "infer_schema": False}
    if separator == UNIT or not dialect.quoted:
        options["quote_char"] = None
    rows = pl.scan_csv(part.path, has_header=dialect.headed, **options, glob=False)
    if dialect.columns is None:
        names = rows.collect_schema().names()
        if not dialect.headed:
            return rows.rename({name: f"column_{place}" for place, name in enumerate(names, 1)})
        _check_header(part, next(reader(first_lines(part), separator, dialect.quoted)), len(names))
        bare = {name: name.strip(AROUND) for name in names if name != name.strip(AROUND)}
        alone = len(set(names) - set(bare) | set(bare.values())) == len(names)
        return rows.rename(bare) if bare and alone else rows
    first = next(reader(first_lines(part), separator, dialect.quoted))
    if len(first) != len(dialect.columns):
        shown = [field[:_SHOWN] for field in first]  # one may go on and on, where a quote is open
        raise UserError(
            f"{part.name} has {len(first)} fields in its first line ({listed(shown)}), but "
            f"data.columns names {len(dialect.columns)}: name all of them, in their order."
        )
    return rows.rename(dict(zip(rows.collect_schema().names(), dialect.columns, strict=True)))


def _check_header(part: Part, header: list[str], width: int) -> None:
    bare = [name.strip(AROUND) for name in header]
    doubled = next((name for name in bare if name and bare.count(name) > 1), None)
    if doubled is not None and len(bare) == width:
        places = listed(place for place, name in enumerate(bare, 1) if name == doubled)
        raise UserError(
            f"{part.name} has several columns '{doubled}' (fields {places}): rename all but one, "
            "or name all columns in their order: data.header=true 'data.columns=[…]'."
        )


def _lines(part: Part, separator: str, dialect: Dialect) -> pl.LazyFrame:
    """A user and all his items a line."""
    rows = pl.scan_csv(
        part.path,
        separator=_NO_SEPARATOR,
        quote_char=None,
        has_header=False,
        skip_rows=int(dialect.headed),
        schema={"line": pl.String},
        glob=False,
    )
    line = pl.col("line").str.strip_chars()
    if separator == BLANKS:
        fields = line.str.extract_all(r"\S+")
    else:
        fields = line.str.split(separator).list.eval(pl.element().str.strip_chars())
    user, item = dialect.named
    return rows.select(fields.list.first().alias(user), fields.list.slice(1).alias(item))


def json_lines(part: Part) -> pl.LazyFrame:
    """The rows of JSON lines, or of a JSON list of objects."""
    path = part.path
    _check_keys(part)
    if starts(path, codecs.BOM_UTF8):
        path = rewritten(path, lambda block: block.removeprefix(codecs.BOM_UTF8))
    if first_lines(part)[0].lstrip().startswith("["):
        return pl.read_json(path, infer_schema_length=None).lazy()
    return pl.scan_ndjson(glob.escape(str(path)), infer_schema_length=None)


def _check_keys(part: Part) -> None:
    """Raise UserError if an object at the beginning has a key twice: one value would be lost."""
    with part.path.open("rb") as stream:
        text = stream.read(_HEAD_BYTES).decode("utf-8-sig", errors="replace")
    doubled: list[str] = []

    def looked_at(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        doubled.extend(key for key in keys if keys.count(key) > 1)
        return dict(pairs)

    decoder, between = json.JSONDecoder(object_pairs_hook=looked_at), re.compile(r"[\s\[,]*")
    place = 0
    while (place := between.match(text, place).end()) < len(text):  # type: ignore[union-attr]
        line = text.count("\n", 0, place) + 1
        try:
            _, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return  # cut off here, or broken, which reading it will tell
        if doubled:
            raise UserError(
                f"{part.name}, line {line}: an object has the key '{doubled[0]}' twice, of which "
                "one value would be lost: give them names of their own."
            )


def alike(parts: list[Part], frames: list[pl.LazyFrame], *, is_text: bool) -> list[pl.LazyFrame]:
    """The rows of each part with the same columns in one order and type; of several types a column
    is text. Raises UserError if columns are missing in a part; objects of JSON may lack some.
    """
    schemas = []
    for part, frame in zip(parts, frames, strict=True):
        try:
            schemas.append(frame.collect_schema())
        except (pl.exceptions.PolarsError, OSError) as error:
            if (kind := typed(part)) is None:
                raise
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{part.name} cannot be read as {kind} ({reason}). Is the file complete?"
            ) from error
    if is_text or typed(parts[0]):
        for part, schema in zip(parts, schemas, strict=True):
            same_columns(parts[0].name, schemas[0], part.name, schema)
    types: dict[str, set[pl.DataType]] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            types.setdefault(name, set()).add(dtype)
    keys = dict.fromkeys(key for part in parts for key in part.keys if key not in types)
    chosen = []
    for part, frame, schema in zip(parts, frames, schemas, strict=True):
        columns = [_in_one_type(name, schema.get(name), found) for name, found in types.items()]
        columns += [pl.lit(part.keys.get(key), pl.String).alias(key) for key in keys]
        chosen.append(frame.select(columns))
    return chosen


def _in_one_type(name: str, dtype: pl.DataType | None, found: set[pl.DataType]) -> pl.Expr:
    column = pl.lit(None) if dtype is None else pl.col(name)
    known = found - {pl.Null()}
    if len(known) <= 1:
        return column.cast(next(iter(known), pl.Null())).alias(name)
    if all(each.is_temporal() for each in known):
        return column.cast(pl.Datetime("us")).alias(name)
    if dtype is None or dtype.is_nested():
        return column.cast(pl.String).alias(name)
    return as_text(column, dtype).alias(name)


def same_columns(first: object, expected: Iterable[str], path: object, here: Iterable[str]) -> None:
    """Raise UserError, saying which, if the columns of ``path`` are not those of ``first``."""
    missing, more = sorted(set(expected) - set(here)), sorted(set(here) - set(expected))
    if missing or more:
        told = [f"lacks {listed(missing)}"] * bool(missing) + [f"has {listed(more)}"] * bool(more)
        raise UserError(f"{path} does not have the columns of {first}: it {' and '.join(told)}.")
