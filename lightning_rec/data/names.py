"""What the name of a column says of its values."""

import re

_OF_THINGS = (
    r"(birth|sign_?up|regist|join|releas|publi|launch|premier|expir|enrol)\w*"
    r"|born|dob|since|debut|due|deadline|founded|hired?|last|first"
)


def words(name: str) -> str:
    """A name in small letters, its words parted by ``_``: ``playedAt`` is ``played_at``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\W+", "_", name).lower().strip("_")


def of_things(name: str) -> bool:
    """Whether a column of times says when a user or an item began, ``birth_date`` or
    ``release_date``, and not when an event was.
    """
    return re.search(rf"(^|_)({_OF_THINGS})(_|$)", words(name)) is not None
