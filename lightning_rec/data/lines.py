"""The lines of a text table one by one: slow and exact, to say where it is broken or mend it."""

import ast
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import dropwhile
from typing import NamedTuple

from lightning_rec.data.dialect import UNIT, Dialect
from lightning_rec.data.plain import Part, Unfit, written
from lightning_rec.data.readers import reader
from lightning_rec.errors import UserError, listed

_SHOWN = 40  # characters of a value that are shown
_LINES = 1000  # that are not UTF-8, by which an encoding is told
_TRIED = ("cp1250", "cp1251", "gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")
_CONTROLS = set(range(0x80, 0xA0))  # of latin-1; signs of cp1252, but for these
_WESTERN = {
    *range(0xC0, 0x100),
    *b"\x80\x85\x8a\x8c\x8e\x91\x92\x93\x94\x95\x96\x97\x99\x9a\x9c\x9e\x9f",
}
_WESTERN |= {*b"\xa0\xa1\xa3\xa7\xa9\xab\xae\xb0\xb4\xb7\xbb\xbf"}  # letters and usual signs
_UNDEFINED = {0x81, 0x8D, 0x8F, 0x90, 0x9D}
_PLAIN = " Where quotes are characters as others are, say data.quoted=false."


class Record(NamedTuple):
    """A row of a text, or its header: the lines that it stands on, from 1, and its fields."""

    first: int
    last: int
    fields: list[str]


class Ragged(Unfit):
    """A line has more fields than the table has columns: such lines can be left out."""

    def __init__(self, message: str) -> None:
        super().__init__(message, invalid="drop")


