"""What the name of a column says of its values, and what is said where there is no such column."""

import re
from collections.abc import Iterable

from lightning_rec.errors import listed, nearest

_OF_THINGS = (
    r"(birth|sign_?up|regist|join|releas|publi|launch|premier|expir|enrol)\w*"
    r"|born|dob|since|debut|due|deadline|founded|hired?|last|first"
)


def words(name: str) -> str:
    """A name in small letters, its words parted by ``_``: ``playedAt`` is ``played_at``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower().strip("_")


def of_things(name: str) -> bool:
    """Whether a column of times says when a user or an item began, and not when an event was."""
    return re.search(rf"(^|_)({_OF_THINGS})(_|$)", words(name)) is not None


def no_column(where: object, name: str, role: str, columns: Iterable[str]) -> str:
    """Say that a table lacks the column of a role, and which ones it has."""
    names = list(columns)
    return (
        f"{where} has no column '{name}' for {role}; it has: {listed(names)}.{nearest(name, names)}"
    )
