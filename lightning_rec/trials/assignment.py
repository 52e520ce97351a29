"""Which variant of an experiment a user gets: by a hash, the same wherever it is computed."""

import hashlib
import math
from collections.abc import Mapping

import polars as pl

from lightning_rec.data.ids import ids_of
from lightning_rec.errors import UserError

_BITS = 53  # of a number below 1 that a float holds exactly


class Assignment:
    """Users by variant, from SHA-256 of the experiment's name and the user's id.

    Nothing is kept: each process, machine and restart gives the same answer. Another experiment
    parts the same users anew. One hash decides who is in the experiment, another one which variant
    he gets: raising all shares alike adds users, and moves none from one variant to another.

    Args:
        experiment: its name, the salt of the hash.
        shares: the share of all users of each variant; whoever is left over is not in it.

    Raises:
        UserError: for fewer than two variants, or shares that are none.
    """

    def __init__(self, experiment: str, shares: Mapping[str, float]) -> None:
        if not experiment.strip():
            raise UserError("experiment is empty: give the experiment a name, such as spring.")
        if len(shares) < 2:
            raise UserError(f"shares={dict(shares)}: an experiment has two variants or more.")
        for name, share in shares.items():
            if not 0 < share < 1:
                raise UserError(f"shares: that of '{name}' is {share:g}; it is from 0 to 1.")
        self.whole = math.fsum(shares.values())
        if self.whole > 1 + 1e-9:
            raise UserError(f"shares: they sum to {self.whole:g}, which is more than 1.")
        self.experiment, self.shares = experiment, dict(shares)

    def of(self, user: str) -> str | None:
        """The variant of a user, by his id; None if he is not in the experiment."""
        salted = f"{len(self.experiment)}:{self.experiment}:{user}"
        digest = hashlib.sha256(salted.encode()).digest()
        inside, which = (
            (int.from_bytes(digest[at : at + 8]) >> (64 - _BITS)) / 2**_BITS for at in (0, 8)
        )
        if inside >= self.whole:
            return None
        upper = 0.0
        for variant, share in self.shares.items():
            upper += share / self.whole
            if which < upper:
                return variant
        return next(reversed(self.shares))  # where sums were rounded

    def of_all(self, users: pl.Series) -> pl.Series:
        """``variant`` of each user of a column, String; ids are read by the rule of all ids."""
        known = ids_of(users)
        once = known.drop_nulls().unique()
        of = {user: self.of(user) for user in once}
        return known.replace_strict(of, default=None, return_dtype=pl.String).alias("variant")
