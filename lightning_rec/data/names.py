"""What the name of a column says of its values, and what is said where there is no such column."""

import re
from collections.abc import Iterable

from lightning_rec.errors import listed, nearest

_OF_THINGS = (
    r"(birth|sign_?up|regist|join|releas|publi|launch|premier|expir|enrol)\w*"
    r"|born|dob|since|debut|due|deadline|founded|hired?|last|first"
)

_NAMES = {
    "user": "user uid visitor customer member reviewer account client buyer",
    "item": "item iid sku product movie article asin track book song stock venue",
    "rating": "rating stars score",
}


def words(name: str) -> str:
    """A name in small letters, its words parted by ``_``: ``playedAt`` is ``played_at``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower().strip("_")


def of_things(name: str) -> bool:
    """Whether a column of times says when a user or an item began, and not when an event was."""
    return re.search(rf"(^|_)({_OF_THINGS})(_|$)", words(name)) is not None


def sounding(role: str, columns: Iterable[str]) -> str | None:
    """The column whose name sounds like a role: the same word, else with it at an end."""
    names = list(columns)
    for sounds in (str.__eq__, str.startswith, str.endswith):
        for word in _NAMES.get(role, role).split():
            for name in names:
                if sounds(name.lower(), word):
                    return name
    return None


def lacking(where: object, role: str, columns: Iterable[str], say: str = "") -> str:
    """Say that a table has no column that bears the name of its role, and which may be meant."""
    names = list(columns)
    found = sounding(role, names)
    looks = f" ('{found}' looks like it)" if found else ""
    return (
        f"{where} has no column '{role}'. {say or 'Rename the one that holds it'}{looks}; it has: "
        f"{listed(names)}."
    )


def no_column(where: object, name: str, role: str, columns: Iterable[str]) -> str:
    """Say that a table lacks the column of a role, and which ones it has."""
    names = list(columns)
    return (
        f"{where} has no column '{name}' for {role}; it has: {listed(names)}.{nearest(name, names)}"
    )
