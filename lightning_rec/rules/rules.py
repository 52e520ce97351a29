"""The rules of a request, declared once and the same for the command line, Python and HTTP."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple

from lightning_rec.errors import UserError, suggest
from lightning_rec.rules.given import Moment, words

POOL = 50  # the fewest candidates that lists are chosen among
EXPLORE = ("epsilon", "softmax", "thompson")
DIVERSE = {"mmr": 0.3, "dpp": 0.3}  # kinds, and how strong they are if nothing is said


class Diversity(NamedTuple):
    """kind: ``mmr`` or ``dpp``. strength: 0 to 1. column: of the catalogue, None for vectors."""

    kind: str
    strength: float
    column: str | None


class Calibration(NamedTuple):
    """strength: 0 to 1. column: of the catalogue."""

    strength: float
    column: str


class Explore(NamedTuple):
    """kind: one of ``EXPLORE``. amount: share, temperature, or width."""

    kind: Literal["epsilon", "softmax", "thompson"]
    amount: float


@dataclass(frozen=True)
class Rules:
    """What may be recommended, and in which order. Everything is applied before the best are taken.

    Args:
        allow: ids of the only items that may be recommended; None: all.
        deny: ids of items that may not.
        where: a condition on the catalogue's columns, such as
            ``"price < 20 and 'shoes' in categories"``; see :mod:`lightning_rec.rules.where`.
        boosts: a table of boosts and campaigns, or a path to one: ``item`` or ``where``, ``factor``
            or ``add``, and perhaps ``from`` and ``to``; see :mod:`lightning_rec.rules.boosts`. A
            factor multiplies a score above 0 and divides one below it: 1.1 to 2 are usual.
        at: the moment that decides which boosts hold; None: now.
        per: at most so many items of a value of a column: ``{"brand": 2}``, or ``"brand:2"``. An
            item of several values counts for each; items without a value are not limited.
        diversity: ``"mmr:0.3"`` or ``"dpp:0.3"``, from above 0 (relevance alone) to below 1; items
            are alike by the model's vectors, or by a column, ``"mmr:0.3@genres"``.
        calibration: ``"0.5@genres"``, from above 0 (relevance alone) to below 1: lists whose shares
            of a column's values are those of the user's history; see
            :mod:`lightning_rec.rules.calibrating`. Not together with ``diversity``.
        explore: ``"epsilon:0.1"``, ``"softmax:1"`` or ``"thompson:0.5"``; see
            :mod:`lightning_rec.rules.exploring`. Answers then have a column ``propensity``.
        seed: of exploration. The same seed gives the same user the same list.
        pool: how many of the best the last three choose among; None: five times k, 50 at
            least. It is doubled for those whose list ``per`` would leave short.

    Raises:
        UserError: where one of these cannot be read.
    """

    allow: Sequence[Any] | None = None
    deny: Sequence[Any] | None = None
    where: str | None = None
    boosts: Any = None
    at: Moment | None = None
    per: Mapping[str, int] | str | None = None
    diversity: str | None = None
    calibration: str | None = None
    explore: str | None = None
    seed: int = 0
    pool: int | None = None

    def __post_init__(self) -> None:
        _ = self.caps, self.diverse, self.calibrated, self.exploring
        for name, least in (("seed", 0), ("pool", 1)):
            value = getattr(self, name)
            if value is None and name == "pool":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"{name}={value!r}: it is a whole number from {least} on.")
        for name in ("allow", "deny"):
            if isinstance(getattr(self, name), str | bytes):
                raise UserError(f"{name} is a list of ids: put brackets around it.")
        if self.diversity and self.calibration:
            raise UserError(
                "diversity= and calibration= order a list in two ways: say one of them."
            )
        if self.pool is not None and not (self.diversity or self.calibration or self.explore):
            raise UserError("pool= has no effect without diversity=, calibration= or explore=.")

    @property
    def caps(self) -> dict[str, int]:
        """``per`` as numbers by column."""
        if self.per is None:
            return {}
        told = "say per=brand:2, for at most two of each brand"
        if isinstance(self.per, str):
            parted = [each.rpartition(":") for each in words(self.per)]
            given: Mapping[str, Any] = {name: most for name, _, most in parted}
        elif isinstance(self.per, Mapping):
            given = self.per
        else:
            raise UserError(f"per={self.per!r}: {told}.")
        found = {}
        for name, most in given.items():
            if not name or isinstance(most, bool) or not re.fullmatch(r"[1-9]\d{0,8}", str(most)):
                raise UserError(f"per={self.per}: {told}; the number is whole, and 1 at least.")
            found[str(name)] = int(most)
        return found

    @property
    def diverse(self) -> Diversity | None:
        """``diversity``, read."""
        if self.diversity is None:
            return None
        said, _, column = str(self.diversity).partition("@")
        kind, colon, amount = said.partition(":")
        if kind not in DIVERSE:
            raise UserError(f"diversity={self.diversity}: unknown kind.{suggest(kind, DIVERSE)}")
        strength = _number(amount) if colon else DIVERSE[kind]
        if strength is None or not 0 < strength < 1:
            raise UserError(
                f"diversity={self.diversity}: its strength is a number above 0 and below 1, as in "
                f"{kind}:{DIVERSE[kind]}."
            )
        return Diversity(kind, strength, column or None)

    @property
    def calibrated(self) -> Calibration | None:
        """``calibration``, read."""
        if self.calibration is None:
            return None
        amount, _, column = str(self.calibration).partition("@")
        strength = _number(amount)
        if strength is None or not 0 < strength < 1 or not column:
            raise UserError(
                f"calibration={self.calibration}: say how strong, above 0 and below 1, and by "
                "which column of the catalogue, as in 0.5@genres."
            )
        return Calibration(strength, column)

    @property
    def exploring(self) -> Explore | None:
        """``explore``, read."""
        if self.explore is None:
            return None
        kind, _, amount = str(self.explore).partition(":")
        if kind not in EXPLORE:
            raise UserError(f"explore={self.explore}: unknown kind.{suggest(kind, EXPLORE)}")
        number = _number(amount)
        most = 1.0 if kind == "epsilon" else 1e9
        if number is None or not 0 < number <= most:
            bounds = "above 0, and 1 at most" if kind == "epsilon" else "above 0"
            raise UserError(f"explore={self.explore}: say a number {bounds}, as in {kind}:0.1.")
        return Explore(kind, number)  # type: ignore[arg-type]

    @property
    def choosing(self) -> bool:
        """Whether lists are chosen from a pool, and are not just the best scores."""
        return bool(self.per or self.diversity or self.calibration or self.explore)

    def candidates(self, k: int, num_items: int) -> int:
        """How many of the best are chosen among."""
        return min(num_items, max(k, self.pool or max(POOL, 5 * k)))


Given = Rules | Mapping[str, Any]


def as_rules(given: Given) -> Rules:
    """Rules, also where they are given by name. Raises UserError for another name or thing."""
    if isinstance(given, Rules):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"rules={given!r}: say for instance Rules(per='brand:2').")
    known = [each.name for each in fields(Rules)]
    if odd := [name for name in given if name not in known]:
        raise UserError(f"rules: '{odd[0]}' is no rule.{suggest(str(odd[0]), known)}")
    return Rules(**given)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None
