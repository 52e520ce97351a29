"""Lists in a cell, in whatever form: ``[5, 7]``, ``['a', 'b']``, ``["a"]``, ``5|7``, ``5 7``."""

import ast
import json

import polars as pl

from lightning_rec.data.ids import AROUND, stripped

_SIGNS = ("|", ";", ",")  # the first that occurs in a cell parts its values; else blanks do
_QUOTED = r"""[uUbB]?"(?:[^"\\]|\\.)*"|[uUbB]?'(?:[^'\\]|\\.)*'"""
_BEGINS = r"""^[uUbB]?['"]"""
_BEGINS_ANY = r"""(?:^|,)\s*[uUbB]?['"]"""
_BRACKETS = r"^[\[({](?s:(.*))[\])}]$"
_CUT = r"(?:^|[\s,\[])\.\.\.(?:$|[\s,\]])"  # as numpy prints a long array
# Lists, tuples or objects in a list.
_NESTED = r"""^\[\s*(?:[\[{]|\(\s*['"\d-][^()]*,)|^[^'"]*,\s*[\[{]"""
_CALL = r"^\w*[Aa]rray\((?s:.*)\)$"  # array([5, 7]), WrappedArray(5, 7): how programs print them
_OTHER = r"""^\{(?s:.*)\}$|^\(\s*['"\d+-](?s:.*),(?s:.*)\)$"""
_WORD = r"[^\s,\[\]()'\"]"
_VALUE = rf"{_QUOTED}|{_WORD}(?:[^\s,\[\]()]|\s+{_WORD})*"


def lists(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The values of each row in their order, List[String]; null where there is none, or one that is
    :func:`unreadable`.

    Text is a literal of JSON, Python or numpy (brackets, values parted by commas or blanks, perhaps
    in quotes), or values parted by ``|``, ``;``, commas or blanks. What stands in quotes is read as
    the program meant it that wrote it; all else is taken as it is written: ``1e3`` and ``True`` are
    no numbers.
    """
    if isinstance(dtype, pl.List | pl.Array):
        return column.cast(pl.List(pl.String))
    text = stripped(column.cast(pl.String))
    bare = text.str.replace(_BRACKETS, "${1}").str.strip_chars()
    parted = bare.str.extract_all(r"\S+")
    for sign in reversed(_SIGNS):
        has = bare.str.contains(sign, literal=True)
        parted = pl.when(has).then(bare.str.split(sign)).otherwise(parted)
    literal = text.str.starts_with("[") & bare.str.contains(_BEGINS_ANY)
    quoted = literal | bare.str.contains(_BEGINS)
    values = pl.when(quoted).then(bare.str.extract_all(_VALUE)).otherwise(parted)
    values = pl.when(bare == "").then(pl.lit([], pl.List(pl.String))).otherwise(values)
    return pl.when(~unreadable(column)).then(values.list.eval(_unquoted(pl.element())))


def unreadable(column: pl.Expr, *, parted: bool = False) -> pl.Expr:
    """Where text is a part of a list, ``[5, 7``, a list of lists, or a call, ``array([5, 7])``;
    with ``parted`` also ``{5, 7}`` and ``(5, 7)``: Boolean, null where there is no text.
    """
    text = stripped(column.cast(pl.String))
    whole = text.str.starts_with("[") == text.str.ends_with("]")
    found = ~whole | (text.str.starts_with("[") & text.str.contains(f"{_CUT}|{_NESTED}"))
    return found | text.str.contains(f"{_CALL}|{_OTHER}" if parted else _CALL)


def is_list(value: object) -> bool:
    """Whether a cell of text holds a literal list."""
    text = value.strip(AROUND) if isinstance(value, str) else ""
    return text[:1] == "[" and text[-1:] == "]"


def _unquoted(value: pl.Expr) -> pl.Expr:
    """A value without blanks and quotes around it, escaped signs as they are meant."""
    value = stripped(value)
    bare = value.str.replace("^[uUbB]", "")
    inner = bare.str.slice(1, bare.str.len_chars() - 2)
    quoted = value.str.contains(f"^(?:{_QUOTED})$")
    escaped = value.map_batches(_meant, return_dtype=pl.String, is_elementwise=True)
    found = pl.when(value.str.contains("\\", literal=True)).then(escaped).otherwise(inner)
    return pl.when(quoted).then(found).otherwise(value)


def _meant(values: pl.Series) -> pl.Series:
    r"""What values in quotes with backslashes mean, ``"Am\u00e9lie"``; others as they are."""
    known = values.drop_nulls().unique()
    known = known.filter(known.str.contains("\\", literal=True))
    meant = pl.Series([_said(value) for value in known], dtype=pl.String)
    return values.replace(known, meant)


def _said(value: str) -> str:
    """What a value in quotes means to JSON, or to Python."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError):
            continue
        text = found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value[1:-1].replace("\\", "")
