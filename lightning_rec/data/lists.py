"""Lists in a cell, in whatever form: ``[5, 7]``, ``['a', 'b']``, ``["a"]``, ``5|7``, ``5 7``."""

import polars as pl

_SIGNS = ("|", ";", ",")  # the first that occurs in a cell parts its values; else blanks do
_QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_CUT = r"(?:^|[\s,\[])\.\.\.(?:$|[\s,\]])"  # as numpy prints a long array
_CALL = r"^\w*[Aa]rray\((?s:.*)\)$"  # array([5, 7]), WrappedArray(5, 7): how programs print them
_OTHER = r"""^\{(?s:.*)\}$|^\(\s*['"\d+-](?s:.*),(?s:.*)\)$"""
_VALUE = rf"{_QUOTED}|[^\s,\[\]()'\"][^,\[\]()]*"


def lists(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The values of each row in their order, List[String]; null where there is none, or one that
    is :func:`unreadable`.

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
    return pl.when(~unreadable(column)).then(values.list.eval(_unquoted(pl.element())))


def unreadable(column: pl.Expr, *, parted: bool = False) -> pl.Expr:
    """Where text is a part of a list, ``[5, 7`` or ``[1 2 ... 8 9]``, or a call, ``array([5, 7])``.

    Args:
        column: text.
        parted: whether a separator parts what is not in ``[]``, so that other brackets, ``{5, 7}``
            or ``(5, 7)``, would stay in the values.

    Returns:
        Boolean, null where there is no text.
    """
    text = column.cast(pl.String).str.strip_chars()
    whole = text.str.starts_with("[") == text.str.ends_with("]")
    found = ~whole | (text.str.starts_with("[") & text.str.contains(_CUT))
    return found | text.str.contains(f"{_CALL}|{_OTHER}" if parted else _CALL)


def is_list(value: object) -> bool:
    """Whether a cell of text holds a literal list."""
    return isinstance(value, str) and value.strip()[:1] == "[" and value.strip()[-1:] == "]"


def _unquoted(value: pl.Expr) -> pl.Expr:
    """A value without blanks and quotes around it, escaped signs as they are meant."""
    value = value.str.strip_chars()
    inner = value.str.slice(1, value.str.len_chars() - 2).str.replace_all(r"\\(.)", "${1}")
    return pl.when(value.str.contains(r"""^(".*"|'.*')$""")).then(inner).otherwise(value)
