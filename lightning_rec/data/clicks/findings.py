"""What the audit finds in a table of clicks: told, refused, or accepted by its name."""

from collections.abc import Collection, Iterable
from typing import Literal, NamedTuple

from lightning_rec.errors import UserError

ROWS = "rows"  # what a finding about whole rows is called

OnFinding = Literal["warn", "error"]


class Finding(NamedTuple):
    """Something that may make figures worthless: about the column ``name``, or ``rows``."""

    name: str
    sentence: str


def judged(
    found: Iterable[Finding], audit: OnFinding, accept: Collection[str]
) -> dict[str, list[str]]:
    """The sentences to be told, and those that were accepted by name, for the card. Raises
    UserError under ``audit="error"``, with all that is not accepted.
    """
    found = list(found)
    told = [each for each in found if each.name not in accept]
    if told and audit == "error":
        names = ",".join(dict.fromkeys((*accept, *(each.name for each in told))))
        raise UserError(
            f"leak audit: {' '.join(each.sentence for each in told)} This is an error by "
            f"protocol.audit=error; where it is as it should be, say 'protocol.accept=[{names}]'."
        )
    known = [each.sentence for each in found if each.name in accept]
    return {"told": [each.sentence for each in told]} | ({"accepted": known} if known else {})
