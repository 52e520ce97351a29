"""Triples and links out of files: RecBole's ``.kg`` and ``.link``, or any other tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import polars as pl
from pydantic import ConfigDict

from lightning_rec.data.dialect import Dialect
from lightning_rec.data.ids import ids
from lightning_rec.data.names import no_column
from lightning_rec.data.tabular import Table, open_table
from lightning_rec.errors import UserError, listed

Unknown = Literal["error", "drop"]
_SHOWN = 3  # ids of a message


class Facts(NamedTuple):
    """A knowledge graph with ids as they came, String.

    triples: ``head``, ``relation``, ``tail``, each once, in the order of the file.
    links: ``item`` and ``entity``, one to one. notes: what the user should know, in sentences.
    """

    path: Path
    triples: pl.DataFrame
    links: pl.DataFrame
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GraphFiles:
    """What ``data.graph`` says: where triples and links are, and how they are written.

    Args:
        triples: table of triples: delimited text, JSON lines, Parquet or Arrow, packed or not.
        links: table of which entity an item is; None where entities that are items bear their ids.
        head, relation, tail: columns of the triples.
        item, entity: columns of the links.
        columns, links_columns: names of the columns, in their order, of text without a header.
        delimiter, encoding, quoted: of text, as of the log.
        unknown: ``error`` refuses a link to an item that neither log nor catalogue has, or to an
            entity of no triple; ``drop`` passes such links over, and says how many.

    Raises UserError if two of the names are one.
    """

    triples: str
    links: str | None = None
    head: str = "head_id"
    relation: str = "relation_id"
    tail: str = "tail_id"
    item: str = "item_id"
    entity: str = "entity_id"
    columns: Sequence[str] | None = None
    links_columns: Sequence[str] | None = None
    delimiter: str | None = None
    encoding: str = "utf-8"
    quoted: bool = True
    unknown: Unknown = "error"
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for roles in (("head", "relation", "tail"), ("item", "entity")):
            names = [getattr(self, role) for role in roles]
            if len({*names}) < len(names):
                told = ", ".join(f"{role}={getattr(self, role)}" for role in roles)
                raise UserError(f"data.graph: {told}: one column cannot be two of these.")

    def read(self, items: pl.Series) -> Facts:
        """Read and check both; ``items``: the ids that log and catalogue have. Raises UserError
        naming file, line, column and id of the first fault.
        """
        names = {"head": self.head, "relation": self.relation, "tail": self.tail}
        path = Path(self.triples).expanduser()
        every = self._rows(path, names, self.columns)
        triples = every.unique(maintain_order=True)
        notes = []
        if (repeated := len(every) - len(triples)) > 0:
            notes.append(f"{path}: {repeated:,} triples repeat another one: passed over.")
        entities = pl.concat([triples["head"], triples["tail"]]).unique()
        if self.links is None:
            found = items.filter(items.is_in(entities.implode()))
            links = pl.DataFrame({"item": found, "entity": found})
            if not len(links):
                raise UserError(
                    f"{path}: none of its entities is an item: they are like "
                    f"{listed(triples['head'].head(_SHOWN))}, items like "
                    f"{listed(items.head(_SHOWN))}. Say which entity an item is by a table, "
                    "data.graph.links."
                )
        else:
            links, told = self._links(Path(self.links).expanduser(), items, entities)
            notes += told
        return Facts(path, triples, links, tuple(notes))

    def _links(
        self, path: Path, items: pl.Series, entities: pl.Series
    ) -> tuple[pl.DataFrame, list[str]]:
        """The links that are kept, and what is told of the others."""
        names, notes = {"item": self.item, "entity": self.entity}, []
        every = self._rows(path, names, self.links_columns, key="links_columns")
        links = every.unique(maintain_order=True)
        table = self._table(path, self.links_columns)
        for role, what in (("item", "items are linked"), ("entity", "entities are those of items")):
            if (twice := links[role].is_duplicated()).any():
                double = links.filter(twice)[role][0]
                row = int((every[role] == double).arg_max() or 0)
                raise UserError(
                    f"{table.where(row)}, column '{names[role]}': the {role} {double} is linked "
                    f"more than once: {what} one to one, keep one of its rows."
                )
        known = {"item": items, "entity": entities}
        lacking = {"item": "neither log nor catalogue has", "entity": "no triple mentions"}
        for role, there in known.items():
            unknown = ~links[role].is_in(there.implode())
            if not unknown.any():
                continue
            lost = links.filter(unknown)[role]
            if self.unknown == "error" and len(lost) < len(links):
                row = int((every[role] == lost[0]).arg_max() or 0)
                raise UserError(
                    f"{table.where(row)}, column '{names[role]}': {lacking[role]} the {role} "
                    f"{lost[0]} ({len(lost):,} of {len(links):,} links): mend it, or say "
                    "data.graph.unknown=drop."
                )
            if len(lost) == len(links):
                raise UserError(
                    f"{path}: no item is linked, since {lacking[role]} any {role} of column "
                    f"'{names[role]}', as {listed(lost.head(_SHOWN))}; those there are are like "
                    f"{listed(there.head(_SHOWN))}. Are the ids of the same kind?"
                )
            links = links.filter(~unknown)
            notes.append(
                f"{path}: {lacking[role]} {len(lost):,} {role} ids, as {listed(lost.head(_SHOWN))}"
                ": their links are passed over."
            )
        return links, notes

    def _rows(
        self, path: Path, names: dict[str, str], columns: Sequence[str] | None, key: str = "columns"
    ) -> pl.DataFrame:
        """The ids of some columns, by role, String. Raises UserError for a cell without one."""
        table = self._table(path, columns)
        found = {name.partition(":")[0]: name for name in table.schema.names()}  # RecBole's types
        found |= {name: name for name in table.schema.names()}
        for role, name in names.items():
            if name not in found:
                more = "" if columns else f" A text without a header: name them, data.graph.{key}."
                told = no_column(path, name, f"data.graph.{role}", table.schema.names())
                raise UserError(told + more)
        read = {role: (found[name], table.schema[found[name]]) for role, name in names.items()}
        for name, dtype in read.values():
            if dtype.is_nested():
                raise UserError(f"{path}, column '{name}': an id is a text or a number, no list.")
        rows = table.collect(
            table.frame.select(
                ids(pl.col(name), dtype).alias(r) for r, (name, dtype) in read.items()
            )
        )
        if not len(rows):
            raise UserError(f"{path} has no rows.")
        for role, row in _empty(rows):
            name = names[role]
            raise UserError(f"{table.where(row)}, column '{name}': the {role} is empty.")
        return rows

    def _table(self, path: Path, columns: Sequence[str] | None) -> Table:
        dialect = Dialect(
            self.delimiter, columns=columns, encoding=self.encoding, quoted=self.quoted
        )
        return open_table(path, dialect)


def _empty(rows: pl.DataFrame) -> Iterator[tuple[str, int]]:
    """Roles without a value in some row, and the first such row."""
    for role in rows.columns:
        if rows[role].has_nulls():
            yield role, int(rows[role].is_null().arg_max() or 0)
