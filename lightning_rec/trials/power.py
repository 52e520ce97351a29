"""How many users a test needs, and what it would find: before it begins."""

import math

from lightning_rec.errors import UserError

POWER = 0.8


def _scale(shares: tuple[float, float], level: float, power: float) -> float:
    from scipy import stats

    if min(shares) <= 0 or sum(shares) > 1 + 1e-9:
        raise UserError(f"shares={list(shares)}: both are above 0, and sum to 1 at most.")
    quantiles = stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(power)
    return float(quantiles) * math.sqrt(1 / shares[0] + 1 / shares[1])


def users_needed(
    effect: float,
    sd: float,
    shares: tuple[float, float] = (0.5, 0.5),
    *,
    level: float = 0.95,
    power: float = POWER,
) -> int:
    """Users altogether, of all who come, for which a test finds a difference of ``effect``.

    Args:
        effect: the difference of the means of two variants.
        sd: of the value between users.
        shares: of all users, of the two variants.
        level: of a two-sided test by the normal distribution.
        power: the chance to find the difference.

    Raises:
        UserError: where no number of users would do.
    """
    if effect == 0 or not math.isfinite(effect):
        raise UserError("effect=0: no number of users shows that there is no difference.")
    if sd <= 0:
        raise UserError(f"sd={sd:g}: the value has to differ between users.")
    return math.ceil((_scale(shares, level, power) * sd / effect) ** 2)


def detectable(
    users: float,
    sd: float,
    shares: tuple[float, float] = (0.5, 0.5),
    *,
    level: float = 0.95,
    power: float = POWER,
) -> float:
    """The smallest difference that a test over so many users finds; see :func:`users_needed`."""
    if users <= 0:
        raise UserError(f"users={users:g}: a test needs some.")
    return _scale(shares, level, power) * sd / math.sqrt(users)
