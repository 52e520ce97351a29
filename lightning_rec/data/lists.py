"""Lists in a cell, in whatever form: ``[5, 7]``, ``['a', 'b']``, ``["a"]``, ``5|7``, ``5 7``."""

import polars as pl

_SIGNS = ("|", ";", ",")  # the first that occurs in a cell parts its values; else blanks do
_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_CUT = r"(?:^|[\s,\[])\.\.\.(?:$|[\s,\]])"  # as numpy prints a long array
_VALUE = rf"{_QUOTED}|[^\s,\[\]()'\"][^,\[\]()]*"


def lists(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The values of each row in their order, List[String]; null where there is none, or
    only a part of one: ``[5, 7``, ``[1 2 ... 8 9]``.

    Text is a literal of JSON, Python or numpy (brackets, values parted by commas or blanks,
    perhaps in quotes), or values parted by ``|``, ``;``, commas or blanks.

    Args:
        column: lists, or text.
        dtype: its type.
    """
    if isinstance(dtype, pl.List | pl.Array):
        return column.cast(pl.List(pl.String))
    text = column.cast(pl.String).str.strip_chars()
    bare = text.str.replace(r"^[\[({](?s:(.*))[\])}]$", "${1}").str.strip_chars()
    parted = bare.str.extract_all(r"\S+")
    for sign in reversed(_SIGNS):
        has = bare.str.contains(sign, literal=True)
        parted = pl.when(has).then(bare.str.split(sign)).otherwise(parted)
    quoted = bare.str.contains(r"""^['"]""")
    values = pl.when(quoted).then(bare.str.extract_all(_VALUE)).otherwise(parted)
    values = pl.when(bare == "").then(pl.lit([], pl.List(pl.String))).otherwise(values)
    return pl.when(~cut_off(column)).then(values.list.eval(_unquoted(pl.element())))


def cut_off(column: pl.Expr) -> pl.Expr:
    """Where text is only a part of a list: Boolean, null where there is no text."""
    text = column.cast(pl.String).str.strip_chars()
    whole = text.str.starts_with("[") == text.str.ends_with("]")
    return ~whole | (text.str.starts_with("[") & text.str.contains(_CUT))


def is_list(value: object) -> bool:
    """Whether a cell of text holds a literal list."""
    return isinstance(value, str) and value.strip()[:1] == "[" and value.strip()[-1:] == "]"


def _unquoted(value: pl.Expr) -> pl.Expr:
    """A value without blanks and quotes around it, escaped signs as they are meant."""
    value = value.str.strip_chars()
    inner = value.str.slice(1, value.str.len_chars() - 2).str.replace_all(r"\\(.)", "${1}")
    return pl.when(value.str.contains(r"""^(".*"|'.*')$""")).then(inner).otherwise(value)
