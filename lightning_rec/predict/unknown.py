"""Sentences on users and items that a run does not know."""

import polars as pl

from lightning_rec.data.ids import ids_of
from lightning_rec.errors import UserError, listed, nearest

NO_USERS = (
    "This run keeps no users: it was made by an earlier version. Ask with histories, or train it "
    "again."
)


def unknown_users(asked: pl.Series, known: pl.Series, kept: pl.Series) -> UserError:
    """What is told of users, String, of whom a run has no event; ``kept``: whom it has heard of."""
    one, names = "" if len(asked) == 1 else "s", asked.to_list()
    if asked.is_in(ids_of(kept).implode()).all():
        return UserError(
            f"This run keeps no event of the user{one} {listed(names, 3)}: the filters of its "
            "protocol left all out, or training had none of the items. Give a history."
        )
    told = nearest(str(names[0]), known.head(10_000))
    return UserError(
        f"This run does not know the user{one} {listed(names, 3)}.{told} For somebody new give a "
        "history."
    )


def unknown_items(asked: pl.Series, known: pl.Series) -> str:
    """A sentence on items that a run does not know."""
    one = "" if len(asked) == 1 else "s"
    told = nearest(str(asked[0]), known.head(100_000))
    return f"This run does not know the item{one} {listed(asked.to_list())}.{told}"