def numbered(part: Part) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and bytes of each line."""
    with part.path.open("rb") as lines:
        yield from enumerate(lines, 1)


def records(part: Part, separator: str, dialect: Dialect) -> Iterator[Record]:
    """The header, if there is one, and all rows; blank lines before them are passed over."""
    with part.path.open("rb") as raw:
        text = io.TextIOWrapper(raw, "utf-8-sig", errors="replace", newline="")
        one = dialect.form == "lines"  # whose lines are fields of their own
        found = reader(text, UNIT if one else separator, dialect.quoted)
        rows = (
            Record(found.line_num - sum(field.count("\n") for field in row), found.line_num, row)
            for row in found
        )
        yield from dropwhile(lambda record: not record.fields, rows)


def evened(part: Part, separator: str, dialect: Dialect) -> tuple[Part, int]:
    """A part with a blank line for each row of too many fields; and how many rows those were."""
    long = [record for record, _ in _too_long(part, separator, dialect)]
    if not long:
        return part, 0
    first = {record.first for record in long}
    rest = {line for record in long for line in range(record.first + 1, record.last + 1)}
    kept = (b"\n" if at in first else line for at, line in numbered(part) if at not in rest)
    return part._replace(path=written(kept)), len(long)


def broken(part: Part, separator: str, dialect: Dialect) -> UserError | None:
    """What is wrong with a delimited text in UTF-8; None if nothing is seen."""
    try:
        for record, width in _too_long(part, separator, dialect):
            return Ragged(_told(part, separator, dialect, record, width))
    except csv.Error as error:
        return UserError(
            f"{part.name} cannot be read as a table ({error}): is a quote left open?{_PLAIN}"
        )
    sign = re.escape(separator.encode())
    begins = re.compile(rb'(?:^|%s)\s*"' % sign)
    spaced = re.compile(rb'(?:^|%s)("(?:[^"]|"")*"[ \t]+)(?=%s|\r?$)' % (sign, sign))
    for at, line in numbered(part):
        if dialect.quoted and (found := spaced.search(line)):
            before = line[: found.start(1)].decode(errors="replace")
            place = len(next(reader([before], separator), [""]))
            return UserError(
                f"{part.name}, line {at}: field {place} has blanks between its quote and what "
                f"parts it from the next ({found[1].decode(errors='replace')!r}): take the blanks "
                "around quoted fields out."
            )
        if dialect.quoted and line.count(b'"') % 2:
            told = f"{part.name} cannot be read: line {at} has a quote without its match.{_PLAIN}"
            return UserError(told) if begins.search(line) else Unfit(told, quoted=False)
        if b"\r" in line.removesuffix(b"\r\n"):
            return UserError(
                f"{part.name}, line {at} has a line end within (CR, while lines end in LF): write "
                "the table with line ends of one kind, and fields that hold one in quotes."
            )
    return None


def broken_json(part: Part) -> UserError | None:
    """Name the first line that is no JSON object; None if all are."""
    for at, line in numbered(part):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return UserError(
                    f"{part.name}, line {at} is no JSON object, one of which is a row."
                )
        except ValueError as error:
            return UserError(f"{part.name}, line {at} is no JSON ({error}).{_instead(line)}")
    return None


def _instead(line: bytes) -> str:
    try:
        found = ast.literal_eval(line.decode().strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ' A row is an object on a line of its own, {"user": 1, "item": "a"}: write it so.'
    if not isinstance(found, dict):
        return ""
    return (
        " It is a dict as Python prints it: write the file anew with json.dumps, as by python -c "
        '"import ast, json, sys; [print(json.dumps(ast.literal_eval(row))) for row in sys.stdin]" '
        "< OLD > NEW."
    )


def _told(part: Part, separator: str, dialect: Dialect, record: Record, width: int) -> str:
    """What to do about a row with too many fields."""
    where = f"{part.name}, line {record.first} has {len(record.fields)} fields where the "
    told = f"{where}{'header' if dialect.headed else 'first line'} has {width}."
    if width == 1:
        return f"{told} Does the table begin further down? Remove what stands above its header."
    if not any(field.strip() for field in record.fields[width:]):
        return f"{told} Remove the separators at the ends of lines, or name what is behind them."
    if len(record.fields) == width + 1 and record.first == record.last == 2 and dialect.headed:
        return (
            f"{told} Are the first fields names of rows, as R writes them? Name their column too."
        )
    if separator == UNIT:
        return f"{told} Mend it, or leave such lines out: data.invalid=drop."
    return (
        f"{told} A field with the separator {separator!r} in it needs quotes around it; "
        "data.invalid=drop leaves such lines out."
    )


def _too_long(part: Part, separator: str, dialect: Dialect) -> Iterator[tuple[Record, int]]:
    """Rows with more fields than the first, and how many that has."""
    rows = records(part, separator, dialect)
    width = len(next(rows, Record(0, 0, [])).fields)
    for record in rows:
        if len(record.fields) > width:
            yield record, width


def not_utf8(name: str, lines: Iterable[tuple[int, bytes]]) -> UserError | None:
    """What to do about a text that is not in UTF-8; None if it is. Where its letters stand alone
    among plain ones, latin-1 or cp1252 is proposed; else a few readings are shown.
    """
    first, runs = None, []
    for at, line in lines:
        try:
            line.decode()
        except UnicodeDecodeError as error:
            first = first or (at, line, error.start)
            runs += re.findall(rb"[\x80-\xff]+", line)
            if len(runs) >= _LINES:
                break
    if first is None:
        return None
    at, line, start = first
    found = set(b"".join(runs))
    told = f"{name}, line {at} is not UTF-8 text (byte 0x{line[start]:02x})"
    alone = sum(len(run) == 1 and run[0] in _WESTERN for run in runs) > len(runs) / 2
    if alone and not found & _UNDEFINED:
        guess = "cp1252" if found & _CONTROLS else "latin-1"
        read = _excerpt(line, start, guess)
        return Unfit(
            f"{told}: say in which encoding it is, data.encoding={guess} (which reads {read!r}) or "
            "another.",
            encoding=guess,
        )
    readings = {each: _excerpt(line, start, each) for each in ("cp1252", *_TRIED)}
    shown = listed(f"{each} reads {text!r}" for each, text in readings.items() if text)
    return UserError(f"{told}: {shown}. Say which reads right: data.encoding=NAME.")


def _excerpt(line: bytes, start: int, encoding: str) -> str:
    """The word at ``start`` in an encoding; empty if it cannot be read so."""
    begin = max(line.rfind(sign, 0, start) for sign in (b",", b";", b"\t", b"|", b":", b'"')) + 1
    ends = [line.find(sign, start) for sign in (b",", b"\t", b"\n", b":", b'"')]
    end = min((end for end in ends if end > 0), default=len(line))
    try:
        return line[begin:end][:_SHOWN].decode(encoding).strip()
    except UnicodeDecodeError:
        return ""
