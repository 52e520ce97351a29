"""How a text table is written: what parts its fields, whether it has a header, its encoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lightning_rec.errors import UserError

Form = Literal["rows", "lists", "lines"]
Decimal = Literal["point", "comma"]
Invalid = Literal["error", "drop"]
BLANKS = "blanks"  # any number of blanks and tabs
LINES = ("user", "item")  # columns of a file with a user and all his items a line
UNIT = "\x1f"  # stands for separators of several characters once a file is opened

_SEPARATORS = ",\t;|"
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "blank": " "}


@dataclass(frozen=True)
class Dialect:
    """What cannot always be told from the file itself.

    Args:
        delimiter: what parts the fields: any characters, ``tab``, or ``blanks`` for any number of
            them; None tells it from the first lines.
        header: whether the first line names the columns; None: it does unless ``columns`` are
            given.
        columns: names of the columns, in their order, in place of a header's.
        encoding: of the text.
        form: ``rows``: one event each. ``lists``: the column of items holds a list, and a row is as
            many events. ``lines``: a line is a user and all his items, oldest first; the columns
            are ``user`` and ``item`` then.
        decimal: which sign parts whole numbers from fractions.
        quoted: whether a field may stand in quotes; else quotes are characters as others are.
    """

    delimiter: str | None = None
    header: bool | None = None
    columns: Sequence[str] | None = None
    encoding: str = "utf-8"
    form: Form = "rows"
    decimal: Decimal = "point"
    quoted: bool = True

    def __post_init__(self) -> None:
        if self.delimiter == "":
            raise UserError("data.delimiter is empty: say what parts the fields, or leave it out.")
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(self.columns))
            if len(set(self.columns)) < len(self.columns):
                raise UserError(f"data.columns={list(self.columns)} names a column twice.")

    @property
    def named(self) -> Sequence[str]:
        """The names of the columns, as far as no file has to tell them."""
        return self.columns or (LINES if self.form == "lines" else ())

    @property
    def headed(self) -> bool:
        """Whether the first line is a header."""
        if self.form == "lines":
            return bool(self.header)
        return self.columns is None if self.header is None else self.header

    def separator(self, lines: list[str]) -> str:
        """What parts the fields of a table that begins with these lines."""
        if self.delimiter is not None:
            return _WORDS.get(self.delimiter, self.delimiter)
        if "::" in lines[0]:
            return "::"
        best = max(_SEPARATORS, key=lines[0].count)
        if best in lines[0]:
            return best
        widths = {len(line.split()) for line in lines}
        parted = len(widths) == 1 or self.form == "lines"
        return BLANKS if parted and widths != {1} else ","
