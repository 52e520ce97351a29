"""Tables beside a log, a row for each item or each user: read, and what is wrong with them told."""

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from lightning_rec.data.dialect import Dialect
from lightning_rec.data.ids import ids_of
from lightning_rec.data.names import no_column
from lightning_rec.data.numbers import numbers
from lightning_rec.data.tabular import Table, open_table
from lightning_rec.errors import UserError, listed

_IN_ASCII = ("iso2022", "iso-2022", "utf-7", "utf_7", "hz")  # encodings whose text is UTF-8 too


@dataclass(frozen=True)
class Beside:
    """A table that says what items or users are.

    path: of the table. role: ``item`` or ``user``. setting: of ``data=table`` that names it.
    column: its column of ids. dialect: how it is written, in the encoding of the log unless the
        table has one of its own. own_encoding: whether that was said.
    title: its column of titles, or None.
    """

    path: Path
    role: str
    setting: str
    column: str
    dialect: Dialect
    own_encoding: bool = False
    title: str | None = None

    def read(self) -> pl.LazyFrame:
        """The role's ids, String, ``title`` String if named, the rest as it is. Raises UserError
        of what is wrong.
        """
        table = self.table()
        renamed = {self.column: self.role}
        if self.title is not None:
            renamed[self.title] = "title"
        names = table.schema.names()
        for name, role in renamed.items():
            if name not in names:
                raise UserError(no_column(self.path, name, f"data.{self.setting}_{role}", names))
        # A column of the file may already bear the new name, while it means another thing.
        features = [name for name in names if name not in renamed and name not in renamed.values()]
        rows = table.collect(table.frame.select(*renamed, *features)).rename(renamed)
        rows = rows.with_columns(ids_of(rows[self.role]))
        if "title" in renamed.values():
            rows = rows.with_columns(pl.col("title").cast(pl.String))
        if self.dialect.decimal == "comma":
            rows = rows.with_columns(_with_commas(rows[name]) for name in features)
        ids, where = rows[self.role], f"{table.path}, column '{self.column}'"
        if ids.null_count():
            article = "an" if self.role == "item" else "a"
            raise UserError(f"{where}: {article} {self.role} id is empty.")
        if ids.is_duplicated().any():
            twice = listed(ids.filter(ids.is_duplicated()).unique(maintain_order=True), 5)
            raise UserError(f"{where}: ids must be unique, but these are not: {twice}.")
        return rows.sort(self.role).lazy()  # the order of its rows means nothing

    def table(self) -> Table:
        """The table, in its own encoding. Raises UserError if it cannot be read."""
        dialect = replace(self.dialect, decimal="point")
        if not self.own_encoding and not self.dialect.encoding.lower().startswith(_IN_ASCII):
            try:
                return _decoded(self.path, replace(dialect, encoding="utf-8"))
            except UserError:
                pass  # it is as the log is
        try:
            return _decoded(self.path, dialect)
        except UserError as error:
            told = str(error).replace("data.encoding", f"data.{self.setting}_encoding")
            raise UserError(told) from error


def _with_commas(column: pl.Series) -> pl.Series:
    """A column of texts as numbers if it holds nothing else, and a comma in one; else as it is."""
    if column.dtype != pl.String or not column.str.contains(",", literal=True).any():
        return column
    found = column.to_frame().select(numbers(pl.col(column.name), pl.String(), "comma"))
    filled = column.str.strip_chars().str.len_chars().fill_null(0) > 0
    return column if (found.to_series().is_null() & filled).any() else found.to_series()


def _decoded(path: Path, dialect: Dialect) -> Table:
    table = open_table(path, dialect)
    table.collect(table.frame.select(pl.all().null_count()))
    return table
