"""Templates: rows of a table as texts, ``{title}. {categories}``."""

import logging
import re

import polars as pl

from lightning_rec.errors import UserError, listed, nearest

log = logging.getLogger(__name__)

_FIELD = re.compile(r"\{([^{}]*)\}")
_BETWEEN = " \t\n,;:|/-"  # stands between columns in a template


def render_template(catalogue: pl.DataFrame, template: str, empty: str = "unknown") -> list[str]:
    """Each row of a table as a text: ``{title}. {categories}``, lists joined by commas, ``empty``
    where nothing is left. Raises UserError if the template names no column, or another.
    """
    bare = catalogue.columns == ["item"]
    hint = " Name a table that says more, data.catalogue=FILE." if bare else ""
    titled = "title" in catalogue.columns
    renamed = " What data.catalogue_title names is called {title} here." if titled else ""
    names = columns_of(template, catalogue.columns, "the catalogue", renamed, hint)
    filled = [as_text(catalogue, name).alias(f"{place}") for place, name in enumerate(names)]
    columns = catalogue.select(filled)
    pieces = _FIELD.split(template)  # words and names in turn
    parts = [
        pl.col(f"{names.index(piece)}") if place % 2 else pl.lit(piece)
        for place, piece in enumerate(pieces)
    ]
    nothing = pl.all_horizontal(pl.all().str.strip_chars() == "")
    some = pl.any_horizontal(pl.all().str.strip_chars() == "")
    whole = pl.concat_str(parts).str.strip_chars()
    # Where a column says nothing, what would have set it off from the next one says nothing either.
    text = pl.when(some).then(whole.str.strip_chars(_BETWEEN)).otherwise(whole)
    made = columns.select(pl.when(nothing).then(pl.lit("")).otherwise(text).alias("text"))["text"]
    missing = int((made == "").sum())
    if missing:
        log.warning(
            "%s of %s texts are empty (%s): they read '%s'.",
            f"{missing:,}", f"{len(made):,}", template, empty,
        )  # fmt: skip
    return [text or empty for text in made.to_list()]


def columns_of(
    template: str, columns: list[str], table: str, renamed: str = "", hint: str = ""
) -> list[str]:
    """The columns that a template names, each once. Raises UserError if there are none, or one is
    not among the ``columns`` of the table.
    """
    names = list(dict.fromkeys(_FIELD.findall(template)))
    if not names:
        raise UserError(
            f"template='{template}' names no column: say for instance '{{title}}'. There are: "
            f"{listed(columns)}."
        )
    for name in names:
        if name not in columns:
            raise UserError(
                f"template='{template}': {table} has no column '{name}'.{renamed}"
                f"{nearest(name, columns)} It has: {listed(columns)}.{hint}"
            )
    return names


def as_text(catalogue: pl.DataFrame, name: str) -> pl.Expr:
    """A column as String, lists joined by commas, nothing as the empty text."""
    column = pl.col(name)
    if isinstance(catalogue.schema[name], pl.List):
        column = column.cast(pl.List(pl.String)).list.join(", ")
    return column.cast(pl.String).fill_null("")
