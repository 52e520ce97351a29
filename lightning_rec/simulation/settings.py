"""What a world is made of, with the range of each value."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightning_rec.errors import UserError, suggest

MOST_CELLS = 10**9  # of users by items, a byte each

_Count = Annotated[int, Field(ge=0, le=10**7)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Size = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class Settings(BaseModel):
    """A world; each field is a ``key=value`` of ``lightning-rec simulate world``.

    Attributes:
        seed: everything follows from it and the other settings.
        users, items: on the first day.  new_users, new_items: that come on each day after it.
        days: of the log that models train on.
        dim: of latent vectors.  categories: of items; those of one are alike.
        activity: the share of users who visit on a day, on average.
        organic: items that a user finds by himself on a visit, without recommendations.
        drift: how far tastes move in a day, from 0 to 1 (all of it drawn anew).
        base, strength: the click probability of an item that is looked at is
            sigmoid(base + strength * match + attraction + feedback * popularity).
        feedback: how much an item gains that many had lately.  decay: of that popularity in a day.
        examination: place r of a list is looked at with probability 1 / r to this power.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    users: Annotated[int, Field(ge=2, le=10**7)] = 1000
    items: Annotated[int, Field(ge=2, le=10**6)] = 200
    days: Annotated[int, Field(ge=1, le=10_000)] = 30
    new_users: _Count = 5
    new_items: _Count = 1
    dim: Annotated[int, Field(ge=1, le=256)] = 8
    categories: Annotated[int, Field(ge=1, le=1000)] = 8
    activity: Annotated[float, Field(gt=0, le=1)] = 0.3
    organic: Annotated[int, Field(ge=1, le=100)] = 2
    drift: _Share = 0.1
    base: Annotated[float, Field(ge=-20, le=20)] = -1.5
    strength: _Size = 1.5
    feedback: _Size = 0.2
    decay: _Share = 0.9
    examination: _Size = 1.0

    @classmethod
    def of(cls, said: dict[str, Any]) -> Self:
        """Settings of what was said. Raises UserError for an unknown key or a bad value."""
        if unknown := [key for key in said if key not in cls.model_fields]:
            known = sorted(cls.model_fields)
            told = suggest(unknown[0], known, limit=40)
            raise UserError(f"{unknown[0]}= is no key of a world.{told}")
        try:
            made = cls(**said)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            raise UserError(f"{key}={first['input']}: {first['msg']}.") from None
        cells = (made.users + made.new_users * made.days) * (
            made.items + made.new_items * made.days
        )
        if cells > MOST_CELLS:
            raise UserError(
                f"users by items are {cells:,} at the end: a world has {MOST_CELLS:,} at most."
            )
        return made
