"""What verbs that ask a model have in common: their keys, read without Hydra."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lightning_rec.commands.sets import number
from lightning_rec.errors import UserError, suggest

RULES = (
    "allow",
    "deny",
    "where",
    "boosts",
    "at",
    "per",
    "diversity",
    "calibration",
    "explore",
    "seed",
    "pool",
)


def keys_of(
    arguments: Iterable[str], verb: str, known: Iterable[str], flags: Iterable[str] = ()
) -> tuple[dict[str, str], list[str]]:
    """``key=value`` and ``--flag VALUE`` by name, as they are written, and the other words.

    Raises UserError for a key that is not known, or is said twice.
    """
    said, others = dict[str, str](), list[str]()
    rest = iter(arguments)
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name.startswith("--"):
            if name not in flags:
                raise UserError(f"{verb}: unknown flag {name}.{suggest(name, flags)}")
            value = value if equals else next(rest, "")
        elif not equals or not name.isidentifier():
            others.append(argument)
            continue
        elif name not in (known := list(known)):
            raise UserError(f"{name}= is no key of {verb}.{suggest(name, known)}")
        if name in said:
            raise UserError(f"{name} is said twice: say it once.")
        if not value:
            raise UserError(f"{name} is empty.")
        said[name] = value
    return said, others


def nothing_else(others: list[str], verb: str) -> None:
    """Raise UserError for words that are no keys."""
    if others:
        raise UserError(f"'{others[0]}' is not understood: {verb} takes key=value; see --help.")


def ids(name: str, value: str) -> list[Any]:
    """Ids of ``a``, ``[a,b]``, or a file of them."""
    from lightning_rec.rules.given import ids_of_file, looks_like_file, words

    if name in ("allow", "deny") and looks_like_file(value):
        return ids_of_file(name, Path(value)).drop_nulls().to_list()
    return list(words(value))


def rules_of(said: dict[str, str]) -> Any:
    """The rules of a request; None where nothing is said."""
    from lightning_rec.rules.rules import Rules

    given: dict[str, Any] = {key: said[key] for key in RULES if key in said}
    if "at" in given and "boosts" not in given:
        raise UserError("at= says which boosts hold, and nothing else here: say boosts=FILE too.")
    for name in ("allow", "deny"):
        if name in given:
            given[name] = ids(name, given[name])
    for name in ("seed", "pool"):
        if name in given:
            given[name] = number(name, given[name], int)
    return Rules(**given) if given else None


def context_of(said: dict[str, str]) -> dict[str, str | None] | None:
    """The fields of the moment, ``context={hour: 12}``; None where nothing is said."""
    from lightning_rec.rules.given import pairs

    return pairs("context", said["context"]) if "context" in said else None


def flag(said: dict[str, str], name: str) -> bool:
    """Whether ``name=true``. Raises UserError for anything but true and false."""
    value = said.get(name, "false").lower()
    if value not in ("true", "false"):
        raise UserError(f"{name}={said[name]}: it is true or false.")
    return value == "true"
